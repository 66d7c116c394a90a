"""What label maps say of their structures in numbers: averages by level, size, shape, position, neighbours.

Plain figures of slices of training patients, each patient with the same weight where patients are averaged. What they
are kept as is not here, see `prior.py`; level sets and modes are in `shape_fitting.py`.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

MOMENTS = ("elongation", "orientation", "compactness")
"""Measures of a structure's shape in a slice, from its second moments:

* elongation: square root of the ratio of the greater to the lesser (1: as wide as long);
* orientation of the long axis: degrees from the patient's left (0) towards posterior, -90 to 90;
* compactness: area over that of the ellipse with the same second moments (1: an ellipse; less: branched or in parts).
"""


def level_kernel(levels: np.ndarray, patients: Sequence[str], count: int, smoothing: float) -> np.ndarray:
    """(count, n) weights of slices at `levels` (n,) for each of `count` evenly spaced levels; each line adds up to 1.

    Gaussian with `smoothing` levels of standard deviation, every patient with the same weight.
    """
    numbers = {patient: sum(other == patient for other in patients) for patient in set(patients)}
    weights = np.array([1 / numbers[patient] for patient in patients])
    width = max(smoothing, 0.3) / (count - 1)
    distance = (np.linspace(0, 1, count)[:, None] - levels[None]) / width
    # Subtracting the nearest slice's distance keeps the weights of levels that no slice is near from vanishing.
    kernel = np.exp(-0.5 * (distance**2 - (distance**2).min(1, keepdims=True))) * weights
    return kernel / kernel.sum(1, keepdims=True)


def by_level(maps: np.ndarray, kernel: np.ndarray, plane_smoothing: float) -> np.ndarray:
    """(levels, c, h, w) float32: mean of (n, c, h, w) maps by the kernel, smoothed in the plane (in pixels)."""
    mean = np.tensordot(kernel, maps.astype(np.float32), axes=1)
    if plane_smoothing:
        mean = ndimage.gaussian_filter(mean, (0, 0, plane_smoothing, plane_smoothing), mode="nearest")
    return mean.astype(np.float32)


def spread_by_level(measured: np.ndarray, levels: np.ndarray, count: int) -> np.ndarray:
    """(count, c, 2) float32: mean and standard deviation of (n, c) figures of the slices nearest to each level; NaN
    figures are left out, and a level without one is NaN.
    """
    nearest = np.rint(levels * (count - 1)).astype(int)
    result = np.full((count, measured.shape[1], 2), np.nan, np.float32)
    for level in np.unique(nearest):
        result[level] = spread(measured[nearest == level])
    return result


def shape_moments(masks: np.ndarray) -> np.ndarray:
    """(n, c, 3) float64: the `MOMENTS` of masks (n, c, h, w) bool with square pixels, NaN where one is empty."""
    area = masks.sum((2, 3)).astype(float)
    area[area == 0] = np.nan
    height, width = masks.shape[2:]
    x, y = np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2
    columns, rows = masks.sum(2) / area[..., None], masks.sum(3) / area[..., None]
    along, down = columns @ x, rows @ y
    # A pixel is a square and no point: it has a twelfth of its area as moment of its own.
    xx, yy = columns @ x**2 - along**2 + 1 / 12, rows @ y**2 - down**2 + 1 / 12
    xy = ((masks.astype(np.float32) @ x.astype(np.float32)) @ y.astype(np.float32)) / area - along * down
    middle, half = (xx + yy) / 2, np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    greater, lesser = middle + half, np.maximum(middle - half, 1 / 12)
    orientation = np.degrees(np.arctan2(2 * xy, xx - yy)) / 2
    return np.stack([np.sqrt(greater / lesser), orientation, area / (4 * np.pi * np.sqrt(greater * lesser))], -1)


def moments_by_level(moments: np.ndarray, levels: np.ndarray, count: int) -> np.ndarray:
    """(count, c, 3, 2) float32: mean and standard deviation of (n, c, 3) `shape_moments`; orientations, which are the
    same after half a turn, are averaged as directions of twice the angle.
    """
    result = np.stack([spread_by_level(moments[..., i], levels, count) for i in range(len(MOMENTS))], 2)
    turned = np.exp(2j * np.radians(moments[..., MOMENTS.index("orientation")]))
    parts = (spread_by_level(part, levels, count)[..., 0] for part in (np.real(turned), np.imag(turned)))
    mean = np.sum([part * unit for part, unit in zip(parts, (1, 1j), strict=True)], axis=0)
    # Circular standard deviation (Mardia and Jupp 2000, section 2.3.1), halved with the angle.
    deviation = np.sqrt(-2 * np.log(np.clip(np.abs(mean), 1e-9, 1))) / 2
    result[:, :, MOMENTS.index("orientation")] = np.degrees(np.stack([np.angle(mean) / 2, deviation], -1))
    return result


def positions(
    masks: np.ndarray, levels: np.ndarray, pitch: np.ndarray, patients: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Centroids (c, 3, 2) over patients, and which of two structures lies further left (c, c), of masks (n, c, h, w)
    with pixels of `pitch` (n,) mm: see `prior.Prior`.
    """
    count, size = masks.shape[1:3]
    offsets = (np.arange(size) - (size - 1) / 2)[None]
    columns, rows = masks.sum(2), masks.sum(3)
    centres = []
    for patient in np.unique(patients):
        own = patients == patient
        weight = masks[own].sum((0, 2, 3)).astype(float)
        weight[weight == 0] = np.nan
        left = np.einsum("ncw,nw->c", columns[own], pitch[own, None] * offsets) / weight
        back = np.einsum("nch,nh->c", rows[own], pitch[own, None] * offsets) / weight
        level = np.einsum("nc,n->c", masks[own].sum((2, 3)), levels[own]) / weight
        centres.append(np.stack([left, back, level], 1))
    stacked = np.stack(centres)
    order = np.full((count, count), np.nan, np.float32)
    difference = stacked[:, :, None, 0] - stacked[:, None, :, 0]
    known = np.isfinite(difference).sum(0)
    further = (difference > 0).sum(0)
    order[known > 0] = (further / np.maximum(known, 1))[known > 0]
    return spread(stacked), order


def adjacency(labels: np.ndarray, count: int) -> np.ndarray:
    """(count + 1, count + 1) float32: share of the row label's border pixels that touch the column's, background
    first, of label maps (n, h, w); NaN for a label that has no border.
    """
    touches = np.zeros((count + 1, count + 1))
    for first, second in ((labels[:, 1:], labels[:, :-1]), (labels[:, :, 1:], labels[:, :, :-1])):
        border = first != second
        pairs = np.bincount(
            first[border].astype(int) * (count + 1) + second[border], minlength=(count + 1) ** 2
        ).reshape(count + 1, count + 1)
        touches += pairs + pairs.T
    total = touches.sum(1, keepdims=True)
    return np.where(total > 0, touches / np.maximum(total, 1), np.nan).astype(np.float32)


def spread(samples: np.ndarray) -> np.ndarray:
    """Mean and standard deviation over the first axis, NaN left out: (..., 2) float32."""
    known = np.isfinite(samples).sum(0)
    mean = np.nansum(samples, 0) / np.maximum(known, 1)
    variance = np.nansum((samples - mean) ** 2, 0) / np.maximum(known, 1)
    result = np.stack([mean, np.sqrt(variance)], -1)
    result[known == 0] = np.nan
    return result.astype(np.float32)
