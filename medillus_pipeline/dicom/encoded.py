"""The elements of a data set as they are encoded (PS3.5 section 7): tag, VR and the bytes of the value, undecoded.

A sound file is scanned here, without a copy of its pixels, several times as fast as pydicom builds a data set. At the
first thing that is not as PS3.5 says (no meta information, a deflated or unknown transfer syntax, an unknown VR, a
length that leads outside) the scan gives up and the file is read by pydicom, which knows how to read many unsound
ones; the result has the same form. What the values mean is not here.
"""

import struct
from dataclasses import dataclass
from typing import NamedTuple

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.multival import MultiValue
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian
from pydicom.values import convert_SQ

from medillus_pipeline.dicom.encoding import LONG_VRS, STRING_VRS, UNDEFINED

MAXIMUM_DEPTH = 32
"""Sequences nested deeper than this are no clinical object; the file is refused."""

_KNOWN_VRS = {vr.encode(): vr for vr in sorted(STRING_VRS | LONG_VRS | {"AT", "FL", "FD", "SL", "SS", "UL", "US"})}
_LONG = {vr.encode() for vr in LONG_VRS}
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXEL_GROUP = 0x7FE00000
_META_LIMIT = 16 * 1024


class Element(NamedTuple):
    """One element. `vr` is None where the encoding is implicit; `value` the encoded value, or the items of a sequence
    that could only be found by entering it; `undefined` says that the length was given by a delimiter (the value then
    holds the fragments of compressed pixel data, PS3.5 A.4). `implicit` and `little` are the encoding around it.
    """

    vr: str | None
    value: "bytes | memoryview | list[Elements]"
    undefined: bool
    implicit: bool
    little: bool

    @property
    def raw(self) -> bytes:
        """The encoded value as bytes; empty for entered sequences."""
        if isinstance(self.value, bytes):
            return self.value
        return b"" if isinstance(self.value, list) else bytes(self.value)


Elements = dict[int, Element]
"""Tag (group << 16 | element) → element, in the order of the file."""


@dataclass(frozen=True)
class EncodedDataSet:
    """A file: the elements of its data set, what its meta information declares, and how it is really encoded."""

    elements: Elements
    declared_sop_class: str
    declared_transfer_syntax: str
    implicit: bool
    little: bool
    cut: bool = False
    """Whether the file ends inside an element."""

    def text(self, tag: int) -> str:
        """The raw value of a text attribute as ASCII (other characters replaced), without padding; empty if missing."""
        return text_in(self.elements, tag)


class _Unsound(Exception):
    """The file is not as the standard says, or not as this module reads it."""


def text_in(elements: Elements, tag: int) -> str:
    """The raw value of a text attribute as ASCII (other characters replaced), without padding; empty if missing."""
    element = elements.get(tag)
    return element.raw.decode("ascii", "replace").strip(" \x00") if element is not None else ""


def scan(data: bytes) -> EncodedDataSet | None:
    """The encoded data set of a sound DICOM file in a transfer syntax that is not deflated; None for any other."""
    try:
        return _scan(data)
    except (_Unsound, struct.error, UnicodeDecodeError, RecursionError):
        return None


def from_pydicom(dataset: FileDataset) -> EncodedDataSet:
    """The same of a data set that pydicom has read, whose elements are still raw. pydicom raises whatever damaged
    nested bytes make it stumble over, in texts that quote them."""
    implicit, little = dataset.original_encoding
    meta = dataset.file_meta if dataset.file_meta else Dataset()
    raw = [element for element in dataset.values() if isinstance(element, RawDataElement)]
    return EncodedDataSet(
        _converted(dataset, bool(implicit), bool(little), 0),
        str(meta.get("MediaStorageSOPClassUID", "") or ""),
        str(meta.get("TransferSyntaxUID", "") or ""),
        bool(implicit),
        bool(little),
        any(element.length not in (len(element.value or b""), UNDEFINED) for element in raw),
    )


def items_of(element: Element) -> list[Elements]:
    """The items of a sequence, however it is encoded. Raises ValueError where it is none, or nested too deeply."""
    if isinstance(element.value, list):
        return element.value
    if element.vr not in (None, "SQ", "UN") or (element.vr == "UN" and not element.little):
        raise ValueError("not a sequence")
    value = element.raw
    implicit = element.implicit or element.vr == "UN"  # PS3.5 6.2.2 note 2
    try:
        items, _ = _items(value, 0, len(value), _Encoding(implicit, element.little), 0, bounded=True)
    except (_Unsound, struct.error):
        return _items_by_pydicom(value, implicit, element.little)
    return items


class _Encoding:
    """How a stretch of elements is encoded, and the compiled readers for it."""

    def __init__(self, implicit: bool, little: bool) -> None:
        end = "<" if little else ">"
        self.implicit, self.little = implicit, little
        self.short = struct.Struct(end + "HH2sH").unpack_from
        self.implicit_header = struct.Struct(end + "HHL").unpack_from
        self.length = struct.Struct(end + "L").unpack_from


_ENCODINGS = {
    str(ImplicitVRLittleEndian): _Encoding(True, True),
    str(ExplicitVRBigEndian): _Encoding(False, False),
}
_EXPLICIT = _Encoding(False, True)


def _scan(data: bytes) -> EncodedDataSet:
    if data[128:132] != b"DICM":
        raise _Unsound
    meta, start = _meta(data)
    syntax = _uid(meta.get(0x00020010))
    uid = UID(syntax)
    if not syntax or uid.is_private or not uid.is_transfer_syntax or uid.is_deflated:
        raise _Unsound
    encoding = _ENCODINGS.get(syntax, _EXPLICIT)
    elements, end = _elements(data, start, len(data), encoding, 0, root=True)
    if end != len(data) or not elements:
        raise _Unsound
    return EncodedDataSet(elements, _uid(meta.get(0x00020002)), syntax, encoding.implicit, encoding.little)


def _uid(element: Element | None) -> str:
    return element.raw.decode("ascii").strip(" \x00") if element is not None else ""


def _meta(data: bytes) -> tuple[Elements, int]:
    """File meta information (PS3.10 7.1), whose length its first element says."""
    if data[132:140] != b"\x02\x00\x00\x00UL\x04\x00":
        raise _Unsound
    end = 144 + struct.unpack_from("<L", data, 140)[0]
    if end > min(len(data), _META_LIMIT):
        raise _Unsound
    elements, reached = _elements(data, 144, end, _EXPLICIT, 0)
    if reached != end or any(tag >> 16 != 2 for tag in elements) or data[end : end + 2] == b"\x02\x00":
        raise _Unsound
    return elements, end


def _elements(
    data: bytes, position: int, end: int, encoding: _Encoding, depth: int, *, root: bool = False, item: bool = False
) -> tuple[Elements, int]:
    """The elements from `position` to `end`, or with `item` to the item's delimiter; and where the reading stopped."""
    if depth > MAXIMUM_DEPTH:
        raise _Unsound
    found: Elements = {}
    implicit, little = encoding.implicit, encoding.little
    short, implicit_header, read_length = encoding.short, encoding.implicit_header, encoding.length
    previous = -1
    while position < end:
        if implicit:
            group, number, length = implicit_header(data, position)
            vr = None
            position += 8
        else:
            group, number, code, length = short(data, position)
            vr = _KNOWN_VRS.get(code)
            if vr is None:
                if item and group == 0xFFFE and number == 0xE00D:
                    return found, position + 8
                raise _Unsound
            position += 8
            if code in _LONG:
                (length,) = read_length(data, position)
                position += 4
        tag = group << 16 | number
        if tag <= previous or group == 0xFFFE:
            if item and tag == _ITEM_END:
                return found, position
            raise _Unsound
        previous = tag
        if length == UNDEFINED:
            if root and tag == 0x7FE00010 and vr in ("OB", "OW"):
                stop = _fragments_end(data, position, end)
                found[tag] = Element(vr, memoryview(data)[position:stop], True, implicit, little)
                position = stop + 8
                continue
            if vr not in (None, "SQ", "UN"):
                raise _Unsound
            inner = _NESTED[True, little] if vr == "UN" else encoding
            items, position = _items(data, position, end, inner, depth + 1, bounded=False)
            found[tag] = Element(vr, items, True, implicit, little)
            continue
        stop = position + length
        if stop > end:
            raise _Unsound
        value = memoryview(data)[position:stop] if tag & 0xFFFF0000 == _PIXEL_GROUP else data[position:stop]
        found[tag] = Element(vr, value, False, implicit, little)
        position = stop
    if item or position != end:
        raise _Unsound
    return found, position


_NESTED = {(implicit, little): _Encoding(implicit, little) for implicit in (True, False) for little in (True, False)}


def _items(
    data: bytes, position: int, end: int, encoding: _Encoding, depth: int, *, bounded: bool
) -> tuple[list[Elements], int]:
    """The items of a sequence from `position`, to `end` where its length is known, else to its delimiter."""
    items: list[Elements] = []
    while position < end:
        group, number, length = encoding.implicit_header(data, position)
        tag = group << 16 | number
        position += 8
        if tag == _SEQUENCE_END and length == 0:
            if bounded and position != end:
                raise _Unsound
            return items, position
        if tag != _ITEM:
            raise _Unsound
        if length == UNDEFINED:
            found, position = _elements(data, position, end, encoding, depth + 1, item=True)
        else:
            stop = position + length
            if stop > end:
                raise _Unsound
            found, position = _elements(data, position, stop, encoding, depth + 1)
        items.append(found)
    if not bounded or position != end:
        raise _Unsound
    return items, position


def _fragments_end(data: bytes, position: int, end: int) -> int:
    """Where the sequence delimiter of encapsulated pixel data stands (PS3.5 A.4)."""
    while position + 8 <= end:
        group, number, length = struct.unpack_from("<HHL", data, position)
        if (group, number) == (0xFFFE, 0xE0DD):
            return position
        if (group, number) != (0xFFFE, 0xE000) or length == UNDEFINED:
            raise _Unsound
        position += 8 + length
    raise _Unsound


def _items_by_pydicom(value: bytes, implicit: bool, little: bool) -> list[Elements]:
    try:
        sequence = convert_SQ(value, implicit, little, ["iso8859"])
        return [_converted(item, implicit, little, 1) for item in sequence]
    except Exception:  # noqa: BLE001 - pydicom raises whatever the bytes make it stumble over, quoting them
        raise ValueError("the items of a sequence cannot be read") from None


def _converted(dataset: Dataset, implicit: bool, little: bool, depth: int) -> Elements:
    if depth > MAXIMUM_DEPTH:
        raise ValueError("sequences are nested too deeply")
    found: Elements = {}
    for tag in sorted(dataset.keys()):
        element = dataset.get_item(tag)
        if isinstance(element, RawDataElement):
            value, undefined = element.value or b"", element.length == UNDEFINED
            found[int(tag)] = Element(element.VR, value, undefined, element.is_implicit_VR, element.is_little_endian)
        elif isinstance(element, DataElement) and element.VR == "SQ":
            items = [_converted(item, implicit, little, depth + 1) for item in element.value]
            found[int(tag)] = Element("SQ", items, True, implicit, little)
        elif element is not None:  # pydicom converts the Specific Character Set while it reads; it is ASCII
            several = element.value if isinstance(element.value, MultiValue) else [element.value]
            text = "\\".join(str(value) for value in several if value is not None)
            found[int(tag)] = Element(element.VR, text.encode("ascii", "replace"), False, implicit, little)
    return found
