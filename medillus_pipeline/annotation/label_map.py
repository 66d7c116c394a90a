"""Shapes become pixels, and overlapping structures become one label map.

Pixel coordinates here are (column, row) counted from the centre of the first pixel: the centre of pixel (c, r) is at
(c, r), its area reaches half a pixel to each side (as in PS3.3 C.7.6.2.1.1). A pixel belongs to a shape when its centre
lies inside; a centre exactly on an edge belongs to the shape on its right or below, so shapes that share an edge never
share a pixel and never leave a gap.

Overlap policy: higher priority wins; at equal priority the smaller structure on that slice wins; then the greater id.
The vocabulary orders priorities lesion > device > small structures > large organs > regions. Planning targets (CTV,
PTV, ITV) cross organ borders by construction and say nothing on tissue: they never enter a label map. A GTV is visible
tumour, hence a lesion. A structure that is the union of others (lungs) is left out where all its parts are drawn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medillus_pipeline.annotation.vocabulary import Vocabulary

OVERLAP_POLICY = "priority, then the smaller, then the greater id (1)"
"""The rule above, as it is recorded with every mask; the number changes with the rule."""
GRAIN = 6
"""Decimals of a pixel to which coordinates are rounded, so that rounding noise never decides about a pixel."""
CROSSINGS = 1_000_000
"""Edges of contours cross so many rows of pixels at a time; a small file can hold many times more."""


@dataclass(frozen=True)
class Region:
    """A binary mask cut to its bounding box: `mask` (height, width) bool, whose first pixel is (top, left)."""

    top: int
    left: int
    mask: np.ndarray

    @property
    def area(self) -> int:
        """Pixels inside."""
        return int(np.count_nonzero(self.mask))

    @property
    def window(self) -> tuple[slice, slice]:
        """Where the box lies in the whole slice."""
        height, width = self.mask.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


@dataclass(frozen=True)
class LabelMap:
    """One slice: `values` (rows, columns) uint8 vocabulary ids, pixels of each id that is present, ascending by id,
    and how many pixels more than one structure claimed.
    """

    values: np.ndarray
    areas: dict[int, int]
    overlap_pixels: int


def fill(contours: Sequence[np.ndarray], rows: int, columns: int) -> Region | None:
    """The pixels whose centres lie inside an odd number of the closed `contours`, each (points, 2) as (column, row).

    Even-odd over all contours together: an inner contour is a hole, one inside it an island, and the two runs of a
    keyhole's slit cancel out. Parts beyond the slice are cut off. None when no pixel centre lies inside.
    """
    starts = np.concatenate(contours) if contours else np.empty((0, 2))
    if not len(starts):
        return None
    ends = np.concatenate([np.roll(c, -1, axis=0) for c in contours])
    starts, ends = np.round(starts, GRAIN), np.round(ends, GRAIN)
    upward = starts[:, 1] > ends[:, 1]
    x0, y0 = np.where(upward[:, None], ends, starts).T
    x1, y1 = np.where(upward[:, None], starts, ends).T
    first = np.clip(np.ceil(y0), 0, rows).astype(np.int64)
    last = np.clip(np.ceil(y1), 0, rows).astype(np.int64)
    counts = last - first
    crossing = counts > 0
    if not crossing.any():
        return None
    x0, y0, x1, y1, first, counts = (v[crossing] for v in (x0, y0, x1, y1, first, counts))
    top, bottom = int(first.min()), int((first + counts).max())
    width = columns + 1
    toggles = np.zeros((bottom - top) * width, np.int64)
    slope = (x1 - x0) / (y1 - y0)
    for some in np.array_split(np.arange(len(counts)), counts.sum() // CROSSINGS + 1):
        edge = np.repeat(some, counts[some])
        row = np.arange(len(edge)) - np.repeat(np.cumsum(counts[some]) - counts[some], counts[some]) + first[edge]
        at = np.round(x0[edge] + (row - y0[edge]) * slope[edge], GRAIN)
        column = np.clip(np.ceil(at), 0, columns).astype(np.int64)
        toggles += np.bincount((row - top) * width + column, minlength=len(toggles))
    inside = (np.cumsum(toggles.reshape(bottom - top, width), axis=1) & 1).astype(bool)[:, :-1]
    return trimmed(inside, top)


def trimmed(mask: np.ndarray, top: int = 0, left: int = 0) -> Region | None:
    """A bool mask (height, width) whose first pixel is (top, left), cut to its bounding box; None when it is empty."""
    filled_rows, filled_columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(filled_rows):
        return None
    r0, r1, c0, c1 = filled_rows[0], filled_rows[-1] + 1, filled_columns[0], filled_columns[-1] + 1
    return Region(top + int(r0), left + int(c0), np.ascontiguousarray(mask[r0:r1, c0:c1]))


def united(one: Region, other: Region) -> Region:
    """The pixels of either."""
    top, left = min(one.top, other.top), min(one.left, other.left)
    bottom = max(one.window[0].stop, other.window[0].stop)
    right = max(one.window[1].stop, other.window[1].stop)
    mask = np.zeros((bottom - top, right - left), bool)
    for region in (one, other):
        rows, columns = region.window
        mask[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] |= region.mask
    return Region(top, left, mask)


def compose(regions: Mapping[int, Region], rows: int, columns: int, vocabulary: Vocabulary) -> LabelMap:
    """One label map of `rows` x `columns` from regions by vocabulary id, by the overlap policy of this module.

    Every region lies inside the slice. Targets have to be left out before.
    """
    values = np.zeros((rows, columns), np.uint8)
    claims = np.zeros((rows, columns), np.uint8)
    painted = sorted(regions, key=lambda i: (vocabulary.by_id(i).priority, -regions[i].area, i))
    for identifier in painted:
        region = regions[identifier]
        values[region.window][region.mask] = identifier
        claims[region.window] += region.mask
    present, areas = np.unique(values[values > 0], return_counts=True)
    return LabelMap(
        values=values,
        areas={int(i): int(n) for i, n in zip(present, areas, strict=True)},
        overlap_pixels=int(np.count_nonzero(claims > 1)),
    )
