"""Columns that are computed for the audit of what training slices are said to show, in the manner of `derived.py`."""

from typing import TYPE_CHECKING

from medillus_pipeline.quality.expectations import Frame, Related

if TYPE_CHECKING:
    import pandas as pd


def pathologies_listed(frame: Frame, related: Related) -> "pd.Series":
    """1 where all pathologies are keys of the list, ascending and once each, and `normal` stands alone."""
    from medillus_pipeline.annotation.study.pathology import NORMAL, load

    keys = {row.key for row in load().rows}

    def listed(values: list[str]) -> bool:
        return keys.issuperset(values) and values == sorted(set(values)) and (NORMAL not in values or len(values) == 1)

    return frame["pathology"].map(lambda values: float(listed(list(values))))


def stage_listed(frame: Frame, related: Related) -> "pd.Series":
    """1 where a stage is written as `labels_csv.stage` writes it; null where there is none."""
    from medillus_pipeline.annotation.study.labels_csv import stage

    given = frame["stage"]
    return given.map(lambda value: float(stage(str(value)) == value), na_action="ignore").astype(float)


def phases_of_series(frame: Frame, related: Related) -> "pd.Series":
    """Number of different contrast phases of the row's series; not known counts as one of them."""
    return frame.groupby("series_instance_uid")["contrast_phase"].transform("nunique", dropna=False)
