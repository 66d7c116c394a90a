"""Clean Pixel Data (PS3.15 E.3.1): text in the frames of one de-identified file, and fixed regions, are made black.

What is not here: finding the text (`pixel_text.py`), and which files are examined at all (`admission.py`).

Frames that change are stored uncompressed: a lossy codec would spread the removed text's edges beyond its box and
degrade the rest a second time, and encoders differ between machines, so the same input would not give the same bytes.
Encapsulated files become Explicit VR Little Endian, which is what their elements are in already; native ones keep
their syntax, so that in both cases the elements which do not describe the pixels stay as they are, byte for byte.
"""

import hashlib
import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pack_bits
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medillus_pipeline.deidentification.pixel_text import Box, find_text
from medillus_pipeline.deidentification.policy import RegionRule
from medillus_pipeline.dicom.attributes import own_window
from medillus_pipeline.dicom.colours import palette_colours
from medillus_pipeline.dicom.decoding import PixelError, decode, frame_count
from medillus_pipeline.dicom.encoding import LONG_VRS, UNDEFINED, Encoder, file_meta
from medillus_pipeline.dicom.outcomes import Quarantine, Reason
from medillus_pipeline.dicom.pixels import GreyFrame, colour_frame, grey_frame, is_colour
from medillus_pipeline.dicom.reading import parse, silenced
from medillus_pipeline.dicom.windows import percentile_window

_PIXELS = (0x7FE00010, 0x7FE00008, 0x7FE00009)
_OFFSET_TABLES = (0x7FE00001, 0x7FE00002)
_BURNED_IN = 0x00280301
ROUNDS = 4
"""How often a file is examined before it is given up."""
_ENVELOPE = (0.5, 99.5)
"""Percentiles between which a frame is shown besides its own window and its full range."""


class FrameBox(NamedTuple):
    """A rectangle that was made black: frame (from 1) and pixels, right and bottom excluded."""

    frame: int
    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True)
class CleanedPixels:
    """A file with clean pixels. `changed` says whether pixels were written anew; `boxes` are in every frame."""

    data: bytes = field(repr=False)
    boxes: tuple[FrameBox, ...]
    changed: bool


class _Element(NamedTuple):
    tag: int
    start: int
    value: int
    end: int


def clean_pixels(
    data: bytes, regions: Sequence[RegionRule], *, manufacturer: str, model: str, known: Collection[str] = ()
) -> CleanedPixels:
    """Examine every frame of a de-identified file and make text and the boxes of matching `regions` black.

    Text overlays rarely move, so what is found in one frame is made black in all. `known` are the patient's names, ids
    and dates, which count as text wherever something like them is read. What was changed is examined again until
    nothing is found. Without boxes the pixel data stay as they are stored and only BurnedInAnnotation is set to NO.
    Raises Quarantine (UNDECODABLE_PIXELS) where a frame cannot be decoded, (TEXT_REMAINS) where text is still found
    after several rounds, ConfigurationError without Tesseract, TransientError where that fails.
    """
    cleaned = _round(data, regions, manufacturer, model, known)
    boxes = list(cleaned.boxes)
    further = cleaned
    for _ in range(ROUNDS):
        if not further.changed:
            return CleanedPixels(cleaned.data, tuple(boxes), bool(boxes))
        further = _round(cleaned.data, (), manufacturer, model, known, legible=True)
        if further.changed:
            cleaned = further
            boxes += further.boxes
    raise Quarantine(Reason.TEXT_REMAINS)


def _round(
    data: bytes,
    regions: Sequence[RegionRule],
    manufacturer: str,
    model: str,
    known: Collection[str],
    *,
    legible: bool = False,
) -> CleanedPixels:
    with silenced():
        try:
            dataset = parse(data)
            found, black = _examine(dataset, known, legible)
            rows, columns = int(dataset.Rows), int(dataset.Columns)
            boxes = dict.fromkeys([*_fixed(regions, manufacturer, model, rows, columns), *found])
            painted = _painted(dataset, list(boxes), black) if boxes else None
        except PixelError:
            raise Quarantine(Reason.UNDECODABLE_PIXELS) from None
        every = range(1, frame_count(dataset) + 1)
        cleaned = _written(data, dataset, painted)
    return CleanedPixels(cleaned, tuple(FrameBox(frame, *box) for frame in every for box in boxes), bool(boxes))


def _fixed(regions: Sequence[RegionRule], manufacturer: str, model: str, rows: int, columns: int) -> Iterator[Box]:
    for rule in regions:
        if not rule.matches(manufacturer, model, rows, columns):
            continue
        for left, top, right, bottom in rule.boxes:
            box = Box(max(left, 0), max(top, 0), min(right, columns), min(bottom, rows))
            if box.left < box.right and box.top < box.bottom:
                yield box


def _examine(dataset: Dataset, known: Collection[str], legible: bool) -> tuple[list[Box], int | float]:
    """The text of all frames, and the stored value that is shown black. One frame is in memory at a time."""
    boxes: dict[Box, None] = {}
    seen: set[bytes] = set()
    ends: list[float] = []
    grey = None
    for frame in range(1, frame_count(dataset) + 1):
        if is_colour(dataset):
            pictures, stored = [colour_frame(dataset, frame)], np.zeros(0)
            digest = hashlib.sha256(pictures[0].tobytes()).digest()
        else:
            grey = grey_frame(dataset, frame)
            pictures, stored = [], grey.stored[np.isfinite(grey.stored)]
            digest = hashlib.sha256(grey.stored.tobytes()).digest()
        if stored.size:
            ends += [stored.min().item(), stored.max().item()]
        if digest in seen:
            continue
        seen.add(digest)
        for picture in pictures or _pictures(dataset, frame, grey):
            boxes.update(dict.fromkeys(find_text(picture, known, legible=legible)))
    return list(boxes), _black(dataset, grey, ends)


def _pictures(dataset: Dataset, frame: int, grey: GreyFrame | None) -> list[np.ndarray]:
    """A grey frame as readers see it, between its percentiles, and over its full range, without repeats.

    The full range counts padding too: text is often drawn in a value that no window reaches or that is padding.
    """
    assert grey is not None
    windows = [own_window(dataset, frame)]
    if not (grey.tabled and grey.calibration.bits <= 8):
        values, counts = grey.histogram()
        windows.append(percentile_window([values], [counts], _ENVELOPE))
    pictures = [grey.greys(window) for window in windows if window is not None]
    values = np.nan_to_num(grey.calibrated())
    low, high = float(values.min()), float(values.max())
    pictures.append(((values - low) * (255 / max(high - low, 1e-6))).astype(np.uint8))
    kept: list[np.ndarray] = []
    for picture in pictures:
        if not any(np.array_equal(picture, other) for other in kept):
            kept.append(picture)
    return kept


def _black(dataset: Dataset, grey: GreyFrame | None, ends: list[float]) -> int | float:
    """The stored value that is shown black: among those present, so that no window or padding rule is upset."""
    if grey is not None:
        present = np.array([min(ends), max(ends)]) if ends else np.zeros(2)
        shown = grey.calibration.values(present)
        darkest = int(np.argmax(shown) if grey.calibration.inverted else np.argmin(shown))
        return present[darkest].item() if grey.stored.dtype.kind == "f" else int(present[darkest])
    if str(dataset.PhotometricInterpretation).strip().upper() != "PALETTE COLOR":
        return 0
    bits = int(dataset.BitsAllocated)
    indices = np.arange(2 ** min(int(dataset.BitsStored), 16), dtype=np.uint8 if bits == 8 else np.uint16)
    try:
        colours = palette_colours(indices[None], dataset)[0].astype(np.int64)
    except (ValueError, TypeError, AttributeError, IndexError, KeyError):
        raise Quarantine(Reason.UNDECODABLE_PIXELS) from None
    return int(np.argmin(colours.sum(axis=1)))


def _painted(dataset: Dataset, boxes: list[Box], black: int | float) -> "_Native":
    """All frames decoded, with black boxes, as one run of native pixel data."""
    colour = int(dataset.SamplesPerPixel) > 1
    little = dataset.file_meta.TransferSyntaxUID != ExplicitVRBigEndian
    parts: list[bytes] = []
    native = _Native(b"", np.dtype("u1"), colour)
    for frame in range(1, frame_count(dataset) + 1):
        values = np.array(decode(dataset, frame, raw=not colour))
        for left, top, right, bottom in boxes:
            values[top:bottom, left:right] = black
        native = _Native(b"", values.dtype, colour)
        parts.append(values.astype(values.dtype.newbyteorder("<" if little else ">")).tobytes())
    joined = b"".join(parts)
    if int(dataset.get("BitsAllocated", 0) or 0) == 1:
        joined = bytes(pack_bits(np.frombuffer(joined, np.uint8), pad=False))
    return native._replace(pixels=joined)


class _Native(NamedTuple):
    """Native pixel data, the type of a sample, and whether it is RGB."""

    pixels: bytes
    dtype: np.dtype
    colour: bool


def _written(data: bytes, dataset: Dataset, painted: _Native | None) -> bytes:
    """The file with its pixel data and the elements that describe them replaced, all others copied."""
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    encoder = Encoder(implicit=implicit, little=little)
    start = 144 + struct.unpack_from("<L", data, 140)[0]  # group length of the meta information, PS3.10 7.1
    elements = list(_elements(data, start, implicit=implicit, little=little))
    body = {element.tag: data[element.start : element.end] for element in elements}
    body[_BURNED_IN] = encoder.element(_BURNED_IN, "CS", b"NO")
    meta = data[:start]
    if painted is not None:
        if syntax.is_compressed:
            uids = str(dataset.SOPClassUID), str(dataset.SOPInstanceUID)
            meta = file_meta(*uids, ExplicitVRLittleEndian)
        for tag in _OFFSET_TABLES:
            body.pop(tag, None)
        pixels = next(tag for tag in _PIXELS if tag in body)
        body |= _description(dataset, painted, encoder)
        body[pixels] = encoder.element(pixels, _vr(pixels, painted, implicit=implicit), painted.pixels)
    return meta + b"".join(body[tag] for tag in sorted(body))


def _vr(tag: int, painted: _Native, *, implicit: bool) -> str:
    if tag != 0x7FE00010:
        return "OF" if tag == 0x7FE00008 else "OD"
    return "OW" if implicit or painted.dtype.itemsize > 1 else "OB"


def _description(dataset: Dataset, painted: _Native, encoder: Encoder) -> dict[int, bytes]:
    """The Image Pixel elements (PS3.3 C.7.6.3) that decoding has made untrue."""
    order = "<" if encoder.little else ">"
    described: dict[int, bytes] = {}

    def number(tag: int, value: int) -> None:
        described[tag] = encoder.element(tag, "US", struct.pack(order + "H", value))

    if painted.colour:
        if str(dataset.PhotometricInterpretation).strip().upper() != "RGB":
            described[0x00280004] = encoder.element(0x00280004, "CS", b"RGB")
        if dataset.get("PlanarConfiguration") != 0:
            number(0x00280006, 0)
    if painted.dtype.kind in "iu" and int(dataset.BitsAllocated) != 1:
        if int(dataset.BitsAllocated) != painted.dtype.itemsize * 8:
            number(0x00280100, painted.dtype.itemsize * 8)
        if dataset.get("HighBit") != int(dataset.BitsStored) - 1:
            number(0x00280102, int(dataset.BitsStored) - 1)  # the decoder has moved and cleared the unused bits
        if int(dataset.get("PixelRepresentation", 0)) != int(painted.dtype.kind == "i"):
            number(0x00280103, int(painted.dtype.kind == "i"))
    return described


def _elements(data: bytes, start: int, *, implicit: bool, little: bool) -> Iterator[_Element]:
    """The top level elements of a data set whose sequences have defined lengths, as `deidentify` writes them."""
    order = "<" if little else ">"
    position = start
    while position + 8 <= len(data):
        group, number = struct.unpack_from(order + "HH", data, position)
        tag, vr = group << 16 | number, data[position + 4 : position + 6].decode("latin-1")
        if implicit:
            length, value = struct.unpack_from(order + "L", data, position + 4)[0], position + 8
        elif vr in LONG_VRS:
            length, value = struct.unpack_from(order + "L", data, position + 8)[0], position + 12
        else:
            length, value = struct.unpack_from(order + "H", data, position + 6)[0], position + 8
        end = len(data) if length == UNDEFINED else value + length
        if end > len(data) or (length == UNDEFINED and tag != _PIXELS[0]):
            raise Quarantine(Reason.UNREADABLE)
        yield _Element(tag, position, value, end)
        position = end
