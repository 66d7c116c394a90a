"""Volumes: each stack of parallel slices with its verdict, and the volume of those that are one, as NIfTI in HU.

Works from rows of SLICES, one stack at a time in memory; a stack that turns out not to be a volume, or whose pixels
cannot be decoded, is recorded and costs no other its place. Who may show a face gets a volume and no picture. What is
not here: the rules for stacks (`geometry.py`), the file format (`nifti_file.py`), the pictures (`reformats.py`).
"""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from medillus_pipeline.dicom.decoding import PixelError, Skip
from medillus_pipeline.dicom.face import Face
from medillus_pipeline.dicom.geometry import MINIMUM_SLICES, Plane, Verdict, volume_affine
from medillus_pipeline.dicom.nifti_file import encode_nifti
from medillus_pipeline.dicom.pixels import GreyFrame, grey_frame
from medillus_pipeline.dicom.reformats import reformat_planes
from medillus_pipeline.dicom.stacks import Row, judged_stacks
from medillus_pipeline.dicom.windows import Window, percentile_window
from medillus_pipeline.errors import InputError
from medillus_pipeline.zones import Zone

MAXIMUM_VOXELS = 2**30
"""Voxels past which a volume is not built: 2 GiB of memory as int16, 6 GiB where it has to become float32."""

PICTURED = {str(Face.NONE), str(Face.REMOVED)}
"""Faces (column `face`) of which planes may be shown: a sagittal plane of any other head would be its profile."""

SAME = (
    "series_instance_uid",
    "study_instance_uid",
    "frame_of_reference_uid",
    "patient",
    "split_token",
    "modality",
    "body_part",
)
"""Columns of VOLUMES that are those of the slices."""


class NotAVolume(Exception):
    """What headers or pixels say against a stack that is a volume by its geometry."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(str(verdict))
        self.verdict = verdict


@dataclass(frozen=True)
class Volume:
    """Voxels `stored` (slices, rows, columns), int16 or float32, of value stored * slope + intercept; `affine` (4, 4)
    from (column, row, slice, 1) to LPS mm; whether the values are HU; the value of padding pixels, None without.
    """

    stored: np.ndarray
    slope: float
    intercept: float
    affine: np.ndarray
    hounsfield: bool
    padding: float | None

    def calibrated(self) -> np.ndarray:
        """Values (slices, rows, columns) float32 in output units of the Modality LUT; padding pixels keep theirs."""
        return (self.stored * self.slope + self.intercept).astype(np.float32)


def build_volumes(
    slices: Sequence[Row],
    instances: Sequence[Row],
    clean: Zone,
    *,
    minimum_slices: int = MINIMUM_SLICES,
    maximum_voxels: int = MAXIMUM_VOXELS,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Rows of VOLUMES for all `slices` (rows of SLICES; `instances` are those of INSTANCES they come from), and their
    payloads in the clean zone (`volumes/…`, `reformats/…`).

    Raises StoreError when the zone cannot be used, InputError when an instance is no longer in it.
    """
    faces = {row["sop_instance_uid"]: row["face"] for row in instances}
    stacks = list(judged_stacks(slices, minimum_slices=minimum_slices))
    made = []
    for done, stack in enumerate(stacks, start=1):
        members, first = stack.members, stack.members[0]
        row: Row = {
            **{name: first[name] for name in SAME},
            "stack": stack.number,
            "face": _most_telling(faces.get(member["sop_instance_uid"], str(Face.UNKNOWN)) for member in members),
            "notes": sorted(str(note) for note in stack.notes),
            "slices": len(members),
        }
        made.append(row | _outcome(members, row["face"], stack.verdict, clean, maximum_voxels))
        if progress:
            progress(done, len(stacks))
    return made


def read_volume(members: Sequence[Row], clean: Zone) -> Volume:
    """The volume of one stack: rows of SLICES in order along the normal, each frame once, and their instances.

    Values stay integers where the calibration allows: HU as they are where slope and intercept are whole numbers,
    else stored values where one slope and intercept holds for all frames; float32 for everything else (a slope for
    each slice as in PET, a Modality LUT, more than 16 bits). Raises PixelError when a frame cannot be decoded,
    NotAVolume for a localizer, InputError when an instance is no longer in the zone.
    """
    first, last = members[0], members[-1]
    plane = Plane(first["rows"], first["columns"], first["position"], first["orientation"], first["pixel_spacing"])
    affine = volume_affine(first["position"], last["position"], len(members), plane)
    shape = (len(members), plane.rows, plane.columns)
    stored: np.ndarray | None = None
    scale: tuple[float, float] | None = None
    hounsfield, padding = first["modality"] == "CT", None
    by_file = sorted(enumerate(members), key=lambda placed: (placed[1]["instance_path"], placed[1]["frame"]))
    for path, frames in groupby(by_file, key=lambda placed: placed[1]["instance_path"]):
        dataset = _read(clean, path)
        if _is_localizer(dataset):
            raise NotAVolume(Verdict.LOCALIZER)
        for index, member in frames:
            grey = grey_frame(dataset, member["frame"])
            if grey.stored.shape != shape[1:]:
                raise PixelError(Skip.INVALID_DESCRIPTION)
            hounsfield &= grey.calibration.hounsfield
            if padding is None and grey.calibration.padding is not None:
                padding = float(grey.calibration.values(np.array(grey.calibration.padding[:1]))[0])
            whole = _as_int16(grey)
            if stored is None:
                stored = np.empty(shape, np.float32 if whole is None else np.int16)
                scale = None if whole is None else whole[1]
            if scale is not None and (whole is None or whole[1] != scale):
                stored, scale = _as_float32(stored, *scale), None
            stored[index] = grey.calibrated() if scale is None or whole is None else whole[0]
    if stored is None:
        raise PixelError(Skip.NO_PIXEL_DATA)
    slope, intercept = scale or (1.0, 0.0)
    return Volume(stored, slope, intercept, affine, hounsfield, padding)


def _outcome(members: list[Row], face: str, judged: Verdict, clean: Zone, maximum_voxels: int) -> Row:
    """The columns from `verdict` on; payloads are written on the way."""
    try:
        if judged is Verdict.TOO_FEW_SLICES and _is_localizer(_read(clean, members[0]["instance_path"])):
            raise NotAVolume(Verdict.LOCALIZER)
        if judged is Verdict.VOLUME and len(members) * members[0]["rows"] * members[0]["columns"] > maximum_voxels:
            raise NotAVolume(Verdict.TOO_LARGE)
        if judged is not Verdict.VOLUME:
            raise NotAVolume(judged)
        volume = read_volume(members, clean)
    except NotAVolume as reason:
        return {"verdict": str(reason.verdict)} | dict.fromkeys(_OF_A_VOLUME)
    except PixelError:
        return {"verdict": str(Verdict.UNDECODABLE)} | dict.fromkeys(_OF_A_VOLUME)
    encoded = encode_nifti(volume.stored, volume.affine, slope=volume.slope, intercept=volume.intercept)
    payload = clean.put("volumes", encoded, ".nii.gz")
    preview = None
    if face in PICTURED:
        planes = reformat_planes(
            volume.stored, volume.affine, _window(members, volume), slope=volume.slope, intercept=volume.intercept
        )
        preview = clean.put("reformats", planes, ".png").path
    return {
        "verdict": str(Verdict.VOLUME),
        "shape": list(volume.stored.shape[::-1]),
        "spacing": [float(length) for length in np.linalg.norm(volume.affine[:3, :3], axis=0)],
        "affine": [float(value) for value in volume.affine.ravel()],
        "unit": "HU" if volume.hounsfield else "calibrated",
        "minimum": min(row["minimum"] for row in members),
        "maximum": max(row["maximum"] for row in members),
        "padding": volume.padding,
        "path": payload.path,
        "sha256": payload.sha256,
        "bytes": payload.bytes,
        "preview": preview,
    }


_OF_A_VOLUME = (
    "shape",
    "spacing",
    "affine",
    "unit",
    "minimum",
    "maximum",
    "padding",
    "path",
    "sha256",
    "bytes",
    "preview",
)
"""Columns that are null where the verdict is not `volume`."""


def _most_telling(faces: Iterable[str]) -> str:
    """The face of a stack: that of its most telling instance."""
    order = [str(Face.POSSIBLE), str(Face.UNKNOWN), str(Face.REMOVED), str(Face.NONE)]
    found = set(faces)
    return next((face for face in order if face in found), str(Face.UNKNOWN))


def _window(members: Sequence[Row], volume: Volume) -> Window:
    """The window of the middle slice as it is shown by itself; without one, nearly all of the values."""
    middle = members[len(members) // 2]
    if middle["window_center"] is not None and middle["window_width"]:
        return Window(middle["window"], middle["window_center"], middle["window_width"], "LINEAR_EXACT")
    plane = volume.stored[len(members) // 2].astype(np.float64) * volume.slope + volume.intercept
    values, counts = np.unique(plane[np.isfinite(plane)], return_counts=True)
    return percentile_window([values], [counts], (0.5, 99.5)) or Window("full-range", 0.5, 1.0, "LINEAR_EXACT")


def _read(clean: Zone, path: str) -> Dataset:
    try:
        data = clean.read(path)
    except FileNotFoundError as error:
        raise InputError(
            "an instance of the slices is no longer in the clean zone: ingest the delivery again"
        ) from error
    try:
        return pydicom.dcmread(io.BytesIO(data))
    except Exception as error:
        raise PixelError(Skip.UNREADABLE) from error


def _is_localizer(dataset: Dataset) -> bool:
    kind = dataset.get("ImageType") or ()
    return "LOCALIZER" in {str(value).strip().upper() for value in ([kind] if isinstance(kind, str) else kind)}


def _as_int16(grey: GreyFrame) -> tuple[np.ndarray, tuple[float, float]] | None:
    """Integers and the (slope, intercept) that make calibrated values of them; None where 16 bits do not do."""
    calibration, stored = grey.calibration, grey.stored
    if calibration.lut is not None or stored.dtype.kind not in "iu":
        return None
    slope, intercept = calibration.slope, calibration.intercept
    if slope.is_integer() and intercept.is_integer():
        stored, slope, intercept = stored.astype(np.int64) * int(slope) + int(intercept), 1.0, 0.0
    if stored.min() < -32768 or stored.max() > 32767:
        return None
    return stored.astype(np.int16), (slope, intercept)


def _as_float32(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    values = np.empty(stored.shape, np.float32)
    for index, plane in enumerate(stored):
        values[index] = plane * slope + intercept
    return values
