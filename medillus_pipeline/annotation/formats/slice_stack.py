"""Slices as planes in space: which one holds a contour, and which were passed over.

What is not here: references by UID (`references.py`), and what a plane's contours enclose (`contour_planes.py`).
"""

from collections.abc import Sequence

import numpy as np

from medillus_pipeline.annotation.slice_index import SliceIndex, Target

SAME_PLANE = 0.1
"""Distance in mm within which two planes are one."""
FLAT = 0.02
"""Rise of a contour over the slice, as a part of its own size, up to which it lies in the slice's direction: some tools
write direction cosines with two or three decimals only.
"""


class Stack:
    """Slices that a contour may lie on. Those without geometry are left out."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self.targets = sorted((t for t in targets if t.has_geometry), key=lambda t: t.slice_name)
        rows = np.array([t.inverse[2] for t in self.targets]).reshape(-1, 4)
        self._normals, direction = np.unique(np.round(rows[:, :3], 6), axis=0, return_inverse=True)
        self._direction = direction.reshape(-1)
        self._offsets = rows[:, 3]
        self._reach = np.array([t.reach for t in self.targets])

    def nearest(self, points: np.ndarray) -> Target | None:
        """The slice whose plane holds a contour, (points, 3) in mm LPS: no point of it is farther than the slice
        reaches, and it is not at an angle. Of several the nearest, then the first by name.
        """
        if not self.targets:
            return None
        low, high, flat = self._extent(points)
        far = np.round(np.maximum(np.abs(low), np.abs(high)), 6)
        holding = np.flatnonzero(flat & (far <= self._reach))
        return self.targets[holding[np.argmin(far[holding])]] if len(holding) else None

    def crossed_by(self, points: np.ndarray) -> bool:
        """Whether a contour passes through a slice at an angle."""
        if not self.targets:
            return False
        low, high, flat = self._extent(points)
        return bool((~flat & (low <= self._reach) & (high >= -self._reach)).any())

    def _extent(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Per slice: lowest and highest point in mm above it, and whether the contour is parallel to it."""
        along = points @ self._normals.T
        low, high = along.min(axis=0)[self._direction], along.max(axis=0)[self._direction]
        flat = high - low <= max(SAME_PLANE, FLAT * float(np.ptp(points, axis=0).max()))
        return low + self._offsets, high + self._offsets, flat


def passed_over(drawn: Sequence[Target], index: SliceIndex) -> int:
    """How many slices lie between `drawn` ones of their series and in their direction, and are not among them."""
    heights: dict[tuple[str, bytes], list[float]] = {}
    for target in drawn:
        heights.setdefault((target.series_instance_uid, _direction(target)), []).append(target.height)
    count = 0
    for (series, direction), there in heights.items():
        taken = np.unique(there)
        stack = [t.height for t in index.by_series[series] if t.has_geometry and _direction(t) == direction]
        between = np.array([height for height in stack if taken[0] < height < taken[-1]])
        above = np.searchsorted(taken, between)
        apart = np.minimum(taken[above] - between, between - taken[above - 1])
        count += int(np.count_nonzero(apart > SAME_PLANE))
    return count


def _direction(target: Target) -> bytes:
    return np.round(target.affine[:3, 2] + 0.0, 3).tobytes()
