"""The canonical frame of one series, found from its own slices, and any of its slices brought into it.

What the frame is and how values are resampled is in `canonical.py`; which slices are taken is decided by the caller.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medillus_pipeline.dicom.geometry import slice_to_lps_affine
from medillus_pipeline.dicom.slice_values import SliceValues
from medillus_pipeline.generation import canonical
from medillus_pipeline.zones import Zone

Row = dict[str, Any]
SURVEYED_SLICES = 12
"""So many slices, evenly spaced over the series, tell where the body is and how values are scaled."""


@dataclass(frozen=True)
class CanonicalSlice:
    """A slice in the frame: `resampled` (size, size) float32 calibrated values, `body_share` (size, size) float32, how
    much of each pixel is body, and the `grid` and its fineness `k` that other maps of the slice are resampled by.
    """

    resampled: np.ndarray
    body_share: np.ndarray
    grid: np.ndarray
    k: int

    @property
    def values(self) -> np.ndarray:
        """(size, size) int16, as packed."""
        return np.rint(np.clip(self.resampled, -32768, 32767)).astype(np.int16)

    @property
    def inside(self) -> np.ndarray:
        """(size, size) bool: at least half of the pixel is body."""
        return self.body_share >= 0.5


class SeriesFrame:
    """`rows` are all usable (axial) slices of the series, rows of SLICES; `ordered` has them from feet to head."""

    def __init__(self, rows: Sequence[Row], clean: Zone, *, modality: str, size: int, field_of_view: float) -> None:
        of_ct = modality == "CT"
        self._reader = SliceValues(clean, canonical.AIR if of_ct else None)
        self._outside = canonical.AIR if of_ct else canonical.NORMALISED_RANGE[0]
        self._threshold = canonical.BODY_THRESHOLD_HU if of_ct else canonical.NORMALISED_BODY_THRESHOLD
        self.ordered = sorted(rows, key=lambda row: (height(row), row["slice_name"]))
        last = len(self.ordered) - 1
        survey = [self.ordered[i] for i in np.unique(np.linspace(0, last, SURVEYED_SLICES).round().astype(int))]
        surveyed = [self._reader.values(row) for row in survey]
        self._surveyed = {row["slice_name"]: values for row, values in zip(survey, surveyed, strict=True)}
        self._scale = None
        if not of_ct:
            self._scale = canonical.series_scale(np.concatenate([values.ravel()[::7] for values in surveyed]))
        boxes = [
            box
            for row, values in zip(survey, surveyed, strict=True)
            if (box := canonical.body_box(self._body(self._scaled(values), row), affine_of(row))) is not None
        ]
        self.frame = canonical.Frame(size, field_of_view, *_centre(boxes, self.ordered))

    def slice(self, row: Row, kept: np.ndarray | None = None) -> CanonicalSlice:
        """A slice in the frame; `kept` (rows, columns) bool says where values stay although they lie outside the body.
        Raises PixelError when it cannot be decoded.
        """
        read = self._surveyed.pop(row["slice_name"], None)
        values = np.maximum(self._scaled(self._reader.values(row) if read is None else read), self._outside)
        body = self._body(values, row)
        shown = body if kept is None else body | kept
        grid, k = canonical.source_grid(affine_of(row), self.frame)
        resampled = canonical.resample_values(np.where(shown, values, self._outside), grid, k, self._outside)
        return CanonicalSlice(resampled, canonical.resample_values(body, grid, k, 0.0), grid, k)

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        return values if self._scale is None else canonical.normalised(values, self._scale)

    def _body(self, values: np.ndarray, row: Row) -> np.ndarray:
        return canonical.body_mask(values, tuple(row["pixel_spacing"]), self._threshold)


def affine_of(row: Row) -> np.ndarray:
    """(4, 4), (column, row, 0, 1) → LPS mm, of a row of `slices` that has its geometry."""
    return slice_to_lps_affine(row["position"], row["orientation"], row["pixel_spacing"])


def height(row: Row) -> float:
    """z in LPS mm of the slice's middle."""
    return float(_middle(row)[2])


def _middle(row: Row) -> np.ndarray:
    return (affine_of(row) @ np.array([(row["columns"] - 1) / 2, (row["rows"] - 1) / 2, 0, 1]))[:3]


def _centre(boxes: list[tuple[float, float, float, float]], rows: Sequence[Row]) -> tuple[float, float]:
    """The middle of the median body box, or of the first slice where no body was found; (x, y) in LPS mm."""
    if boxes:
        left, right, front, back = np.median(np.array(boxes), axis=0)
        return float(left + right) / 2, float(front + back) / 2
    x, y, _ = _middle(rows[0])
    return float(x), float(y)
