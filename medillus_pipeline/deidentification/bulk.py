"""Binary attributes that pixels cannot be shown without, and whether they are what they claim to be.

Anything can hide in a binary value. Such an attribute stays only where its size is the one that the data set around it
calls for; nothing of it is decoded.
"""

import struct

from medillus_pipeline.deidentification.icc import without_texts
from medillus_pipeline.dicom.encoded import Element, Elements

_LUT_DESCRIPTOR, _LUT_DATA = 0x00283002, 0x00283006
_PALETTE_DESCRIPTORS = {0x00281201: 0x00281101, 0x00281202: 0x00281102, 0x00281203: 0x00281103, 0x00281204: 0x00281104}
_SEGMENTED = {0x00281221: 0x00281101, 0x00281222: 0x00281102, 0x00281223: 0x00281103, 0x00281224: 0x00281104}
ICC_PROFILE = 0x00282000
_OFFSETS = (0x7FE00001, 0x7FE00002)
_PHOTOMETRIC, _PIXEL_PRESENTATION, _NUMBER_OF_FRAMES = 0x00280004, 0x00089205, 0x00280008


def is_sound(tag: int, element: Element, around: Elements) -> bool:
    """Whether a binary attribute has the size that the data set around it says (PS3.3 C.7.6.3.1, C.11.1, C.11.15)."""
    size = len(element.raw)
    if size == 0:
        return True
    if tag == _LUT_DATA:
        entries = _entries(around, _LUT_DESCRIPTOR)
        return entries > 0 and size in _sizes(entries)
    if tag in _PALETTE_DESCRIPTORS:
        entries = _entries(around, _PALETTE_DESCRIPTORS[tag])
        return _is_coloured(around) and entries > 0 and size in _sizes(entries)
    if tag in _SEGMENTED:
        return _is_coloured(around) and _entries(around, _SEGMENTED[tag]) > 0
    if tag == ICC_PROFILE:  # ISO 15076-1 7.2: size and signature stand in the header
        raw = element.raw
        sound = raw[36:40] == b"acsp" and 0 <= size - int.from_bytes(raw[:4], "big") <= 1
        return sound and without_texts(raw) is not None
    if tag in _OFFSETS:
        pixels = around.get(0x7FE00010)
        return pixels is not None and pixels.undefined and size == 8 * _frames(around)
    return False


def _sizes(entries: int) -> tuple[int, ...]:
    return entries + entries % 2, 2 * entries


def _entries(around: Elements, descriptor: int) -> int:
    """The first of the descriptor's three values; 0 stands for 65,536."""
    element = around.get(descriptor)
    if element is None or len(element.raw) != 6:
        return 0
    return struct.unpack_from("<H" if element.little else ">H", element.raw)[0] or 65536


def _is_coloured(around: Elements) -> bool:
    photometric, presentation = around.get(_PHOTOMETRIC), around.get(_PIXEL_PRESENTATION)
    named = photometric.raw.strip(b" \x00") if photometric is not None else b""
    presented = presentation.raw.strip(b" \x00") if presentation is not None else b""
    return named == b"PALETTE COLOR" or presented in (b"COLOR", b"MIXED", b"COLOR_REF")


def _frames(around: Elements) -> int:
    element = around.get(_NUMBER_OF_FRAMES)
    digits = element.raw.strip(b" \x00") if element is not None else b""
    return int(digits) if digits.isdigit() and len(digits) < 10 else 1
