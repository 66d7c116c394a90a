"""Where the elements of an Explicit VR Little Endian file stand, found in one walk along its bytes, and plain numbers
among them.

`encoded.scan` reads more kinds of file, and takes three times as long for it: what is unusual in any way is None here.
What elements mean is not here.
"""

import math
import re
import struct

from medillus_pipeline.dicom.encoding import LONG_VRS, STRING_VRS, UNDEFINED

_POSITION = 0x00200032
_ONE = rb" *([+-]?[0-9]{1,16}(?:\.[0-9]{0,16})?(?:[eE][+-]?[0-9]{1,3})?) *"
_NUMBERS = re.compile(rb"\\".join([_ONE] * 3))
_SHORT, _LENGTH = struct.Struct("<HH2sH").unpack_from, struct.Struct("<L").unpack_from
_ITEM = struct.Struct("<HHL").unpack_from
_LONG = {vr.encode() for vr in LONG_VRS}
_KNOWN = {vr.encode() for vr in STRING_VRS | {"AT", "FL", "FD", "SL", "SS", "UL", "US"}}
_EXPLICIT = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\x00"
"""Transfer Syntax UID in the meta information: Explicit VR Little Endian."""

Header = dict[int, tuple[int, int]]
"""Tag → where its value starts and ends, as Explicit VR Little Endian files have it."""


def plain_header(data: bytes | memoryview) -> Header | None:
    """Where the elements of a file stand; None where it is no plain Explicit VR Little Endian (PS3.5 7.1.2)."""
    if bytes(data[128:140]) != b"DICM\x02\x00\x00\x00UL\x04\x00":
        return None
    start = 144 + int.from_bytes(data[140:144], "little")
    if _EXPLICIT not in bytes(data[144:start]):
        return None
    found: Header = {}
    end, previous = len(data), 0x0002FFFF
    try:
        while start < end:
            group, number, vr, length = _SHORT(data, start)
            start += 8
            if vr in _LONG:
                (length,) = _LENGTH(data, start)
                start += 4
            elif vr not in _KNOWN:
                return None
            tag = group << 16 | number
            if tag <= previous:
                return None
            previous = tag
            stop = start + length if length != UNDEFINED else _sequence_end(data, start, vr)
            found[tag] = start, stop
            start = stop
    except (struct.error, RecursionError, ValueError):
        return None
    return found if start == end else None


def _sequence_end(data: bytes | memoryview, start: int, vr: bytes) -> int:
    """Where a sequence of undefined length ends, its delimiter included (PS3.5 7.5). Raises ValueError for anything
    else of undefined length, struct.error past the end of the file.
    """
    if vr != b"SQ":
        raise ValueError("only a sequence is walked")
    while True:
        group, number, length = _ITEM(data, start)
        start += 8
        if group != 0xFFFE or number not in (0xE000, 0xE0DD):
            raise ValueError("no item")
        if number == 0xE0DD:
            return start
        if length != UNDEFINED:
            start += length
            continue
        while True:
            group, number, inner, length = _SHORT(data, start)
            start += 8
            if (group, number) == (0xFFFE, 0xE00D):
                break
            if inner in _LONG:
                (length,) = _LENGTH(data, start)
                start += 4
            elif inner not in _KNOWN:
                raise ValueError("not a known VR")
            start = start + length if length != UNDEFINED else _sequence_end(data, start, inner)


def unsigned(data: bytes | memoryview, place: tuple[int, int] | None) -> int:
    """An unsigned number of 16 bits, 0 where it is missing."""
    return int.from_bytes(data[place[0] : place[1]], "little") if place and place[1] - place[0] == 2 else 0


def image_position(data: bytes | memoryview, header: Header) -> list[float] | None:
    """ImagePositionPatient, x, y, z in mm LPS, where it is three plain numbers."""
    start, end = header.get(_POSITION, (0, 0))
    match = _NUMBERS.fullmatch(data, start, end)
    numbers = [float(number) for number in match.groups()] if match else []
    return numbers if numbers and all(map(math.isfinite, numbers)) else None
