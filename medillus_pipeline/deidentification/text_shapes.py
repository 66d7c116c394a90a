"""Shapes that stand in a row like letters, found without reading them: small, alike in height, on one line.

An overlay's letters differ from anatomy in that they share a base line, a stroke width and a value. What reads the
text is not here (`pixel_text.py`), nor what is done about it (`pixel_cleaning.py`).
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree
from skimage.measure import label

OPENINGS = (9, 19)
"""Sides, in pixels, of the squares whose opening is taken for the background of the strokes (white top-hat)."""
CONTRASTS = (16, 28, 48, 80, 120, 170)
"""Greys by which strokes stand out from that background; each is tried, as letters merge at a low one."""
FLAT_STEP = 4
"""Greys that count as one value: an overlay is drawn in one grey, whatever lies beneath."""
FLAT_CONTRAST = 24
"""Greys by which a shape of one value differs from what surrounds it."""
SPREAD, FLAT_SPREAD = 40.0, 1.5
"""Greys by which neighbouring letters may differ: as strokes with soft edges, and as shapes of one value."""
LEAST_HEIGHT, GREATEST_HEIGHT = 4, 60
LEAST_LETTERS = 3


class Box(NamedTuple):
    """A rectangle of a frame in pixels; right and bottom are excluded."""

    left: int
    top: int
    right: int
    bottom: int


class _Shapes(NamedTuple):
    """Connected components: their rectangles (n, 4), pixels, mean grey and stroke width (n,)."""

    boxes: np.ndarray
    areas: np.ndarray
    grey: np.ndarray
    stroke: np.ndarray


def rows_of_shapes(plane: np.ndarray, *, letters: int = LEAST_LETTERS) -> list[Box]:
    """Rectangles of rows of at least `letters` letter-like shapes in `plane`, (rows, columns) uint8.

    Light and dark ink are looked for, upright and turned by 90 degrees. Rectangles hold the margin of a letter and may
    reach beyond the frame. Shapes of one value need one letter more: smooth anatomy has bands of one value too.
    """
    found: list[Box] = []
    for turned in (False, True):
        upright = np.ascontiguousarray(plane.T if turned else plane)
        kinds = [(_flat(upright, shift), letters + 1, FLAT_SPREAD) for shift in (0, FLAT_STEP // 2)]
        for ink in (upright, 255 - upright):
            for opening in OPENINGS:
                strokes = np.asarray(ndimage.white_tophat(ink, size=(opening, opening)))
                kinds += [(_components(strokes >= contrast, ink), letters, SPREAD) for contrast in CONTRASTS]
        for shapes, least, spread in kinds:
            for members in _rows(shapes, least, spread):
                box = _around(shapes.boxes[members])
                found.append(Box(box.top, box.left, box.bottom, box.right) if turned else box)
    return list(dict.fromkeys(found))


def _around(boxes: np.ndarray) -> Box:
    left, top = boxes[:, :2].min(axis=0)
    right, bottom = boxes[:, 2:].max(axis=0)
    height = int((boxes[:, 3] - boxes[:, 1]).max())
    side, above = height if len(boxes) > 3 else height // 2, -(-height * 2 // 5)
    return Box(int(left) - side, int(top) - above, int(right) + side, int(bottom) + above)


def _flat(plane: np.ndarray, shift: int) -> _Shapes:
    """Components of one grey."""
    steps = (plane.astype(np.int16) + shift) // FLAT_STEP
    shapes = _measured(np.asarray(label(steps, background=-1, connectivity=2)), plane)
    kept = (np.abs(_surroundings(shapes, plane)) >= FLAT_CONTRAST) & (shapes.boxes[:, 3] - shapes.boxes[:, 1] >= 6)
    return _Shapes(*(values[kept] for values in shapes))


def _surroundings(shapes: _Shapes, plane: np.ndarray) -> np.ndarray:
    """How much greyer each shape is than the rest of its rectangle, one pixel wider on each side."""
    sums = np.zeros((plane.shape[0] + 1, plane.shape[1] + 1))
    sums[1:, 1:] = plane.cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
    left, top = np.maximum(shapes.boxes[:, :2] - 1, 0).T
    right, bottom = np.minimum(shapes.boxes[:, 2:] + 1, plane.shape[::-1]).T
    total = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    rest = np.maximum((right - left) * (bottom - top) - shapes.areas, 1)
    return shapes.grey - (total - shapes.grey * shapes.areas) / rest


def _components(mask: np.ndarray, plane: np.ndarray) -> _Shapes:
    labels = np.empty(mask.shape, np.int32)
    ndimage.label(mask, np.ones((3, 3)), output=labels)
    return _measured(labels, plane)


def _measured(labels: np.ndarray, plane: np.ndarray) -> _Shapes:
    """Those components that have the size and the fill of a letter."""
    count = int(labels.max())
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    large = np.flatnonzero((areas >= LEAST_HEIGHT) & (areas <= 2 * GREATEST_HEIGHT**2))
    if not len(large):
        return _Shapes(np.zeros((0, 4), int), np.zeros(0), np.zeros(0), np.zeros(0))
    renumbered = np.zeros(count + 1, np.int32)
    renumbered[large + 1] = np.arange(1, len(large) + 1)
    labels, areas = renumbered[labels], areas[large]
    slices = ndimage.find_objects(labels)
    boxes = np.array([(x.start, y.start, x.stop, y.stop) for y, x in slices])
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    fill = areas / (widths * heights)
    kept = (heights >= LEAST_HEIGHT) & (heights <= GREATEST_HEIGHT) & (widths <= 2.5 * heights + 4) & (fill >= 0.12)
    kept &= (fill <= 0.95) | (widths < 0.5 * heights)  # an I or an l fills its rectangle, other letters do not
    edge = (labels > 0) & (labels != ndimage.grey_erosion(labels, footprint=ndimage.generate_binary_structure(2, 1)))
    flat = labels.ravel()
    edges = np.bincount(flat, edge.ravel(), minlength=len(large) + 1)[1:]
    grey = np.bincount(flat, plane.ravel(), minlength=len(large) + 1)[1:] / areas
    return _Shapes(boxes[kept], areas[kept], grey[kept], (2 * areas / np.maximum(edges, 1))[kept])


def _rows(shapes: _Shapes, letters: int, spread: float) -> list[list[int]]:
    """Chains of neighbours on one line that are alike in height, grey and stroke width, as indices of `shapes`."""
    boxes = shapes.boxes
    if len(boxes) < letters:
        return []
    left, right, bottom = boxes[:, 0], boxes[:, 2], boxes[:, 3]
    height = bottom - boxes[:, 1]
    near = KDTree(np.column_stack([left, bottom])).query_ball_point(
        np.column_stack([right, bottom]), r=1.3 * np.maximum(height, 6)
    )
    chain = np.arange(len(boxes))
    for one in np.argsort(left, kind="stable"):
        others = np.asarray(near[one], int)
        others = others[(others != one) & (left[others] > left[one])]
        taller, lower = np.maximum(height[others], height[one]), np.minimum(height[others], height[one])
        gap = left[others] - right[one]
        fits = (np.abs(bottom[others] - bottom[one]) <= np.maximum(1, 0.1 * taller)) & (lower >= 0.6 * taller)
        fits &= (gap >= -0.2 * height[one]) & (gap <= taller)
        fits &= np.abs(shapes.grey[others] - shapes.grey[one]) <= spread
        strokes, stroke = shapes.stroke[others], shapes.stroke[one]
        fits &= np.maximum(strokes, stroke) <= 1.7 * np.minimum(strokes, stroke)
        if fits.any():
            following = others[fits]
            nearest = following[np.argmin(left[following])]
            chain[chain == chain[nearest]] = chain[one]
    members: dict[int, list[int]] = {}
    for index, first in enumerate(chain):
        members.setdefault(int(first), []).append(index)
    return [row for row in members.values() if len(row) >= letters]
