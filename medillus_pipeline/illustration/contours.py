"""From coarse arrays to smooth shapes: enlarging values and label maps, outlines of organs, points to label them by.

Coordinates of shapes are x, y in pixels of the enlarged grid, measured from the upper left corner of its first pixel
(so the centre of that pixel is at 0.5, 0.5), which is also how SVG measures.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

_SMOOTHING = 0.6
_SMOOTHING_BY_DEPTH = 0.3


@dataclass(frozen=True)
class Outline:
    """The closed rings, (n, 2) x, y each, that bound a structure; to be filled by the even-odd rule."""

    rings: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Anchor:
    """The point of a structure that is about farthest from its border (pole of inaccessibility)."""

    x: float
    y: float


def enlarge_values(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Values (h, w) at another size, float32, bicubic, kept within the range of the input (no overshoot)."""
    image = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    resized = np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))
    return np.clip(resized, float(values.min()), float(values.max()))


def enlarge_labels(labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A label map (h, w) at another size with smooth borders and no gaps: each point goes to the nearest structure.

    Signed distances to every structure (and to the background) are enlarged bicubically and the greatest wins, so
    that a coarse grid leaves no stairs and structures one pixel thin survive.
    """
    best = np.full(shape, -np.inf, dtype=np.float32)
    enlarged = np.zeros(shape, dtype=labels.dtype)
    for value in np.unique(labels):
        distance = _signed_distance(labels == value)
        image = Image.fromarray(distance.astype(np.float32))
        resized = np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))
        nearer = resized > best
        enlarged[nearer] = value
        np.maximum(best, resized, out=best)
    return enlarged


def outline(mask: np.ndarray, *, iterations: int = 20, tolerance: float = 0.15) -> Outline:
    """The border of a mask (h, w) as smooth closed rings.

    Marching squares (`skimage.measure.find_contours`) on the cropped mask, Taubin smoothing, which does not shrink
    (G. Taubin, Curve and surface smoothing without shrinkage, ICCV 1995; lambda .5, mu -.53), then
    Douglas-Peucker simplification that moves no point by more than `tolerance` pixels.
    """
    from shapely import LinearRing
    from skimage.measure import find_contours

    if not mask.any():
        return Outline(())
    rows, columns = _box(mask)
    padded = np.pad(mask[rows, columns], 1).astype(np.float32)
    rings = []
    for contour in find_contours(padded, 0.5):
        ring = _taubin(contour[:-1], iterations) if len(contour) > 8 else contour[:-1]
        if len(ring) < 4:
            continue
        simple = np.asarray(LinearRing(ring).simplify(tolerance).coords)[:-1]
        rings.append(np.column_stack((simple[:, 1] + columns.start - 0.5, simple[:, 0] + rows.start - 0.5)))
    return Outline(tuple(rings))


def anchor(mask: np.ndarray) -> Anchor:
    """The point to label a mask (h, w) by: the deepest point of its largest component.

    Raises:
        ValueError: the mask is empty.
    """
    if not mask.any():
        raise ValueError("an empty mask has no anchor")
    components, count = _components(mask)
    if count > 1:
        sizes = np.bincount(components.ravel())[1:]
        mask = components == 1 + int(np.argmax(sizes))
    rows, columns = _box(mask)
    distance = np.asarray(ndimage.distance_transform_edt(np.pad(mask[rows, columns], 1)))
    deepest = float(distance.max())
    # Where a plateau is equally deep (a tube, a rectangle), its middle looks less accidental than its first pixel.
    row, column = np.nonzero(distance >= deepest - 0.5)
    middle = np.argmin((row - row.mean()) ** 2 + (column - column.mean()) ** 2)
    return Anchor(float(column[middle] + columns.start - 0.5), float(row[middle] + rows.start - 0.5))


def body_box(values: np.ndarray, labels: np.ndarray, *, threshold: float, margin: float = 0.05) -> tuple[slice, slice]:
    """Rows and columns worth showing: the largest component above the threshold, all labels, and a margin around them.

    The margin is a share of the longer side of that box. Returns the whole frame where nothing stands out.
    """
    components, count = _components(values > threshold)
    keep = labels > 0
    if count:
        keep = keep | (components == 1 + int(np.argmax(np.bincount(components.ravel())[1:])))
    if not keep.any():
        return slice(0, values.shape[0]), slice(0, values.shape[1])
    rows, columns = _box(keep)
    extra = max(1, round(margin * max(rows.stop - rows.start, columns.stop - columns.start)))
    height, width = values.shape
    return (
        slice(max(0, rows.start - extra), min(height, rows.stop + extra)),
        slice(max(0, columns.start - extra), min(width, columns.stop + extra)),
    )


def _box(mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _components(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Connected components (4-neighbours), numbered from 1, and how many there are."""
    numbered = np.zeros(mask.shape, np.int32)
    return numbered, int(ndimage.label(mask, output=numbered))  # type: ignore[arg-type]


def _signed_distance(mask: np.ndarray) -> np.ndarray:
    """Distance to the mask's border in pixels, positive inside; smoothed against stairs, less where it is thin."""
    if mask.all():
        return np.full(mask.shape, float(max(mask.shape)))
    inside = np.asarray(ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge")))[1:-1, 1:-1]
    outside = np.asarray(ndimage.distance_transform_edt(~mask))
    signed = np.where(mask, inside - 0.5, 0.5 - outside)
    return ndimage.gaussian_filter(signed, min(_SMOOTHING, _SMOOTHING_BY_DEPTH * (float(inside[mask].max()) - 0.5)))


def _taubin(ring: np.ndarray, iterations: int) -> np.ndarray:
    """A closed ring (n, 2), smoothed without shrinking."""
    for _ in range(iterations):
        for factor in (0.5, -0.53):
            ring = ring + factor * ((np.roll(ring, 1, axis=0) + np.roll(ring, -1, axis=0)) / 2 - ring)
    return ring
