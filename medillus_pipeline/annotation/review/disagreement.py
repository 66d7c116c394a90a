"""Where two readers of a slice differ, as a picture: agreed, only the one, only the other, or by another name.

Orange, sky blue and reddish purple are told apart with every common colour blindness (Okabe 2008); hatching of
opposite slant, and crossed, says the same once more in grey. What is not here: the figures (`agreement.py`).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from medillus_pipeline.annotation.review.overlay import BACKGROUND, INK, fitted, outline, shown_box
from medillus_pipeline.dicom.png import encode_png

LONGEST, LEGEND_ROW, SWATCH = 640, 26, 18
AGREED, ONLY_A, ONLY_B, OTHER_NAME = 1, 2, 3, 4
COLOURS = np.array([(0, 0, 0), (255, 255, 255), (230, 159, 0), (86, 180, 233), (204, 121, 167)], np.uint8)
"""Background, agreed, only a, only b, another structure."""
VEIL, WASH = 0.22, 0.45
"""Opacity of what is agreed, and of what is not between the hatching."""
HATCH, STROKE = 8, 2
"""Distance and width of hatching lines in pixels of the picture."""


def meanings(first: str, second: str) -> dict[int, str]:
    """What each colour says, in words, of two readers called so."""
    return {
        AGREED: "agreed",
        ONLY_A: f"only {first}",
        ONLY_B: f"only {second}",
        OTHER_NAME: "both, as different structures",
    }


def difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Two label maps (rows, columns) as one map of the four cases, 0 where neither drew. Raises ValueError when their
    sizes differ.
    """
    if first.shape != second.shape:
        raise ValueError("the drawings of one slice differ in size")
    return np.select(
        [(first == 0) & (second == 0), first == second, second == 0, first == 0],
        [0, AGREED, ONLY_A, ONLY_B],
        OTHER_NAME,
    ).astype(np.uint8)


def disagreement_map(
    picture: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    row: Mapping[str, Any],
    names: tuple[str, str] = ("reader A", "reader B"),
    *,
    legend: bool = True,
) -> bytes:
    """A PNG of a slice, uint8 grey (rows, columns) or RGB, with the difference of two label maps over it, cut to the
    patient, at true aspect by the spacing of `row` (of SLICES). With `legend`, the colours stand below in words.
    """
    from PIL import Image, ImageDraw, ImageFont

    cases = difference(first, second)
    box = shown_box(picture, cases > 0)
    size = fitted(box, row["pixel_spacing"], LONGEST)
    base = Image.fromarray(picture).convert("RGB").crop(box).resize(size, Image.Resampling.BICUBIC)
    drawn = np.asarray(Image.fromarray(cases).crop(box).resize(size, Image.Resampling.NEAREST))
    mixed = Image.fromarray(_painted(np.asarray(base), drawn))
    if not legend:
        return encode_png(np.asarray(mixed))
    words = meanings(*names)
    sheet = Image.new("RGB", (max(size[0], 320), size[1] + LEGEND_ROW * len(words) + 8), (BACKGROUND,) * 3)
    sheet.paste(mixed, ((sheet.width - size[0]) // 2, 0))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for number, (case, text) in enumerate(words.items()):
        top = size[1] + 6 + number * LEGEND_ROW
        sheet.paste(Image.fromarray(swatch(case)), (8, top))
        draw.text((8 + SWATCH + 8, top - 1), text, fill=(INK,) * 3, font=font)
    return encode_png(np.asarray(sheet))


def swatch(case: int) -> np.ndarray:
    """The colour and hatching of a case on mid grey, (18, 18, 3) uint8."""
    return _painted(np.full((SWATCH, SWATCH, 3), 110, np.uint8), np.full((SWATCH, SWATCH), case, np.uint8))


def _painted(base: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """RGB pixels with the cases (height, width) painted over them."""
    down, across = np.indices(drawn.shape)
    rising, falling = (down + across) % HATCH < STROKE, (down - across) % HATCH < STROKE
    lines = ((drawn == ONLY_A) & rising) | ((drawn == ONLY_B) & falling)
    lines |= (drawn == OTHER_NAME) & (rising | falling)
    opacity = np.select([drawn == 0, lines | outline(drawn), drawn == AGREED], [0.0, 1.0, VEIL], WASH)[..., None]
    return np.round(base * (1 - opacity) + COLOURS[drawn] * opacity).astype(np.uint8)
