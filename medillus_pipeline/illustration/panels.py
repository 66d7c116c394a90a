"""The parts of a figure around its image: header, scale bar, caption, legend, footer; and how labels are worded.

Each function draws from a given height downwards and returns where it ended, in canvas units.
"""

import math
from dataclasses import dataclass

from medillus_pipeline.annotation.vocabulary import Structure
from medillus_pipeline.illustration import captions, fonts, wording
from medillus_pipeline.illustration.request import FigureRequest, Language
from medillus_pipeline.illustration.svg import Svg

WIDTH = 1180.0
MARGIN = 36.0
INK, MUTED, HAIRLINE = "#17202b", "#5c6875", "#d8dee5"
WARNING_INK, WARNING_PAPER = "#a8201a", "#fdf3f2"

_CONTENT = WIDTH - 2 * MARGIN
_BADGE_PADDING = 14.0
_SCALES_CM = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20)


@dataclass(frozen=True)
class LabelLines:
    """A label's lines in each language; empty where the language is not asked for."""

    en: list[str]
    zh: list[str]


def display_name(structure: Structure) -> str:
    """The English name with a capital letter, as it stands in labels."""
    return structure.name_en[:1].upper() + structure.name_en[1:]


def label_lines(structure: Structure, language: Language, limit: float) -> LabelLines:
    """The wording of a leader-line label, at most two lines a language."""
    return LabelLines(
        fonts.fit(display_name(structure), 13.5, limit, 2, "bold") if language != "zh" else [],
        fonts.fit(structure.name_zh, 13, limit, 2) if language != "en" else [],
    )


def header(svg: Svg, request: FigureRequest) -> float:
    """Title on the left, warning on the right."""
    warning = captions.warning(request)
    limit = 330.0
    en, zh = fonts.wrap(warning.en, 13.5, limit, "bold"), fonts.wrap(warning.zh, 13, limit)
    inner = max(
        *(fonts.width(line, 13.5, "bold") for line in en),
        *(fonts.width(line, 13) for line in zh),
    )
    width, height = inner + 2 * _BADGE_PADDING, 18.0 * len(en) + 17.0 * len(zh) + 14
    left, top = WIDTH - MARGIN - width, 24.0
    svg.rectangle(left, top, width, height, rx=6, fill=WARNING_PAPER, stroke=WARNING_INK, stroke_width=1.3)
    middle, baseline = left + width / 2, top + 7.0
    for line in en:
        svg.text(middle, baseline + 14, line, 13.5, weight="bold", fill=WARNING_INK, align="middle")
        baseline += 18
    for line in zh:
        svg.text(middle, baseline + 13, line, 13, fill=WARNING_INK, align="middle", language="zh-CN")
        baseline += 17
    title = captions.title(request)
    room = left - MARGIN - 24
    baseline = 46.0
    if request.language != "zh":
        for line in fonts.fit(title.en, 23, room, 2, "bold"):
            svg.text(MARGIN, baseline, line, 23, weight="bold", fill=INK)
            baseline += 27
    if request.language != "en":
        size = 15.5 if request.language == "both" else 22
        for line in fonts.fit(title.zh, size, room, 2):
            fill = MUTED if request.language == "both" else INK
            svg.text(MARGIN, baseline, line, size, fill=fill, language="zh-CN")
            baseline += size + 5
    return max(top + height, baseline - 12) + 22


def scale_bar(svg: Svg, x: float, y: float, width: float, per_mm: float) -> float:
    """A bar of a round length, a fifth of the image or a little more, under the image's left corner."""
    length = min(_SCALES_CM, key=lambda cm: abs(math.log(cm * 10 * per_mm / (0.2 * width))))
    end = x + length * 10 * per_mm
    svg.line(((x, y + 3), (x, y + 11)), stroke=INK, stroke_width=1.4)
    svg.line(((end, y + 3), (end, y + 11)), stroke=INK, stroke_width=1.4)
    svg.line(((x, y + 7), (end, y + 7)), stroke=INK, stroke_width=1.8)
    svg.text(end + 9, y + 11.5, f"{length:g} cm", 12.5, fill=INK)
    return y + 16


def caption(svg: Svg, y: float, request: FigureRequest, unplaced: int) -> float:
    """The caption, a paragraph a language."""
    text = captions.caption(request, unplaced)
    if request.language != "zh":
        y = _paragraph(svg, y, text.en, 12.5, INK, "en")
    if request.language != "en":
        y = _paragraph(svg, y + (3 if request.language == "both" else 0), text.zh, 12.5, INK, "zh-CN")
    return y


def legend(svg: Svg, y: float, request: FigureRequest, structures: list[Structure]) -> float:
    """Colour, names, SNOMED CT code and confidence of each structure, in two columns."""
    if not structures:
        return y
    gap = 40.0
    column = (_CONTENT - gap) / 2
    half = math.ceil(len(structures) / 2) if len(structures) > 3 else len(structures)
    bottoms = []
    for start in range(0, len(structures), half):
        x = MARGIN + (column + gap) * (start // half)
        bottoms.append(_legend_column(svg, x, y, column, request, structures[start : start + half]))
    y = max(bottoms)
    if request.confidences:
        note = captions.confidence_note(request)
        for text, language in ((note.en, "en"), (note.zh, "zh")):
            if request.language in (language, "both"):
                y = _paragraph(svg, y + 4, text, 11, MUTED, "en" if language == "en" else "zh-CN")
    return y


def footer(svg: Svg, y: float, request: FigureRequest, name: str) -> float:
    """The provenance line, small; returns the canvas height."""
    y += 6
    svg.line(((MARGIN, y), (WIDTH - MARGIN, y)), stroke=HAIRLINE, stroke_width=1)
    return _paragraph(svg, y + 6, captions.provenance(request, name), 10, MUTED, "en") + 18


def _legend_column(
    svg: Svg, x: float, y: float, width: float, request: FigureRequest, structures: list[Structure]
) -> float:
    scores = bool(request.confidences)
    code_x = x + width - (210 if scores else 90)
    name_width = code_x - x - 22 - 12
    words = [wording.LEGEND["structure"], wording.LEGEND["code"], wording.LEGEND["confidence"]]
    for place, word in zip((x + 22, code_x, x + width - 112), words if scores else words[:2], strict=False):
        svg.text(place, y + 12, _both(word, request.language), 11, fill=MUTED)
    y += 19
    svg.line(((x, y), (x + width, y)), stroke=HAIRLINE, stroke_width=1)
    y += 2
    for structure in structures:
        lines = _names(structure, request.language, name_width)
        height = 16.0 * len(lines) + 4
        svg.rectangle(x + 2, y + 5, 11, 11, rx=2.5, fill=structure.colour, stroke="#00000055", stroke_width=0.6)
        for index, pieces in enumerate(lines):
            cursor = x + 22
            for text, weight, fill, language in pieces:
                svg.text(cursor, y + 15 + 16 * index, text, 12.5, weight=weight, fill=fill, language=language)
                cursor += fonts.width(text, 12.5, weight) + 8
        svg.text(code_x, y + 15, structure.code or "–", 12, fill=MUTED)
        if scores:
            _score(svg, x + width, y, request.confidences.get(structure.id, math.nan), request.language)
        y += height
    return y + 2


def _score(svg: Svg, right: float, y: float, score: float, language: Language) -> None:
    """A bar and a percentage, the latter flush right."""
    left, length = right - 112, 70.0
    if math.isnan(score):
        svg.text(right, y + 15, _both(wording.LEGEND["unknown"], language), 12, fill=MUTED, align="end")
        return
    svg.rectangle(left, y + 8.5, length, 5, rx=2.5, fill="#e6ebf0")
    if score > 0:
        svg.rectangle(left, y + 8.5, max(5.0, length * score), 5, rx=2.5, fill="#4a6a8a")
    svg.text(right, y + 15, f"{score:.0%}", 12, fill=INK, align="end")


def _names(structure: Structure, language: Language, limit: float) -> list[list[tuple]]:
    """Lines of (text, weight, colour, language): both names on one line where they fit, else below each other."""
    en, zh = display_name(structure), structure.name_zh
    lines_en = [[(line, "regular", INK, "en")] for line in fonts.fit(en, 12.5, limit, 2)]
    shade = MUTED if language == "both" else INK
    lines_zh = [[(line, "regular", shade, "zh-CN")] for line in fonts.fit(zh, 12.5, limit, 2)]
    if language == "en":
        return lines_en
    if language == "zh":
        return lines_zh
    if len(lines_en) == len(lines_zh) == 1 and fonts.width(en + zh, 12.5) + 8 <= limit:
        return [lines_en[0] + lines_zh[0]]
    return lines_en + lines_zh


def _both(word: wording.Bilingual, language: Language) -> str:
    if language == "both":
        return word.en if word.en == word.zh else f"{word.en} {word.zh}"
    return word.en if language == "en" else word.zh


def _paragraph(svg: Svg, y: float, text: str, size: float, fill: str, language: str) -> float:
    for line in fonts.wrap(text, size, _CONTENT):
        svg.text(MARGIN, y + size, line, size, fill=fill, language="zh-CN" if language == "zh-CN" else "en")
        y += round(size * 1.4, 1)
    return y
