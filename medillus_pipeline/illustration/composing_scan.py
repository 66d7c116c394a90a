"""A real slice with labels to show, of which nothing is drawn: by name from the clean zone, or from a file.

A person's labels are preferred to a model's. Of the organ segmenter's own, what is unsure or only grazed is left out:
a wrong name in front of a patient does more harm than a missing one. What is not here: the figure (`illustrate.py`).
"""

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from medillus_pipeline.dicom.windows import PRESETS, Window
from medillus_pipeline.errors import InputError
from medillus_pipeline.generation import canonical
from medillus_pipeline.illustration.composing import NO_PATIENT, Read
from medillus_pipeline.illustration.composing_mask import axial_slice
from medillus_pipeline.illustration.illustration_request import IllustrationRequest
from medillus_pipeline.illustration.models import Models, Scan
from medillus_pipeline.illustration.wording import Bilingual

LEAST_SURE = 0.5
"""Mean probability below which a structure that the segmenter proposes is not named: more likely something else."""

LEAST_MM2 = 100.0
"""Area below which a structure is grazed rather than shown: a square of a centimetre."""

LARGEST_VOXELS = 1 << 28
FILES = (".nii", ".nii.gz", ".png")


def labelled(request: IllustrationRequest, models: Models, read: Read) -> tuple[Scan, tuple[Bilingual, ...]]:
    """The slice with its labels, and what is to be known of them. Raises InputError for a name that was never
    published, a file that holds no single slice, and one on which nothing is found.
    """
    assert request.scan is not None
    remarks: tuple[Bilingual, ...] = ()
    if request.scan.lower().endswith(FILES):
        scan, remarks = _of_file(request, models, read(Path(request.scan)))
    elif models.scan_of is None:
        raise InputError("slices are named where there is a clean zone; give the path of a NIfTI or PNG instead")
    else:
        scan = models.scan_of(request.scan)
    if request.modality is not None and request.modality.casefold() != scan.modality.casefold():
        raise InputError(f"the slice is {scan.modality}, and {request.modality} is asked for")
    assert scan.labels is not None
    if scan.labelled_by == "organ_segmenter":
        scan, told = _sure(scan, models)
        remarks += told
    else:
        remarks += (Bilingual("labels of an annotator, not of a model", "标注来自标注者，而非模型"),)
    if scan.labels is None or not scan.labels.any():
        raise InputError("nothing was found on the slice that could be named with enough certainty")
    return scan, remarks


def segmented(
    image: np.ndarray, side: float, models: Models, body_part: str | None
) -> tuple[np.ndarray, dict[int, float]]:
    """(h, w) uint8 ids on a slice's own pixels, and the mean probability by id where each is proposed.

    `image` (h, w) calibrated values, rows to the back and columns to the patient's left, on pixels of `side` mm. It is
    brought into the canonical frame as the dataset is, its body in the middle.
    """
    of_ct = tuple(models.generator.modalities) == ("CT",)
    affine = np.diag([side, side, 1.0, 1.0])
    outside = canonical.AIR if of_ct else canonical.NORMALISED_RANGE[0]
    threshold = canonical.BODY_THRESHOLD_HU if of_ct else canonical.NORMALISED_BODY_THRESHOLD
    values = image.astype(np.float32) if of_ct else canonical.normalised(image, canonical.series_scale(image))
    values = np.maximum(values, outside)
    body = canonical.body_mask(values, (side, side), threshold)
    box = canonical.body_box(body, affine)
    if box is None:
        raise InputError("no body is seen on the slice: are its values HU?")
    frame = canonical.Frame(models.size, models.field_of_view(body_part), (box[0] + box[1]) / 2, (box[2] + box[3]) / 2)
    grid, k = canonical.source_grid(affine, frame)
    framed = canonical.resample_values(np.where(body, values, outside), grid, k, outside)
    probabilities = models.organ_segmenter.predict(np.rint(framed).astype(np.int16)[None])[0]
    origin = frame.affine(0.0)
    rows = (np.arange(image.shape[0]) * side - origin[1, 3]) / frame.pitch
    columns = (np.arange(image.shape[1]) * side - origin[0, 3]) / frame.pitch
    at = np.meshgrid(rows, columns, indexing="ij")
    within = np.logical_and.reduce([(one >= -0.5) & (one <= frame.size - 0.5) for one in at])
    sampled = np.stack([ndimage.map_coordinates(one, at, order=1, mode="nearest") for one in probabilities])
    winner = np.where(within, sampled.argmax(0), 0)
    classes = models.organ_segmenter.classes
    scores = {classes[c - 1]: float(sampled[c][winner == c].mean()) for c in np.unique(winner).tolist() if c}
    return np.array([0, *classes], np.uint8)[winner], scores


def _sure(scan: Scan, models: Models) -> tuple[Scan, tuple[Bilingual, ...]]:
    """The scan with the structures alone that the segmenter is sure of, and what was left out."""
    assert scan.labels is not None
    labels, remarks = scan.labels.copy(), []
    pixel = scan.pixel_mm[0] * scan.pixel_mm[1]
    for identifier in (int(v) for v in np.unique(labels) if v):
        s, own = models.vocabulary.by_id(identifier), labels == identifier
        if scan.scores.get(identifier, 0.0) < LEAST_SURE:
            remarks.append(
                Bilingual(f"{s.name_en} is left out: the model is unsure of it", f"未标出{s.name_zh}：模型不确定")
            )
        elif own.sum() * pixel < LEAST_MM2:
            remarks.append(Bilingual(f"{s.name_en} is left out: only grazed", f"未标出{s.name_zh}：仅擦边"))
        else:
            continue
        labels[own] = 0
    said = Bilingual(
        "labels of a segmentation model on a real image; nobody has checked them",
        "真实图像，标注来自分割模型，未经人工核对",
    )
    kept = {i: score for i, score in scan.scores.items() if (labels == i).any()}
    return replace(scan, labels=labels, scores=kept), (said, *remarks)


def _of_file(request: IllustrationRequest, models: Models, data: bytes) -> tuple[Scan, tuple[Bilingual, ...]]:
    assert request.scan is not None
    remarks: list[Bilingual] = []
    modality = _modality(request, models)
    if request.scan.lower().endswith(".png"):
        window = request.chosen_window() or PRESETS["soft-tissue"]
        image = _png_values(data, window)
        side = request.pixel_size or models.field_of_view(request.body_part) / max(image.shape)
        remarks.append(
            Bilingual(
                f"a PNG holds greys: read through the window {window.center:g}/{window.width:g}, on pixels of "
                f"{side:.3g} mm",
                f"PNG仅含灰度：按窗位{window.center:g}、窗宽{window.width:g}读取，像素{side:.3g}毫米",
            )
        )
    else:
        image, side = _nifti_values(data, request.level)
    labels, scores = segmented(image, side, models, request.body_part)
    digest = hashlib.sha256(data).hexdigest()
    return (
        Scan(
            image=image,
            pixel_mm=(side, side),
            modality=modality,
            slice_name=f"scan-{digest[:12]}",
            patient=NO_PATIENT,
            body_part=request.body_part,
            level=request.level,
            labels=labels,
            scores=scores,
        ),
        tuple(remarks),
    )


def _modality(request: IllustrationRequest, models: Models) -> str:
    known = models.generator.modalities
    modality = (request.modality or (known[0] if len(known) == 1 else "")).upper()
    if modality not in known:
        raise InputError(f"the segmenter learned from {' and '.join(known)}: say which with modality")
    return modality


def _png_values(data: bytes, window: Window) -> np.ndarray:
    """(h, w) float32 of a grey PNG of 8 bits, its greys taken back through a window (PS3.3 C.11.2.1.2)."""
    from medillus_pipeline.dicom.png import decode_png

    try:
        values = decode_png(data)
    except ValueError:
        raise InputError("the scan is no readable PNG") from None
    if values.ndim == 3 and values.shape[2] >= 3 and (values[..., :1] == values[..., :3]).all():
        values = values[..., 0]
    if values.ndim != 2 or values.dtype != np.uint8:
        raise InputError("a scan as PNG is a grey picture of 8 bits")
    return (window.center - 0.5 + (values / 255.0 - 0.5) * (window.width - 1)).astype(np.float32)


def _nifti_values(data: bytes, level: float | None) -> tuple[np.ndarray, float]:
    """(h, w) float32 and its side of a pixel in mm: the slice of a NIfTI, or that at the level of a volume."""
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    from medillus_pipeline.annotation.formats.unpacking import opened
    from medillus_pipeline.annotation.outcomes import Refused

    try:
        image = nib.Nifti1Image.from_bytes(bytes(opened(data, 4 * LARGEST_VOXELS)))
        if int(np.prod(image.shape, dtype=np.int64)) > LARGEST_VOXELS:
            raise InputError("the NIfTI scan is too large: give one slice")
        values = np.asarray(image.dataobj, np.float32)
    except (ImageFileError, HeaderDataError, Refused, ValueError, EOFError, OSError, io.UnsupportedOperation):
        raise InputError("the scan is no readable NIfTI-1 file") from None
    values = values.reshape(values.shape + (1,) * (3 - values.ndim)) if values.ndim < 3 else values
    if values.ndim != 3 or not np.isfinite(values).all():
        raise InputError("a NIfTI scan is a slice or volume of finite numbers")
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(image.affine, np.float64)
    return axial_slice(values, affine, level=level, smooth=True)
