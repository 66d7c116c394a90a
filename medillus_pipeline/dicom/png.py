"""A minimal PNG writer and reader: grey of 8 or 16 bits, RGB and palette images, the same bytes for the same pixels.

The writer knows one layout (PNG, third edition: signature, IHDR, PLTE where there is a palette, one IDAT, IEND; no
time, no text, no gamma) and compresses with ISA-L level 1, which is many times faster than zlib at a similar size.
What is not here: which pixels become which grey (`pixels.py`, `windows.py`).
"""

import io
import struct
import zlib

import numpy as np
from isal import isal_zlib

from medillus_pipeline.dicom.deflate import deflated

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, INDEXED = 0, 2, 3
BUSY = 0.15
"""Share of a row's bytes that differ from their left neighbour's above which the row is stored as differences.

Windowed slices are mostly flat: runs of black and white that differences would break up. Where tissue or noise fills
the row, differences are the smaller. By this share files come out at 1.03 times Pillow's for CT in a soft-tissue
window, 1.08 for lung; with no filter at all 1.05 and 1.20 (`benchmarks/slices_speed.py`).
"""


def encode_png(array: np.ndarray, palette: bytes | None = None) -> bytes:
    """A PNG of `array`, uint8, (height, width) for grey or (height, width, 3) for RGB; or uint16, grey only.

    With `palette` (up to 768 bytes, three per colour) the image is indexed and the grey values are the indices: a
    label map, whose rows are stored as they are. Rows of other images are stored as they are (filter type 0, PNG 9.2)
    or as differences from the pixel on the left (type 1): see `BUSY`. The same array gives the same bytes on machines
    whose processors have the same vector extensions; the pixels are the same everywhere. Raises ValueError for any
    other type or shape.
    """
    depth = {"uint8": 8, "uint16": 16}.get(array.dtype.name, 0)
    if not depth or array.ndim not in (2, 3) or 0 in array.shape:
        raise ValueError("a PNG is made from a non-empty uint8 or uint16 array of 2 or 3 dimensions")
    if depth == 16 and (array.ndim == 3 or palette is not None):
        raise ValueError("a PNG of 16 bits is grey")
    if array.ndim == 3 and (array.shape[2] != 3 or palette is not None):
        raise ValueError("a colour array has three channels and no palette")
    if palette is not None and (len(palette) % 3 or not 3 * (int(array.max()) + 1) <= len(palette) <= 768):
        raise ValueError("a palette has three bytes per colour and a colour for every index")
    height, width = array.shape[:2]
    kind = INDEXED if palette is not None else GREY if array.ndim == 2 else RGB
    plain = np.ascontiguousarray(array, ">u2" if depth == 16 else None).view(np.uint8).reshape(height, -1)
    filtered = np.zeros((height, plain.shape[1] + 1), np.uint8)
    filtered[:, 1:] = plain
    if kind != INDEXED and width > 1:
        _store_differences(filtered, plain, 3 if kind == RGB else depth // 8)
    parts = [SIGNATURE, _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))]
    if palette is not None:
        parts.append(_chunk(b"PLTE", palette))
    parts.append(_chunk(b"IDAT", deflated([filtered.data.cast("B")], level=1)))
    parts.append(_chunk(b"IEND", b""))
    return b"".join(parts)


def decode_png(data: bytes) -> np.ndarray:
    """Pixels of a PNG as uint8: (height, width) for grey, (height, width, 3) for RGB, indices for a palette; uint16 for
    grey of 16 bits.

    Other modes are converted to RGB by Pillow. Raises ValueError when the bytes are no readable image.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.load()
            if image.mode in ("I;16", "I;16B", "I"):
                return np.array(image).astype(np.uint16)
            plain = image if image.mode in ("L", "RGB", "P") else image.convert("L" if image.mode == "1" else "RGB")
            return np.array(plain)
    except (OSError, SyntaxError, zlib.error, struct.error, Image.DecompressionBombError) as error:
        raise ValueError("the bytes are no readable PNG") from error


def _store_differences(filtered: np.ndarray, plain: np.ndarray, step: int) -> None:
    """Turn the busy rows of `filtered` (filter type, then bytes) into differences of `plain`, (rows, bytes), from the
    byte `step` to the left.
    """
    flat = plain.reshape(-1)
    differences = np.empty_like(plain)
    np.subtract(flat[step:], flat[:-step], out=differences.reshape(-1)[step:])  # one long row: four times as fast
    differences[:, :step] = 0
    busy = np.flatnonzero(_changes(differences) > BUSY * (plain.shape[1] - step))
    filtered[busy, 0] = 1
    filtered[busy, 1 + step :] = differences[busy, step:]


def _changes(differences: np.ndarray) -> np.ndarray:
    """How many bytes of each row are not zero, (rows,)."""
    if differences.shape[1] % 8:
        return np.count_nonzero(differences, axis=1)
    flags = np.packbits(differences.reshape(-1))  # one bit a byte: twice as fast as counting along the rows
    words = flags.view(np.uint64) if differences.shape[1] % 64 == 0 else flags
    return np.bitwise_count(words).reshape(len(differences), -1).sum(axis=1, dtype=np.int64)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", isal_zlib.crc32(body, isal_zlib.crc32(name)))
