"""Removing the face from a head volume (PS3.15 E.3.2, Clean Recognizable Visual Features), on arrays.

The method, in the manner of Quickshear (N. Schimke, J. Hale, "Quickshear defacing for neuroimages", HealthSec 2011):

1. The cranial cavity is found (`cranium.py`) and wrapped in its convex hull with a margin of 4 mm. It is never touched.
2. A plane, parallel to the line from forehead to chin, is laid behind the eyes. Everything before it is removed, from a
   little above the brow down to the neck. Where the cavity reaches before the plane, its hull is the new surface.
3. The ears are removed, with 10 mm of the sides of the head around them.

Air goes with the face, up to the edge of the volume: the border between replaced and measured air would be a mould of
it. The new surface is a plane and a convex hull, not a surface at constant depth below the skin, which still matches
its face (Ding et al., Int J CARS 2025, doi 10.1007/s11548-025-03421-1). The price is what lies there: eyes, nasal
cavities, front of jaw and tongue. Afterwards the surface is looked at from the front, and unless nearly all of the face
has gone the volume is refused. A volume without enough of the brain is cut in relation to the chin and the throat.

What is not here: DICOM files (`deface_files.py`), and what the source says of the part of the body (`heads.py`).
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medillus_pipeline.deidentification.cranium import (
    STEP,
    Grid,
    Modality,
    air_level,
    ball,
    body,
    cranial_cavity,
    dilated,
    eroded,
    resample,
)

MARGIN = 4.0
"""Distance in mm around the hull of the cranial cavity that stays."""
DEPTH_BEHIND_BRAIN = 35.0
"""Distance in mm of the plane behind the foremost point of the brain: behind the eyes, before the ears."""
DEPTH_BEHIND_SKIN = 50.0
"""Distance in mm of the plane behind the foremost skin where no brain is in view."""
ABOVE_POLE = 25.0
"""How far above the foremost point of the brain the forehead is removed, in mm."""
THROAT = (85.0, 165.0)
"""Distances in mm below the foremost point of the brain between which the throat is looked for."""
DEEPEST = 60.0
"""Distance in mm behind the foremost skin past which the front of a cavity is not taken for the forehead's."""
BESIDE = 10.0
"""Depth in mm of what goes with the ears."""
MOVED = 8.0
"""Distance in mm by which the surface seen from the front must move back to count as removed."""
LEAST_MOVED = 0.9
"""Share of the face's surface that must have moved."""
STEEPEST = 0.5
"""Greatest tangent of the plane's tilt: a head bent by 27 degrees."""
METHOD = "plane behind the eyes and hull of the brain, everything before them and the ears replaced by air"
METHOD_WITHOUT_BRAIN = "plane 5 cm behind the face down to the throat, everything before it replaced by air"


@dataclass(frozen=True)
class Defaced:
    """Which voxels (slices, rows, columns) are to be replaced by air, how they were chosen, and the share of the face's
    surface, seen from the front, that lies more than `MOVED` mm deeper afterwards.
    """

    mask: np.ndarray
    method: str
    moved: float


@dataclass(frozen=True)
class _Face:
    """Landmarks in mm (LPS): the middle of the head, the face's highest and lowest level, and the plane's y at level 0
    with its slope along z.
    """

    middle: float
    top: float
    bottom: float
    plane: float
    slope: float
    method: str

    def cut(self, z: np.ndarray) -> np.ndarray:
        return self.plane + self.slope * z


def deface(volume: np.ndarray, affine: np.ndarray, modality: Modality) -> Defaced:
    """The face of a head volume: (slices, rows, columns) in HU, or MR intensities; `affine` (4, 4) takes (column, row,
    slice, 1) to LPS mm, whatever the plane of the slices.

    Raises ValueError when no head is found, or when the face would still be seen.
    """
    grid = resample(volume, affine)
    solid = body(grid, modality)
    cavity = cranial_cavity(grid, solid, modality)
    smooth = _smooth(solid)
    face = _by_brain(grid, smooth, cavity) if cavity is not None else _by_throat(grid, smooth)
    z, y, x = (grid.millimetres(axis) for axis in range(3))
    levels = (z > face.bottom) & (z <= face.top)
    removed = levels[:, None, None] & (y[None, :, None] < face.cut(z)[:, None, None]) & np.ones(len(x), bool)
    removed |= _ears(grid, smooth, face)
    if cavity is not None:
        removed &= ~dilated(cavity, MARGIN)
    moved = _moved(grid, modality, face, removed)
    if moved < LEAST_MOVED:
        raise ValueError("the face would still be seen")
    mask = _on_voxels(removed, grid, volume.shape, affine)
    return Defaced(mask, face.method, moved)


def volume_shows_head(volume: np.ndarray, affine: np.ndarray, modality: Modality) -> bool:
    """Whether a volume (slices, rows, columns), in HU or MR intensities, shows a head or the lower half of a face.

    `affine` (4, 4) takes (column, row, slice, 1) to LPS mm. CT: soft tissue of cranial size walled in by bone, or a
    chin above a throat. MR: 3 cm of planes that show an object of the size of a head, round, with air beside it or
    filling the field of view. Raises ValueError for a matrix without inverse.
    """
    grid = resample(volume, affine)
    solid = body(grid, modality)
    if modality == "CT":
        return cranial_cavity(grid, solid, "CT") is not None or _shows_chin(grid, solid)
    shown = 0
    for plane in solid:
        ys, xs = np.nonzero(plane)
        if len(ys):
            length, width = (np.ptp(ys) + 1) * STEP, (np.ptp(xs) + 1) * STEP
            full = plane.sum() * STEP**2 / (length * width)
            shown += bool(140 <= length <= 270 and 110 <= width <= 190 and full > 0.55)
    return shown * STEP >= 30


def _shows_chin(grid: Grid, solid: np.ndarray) -> bool:
    """Whether the upper end of a body on the grid is as narrow as a head and has a chin standing out over a throat."""
    try:
        _by_throat(grid, _smooth(solid))
    except ValueError:
        return False
    return True


def _smooth(solid: np.ndarray) -> np.ndarray:
    """The body without ears, most of the nose, and other things under 2 cm."""
    return np.asarray(ndimage.binary_opening(np.pad(solid, 5, mode="edge"), ball(12)))[5:-5, 5:-5, 5:-5]


def _profile(grid: Grid, smooth: np.ndarray, middle: float) -> np.ndarray:
    """The foremost y in mm of the body at each level, within 25 mm of the middle; NaN where there is none."""
    strip = np.any(smooth[:, :, np.abs(grid.millimetres(2) - middle) <= 25], axis=2)
    front = grid.millimetres(1)[strip.argmax(1)]
    return np.where(strip.any(1), front, np.nan)


def _by_brain(grid: Grid, smooth: np.ndarray, cavity: np.ndarray) -> _Face:
    z, y, x = (grid.millimetres(axis) for axis in range(3))
    foremost = int(np.any(cavity, axis=(0, 2)).argmax())
    pole = float(np.median(z[cavity[:, foremost : foremost + 3].any((1, 2))]))
    middle = float(np.median(x[np.nonzero(cavity)[2]]))
    front = _profile(grid, smooth, middle)
    window = (z < pole - THROAT[0]) & (z > pole - THROAT[1]) & np.isfinite(front)
    bottom = float(z[window][np.argmax(front[window])]) if window.any() else float(z[0]) - STEP
    rows = (z <= pole) & (z > max(bottom + 15, pole - 120)) & np.isfinite(front)
    if not rows.any() or y[foremost] - front[rows].min() > DEEPEST:
        return _by_throat(grid, smooth)
    slope = _slope(z[rows], front[rows])
    plane = float(y[foremost]) + DEPTH_BEHIND_BRAIN - slope * pole
    return _Face(middle, pole + ABOVE_POLE, bottom, plane, slope, METHOD)


def _by_throat(grid: Grid, smooth: np.ndarray) -> _Face:
    z, x = grid.millimetres(0), grid.millimetres(2)
    shown = np.flatnonzero(smooth.any((1, 2)))
    across = np.asarray(np.any(smooth, axis=1))
    widths = across.sum(1) * STEP
    narrow = shown[widths[shown] < 200]
    if not len(narrow) or narrow[-1] < shown[-1] - 10:
        raise ValueError("no head is found in the volume")
    while len(narrow) > 1 and narrow[-1] - narrow[0] >= len(narrow):
        narrow = narrow[1:]
    middle = float(np.median(x[np.nonzero(across[narrow])[1]]))
    front = _profile(grid, smooth, middle)[narrow]
    levels = z[narrow][np.isfinite(front)]
    front = front[np.isfinite(front)]
    if len(front) < 5:
        raise ValueError("no head is found in the volume")
    throat = int(np.argmax(front - 1e-3 * levels))
    above = slice(throat + 1, None)
    if len(front) - throat < 5 or front[throat] - front[above].min() < 12:
        raise ValueError("no face is found in the volume")
    chin = front[above].min()
    rows = front[above] < chin + 40
    slope = _slope(levels[above][rows], front[above][rows])
    base = float(np.median(front[above][rows] - slope * levels[above][rows]))
    plane, top = base + DEPTH_BEHIND_SKIN, float(z[-1]) + STEP
    return _Face(middle, top, float(levels[throat]), plane, slope, METHOD_WITHOUT_BRAIN)


def _slope(z: np.ndarray, front: np.ndarray) -> float:
    """Tangent of the tilt of the face: the median slope between its points (Theil and Sen)."""
    if len(z) < 4:
        return 0.0
    first, second = np.triu_indices(len(z), 3)
    return float(np.clip(np.median((front[second] - front[first]) / (z[second] - z[first])), -STEEPEST, STEEPEST))


def _ears(grid: Grid, smooth: np.ndarray, face: _Face) -> np.ndarray:
    z, y, x = (grid.millimetres(axis) for axis in range(3))
    behind = y[None, :] - face.cut(z)[:, None]
    levels = (z > max(face.bottom + 30, face.top - 120)) & (z < face.top - 10)
    zone = levels[:, None] & (behind >= 0) & (behind < 90)
    sides = np.abs(x - face.middle) > 45
    return zone[:, :, None] & sides & ~eroded(smooth, BESIDE)


def _moved(grid: Grid, modality: Modality, face: _Face, removed: np.ndarray) -> float:
    """The share of the face's surface, seen from the front, that lies more than `MOVED` mm deeper afterwards."""
    tissue = (grid.values > air_level(grid, modality)) & grid.inside
    tissue = np.asarray(ndimage.binary_opening(tissue, ball(STEP)))
    z, y, x = (grid.millimetres(axis) for axis in range(3))
    before = np.where(tissue.any(1), tissue.argmax(1), len(y))
    left = tissue & ~removed
    after = np.where(left.any(1), left.argmax(1), len(y))
    levels = (z > face.bottom + 15) & (z < face.top - 10)
    shown = levels[:, None] & (np.abs(x - face.middle) < 60) & (before < len(y))
    shown &= y[np.minimum(before, len(y) - 1)] < face.cut(z)[:, None] - MOVED
    return float(((after - before)[shown] * STEP > MOVED).mean()) if shown.any() else 0.0


def _on_voxels(removed: np.ndarray, grid: Grid, shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """The grid's mask on the volume's voxels, its steps smoothed away; beyond the grid, as at its border."""
    field = ndimage.gaussian_filter(removed.astype(np.float32), 0.7, mode="nearest")
    to_grid = np.eye(4)
    to_grid[:3] = (np.asarray(affine, float)[:3] - np.c_[np.zeros((3, 3)), grid.origin])[::-1] / STEP
    to_grid = to_grid[:, [2, 1, 0, 3]]
    mask = np.zeros(shape, bool)
    for index in range(shape[0]):
        here = to_grid.copy()
        here[:3, 3] += index * to_grid[:3, 0]
        plane = ndimage.affine_transform(field, here, output_shape=(1, *shape[1:]), order=1, mode="nearest")
        mask[index] = plane[0] > 0.5
    return mask
