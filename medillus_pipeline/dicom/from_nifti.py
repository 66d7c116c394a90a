"""Research volumes through the hospital's door: a NIfTI volume as a DICOM series, a data set of them as a delivery.

`wrap_volume` makes the DICOM files of one volume; `import_nifti` lays a folder of volumes and label maps out in the
landing zone as a delivery and an annotation batch, which then go the way of all others. UIDs follow from patient and
content, so importing twice gives the same files. What is not here: reading annotations (`annotation/`).
"""

import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, MRImageStorage
from pydicom.valuerep import format_number_as_ds

from medillus_pipeline.errors import InputError

STORAGE = {"CT": CTImageStorage, "MR": MRImageStorage}
IMPLEMENTATION_UID = UID("2.25.302154729871256406372480916355271044103")
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
PARTITION_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{2,40}")
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True)
class Imported:
    """What `import_nifti` wrote: patients, DICOM files, and label maps."""

    patients: int
    instances: int
    label_maps: int


def wrap_volume(
    volume: np.ndarray,
    affine: np.ndarray,
    *,
    patient_id: str,
    modality: str = "CT",
    body_part: str | None = None,
    offset: float = 0.0,
) -> list[bytes]:
    """A volume (x, y, z) of finite numbers as DICOM files, one per axial slice, feet first.

    `affine` (4, 4) takes voxel indices to RAS mm (NIfTI). Axes are permuted and flipped until columns run to the
    patient's left, rows to the back and slices to the head; voxels keep their values, and a rotated volume keeps its
    oblique orientation. `offset` is added to every value before it is stored. CT is stored in whole HU as signed
    16-bit integers; MR with fractions, or a range that does not fit, gets a rescale slope.

    Raises InputError for an unknown modality, a volume that is not three-dimensional or not finite, a CT outside the
    16-bit range, and an affine that is sheared or singular: DICOM has no slices for it (PS3.3 C.7.6.2.1.1).
    """
    if modality not in STORAGE:
        raise InputError(f"volumes can be wrapped as {' or '.join(STORAGE)}, not as another modality")
    if volume.ndim != 3 or 0 in volume.shape or not np.all(np.isfinite(volume)):
        raise InputError("a volume needs three dimensions and finite values: check the file")
    stored, slope, intercept = _as_int16(volume, offset, modality)
    turned, placed = _axial_lps(stored, affine)
    digest = hashlib.sha256(np.ascontiguousarray(turned).tobytes() + placed.round(6).tobytes())
    digest.update(f"{patient_id}\x00{modality}\x00{slope!r}\x00{intercept!r}".encode())
    content = digest.hexdigest()
    common = _common(patient_id, modality, body_part, content, placed)
    slices = range(turned.shape[2])
    return [_slice_file(common, turned[:, :, k].T, placed, k, slope, intercept, content) for k in slices]


def import_nifti(
    source: Path,
    landing: Path,
    *,
    name: str,
    modality: str = "CT",
    body_part: str | None = None,
    offset: float = 0.0,
    labels: Mapping[int, str] | None = None,
    limit: int | None = None,
    image: str = "ct.nii.gz",
    segmentation: str = "seg.nii.gz",
    progress: Callable[[int, int], None] | None = None,
) -> Imported:
    """Write `<landing>/images/<name>/<patient>/*.dcm` and `<landing>/annotations/<name>/` from a folder of volumes.

    `source` holds one folder per patient, each with `image` and perhaps `segmentation` (a label map on the same grid),
    or is itself such a folder. The meaning of the label values is `labels`, else `labels.json` in `source`
    ({"1": "Brainstem", …}). `offset` turns stored values into HU: -1000 for the OpenKBP set, whose zero outside the
    body thereby becomes air. `limit` takes the first patients only. The `_READY` files are written last and
    declare `name` (`<name>-labels`) as the partition key where it may be one.

    Raises InputError when there is nothing to import, a label map lacks names or does not fit its image, a volume
    cannot be wrapped, or the delivery is there already. Patients are named by their place in the list.
    """
    if not PLAIN_NAME.fullmatch(name):
        raise InputError("the delivery's name may hold letters, digits, dot, dash and underscore only")
    folders = [source] if (source / image).is_file() else sorted(f.parent for f in source.glob(f"*/{image}"))
    folders = folders[:limit]
    if not folders:
        raise InputError(f"nothing to import: no {image} in the folder or one level below it")
    names = _label_names(source, labels)
    images, annotations = landing / "images" / name, landing / "annotations" / name
    if images.exists() or annotations.exists():
        raise InputError("a delivery or annotation batch of this name is there already: choose another name")
    try:
        volumes: list[dict[str, str]] = []
        instances = 0
        for number, folder in enumerate(folders, start=1):
            try:
                files, series = _import_image(folder / image, folder.name, modality, body_part, offset)
                has_labels = (folder / segmentation).is_file()
                if has_labels:
                    _check_labels(folder / segmentation, folder / image, names)
            except InputError as error:
                raise InputError(f"volume {number} of {len(folders)}: {error}") from error
            _write_series(images / folder.name, files)
            instances += len(files)
            if has_labels:
                annotations.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / segmentation, annotations / f"{folder.name}.nii.gz")
                volumes.append({"file": f"{folder.name}.nii.gz", "series_instance_uid": series})
            if progress:
                progress(number, len(folders))
        if volumes:
            index = {"volumes": volumes, "labels": {str(value): label for value, label in sorted(names.items())}}
            (annotations / "index.json").write_text(json.dumps(index, indent=1, ensure_ascii=False) + "\n", "utf-8")
            _close(annotations, f"{name}-labels")
        _close(images, name)
        return Imported(len(folders), instances, len(volumes))
    except BaseException:
        shutil.rmtree(images, ignore_errors=True)
        shutil.rmtree(annotations, ignore_errors=True)
        raise


def _close(folder: Path, label: str) -> None:
    """The marker, with the folder's name as the declared partition label where it may be one."""
    declared = json.dumps({"label": label}) + "\n" if PARTITION_LABEL.fullmatch(label) else ""
    (folder / "_READY").write_text(declared, "utf-8")


def _write_series(target: Path, files: list[bytes]) -> None:
    target.mkdir(parents=True)
    for index, data in enumerate(files, start=1):
        (target / f"{index:04d}.dcm").write_bytes(data)


def _label_names(source: Path, labels: Mapping[int, str] | None) -> dict[int, str]:
    if labels is None and (source / "labels.json").is_file():
        try:
            labels = json.loads((source / "labels.json").read_text("utf-8"))
        except ValueError as error:
            raise InputError("labels.json is no readable JSON: mend it") from error
    if not isinstance(labels or {}, Mapping):
        raise InputError('labels.json must map values to names, like {"1": "liver"}')
    try:
        return {int(value): str(label) for value, label in (labels or {}).items()}
    except ValueError as error:
        raise InputError('labels.json must map whole numbers to names, like {"1": "liver"}') from error


def _load(path: Path) -> nib.Nifti1Image:
    try:
        loaded = nib.load(path)
        if not isinstance(loaded, nib.Nifti1Image):
            raise InputError("the file is no NIfTI volume")
        return loaded
    except (OSError, EOFError, ValueError, ImageFileError) as error:
        raise InputError("the file is no readable NIfTI volume: it is damaged or another format") from error


def _import_image(
    path: Path, patient_id: str, modality: str, body_part: str | None, offset: float
) -> tuple[list[bytes], str]:
    loaded = _load(path)
    values = loaded.get_fdata(dtype=np.float32)
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    files = wrap_volume(
        values, np.asarray(loaded.affine), patient_id=patient_id, modality=modality, body_part=body_part, offset=offset
    )
    return files, _read_series_uid(files[0])


def _read_series_uid(data: bytes) -> str:
    import pydicom

    header = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
    return str(header.SeriesInstanceUID)


def _check_labels(path: Path, image: Path, names: Mapping[int, str]) -> None:
    labels, grid = _load(path), _load(image)
    if labels.shape[:3] != grid.shape[:3] or not np.allclose(
        np.asarray(labels.affine), np.asarray(grid.affine), atol=0.01
    ):
        raise InputError("the label map does not lie on the grid of its image")
    values = np.unique(labels.get_fdata(dtype=np.float32))
    if missing := [int(v) for v in values if v and int(v) not in names]:
        raise InputError(f"label value {missing[0]} has no name: give labels, or put labels.json beside the patients")


def _as_int16(volume: np.ndarray, offset: float, modality: str) -> tuple[np.ndarray, float, float]:
    """Stored values, slope and intercept such that stored * slope + intercept is the volume plus the offset."""
    values = np.asarray(volume, np.float64) + offset
    low, high = float(values.min()), float(values.max())
    fits = low >= -32768 and high <= 32767
    if modality == "CT" and not fits:
        raise InputError("the values do not fit into 16 bits as HU: check the offset and the file")
    if fits and (modality == "CT" or np.array_equal(values, np.rint(values))):
        return np.rint(values).astype(np.int16), 1.0, 0.0
    slope = float(format_number_as_ds((high - low) / 65000)) or 1.0
    intercept = float(format_number_as_ds((high + low) / 2))
    return np.clip(np.rint((values - intercept) / slope), -32768, 32767).astype(np.int16), slope, intercept


def _axial_lps(stored: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The volume with axes towards left, back and head, and its matrix (4, 4) from (column, row, slice) to LPS mm."""
    steps = np.asarray(affine, float)[:3, :3]
    lengths = np.linalg.norm(steps, axis=0)
    if not np.all(np.isfinite(affine)) or lengths.min() < 1e-3:
        raise InputError("the affine of the volume is singular: its voxels have no size")
    cosines = steps / lengths
    if np.max(np.abs(cosines.T @ cosines - np.eye(3))) > 1e-3:
        raise InputError("the affine of the volume is sheared: resample it to a rectangular grid first")
    wanted = nib.orientations.axcodes2ornt(("L", "P", "S"))
    turn = nib.orientations.ornt_transform(nib.orientations.io_orientation(affine), wanted)
    turned = nib.orientations.apply_orientation(stored, turn)
    return turned, RAS_TO_LPS @ affine @ nib.orientations.inv_ornt_aff(turn, stored.shape)


def _uid(*parts: str) -> UID:
    return UID(f"2.25.{int.from_bytes(hashlib.sha256('/'.join(parts).encode()).digest()[:16])}")


def _common(patient_id: str, modality: str, body_part: str | None, content: str, placed: np.ndarray) -> Dataset:
    """What all slices of the series share: PS3.3 A.3 (CT) and A.4 (MR), with empty values where nothing is known."""
    across, down, apart = np.linalg.norm(placed[:3, :3], axis=0)
    shared = Dataset()
    shared.SpecificCharacterSet = "ISO_IR 192"
    shared.SOPClassUID = STORAGE[modality]
    shared.StudyDate = shared.StudyTime = shared.AccessionNumber = shared.ReferringPhysicianName = ""
    shared.Modality = modality
    shared.Manufacturer = "medillus_pipeline"
    shared.PatientID = patient_id
    shared.PatientName = shared.PatientBirthDate = shared.PatientSex = ""
    if body_part:
        shared.BodyPartExamined = body_part.upper()
    shared.SliceThickness = format_number_as_ds(float(apart))
    shared.PatientPosition = "HFS"
    shared.StudyInstanceUID = _uid("study", patient_id)
    shared.SeriesInstanceUID = _uid("series", content)
    shared.StudyID, shared.SeriesNumber, shared.AcquisitionNumber = "1", 1, 1
    shared.ImageOrientationPatient = [
        format_number_as_ds(float(v)) for v in (*(placed[:3, 0] / across), *(placed[:3, 1] / down))
    ]
    shared.FrameOfReferenceUID = _uid("frame", content)
    shared.PositionReferenceIndicator = ""
    shared.SamplesPerPixel, shared.PhotometricInterpretation = 1, "MONOCHROME2"
    # Derived, so admission would take it for a screenshot; a volume of calibrated values is none.
    shared.BurnedInAnnotation = "NO"
    shared.PixelSpacing = [format_number_as_ds(float(down)), format_number_as_ds(float(across))]
    shared.BitsAllocated, shared.BitsStored, shared.HighBit, shared.PixelRepresentation = 16, 16, 15, 1
    if modality == "CT":
        shared.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
        shared.KVP = ""
    else:
        shared.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
        shared.ScanningSequence, shared.SequenceVariant = "RM", "NONE"
        shared.ScanOptions = shared.MRAcquisitionType = shared.EchoTime = shared.EchoTrainLength = ""
        shared.RepetitionTime = "0"
    return shared


def _slice_file(
    common: Dataset, pixels: np.ndarray, placed: np.ndarray, index: int, slope: float, intercept: float, content: str
) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = common.SOPClassUID
    meta.MediaStorageSOPInstanceUID = _uid("instance", content, str(index))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    file = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    file.update(common)
    file.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    file.InstanceNumber = index + 1
    position = placed[:3, 3] + placed[:3, 2] * index
    file.ImagePositionPatient = [format_number_as_ds(float(v)) for v in position]
    file.Rows, file.Columns = pixels.shape
    if common.Modality == "CT" or (slope, intercept) != (1.0, 0.0):
        file.RescaleIntercept, file.RescaleSlope = format_number_as_ds(intercept), format_number_as_ds(slope)
        file.RescaleType = "HU" if common.Modality == "CT" else "US"
    file.PixelData = np.ascontiguousarray(pixels, "<i2").tobytes()
    file["PixelData"].VR = "OW"
    sink = io.BytesIO()
    file.save_as(sink, enforce_file_format=True)
    return sink.getvalue()
