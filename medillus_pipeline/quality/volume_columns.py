"""Columns that are computed for the audit of volumes alone, in the manner of `derived.py`: does a volume's geometry
agree with itself and with its slices, and is nothing shown that may be a face.
"""

import math
from typing import TYPE_CHECKING, Any

from medillus_pipeline.quality.expectations import Frame, Related

if TYPE_CHECKING:
    import pandas as pd

FILLED = ("shape", "spacing", "affine", "unit", "minimum", "maximum", "path", "sha256", "bytes")
"""Columns that every volume has, and no other stack."""
PICTURED = ("none", "removed")
"""Values of `face` with which planes of a volume may be shown."""


def filled_as_judged(frame: Frame, related: Related) -> "pd.Series":
    """1 where a volume has all of its columns and another stack none of them."""
    filled = frame[list(FILLED)].notna().sum(axis="columns")
    volume = frame["verdict"] == "volume"
    agrees = (filled == volume * len(FILLED)) & (frame["preview"].isna() | volume)
    return agrees.astype(int)


def no_face_pictured(frame: Frame, related: Related) -> "pd.Series":
    """1 where there is no picture, or no face that it could show."""
    allowed = frame["face"].isin(PICTURED)
    return allowed.mask(frame["preview"].isna(), True).astype(int)


def slices_accounted_for(frame: Frame, related: Related) -> "pd.Series":
    """Slices in all stacks of the row's series minus frames of that series among the slices; 0 when all are there."""
    frames = related["slices"].drop_duplicates(["sop_instance_uid", "frame"]).groupby("series_instance_uid").size()
    stacked = frame.groupby("series_instance_uid")["slices"].transform("sum")
    return stacked - frame["series_instance_uid"].map(frames).fillna(0)


def depth_agrees(frame: Frame, related: Related) -> "pd.Series":
    """1 where the last number of the shape is that of the slices; null without a shape."""
    return _each(frame, lambda row: float(row["shape"][2] == row["slices"]), "shape")


def step_error(frame: Frame, related: Related) -> "pd.Series":
    """Greatest difference in mm between the spacing and the lengths of the affine's columns; null without a volume."""
    return _each(frame, _step_error, "affine", "spacing")


def skew(frame: Frame, related: Related) -> "pd.Series":
    """Greatest cosine between two columns of the affine, 0 for a rectangular grid; null without a volume."""
    return _each(frame, _skew, "affine")


def _columns(affine: Any) -> list[tuple[float, float, float]]:
    if len(affine) != 16 or list(affine[12:]) != [0, 0, 0, 1]:
        raise ValueError("no affine")
    return [(float(affine[k]), float(affine[4 + k]), float(affine[8 + k])) for k in range(3)]


def _step_error(row: Any) -> float:
    lengths = [math.hypot(*column) for column in _columns(row["affine"])]
    return max(abs(a - float(b)) for a, b in zip(lengths, row["spacing"], strict=True))


def _skew(row: Any) -> float:
    first, second, third = _columns(row["affine"])
    pairs = ((first, second), (first, third), (second, third))
    return max(abs(sum(x * y for x, y in zip(a, b, strict=True))) / (math.hypot(*a) * math.hypot(*b)) for a, b in pairs)


def _each(frame: Frame, measure: Any, *needed: str) -> "pd.Series":
    """`measure` of every row where the columns needed are filled; infinite, which no bound holds, where it fails."""
    import pandas as pd

    values = []
    for row in frame.to_dict("records"):
        if any(row[name] is None or isinstance(row[name], float) for name in needed):
            values.append(math.nan)
            continue
        try:
            value = measure(row)
        except (ValueError, TypeError, IndexError, ZeroDivisionError):
            value = math.inf
        values.append(math.inf if math.isnan(value) else value)
    return pd.Series(values, index=frame.index, dtype="float64")
