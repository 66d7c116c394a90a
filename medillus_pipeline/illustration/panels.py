"""The parts of a figure around its image: header, scale bar, caption, legend, footer; and how labels are worded.

Each function draws from a given height downwards and returns where it ended, in canvas units.
"""

import math
from collections.abc import Mapping, Sequence

from medillus_pipeline.annotation.vocabulary import Structure
from medillus_pipeline.illustration import captions, fonts, plain_words, wording
from medillus_pipeline.illustration.plate import Shape, Tag
from medillus_pipeline.illustration.request import FigureRequest, Language
from medillus_pipeline.illustration.styles import Look
from medillus_pipeline.illustration.svg import Svg
from medillus_pipeline.illustration.wording import Bilingual

HAIRLINE = "#d8dee5"
WARNING_INK, WARNING_PAPER = "#a8201a", "#fdf3f2"

_BADGE_PADDING = 14.0
_SCALES_CM = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20)


def display_name(structure: Structure) -> str:
    """The English name with a capital letter, as it stands in labels."""
    return _capital(structure.name_en)


def tag(structure: Structure, language: Language, look: Look) -> Tag:
    """The wording of a leader-line label, at most two lines a language."""
    name = plain_words.plain_name(structure) if look.plain_words else Bilingual(structure.name_en, structure.name_zh)
    en, zh = _capital(name.en), name.zh
    return Tag(
        tuple(fonts.fit(en, look.label, look.label_width, 2, "bold")) if language != "zh" else (),
        tuple(fonts.fit(zh, look.label * 0.96, look.label_width, 2)) if language != "en" else (),
    )


def header(svg: Svg, request: FigureRequest, look: Look, title: Bilingual) -> float:
    """Title on the left, warning on the right; a look without title has neither."""
    if look.title is None:
        return look.margin
    warning = captions.warning(request)
    size = max(13.5, look.label * 0.8)
    limit = 330.0 * size / 13.5
    en, zh = fonts.wrap(warning.en, size, limit, "bold"), fonts.wrap(warning.zh, size - 0.5, limit)
    inner = max(
        *(fonts.width(line, size, "bold") for line in en),
        *(fonts.width(line, size - 0.5) for line in zh),
    )
    step = size * 1.33
    width, height = inner + 2 * _BADGE_PADDING, step * len(en) + (step - 1) * len(zh) + size
    left, top = look.width - look.margin - width, 24.0
    svg.rectangle(left, top, width, height, rx=6, fill=WARNING_PAPER, stroke=WARNING_INK, stroke_width=1.3)
    middle, baseline = left + width / 2, top + size / 2
    for line in en:
        svg.text(middle, baseline + size, line, size, weight="bold", fill=WARNING_INK, align="middle")
        baseline += step
    for line in zh:
        svg.text(middle, baseline + size - 0.5, line, size - 0.5, fill=WARNING_INK, align="middle", language="zh-CN")
        baseline += step - 1
    room = left - look.margin - 24
    baseline = look.title * 2
    if request.language != "zh":
        for line in fonts.fit(title.en, look.title, room, 2, "bold"):
            svg.text(look.margin, baseline, line, look.title, weight="bold", fill=look.ink)
            baseline += look.title * 1.18
    if request.language != "en":
        size = round(look.title * (0.68 if request.language == "both" else 0.96), 1)
        for line in fonts.fit(title.zh, size, room, 2):
            fill = look.muted if request.language == "both" else look.ink
            svg.text(look.margin, baseline, line, size, fill=fill, language="zh-CN")
            baseline += size * 1.32
    return max(top + height, baseline - 12) + 22


def scale_bar(svg: Svg, x: float, y: float, width: float, per_mm: float, look: Look, beside: str) -> float:
    """A bar of a round length, a fifth of the image or a little more, under the image's left corner.

    `beside` (modality and window) stands under its right corner, where there is room.
    """
    size, stroke = look.text, look.stroke
    length = min(_SCALES_CM, key=lambda cm: abs(math.log(cm * 10 * per_mm / (0.2 * width))))
    end, middle, tick = x + length * 10 * per_mm, y + size * 0.56, size * 0.32
    svg.open(class_="scale")
    svg.line(((x, middle - tick), (x, middle + tick)), stroke=look.ink, stroke_width=1.4 * stroke)
    svg.line(((end, middle - tick), (end, middle + tick)), stroke=look.ink, stroke_width=1.4 * stroke)
    svg.line(((x, middle), (end, middle)), stroke=look.ink, stroke_width=1.8 * stroke)
    svg.text(end + size * 0.7, y + size * 0.92, f"{length:g} cm", size, fill=look.ink)
    svg.close()
    taken = end - x + size * 1.4 + fonts.width(f"{length:g} cm", size)
    if beside and taken + fonts.width(beside, size * 0.92) <= width:
        svg.text(x + width, y + size * 0.92, beside, size * 0.92, fill=look.muted, align="end")
    return y + size * 1.28


def paragraphs(svg: Svg, y: float, text: Bilingual, language: Language, look: Look, *, size: float = 0.0) -> float:
    """A text, a paragraph a language, over the whole width."""
    size = size or look.text
    if language != "zh":
        y = _paragraph(svg, y, text.en, size, look.ink, "en", look)
    if language != "en":
        y = _paragraph(svg, y + (3 if language == "both" else 0), text.zh, size, look.ink, "zh-CN", look)
    return y


def warning_line(svg: Svg, y: float, request: FigureRequest, look: Look, name: str) -> float:
    """The warning in both languages, with figure and model, where no header says it."""
    text = captions.line(request, name)
    y = _paragraph(svg, y, text.en, look.small, look.ink, "en", look)
    return _paragraph(svg, y, text.zh, look.small, look.ink, "zh-CN", look)


def legend(
    svg: Svg, y: float, request: FigureRequest, shapes: Sequence[Shape], numbers: Mapping[int, int], look: Look
) -> float:
    """Number (where labels are numbers), colour, names, SNOMED CT code and confidence of each structure, in columns.

    Pathologies follow with their ICD-11 codes.
    """
    if not shapes or look.legend == "none":
        return y
    ordered = sorted(shapes, key=lambda s: numbers.get(s.structure.id, 10**6)) if numbers else list(shapes)
    if look.legend == "key":
        ordered = [s for s in ordered if s.structure.id in numbers]
    gap = 3.2 * look.text
    column = (look.content - gap) / 2
    half = math.ceil(len(ordered) / 2) if len(ordered) > 3 else max(1, len(ordered))
    bottoms = [y]
    for start in range(0, len(ordered), half):
        x = look.margin + (column + gap) * (start // half)
        bottoms.append(_legend_column(svg, x, y, column, request, ordered[start : start + half], numbers, look))
    y = max(bottoms)
    if look.legend == "codes" and request.confidences:
        note = captions.confidence_note(request)
        for text, language in ((note.en, "en"), (note.zh, "zh")):
            if request.language in (language, "both"):
                tongue = "en" if language == "en" else "zh-CN"
                y = _paragraph(svg, y + 4, text, look.text * 0.88, look.muted, tongue, look)
    return y


def pathologies(svg: Svg, y: float, request: FigureRequest, look: Look) -> float:
    """A line a pathology: names, and the ICD-11 code with its title where there is one."""
    if not request.pathologies or look.plain_words or look.secret or look.legend == "none":
        return y
    word = both(wording.LEGEND["pathology"], request.language)
    for found in request.pathologies:
        name = both(Bilingual(_capital(found.name_en), found.name_zh), request.language)
        code = f", {wording.LEGEND['icd11'].en} {found.icd11} ({found.title})" if found.icd11 else ""
        y = _paragraph(svg, y + 4, f"{word}: {name}{code}", look.text, look.ink, "zh-CN", look)
    return y


def footer(svg: Svg, y: float, request: FigureRequest, name: str, look: Look) -> float:
    """The provenance line, small; returns the canvas height."""
    y += 6
    svg.line(((look.margin, y), (look.width - look.margin, y)), stroke=HAIRLINE, stroke_width=1)
    return _paragraph(svg, y + 6, captions.provenance(request, name), look.small, look.muted, "en", look) + 18


def both(word: Bilingual, language: Language) -> str:
    """A word in the languages asked for, on one line."""
    if language == "both":
        return word.en if word.en == word.zh else f"{word.en} {word.zh}"
    return word.en if language == "en" else word.zh


def _legend_column(
    svg: Svg,
    x: float,
    y: float,
    width: float,
    request: FigureRequest,
    shapes: Sequence[Shape],
    numbers: Mapping[int, int],
    look: Look,
) -> float:
    size, language = look.text, request.language
    step, codes = size * 1.28, look.legend == "codes"
    scores = bool(request.confidences) and codes
    number_width = size * 1.9 if numbers else 0.0
    swatch = x + number_width
    code_x = x + width - (16.8 * size if scores else 7.2 * size if codes else 0)
    name_x = swatch + 1.76 * size
    name_width = code_x - name_x - (0.96 * size if codes else 0)
    if codes:
        words = [wording.LEGEND["structure"], wording.LEGEND["code"], wording.LEGEND["confidence"]]
        places = (name_x, code_x, x + width - 8.96 * size)
        for place, word in zip(places, words if scores else words[:2], strict=False):
            svg.text(place, y + 0.96 * size, both(word, language), size * 0.88, fill=look.muted)
        y += size * 1.52
        svg.line(((x, y), (x + width, y)), stroke=HAIRLINE, stroke_width=1)
        y += 2
    for shape in shapes:
        structure = shape.structure
        lines = _names(structure, language, name_width, look)
        baseline = y + size * 1.2
        if structure.id in numbers:
            text = str(numbers[structure.id])
            svg.text(x + size * 1.3, baseline, text, size, weight="bold", fill=look.ink, align="end")
        side = size * 0.88
        svg.rectangle(
            *(swatch + 2, y + size * 0.4, side, side),
            rx=side / 4.4,
            fill=shape.colour,
            stroke="#000000",
            stroke_opacity=0.33,
            stroke_width=0.6 * look.stroke,
        )
        for index, pieces in enumerate(lines):
            cursor = name_x
            for text, fill, tongue in pieces:
                svg.text(cursor, baseline + step * index, text, size, fill=fill, language=tongue)
                cursor += fonts.width(text, size) + size * 0.64
        if codes:
            svg.text(code_x, baseline, structure.code or "–", size * 0.96, fill=look.muted)
        if scores:
            _score(svg, x + width, y, request.confidences.get(structure.id, math.nan), language, look)
        y += step * len(lines) + size * 0.32
    return y + 2


def _score(svg: Svg, right: float, y: float, score: float, language: Language, look: Look) -> None:
    """A bar and a percentage, the latter flush right."""
    size = look.text
    left, length = right - 8.96 * size, 5.6 * size
    if math.isnan(score):
        text = both(wording.LEGEND["unknown"], language)
        svg.text(right, y + 1.2 * size, text, size * 0.96, fill=look.muted, align="end")
        return
    svg.rectangle(left, y + size * 0.68, length, size * 0.4, rx=size * 0.2, fill="#e6ebf0")
    if score > 0:
        svg.rectangle(left, y + size * 0.68, max(size * 0.4, length * score), size * 0.4, rx=size * 0.2, fill="#4a6a8a")
    svg.text(right, y + 1.2 * size, f"{score:.0%}", size * 0.96, fill=look.ink, align="end")


def _names(structure: Structure, language: Language, limit: float, look: Look) -> list[list[tuple]]:
    """Lines of (text, colour, language): both names on one line where they fit, else below each other."""
    en, zh, size = display_name(structure), structure.name_zh, look.text
    lines_en = [[(line, look.ink, "en")] for line in fonts.fit(en, size, limit, 2)]
    shade = look.muted if language == "both" else look.ink
    lines_zh = [[(line, shade, "zh-CN")] for line in fonts.fit(zh, size, limit, 2)]
    if language == "en":
        return lines_en
    if language == "zh":
        return lines_zh
    if len(lines_en) == len(lines_zh) == 1 and fonts.width(en + zh, size) + size * 0.64 <= limit:
        return [lines_en[0] + lines_zh[0]]
    return lines_en + lines_zh


def _paragraph(svg: Svg, y: float, text: str, size: float, fill: str, language: str, look: Look) -> float:
    for line in fonts.wrap(text, size, look.content):
        svg.text(look.margin, y + size, line, size, fill=fill, language="zh-CN" if language == "zh-CN" else "en")
        y += round(size * 1.4, 1)
    return y


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
