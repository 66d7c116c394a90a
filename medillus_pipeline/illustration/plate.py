"""The plate: the image with the outlines of its structures, their leader-line labels, and the orientation letters."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medillus_pipeline.annotation.vocabulary import Structure
from medillus_pipeline.illustration import contours, panels
from medillus_pipeline.illustration.layout import Placement
from medillus_pipeline.illustration.panels import INK, MUTED, display_name
from medillus_pipeline.illustration.svg import Align, Svg

_BAR, _BAR_GAP = 3.0, 8.0
_LINE_EN, _LINE_ZH = 17.0, 16.0
_CONTEXT_PRIORITY = 5


@dataclass(frozen=True)
class Shape:
    """A structure as drawn: outline and anchor in canvas units, area in cm²."""

    structure: Structure
    outline: contours.Outline
    anchor: tuple[float, float]
    area_cm2: float

    @property
    def is_context(self) -> bool:
        """Whether it is a backdrop (the body, its fat): outlined and listed, without a leader."""
        return self.structure.kind == "region" and self.structure.priority <= _CONTEXT_PRIORITY

    def moved(self, view: "View") -> "Shape":
        """From image pixels to the canvas."""
        rings = tuple(np.add(ring, (view.x, view.y)) for ring in self.outline.rings)
        anchor = (self.anchor[0] + view.x, self.anchor[1] + view.y)
        return Shape(self.structure, contours.Outline(rings), anchor, self.area_cm2)


@dataclass(frozen=True)
class View:
    """Where the image stands on the canvas, and how large a millimetre is."""

    x: float
    y: float
    width: float
    height: float
    per_mm: float


def label_height(lines: panels.LabelLines) -> float:
    """Height of a label in canvas units."""
    return _LINE_EN * len(lines.en) + _LINE_ZH * len(lines.zh)


def draw_image(svg: Svg, view: View, png: bytes, shapes: Sequence[Shape]) -> None:
    """The image, and over it the outlines, large structures first so that small ones stay visible."""
    svg.image(png, view.x, view.y, view.width, view.height)
    for shape in sorted(shapes, key=lambda s: (not s.is_context, -s.area_cm2, s.structure.id)):
        structure, rings = shape.structure, shape.outline.rings
        svg.open(data_structure=structure.key, data_code=structure.code)
        svg.title(f"{display_name(structure)} {structure.name_zh}")
        if shape.is_context:
            svg.path(rings, fill="none", stroke=structure.colour, stroke_width=1.2)
        else:
            svg.path(rings, fill="none", stroke="#000000", stroke_width=3.2, stroke_opacity=0.45)
            svg.path(
                rings,
                fill=structure.colour,
                fill_opacity=0.16,
                stroke=structure.colour,
                stroke_width=1.7,
                stroke_linejoin="round",
            )
        svg.close()


def draw_label(svg: Svg, view: View, shape: Shape, placement: Placement, lines: panels.LabelLines) -> None:
    """A leader (light over the image, dark beside it), its dot in the organ, and the label at its end."""
    outward = -1 if placement.side == "left" else 1
    border = view.x if placement.side == "left" else view.x + view.width
    (x, y), (port_x, port_y) = placement.anchor, placement.port
    share = (border - x) / (port_x - x)
    edge = (border, y + share * (port_y - y))
    stub = (port_x + outward * 8, port_y)
    svg.line(((x, y), edge), stroke="#000000", stroke_width=2.6, stroke_opacity=0.5)
    svg.line(((x, y), edge), stroke="#ffffff", stroke_width=1.1)
    svg.line((edge, (port_x, port_y), stub), stroke=MUTED, stroke_width=1.1, stroke_linejoin="round")
    svg.circle(x, y, 2.8, fill="#ffffff", stroke="#000000", stroke_width=1)
    height = label_height(lines)
    left = stub[0] if outward > 0 else stub[0] - _BAR
    svg.rectangle(left, port_y - height / 2, _BAR, height, rx=1.5, fill=shape.structure.colour)
    text_x = stub[0] + outward * (_BAR + _BAR_GAP)
    align: Align = "start" if outward > 0 else "end"
    baseline = port_y - height / 2
    for line in lines.en:
        svg.text(text_x, baseline + 13, line, 13.5, weight="bold", fill=INK, align=align)
        baseline += _LINE_EN
    for line in lines.zh:
        svg.text(text_x, baseline + 12.5, line, 13, fill=MUTED if lines.en else INK, align=align, language="zh-CN")
        baseline += _LINE_ZH


def draw_orientation(svg: Svg, view: View, letters: tuple[str, str, str, str], placements: Sequence[Placement]) -> None:
    """A letter at the middle of each edge, moved along it where a leader is in the way."""
    inset = 14.0
    left, right = view.x + inset, view.x + view.width - inset
    top, bottom = view.y + inset, view.y + view.height - inset
    middle = (view.x + view.width / 2, view.y + view.height / 2)
    along_x = [middle[0] + d for d in _offsets(view.width * 0.4)]
    along_y = [middle[1] + d for d in _offsets(view.height * 0.4)]
    spots = (
        [(left, y) for y in along_y],
        [(right, y) for y in along_y],
        [(x, top) for x in along_x],
        [(x, bottom) for x in along_x],
    )
    for letter, candidates in zip(letters, spots, strict=True):
        clear = [max(0.0, 14.0 - _clearance(spot, placements)) for spot in candidates]
        x, y = candidates[int(np.argmin(clear))]
        svg.text(x, y + 5.5, letter, 15, weight="bold", fill="#ffffff", align="middle", halo=True)


def _offsets(limit: float, step: float = 12.0) -> list[float]:
    """0, step, -step, 2 step … up to the limit."""
    count = int(limit // step)
    return [0.0, *(sign * i * step for i in range(1, count + 1) for sign in (1, -1))]


def _clearance(spot: tuple[float, float], placements: Sequence[Placement]) -> float:
    """Distance in canvas units from a spot to the nearest leader."""
    nearest = math.inf
    for p in placements:
        (ax, ay), (bx, by) = p.anchor, p.port
        length = (bx - ax) ** 2 + (by - ay) ** 2
        t = min(1.0, max(0.0, ((spot[0] - ax) * (bx - ax) + (spot[1] - ay) * (by - ay)) / length)) if length else 0.0
        nearest = min(nearest, math.hypot(spot[0] - ax - t * (bx - ax), spot[1] - ay - t * (by - ay)))
    return nearest
