"""Colour profiles (ICC Profile, PS3.3 C.11.15) without their texts: who made a profile, when, for which screen.

What maps colours stays byte for byte (ISO 15076-1 7.2, 9.2). Whether a value is a profile at all: see `bulk.py`.
"""

import struct
from functools import lru_cache

_COLOUR_TAGS = frozenset(
    b"rXYZ gXYZ bXYZ rTRC gTRC bTRC kTRC wtpt bkpt lumi chad A2B0 A2B1 A2B2 B2A0 B2A1 B2A2 D2B0 D2B1 D2B2 D2B3 "
    b"B2D0 B2D1 B2D2 B2D3 gamt pre0 pre1 pre2".split()
)
_HEADER, _ENTRY = 128, 12


@lru_cache(maxsize=8)
def without_texts(profile: bytes) -> bytes | None:
    """The profile with everything zeroed that maps no colours; None where its table does not fit into it."""
    if len(profile) < _HEADER + 4:
        return None
    (count,) = struct.unpack_from(">L", profile, _HEADER)
    start = _HEADER + 4
    if count > 100 or start + count * _ENTRY > len(profile):
        return None
    cleaned = bytearray(len(profile))
    cleaned[4:24], cleaned[36:48], cleaned[64:80] = profile[4:24], profile[36:48], profile[64:80]
    cleaned[:4], cleaned[_HEADER:start] = profile[:4], profile[_HEADER:start]
    for index in range(count):
        place = start + index * _ENTRY
        name, offset, size = struct.unpack_from(">4sLL", profile, place)
        if offset + size > len(profile) or offset < start + count * _ENTRY:
            return None
        cleaned[place : place + _ENTRY] = profile[place : place + _ENTRY]
        kept = size if name in _COLOUR_TAGS else min(size, 4)  # of a text its type alone: the table names it
        cleaned[offset : offset + kept] = profile[offset : offset + kept]
    return bytes(cleaned)
