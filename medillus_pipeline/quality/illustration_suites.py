"""What must hold of the tables beside `illustrations`: records of figures, requests, volumes. Declarative.

How a table is held to its suite is in `gate.py`; the suite of `illustrations` itself is in `suites.py`.
"""

import json
import re
from typing import TYPE_CHECKING, Any

from medillus_pipeline.quality import derived as d
from medillus_pipeline.quality.expectations import (
    NAMED,
    PATIENT,
    SHA256,
    UID,
    Frame,
    Related,
    Suite,
    among,
    between,
    form_of,
    holds,
    matches,
    payload,
    some_rows,
)
from medillus_pipeline.quality.suites import DRAWN_FROM, PATIENT_OR_NOBODY
from medillus_pipeline.tables import ILLUSTRATION_RECORDS, ILLUSTRATION_REQUESTS, VOLUME_ILLUSTRATIONS

if TYPE_CHECKING:
    import pandas as pd

REQUEST = r"^q-[0-9a-f]{12}$"
MOMENT = r"^2[0-9]{3}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]\+00:00$"
STYLES = ("radiology", "textbook", "patient", "summary", "journal", "quiz")
WAYS = ("mask", "sketch", "text", "scan")
ALWAYS = {".svg", ".png", ".json", ".manifest.json"}
_PAYLOAD = re.compile(r"figures/[0-9a-f]{2}/[0-9a-f]{64}\.[a-z0-9]+")
_REVIEWER = re.compile(r"r-[0-9a-f]{8}")
_WORD = re.compile(r"[a-z0-9_]+")


def _each(frame: Frame, column: str, right: Any) -> "pd.Series":
    return frame[column].map(lambda values: float(all(right(value) for value in values)))


def files_whole(frame: Frame, related: Related) -> "pd.Series":
    """1 where a figure has drawing, picture, sidecar and manifest, and a payload for each ending."""
    import pandas as pd

    right = [
        float({*endings} >= ALWAYS and len(endings) == len(paths) and all(_PAYLOAD.fullmatch(path) for path in paths))
        for endings, paths in zip(frame["endings"], frame["paths"], strict=True)
    ]
    return pd.Series(right, index=frame.index)


def figure_known(frame: Frame, related: Related) -> "pd.Series":
    """1 where the figure stands in `illustrations` with the same slice."""
    slices = related["illustrations"].set_index("figure")["slice_name"]
    return (frame["figure"].map(slices) == frame["slice_name"]).astype(float)


def approved_for_publication(frame: Frame, related: Related) -> "pd.Series":
    """1 where a figure for publication has an approval."""
    return ((frame["approved_by"].map(len) > 0) | ~frame["publication"].astype(bool)).astype(float)


def reviewers_pseudonymous(frame: Frame, related: Related) -> "pd.Series":
    """1 where every reviewer is named by pseudonym."""
    return _each(frame, "approved_by", _REVIEWER.fullmatch)


def pathologies_are_keys(frame: Frame, related: Related) -> "pd.Series":
    """1 where every pathology is a key, no words."""
    return _each(frame, "pathologies", _WORD.fullmatch)


def ways_listed(frame: Frame, related: Related) -> "pd.Series":
    """1 where there are ways in and all stand in the closed list."""
    return frame["ways"].map(lambda ways: float(len(ways) > 0 and set(ways) <= set(WAYS)))


def document_names_itself(frame: Frame, related: Related) -> "pd.Series":
    """1 where the document is JSON, carries the request's pseudonym and points at no file outside the payloads."""
    import pandas as pd

    def right(name: str, document: str, mask: object) -> float:
        said = json.loads(document)
        drawn = mask if isinstance(mask, str) else None  # pandas may hold a null as NaN
        return float(said.get("name") == name and said.get("mask") == drawn and said.get("sketch") is None)

    rows = zip(frame["request"], frame["document"], frame["mask_path"], strict=True)
    return pd.Series([right(*row) for row in rows], index=frame.index)


illustration_records = Suite(
    "illustration_records",
    [
        some_rows("there is at least one figure"),
        *form_of(ILLUSTRATION_RECORDS),
        *matches(r"^f-[0-9a-f]{12}$", "figure names are hashes", "figure"),
        *matches(DRAWN_FROM, "slice names are derived from pseudonyms, label maps from content", "slice_name"),
        *matches(PATIENT_OR_NOBODY, "patients are pseudonyms", "patient"),
        *matches(REQUEST, "requests are named by a keyed hash", "request"),
        among("style", STYLES, "one of the styles"),
        *matches(r"^[A-Z0-9_ ]{1,16}$", "a code string (PS3.5 6.2)", "modality"),
        between("level", 0, 1, "0 feet to 1 head"),
        *matches(r"^[a-z0-9_]+$", "a key, no words", "contrast_phase"),
        *matches(MOMENT, "one form and one time zone", "made_at"),
        holds("pathologies_are_keys", "keys, no words"),
        holds("files_whole", NAMED),
        holds("figure_known", "a record stands beside its figure"),
        holds("reviewers_pseudonymous", "reviewers are pseudonyms"),
        holds("approved_for_publication", "figures for publication need a person's approval of their model"),
    ],
    {
        "pathologies_are_keys": pathologies_are_keys,
        "files_whole": files_whole,
        "figure_known": figure_known,
        "reviewers_pseudonymous": reviewers_pseudonymous,
        "approved_for_publication": approved_for_publication,
    },
    ("illustrations",),
)

illustration_requests = Suite(
    "illustration_requests",
    [
        some_rows(
            "the folder holds at least one request that could be read; the ledger says what became of the others"
        ),
        *form_of(ILLUSTRATION_REQUESTS),
        *matches(REQUEST, "requests are named by a keyed hash", "request"),
        holds("ways_listed", "ways in of the closed list, at least one"),
        *matches(payload(".png"), "a payload of the clean zone", "mask_path"),
        *matches(SHA256, "a SHA-256", "mask_sha256"),
        holds("mask_hash_in_path", NAMED),
        holds("document_names_itself", "a request that leaves names no file of landing, and no sketch"),
    ],
    {
        "ways_listed": ways_listed,
        "mask_hash_in_path": d.hash_in_path("mask_path", "mask_sha256"),
        "document_names_itself": document_names_itself,
    },
)

volume_illustrations = Suite(
    "volume_illustrations",
    [
        some_rows("there is at least one volume"),
        *form_of(VOLUME_ILLUSTRATIONS),
        *matches(r"^v-[0-9a-f]{12}$", "volumes are named by their content", "volume"),
        *matches(PATIENT, "patients are pseudonyms", "patient"),
        *matches(UID, "UIDs are pseudonyms", "series_instance_uid"),
        among("split", ("validation",), "masks of the locked test are never illustrated"),
        between("slices", 2, 4096, "a volume has several slices"),
        between("side", 8, 4096, "a plausible size"),
        holds("spacing_positive", "three distances in mm"),
        between("label_count", 1, 255, "at least one structure is drawn"),
        between("seed", 0, 2**63 - 1, "seeds count from 0"),
        *matches(MOMENT, "one form and one time zone", "made_at"),
        *matches(payload(".nii.gz"), "a payload of the clean zone", "nifti_path", "labels_path"),
        *matches(payload(".zip"), "a payload of the clean zone", "dicom_path", "scene_path"),
        *matches(payload(".glb"), "a payload of the clean zone", "surfaces_path"),
        *matches(payload(".png"), "a payload of the clean zone", "picture_path"),
        *matches(payload(".json"), "a payload of the clean zone", "manifest_path"),
        *matches(SHA256, "a SHA-256", "sha256"),
        holds("hash_in_path", NAMED),
    ],
    {
        "spacing_positive": lambda frame, _related: frame["spacing"].map(
            lambda steps: float(len(steps) == 3 and all(step > 0 for step in steps))
        ),
        "label_count": d.of_list("labels", len),
        "hash_in_path": d.hash_in_path("nifti_path", "sha256"),
    },
)
