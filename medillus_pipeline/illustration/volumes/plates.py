"""Axial, coronal and sagittal plates of a volume at true aspect, with what a figure needs to label them.

Plates are arrays, not pictures: greys, outlines, scale bar and letters are drawn by `illustration/figure.py`, which
takes a plate's `values`, `labels`, `pixel_mm` and `orientation` as they are.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration.contours import enlarge_labels, enlarge_values

PlaneName = Literal["axial", "coronal", "sagittal"]
PLANES: tuple[PlaneName, ...] = ("axial", "coronal", "sagittal")
AXES: dict[PlaneName, int] = {"axial": 0, "coronal": 1, "sagittal": 2}
"""The axis of (slices, rows, columns) that stands on each plane."""

ORIENTATION: dict[PlaneName, tuple[str, str, str, str]] = {
    "axial": ("R", "L", "A", "P"),
    "coronal": ("R", "L", "H", "F"),
    "sagittal": ("A", "P", "H", "F"),
}
"""Letters at the left, right, top and bottom edge."""


@dataclass(frozen=True)
class CrossingLine:
    """Where another plane cuts this one: from `start` to `end`, x, y in pixels from the plate's upper left corner."""

    plane: PlaneName
    start: tuple[float, float]
    end: tuple[float, float]


@dataclass(frozen=True)
class PlaneView:
    """How a plate lies: its plane, `index` along the volume's axis, `pixel_mm` (row, column; equal, so circles are
    circles), `orientation` letters at the left, right, top and bottom edge, and the `lines` of the other planes.
    """

    plane: PlaneName
    index: int
    pixel_mm: tuple[float, float]
    orientation: tuple[str, str, str, str]
    lines: tuple[CrossingLine, ...]


@dataclass(frozen=True)
class Plate:
    """`values` float32 and `labels` (h, w), and how they lie."""

    values: np.ndarray
    labels: np.ndarray
    view: PlaneView


def plates(
    volume: np.ndarray,
    labels: np.ndarray,
    spacing: tuple[float, float, float],
    *,
    at: tuple[int, int, int] | None = None,
) -> tuple[Plate, Plate, Plate]:
    """The axial, coronal and sagittal plate through voxel `at` (slice, row, column).

    `volume` and `labels` are (slices, rows, columns) from the feet up, front to back, patient's right to left;
    `spacing` (slice, row, column) in mm, of which the least is the plates' pixel. Without `at` they pass through the
    middle of what is labelled, or of the volume where nothing is. Seen as radiologists do: the patient's right on the
    left, the head up, in the sagittal plate the front on the left. Raises InputError for arrays of two shapes, a
    spacing that is not positive, and a voxel outside the volume.
    """
    if volume.ndim != 3 or volume.shape != labels.shape or 0 in volume.shape:
        raise InputError(f"plates need a volume and labels of one shape, not {volume.shape} and {labels.shape}")
    if not all(np.isfinite(mm) and mm > 0 for mm in spacing):
        raise InputError("the spacing (slice, row, column) must be positive, in mm: without it plates have no aspect")
    where = _middle(labels) if at is None else at
    if not all(0 <= place < size for place, size in zip(where, volume.shape, strict=True)):
        raise InputError(f"the plates are to pass through {where}, outside the volume of {volume.shape}")
    made = [_plate(plane, volume, labels, spacing, where) for plane in PLANES]
    return made[0], made[1], made[2]


def _plate(
    plane: PlaneName,
    volume: np.ndarray,
    labels: np.ndarray,
    spacing: tuple[float, float, float],
    where: tuple[int, int, int],
) -> Plate:
    axis = AXES[plane]
    down, across = (other for other in range(3) if other != axis)
    pixel = min(spacing)
    shape = (
        max(1, round(volume.shape[down] * spacing[down] / pixel)),
        max(1, round(volume.shape[across] * spacing[across] / pixel)),
    )
    # Slices count from the feet up, and a plate's rows from the head down.
    flipped = down == 0
    cut, drawn = (np.take(array, where[axis], axis=axis) for array in (volume, labels))
    if flipped:
        cut, drawn = cut[::-1], drawn[::-1]
    lines = []
    for other in PLANES:
        crossed = AXES[other]
        if crossed == axis:
            continue
        share = (where[crossed] + 0.5) / volume.shape[crossed]
        if crossed == down:
            y = (1 - share if flipped else share) * shape[0]
            lines.append(CrossingLine(other, (0.0, y), (float(shape[1]), y)))
        else:
            lines.append(CrossingLine(other, (share * shape[1], 0.0), (share * shape[1], float(shape[0]))))
    view = PlaneView(plane, where[axis], (pixel, pixel), ORIENTATION[plane], tuple(lines))
    return Plate(enlarge_values(np.ascontiguousarray(cut), shape), enlarge_labels(drawn, shape), view)


def _middle(labels: np.ndarray) -> tuple[int, int, int]:
    middle = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        there = np.flatnonzero((labels > 0).any(others))
        middle.append(int(there[0] + there[-1]) // 2 if len(there) else labels.shape[axis] // 2)
    return middle[0], middle[1], middle[2]
