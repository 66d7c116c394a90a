"""Colour: YBR to RGB (PS3.3 C.7.6.3.1.2) and palettes (C.7.6.3.1.5, C.7.6.3.1.6; segmented, C.7.9.2).

What is not here: decoding (`decoding.py`), and the lookup tables of grey images (`attributes.py`).
"""

import numpy as np
from pydicom.dataset import Dataset

CHANNELS = ("Red", "Green", "Blue")
DEEPEST_NESTING = 1
"""An indirect segment may repeat discrete and linear segments only (PS3.3 C.7.9.2.3)."""


def ybr_to_rgb(values: np.ndarray, bits: int) -> np.ndarray:
    """RGB of the same shape (…, 3) and type for YBR_FULL samples of `bits` bits, rounded half up without any error.

    The inverse of the equations of PS3.3 C.7.6.3.1.2 with the exact coefficients behind them (ITU-R BT.601: 0.299,
    0.587, 0.114), in fractions of whole numbers: in floating point a few of the exact halves come out one too low.
    """
    half = 2 ** (bits - 1)
    y, cb, cr = (values[..., k].astype(np.int64) for k in range(3))
    cb, cr = cb - half, cr - half
    red = y + (1402 * cr + 500) // 1000
    green = y + (293_500 - 202_008 * cb - 419_198 * cr) // 587_000
    blue = y + (1772 * cb + 500) // 1000
    return np.clip(np.stack([red, green, blue], axis=-1), 0, 2**bits - 1).astype(values.dtype)


def palette_colours(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """RGB, (rows, columns, 3) uint8, of stored values (rows, columns); 16-bit entries keep their upper 8 bits.

    Upper bits rather than a division by 257: a palette made of 8-bit colours comes out as it was, whether its author
    repeated the byte (white is FFFF) or left the lower one empty (white is FF00). Stored values outside the table take
    its first or last colour. Raises ValueError, TypeError, AttributeError or IndexError for a malformed palette.
    """
    channels = []
    for channel in CHANNELS:
        first, values = _channel(dataset, channel)
        channels.append(values[np.clip(stored.astype(np.int64) - first, 0, len(values) - 1)])
    return np.stack(channels, axis=-1)


def _channel(dataset: Dataset, channel: str) -> tuple[int, np.ndarray]:
    """First stored value that is mapped, and the 8-bit entries."""
    entries, first, bits = (int(v) for v in dataset[f"{channel}PaletteColorLookupTableDescriptor"].value)
    entries = entries & 0xFFFF or 0x10000
    if dataset.get("PixelRepresentation", 0) and first > 0x7FFF:
        first -= 0x10000
    order = ">" if dataset.original_encoding[1] is False else "<"
    segmented = dataset.get(f"Segmented{channel}PaletteColorLookupTableData")
    if segmented:
        values = _expanded(_entries(bytes(segmented), bits == 16, order), bits, 0)
    else:
        data = bytes(dataset[f"{channel}PaletteColorLookupTableData"].value)
        wide = len(data) >= 2 * entries
        values = _entries(data, wide, order)
        bits = 8 if not wide or (bits == 8 and values[:entries].max() < 256) else 16
    if len(values) < entries:
        raise ValueError("the palette has fewer entries than its descriptor says")
    table = np.asarray(values[:entries], np.int64)
    return first, (table >> (bits - 8)).astype(np.uint8)


def _entries(data: bytes, wide: bool, order: str) -> np.ndarray:
    """The words or bytes of OW data. Bytes lie low byte first in a word (PS3.5 8.3.1), so big endian swaps them."""
    words = np.frombuffer(data + b"\0" * (len(data) % 2), f"{order}u2")
    return (words if wide else words.astype("<u2").view(np.uint8)).astype(np.int64)


def _expanded(segments: np.ndarray, bits: int, nested: int, most: int | None = None, before: int = -1) -> list[int]:
    """The entries that a segmented table stands for: discrete, linear and indirect segments."""
    values: list[int] = []
    at, count = 0, 0
    while at + 2 <= len(segments) and (most is None or count < most):
        kind, length = int(segments[at]), int(segments[at + 1])
        at += 2
        count += 1
        if kind == 0:
            values += (int(v) for v in segments[at : at + length])
            at += length
        elif kind == 1:
            start, end = values[-1] if values else before, int(segments[at])
            if start < 0 or not length:
                raise ValueError("a linear segment has nothing to start from")
            values += (int(np.floor(start + (end - start) * k / length + 0.5)) for k in range(1, length + 1))
            at += 1
        elif kind == 2 and nested < DEEPEST_NESTING and values:
            words = 2 if bits == 16 else 4
            parts = [int(v) for v in segments[at : at + words]]
            offset = sum(part << (bits * k) for k, part in enumerate(parts))
            values += _expanded(segments[offset // (bits // 8) :], bits, nested + 1, length, values[-1])
            at += words
        else:
            raise ValueError("the palette has a segment of an unknown kind")
    return values
