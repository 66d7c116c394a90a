"""The shipped typeface inside a PDF: a composite font of the glyphs used, and what each of them means as text.

The files are CID-keyed CFF, so a character's code is the CID of its glyph (ISO 32000-1, 9.7), and a ToUnicode map
(9.10.3) lets readers search and copy. What is not here: the page (`pdf.py`).
"""

import hashlib
import io
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Protocol

from medillus_pipeline.illustration import fonts

_UNITS = 1000
_A_RANGE = 100


class Objects(Protocol):
    """Where the font's objects go."""

    def add(self, body: str) -> int: ...

    def stream(self, data: bytes, entries: str = "") -> int: ...


def encoded(text: str, weight: fonts.Weight) -> str:
    """A text as hexadecimal character codes of two bytes; every character must have a glyph."""
    codes = _codes(weight)
    return "".join(f"{codes[c]:04X}" for c in text)


def embedded_font(file: Objects, weight: fonts.Weight, characters: Iterable[str]) -> int:
    """Add the font with these characters' glyphs; returns the number of its object."""
    used = "".join(sorted(set(characters)))
    codes = _codes(weight)
    by_code = sorted((codes[c], c) for c in used)
    program, box = _program(weight, used)
    tag = "".join(chr(ord("A") + b % 26) for b in hashlib.sha256(program).digest()[:6])
    name = f"{tag}+NotoSansSC-{weight.capitalize()}"
    widths = "".join(f"{code}[{round(fonts.width(c, _UNITS, weight))}]" for code, c in by_code)
    descriptor = file.add(
        f"<</Type/FontDescriptor/FontName/{name}/Flags 4/FontBBox[{' '.join(map(str, box))}]/ItalicAngle 0"
        f"/Ascent 880/Descent -120/CapHeight 733/StemV {140 if weight == 'bold' else 80}"
        f"/FontFile3 {file.stream(program, '/Subtype/CIDFontType0C')} 0 R>>"
    )
    descendant = file.add(
        f"<</Type/Font/Subtype/CIDFontType0/BaseFont/{name}/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)"
        f"/Supplement 0>>/DW 1000/W[{widths}]/FontDescriptor {descriptor} 0 R>>"
    )
    meaning = file.stream(_to_unicode(by_code))
    return file.add(
        f"<</Type/Font/Subtype/Type0/BaseFont/{name}/Encoding/Identity-H"
        f"/DescendantFonts[{descendant} 0 R]/ToUnicode {meaning} 0 R>>"
    )


@lru_cache(maxsize=2)
def _codes(weight: fonts.Weight) -> dict[str, int]:
    """Character → CID."""
    from fontTools.ttLib import TTFont

    with TTFont(fonts.FILES[weight]) as font:
        return {chr(code): _cid(glyph) for code, glyph in (font.getBestCmap() or {}).items()}


def _cid(glyph: str) -> int:
    """The CID of a glyph of a CID-keyed font, after which fontTools names it."""
    return int(glyph.removeprefix("cid"))


@lru_cache(maxsize=16)
def _program(weight: fonts.Weight, characters: str) -> tuple[bytes, tuple[int, int, int, int]]:
    """The CFF table with these characters' glyphs, and its bounding box."""
    from fontTools.ttLib import TTFont

    sink = io.BytesIO()
    with TTFont(fonts.FILES[weight], recalcTimestamp=False) as font:
        fonts.cut(font, characters)
        head: Any = font["head"]
        box = (head.xMin, head.yMin, head.xMax, head.yMax)
        font.save(sink)
    with TTFont(sink) as saved:
        return bytes(saved.reader["CFF "]), box  # pyright: ignore[reportOptionalSubscript]


def _to_unicode(by_code: list[tuple[int, str]]) -> bytes:
    """A CMap from codes to UTF-16, in ranges of at most a hundred."""
    blocks = []
    for start in range(0, len(by_code), _A_RANGE):
        part = by_code[start : start + _A_RANGE]
        lines = "\n".join(f"<{code:04X}> <{c.encode('utf-16-be').hex().upper()}>" for code, c in part)
        blocks.append(f"{len(part)} beginbfchar\n{lines}\nendbfchar")
    return "\n".join(
        (
            "/CIDInit /ProcSet findresource begin 12 dict begin begincmap",
            "/CIDSystemInfo <</Registry(Adobe)/Ordering(UCS)/Supplement 0>> def",
            "/CMapName /Adobe-Identity-UCS def /CMapType 2 def",
            "1 begincodespacerange <0000> <FFFF> endcodespacerange",
            *blocks,
            "endcmap CMapName currentdict /CMap defineresource pop end end",
        )
    ).encode("ascii")
