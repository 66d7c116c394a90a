"""Compressed frames without what their formats let a device write beside the picture: comments, EXIF, thumbnails.

The bytes are overwritten by zeros, so that every length and offset stays; what a decoder needs is not touched and the
decoded pixels are the same. Nothing is decoded. Which frames are taken is not decided here.
"""

import re
import struct
from collections.abc import Iterator

from pydicom.uid import JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes, RLELossless

_JPEG_2000 = frozenset(
    (*JPEG2000TransferSyntaxes, *(f"1.2.840.10008.1.2.4.{number}" for number in (201, 202, 203)))
)  # the latter are HTJ2K
_JPEG = frozenset((*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes))
_KEPT_APPLICATION_DATA = {0xE0: (b"JFIF\x00", 14), 0xE8: (b"mrfx", 5), 0xEE: (b"Adobe", 12)}
"""Segments that change how samples are read (JFIF: no thumbnail; colour transforms), and how much of each."""
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_BOXES = frozenset((b"xml ", b"uuid", b"uinf", b"jp2i", b"free"))


def without_remarks(value: bytes | memoryview, transfer_syntax_uid: str) -> bytes | memoryview:
    """The items of encapsulated pixel data (PS3.5 A.4), sound, with remarks zeroed; the same object where there are
    none. JPEG (ITU-T T.81 B.2.4), JPEG-LS, JPEG 2000 (T.800 A.9.2 and I.7) and RLE (PS3.5 G.5) are known; a frame that
    is none of these inside is left as it is.
    """
    if transfer_syntax_uid in _JPEG:
        remarks = _in_jpeg
    elif transfer_syntax_uid in _JPEG_2000:
        remarks = _in_jpeg_2000
    elif transfer_syntax_uid == RLELossless:
        remarks = _in_rle
    else:
        return value
    changed: bytearray | None = None
    for start, end in _fragments(value):
        try:
            spans = [span for span in remarks(value, start, end) if span[0] < span[1] <= end]
        except (struct.error, IndexError):  # cut off, as a fragment that goes on in the next one
            continue
        for first, last in spans:
            if any(value[first:last]):
                changed = bytearray(value) if changed is None else changed
                changed[first:last] = bytes(last - first)
    return value if changed is None else bytes(changed)


def _fragments(value: bytes | memoryview) -> Iterator[tuple[int, int]]:
    """Where each fragment begins and ends; the first item, the offset table, is none."""
    position = 8 + struct.unpack_from("<L", value, 4)[0]
    while position + 8 <= len(value):
        (length,) = struct.unpack_from("<L", value, position + 4)
        yield position + 8, position + 8 + length
        position += 8 + length


def _in_jpeg(data: bytes | memoryview, start: int, end: int) -> Iterator[tuple[int, int]]:
    if data[start : start + 2] != b"\xff\xd8":
        return
    position, several = start + 2, False
    while data[position] == 0xFF and data[position + 1] not in (0xDA, 0xD9):
        if data[position + 1] == 0xFF:  # fill byte
            position += 1
            continue
        marker, (length,) = data[position + 1], struct.unpack_from(">H", data, position + 2)
        payload, position = position + 4, position + 2 + length
        if marker == 0xFE or 0xE0 <= marker <= 0xEF:
            name, size = _KEPT_APPLICATION_DATA.get(marker, (b"", 0))
            yield (payload + size if size and data[payload : payload + len(name)] == name else payload), position
            several = several or data[payload : payload + 4] == b"MPF\x00"
    if several or bytes(data[end - 3 : end]).rstrip(b"\x00")[-2:] != b"\xff\xd9":
        yield _end_of_image(data, position, end), end


def _end_of_image(data: bytes | memoryview, position: int, end: int) -> int:
    """Where the picture is over, from the first scan on; `end` where it has no end here."""
    while (match := _MARKER.search(data, position, end)) is not None:
        if match.group()[1] == 0xD9:
            return match.end()
        position = match.end() + struct.unpack_from(">H", data, match.end())[0]
    return end


def _in_jpeg_2000(data: bytes | memoryview, start: int, end: int) -> Iterator[tuple[int, int]]:
    if data[start : start + 2] == b"\xff\x4f":
        yield from _in_codestream(data, start + 2, end)
        return
    position = start if data[start + 4 : start + 8] == b"jP  " else end
    while position + 8 <= end:
        length, kind = struct.unpack_from(">L4s", data, position)
        head = 8
        if length == 1:
            (length,), head = struct.unpack_from(">Q", data, position + 8), 16
        stop = end if length == 0 else position + max(length, head)
        if kind == b"jp2c":
            yield from _in_codestream(data, position + head + 2, min(stop, end))
        elif kind in _BOXES:
            yield position + head, min(stop, end)
        position = stop


def _in_codestream(data: bytes | memoryview, position: int, end: int) -> Iterator[tuple[int, int]]:
    """Comment segments of the main header and of the tile-part headers."""
    while position + 4 <= end:
        marker, length = struct.unpack_from(">HH", data, position)
        if marker == 0xFF64:
            yield position + 6, position + 2 + length
        elif marker == 0xFF90:
            (size,) = struct.unpack_from(">L", data, position + 6)
            yield from _in_tile_part(data, position + 2 + length, min(position + size, end) if size else end)
            if not size:
                return
            position += size
            continue
        elif marker >> 8 != 0xFF or marker == 0xFFD9:
            return
        position += 2 + length


def _in_tile_part(data: bytes | memoryview, position: int, end: int) -> Iterator[tuple[int, int]]:
    while position + 4 <= end:
        marker, length = struct.unpack_from(">HH", data, position)
        if marker == 0xFF93 or marker >> 8 != 0xFF:
            return
        if marker == 0xFF64:
            yield position + 6, position + 2 + length
        position += 2 + length


def _in_rle(data: bytes | memoryview, start: int, end: int) -> Iterator[tuple[int, int]]:
    (segments,) = struct.unpack_from("<L", data, start)
    if segments <= 15 and end - start >= 64:
        yield start + 4 + 4 * segments, start + 64
