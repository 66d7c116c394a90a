"""What must hold of the table of reviews. Declarative; how a table is held to its suite is in `gate.py`."""

from typing import TYPE_CHECKING

from medillus_pipeline.quality import derived as d
from medillus_pipeline.quality.expectations import (
    SHA256,
    SLICE_NAME,
    Frame,
    Related,
    Suite,
    among,
    between,
    form_of,
    holds,
    matches,
    single,
    some_rows,
)
from medillus_pipeline.review.questions import ANATOMY, DECISIONS, LABELS, MAXIMUM_COMMENT, ORIGIN, ORIGINS, REALISM
from medillus_pipeline.review.roster import ROLES
from medillus_pipeline.tables import REVIEWS

if TYPE_CHECKING:
    import pandas as pd

ASKED = "an answer that the sheet offers"


def roles_listed(frame: Frame, related: Related) -> "pd.Series":
    """1 where there are roles and all stand in the closed list."""
    return frame["roles"].map(lambda roles: float(len(roles) > 0 and set(roles) <= set(ROLES)))


def wrong_are_shown(frame: Frame, related: Related) -> "pd.Series":
    """1 where every structure that is called wrong is among those that the labels show."""
    import pandas as pd

    pairs = zip(frame["wrong_structures"], frame["structures"], strict=True)
    return pd.Series([float({*wrong} <= {*shown}) for wrong, shown in pairs], index=frame.index)


def comment_counted(frame: Frame, related: Related) -> "pd.Series":
    """1 where a comment is kept only if there is one; null where none is kept."""
    return (frame["comment_characters"] > 0).astype(float).where(frame["comment"].notna())


reviews = Suite(
    "reviews",
    [
        some_rows("the batch holds at least one verdict that counts; the ledger says what became of every file"),
        *form_of(REVIEWS),
        *matches(r"^v-[0-9a-f]{12}$", "verdicts are named by what was signed", "verdict"),
        *matches(r"^[0-9a-f]{12}$", "images are named by their content", "image"),
        *matches(r"^r-[0-9a-f]{8}$", "reviewers are pseudonyms", "reviewer"),
        holds("roles_listed", "roles of the closed list, at least one"),
        *matches(SHA256, "64 hexadecimal digits", "public_key", "weights_sha256", "sheet"),
        *matches(r"^[0-9]{1,9}$", "versions of the registry are numbers", "model_version"),
        *matches(SLICE_NAME, "slice names are derived from pseudonyms", "slice_name"),
        among("origin", ORIGINS, "an image is one or the other"),
        among("said_origin", list(ORIGIN.answers), ASKED),
        between("anatomy", 1, len(ANATOMY.answers), ASKED),
        between("realism", 1, len(REALISM.answers), ASKED),
        among("labels_fit", list(LABELS.answers), ASKED),
        holds("structures_ascend", "structures are in order and named once"),
        holds("wrong_ascend", "structures are in order and named once"),
        holds("wrong_are_shown", "only what is labelled can be called wrong"),
        between("comment_characters", 0, MAXIMUM_COMMENT, "comments are short"),
        holds("comment_counted", "a comment that is kept has a length"),
        among("decision", list(DECISIONS), "approve, reject or abstain"),
        *matches(r"^2[0-9]{3}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]\.[0-9]{3}\+00:00$",
                 "one form and one time zone, so that texts sort as moments do", "signed_at"),
        single("reviewers_of_verdict", "a verdict is one person's"),
        single("versions_of_sheet", "a sheet shows one version"),
        single("weights_of_sheet", "a sheet shows one set of weights"),
        single("decisions_of_verdict", "a verdict has one decision"),
        single("origins_of_image", "an image is real or generated, whoever looks at it"),
    ],
    {
        "roles_listed": roles_listed,
        "structures_ascend": d.of_list("structures", d.ascending),
        "wrong_ascend": d.of_list("wrong_structures", d.ascending),
        "wrong_are_shown": wrong_are_shown,
        "comment_counted": comment_counted,
        "reviewers_of_verdict": d.distinct("reviewer", "verdict"),
        "versions_of_sheet": d.distinct("model_version", "sheet"),
        "weights_of_sheet": d.distinct("weights_sha256", "sheet"),
        "decisions_of_verdict": d.distinct("decision", "verdict"),
        "origins_of_image": d.distinct("origin", "image"),
    },
)  # fmt: skip
