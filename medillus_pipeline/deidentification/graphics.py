"""Overlay planes under Clean Graphics (PS3.15 E.3.3, PS3.3 C.9.2): the drawing stays, text that is found in it goes."""

import numpy as np

from medillus_pipeline.dicom.encoded import Elements

_ROWS, _COLUMNS, _FRAMES, _DATA = 0x0010, 0x0011, 0x0015, 0x3000


def cleaned_overlay(group: int, around: Elements) -> bytes | None:
    """The packed bits (PS3.5 8.1.2) of the overlay in this group without its text; None where it cannot be understood.

    `around` is the data set that the overlay stands in. Every frame of the overlay is examined.
    """
    from medillus_pipeline.deidentification.pixel_text import (
        find_text_in_overlay,  # numpy and OCR, for this option alone
    )

    base = group << 16
    element = around.get(base | _DATA)
    rows, columns = (_number(around, base | tag) for tag in (_ROWS, _COLUMNS))
    frames = _integer_string(around, base | _FRAMES)
    count = rows * columns * frames
    if element is None or not element.little or count == 0 or len(element.raw) * 8 < count:
        return None
    packed = np.frombuffer(element.raw, np.uint8)
    bits = np.unpackbits(packed, count=count, bitorder="little").reshape(frames, rows, columns).astype(bool)
    for frame in bits:
        for box in find_text_in_overlay(frame):
            frame[box.top : box.bottom, box.left : box.right] = False
    data = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    return data + b"\x00" * (len(data) % 2)


def _number(around: Elements, tag: int) -> int:
    element = around.get(tag)
    return int.from_bytes(element.raw[:2], "little") if element is not None else 0


def _integer_string(around: Elements, tag: int) -> int:
    element = around.get(tag)
    digits = element.raw.strip(b" \x00") if element is not None else b""
    return int(digits) if digits.isdigit() and len(digits) < 6 else 1
