"""Columns that are computed for an audit alone, where a core expectation cannot see what must hold.

Each is a function of the audited frame and of the related frames, one value per row, null where it does not apply.
List columns may be lists or arrays. What bounds such a column must keep is said in `suites.py`.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from medillus_pipeline.quality.expectations import Derivation, Frame, Related

if TYPE_CHECKING:
    import pandas as pd


def of_list(column: str, measure: Callable[[list[float]], float]) -> Derivation:
    """`measure` of a list column's value, as float; null where the value is null."""

    def derive(frame: Frame, related: Related) -> "pd.Series":
        return _map(frame[column], lambda value: measure([float(v) for v in value]))

    return derive


def distinct(counted: str, within: str) -> Derivation:
    """The number of distinct values of `counted` among the rows that share the row's value of `within`."""

    def derive(frame: Frame, related: Related) -> "pd.Series":
        return frame.groupby(within, dropna=False)[counted].transform("nunique")

    return derive


def when(column: str, condition: str, equals: str) -> Derivation:
    """The column where column `condition` equals the given text, null in all other rows."""

    def derive(frame: Frame, related: Related) -> "pd.Series":
        return frame[column].where(frame[condition] == equals)

    return derive


def both_or_neither(first: str, second: str) -> Derivation:
    """1 where the two columns are both filled or both null."""

    def derive(frame: Frame, related: Related) -> "pd.Series":
        return (frame[first].isna() == frame[second].isna()).astype(int)

    return derive


def filled_when(condition: str, equals: str, *columns: str) -> Derivation:
    """1 where all columns are filled, 0 where one is null; null where `condition` is something else."""

    def derive(frame: Frame, related: Related) -> "pd.Series":
        filled = frame[list(columns)].notna().all(axis="columns").astype(float)
        return filled.where(frame[condition] == equals)

    return derive


def same_length(first: str, second: str) -> Derivation:
    """1 where two list columns have the same number of entries."""

    def derive(frame: Frame, related: Related) -> "pd.Series":
        return (_map(frame[first], len) == _map(frame[second], len)).astype(int)

    return derive


def known(key: str, table: str) -> Derivation:
    """1 where the row's key stands in the related table."""

    def derive(frame: Frame, related: Related) -> "pd.Series":
        return frame[key].isin(related[table][key]).astype(int)

    return derive


def agrees(key: str, table: str, *columns: str) -> Derivation:
    """1 where all columns equal those of the row of the related table with the same key; null where there is none."""

    def derive(frame: Frame, related: Related) -> "pd.Series":
        other = related[table].drop_duplicates(key).set_index(key)
        same = frame[columns[0]].notna()
        for column in columns:
            same &= frame[column] == frame[key].map(other[column])
        return same.astype(float).where(frame[key].isin(other.index))

    return derive


def hash_in_path(path: str, digest: str) -> Derivation:
    """1 where a payload's path carries its hash as its name; null where there is no path."""

    def derive(frame: Frame, related: Related) -> "pd.Series":
        import pandas as pd

        pairs = zip(frame[path], frame[digest], strict=True)
        named = [
            float(name.rsplit("/", 1)[-1].split(".", 1)[0] == value) if isinstance(name, str) else math.nan
            for name, value in pairs
        ]
        return pd.Series(named, index=frame.index, dtype="float64")

    return derive


def shows_something_else(frame: Frame, related: Related) -> "pd.Series":
    """0 where a further picture is 8-bit grey through the very window of its slice."""
    own = related["slices"].drop_duplicates("slice_name").set_index("slice_name")["window"]
    again = (frame["output"] == "grey8") & (frame["window"] == frame["slice_name"].map(own))
    return (~again).astype(int)


def only_lossless_scaled(frame: Frame, related: Related) -> "pd.Series":
    """0 where a picture that is not lossless has a slope or an intercept."""
    scaled = frame[["slope", "intercept"]].notna().any(axis="columns")
    return (~scaled | (frame["output"] == "lossless")).astype(int)


def slope_size(frame: Frame, related: Related) -> "pd.Series":
    """Size of the slope, without its sign."""
    return frame["slope"].astype(float).abs()


def value_range(frame: Frame, related: Related) -> "pd.Series":
    """Greatest minus least calibrated value."""
    return frame["maximum"] - frame["minimum"]


def mean_beyond_range(frame: Frame, related: Related) -> "pd.Series":
    """How far the mean lies outside minimum to maximum, relative to its own size; 0 inside."""
    low, high, mean = frame["minimum"], frame["maximum"], frame["mean"]
    return ((low - mean).clip(lower=0) + (mean - high).clip(lower=0)) / mean.abs().clip(lower=1)


def all_or_no_pixels(frame: Frame, related: Related) -> "pd.Series":
    """1 where rows, columns and frames are all above 0 or all 0."""
    positive = (frame[["rows", "columns", "frames"]] > 0).sum(axis="columns")
    return positive.isin([0, 3]).astype(int)


def covered_share(frame: Frame, related: Related) -> "pd.Series":
    """Labelled pixels over all pixels of the mask."""
    return _map(frame["areas"], lambda areas: float(sum(areas))) / (frame["rows"] * frame["columns"])


def overlap_share(frame: Frame, related: Related) -> "pd.Series":
    """Pixels claimed twice over all pixels of the mask."""
    return frame["overlap_pixels"] / (frame["rows"] * frame["columns"])


def row_offset(frame: Frame, related: Related) -> "pd.Series":
    """A row's number minus its rank: 0 everywhere when the rows count from 0 without a gap."""
    return frame["row"] - (frame["row"].rank(method="first") - 1)


def locked_test_shown(frame: Frame, related: Related) -> "pd.Series":
    """1 where a generated figure was made from the mask of a patient of the locked test."""
    return ((frame["source"] == "generated") & (frame["split"] == "locked_test")).astype(int)


def least(values: list[float]) -> float:
    """The least value; NaN (which no bound holds) of an empty list."""
    return min(values, default=math.nan)


def greatest(values: list[float]) -> float:
    """The greatest value; NaN (which no bound holds) of an empty list."""
    return max(values, default=math.nan)


def ascending(values: list[float]) -> float:
    """1 when every value is greater than the one before."""
    return float(all(a < b for a, b in pairwise(values)))


def outside_unit(values: list[float]) -> float:
    """How many values are neither from 0 to 1 nor NaN (no value known)."""
    return sum(not (math.isnan(v) or 0 <= v <= 1) for v in values)


def orientation_error(values: list[float]) -> float:
    """Greatest departure of six direction cosines from unit length and right angles (PS3.3 C.7.6.2.1.1)."""
    if len(values) != 6:
        return math.inf
    row, column = values[:3], values[3:]
    return max(
        abs(math.hypot(*row) - 1),
        abs(math.hypot(*column) - 1),
        abs(sum(a * b for a, b in zip(row, column, strict=True))),
    )


def pixel_area(affine: list[float]) -> float:
    """Area of a pixel in mm² by a 4x4 row-major affine: the cross product of its first two columns."""
    if len(affine) != 16 or affine[12:] != [0, 0, 0, 1]:
        return -1.0
    (a, b, c), (d, e, f) = affine[0:12:4], affine[1:12:4]
    return math.hypot(b * f - c * e, c * d - a * f, a * e - b * d)


def axis_agreement(affine: list[float]) -> float:
    """Cosine of the larger angle between the frame's axes and LPS: 1 when columns run to the left, rows to the back."""
    if len(affine) != 16:
        return -1.0
    across, down = affine[0:12:4], affine[1:12:4]
    lengths = (math.hypot(*across), math.hypot(*down))
    return min(across[0] / lengths[0], down[1] / lengths[1]) if min(lengths) > 0 else -1.0


def _map(series: "pd.Series", function: Callable[[Any], float]) -> "pd.Series":
    """`function` of every value that is not null. What it cannot measure (NaN) becomes infinite: no bounds hold it."""
    import pandas as pd

    values = [math.nan if value is None or isinstance(value, float) else float(function(value)) for value in series]
    measured = pd.Series(values, index=series.index, dtype="float64")
    return measured.mask(measured.isna() & series.notna(), math.inf)
