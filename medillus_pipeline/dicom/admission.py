"""Which DICOM objects may become images of the clean zone, before anything in them is changed.

The pixels of some kinds of object are known to carry text: those rules are a table (`PIXEL_RULES`). Finding such text
in the pixels themselves is not done here.
"""

import struct
from dataclasses import dataclass

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.multival import MultiValue
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medillus_pipeline.dicom.encoding import UNDEFINED
from medillus_pipeline.dicom.outcomes import Quarantine, Reason
from medillus_pipeline.dicom.values import registered_name

_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
_ANNOTATIONS = {
    "1.2.840.10008.5.1.4.1.1.481.3": Reason.RTSTRUCT,
    "1.2.840.10008.5.1.4.1.1.66.4": Reason.SEGMENTATION,
    "1.2.840.10008.5.1.4.1.1.66.7": Reason.SEGMENTATION,
}
_CLASS_BY_MODALITY = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "PT": "1.2.840.10008.5.1.4.1.1.128",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
}
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)


@dataclass(frozen=True)
class PixelRule:
    """Objects whose pixels are taken to carry text, unless BurnedInAnnotation says NO.

    An object matches when its SOP Class UID is one of `classes` (or lies under one that ends in a point), its
    BurnedInAnnotation is `flag`, and `image_type` is among its Image Type values; an empty field matches everything.
    """

    reason: Reason
    classes: tuple[str, ...] = ()
    flag: str = ""
    image_type: str = ""


_IMAGE = "1.2.840.10008.5.1.4.1.1."
PIXEL_RULES = (
    PixelRule(Reason.BURNED_IN_ANNOTATION, flag="YES"),
    PixelRule(Reason.SECONDARY_CAPTURE, classes=(_SECONDARY_CAPTURE, _SECONDARY_CAPTURE + ".")),
    PixelRule(
        Reason.ULTRASOUND,
        classes=(_IMAGE + "3", _IMAGE + "3.1", _IMAGE + "6", _IMAGE + "6.1", _IMAGE + "6.2", _IMAGE + "6.3"),
    ),
    PixelRule(Reason.ANGIOGRAPHY_OR_FLUOROSCOPY, classes=(_IMAGE + "12.",)),
    PixelRule(Reason.PHOTOGRAPH_OR_VIDEO, classes=(_IMAGE + "77.1.",)),
    PixelRule(Reason.DERIVED_CT, classes=(_IMAGE + "2", _IMAGE + "2.1", _IMAGE + "2.2"), image_type="SECONDARY"),
    PixelRule(Reason.DERIVED_CT, classes=(_IMAGE + "2", _IMAGE + "2.1", _IMAGE + "2.2"), image_type="SCREEN SAVE"),
    PixelRule(Reason.CT_LOCALIZER, classes=(_IMAGE + "2", _IMAGE + "2.1", _IMAGE + "2.2"), image_type="LOCALIZER"),
)
"""First match decides."""


@dataclass(frozen=True)
class Admitted:
    """What an admitted object says about its pixels. `pixels` is the stored value, excess bytes cut off."""

    sop_class_uid: str
    transfer_syntax_uid: str
    encapsulated: bool
    modality: str
    rows: int
    columns: int
    frames: int
    pixel_tag: int
    pixels: bytes


def bytes_of(element: RawDataElement | DataElement | None) -> bytes:
    """The encoded value of an element; empty for none and for a sequence.

    pydicom converts the Specific Character Set and some meta information while reading; those are ASCII.
    """
    if element is None or not element.value or element.VR == "SQ":
        return b""
    if isinstance(element, RawDataElement):
        return element.value
    several = isinstance(element.value, MultiValue)
    return "\\".join(str(value) for value in (element.value if several else [element.value])).encode("ascii", "replace")


def text_of(dataset: Dataset, tag: int) -> str:
    """The raw value of a text attribute as ASCII (other characters replaced), without padding; empty if missing."""
    element = dataset.get_item(tag) if tag in dataset else None
    return bytes_of(element).decode("ascii", "replace").strip(" \x00")


def admit(dataset: FileDataset) -> Admitted:
    """Look at kind, transfer syntax, pixel length and the rules. Raises Quarantine with the reason to leave it out."""
    sop_class = _sop_class(dataset)
    if sop_class == _MEDIA_DIRECTORY or 0x00041220 in dataset:
        raise Quarantine(Reason.MEDIA_DIRECTORY)
    if sop_class in _ANNOTATIONS:
        raise Quarantine(_ANNOTATIONS[sop_class])
    name = registered_name(sop_class)
    if not name:
        raise Quarantine(Reason.UNKNOWN_SOP_CLASS if sop_class else Reason.NOT_AN_IMAGE)
    if "Image Storage" not in name and name != "Parametric Map Storage":
        raise Quarantine(Reason.NOT_AN_IMAGE)
    pixel_tag = next((tag for tag in _PIXELS if tag in dataset), None)
    if pixel_tag is None:
        raise Quarantine(Reason.UNREADABLE if _is_cut(dataset) else Reason.NO_PIXEL_DATA)
    _apply_rules(dataset, sop_class)
    if _has_embedded_overlay(dataset):
        raise Quarantine(Reason.BURNED_IN_ANNOTATION)
    return _with_pixels(dataset, sop_class, pixel_tag)


def _sop_class(dataset: FileDataset) -> str:
    meta = text_of(dataset.file_meta, 0x00020002) if dataset.file_meta else ""
    found = text_of(dataset, 0x00080016) or meta
    if not found and any(tag in dataset for tag in _PIXELS):
        return _CLASS_BY_MODALITY.get(text_of(dataset, 0x00080060), _SECONDARY_CAPTURE)
    return found


def _is_cut(dataset: Dataset) -> bool:
    """Whether the file ends inside an element."""
    raw = (element for element in dataset.values() if isinstance(element, RawDataElement))
    return any(element.length not in (len(element.value or b""), UNDEFINED) for element in raw)


def _has_embedded_overlay(dataset: Dataset) -> bool:
    """Whether an overlay lies in unused bits of the pixels (retired, PS3.3-2004 C.9.2), where it would stay."""
    return any(
        text_of(dataset, group << 16 | 0x0010) and group << 16 | 0x3000 not in dataset
        for group in range(0x6000, 0x6020, 2)
    )


def _apply_rules(dataset: Dataset, sop_class: str) -> None:
    flag = text_of(dataset, 0x00280301).upper()
    if flag == "NO":
        return
    image_type = {value.strip().upper() for value in text_of(dataset, 0x00080008).split("\\")}
    for rule in PIXEL_RULES:
        within = any(sop_class.startswith(c) if c.endswith(".") else sop_class == c for c in rule.classes)
        if (
            (within or not rule.classes)
            and rule.flag in ("", flag)
            and (not rule.image_type or rule.image_type in image_type)
        ):
            raise Quarantine(rule.reason)


def _with_pixels(dataset: FileDataset, sop_class: str, pixel_tag: int) -> Admitted:
    element = dataset.get_item(pixel_tag)
    if not isinstance(element, RawDataElement) or element.value is None:
        raise Quarantine(Reason.NO_PIXEL_DATA)
    encapsulated = element.length == UNDEFINED
    syntax = _transfer_syntax(dataset, encapsulated)
    rows, columns = _number(dataset, 0x00280010), _number(dataset, 0x00280011)
    frames = max(_number(dataset, 0x00280008), 1)
    if rows == 0 or columns == 0:
        raise Quarantine(Reason.UNREADABLE)
    pixels = bytes(element.value)
    if encapsulated:
        if _fragments(pixels) < frames:
            raise Quarantine(Reason.TRUNCATED_PIXELS)
    else:
        needed = _native_bytes(dataset, pixel_tag, rows, columns, frames)
        if len(pixels) < needed:
            raise Quarantine(Reason.TRUNCATED_PIXELS)
        pixels = pixels[: needed + needed % 2].ljust(needed + needed % 2, b"\x00")
    modality = text_of(dataset, 0x00080060).upper()
    known = modality if modality.replace("_", "").isalnum() and modality.isascii() and len(modality) <= 16 else "OT"
    return Admitted(sop_class, syntax, encapsulated, known, rows, columns, frames, pixel_tag, pixels)


def _transfer_syntax(dataset: FileDataset, encapsulated: bool) -> str:
    """The syntax to write: the declared one where it is registered and agrees with what was really read."""
    declared = text_of(dataset.file_meta, 0x00020010) if dataset.file_meta else ""
    implicit, little = dataset.original_encoding
    read = ExplicitVRBigEndian if not little else ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    if not declared:
        declared = str(read)
    if not registered_name(declared) or not UID(declared).is_transfer_syntax:
        raise Quarantine(Reason.UNKNOWN_TRANSFER_SYNTAX)
    if UID(declared).is_encapsulated != encapsulated:
        raise Quarantine(Reason.UNKNOWN_TRANSFER_SYNTAX)
    if declared == DeflatedExplicitVRLittleEndian:
        return str(ExplicitVRLittleEndian)
    return str(read) if declared in _NATIVE else declared


def _number(dataset: Dataset, tag: int) -> int:
    """An unsigned 16-bit or integer-string attribute; 0 where missing. Raises Quarantine when it is neither."""
    element = dataset.get_item(tag) if tag in dataset else None
    if not isinstance(element, RawDataElement) or not element.value:
        return 0
    if tag == 0x00280008 or element.VR in ("IS", "DS"):
        digits = element.value.split(b"\\")[0].strip(b" \x00")
        if not digits.isdigit() or len(digits) > 9:
            raise Quarantine(Reason.UNREADABLE)
        return int(digits)
    if len(element.value) < 2:
        raise Quarantine(Reason.UNREADABLE)
    return struct.unpack("<H" if element.is_little_endian else ">H", element.value[:2])[0]


def _native_bytes(dataset: Dataset, pixel_tag: int, rows: int, columns: int, frames: int) -> int:
    """Bytes of uncompressed pixel data (PS3.5 8.1.1, PS3.3 C.7.6.3.1)."""
    samples = max(_number(dataset, 0x00280002), 1)
    if text_of(dataset, 0x00280004) == "YBR_FULL_422":
        samples = 2
    bits = {0x7FE00008: 32, 0x7FE00009: 64}.get(pixel_tag) or _number(dataset, 0x00280100)
    if bits == 0:
        raise Quarantine(Reason.UNREADABLE)
    return -(-rows * columns * samples * frames * bits // 8)


def _fragments(value: bytes) -> int:
    """Number of fragments after the Basic Offset Table (PS3.5 A.4). Raises Quarantine when one has no end."""
    position, count = 0, -1
    while position < len(value):
        if len(value) - position < 8:
            raise Quarantine(Reason.TRUNCATED_PIXELS)
        group, element, length = struct.unpack_from("<HHL", value, position)
        if (group, element) != (0xFFFE, 0xE000) or position + 8 + length > len(value):
            raise Quarantine(Reason.TRUNCATED_PIXELS)
        position += 8 + length
        count += 1
    return count
