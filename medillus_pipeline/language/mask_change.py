"""How a mask is changed without leaving the body: a small affine and elastic change, and the exact resize of an organ.

Every displacement fades to nothing towards the skin and in bone, so that the body's outline and the skeleton stay.
An organ grows by pushing its neighbours away along the normals of its border, not by covering them; the width of the
push is found by bisection. What is not here: which mask is changed, and whether the result is let through
(`mask_answer.py`).
"""

from collections.abc import Callable, Collection

import numpy as np
from scipy import ndimage

SKIN_MM = 10.0
"""Depth under the skin that never moves."""

FADING_MM = 30.0
"""Depth over which displacements fade towards it."""

ROTATION_DEGREES, SCALING, SHIFT_MM, ELASTIC_MM = 4.0, 0.05, 6.0, 8.0
"""Standard deviations of the change, about half of what patients of a training set differ by."""

ELASTIC_SHARE = 1 / 8
"""Width of the elastic field's bumps as a share of the frame."""

BISECTIONS = 14


def freedom(body: np.ndarray, rigid: np.ndarray, pixel_mm: float) -> np.ndarray:
    """(h, w) 0 … 1: how far a pixel may move. 0 outside the `body`, under its skin and in what is `rigid`."""
    depth = np.asarray(ndimage.distance_transform_edt(np.pad(body, 1)))[1:-1, 1:-1] * pixel_mm
    free = np.clip((depth - SKIN_MM) / FADING_MM, 0, 1)
    stiff = np.asarray(ndimage.gaussian_filter(rigid.astype(np.float64), 0.7))
    return free * (1 - np.clip(stiff * 1.5, 0, 1))


def changed(
    labels: np.ndarray, free: np.ndarray, pixel_mm: float, generator: np.random.Generator, strength: float = 1.0
) -> np.ndarray:
    """The label map (h, w) after a random affine and elastic change, `strength` times what the constants say."""
    height, width = labels.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    movable = np.argwhere(free > 0)
    centre = movable.mean(0) if len(movable) else np.array([height, width]) / 2
    angle = np.deg2rad(ROTATION_DEGREES) * generator.standard_normal() * strength
    scale = np.exp(SCALING * strength * generator.standard_normal(2))
    shift = SHIFT_MM / pixel_mm * strength * generator.standard_normal(2)
    y, x = rows - centre[0], columns - centre[1]
    moved = (
        scale[0] * (np.cos(angle) * y - np.sin(angle) * x) - y + shift[0],
        scale[1] * (np.sin(angle) * y + np.cos(angle) * x) - x + shift[1],
    )
    bumps = [ndimage.gaussian_filter(generator.standard_normal((height, width)), height * ELASTIC_SHARE) for _ in "yx"]
    size = ELASTIC_MM / pixel_mm * strength
    field = [(m + size * b / max(float(b.std()), 1e-9)) * free for m, b in zip(moved, bumps, strict=True)]
    return _sampled(labels, np.stack([rows + field[0], columns + field[1]]))[0]


def left_out(labels: np.ndarray, index: int) -> np.ndarray:
    """The label map without a class: its pixels go to the structure that surrounds it, or to none."""
    inside = labels == index
    if not inside.any():
        return labels
    ring = np.asarray(ndimage.binary_dilation(inside, iterations=1)) & ~inside
    around = np.bincount(labels[ring].ravel(), minlength=1)
    result = labels.copy()
    result[inside] = around.argmax() if around.max(initial=0) > 0.6 * ring.sum() else 0
    return result


def resized(
    labels: np.ndarray,
    index: int,
    free: np.ndarray,
    measure: Callable[[np.ndarray], float],
    target: float,
    *,
    exact: bool,
    protected: Collection[int] = (),
) -> np.ndarray:
    """The label map with class `index` grown or shrunk until `measure` of its mask (h, w) bool is nearest to `target`.

    `measure` rises with the mask. With `exact` the mask then gets exactly the `target` number of pixels, rounded:
    those where the class is likeliest are added, the least likely taken away, and none of the `protected` classes.
    """
    inside = labels == index
    signed = np.asarray(ndimage.distance_transform_edt(~inside)) - np.asarray(ndimage.distance_transform_edt(inside))
    signed = np.asarray(ndimage.gaussian_filter(signed, 0.7))
    slope = np.array(np.gradient(signed))
    normal = slope / np.maximum(np.hypot(*slope), 1e-6)
    grid = np.mgrid[: labels.shape[0], : labels.shape[1]].astype(np.float64)

    def pushed(width: float) -> tuple[np.ndarray, np.ndarray]:
        reach = 2.0 * abs(width) + 1.0
        fading = np.exp(-np.maximum(signed, 0) / reach) * free
        return _sampled(labels, grid - width * fading * normal, index)

    low, high = -float(labels.shape[0]) / 4, float(labels.shape[0]) / 4
    best, best_score, best_error = labels, np.where(inside, 1.0, 0.0), abs(measure(inside) - target)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        candidate, score = pushed(middle)
        value = measure(candidate == index)
        if abs(value - target) < best_error:
            best, best_score, best_error = candidate, score, abs(value - target)
        low, high = (middle, high) if value < target else (low, middle)
    return _of_exactly(best, index, best_score, free, round(target), protected) if exact else best


def _of_exactly(
    labels: np.ndarray, index: int, score: np.ndarray, free: np.ndarray, count: int, protected: Collection[int]
) -> np.ndarray:
    result = labels.copy()
    while (missing := count - int((result == index).sum())) != 0:
        inside = result == index
        if missing > 0:
            border = np.asarray(ndimage.binary_dilation(inside)) & ~inside & (free > 0)
            open_ = border & ~np.isin(result, [*protected])
            sizes = np.bincount(result.ravel())
            open_ &= (result == 0) | (sizes[result] > 2)  # no neighbour vanishes
            chosen = _extreme(open_, score + 1e-3 * (result == 0), missing)
            result[chosen] = index
        else:
            edge = inside & ~np.asarray(ndimage.binary_erosion(inside), bool)
            chosen = _extreme(edge, -score, min(-missing, max(int(inside.sum()) - 1, 0)))
            result[chosen] = 0
        if not chosen[0].size:
            break
    return result


def _extreme(allowed: np.ndarray, score: np.ndarray, count: int) -> tuple[np.ndarray, ...]:
    places = np.flatnonzero(allowed)
    ranked = places[np.argsort(-score.ravel()[places], kind="stable")[:count]]
    return np.unravel_index(ranked, allowed.shape)


def _sampled(labels: np.ndarray, points: np.ndarray, index: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The label with most weight at each point, bilinear; and the weight of class `index` there."""
    best = np.full(labels.shape, -1.0)
    result = np.zeros_like(labels)
    own = np.zeros(labels.shape)
    for label in np.unique(labels):
        weight = ndimage.map_coordinates((labels == label).astype(np.float64), points, order=1, mode="nearest")
        closer = weight > best
        result[closer], best[closer] = label, weight[closer]
        if label == index:
            own = weight
    return result, own


def greatest_diameter(mask: np.ndarray) -> float:
    """Greatest distance in pixels from edge to edge of a mask (h, w) bool; 0 for an empty one."""
    edge = mask & ~np.asarray(ndimage.binary_erosion(mask), bool)
    points = np.argwhere(edge).astype(np.float64)
    if not len(points):
        return 0.0
    gaps = points[:, None] - points[None]
    return float(np.sqrt((gaps**2).sum(-1)).max()) + 1.0
