"""Strokes and closed shapes of a sheet: ink → lines one pixel wide, lines → regions, gaps closed.

All in the sheet's own pixels; how they come into the model's frame is in `placing.py`, whose strokes they are in
`legend.py`.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import skeletonize

Mask = NDArray[np.bool_]

BLOB = 0.022
"""Half-width, as a share of the longer side, from which ink is a filled shape and no stroke: its edge is the line."""

SPECK = 0.012
"""Extent, as a share of the longer side, below which a stroke is a speck of dirt."""

WIDEST_GAP = 0.3
"""Gap, as a share of a shape's longer extent, up to which it is closed; beyond, its hull is taken."""

EIGHT_NEIGHBOURS = np.ones((3, 3), bool)


def lines_of(ink: NDArray[np.floating]) -> Mask:
    """(h, w): the middle lines of the strokes in ink (h, w), and the edges of filled shapes; specks left out."""
    mask = np.asarray(ink) > 0.4
    side = max(mask.shape)
    core = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1] > BLOB * side  # pyright: ignore
    if core.any():
        blob = mask & (ndimage.distance_transform_edt(~core) <= BLOB * side + 1.5)  # pyright: ignore
        edge = blob & ~np.asarray(ndimage.binary_erosion(blob, EIGHT_NEIGHBOURS), bool)
        mask = (mask & ~blob) | edge
    return _without_specks(skeletonize(mask), side)


def _without_specks(lines: Mask, side: int) -> Mask:
    numbered, _ = ndimage.label(lines, EIGHT_NEIGHBOURS)  # pyright: ignore[reportGeneralTypeIssues]
    kept = lines.copy()
    for box in ndimage.find_objects(numbered):
        if max(each.stop - each.start for each in box) < SPECK * side:
            kept[box] = False
    return kept


def enclosed(lines: Mask) -> list[Mask]:
    """The regions (h, w) that strokes of one meaning enclose, one for each shape; gaps are closed.

    Strokes that lie near one another are one shape. It is closed with the narrowest bridging that makes it enclose
    most of its hull; when none up to the widest gap does, the hull itself is taken.
    """
    side = max(lines.shape)
    near = ndimage.distance_transform_edt(~lines) <= 0.02 * side  # pyright: ignore[reportOperatorIssue]
    numbered, count = ndimage.label(near, EIGHT_NEIGHBOURS)  # pyright: ignore[reportGeneralTypeIssues]
    shapes = [lines & (numbered == number) for number in range(1, count + 1)]
    return [region for each in _joined(shapes) if (region := _filled(each)) is not None]


def _joined(shapes: list[Mask]) -> list[Mask]:
    """Pieces whose hulls overlap, or whose gap is narrow beside their length, belong to one shape."""
    pieces = [(each, _box(each)) for each in shapes]
    merged = True
    while merged and len(pieces) > 1:
        merged = False
        for first in range(len(pieces)):
            for second in range(first + 1, len(pieces)):
                if _belong(pieces[first][1], pieces[second][1]):
                    both = pieces[first][0] | pieces[second][0]
                    pieces = [p for i, p in enumerate(pieces) if i not in (first, second)] + [(both, _box(both))]
                    merged = True
                    break
            if merged:
                break
    return [mask for mask, _ in pieces]


def _box(mask: Mask) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(mask)
    return int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1


def _belong(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    reach = WIDEST_GAP * min(max(a[1] - a[0], a[3] - a[2]), max(b[1] - b[0], b[3] - b[2]))
    return bool(max(a[0], b[0]) - min(a[1], b[1]) < reach and max(a[2], b[2]) - min(a[3], b[3]) < reach)


def _filled(lines: Mask) -> Mask | None:
    """What one shape encloses, its stroke's middle included; None for a mere dot."""
    from skimage.morphology import convex_hull_image

    top, bottom, left, right = _box(lines)
    extent = max(bottom - top, right - left)
    if extent < 4:
        return None
    margin = int(WIDEST_GAP * extent) + 2
    small = np.pad(lines[top:bottom, left:right], margin)
    hull: Mask = np.array(convex_hull_image(small), dtype=bool)
    away = ndimage.distance_transform_edt(~small)
    for reach in (1.5, *(share * extent for share in (0.02, 0.04, 0.07, 0.11, WIDEST_GAP / 2))):
        thick = away <= reach  # pyright: ignore[reportOperatorIssue]
        whole = np.asarray(ndimage.binary_fill_holes(thick), bool)
        if whole.sum() - thick.sum() > 0.15 * np.count_nonzero(hull) or reach > WIDEST_GAP / 2 * extent:
            # The bridged stroke is as wide as its reach: what it adds outside is taken off again.
            region = ndimage.distance_transform_edt(np.pad(whole, 1))[1:-1, 1:-1] > reach - 0.5  # pyright: ignore
            region |= small
            if region.sum() > 0.3 * np.count_nonzero(hull):
                inside = np.asarray(ndimage.binary_fill_holes(region), bool)
                return _placed(inside, lines.shape, top - margin, left - margin)
    return _placed(np.asarray(hull, bool), lines.shape, top - margin, left - margin)


def _placed(region: Mask, shape: tuple[int, ...], top: int, left: int) -> Mask:
    whole = np.zeros(shape, bool)
    rows, columns = np.nonzero(region)
    rows, columns = rows + top, columns + left
    inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    whole[rows[inside], columns[inside]] = True
    return whole
