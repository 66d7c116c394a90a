"""Which of the words that were read, and of the rows of shapes that look like letters, are taken for text.

Anatomy makes words too, other ones at every reading. So a word needs a witness: another reading of the same place that
says nearly the same, a row of letter-like shapes beneath it, a high confidence, or the patient's own name. From there
it goes along the line: whatever stands close to text on one line with it is text as well. Reading is not done here
(`pixel_text.py`), nor finding shapes (`text_shapes.py`).
"""

from collections.abc import Collection, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

import numpy as np

from medillus_pipeline.deidentification.text_shapes import Box

SURE, SURE_CHARACTERS = 80.0, 4
"""Tesseract's confidence, of 100, and length at which a word needs no witness."""
AGREEING_CHARACTERS, AGREEMENT = 3, 0.6
"""Least length of a word, and least likeness (0 to 1) to what another reading or the patient's data say."""
SHAPED_CHARACTERS, SHAPED = 4, 0.6
"""Least length of a word, and share of it that must lie on letter-like shapes."""
LEAST_HEIGHT, GREATEST_HEIGHT = 6, 44
"""Pixels; what is lower cannot be read, what is taller is anatomy."""
REACH = 2.0
"""Heights of text across which a line goes on."""
LIKE_HEIGHT, SAME_LINE = 2.5, 0.5
"""Greatest ratio of two heights on one line, and the share of the lower one that they have in common."""
SIDE, ABOVE = 1.5, 0.3
"""Heights of text by which a box is widened and heightened: letters that were not found stand at the ends."""


class Word(NamedTuple):
    """A word as it was read: **may be identifying**. `box` in pixels of the frame, `confidence` 0 to 100, `reading`
    tells the pictures apart that were read."""

    box: tuple[float, float, float, float]
    text: str
    confidence: float
    reading: int


def text_boxes(
    words: Sequence[Word], rows: Sequence[Box], sure_rows: Sequence[Box], known: Collection[str]
) -> list[Box]:
    """Rectangles of text, with a margin; they may reach beyond the frame.

    `rows` are rows of letter-like shapes, `sure_rows` those that are long enough to need no witness. `known` are the
    patient's names, ids and dates as they could be written, in any case.
    """
    found = [word for word in words if word.text and _has_the_size_of_text(word.box)]
    wanted = {_plain(text) for text in known if len(_plain(text)) >= AGREEING_CHARACTERS}
    seeds = [word.box for word in found if _is_witnessed(word, found, rows, sure_rows, wanted)]
    seeds += [_without_margin(row) for row in sure_rows]
    if not seeds:
        return []
    candidates = [word.box for word in found] + [_without_margin(row) for row in rows]
    boxes = _along_the_lines(np.array(seeds, float), np.array(candidates, float).reshape(-1, 4))
    height = boxes[:, 3] - boxes[:, 1]
    grown = boxes + np.stack([-SIDE * height, -ABOVE * height, SIDE * height, ABOVE * height], axis=1)
    whole = np.concatenate([np.floor(grown[:, :2]), np.ceil(grown[:, 2:])], axis=1).astype(int)
    return [Box(*(int(value) for value in box)) for box in np.unique(whole, axis=0)]


def _plain(text: str) -> str:
    """Letters and figures alone, in small letters: what readings are compared by."""
    return "".join(character for character in text.lower() if character.isalnum())


def _has_the_size_of_text(box: tuple[float, float, float, float]) -> bool:
    height, width = box[3] - box[1], box[2] - box[0]
    return LEAST_HEIGHT <= height <= GREATEST_HEIGHT and height <= 2.5 * width


def _is_witnessed(
    word: Word, words: Sequence[Word], rows: Sequence[Box], sure_rows: Sequence[Box], known: set[str]
) -> bool:
    text = _plain(word.text)
    if len(text) >= SURE_CHARACTERS and word.confidence >= SURE:
        return True
    if not text.isascii() and word.confidence >= SURE:  # a Chinese character is a word by itself
        return True
    if len(text) < AGREEING_CHARACTERS and text.isascii():
        return False
    if any(_alike(text, other) for other in known):
        return True
    others = (other for other in words if other.reading != word.reading and _overlap(word.box, other.box) > 0.4)
    if any(_alike(text, _plain(other.text)) for other in others):
        return True
    if len(text) < SHAPED_CHARACTERS:
        return False
    return any(_covered(word.box, row) > SHAPED for row in sure_rows) or (
        sum(_covered(word.box, row) for row in rows) > SHAPED
    )


def _alike(one: str, other: str) -> bool:
    return SequenceMatcher(None, one, other).ratio() >= AGREEMENT


def _common(one: Sequence[float], other: Sequence[float]) -> float:
    width, height = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union."""
    common = _common(one, other)
    return common / (_area(one) + _area(other) - common) if common else 0.0


def _covered(box: Sequence[float], by: Sequence[float]) -> float:
    return _common(box, by) / max(_area(box), 1.0)


def _without_margin(row: Box) -> tuple[float, float, float, float]:
    """A row of shapes about as tall as its letters, without the margin that `rows_of_shapes` gives it."""
    height = (row.bottom - row.top) / 1.8
    side = height if row.right - row.left > 2.5 * height else height / 2
    return row.left + side, row.top + 0.4 * height, row.right - side, row.bottom - 0.4 * height


def _along_the_lines(seeds: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Seeds, the candidates (n, 4) on a line with them, directly or through others, and what lies between."""
    every = np.concatenate([seeds, candidates])
    near = _on_one_line(every)
    reached = np.zeros(len(every), bool)
    reached[: len(seeds)] = True
    while True:
        more = reached | near[reached].any(axis=0)
        if (more == reached).all():
            break
        reached = more
    one, other = np.nonzero(near & reached[:, None] & reached[None, :])
    between = np.concatenate(
        [np.minimum(every[one, :2], every[other, :2]), np.maximum(every[one, 2:], every[other, 2:])], axis=1
    )
    return np.concatenate([every[reached], between])


def _on_one_line(boxes: np.ndarray) -> np.ndarray:
    """(n, n): whether two boxes are alike in height, overlap in height by half and stand within reach."""
    left, top, right, bottom = boxes.T
    height = bottom - top
    lower, taller = np.minimum(height[:, None], height), np.maximum(height[:, None], height)
    common = np.minimum(bottom[:, None], bottom) - np.maximum(top[:, None], top)
    gap = np.maximum(left[:, None], left) - np.minimum(right[:, None], right)
    return (lower > 0) & (taller <= LIKE_HEIGHT * lower) & (common >= SAME_LINE * lower) & (gap <= REACH * taller)
