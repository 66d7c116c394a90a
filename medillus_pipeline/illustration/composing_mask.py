"""A label map file as the geometry of a figure, and what a label map claims to be complete for.

A class that a map is complete for and does not show is absent; of others the prior says where they may be. What is not
here: how a PNG of ids comes into the model's frame (`generation/sample_mask.py`).
"""

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration.composing import Geometry
from medillus_pipeline.illustration.illustration_request import IllustrationRequest
from medillus_pipeline.illustration.models import Models
from medillus_pipeline.illustration.wording import Bilingual

if TYPE_CHECKING:
    from medillus_pipeline.generation.prior import Prior

USUAL = 0.5
"""Share of training patients who must have a structure somewhere at a level for it to be usual there."""

COMPLETE_FROM = 0.5
"""Share of what is usual at a level that a mask must show to count as complete: who drew most of it left out the rest
on purpose, who drew one organ meant that organ.
"""

LARGEST_ARRAY = 1 << 26
"""Bytes of a .npy file: a label map of 4096 pixels a side is 16 MiB in 8 bits."""


def from_mask(request: IllustrationRequest, models: Models, data: bytes, body_part: str | None) -> Geometry:
    """The geometry of a PNG, NIfTI or .npy label map. Raises InputError for what is no label map of these models."""
    from medillus_pipeline.dicom.png import encode_png
    from medillus_pipeline.generation.sample_mask import read_mask

    assert request.mask is not None
    name = request.mask.name.lower()
    own_pixel = None
    if name.endswith((".nii", ".nii.gz")):
        values, own_pixel = nifti_slice(data, level=None)
        picture = encode_png(ids_of(values))
    elif name.endswith(".npy"):
        picture = encode_png(ids_of(npy_array(data)))
    elif name.endswith(".png"):
        picture = data
    else:
        raise InputError(f"a mask is a .png, .nii, .nii.gz or .npy, not {Path(name).suffix or 'a file without ending'}")
    field_of_view = models.field_of_view(body_part)
    given = read_mask(
        picture,
        models.classes,
        models.vocabulary,
        size=models.size,
        field_of_view=field_of_view,
        pixel_size=request.pixel_size or own_pixel,
    )
    ids = np.ascontiguousarray(given.ids[:, ::-1]) if request.flip else given.ids
    drawn, level = claims(ids, models, request.complete, request.level)
    remarks = [Bilingual(given.placement, f"标注图已按最近邻法重采样到 {models.size} × {models.size} 像素。")]
    for label in given.lost:
        structure = models.vocabulary.by_id(label)
        remarks.append(
            Bilingual(f"{structure.name_en} is too small for the model's frame", f"{structure.name_zh}过小，未能保留")
        )
    if request.flip:
        remarks.append(Bilingual("the mask was mirrored, as asked", "已按要求左右翻转"))
    remarks.append(claim_said(drawn, ids, models))
    digest = hashlib.sha256(data).hexdigest()
    return Geometry(
        label_map=ids,
        drawn=drawn,
        level=level,
        pixel_mm=field_of_view / models.size,
        source=f"mask-{digest[:12]}",
        understood=shown(ids, level, "mask", "标注图", models),
        remarks=tuple(remarks),
        origin={"way": "mask", "sha256": digest, "placement": given.placement, "flipped": request.flip},
    )


def claims(ids: np.ndarray, models: Models, complete: bool | None, level: float | None) -> tuple[np.ndarray, float]:
    """(classes,) bool, what a label map (h, w) is complete for, and its level, the given or the likeliest one.

    With `complete` None it is for every class where it shows at least `COMPLETE_FROM` of what is usual at its level.
    """
    labels = models.index_of_id[ids]
    present = np.isin(np.arange(1, len(models.classes) + 1), labels)
    everything = np.ones(len(models.classes), bool)

    def at(drawn: np.ndarray) -> float:
        return float(models.prior.likely_levels(labels[None], drawn[None])[0]) if level is None else level

    if complete is None:
        usual = usual_at(models.prior, at(present))
        complete = bool(usual.any()) and bool((present & usual).sum() >= COMPLETE_FROM * usual.sum())
    drawn = everything if complete else present
    return drawn, at(drawn)


def usual_at(prior: "Prior", level: float) -> np.ndarray:
    """(classes,) bool: structures of which some pixel at the nearest level is covered in most training patients."""
    nearest = round(level * (len(prior.occupancy) - 1))
    return np.nan_to_num(prior.occupancy[nearest]).max((1, 2)) >= USUAL


def claim_said(drawn: np.ndarray, ids: np.ndarray, models: Models) -> Bilingual:
    """A sentence on what the label map is complete for."""
    if drawn.all():
        return Bilingual(
            "taken as complete: what it does not show is absent",
            "视为完整：未画出的结构即不存在",
        )
    return Bilingual(
        "taken as partial: what it does not show is as the anatomical prior expects",
        "视为部分标注：未画出的结构由解剖先验补足",
    )


def shown(ids: np.ndarray, level: float, what: str, zh: str, models: Models) -> Bilingual:
    """What a label map shows, in words."""
    structures = [models.vocabulary.by_id(i) for i in models.classes if (ids == i).any()]
    en = ", ".join(s.name_en for s in structures)
    return Bilingual(
        f"The {what} shows {en}, at level {level:.0%} of the scanned range, feet to head.",
        f"{zh}包含{'、'.join(s.name_zh for s in structures)}，位于扫描范围（足至头）的{level:.0%}处。",
    )


def npy_array(data: bytes) -> np.ndarray:
    """The array of a .npy file, without ever running what it may hold. Raises InputError for another file."""
    if len(data) > LARGEST_ARRAY:
        raise InputError(f"the .npy file has more than {LARGEST_ARRAY >> 20} MiB: that is no label map of a slice")
    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError):
        raise InputError(
            "the .npy file is no plain array: save the label map with numpy.save as whole numbers"
        ) from None


def ids_of(values: np.ndarray) -> np.ndarray:
    """(h, w) uint8 of an array of whole numbers 0 to 255. Raises InputError for another."""
    if values.ndim != 2 or 0 in values.shape or values.dtype.kind not in "iuf":
        raise InputError(f"a label map is one slice of whole numbers, not an array of shape {values.shape}")
    if not np.isfinite(values).all() or (values != np.rint(values)).any() or values.min() < 0 or values.max() > 255:
        raise InputError("a label map holds vocabulary ids, whole numbers from 0 to 255")
    return np.ascontiguousarray(values.astype(np.uint8))


def nifti_slice(data: bytes, *, level: float | None) -> tuple[np.ndarray, float]:
    """(h, w) of a NIfTI label map of one axial slice, as radiologists hang it, on square pixels, and their side in mm.

    Raises InputError for a broken file, several slices, and slices that are not axial.
    """
    from medillus_pipeline.annotation.formats.nifti import load_labels
    from medillus_pipeline.annotation.outcomes import Refused

    try:
        values, affine, _ = load_labels(data)
    except Refused as error:
        raise InputError(f"the NIfTI mask cannot be used: {error}") from None
    return axial_slice(values, affine, level=level)


def axial_slice(
    values: np.ndarray, affine: np.ndarray, *, level: float | None, smooth: bool = False
) -> tuple[np.ndarray, float]:
    """(h, w) and the side of its square pixels in mm: the one slice, or that at a `level`, of a volume (x, y, z).

    `affine` takes voxel indices to LPS mm. Rows run to the back, columns to the patient's left. Oblique volumes are
    refused with InputError, and several slices without a level.
    """
    from scipy import ndimage

    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    cosines = affine[:3, :3] / spacing
    axes = np.abs(cosines).argmax(0)
    if sorted(axes.tolist()) != [0, 1, 2] or np.abs(cosines).max(0).min() < 0.9:
        raise InputError("the NIfTI volume is oblique: resample it to axial slices first")
    for axis in range(3):
        if cosines[axes[axis], axis] < 0:
            values = np.flip(values, axis)
    order = np.argsort(axes)
    values, spacing = values.transpose(order), spacing[order]
    count = values.shape[2]
    if count > 1 and level is None:
        raise InputError(f"the NIfTI volume has {count} slices: give one slice, or a level, 0 (feet) to 1 (head)")
    picture = values[:, :, round((level or 0) * (count - 1))].T
    side = float(spacing[:2].min())
    if not np.isclose(spacing[0], spacing[1], rtol=1e-3):
        zoom = (spacing[1] / side, spacing[0] / side)
        picture = ndimage.zoom(picture, zoom, order=1 if smooth else 0, mode="nearest", grid_mode=True)
    return np.ascontiguousarray(picture), side
