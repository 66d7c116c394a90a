"""Which DICOM objects may become instances of the clean zone, before anything in them is changed.

The pixels of some kinds of object are known to carry text: those rules are a table (`pixel_rules.py`). Finding such
text in the pixels themselves is not done here.
"""

import struct
from dataclasses import dataclass

from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medillus_pipeline.deidentification.options import Option
from medillus_pipeline.deidentification.pixel_rules import matching_rule
from medillus_pipeline.deidentification.policy import Policy
from medillus_pipeline.deidentification.values import registered_name
from medillus_pipeline.dicom.codestreams import without_remarks
from medillus_pipeline.dicom.encoded import EncodedDataSet
from medillus_pipeline.dicom.outcomes import Quarantine, Reason

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
_STRUCTURED_REPORTS = "1.2.840.10008.5.1.4.1.1.88."
_DOCUMENTS = ("1.2.840.10008.5.1.4.1.1.104.1", "1.2.840.10008.5.1.4.1.1.104.2")
"""Encapsulated PDF and CDA. Encapsulated surfaces (STL, OBJ) show a body and are never taken."""
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_OVERLAY_PLACE = (0x0010, 0x0011, 0x0100, 0x0102)
"""Rows, columns, bits allocated and bit position of an overlay."""
_TERMS = """
    ANN AR ASMT AU BDUS BI BMD CFM CR CT CTPROTOCOL DG DMS DOC DX ECG EEG EMG EOG EPS ES FID GM HC HD IO IOL IVOCT IVUS
    KER KO LEN LS M3D MG MR NM OAM OCT OP OPM OPR OPT OPTBSV OPTENF OPV OSS OT PA PLAN PR PT PX RESP RF RG RTDOSE
    RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SM SMR SR SRF STAIN TEXTUREMAP TG US VA XA
    XAPROTOCOL XC AS CD CF CP CS DD DF DM DS EC FA FS LP MA MS POS ST TDR VF
"""
_MODALITIES = frozenset(_TERMS.split())
"""Defined terms of Modality (PS3.3 C.7.3.1.1.1), the retired ones too; what is none of them may be a word."""
_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)


@dataclass(frozen=True)
class Admitted:
    """What an admitted object says about its pixels. `pixels` is the stored value, excess bytes cut off; without pixel
    data (reports, documents) `pixel_tag`, rows, columns and frames are 0. `risky` says that a rule takes the pixels to
    carry text, so that they are to be cleaned.
    """

    sop_class_uid: str
    transfer_syntax_uid: str
    encapsulated: bool
    modality: str
    rows: int = 0
    columns: int = 0
    frames: int = 0
    pixel_tag: int = 0
    pixels: bytes | memoryview = b""
    risky: bool = False


def admit(source: EncodedDataSet, policy: Policy) -> Admitted:
    """Look at kind, transfer syntax, pixel length and the rules. Raises Quarantine with the reason to leave it out."""
    sop_class = _sop_class(source)
    if sop_class == _MEDIA_DIRECTORY or 0x00041220 in source.elements:
        raise Quarantine(Reason.MEDIA_DIRECTORY)
    if sop_class in _ANNOTATIONS:
        raise Quarantine(_ANNOTATIONS[sop_class])
    name = registered_name(sop_class)
    if not name:
        raise Quarantine(Reason.UNKNOWN_SOP_CLASS if sop_class else Reason.NOT_AN_IMAGE)
    pixel_tag = next((tag for tag in _PIXELS if tag in source.elements), None)
    if pixel_tag is None and (sop_class.startswith(_STRUCTURED_REPORTS) or sop_class in _DOCUMENTS):
        return _without_pixels(source, sop_class, policy)
    if "Image Storage" not in name and name != "Parametric Map Storage":
        raise Quarantine(Reason.NOT_AN_IMAGE)
    if pixel_tag is None:
        raise Quarantine(Reason.UNREADABLE if source.cut else Reason.NO_PIXEL_DATA)
    image_type = frozenset(value.strip().upper() for value in source.text(0x00080008).split("\\"))
    rule = matching_rule(policy.pixel_rules, sop_class, source.text(0x00280301).upper(), image_type)
    if rule is not None and Option.CLEAN_PIXEL_DATA not in policy.options:
        raise Quarantine(rule.reason)
    if _has_embedded_overlay(source):
        raise Quarantine(Reason.BURNED_IN_ANNOTATION)
    return _with_pixels(source, sop_class, pixel_tag, rule is not None)


def _without_pixels(source: EncodedDataSet, sop_class: str, policy: Policy) -> Admitted:
    if sop_class in _DOCUMENTS and not policy.documents:
        raise Quarantine(Reason.ENCAPSULATED_DOCUMENT)
    if sop_class not in _DOCUMENTS and Option.CLEAN_STRUCTURED_CONTENT not in policy.options:
        raise Quarantine(Reason.STRUCTURED_REPORT)
    return Admitted(sop_class, _transfer_syntax(source, None), False, _modality(source))


def _sop_class(source: EncodedDataSet) -> str:
    found = source.text(0x00080016) or source.declared_sop_class
    if not found and any(tag in source.elements for tag in _PIXELS):
        return _CLASS_BY_MODALITY.get(source.text(0x00080060), _SECONDARY_CAPTURE)
    return found


def _has_embedded_overlay(source: EncodedDataSet) -> bool:
    """Whether an overlay lies in unused bits of the pixels (retired, PS3.3-2004 C.9.2), where it would stay."""
    groups = {tag >> 16 for tag in source.elements if 0x6000 <= tag >> 16 <= 0x60FF and not tag >> 16 & 1}
    return any(
        not _has_value(source, group << 16 | 0x3000)
        and any(_has_value(source, group << 16 | element) for element in _OVERLAY_PLACE)
        for group in groups
    )


def _has_value(source: EncodedDataSet, tag: int) -> bool:
    return tag in source.elements and len(source.elements[tag].raw) > 0


def _modality(source: EncodedDataSet) -> str:
    modality = source.text(0x00080060).upper()
    return modality if modality in _MODALITIES else "OT"


def _with_pixels(source: EncodedDataSet, sop_class: str, pixel_tag: int, risky: bool) -> Admitted:
    element = source.elements[pixel_tag]
    if isinstance(element.value, list):
        raise Quarantine(Reason.NO_PIXEL_DATA)
    encapsulated = element.undefined
    syntax = _transfer_syntax(source, encapsulated)
    rows, columns = _number(source, 0x00280010), _number(source, 0x00280011)
    frames = max(_number(source, 0x00280008), 1)
    if rows == 0 or columns == 0:
        raise Quarantine(Reason.UNREADABLE)
    pixels = element.value
    if encapsulated:
        if _fragments(pixels) < frames:
            raise Quarantine(Reason.TRUNCATED_PIXELS)
        pixels = without_remarks(pixels, syntax)
    else:
        needed = _native_bytes(source, pixel_tag, rows, columns, frames)
        if len(pixels) < needed:
            raise Quarantine(Reason.TRUNCATED_PIXELS)
        even = needed + needed % 2
        pixels = pixels[:even] if len(pixels) >= even else bytes(pixels) + b"\x00"
    return Admitted(sop_class, syntax, encapsulated, _modality(source), rows, columns, frames, pixel_tag, pixels, risky)


def _transfer_syntax(source: EncodedDataSet, encapsulated: bool | None) -> str:
    """The syntax to write: the declared one where it is registered and agrees with what was really read."""
    declared = source.declared_transfer_syntax
    little = ImplicitVRLittleEndian if source.implicit else ExplicitVRLittleEndian
    read = little if source.little else ExplicitVRBigEndian
    if not declared:
        declared = str(read)
    if not registered_name(declared) or not UID(declared).is_transfer_syntax:
        raise Quarantine(Reason.UNKNOWN_TRANSFER_SYNTAX)
    if encapsulated is None:
        return str(read)
    if UID(declared).is_encapsulated != encapsulated:
        raise Quarantine(Reason.UNKNOWN_TRANSFER_SYNTAX)
    if declared == DeflatedExplicitVRLittleEndian:
        return str(ExplicitVRLittleEndian)
    return str(read) if declared in _NATIVE else declared


def _number(source: EncodedDataSet, tag: int) -> int:
    """An unsigned 16-bit or integer-string attribute; 0 where missing. Raises Quarantine when it is neither."""
    element = source.elements.get(tag)
    value = element.raw if element is not None else b""
    if element is None or not value:
        return 0
    if tag == 0x00280008 or element.vr in ("IS", "DS"):
        digits = value.split(b"\\")[0].strip(b" \x00")
        if not digits.isdigit() or len(digits) > 9:
            raise Quarantine(Reason.UNREADABLE)
        return int(digits)
    if len(value) < 2:
        raise Quarantine(Reason.UNREADABLE)
    return struct.unpack_from("<H" if element.little else ">H", value)[0]


def _native_bytes(source: EncodedDataSet, pixel_tag: int, rows: int, columns: int, frames: int) -> int:
    """Bytes of uncompressed pixel data (PS3.5 8.1.1, PS3.3 C.7.6.3.1)."""
    samples = max(_number(source, 0x00280002), 1)
    if source.text(0x00280004) == "YBR_FULL_422":
        samples = 2
    bits = {0x7FE00008: 32, 0x7FE00009: 64}.get(pixel_tag) or _number(source, 0x00280100)
    if bits == 0:
        raise Quarantine(Reason.UNREADABLE)
    return -(-rows * columns * samples * frames * bits // 8)


def _fragments(value: bytes | memoryview) -> int:
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
