"""Removing the face from the files of one series: slices to a volume, the mask of `defacing.py` back to stored values.

The files are de-identified already; nothing in them is read but geometry and pixels, and nothing is changed but the
pixels of the mask and RecognizableVisualFeatures. Pixels outside the mask stay bit by bit.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import FileDataset
from pydicom.uid import ExplicitVRLittleEndian

from medillus_pipeline.deidentification.cranium import Modality
from medillus_pipeline.deidentification.defacing import deface, volume_shows_head
from medillus_pipeline.dicom.attributes import plane
from medillus_pipeline.dicom.calibration import Calibration
from medillus_pipeline.dicom.decoding import PixelError, frame_count
from medillus_pipeline.dicom.geometry import (
    SAME_POSITION,
    Plane,
    SeriesNote,
    Stack,
    normal,
    stack_series,
    volume_affine,
)
from medillus_pipeline.dicom.outcomes import Quarantine, Reason
from medillus_pipeline.dicom.pixels import grey_frame
from medillus_pipeline.dicom.reading import parse, silenced

FEWEST_SLICES = 10
"""Places below which slices are not rendered as a surface."""
HARMLESS_EXTENT = 40.0
"""Height in mm of a thin block of axial slices that shows too little of a face: one feature of it at most."""
NARROWEST_HEAD = 110.0
"""Thickness in mm below which a block of MR slices that is not axial cannot be told from one without a head."""
AXIAL = 0.8
"""Least share of the direction to the head in the normal of a slice that counts as axial."""
AIR = -1000.0
"""HU that replaces the face in CT."""

_NO_HEAD = float("nan")
_NOT_A_VOLUME = {
    SeriesNote.NO_GEOMETRY,
    SeriesNote.GAPS,
    SeriesNote.UNEVEN_SPACING,
    SeriesNote.MIXED_PIXEL_SPACING,
}


@dataclass(frozen=True)
class _Frame:
    """Where a slice comes from: index of its file, its number there (from 1), its place."""

    file: int
    number: int
    plane: Plane


def deface_series(files: Sequence[bytes]) -> list[bytes]:
    """The files of one CT or MR series without the face, in the order given; single-frame slices or multi-frame.

    Slices of one orientation and size make a volume, whatever the order of the files; several at one place (echoes,
    phases) get the same mask. Changed files that were compressed come back in Explicit VR Little
    Endian, native. RecognizableVisualFeatures becomes NO in all of them (PS3.3 C.7.6.1), unless
    none says that it may show a head (by YES) and the volumes show none: those come back as they were.

    A stack of fewer than `FEWEST_SLICES` places passes unchanged when it is axial and lower than `HARMLESS_EXTENT`.
    Raises Quarantine(FACE_NOT_REMOVED) for one that shows a profile or is no even volume, for a narrow block of MR
    slices of unknown content that is not axial, for pixels that are no grey
    integers of up to 16 bits, and where no head is found or the face would still be seen; UNDECODABLE_PIXELS where the
    pixels cannot be decoded.
    """
    with silenced():
        datasets = [parse(data) for data in files]
        named = any(str(dataset.get("RecognizableVisualFeatures", "")).strip() == "YES" for dataset in datasets)
        frames = _frames(datasets)
        masks: dict[int, dict[int, np.ndarray]] = {}
        fills: dict[int, float | None] = {}
        headless = not named
        identities = [f"{frame.file:08d}.{frame.number:08d}" for frame in frames]
        for stack in stack_series([frame.plane for frame in frames], identities):
            fill = _deface_stack(datasets, frames, stack, masks, named)
            headless &= fill is _NO_HEAD
            fills |= {frames[member].file: fill for member in stack.members}
        if headless:
            return list(files)
        return [_written(dataset, masks.get(index, {}), fills.get(index)) for index, dataset in enumerate(datasets)]


def _frames(datasets: list[FileDataset]) -> list[_Frame]:
    found = []
    for index, dataset in enumerate(datasets):
        if not isinstance(dataset.get("BitsStored"), int) or dataset.BitsAllocated not in (8, 16):
            raise Quarantine(Reason.FACE_NOT_REMOVED)
        try:
            found += [_Frame(index, n, plane(dataset, n)) for n in range(1, frame_count(dataset) + 1)]
        except PixelError as error:
            raise Quarantine(Reason.UNDECODABLE_PIXELS) from error
    return found


def _deface_stack(
    datasets: list[FileDataset],
    frames: list[_Frame],
    stack: Stack,
    masks: dict[int, dict[int, np.ndarray]],
    named: bool,
) -> float | None:
    """Adds the masks of a stack's frames by file and frame; returns the value in output units that replaces the face,
    None where nothing needs to be, `_NO_HEAD` where the volume shows no head and the source names none.
    """
    members = [frames[index] for index in stack.members]
    places = _places(members)
    if len(places) < FEWEST_SLICES:
        if _harmless(places):
            return None
        raise Quarantine(Reason.FACE_NOT_REMOVED)
    first, last = places[0][0].plane, places[-1][0].plane
    if stack.notes & _NOT_A_VOLUME or first.position is None or last.position is None or first.pixel_spacing is None:
        raise Quarantine(Reason.FACE_NOT_REMOVED)
    modality = str(datasets[members[0].file].get("Modality", "")).strip().upper()
    if modality not in ("CT", "MR"):
        raise Quarantine(Reason.FACE_NOT_REMOVED)
    kind: Modality = "CT" if modality == "CT" else "MR"
    affine = volume_affine(first.position, last.position, len(places), first)
    volume = np.empty((len(places), first.rows, first.columns), np.float32)
    for index, place in enumerate(places):
        volume[index] = _values(datasets[place[0].file], place[0].number, kind)
    try:
        if not named and not volume_shows_head(volume, affine, kind):
            axial, extent = _lie(places)
            if kind == "MR" and not axial and extent < NARROWEST_HEAD:
                raise Quarantine(Reason.FACE_NOT_REMOVED)
            return _NO_HEAD
        mask = deface(volume, affine, kind).mask
    except ValueError as error:
        raise Quarantine(Reason.FACE_NOT_REMOVED) from error
    for index, place in enumerate(places):
        if mask[index].any():
            for frame in place:
                masks.setdefault(frame.file, {})[frame.number] = mask[index]
    return AIR if kind == "CT" else float(volume.min())


def _places(members: list[_Frame]) -> list[list[_Frame]]:
    """The frames of a stack, in order, those at one place together."""
    places: list[list[_Frame]] = []
    height = -np.inf
    for frame in members:
        if frame.plane.position is None or frame.plane.orientation is None:
            return [[one] for one in members]
        here = float(normal(frame.plane.orientation) @ np.asarray(frame.plane.position))
        if here - height > SAME_POSITION:
            places.append([])
        places[-1].append(frame)
        height = here
    return places


def _harmless(places: list[list[_Frame]]) -> bool:
    """Whether the few slices are axial and lie so close that they show too little of a face."""
    axial, extent = _lie(places)
    return axial and extent < HARMLESS_EXTENT


def _lie(places: list[list[_Frame]]) -> tuple[bool, float]:
    """Whether slices are axial, and the distance in mm from the first to the last; False and 0 where nobody knows."""
    first, last = places[0][0].plane, places[-1][0].plane
    if first.orientation is None or first.position is None or last.position is None:
        return False, 0.0
    along = normal(first.orientation)
    extent = float(along @ (np.asarray(last.position) - np.asarray(first.position)))
    return abs(float(along[2])) >= AXIAL, abs(extent)


def _values(dataset: FileDataset, number: int, kind: Modality) -> np.ndarray:
    """A frame in output units, its padding as air (the surroundings of the body, mostly)."""
    try:
        frame = grey_frame(dataset, number)
    except PixelError as error:
        raise Quarantine(Reason.UNDECODABLE_PIXELS) from error
    if not frame.tabled:
        raise Quarantine(Reason.FACE_NOT_REMOVED)
    if kind == "CT":
        return frame.calibrated(AIR)
    padded = frame.calibration.is_padding(frame.stored)
    values = frame.calibrated()
    if padded.any() and not padded.all():
        values[padded] = values[~padded].min()
    return values


def stored_value(calibration: Calibration, value: float) -> int:
    """The stored value that stands nearest to an output value and is no padding: clipped to the bits as a matter of
    course. The least of several.
    """
    domain = calibration.domain()
    domain = np.sort(domain[~calibration.is_padding(domain)])
    if not len(domain):
        raise Quarantine(Reason.FACE_NOT_REMOVED)
    return int(domain[np.abs(calibration.values(domain) - value).argmin()])


def _written(dataset: FileDataset, masks: dict[int, np.ndarray], fill: float | None) -> bytes:
    if masks and fill is not None:
        _replace(dataset, masks, fill)
    dataset.RecognizableVisualFeatures = "NO"
    sink = io.BytesIO()
    dataset.save_as(sink, enforce_file_format=True)
    return sink.getvalue()


def _replace(dataset: FileDataset, masks: dict[int, np.ndarray], fill: float) -> None:
    """Overwrite the masked pixels in the data set, padding left as it is."""
    syntax = dataset.file_meta.TransferSyntaxUID
    compressed = syntax.is_encapsulated
    shape = (frame_count(dataset), dataset.Rows, dataset.Columns)
    bits, allocated, high = int(dataset.BitsStored), int(dataset.BitsAllocated), dataset.get("HighBit")
    kind = np.dtype(f"{'<' if syntax.is_little_endian else '>'}u{allocated // 8}")
    shifted = not compressed and isinstance(high, int) and bits - 1 <= high < allocated
    low = high + 1 - bits if shifted else 0
    field = ((1 << bits) - 1) << low
    if compressed:
        pixels = np.empty(shape, kind)
    else:
        pixels = np.frombuffer(dataset.PixelData, kind, count=int(np.prod(shape))).reshape(shape).copy()
    for index in range(shape[0]) if compressed else sorted(number - 1 for number in masks):
        try:
            frame = grey_frame(dataset, index + 1)
        except PixelError as error:
            raise Quarantine(Reason.UNDECODABLE_PIXELS) from error
        if compressed:
            pixels[index] = frame.stored.astype(np.int64) & ((1 << allocated) - 1)
        if index + 1 in masks:
            changed = masks[index + 1] & ~frame.calibration.is_padding(frame.stored)
            value = (stored_value(frame.calibration, fill) << low) & field
            beside = pixels[index][changed] & (((1 << allocated) - 1) & ~field)
            pixels[index][changed] = beside | value
    data = pixels.tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OW"
    if compressed:
        dataset.HighBit = bits - 1
        dataset["PixelData"].is_undefined_length = False
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
            if keyword in dataset:
                delattr(dataset, keyword)
