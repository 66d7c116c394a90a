"""The plate: the image with the outlines or fills of its structures, their leader-line labels, orientation letters.

Each structure is a group `class="structure"`, its leader and label another `class="label"`, both with the structure's
key in `data-structure`; the image has `class="scan"`. Programs find them by these names.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from medillus_pipeline.annotation.vocabulary import Structure
from medillus_pipeline.illustration import contours
from medillus_pipeline.illustration.layout import Placement
from medillus_pipeline.illustration.palette import LESIONS
from medillus_pipeline.illustration.request import Letters, Marks
from medillus_pipeline.illustration.styles import Look
from medillus_pipeline.illustration.svg import Align, Svg

_BAR, _BAR_GAP = 3.0, 8.0
_CONTEXT_PRIORITY = 5
_OUTLINED, _FILLED, _ILL, _QUIET = 0.16, 0.6, 0.78, 0.3


@dataclass(frozen=True)
class Shape:
    """A structure as drawn: outline and anchor in canvas units, area in cm², greatest diameter in mm."""

    structure: Structure
    outline: contours.Outline
    anchor: tuple[float, float]
    area_cm2: float
    diameter_mm: float
    colour: str

    @property
    def is_context(self) -> bool:
        """Whether it is a backdrop."""
        return is_context(self.structure)

    def moved(self, x: float, y: float) -> "Shape":
        """From image pixels to the canvas."""
        rings = tuple(np.add(ring, (x, y)) for ring in self.outline.rings)
        return replace(self, outline=contours.Outline(rings), anchor=(self.anchor[0] + x, self.anchor[1] + y))

    def scaled(self, factor: float) -> "Shape":
        """On a grid so many times as fine."""
        rings = tuple(ring * factor for ring in self.outline.rings)
        return replace(self, outline=contours.Outline(rings), anchor=(self.anchor[0] * factor, self.anchor[1] * factor))


@dataclass(frozen=True)
class View:
    """Where the image stands on the canvas, and how large a millimetre is."""

    x: float
    y: float
    width: float
    height: float
    per_mm: float


@dataclass(frozen=True)
class Tag:
    """What a label says: its lines in each language (empty where it is not asked for), or a number."""

    en: tuple[str, ...]
    zh: tuple[str, ...]

    def height(self, look: Look) -> float:
        """Height in canvas units."""
        return look.line * len(self.en) + look.line * 0.95 * len(self.zh)


@dataclass(frozen=True)
class Named:
    """How a structure's groups are named: its key and words, or nothing that gives a quiz's answer away."""

    key: str
    title: str


def is_context(structure: Structure) -> bool:
    """Whether a structure is a backdrop (the body, its fat): outlined and listed, without a leader."""
    return structure.kind == "region" and structure.priority <= _CONTEXT_PRIORITY


def draw_image(
    svg: Svg, view: View, png: bytes, shapes: Sequence[Shape], names: dict[int, Named], look: Look, marks: Marks
) -> None:
    """The image, and over it outlines or fills, large structures first so that small ones stay visible."""
    svg.image(png, view.x, view.y, view.width, view.height)
    for shape in sorted(shapes, key=lambda s: (not s.is_context, -s.area_cm2, s.structure.id)):
        structure, rings, named = shape.structure, shape.outline.rings, names[shape.structure.id]
        code = {"data_code": structure.code} if structure.code and not look.secret else {}
        svg.open(class_="structure", data_structure=named.key, **code)
        svg.title(named.title)
        if shape.is_context:
            svg.path(rings, fill="none", stroke=shape.colour, stroke_width=1.2 * look.stroke)
        elif look.raster == "shaded":
            svg.path(
                rings,
                fill=shape.colour,
                fill_opacity=0.25 if marks == "fills" else 0,
                stroke=_darker(shape.colour),
                stroke_width=1.3 * look.stroke,
                stroke_linejoin="round",
            )
        elif marks == "fills":
            quiet = look.plain_words and structure.kind not in LESIONS
            svg.path(
                rings,
                fill=shape.colour,
                fill_opacity=_QUIET if quiet else _ILL if look.plain_words else _FILLED,
                stroke="#ffffff",
                stroke_width=(1.0 if quiet else 1.6) * look.stroke,
                stroke_opacity=0.75,
                stroke_linejoin="round",
            )
        else:
            svg.path(rings, fill="none", stroke="#000000", stroke_width=3.2 * look.stroke, stroke_opacity=0.45)
            svg.path(
                rings,
                fill=shape.colour,
                fill_opacity=_OUTLINED,
                stroke=shape.colour,
                stroke_width=1.7 * look.stroke,
                stroke_linejoin="round",
            )
        svg.close()


def draw_label(svg: Svg, view: View, shape: Shape, placement: Placement, tag: Tag, named: Named, look: Look) -> None:
    """A leader (light over the image, dark beside it), its dot in the organ, and the label at its end."""
    outward = -1 if placement.side == "left" else 1
    border = view.x if placement.side == "left" else view.x + view.width
    (x, y), (port_x, port_y) = placement.anchor, placement.port
    share = (border - x) / (port_x - x)
    edge = (border, y + share * (port_y - y))
    reach, thin = look.gutter / 3, 1.1 * look.stroke
    stub = (port_x + outward * reach, port_y)
    svg.open(class_="label", data_structure=named.key)
    casing, core = ("#ffffff", look.ink) if look.raster == "shaded" else ("#000000", "#ffffff")
    svg.line(((x, y), edge), stroke=casing, stroke_width=2.6 * look.stroke, stroke_opacity=0.5)
    svg.line(((x, y), edge), stroke=core, stroke_width=thin)
    svg.line((edge, (port_x, port_y), stub), stroke=look.muted, stroke_width=thin, stroke_linejoin="round")
    svg.circle(x, y, 2.8 * look.stroke, fill="#ffffff", stroke="#000000", stroke_width=look.stroke)
    height = tag.height(look)
    bar, gap = _BAR * look.label / 13.5, _BAR_GAP * look.label / 13.5
    if look.secret:
        bar = 0.0
    else:
        left = stub[0] if outward > 0 else stub[0] - bar
        svg.rectangle(left, port_y - height / 2, bar, height, rx=bar / 2, fill=shape.colour)
    text_x = stub[0] + outward * (bar + gap / (2 if look.numbered else 1))
    align: Align = "start" if outward > 0 else "end"
    top = port_y - height / 2
    for line in tag.en:
        svg.text(text_x, top + 0.96 * look.label, line, look.label, weight="bold", fill=look.ink, align=align)
        top += look.line
    for line in tag.zh:
        size = round(look.label * 0.96, 2)
        fill = look.muted if tag.en else look.ink
        svg.text(text_x, top + 0.96 * size, line, size, fill=fill, align=align, language="zh-CN")
        top += look.line * 0.95
    svg.close()


def draw_orientation(svg: Svg, view: View, letters: Letters, placements: Sequence[Placement], look: Look) -> None:
    """A letter at the middle of each edge, moved along it where a leader is in the way."""
    size = max(8.0, min(16.0, look.text * 1.2))
    inset, step = size * 0.93, size * 0.8
    left, right = view.x + inset, view.x + view.width - inset
    top, bottom = view.y + inset, view.y + view.height - inset
    middle = (view.x + view.width / 2, view.y + view.height / 2)
    along_x = [middle[0] + d for d in _offsets(view.width * 0.4, step)]
    along_y = [middle[1] + d for d in _offsets(view.height * 0.4, step)]
    spots = (
        [(left, y) for y in along_y],
        [(right, y) for y in along_y],
        [(x, top) for x in along_x],
        [(x, bottom) for x in along_x],
    )
    ink, halo = ("#17202b", "#ffffff") if look.raster == "shaded" else ("#ffffff", "#000000")
    svg.open(class_="orientation")
    for letter, candidates in zip(letters, spots, strict=True):
        clear = [max(0.0, inset - _clearance(spot, placements)) for spot in candidates]
        x, y = candidates[int(np.argmin(clear))]
        svg.text(x, y + size * 0.37, letter, size, weight="bold", fill=ink, align="middle", halo=halo)
    svg.close()


def _darker(colour: str) -> str:
    return "#" + "".join(f"{int(colour[i : i + 2], 16) * 9 // 20:02x}" for i in (1, 3, 5))


def _offsets(limit: float, step: float) -> list[float]:
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
