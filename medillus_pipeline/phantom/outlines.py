"""Outlines of label maps as closed polygons, holes included, rounded and thinned as a drawn line would be."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import find_contours

SHORT = 32
"""Outlines with fewer points keep them all; longer ones keep every second after smoothing (0.3 pixels at most)."""
LEAST_PIXELS = 4
"""Smaller specks and holes get no outline of their own."""

Polygon = NDArray[np.float64]


@dataclass(frozen=True)
class Outline:
    """One connected part: (points, 2) column, row in pixels, the first pixel's centre at (0, 0); closed implicitly."""

    outer: Polygon
    holes: tuple[Polygon, ...]


def trace(mask: NDArray[np.bool_]) -> list[Outline]:
    """The outlines of the connected parts of a binary mask (rows, columns), in scan order."""
    found = []
    parts, count = _parts(mask)
    for number, box in enumerate(ndimage.find_objects(parts, count), start=1):
        part = np.pad(parts[box] == number, 1)
        if part.sum() < LEAST_PIXELS:
            continue
        offset = np.array([box[1].start - 1, box[0].start - 1], np.float64)
        filled = np.asarray(ndimage.binary_fill_holes(part), bool)
        outer = _polygon(filled, offset)
        if outer is None:
            continue
        gaps, gap_count = _parts(filled & ~part)
        large = [gap for gap in range(1, gap_count + 1) if (gaps == gap).sum() >= LEAST_PIXELS]
        holes = (_polygon(gaps == gap, offset) for gap in large)
        found.append(Outline(outer, tuple(hole for hole in holes if hole is not None)))
    return found


def keyhole(outline: Outline) -> Polygon:
    """One polygon for a part with holes: each hole is joined to the outer line by a channel of no width
    (PS3.3 C.8.8.6.3).
    """
    line = outline.outer
    for hole in outline.holes:
        distances = np.linalg.norm(line[:, None] - hole[None], axis=2)
        here, there = np.unravel_index(int(distances.argmin()), distances.shape)
        around = np.roll(hole, -int(there), axis=0)[::-1]
        around = np.roll(around, 1, axis=0)
        line = np.concatenate([line[: here + 1], around, around[:1], line[here:]])
    return line


def _parts(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Connected parts (4-neighbours), numbered from 1, and how many there are."""
    numbers = np.zeros(mask.shape, np.int32)
    return numbers, int(ndimage.label(mask, output=numbers))  # type: ignore[arg-type]


def _polygon(mask: NDArray[np.bool_], offset: NDArray[np.float64]) -> Polygon | None:
    lines = find_contours(np.pad(mask, 1).astype(np.float32), 0.5)
    if not lines:
        return None
    line = max(lines, key=len)[:-1, ::-1] - 1 + offset
    if len(line) < SHORT:
        return line if len(line) >= 3 else None
    return ((np.roll(line, 1, axis=0) + 2 * line + np.roll(line, -1, axis=0)) / 4)[::2]
