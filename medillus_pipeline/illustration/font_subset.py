"""Makes the shipped typeface files from Noto Sans CJK (SIL Open Font License 1.1), as in Debian's fonts-noto-cjk.

    python -m medillus_pipeline.illustration.font_subset [folder with NotoSansCJK-Regular.ttc and -Bold.ttc]

Run it after adding characters to `typefaces/characters.txt`, the vocabulary, the pathologies or the fixed texts. The
same sources give the same bytes with the same fontTools.
"""

import sys
from pathlib import Path

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.annotation.study import pathology
from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration import fonts, plain_words, wording

DEBIAN = Path("/usr/share/fonts/opentype/noto")
SOURCES: dict[fonts.Weight, str] = {"regular": "NotoSansCJK-Regular.ttc", "bold": "NotoSansCJK-Bold.ttc"}
SIMPLIFIED_CHINESE = 2
"""Number of the SC face in Debian's collections."""

ALWAYS = "".join(chr(c) for c in (*range(0x20, 0x7F), *range(0xA0, 0x100))) + "–—…"


def required() -> set[str]:
    """Characters that figures of this release need: the vocabulary, pathologies, fixed texts, ASCII and Latin-1."""
    texts = [ALWAYS, *wording.every_text(), *plain_words.every_text()]
    texts += [text for row in pathology.load().rows for text in (row.name_en, row.name_zh, row.title)]
    for structure in vocabulary.load():
        texts += [structure.name_en, structure.name_zh, structure.meaning, *structure.synonyms, *structure.tg263]
        texts += [structure.function_en, structure.function_zh]
    return set("".join(texts))


def gb2312() -> set[str]:
    """The 6763 Chinese characters of GB 2312, both levels (rows 16 to 87)."""
    pairs = (bytes((0xA0 + row, 0xA0 + cell)) for row in range(16, 88) for cell in range(1, 95))
    return set("".join(pair.decode("gb2312", "ignore") for pair in pairs))


def build(source: Path, destination: Path) -> None:
    """Write both weights: the regular one with GB 2312, the bold one, for titles and names, with `required` alone.

    Raises:
        InputError: the source files are absent or lack a required character.
    """
    from fontTools.ttLib import TTFont

    listed = set((fonts.FOLDER / "characters.txt").read_text(encoding="utf-8")) - {"\n"}
    for weight, name in SOURCES.items():
        if not (source / name).is_file():
            raise InputError(f"{name} is not in the folder given: install fonts-noto-cjk or name its folder")
        with TTFont(source / name, fontNumber=SIMPLIFIED_CHINESE, recalcTimestamp=False) as font:
            covered = font.getBestCmap() or {}
            wanted = required() | (listed | gb2312() if weight == "regular" else set())
            lacking = sorted(f"U+{ord(c):04X}" for c in required() if ord(c) not in covered)
            if lacking:
                raise InputError(f"{name} lacks {', '.join(lacking)}, which the vocabulary or wording.py uses")
            fonts.cut(font, (c for c in wanted if ord(c) in covered))
            font.save(destination / fonts.FILES[weight].name)


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else DEBIAN, fonts.FOLDER)
