"""Columns that are computed for the audit of masks and of the tables beside them alone, in the manner of `derived.py`:
is every structure in the vocabulary, is a layer what its runs say, do a comparison's figures agree with one another.
"""

from typing import TYPE_CHECKING, Any

from medillus_pipeline.quality.expectations import Derivation, Frame, Related

if TYPE_CHECKING:
    import pandas as pd

WHOLE = "*"
"""Stands for the slice in a row about a whole series."""
COMPARED = ["series_instance_uid", "structure", "annotator_a", "annotator_b"]
"""What the rows of one comparison have in common."""
SAID_OF = ["study_instance_uid", "series_instance_uid", "annotator", "revision", "kind"]
"""What the labels of one kind and one occasion have in common."""


def labels_in_vocabulary(column: str) -> Derivation:
    """1 where a vocabulary id, or every one of a list of them, is that of a structure."""

    def derive(frame: Frame, related: Related) -> "pd.Series":
        from medillus_pipeline.annotation.vocabulary import load

        ids = {structure.id for structure in load()}
        return _rows(frame, lambda row: ids.issuperset(_as_list(row[column])))

    return derive


def structure_known(frame: Frame, related: Related) -> "pd.Series":
    """1 where the structure is a key of the vocabulary."""
    from medillus_pipeline.annotation.vocabulary import load

    return frame["structure"].isin([structure.key for structure in load()]).astype(int)


def place_known(frame: Frame, related: Related) -> "pd.Series":
    """1 where the slice is one of the row's series, or the row is about the whole of a published series."""
    slices = related["slices"]
    known = set(zip(slices["slice_name"], slices["series_instance_uid"], strict=True))
    known |= {(WHOLE, series) for series in slices["series_instance_uid"]}
    pairs = zip(frame["slice_name"], frame["series_instance_uid"], strict=True)
    return _series(frame, [pair in known for pair in pairs])


def box_inside(frame: Frame, related: Related) -> "pd.Series":
    """1 where a layer's box lies within its slice."""
    below = frame["top"] + frame["height"] <= frame["rows"]
    return (below & (frame["left"] + frame["width"] <= frame["columns"])).astype(int)


def runs_fill_box(frame: Frame, related: Related) -> "pd.Series":
    """1 where a layer's runs, each but the first of at least a pixel, sum to its box."""

    def fill(row: Any) -> bool:
        runs = _as_list(row["runs"])
        return min(runs[1:], default=1) >= 1 and min(runs) >= 0 and sum(runs) == row["height"] * row["width"]

    return _rows(frame, fill)


def area_is_that_of_runs(frame: Frame, related: Related) -> "pd.Series":
    """1 where a layer's area is the sum of its runs inside."""
    return _rows(frame, lambda row: sum(_as_list(row["runs"])[1::2]) == row["area"])


def hidden_in_full(frame: Frame, related: Related) -> "pd.Series":
    """1 where what never enters a label map is hidden in full; null for what others overlap."""
    hidden = (frame["hidden_pixels"] == frame["area"]).astype(float)
    return hidden.where(frame["reason"] != "overlap")


def bounds_ascend(frame: Frame, related: Related) -> "pd.Series":
    """1 where the least plausible value is not above the greatest; null where one of them is not given."""
    given = frame[["low", "high"]].notna().all(axis="columns")
    return (frame["low"] <= frame["high"]).astype(float).where(given)


def beyond_bounds(frame: Frame, related: Related) -> "pd.Series":
    """1 where a value is not between its bounds; on one of them it may lie."""
    low, high = (frame[name].astype(float) for name in ("low", "high"))
    return ((frame["value"] <= low) | (frame["value"] >= high)).astype(int)


def refusal_has_reason(frame: Frame, related: Related) -> "pd.Series":
    """1 where a finding that took a structure off is of a kind that may; null for a warning."""
    from medillus_pipeline.annotation.plausibility.findings import REASONS

    may = frame["finding"].isin([str(kind) for kind in REASONS]).astype(float)
    return may.where(frame["severity"] == "refuse")


def in_order(frame: Frame, related: Related) -> "pd.Series":
    """1 where annotator a sorts before b."""
    return (frame["annotator_a"] < frame["annotator_b"]).astype(int)


def whole_series_rows(frame: Frame, related: Related) -> "pd.Series":
    """The number of rows about the whole series in the row's comparison."""
    whole = (frame["slice_name"] == WHOLE).astype(int)
    return whole.groupby([frame[name] for name in COMPARED]).transform("sum")


def dice_as_drawn(frame: Frame, related: Related) -> "pd.Series":
    """1 where there is a Dice exactly if both drew the structure somewhere in the series."""
    both = (frame["drawn_by"] == "both").astype(int)
    somewhere = both.groupby([frame[name] for name in COMPARED]).transform("max")
    return (frame["dice"].notna() == (somewhere == 1)).astype(int)


def dice_of_one(frame: Frame, related: Related) -> "pd.Series":
    """The Dice where only one of them drew the structure; null elsewhere."""
    return frame["dice"].astype(float).where(frame["drawn_by"] != "both")


def distances_as_drawn(frame: Frame, related: Related) -> "pd.Series":
    """1 where there are both distances or none, and none where only one drew the structure."""
    given = frame[["mean_surface_distance_mm", "hausdorff_95_mm"]].notna().sum(axis="columns")
    return ((given == 0) | ((given == 2) & (frame["drawn_by"] == "both"))).astype(int)


def slices_counted(frame: Frame, related: Related) -> "pd.Series":
    """1 where the slices of only one reader are not more than all, which on a single slice are one."""
    fits = frame["slices_only_a"] + frame["slices_only_b"] <= frame["slices"]
    return (fits & ((frame["slice_name"] == WHOLE) | (frame["slices"] == 1))).astype(int)


def series_of_study(frame: Frame, related: Related) -> "pd.Series":
    """1 where a label is about a published study, or about a series of it."""
    slices = related["slices"]
    known = set(zip(slices["study_instance_uid"], slices["series_instance_uid"], strict=True))
    known |= {(study, "") for study in slices["study_instance_uid"]}
    pairs = zip(frame["study_instance_uid"], frame["series_instance_uid"], strict=True)
    return _series(frame, [pair in known for pair in pairs])


def value_listed(frame: Frame, related: Related) -> "pd.Series":
    """1 where a label's value stands in the list of its kind."""
    from medillus_pipeline.annotation.study.labels_csv import stage
    from medillus_pipeline.annotation.study.pathology import CONTRAST_PHASES, load

    pathologies = {row.key for row in load().rows}
    phases = {phase.key for phase in CONTRAST_PHASES}

    def listed(row: Any) -> bool:
        kind, value = row["kind"], str(row["value"])
        if kind == "stage":
            return stage(value) == value
        return value in (pathologies if kind == "pathology" else phases)

    return _rows(frame, listed)


def code_as_listed(frame: Frame, related: Related) -> "pd.Series":
    """1 where a label's code is that of its pathology, and there is none for another kind."""
    from medillus_pipeline.annotation.study.pathology import load

    codes = {("pathology", row.key): row.icd11 for row in load().rows}
    return _rows(frame, lambda row: row["code"] == codes.get((row["kind"], row["value"]), ""))


def values_of_single_kind(frame: Frame, related: Related) -> "pd.Series":
    """Different stages, or contrast phases, that one annotator gives at once; null for pathologies."""
    values = frame.groupby([frame[name] for name in SAID_OF])["value"].transform("nunique")
    return values.where(frame["kind"] != "pathology")


def _as_list(value: Any) -> list[int]:
    return [int(number) for number in value] if hasattr(value, "__iter__") else [int(value)]


def _rows(frame: Frame, holds: Any) -> "pd.Series":
    """Whether something holds of each row; what cannot be told does not."""
    found = []
    for row in frame.to_dict("records"):
        try:
            found.append(bool(holds(row)))
        except (TypeError, ValueError, OverflowError, KeyError):
            found.append(False)
    return _series(frame, found)


def _series(frame: Frame, holds: list[bool]) -> "pd.Series":
    import pandas as pd

    return pd.Series([int(value) for value in holds], index=frame.index, dtype="int64")
