"""The shipped typeface (a subset of Noto Sans CJK SC, see `font_subset.py`): coverage, widths, and subsets to embed.

Nothing is drawn in a font that happens to be installed: figures look the same on every machine, and a character that
the shipped files lack is an error instead of an empty box.
"""

import base64
import io
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medillus_pipeline.errors import InputError

if TYPE_CHECKING:
    from fontTools.ttLib import TTFont

Weight = Literal["regular", "bold"]

FOLDER = Path(__file__).parent / "typefaces"
FILES: dict[Weight, Path] = {
    "regular": FOLDER / "NotoSansSC-Regular-subset.otf",
    "bold": FOLDER / "NotoSansSC-Bold-subset.otf",
}
FAMILY = "Noto Sans CJK SC"
EMBEDDED_FAMILY = "Medillus Figure"
CSS_WEIGHT: dict[Weight, int] = {"regular": 400, "bold": 700}

_TIES = "，。、；：？！）》」】％…,.;:?!)]}%"


def missing(text: str, weight: Weight = "regular") -> list[str]:
    """Characters of the text that the shipped file has no glyph for, as U+XXXX, sorted."""
    advances = _advances(weight)
    return sorted({f"U+{ord(c):04X}" for c in text if c not in advances})


def width(text: str, size: float, weight: Weight = "regular") -> float:
    """Advance width of a line of text in user units at a font size in user units.

    Kerning is left out of the shipped files, so that this sum is what every renderer draws.

    Raises:
        InputError: the typeface lacks a character (control characters count as lacking).
    """
    advances = _advances(weight)
    try:
        return sum(advances[c] for c in text) * size
    except KeyError:
        raise InputError(
            f"the figure's typeface has no glyph for {', '.join(missing(text, weight))}: change the text, "
            "or add the characters to typefaces/characters.txt and run font_subset"
        ) from None


def wrap(text: str, size: float, limit: float, weight: Weight = "regular") -> list[str]:
    """Break a text into lines no wider than `limit`: at spaces, between Chinese characters, or inside a word too long.

    A line never starts with closing punctuation unless a single character is all that fits.
    """
    lines: list[str] = []
    line = ""
    for token in _tokens(text):
        word = token.strip()
        if width(line + word, size, weight) <= limit:
            line += token if line else token.lstrip()
            continue
        if line.strip():
            lines.append(line.rstrip())
        line = ""
        for character in word:
            if line and width(line + character, size, weight) > limit:
                lines.append(line)
                line = ""
            line += character
        if token.endswith(" "):
            line += " "
    if line.strip():
        lines.append(line.rstrip())
    return lines


def fit(text: str, size: float, limit: float, lines: int, weight: Weight = "regular") -> list[str]:
    """Like `wrap`, but at most so many lines; what does not fit is replaced by an ellipsis."""
    wrapped = wrap(text, size, limit, weight)
    if len(wrapped) <= lines:
        return wrapped
    last = wrapped[lines - 1]
    while last and width(last + "…", size, weight) > limit:
        last = last[:-1]
    return [*wrapped[: lines - 1], last.rstrip() + "…"]


def face_rules(characters: Iterable[str], weights: Iterable[Weight] = ("regular", "bold")) -> str:
    """CSS `@font-face` rules with just these characters' glyphs (and ASCII) as WOFF data URIs, ready for a style."""
    wanted = "".join(sorted(set(characters) | {chr(c) for c in range(0x20, 0x7F)}))
    return "".join(
        f"@font-face{{font-family:'{EMBEDDED_FAMILY}';font-weight:{CSS_WEIGHT[weight]};"
        f"src:url(data:font/woff;base64,{_subset(weight, wanted)}) format('woff')}}"
        for weight in weights
    )


def cut(source: "TTFont", characters: Iterable[str]) -> None:
    """Reduce an open font to these characters, in place: no hinting, no layout features, no vertical metrics."""
    from fontTools import subset

    options = subset.Options()
    options.hinting = False
    options.layout_features = []
    options.notdef_outline = True
    options.name_IDs = [0, 1, 2, 3, 4, 5, 6, 7, 13, 14]
    options.drop_tables += ["GSUB", "GPOS", "GDEF", "BASE", "VORG", "vhea", "vmtx", "DSIG"]
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=sorted({ord(c) for c in characters}))
    subsetter.subset(source)


def _tokens(text: str) -> Iterable[str]:
    """Pieces that stay together: a word with its trailing space, or one wide character with what ties to it."""
    piece = ""
    for character in text:
        wide = unicodedata.east_asian_width(character) in "WF"
        if character == " ":
            yield piece + " "
            piece = ""
        elif wide and character not in _TIES:
            if piece:
                yield piece
            piece = character
        elif piece and unicodedata.east_asian_width(piece[0]) in "WF" and character not in _TIES:
            yield piece
            piece = character
        else:
            piece += character
    if piece:
        yield piece


def _open(weight: Weight) -> "TTFont":
    from fontTools.ttLib import TTFont

    return TTFont(FILES[weight], recalcTimestamp=False)


@lru_cache(maxsize=2)
def _advances(weight: Weight) -> dict[str, float]:
    """Advance width of every character covered, in em."""
    with _open(weight) as font:
        glyphs = font.getGlyphSet()
        units = font["head"].unitsPerEm  # pyright: ignore[reportAttributeAccessIssue]
        return {chr(code): glyphs[name].width / units for code, name in (font.getBestCmap() or {}).items()}


@lru_cache(maxsize=64)
def _subset(weight: Weight, characters: str) -> str:
    """Base64 of a WOFF with these characters. WOFF, not WOFF2: it needs no package beyond fontTools."""
    covered = _advances(weight)
    with _open(weight) as font:
        cut(font, [c for c in characters if c in covered])
        font.flavor = "woff"
        sink = io.BytesIO()
        font.save(sink)
    return base64.b64encode(sink.getvalue()).decode("ascii")
