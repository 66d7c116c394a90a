"""Text in a displayed frame or an overlay plane: read by Tesseract (optional), or recognised by its shapes.

A missed name is worse than a lost patch of anatomy, so everything that either way finds counts. Tesseract runs as a
program of its own, fed through a pipe: no frame with a name on it reaches a temporary file, and a crash of it is not a
crash of ours. What is done about the text is not here (`pixel_cleaning.py`).
"""

import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from PIL import Image
from scipy import ndimage

from medillus_pipeline.deidentification.text_shapes import Box, rows_of_shapes
from medillus_pipeline.errors import ConfigurationError, TransientError

__all__ = ["Box", "find_text", "find_text_in_overlay", "ocr_available", "read_words", "require_ocr"]

LANGUAGES = ("eng", "chi_sim")
"""Tesseract's languages, those of them that are installed; the first one must be."""
LEAST_CHARACTERS = 2
LEAST_CONFIDENCE = 15.0
"""Of 100. Low: a name on anatomy is often read wrongly, and what it says is of no matter."""
TIMEOUT = 120
"""Seconds for one pass over one frame."""
INSTALL = "Clean Pixel Data needs Tesseract with English: install the packages tesseract-ocr and tesseract-ocr-eng"


@lru_cache(maxsize=1)
def _languages() -> str:
    """Tesseract's `-l` argument, empty where it cannot be used."""
    if shutil.which("tesseract") is None:
        return ""
    listed = subprocess.run(["tesseract", "--list-langs"], capture_output=True, timeout=TIMEOUT, check=False)
    installed = set(listed.stdout.decode("utf-8", "replace").split())
    return "+".join(name for name in LANGUAGES if name in installed) if LANGUAGES[0] in installed else ""


def ocr_available() -> bool:
    """Whether Tesseract and its English language data are installed."""
    return shutil.which("tesseract") is not None and bool(_languages())


def require_ocr() -> None:
    """Raises ConfigurationError where text cannot be found here."""
    if not ocr_available():
        raise ConfigurationError(INSTALL)


def find_text(frame: np.ndarray) -> list[Box]:
    """Rectangles of what may be text in a displayed frame, uint8 (rows, columns) or (rows, columns, 3), with a margin.

    Each colour channel is searched by itself, since text of any colour differs from its background in one of them.
    Raises ConfigurationError where Tesseract is missing, TransientError where it does not finish.
    """
    require_ocr()
    rows, columns = frame.shape[:2]
    found: list[Box] = []
    for plane in _planes(frame):
        found += rows_of_shapes(plane)
        for picture, scale in _passes(plane):
            found += [_padded(box, scale) for box, _ in read_words(picture)]
    return [box for box in dict.fromkeys(_within(box, rows, columns) for box in found) if box.right > box.left]


def find_text_in_overlay(bits: np.ndarray) -> list[Box]:
    """Rectangles of what may be text in an overlay plane (PS3.3 C.9.2), bool (rows, columns). Raises as `find_text`."""
    return find_text(np.where(bits, 255, 0).astype(np.uint8))


def read_words(picture: np.ndarray) -> list[tuple[Box, str]]:
    """What Tesseract takes for words in `picture`, uint8 (rows, columns), and where: **may be identifying**.

    Raises ConfigurationError where Tesseract is missing, TransientError where it does not finish.
    """
    require_ocr()
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, "PPM")
    command = ["tesseract", "stdin", "stdout", "-l", _languages(), "--psm", "11", "tsv"]  # 11: sparse text, any order
    single = {**os.environ, "OMP_THREAD_LIMIT": "1"}  # the workers already use every core
    try:
        done = subprocess.run(
            command, input=buffer.getvalue(), capture_output=True, timeout=TIMEOUT, check=True, env=single
        )
    except (OSError, subprocess.SubprocessError):
        # its own words may quote the text, so they are not passed on
        raise TransientError("Tesseract failed on a frame: check that it runs and has memory, then run again") from None
    return list(_words(done.stdout.decode("utf-8", "replace")))


def _words(table: str) -> Iterator[tuple[Box, str]]:
    for line in table.splitlines()[1:]:
        fields = line.split("\t")
        if len(fields) != 12 or fields[0] != "5":  # level 5 is a word
            continue
        left, top, width, height = (int(field) for field in fields[6:10])
        characters = sum(character.isalnum() for character in fields[11])
        # a Chinese character is a word by itself
        if (characters < LEAST_CHARACTERS and fields[11].isascii()) or not characters:
            continue
        if float(fields[10]) >= LEAST_CONFIDENCE and height <= 2.5 * width:
            yield Box(left, top, left + width, top + height), fields[11]


def _planes(frame: np.ndarray) -> list[np.ndarray]:
    if frame.ndim == 2:
        return [frame]
    planes: list[np.ndarray] = []
    for channel in range(frame.shape[2]):
        if not any(np.array_equal(frame[..., channel], plane) for plane in planes):
            planes.append(np.ascontiguousarray(frame[..., channel]))
    return planes


def _passes(plane: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """The pictures that Tesseract reads, and how much larger each is: letters of 8 pixels are too small for it."""
    scale = 3 if plane.size <= 600**2 else 2 if plane.size <= 1400**2 else 1
    size = plane.shape[1] * scale, plane.shape[0] * scale

    def enlarged(picture: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))

    yield enlarged(plane), scale
    for ink in (plane, 255 - plane):  # strokes that stand out from anatomy, light ones and dark ones
        strokes = np.asarray(ndimage.white_tophat(ink, size=(17, 17)))
        yield enlarged(255 - np.minimum(strokes, 127) * 2), scale


def _padded(box: Box, scale: int) -> Box:
    left, top, right, bottom = box
    height = bottom - top
    side, above = height * 6 // 10, height * 3 // 10
    return Box(
        (left - side) // scale, (top - above) // scale, -(-(right + side) // scale), -(-(bottom + above) // scale)
    )


def _within(box: Box, rows: int, columns: int) -> Box:
    return Box(max(box.left, 0), max(box.top, 0), min(box.right, columns), min(box.bottom, rows))
