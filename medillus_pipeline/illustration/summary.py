"""One page for a colleague far away: several key slices of one patient, labelled, with measures of what they show.

What is not here: a single figure (`figure.py`), how a slice and its labels are drawn (`composition.py`).
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medillus_pipeline.annotation.vocabulary import Structure
from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration import captions, composition, fonts, palette, panels, scan_view, styles, wording
from medillus_pipeline.illustration.composition import Block, Page
from medillus_pipeline.illustration.figure import file_facts, structure_facts
from medillus_pipeline.illustration.panels import HAIRLINE, both, display_name
from medillus_pipeline.illustration.raster import PNG_ZOOM, render_png
from medillus_pipeline.illustration.request import SIDECAR_VERSION, FigureRequest, canonical_json
from medillus_pipeline.illustration.styles import Look
from medillus_pipeline.illustration.svg import Svg
from medillus_pipeline.illustration.wording import Bilingual

MOST_SLICES = 6

_GAP = 28.0
_ROW, _CELL, _CODE = 19.0, 118.0, 96.0


@dataclass(frozen=True)
class Summary:
    """A finished page of several slices; its sidecar is plain JSON data."""

    name: str
    svg: bytes
    png: bytes
    sidecar: dict[str, Any]
    requests: tuple[FigureRequest, ...]

    def sidecar_json(self) -> bytes:
        """The sidecar as it is to be stored."""
        return canonical_json(self.sidecar)

    def pdf(self) -> bytes:
        """The page as PDF, text as text."""
        from medillus_pipeline.illustration.pdf import to_pdf

        return to_pdf(self.svg)


def draw_summary(requests: Sequence[FigureRequest], *, zoom: float = PNG_ZOOM, dpi: float | None = None) -> Summary:
    """Draw a page of 1 to 6 slices, in their order; `style` of the requests does not matter.

    Raises:
        InputError: no or too many slices, of several patients or of real and generated ones together, or in different
            languages or palettes; a text holds a character without a glyph.
    """
    _check(requests)
    first = requests[0]
    name = "f-" + hashlib.sha256("".join(r.name() for r in requests).encode()).hexdigest()[:12]
    look, page = styles.PANEL, styles.Look()
    views = _same_colours([scan_view.view(r, look) for r in requests], first)
    svg = Svg(page.width)
    frame = wording.SUMMARY["title"]
    heading = captions.title(first, with_plane=len({captions.plane(r) for r in requests}) == 1)
    title = Bilingual(
        f"{frame.en.format(count=len(requests))}: {heading.en}", f"{heading.zh}：{frame.zh.format(count=len(requests))}"
    )
    top = panels.header(svg, first, page, title)
    blocks, bottom = _slices(svg, requests, views, look, page, top)
    bottom = _table(svg, bottom + 8, requests, blocks, page)
    spacing = f"{max(max(r.pixel_mm) for r in requests):.3g}"
    note = Bilingual(*(text.format(mm=spacing) for text in wording.SUMMARY["measured"]))
    bottom = panels.paragraphs(svg, bottom + 4, note, first.language, page, size=11)
    bottom = panels.pathologies(svg, bottom, first, page)
    bottom = panels.footer(svg, bottom + 6, first, name, page)
    drawing = svg.document(
        2.0 * math.ceil(bottom / 2),
        title=title.en,
        description=f"{captions.warning(first).en}. {note.en}",
        metadata=json.dumps({"figure": name, "figures": [r.facts() for r in requests]}, sort_keys=True),
    )
    png = render_png(drawing, zoom, dpi=dpi)
    return Summary(name, drawing, png, _sidecar(name, title, requests, blocks, drawing, png), tuple(requests))


def _check(requests: Sequence[FigureRequest]) -> None:
    if not 1 <= len(requests) <= MOST_SLICES:
        raise InputError(f"a summary shows 1 to {MOST_SLICES} slices, not {len(requests)}: choose key slices")
    for what, values in (
        ("patient", {r.patient for r in requests}),
        ("source", {r.source for r in requests}),
        ("author of the labels", {r.labelled_by for r in requests}),
        ("language", {r.language for r in requests}),
        ("palette", {r.palette for r in requests}),
    ):
        if len(values) > 1:
            raise InputError(f"the slices of a summary must agree in their {what}: make a page for each")


def _same_colours(views: list[scan_view.ScanView], request: FigureRequest) -> list[scan_view.ScanView]:
    """One colour a structure over all slices, chosen by what touches in any of them."""
    structures = {s.structure.id: s.structure for v in views for s in v.shapes if not s.is_context}
    pairs = {pair for v in views for pair in v.neighbours}
    chosen = palette.colours([structures[i] for i in sorted(structures)], pairs, request.palette)
    return [v.recoloured(chosen) for v in views]


def _slices(
    svg: Svg,
    requests: Sequence[FigureRequest],
    views: Sequence[scan_view.ScanView],
    look: Look,
    page: Look,
    top: float,
) -> tuple[list[Block], float]:
    """The slices two abreast, each under its number and place."""
    across = min(2, len(requests))
    width = (page.content - _GAP * (across - 1)) / across
    blocks: list[Block] = []
    for start in range(0, len(requests), across):
        bottoms = []
        for column, (request, seen) in enumerate(zip(requests[start:], views[start : start + across], strict=False)):
            x = page.margin + column * (width + _GAP)
            words = _place(request, start + column + 1)
            svg.text(x, top + 12, fonts.fit(words, 12.5, width, 1, "bold")[0], 12.5, weight="bold", fill=page.ink)
            blocks.append(composition.draw_block(svg, request, seen, look, x=x, width=width, top=top + 24))
            bottoms.append(blocks[-1].bottom)
        top = max(bottoms) + 22
    return blocks, top


def _place(request: FigureRequest, number: int) -> str:
    words = both(wording.SUMMARY["slice"], request.language)
    plane = both(wording.PLANES[captions.plane(request)], request.language)
    level = "" if request.level is None or captions.plane(request) != "axial" else f", {request.level:.0%}"
    return f"{words} {number}: {plane}{level}"


def _table(svg: Svg, y: float, requests: Sequence[FigureRequest], blocks: Sequence[Block], page: Look) -> float:
    """A row a structure, a column a slice: area and greatest diameter in the plane."""
    language, right = requests[0].language, page.width - page.margin
    code_x = right - _CODE
    cells = [code_x - _CELL * (len(blocks) - i) for i in range(len(blocks))]
    svg.text(page.margin + 22, y + 12, both(wording.LEGEND["structure"], language), 11, fill=page.muted)
    svg.text(code_x + 12, y + 12, wording.LEGEND["code"].en, 11, fill=page.muted)
    for number, x in enumerate(cells, 1):
        text = f"{both(wording.SUMMARY['slice'], language)} {number}"
        svg.text(x + _CELL - 6, y + 12, text, 11, fill=page.muted, align="end")
    y += 18
    svg.line(((page.margin, y), (right, y)), stroke=HAIRLINE, stroke_width=1)
    room = cells[0] - page.margin - 30
    for structure, colour in _rows(blocks):
        svg.rectangle(page.margin + 2, y + 5, 11, 11, rx=2.5, fill=colour)
        text = both(Bilingual(display_name(structure), structure.name_zh), language)
        svg.text(page.margin + 22, y + 15, fonts.fit(text, 12.5, room, 1)[0], 12.5, fill=page.ink)
        svg.text(code_x + 12, y + 15, structure.code or "–", 12, fill=page.muted)
        for x, block in zip(cells, blocks, strict=True):
            shape = next((s for s in block.shapes if s.structure.id == structure.id), None)
            cell = "–" if shape is None else f"{shape.area_cm2:.1f} cm², {shape.diameter_mm:.0f} mm"
            svg.text(x + _CELL - 6, y + 15, cell, 12, fill=page.muted if shape is None else page.ink, align="end")
        y += _ROW
    return y + 4


def _rows(blocks: Sequence[Block]) -> list[tuple[Structure, str]]:
    """Structures that are labelled on any slice, with their colour: lesions first, then by id. The sidecar has all."""
    found = {s.structure.id: (s.structure, s.colour) for b in blocks for s in b.shapes if s.structure.id in b.labelled}
    return sorted(found.values(), key=lambda row: (row[0].kind not in palette.LESIONS, row[0].id))


def _sidecar(
    name: str,
    title: Bilingual,
    requests: Sequence[FigureRequest],
    blocks: Sequence[Block],
    svg: bytes,
    png: bytes,
) -> dict[str, Any]:
    first = requests[0]
    pages = [
        Page(b"", b.shapes, b.labelled, b.numbers, captions.caption(r), b.least_distance)
        for r, b in zip(requests, blocks, strict=True)
    ]
    return {
        "format": "medillus-summary",
        "format_version": SIDECAR_VERSION,
        "figure": name,
        "title": title._asdict(),
        "warning": captions.warning(first)._asdict(),
        "slices": [
            {"request": r.facts(), "caption": p.caption._asdict(), "structures": structure_facts(r, p)}
            for r, p in zip(requests, pages, strict=True)
        ],
        "files": {"svg": file_facts(svg), "png": file_facts(png)},
    }
