"""A label map in space, whatever file it came in, and what it draws on slices.

A volume gives a slice its labels directly when every pixel centre lies within a quarter of a voxel of the centre of a
voxel, in any order and direction of axes. A grid that is a little off in the plane (another rounding of the spacing, a
slight turn, part of a voxel aside) is resampled by nearest neighbour: up to `RESAMPLING` voxels off at the pixel that
is worst, with voxels of the same size to one part in a hundred. It says so in the drawing. Anything else is refused.
Across the slices nothing is resampled: a label between two of them belongs to neither. What is not here: files
(`nifti.py`, `nrrd.py`), and which series a volume belongs to (`side_files.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medillus_pipeline.annotation.drawing import WHOLE_ITEM, Drawing
from medillus_pipeline.annotation.label_map import GRAIN, trimmed
from medillus_pipeline.annotation.outcomes import Outcome, Reason, Refused
from medillus_pipeline.annotation.slice_index import SliceIndex, Target
from medillus_pipeline.annotation.vocabulary import Structure, Vocabulary

MAXIMUM_VOXELS = 1_000_000_000
PROPOSED = "proposal"
"""What the label names of a volume that a model drew begin with, until somebody confirms them."""
GREATEST_LABEL = 65_535
GREATEST_MM = 1e6
FIT = 0.25
"""Greatest distance, in voxels along each axis, of a pixel centre from the voxel centre that it takes directly."""
RESAMPLING = 1.0
"""Greatest distance, in voxels along each axis in the plane, of a pixel centre from the place that it would have on
the nearest exact grid, up to which slices are resampled; 0.25 or less resamples nothing."""
SAME_SIZE = 0.01
"""Voxels by which a step of one pixel may differ from one voxel: 1% in size, 0.6 degrees of turn where
voxels are square."""

Meanings = Mapping[int, Structure | str]
"""What each label value stands for; a name that the vocabulary does not know stays a name, and an empty one is passed
over: it was noted before."""


@dataclass(frozen=True)
class LabelVolume:
    """`values` (x, y, z) uint16, and the (4, 4) affine from voxel indices to LPS mm.

    `cropped` says that nothing was cut off with what lies outside: there is background, and no other grid.
    """

    values: np.ndarray
    affine: np.ndarray
    cropped: bool = False


@dataclass(frozen=True)
class Plane:
    """Label values at the pixel centres of a slice, (rows, columns); how far, in voxels, the slice is off an exact
    grid where it was resampled, else 0.
    """

    values: np.ndarray
    resampled: float


def as_labels(values: np.ndarray) -> np.ndarray:
    """Numbers as uint16 labels. Raises Refused when one is no whole number from 0 to 65535."""
    if values.dtype.kind not in "iuf" or not values.size:
        raise Refused(Reason.NOT_A_LABEL_MAP)
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= GREATEST_LABEL):
        raise Refused(Reason.NOT_A_LABEL_MAP)
    labels = values.astype(np.uint16)
    if values.dtype.kind == "f" and not np.array_equal(labels, values):
        raise Refused(Reason.NOT_A_LABEL_MAP)
    return labels


def check_affine(affine: np.ndarray) -> None:
    """Raises Refused for an affine that cannot be inverted, as of a file that states no voxel size."""
    if not np.isfinite(affine).all() or np.abs(affine).max() > GREATEST_MM:
        raise Refused(Reason.OTHER_GEOMETRY)
    if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise Refused(Reason.OTHER_GEOMETRY)


def meanings(names: Mapping[int, str], vocabulary: Vocabulary) -> Meanings:
    """Names by value as structures, where the vocabulary knows them."""
    return {value: vocabulary.resolve(name) or name for value, name in names.items()}


def targets_of(series: str, index: SliceIndex) -> list[Target]:
    """The slices of a series. Raises Refused (pending) when none is published."""
    targets = index.by_series.get(series)
    if not targets:
        raise Refused(Reason.UNKNOWN_SLICE, Outcome.PENDING)
    return targets


def draw(
    drawing: Drawing,
    layers: Sequence[tuple[LabelVolume, Meanings]],
    targets: Sequence[Target],
    *,
    tolerance: float = RESAMPLING,
) -> None:
    """Draw label volumes (layers that may overlap) on slices. Slices without any label get no mask.

    A slice that a volume does not fit is noted. Raises Refused when all layers are empty, reach no slice, or leave all
    that they reach empty.
    """
    if not any(volume.values.any() for volume, _ in layers):
        raise Refused(Reason.EMPTY)
    worst, reached = 0.0, False
    for target in targets:
        for volume, meaning in layers:
            try:
                plane = sample(volume, target, tolerance=tolerance)
            except Refused as refused:
                drawing.note(WHOLE_ITEM, refused.reason, target.slice_name)
                continue
            if plane is not None:
                reached, worst = True, max(worst, plane.resampled)
                _draw_plane(drawing, plane.values, target, meaning)
    if worst:
        drawing.remarks.add(f"resampled to the slices by nearest neighbour; the grid is at most {worst:.2f} voxels off")
    if not drawing.regions and not drawing.notes:
        raise Refused(Reason.EMPTY if reached else Reason.OTHER_GEOMETRY)


def _draw_plane(drawing: Drawing, plane: np.ndarray, target: Target, meaning: Meanings) -> None:
    from scipy.ndimage import find_objects

    present = np.flatnonzero(np.bincount(plane.ravel()))
    compact = np.searchsorted(present, plane).astype(np.int32) + (0 if present[0] == 0 else 1)
    boxes = find_objects(compact)
    for value, box in zip(present[present > 0], boxes, strict=True):
        structure = meaning.get(int(value), f"value {value}")
        if isinstance(structure, str):
            if structure.startswith(f"{PROPOSED}:"):
                drawing.note(WHOLE_ITEM, Reason.PROPOSAL_UNCONFIRMED, target.slice_name)
            elif structure:
                drawing.unknown(structure, target.slice_name)
            continue
        region = trimmed(plane[box] == value, box[0].start, box[1].start)
        if region is not None:
            drawing.add(target.slice_name, structure, region)


def sample(volume: LabelVolume, target: Target, *, tolerance: float = RESAMPLING) -> Plane | None:
    """A slice's labels; None where the volume does not reach its plane.

    Raises Refused when the slice has no geometry, the grids differ by more than the module allows, or the slice is not
    covered in full by a volume that is not `cropped`.
    """
    if not target.has_geometry:
        raise Refused(Reason.OTHER_GEOMETRY)
    to_voxel = np.linalg.inv(volume.affine) @ target.affine
    if not np.isfinite(to_voxel).all() or np.abs(to_voxel).max() > 2**31:
        raise Refused(Reason.OTHER_GEOMETRY)
    steps = np.round(to_voxel[:3, :2]).astype(np.int64)
    if not (np.abs(steps).sum(axis=0) == 1).all() or (np.abs(steps).sum(axis=1) > 1).any():
        raise Refused(Reason.OTHER_GEOMETRY)
    across, down = (int(np.flatnonzero(steps[:, k])[0]) for k in (0, 1))
    through = 3 - across - down
    corners = np.array([[c, r] for c in (0, target.columns - 1) for r in (0, target.rows - 1)], np.float64)
    offsets = corners @ (to_voxel[:3, :2] - steps).T + to_voxel[:3, 3]
    first = np.round(np.round((offsets.min(axis=0) + offsets.max(axis=0)) / 2, GRAIN)).astype(np.int64)
    off = np.abs(offsets - first).max(axis=0)
    worst = float(off[[across, down]].max())
    exact = worst <= FIT
    same_size = np.abs(to_voxel[:3, :2] - steps).max() <= SAME_SIZE
    if off[through] > FIT or not (exact or (same_size and worst <= tolerance)):
        raise Refused(Reason.OTHER_GEOMETRY)
    if not 0 <= first[through] < volume.values.shape[through]:
        return None
    layer = np.moveaxis(volume.values, through, 0)[first[through]]
    layer = layer.T if across < down else layer  # (down, across)
    c, r = np.arange(target.columns)[None, :], np.arange(target.rows)[:, None]
    if exact:
        columns, rows = first[across] + steps[across, 0] * c, first[down] + steps[down, 1] * r
        return Plane(_taken(layer, rows, columns, volume.cropped, 0.0), 0.0)
    columns, rows = (np.round(to_voxel[k, 0] * c + to_voxel[k, 1] * r + to_voxel[k, 3], GRAIN) for k in (across, down))
    return Plane(_taken(layer, rows, columns, volume.cropped, worst), worst)


def _taken(layer: np.ndarray, rows: np.ndarray, columns: np.ndarray, cropped: bool, margin: float) -> np.ndarray:
    """Values of `layer` (down, across) nearest to places that broadcast to the slice; 0 outside, which may be `margin`
    voxels beyond the outermost centres unless the volume is cropped.
    """
    height, width = layer.shape
    beyond = max(-rows.min(), rows.max() - height + 1, -columns.min(), columns.max() - width + 1)
    if not cropped and beyond > margin + 10**-GRAIN:
        raise Refused(Reason.OTHER_GEOMETRY)
    rows, columns = (np.floor(place + 0.5).astype(np.int64) for place in (rows, columns))
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    values = layer[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)]
    return values if inside.all() else np.where(inside, values, values.dtype.type(0))
