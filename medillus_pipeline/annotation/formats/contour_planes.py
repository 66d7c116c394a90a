"""Closed contours of one structure in one plane: which of them count, and whether they agree on an area.

Contours of a plane are taken together by even-odd, so a contour exported twice would cancel itself. Exact copies are
dropped here; outlines that all but coincide are told apart from a thin wall. What is not here: which slice a contour
belongs to (`rtstruct.py`), and how an outline becomes pixels (`label_map.py`).
"""

from collections import defaultdict
from collections.abc import Sequence
from enum import Enum

import numpy as np

from medillus_pipeline.annotation.label_map import Region, fill

SAME_POINT = 0.01
"""Distance in mm within which two points are one: contour coordinates are commonly written to a hundredth."""
MAXIMUM_COMPARED = 300
"""Contours of a plane that are compared in pairs; more are the islands of a threshold, not outlines drawn by hand."""
ALIKE_OVERLAP, ALIKE_BALANCE = 0.8, 0.25
"""Two outlines show the same object twice when they share this part of their union, and when what either has alone is
at least this part of what the other has alone: the outer and inner face of a wall are nested, and one has nothing."""
NESTED = 0.9
"""Part of a contour's pixels that lie within another for it to count as inside it."""
FIXED_POINT = np.array([-1733.0, 2417.0, 911.0])


class Crossing(Enum):
    """How the contours of a plane meet."""

    NONE = "apart or nested"
    PARTLY = "some cross, and share an area that even-odd leaves out"
    ALIKE = "two all but coincide, and even-odd would leave only slivers"


def distinct(contours: Sequence[np.ndarray]) -> list[int]:
    """Indices, ascending, of the contours, each (points, 3) in mm, without repetitions: one of those that are the same.

    A repetition runs through the same points within `SAME_POINT`, from any start and in either direction; a last point
    that closes the contour, or one written twice, makes no difference.
    """
    if len(contours) < 2:
        return list(range(len(contours)))
    bare = [_without_repeats(points) for points in contours]
    # Mean distance to an arbitrary point: the same for every start and direction, and moved less than the points are.
    marks = np.array([np.linalg.norm(points - FIXED_POINT, axis=1).mean() for points in bare])
    kept: list[int] = []
    earlier: dict[int, list[int]] = defaultdict(list)
    for i in np.argsort(marks, kind="stable").tolist():
        alike = earlier[len(bare[i])]
        while alike and marks[alike[0]] < marks[i] - SAME_POINT:
            alike.pop(0)
        if not any(_same_ring(bare[i], bare[j]) for j in alike):
            alike.append(i)
            kept.append(i)
    return sorted(kept)


def _without_repeats(points: np.ndarray) -> np.ndarray:
    apart = np.abs(points - np.roll(points, 1, axis=0)).max(axis=1) > SAME_POINT / 2
    return points[apart] if apart.any() else points[:1]


def _same_ring(one: np.ndarray, other: np.ndarray) -> bool:
    for direction in (other, other[::-1]):
        for start in np.flatnonzero(np.abs(direction - one[0]).max(axis=1) <= SAME_POINT):
            if np.abs(np.roll(direction, -start, axis=0) - one).max() <= SAME_POINT:
                return True
    return False


def crossing(contours: Sequence[np.ndarray], rows: int, columns: int) -> Crossing:
    """How contours, each (points, 2) in pixels as for `fill`, meet on a slice; the worst of all pairs counts.

    Judged by pixels, so contours that touch or cross by less than a pixel are apart.
    """
    if not 2 <= len(contours) <= MAXIMUM_COMPARED:
        return Crossing.NONE
    low = np.array([points.min(axis=0) for points in contours])
    high = np.array([points.max(axis=0) for points in contours])
    meet = (low[:, None] <= high[None]).all(axis=2)
    first, second = np.nonzero(np.triu(meet & meet.T, 1))
    drawn: dict[int, Region | None] = {}
    worst = Crossing.NONE
    for i, j in zip(first.tolist(), second.tolist(), strict=True):
        for k in (i, j):
            if k not in drawn:
                drawn[k] = fill([contours[k]], rows, columns)
        one, other = drawn[i], drawn[j]
        if one is None or other is None:
            continue
        shared = _shared(one, other)
        alone = sorted((one.area - shared, other.area - shared))
        union = shared + sum(alone)
        if shared >= ALIKE_OVERLAP * union and alone[1] and alone[0] >= ALIKE_BALANCE * alone[1]:
            return Crossing.ALIKE
        if 0 < shared < NESTED * min(one.area, other.area):
            worst = Crossing.PARTLY
    return worst


def _shared(one: Region, other: Region) -> int:
    """Pixels of both."""
    top, left = max(one.top, other.top), max(one.left, other.left)
    bottom = min(one.window[0].stop, other.window[0].stop)
    right = min(one.window[1].stop, other.window[1].stop)
    if top >= bottom or left >= right:
        return 0
    parts = [r.mask[top - r.top : bottom - r.top, left - r.left : right - r.left] for r in (one, other)]
    return int(np.count_nonzero(parts[0] & parts[1]))
