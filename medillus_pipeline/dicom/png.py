"""A minimal PNG writer and reader: 8-bit grey, RGB and palette images, the same bytes for the same pixels.

The writer knows one layout (PNG, third edition: signature, IHDR, PLTE where there is a palette, one IDAT, IEND; no
time, no text, no gamma) and compresses with ISA-L level 1, which is many times faster than zlib at a similar size.
What is not here: which pixels become which grey (`pixels.py`, `windows.py`).
"""

import io
import struct
import zlib

import numpy as np
from isal import isal_zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, INDEXED = 0, 2, 3


def encode_png(array: np.ndarray, palette: bytes | None = None) -> bytes:
    """A PNG of `array`, uint8, (height, width) for grey or (height, width, 3) for RGB.

    With `palette` (up to 768 bytes, three per colour) the image is indexed and the grey values are the indices: a
    label map. Rows are stored unfiltered (filter type 0, PNG 9.2): windowed slices are mostly flat, and differences
    between neighbours come out larger. The same array gives the same bytes on machines whose processors have the same
    vector extensions; the pixels are the same everywhere. Raises ValueError for any other type or shape.
    """
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or 0 in array.shape:
        raise ValueError("a PNG is made from a non-empty uint8 array of 2 or 3 dimensions")
    if array.ndim == 3 and (array.shape[2] != 3 or palette is not None):
        raise ValueError("a colour array has three channels and no palette")
    if palette is not None and (len(palette) % 3 or not 3 * (int(array.max()) + 1) <= len(palette) <= 768):
        raise ValueError("a palette has three bytes per colour and a colour for every index")
    height, width = array.shape[:2]
    kind = INDEXED if palette is not None else GREY if array.ndim == 2 else RGB
    rows = array.reshape(height, -1)
    filtered = np.zeros((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 1:] = rows
    parts = [SIGNATURE, _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0))]
    if palette is not None:
        parts.append(_chunk(b"PLTE", palette))
    parts.append(_chunk(b"IDAT", isal_zlib.compress(filtered, 1)))
    parts.append(_chunk(b"IEND", b""))
    return b"".join(parts)


def decode_png(data: bytes) -> np.ndarray:
    """Pixels of an 8-bit PNG as uint8: (height, width) for grey, (height, width, 3) for RGB, indices for a palette.

    Other modes are converted to RGB by Pillow. Raises ValueError when the bytes are no readable image.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.load()
            plain = image if image.mode in ("L", "RGB", "P") else image.convert("L" if image.mode == "1" else "RGB")
            return np.array(plain)
    except (OSError, SyntaxError, zlib.error, struct.error, Image.DecompressionBombError) as error:
        raise ValueError("the bytes are no readable PNG") from error


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", isal_zlib.crc32(body, isal_zlib.crc32(name)))
