"""Compressed frames as most files have them, given to the codec without the machinery around it.

A grey image whose frames are one fragment each and whose codestream agrees with the data set about size, depth and
sign goes through imagecodecs, whose codecs (CharLS, OpenJPEG, OpenJPH) let other threads run meanwhile: uploads, for
one. Whatever is unusual or damaged is None here, and `decoding.py` has pydicom look at it, which finds the reason too.
"""

import struct
from importlib.util import find_spec
from typing import Any

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset

_JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
_CODEC: dict[str, str] = {
    **dict.fromkeys(_JPEG_LS, "jpegls_decode"),
    **dict.fromkeys((uid.JPEG2000Lossless, uid.JPEG2000), "jpeg2k_decode"),
    **dict.fromkeys((uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K), "htj2k_decode"),
}
"""Functions of imagecodecs by transfer syntax."""
_INSTALLED = find_spec("imagecodecs") is not None
_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_GREY = ("MONOCHROME1", "MONOCHROME2")


def decode_plain(dataset: Dataset, frame: int, frames: int, syntax: uid.UID) -> np.ndarray | None:
    """Frame `frame` (from 1) of `frames`: stored values (rows, columns), unsigned or signed as the data set says, of
    the bits that it states; None for whatever is not as described above. Raises nothing of its own for damaged pixels.
    """
    function = _CODEC.get(syntax)
    if function is None or not _INSTALLED:
        return None
    bits, allocated = dataset.get("BitsStored"), dataset.get("BitsAllocated")
    if allocated not in (8, 16) or not isinstance(bits, int) or not allocated - 8 < bits <= allocated:
        return None
    if dataset.get("SamplesPerPixel") != 1 or dataset.get("PhotometricInterpretation") not in _GREY:
        return None
    shape, signed = (dataset.Rows, dataset.Columns), dataset.get("PixelRepresentation")
    stream = _fragment(dataset.get("PixelData"), frame, frames)
    if stream is None or signed not in (0, 1):
        return None
    described, expected = (
        (_described_jpeg_ls(stream), (bits, *shape))
        if syntax in _JPEG_LS
        else (_described_jpeg_2000(stream), (bits, signed, *shape))
    )
    if described != expected:
        return None
    kind = np.dtype(f"{'i' if signed else 'u'}{allocated // 8}")
    import imagecodecs

    try:
        values = getattr(imagecodecs, function)(stream)
    except (RuntimeError, ValueError):  # what the codecs raise for damaged streams
        return None
    if values.shape != shape or values.dtype.itemsize != kind.itemsize:
        return None
    values, spare = values.view(kind), allocated - bits
    return (values << spare) >> spare if syntax in _JPEG_LS and signed and spare else values  # JPEG-LS knows no sign


def _fragment(value: Any, frame: int, frames: int) -> bytes | None:
    """The only fragment of a frame; None where frames and fragments do not go by pairs (PS3.5 A.4)."""
    if not isinstance(value, bytes) or value[:4] != _ITEM:
        return None
    found: list[tuple[int, int]] = []
    position, end = 0, len(value)
    while position + 8 <= end and value[position : position + 4] == _ITEM:
        start = position + 8
        position = start + struct.unpack_from("<L", value, position + 4)[0]
        found.append((start, position))
    if position > end or value[position : position + 4] not in (_DELIMITER, b"") or len(found) != frames + 1:
        return None
    offsets = value[slice(*found[0])]
    first = found[1][0] - 8
    expected = struct.pack(f"<{frames}L", *(start - 8 - first for start, _ in found[1:]))
    return value[slice(*found[frame])] if offsets in (b"", expected) else None


def _described_jpeg_ls(stream: bytes) -> tuple[int, int, int] | None:
    """Depth, rows and columns of a JPEG-LS image of one component whose frame header comes first (T.87 C.2.2)."""
    if stream[:4] != b"\xff\xd8\xff\xf7" or len(stream) < 16:
        return None
    depth, rows, columns, components = struct.unpack_from(">BHHB", stream, 6)
    return (depth, rows, columns) if components == 1 else None


def _described_jpeg_2000(stream: bytes) -> tuple[int, int, int, int] | None:
    """Depth, sign, rows and columns of a bare codestream of one component, not subsampled (T.800 A.5.1)."""
    if stream[:4] != b"\xff\x4f\xff\x51" or len(stream) < 45:
        return None
    right, bottom, left, top = struct.unpack_from(">4L", stream, 8)
    components, depth, across, down = struct.unpack_from(">HBBB", stream, 40)
    return (
        ((depth & 127) + 1, depth >> 7, bottom - top, right - left) if (components, across, down) == (1, 1, 1) else None
    )
