"""A labelled volume of an atlas as canonical slices: vocabulary ids, tissue and level of each axial slice.

Label maps are read by `annotation/formats`; the frame is that of `canonical.py`, centred on the body: that of the
image, or what the structures tell of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from medillus_pipeline.annotation.formats import nifti, nrrd
from medillus_pipeline.annotation.outcomes import Reason, Refused
from medillus_pipeline.annotation.vocabulary import Structure, Vocabulary
from medillus_pipeline.errors import InputError
from medillus_pipeline.generation import canonical
from medillus_pipeline.generation.prior import TISSUES, tissues

TOLERANCE_DEGREES = 20.0
MARGIN_MM = 15.0
"""How far the body is taken to reach beyond the structures drawn, where no image and no outline of it is given."""
RIM_MM = 10.0
"""Thickness of the fat beneath the skin where no image is given."""
_AIR = ("lung", "trachea", "airways", "bronchus", "sinus")
_FAT = ("fat",)


@dataclass(frozen=True)
class AtlasSlices:
    """Slices with a structure: `ids` (n, size, size) uint8, `tissue` (n, 4, size, size) bool, `levels` (n,)."""

    ids: np.ndarray
    tissue: np.ndarray
    levels: np.ndarray


def read_case(
    labels: Path,
    image: Path | None,
    names: Mapping[int, str],
    vocabulary: Vocabulary,
    *,
    size: int,
    field_of_view: float,
) -> AtlasSlices:
    """The slices of a label volume. `names` by value; without them, those inside the file.

    Raises Refused for a broken label map, InputError for one without names or a structure that the vocabulary knows,
    for an oblique one, and for an image of another grid.
    """
    values, affine, inside = _label_volume(labels)
    ids = _as_ids(values, names or inside, vocabulary)
    stack, to_lps, height = _axial(ids, affine)
    hu = None if image is None else _image(image, ids.shape, affine)
    body_id = vocabulary.by_key("body").id
    spacing = (float(np.linalg.norm(to_lps[:3, 1])), float(np.linalg.norm(to_lps[:3, 0])))
    bodies = []
    for index, plane in enumerate(stack):
        if hu is not None:
            bodies.append(canonical.body_mask(hu[index], spacing))
        else:
            bodies.append(plane == body_id if (plane == body_id).any() else _around(plane > 0, spacing))
    boxes = [box for body in bodies if (box := canonical.body_box(body, to_lps)) is not None]
    if not boxes:
        raise InputError("it has no structure that the vocabulary knows")
    left, right, front, back = np.median(np.array(boxes), axis=0)
    frame = canonical.Frame(size, field_of_view, float(left + right) / 2, float(front + back) / 2)
    grid, k = canonical.source_grid(to_lps, frame)
    drawn = np.where(stack == body_id, 0, stack)
    kept = np.flatnonzero(drawn.any((1, 2)))
    found = [canonical.resample_labels(drawn[i], grid, k) for i in kept]
    if hu is not None:
        shown = [np.where(bodies[i] | (drawn[i] > 0), hu[i], canonical.AIR) for i in kept]
        tissue = tissues(np.stack([canonical.resample_values(each, grid, k, canonical.AIR) for each in shown]))
    else:
        outlines = [canonical.resample_labels(bodies[i].astype(np.uint8), grid, k) > 0 for i in kept]
        tissue = _supposed(np.stack(found), np.stack(outlines), field_of_view / size, vocabulary)
    span = np.ptp(height)
    return AtlasSlices(np.stack(found), tissue, ((height - height.min()) / span if span else height * 0 + 0.5)[kept])


def _label_volume(path: Path) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    data = path.read_bytes()
    if not path.name.endswith(".nrrd"):
        return nifti.load_labels(data)
    layers, affine = nrrd.load_layers(data, nrrd.read_header(data), None)
    if len(layers) != 1:
        raise Refused(Reason.NOT_A_LABEL_MAP)
    return layers[0], affine, {}


def _as_ids(values: np.ndarray, names: Mapping[int, str], vocabulary: Vocabulary) -> np.ndarray:
    """Values as vocabulary ids; what the vocabulary does not know becomes background."""
    if not names:
        raise InputError("nothing says what its values mean: put a labels.json into the atlas's folder")
    ids = np.zeros(int(max(values.max(), *names)) + 1, np.uint8)
    for value, name in names.items():
        structure = vocabulary.resolve(name)
        ids[value] = structure.id if structure else 0
    return ids[values]


def _axial(volume: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(slices, rows, columns), the (4, 4) affine of (column, row, 0, 1) to LPS mm of the first, and heights in mm."""
    order = _order(affine)
    turned = affine[:, [*order, 3]]
    plane = turned.copy()
    if not canonical.is_axial(plane, TOLERANCE_DEGREES):
        raise InputError("its slices are not axial")
    heights = turned[2, 3] + turned[2, 2] * np.arange(volume.shape[order[2]])
    return np.moveaxis(volume, order, (2, 1, 0)), plane, heights


def _order(affine: np.ndarray) -> tuple[int, int, int]:
    """The axes of a volume that run mostly along x, y and z."""
    steps = np.abs(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    x, y, z = (int(axis) for axis in steps.argmax(1))
    if len({x, y, z}) != 3:
        raise InputError("its slices are not axial")
    return x, y, z


def _image(path: Path, shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """(slices, rows, columns) HU of the image beside a label volume."""
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    try:
        loaded = nib.load(path)  # pyright: ignore[reportPrivateImportUsage]
        values = np.asarray(loaded.dataobj, np.float32)  # pyright: ignore[reportAttributeAccessIssue]
        own = nifti.LPS_FROM_RAS @ loaded.affine  # pyright: ignore[reportAttributeAccessIssue]
    except (ImageFileError, OSError, EOFError, ValueError):
        raise InputError("the image beside it is no NIfTI volume that can be read") from None
    if values.shape != shape or not np.allclose(own, affine, atol=1e-2):
        raise InputError("the image beside it has another grid")
    return np.moveaxis(values, _order(affine), (2, 1, 0))


def _around(drawn: np.ndarray, spacing: tuple[float, float]) -> np.ndarray:
    """A body around structures (rows, columns): what lies within the margin of them or between them."""
    if not drawn.any():
        return drawn
    rows, columns = np.nonzero(drawn)
    centre = (rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2
    half = [
        (np.ptp(each) / 2 * pitch + MARGIN_MM) * np.sqrt(2)
        for each, pitch in zip((rows, columns), spacing, strict=True)
    ]
    y, x = np.ogrid[: drawn.shape[0], : drawn.shape[1]]
    ellipse = ((y - centre[0]) * spacing[0] / half[0]) ** 2 + ((x - centre[1]) * spacing[1] / half[1]) ** 2 <= 1
    return ellipse | drawn


def _supposed(ids: np.ndarray, bodies: np.ndarray, pixel_mm: float, vocabulary: Vocabulary) -> np.ndarray:
    """(n, 4, h, w) bool: the tissue that structures usually are; between them soft tissue, fat beneath the skin."""
    of_label = np.full(256, TISSUES.index("soft"))
    for structure in vocabulary:
        of_label[structure.id] = TISSUES.index(_tissue_of(structure))
    deep = np.asarray(ndimage.distance_transform_edt(bodies, sampling=(1e9, pixel_mm, pixel_mm))) > RIM_MM
    between = np.where(deep, TISSUES.index("soft"), TISSUES.index("fat"))
    kind = np.where(ids > 0, of_label[ids], np.where(bodies, between, TISSUES.index("air")))
    return kind[:, None] == np.arange(len(TISSUES))[None, :, None, None]


def _tissue_of(structure: Structure) -> str:
    if structure.kind == "bone":
        return "bone"
    if any(word in structure.key for word in _AIR) and structure.kind == "organ":
        return "air"
    return "fat" if any(word in structure.key for word in _FAT) else "soft"
