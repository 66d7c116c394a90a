"""Text in a displayed frame or an overlay plane: read by Tesseract (optional), or recognised by its shapes.

Tesseract runs as a program of its own, fed through a pipe: no frame with a name on it reaches a temporary file, and a
crash of it is not a crash of ours. Which findings are believed is in `text_evidence.py`, what is done about the text in
`pixel_cleaning.py`.
"""

import io
import os
import shutil
import subprocess
from collections.abc import Collection, Iterator
from functools import lru_cache

import numpy as np
from PIL import Image
from scipy import ndimage

from medillus_pipeline.deidentification.text_evidence import Word, text_boxes
from medillus_pipeline.deidentification.text_shapes import Box, rows_of_shapes
from medillus_pipeline.errors import ConfigurationError, TransientError

__all__ = ["Box", "find_text", "find_text_in_overlay", "ocr_available", "read_words", "require_ocr"]

LANGUAGES = ("eng", "chi_sim")
"""Tesseract's languages, those of them that are installed; the first one must be."""
SURE_LETTERS = 4
"""Letter-like shapes in a row that are text whether they can be read or not."""
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


def find_text(frame: np.ndarray, known: Collection[str] = (), *, legible: bool = False) -> list[Box]:
    """Rectangles of what may be text in a displayed frame, uint8 (rows, columns) or (rows, columns, 3), with a margin.

    Each colour channel is searched by itself, since text of any colour differs from its background in one of them.
    `known` are the patient's names, ids and dates: what resembles one of them is text. With `legible` only words count
    that were read, not shapes that look like letters. Raises ConfigurationError where Tesseract is missing,
    TransientError where it does not finish.
    """
    require_ocr()
    rows, columns = frame.shape[:2]
    words: list[Word] = []
    shapes: list[Box] = []
    sure: list[Box] = []
    reading = 0
    for plane in _planes(frame):
        if not legible:
            shapes += rows_of_shapes(plane)
            sure += rows_of_shapes(plane, letters=SURE_LETTERS)
        for picture, scale in _passes(plane):
            for box, text, confidence in read_words(picture):
                left, top, right, bottom = (value / scale for value in box)
                words.append(Word((left, top, right, bottom), text, confidence, reading))
            reading += 1
    found = (_within(box, rows, columns) for box in text_boxes(words, shapes, sure, known))
    return [box for box in dict.fromkeys(found) if box.right > box.left and box.bottom > box.top]


def find_text_in_overlay(bits: np.ndarray) -> list[Box]:
    """Rectangles of what may be text in an overlay plane (PS3.3 C.9.2), bool (rows, columns). Raises as `find_text`."""
    return find_text(np.where(bits, 255, 0).astype(np.uint8))


def read_words(picture: np.ndarray) -> list[tuple[Box, str, float]]:
    """What Tesseract takes for words in `picture`, uint8 (rows, columns): where, what (**may be identifying**), and how
    sure it is (0 to 100).

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


def _words(table: str) -> Iterator[tuple[Box, str, float]]:
    for line in table.splitlines()[1:]:
        fields = line.split("\t")
        if len(fields) != 12 or fields[0] != "5":  # level 5 is a word
            continue
        left, top, width, height = (int(field) for field in fields[6:10])
        if any(character.isalnum() for character in fields[11]):
            yield Box(left, top, left + width, top + height), fields[11], float(fields[10])


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


def _within(box: Box, rows: int, columns: int) -> Box:
    return Box(max(box.left, 0), max(box.top, 0), min(box.right, columns), min(box.bottom, rows))
