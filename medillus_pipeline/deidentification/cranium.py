"""Where the head lies in a volume: a coarse grid along the axes of the patient, the body in it, and the cranial cavity.

All of it is threshold, distance and connectivity; there is no atlas and nothing learnt. What is removed from a head is
decided in `defacing.py`, whether the source speaks of a head in `heads.py`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

STEP = 3.0
"""Distance of the grid's points in mm: fine enough for the skull, coarse enough to take a second."""
AIR_HU = -400.0
"""Between air and skin, halfway but for the fat of a thin skin."""
BONE_HU = 180.0
"""Bone at `STEP`: a thin plate of 600 HU that fills a third of a cell still counts."""
SOFT_HU = (-25.0, 110.0)
"""Brain, blood and liquor; fat (the orbits) and bone are outside."""
LEAST_BRAIN, MOST_BRAIN = 80e3, 2500e3
"""Volumes in mm3 between which a found cavity is taken for a cranial one, cropped or whole."""

STRAIT = 12.0
"""Depth in mm to which the tissue of an MR is worn off to part the brain from orbits and neck."""

Modality = Literal["CT", "MR"]


@dataclass(frozen=True)
class Grid:
    """A volume resampled along the axes of the patient.

    `values` (z, y, x) float32: z grows to the head, y to the back, x to the left (LPS), `STEP` mm apart; `origin` is
    the LPS position (x, y, z) in mm of the first point. `inside` says which points the volume covers.
    """

    values: np.ndarray
    inside: np.ndarray
    origin: np.ndarray

    def millimetres(self, axis: int) -> np.ndarray:
        """LPS positions in mm along an array axis (0 is z)."""
        return self.origin[2 - axis] + STEP * np.arange(self.values.shape[axis])


def resample(volume: np.ndarray, affine: np.ndarray) -> Grid:
    """The volume (slices, rows, columns) on a grid; `affine` (4, 4) takes (column, row, slice, 1) to LPS mm.

    Means over blocks come first, so that noise and thin bone count. Raises ValueError when the matrix has no inverse or
    the volume is empty.
    """
    if volume.ndim != 3 or not volume.size:
        raise ValueError("a volume has slices, rows and columns")
    to_lps = np.asarray(affine, float)[:, [2, 1, 0, 3]]
    spacing = np.linalg.norm(to_lps[:3, :3], axis=0)
    if not np.all(np.isfinite(to_lps)) or abs(np.linalg.det(to_lps[:3, :3])) < 1e-6:
        raise ValueError("the affine does not span space")
    blocks = [max(1, min(int(STEP // s), n)) for s, n in zip(spacing, volume.shape, strict=True)]
    means = _block_means(volume, blocks)
    scale = np.eye(4)
    scale[:3, :3] = np.diag(blocks)
    scale[:3, 3] = (np.array(blocks) - 1) / 2
    to_lps = to_lps @ scale
    last = np.array(means.shape) - 1
    corners = np.array([[a, b, c, 1] for a in (0, last[0]) for b in (0, last[1]) for c in (0, last[2])]) @ to_lps.T
    low, high = corners[:, :3].min(0), corners[:, :3].max(0)
    shape = tuple(int(n) for n in np.floor((high - low)[::-1] / STEP) + 1)
    from_grid = np.zeros((4, 4))
    from_grid[[0, 1, 2], [2, 1, 0]] = STEP
    from_grid[:3, 3], from_grid[3, 3] = low, 1
    inverse = np.linalg.inv(to_lps) @ from_grid
    outside = float(min(means.min(), -1024.0)) - 1e6
    padded = np.pad(means, 1, mode="edge")
    inverse[:3, 3] += 1
    values = ndimage.affine_transform(padded, inverse, output_shape=shape, order=1, cval=outside)
    inside = values > outside / 2
    values[~inside] = means.min()
    return Grid(values, inside, low)


def _block_means(volume: np.ndarray, blocks: list[int]) -> np.ndarray:
    d, h, w = blocks
    slices, rows, columns = (n // b for n, b in zip(volume.shape, blocks, strict=True))
    means = np.empty((slices, rows, columns), np.float32)
    for i in range(slices):
        slab = volume[i * d : (i + 1) * d, : rows * h, : columns * w].mean(0, dtype=np.float32)
        means[i] = slab.reshape(rows, h, columns, w).mean((1, 3), dtype=np.float32)
    return means


def ball(radius: float) -> np.ndarray:
    """A ball of `radius` mm as a structuring element on the grid."""
    reach = int(radius // STEP)
    z, y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1, -reach : reach + 1]
    return (z * z + y * y + x * x) * STEP**2 <= radius**2


def _depth(mask: np.ndarray) -> np.ndarray:
    """Distance in mm of every point of a mask from what lies outside."""
    return np.asarray(ndimage.distance_transform_edt(mask, sampling=STEP))


def eroded(mask: np.ndarray, distance: float) -> np.ndarray:
    """Points deeper than `distance` mm in the mask. The border of the grid does not count as outside."""
    return _depth(np.pad(mask, 1, mode="edge"))[1:-1, 1:-1, 1:-1] > distance


def dilated(mask: np.ndarray, distance: float) -> np.ndarray:
    """Points within `distance` mm of the mask."""
    if not mask.any():
        return mask.copy()
    return _depth(~mask) <= distance


def _parts(mask: np.ndarray) -> np.ndarray:
    """The connected parts of a mask, numbered from 1."""
    labels = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, output=labels)
    return labels


def largest(mask: np.ndarray) -> np.ndarray:
    """The largest connected part; an empty mask stays empty."""
    labels = _parts(mask)
    sizes = np.bincount(labels.ravel(), minlength=2)
    sizes[0] = 0
    return (labels == sizes.argmax()) & mask


def body(grid: Grid, modality: Modality) -> np.ndarray:
    """What is not air, without thin things (masks, clothes, noise), its cavities filled in every axial plane."""
    tissue = (grid.values > air_level(grid, modality)) & grid.inside
    solid = largest(ndimage.binary_opening(tissue, ball(STEP)))
    for plane in solid:
        plane[:] = ndimage.binary_fill_holes(plane)
    return solid


def air_level(grid: Grid, modality: Modality) -> float:
    """The value between air and skin: HU for CT, a share of the bright end of an MR's intensities."""
    if modality == "CT":
        return AIR_HU
    values = grid.values[grid.inside]
    low, high = np.percentile(values, [2, 98])
    return float(low + 0.12 * (high - low))


def cranial_cavity(grid: Grid, solid: np.ndarray, modality: Modality) -> np.ndarray | None:
    """The brain and what is around it, as a convex body on the grid; None where no cavity of cranial size is found.

    CT: the largest soft tissue that bone walls in, in axial planes with a closed ring of bone under a thin scalp, and
    what is connected with it by more than the width of a canal. MR: the largest tissue of brain-like intensity in the
    depth of the head.
    """
    brain = _brain_ct(grid, solid) if modality == "CT" else _brain_mr(grid, solid)
    size = float(brain.sum()) * STEP**3
    if not LEAST_BRAIN <= size <= MOST_BRAIN:
        return None
    return _hull(brain)


def skull_slices(grid: Grid, solid: np.ndarray) -> np.ndarray:
    """The inside of the skull in those axial planes of a CT that show it as a closed ring: (z, y, x) bool.

    The ring lies under a thin scalp, is 9 to 19 cm wide and 9 to 24 cm long, and holds soft tissue.
    """
    bone = (grid.values > BONE_HU) & solid
    soft = (grid.values > SOFT_HU[0]) & (grid.values < SOFT_HU[1])
    found = np.zeros_like(solid)
    disc = ball(6)[ball(6).shape[0] // 2]
    for z in np.flatnonzero(bone.any((1, 2))):
        closed = np.asarray(ndimage.binary_closing(np.pad(bone[z], 4), disc))[4:-4, 4:-4]
        inner = np.asarray(ndimage.binary_fill_holes(closed)) > closed
        cavity = largest(np.asarray(ndimage.binary_opening(inner, disc)))
        if cavity.sum() * STEP**2 < 4000:
            continue
        ys, xs = np.nonzero(cavity)
        length, width = (np.ptp(ys) + 1) * STEP, (np.ptp(xs) + 1) * STEP
        scalp = _depth(cavity | solid[z])[cavity]
        rim = np.median(scalp[_depth(cavity)[cavity] <= STEP])
        if 90 <= width <= 190 and 90 <= length <= 240 and rim < 25 and soft[z][cavity].mean() > 0.7:
            found[z] = cavity
    return found


def _brain_ct(grid: Grid, solid: np.ndarray) -> np.ndarray:
    seed = skull_slices(grid, solid)
    if not seed.any():
        return seed
    soft = (grid.values > SOFT_HU[0]) & (grid.values < SOFT_HU[1]) & solid
    deep = eroded(soft | seed, 8)
    labels = _parts(deep)
    touched = np.bincount(labels[seed & deep], minlength=2)
    touched[0] = 0
    if not touched.any():
        return np.zeros_like(solid)
    core = labels == touched.argmax()
    # No part of a brain lies more than 12 cm below the lowest closed ring, and none outside its shadow by 4 cm.
    lowest = int(np.flatnonzero(seed.any((1, 2)))[0])
    core[: max(0, lowest - int(120 / STEP))] = False
    shadow = _depth(~np.any(seed, axis=0)) <= 40
    return dilated(core & shadow, 8 + STEP) & (soft | seed) & shadow


def _brain_mr(grid: Grid, solid: np.ndarray) -> np.ndarray:
    inner: np.ndarray = eroded(_filled(solid), 9)
    heights = np.flatnonzero(inner.any((1, 2)))
    if not len(heights):
        return inner
    top = int(heights[-1])
    inner[: max(0, top - int(150 / STEP))] = False
    if not inner.any():
        return inner
    upper = inner.copy()
    upper[: max(0, top - int(75 / STEP))] = False
    level = float(np.median(grid.values[upper]))
    tissue = inner & (grid.values > 0.6 * level) & (grid.values < 2.5 * level)
    tissue = np.asarray(ndimage.binary_fill_holes(tissue))
    deep = eroded(tissue, STRAIT)
    labels = _parts(deep)
    sizes = np.bincount(labels[upper & deep], minlength=2)
    sizes[0] = 0
    return dilated(labels == sizes.argmax(), STRAIT) & tissue if sizes.any() else np.zeros_like(solid)


def _filled(solid: np.ndarray) -> np.ndarray:
    """The body with nasal cavities and the like closed, plane by plane, in all three directions."""
    filled = solid.copy()
    for axis in range(3):
        for plane in np.moveaxis(filled, axis, 0):
            plane[:] = ndimage.binary_fill_holes(plane)
    return filled


def _hull(mask: np.ndarray) -> np.ndarray | None:
    points = np.argwhere(mask > np.asarray(ndimage.binary_erosion(mask)))
    try:
        planes = ConvexHull(points).equations.astype(np.float32)
    except QhullError:
        return None
    low, high = points.min(0), points.max(0) + 1
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    where = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij"), -1)
    within = np.ones(where.shape[:3], bool)
    for plane in planes:
        within &= where.astype(np.float32) @ plane[:3] + plane[3] <= 0.5
    hull = np.zeros_like(mask)
    hull[box] = within
    return hull
