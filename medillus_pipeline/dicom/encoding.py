"""DICOM elements to bytes (PS3.5 section 7): the little that writing raw, already encoded values needs."""

import struct
from collections.abc import Iterable

LONG_VRS = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"])
"""VRs with a 32-bit length in explicit encoding (PS3.5 7.1.2)."""

_STRINGS = "AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT"
STRING_VRS = frozenset(_STRINGS.split())

NUMBER_BYTES = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "UV": 8, "SV": 8, "FL": 4, "FD": 8, "AT": 4}

UNDEFINED = 0xFFFFFFFF
IMPLEMENTATION_CLASS_UID = "2.25.287183459811538209471365802154137264018"
IMPLEMENTATION_VERSION_NAME = "MEDILLUS"


class Encoder:
    """Writes elements in one of the three encodings: implicit or explicit VR, little or big endian."""

    def __init__(self, *, implicit: bool, little: bool) -> None:
        end = "<" if little else ">"
        self.implicit = implicit
        self.little = little
        self._short = struct.Struct(end + "HH2sH").pack
        self._long = struct.Struct(end + "HH2sxxL").pack
        self._implicit = struct.Struct(end + "HHL").pack

    def header(self, tag: int, vr: str, length: int) -> bytes:
        """Tag, VR and length. Raises ValueError where the length does not fit the VR."""
        if self.implicit:
            return self._implicit(tag >> 16, tag & 0xFFFF, length)
        if vr in LONG_VRS:
            return self._long(tag >> 16, tag & 0xFFFF, vr.encode(), length)
        if length > 0xFFFE:
            raise ValueError("value too long for its VR")
        return self._short(tag >> 16, tag & 0xFFFF, vr.encode(), length)

    def element(self, tag: int, vr: str, value: bytes) -> bytes:
        """A whole element, padded to even length."""
        if len(value) % 2:
            value += b" " if vr in STRING_VRS and vr != "UI" else b"\x00"
        return self.header(tag, vr, len(value)) + value

    def sequence(self, tag: int, items: Iterable[bytes]) -> bytes:
        """A sequence of defined length from encoded items."""
        body = b"".join(self._implicit(0xFFFE, 0xE000, len(item)) + item for item in items)
        return self.header(tag, "SQ", len(body)) + body

    def fragments(self, tag: int, value: bytes | memoryview, frames: int) -> tuple[bytes | memoryview, ...]:
        """Encapsulated pixel data from its items (PS3.5 A.4), closed by the delimiter, in parts. A Basic Offset Table
        that cannot be one of so many frames is emptied.
        """
        (size,) = struct.unpack_from("<L", value, 4)
        offsets = struct.unpack_from(f"<{size // 4}L", value, 8)
        sound = size == 0 or (size == 4 * frames and offsets[0] == 0 and list(offsets) == sorted(set(offsets)))
        table = value[: 8 + size] if sound and (not offsets or offsets[-1] < len(value)) else _EMPTY_TABLE
        return self.header(tag, "OB", UNDEFINED), table, value[8 + size :], _SEQUENCE_DELIMITER


_EMPTY_TABLE = struct.pack("<HHL", 0xFFFE, 0xE000, 0)
_SEQUENCE_DELIMITER = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """An empty preamble, `DICM`, and meta information (PS3.10 7.1) that says nothing about the sender."""
    encoder = Encoder(implicit=False, little=True)
    body = b"".join(
        (
            encoder.element(0x00020001, "OB", b"\x00\x01"),
            encoder.element(0x00020002, "UI", sop_class_uid.encode()),
            encoder.element(0x00020003, "UI", sop_instance_uid.encode()),
            encoder.element(0x00020010, "UI", transfer_syntax_uid.encode()),
            encoder.element(0x00020012, "UI", IMPLEMENTATION_CLASS_UID.encode()),
            encoder.element(0x00020013, "SH", IMPLEMENTATION_VERSION_NAME.encode()),
        )
    )
    return bytes(128) + b"DICM" + encoder.element(0x00020000, "UL", struct.pack("<L", len(body))) + body
