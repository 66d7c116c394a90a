"""One page of a figure: image, labels, scale, caption, legend and footer, put together as its style has them.

What is not here: strokes (`plate.py`), the parts around the image (`panels.py`), files and sidecars (`figure.py`).
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from medillus_pipeline.illustration import captions, palette, panels, plate, scan_view, wording
from medillus_pipeline.illustration.layout import LABELS_PER_SIDE, Columns, Placement, place_labels
from medillus_pipeline.illustration.panels import display_name
from medillus_pipeline.illustration.plate import Named, Shape, Tag, View
from medillus_pipeline.illustration.request import FigureRequest
from medillus_pipeline.illustration.styles import Look
from medillus_pipeline.illustration.svg import Svg
from medillus_pipeline.illustration.wording import Bilingual

MOST_NUMBERED = 100
"""Structures beyond so many stand in the legend only, the smallest first."""

_LABEL_GAP = 0.67


@dataclass(frozen=True)
class Page:
    """A drawn page: `numbers` are vocabulary id → number where labels are numbers; `labelled` those with a label."""

    svg: bytes
    shapes: tuple[Shape, ...]
    labelled: frozenset[int]
    numbers: dict[int, int]
    caption: Bilingual
    least_distance: float | None


@dataclass(frozen=True)
class Block:
    """An image with its labels as it came to stand: `look` as it was used, `bottom` where it ended."""

    shapes: tuple[Shape, ...]
    labelled: frozenset[int]
    numbers: dict[int, int]
    bottom: float
    look: Look
    least_distance: float | None


def page(request: FigureRequest, name: str, look: Look) -> Page:
    """Draw the page of a figure.

    Raises:
        InputError: a text holds a character without a glyph.
    """
    svg = Svg(look.width, width_mm=look.width_mm)
    title = captions.plain_title(request) if look.plain_words else captions.title(request)
    if request.style == "quiz" and not look.secret:
        answers = wording.LEGEND["answers"]
        title = Bilingual(f"{answers.en}: {title.en}", f"{answers.zh}：{title.zh}")
    top = panels.header(svg, request, look, title)
    block = draw_block(svg, request, scan_view.view(request, look), look, x=0.0, width=look.width, top=top)
    shapes, numbers, wanted, bottom = block.shapes, block.numbers, block.labelled, block.bottom
    look, unplaced = block.look, [s for s in shapes if not s.is_context and s.structure.id not in block.labelled]
    labelled = [s for s in shapes if s.structure.id in wanted]
    left_out = 0 if look.most_labels is not None else len(unplaced)
    caption = _caption(request, look, shapes, left_out)
    bottom = _below(svg, bottom, request, name, look, shapes, numbers, caption)
    described = title.en if look.secret else f"{title.en}: {', '.join(display_name(s.structure) for s in labelled)}"
    told = {"figure": name} if look.secret else {"figure": name, **request.facts()}
    drawing = svg.document(
        2.0 * math.ceil(bottom / 2),
        title=described,
        description=caption.en,
        metadata=json.dumps(told, sort_keys=True),
    )
    return Page(drawing, shapes, wanted, numbers, caption, block.least_distance)


def draw_block(
    svg: Svg, request: FigureRequest, seen: scan_view.ScanView, look: Look, *, x: float, width: float, top: float
) -> Block:
    """Draw image, labels, letters and scale within a column from `x`, `width` wide, downwards from `top`."""
    labelled = to_label(seen.shapes, look)
    if look.most_labels is None and len(labelled) > 2 * LABELS_PER_SIDE:
        look = replace(look, numbered=True)
    tags = [Tag(("00",), ()) if look.numbered else panels.tag(s.structure, request.language, look) for s in labelled]
    pitch = max((t.height(look) for t in tags), default=0.0) + _LABEL_GAP * look.label
    panel = max(float(seen.height), max(1, math.ceil(0.6 * len(labelled))) * pitch)
    left = x + (width - seen.width) / 2
    view = View(left, top + (panel - seen.height) / 2, seen.width, seen.height, seen.per_mm)
    shapes = tuple(s.moved(view.x, view.y) for s in seen.shapes)
    wanted = frozenset(s.structure.id for s in labelled)
    labelled = [s for s in shapes if s.structure.id in wanted]
    placements = place_labels(
        np.array([s.anchor for s in labelled]).reshape(-1, 2),
        Columns(view.x - look.gutter, view.x + view.width + look.gutter, top, top + panel),
        pitch,
    )
    numbers = _numbers(labelled, placements) if look.numbered else {}
    if numbers:
        tags = [Tag((str(numbers[s.structure.id]),), ()) for s in labelled]
    names = _names(shapes, numbers, look)
    plate.draw_image(svg, view, seen.image, shapes, names, look, request.marks or look.marks)
    for shape, placement, tag in zip(labelled, placements, tags, strict=True):
        plate.draw_label(svg, view, shape, placement, tag, names[shape.structure.id], look)
    plate.draw_orientation(svg, view, request.orientation, placements, look)
    window = None if look.plain_words else captions.window(request)
    beside = "" if window is None else window.zh if request.language == "zh" else window.en
    below = view.y + view.height + 0.64 * look.text
    bottom = max(panels.scale_bar(svg, view.x, below, view.width, view.per_mm, look, beside), top + panel)
    return Block(shapes, wanted, numbers, bottom, look, seen.least_distance)


def to_label(shapes: Sequence[Shape], look: Look) -> list[Shape]:
    """Which structures get a leader: where there are too many, not the smallest; where few, lesions first."""
    named = [s for s in shapes if not s.is_context]
    most = MOST_NUMBERED if look.most_labels is None else look.most_labels
    lesions_first = look.most_labels is not None
    ranked = sorted(named, key=lambda s: (not (lesions_first and s.structure.kind in palette.LESIONS), -s.area_cm2))
    keep = {s.structure.id for s in ranked[:most]}
    return [s for s in named if s.structure.id in keep]


def _below(
    svg: Svg,
    bottom: float,
    request: FigureRequest,
    name: str,
    look: Look,
    shapes: Sequence[Shape],
    numbers: dict[int, int],
    caption: Bilingual,
) -> float:
    """What stands under the image; returns the canvas height."""
    gap = 1.2 * look.text
    if look.printed:
        bottom = panels.legend(svg, bottom + gap / 3, request, shapes, numbers, look)
        return panels.warning_line(svg, bottom + gap / 3, request, look, name) + look.margin
    bottom = panels.paragraphs(svg, bottom + gap, caption, request.language, look)
    bottom = panels.pathologies(svg, bottom, request, look)
    bottom = panels.legend(svg, bottom + gap, request, shapes, numbers, look)
    return panels.footer(svg, bottom + 6, request, name, look)


def _caption(request: FigureRequest, look: Look, shapes: Sequence[Shape], unplaced: int) -> Bilingual:
    if look.caption == "plain":
        return captions.plain_caption(request, ill=any(s.structure.kind in palette.LESIONS for s in shapes))
    said = captions.caption(request, unplaced)
    if look.secret:
        return Bilingual(f"{wording.QUIZ.en} {said.en}", f"{wording.QUIZ.zh}{said.zh}")
    return said


def _numbers(labelled: Sequence[Shape], placements: Sequence[Placement]) -> dict[int, int]:
    """Numbers in reading order: down the left column, then down the right one."""
    pairs = zip(labelled, placements, strict=True)
    ordered = sorted(pairs, key=lambda pair: (pair[1].side != "left", pair[1].port[1]))
    return {shape.structure.id: number for number, (shape, _) in enumerate(ordered, 1)}


def _names(shapes: Sequence[Shape], numbers: dict[int, int], look: Look) -> dict[int, Named]:
    """A quiz's groups carry the number, so that the drawing does not tell the answer."""
    if look.secret:
        return {
            s.structure.id: Named(f"number-{n}" if (n := numbers.get(s.structure.id)) else "backdrop", str(n or ""))
            for s in shapes
        }
    return {
        s.structure.id: Named(s.structure.key, f"{display_name(s.structure)} {s.structure.name_zh}") for s in shapes
    }
