"""One labelled figure: image, outlines, leader-line labels, legend, caption, scale; as SVG, PNG and a provenance sidecar.

Same request, same bytes. What is not here: where labels go (`layout.py`), shapes (`contours.py`), sentences
(`captions.py`), the panels under the image (`panels.py`).
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medillus_pipeline.annotation.vocabulary import Structure
from medillus_pipeline.dicom.png import encode_png
from medillus_pipeline.dicom.windows import apply_window
from medillus_pipeline.illustration import captions, contours, fonts, panels, wording
from medillus_pipeline.illustration.layout import LABELS_PER_SIDE, Columns, Placement, place_labels
from medillus_pipeline.illustration.panels import INK, MUTED, WIDTH, display_name
from medillus_pipeline.illustration.request import SIDECAR_VERSION, FigureRequest, canonical_json
from medillus_pipeline.illustration.svg import Svg

IMAGE_WIDTH, IMAGE_HEIGHT = 640, 600
PNG_ZOOM = 1.5

_LABEL_WIDTH = 190.0
_GUTTER = 24.0
_BAR, _BAR_GAP = 3.0, 8.0
_LINE_EN, _LINE_ZH = 17.0, 16.0
_LABEL_GAP = 9.0
_AIR_HU = -300.0
_CONTEXT_PRIORITY = 5


@dataclass(frozen=True)
class Figure:
    """A finished figure. `sidecar` is plain JSON data; `sidecar_json()` its bytes."""

    name: str
    svg: bytes
    png: bytes
    sidecar: dict[str, Any]
    request: FigureRequest

    def sidecar_json(self) -> bytes:
        """The sidecar as it is to be stored."""
        return canonical_json(self.sidecar)

    def row(self, *, svg_path: str, png_path: str, sidecar_path: str) -> dict[str, Any]:
        """The figure's row of the table `illustrations`."""
        shown = [s["id"] for s in self.sidecar["structures"]]
        return {
            "figure": self.name,
            "source": self.request.source,
            "slice_name": self.request.slice_name,
            "patient": self.request.patient,
            "split": self.request.split,
            "labels": shown,
            "confidences": [float(self.request.confidences.get(i, math.nan)) for i in shown],
            "seed": self.request.seed,
            "model_version": self.request.model_version,
            "dataset_fingerprint": self.request.dataset_fingerprint,
            "svg_path": svg_path,
            "png_path": png_path,
            "sidecar_path": sidecar_path,
            "sha256": self.sidecar["files"]["svg"]["sha256"],
        }


@dataclass(frozen=True)
class _Shape:
    """A structure as drawn: outline and anchor in canvas units, area in cm²."""

    structure: Structure
    outline: contours.Outline
    anchor: tuple[float, float]
    depth: float
    area_cm2: float

    @property
    def is_context(self) -> bool:
        """Whether it is a backdrop (the body, its fat): outlined and listed, without a leader."""
        return self.structure.kind == "region" and self.structure.priority <= _CONTEXT_PRIORITY


@dataclass(frozen=True)
class _View:
    """Where the image stands on the canvas, and how large a millimetre is."""

    x: float
    y: float
    width: float
    height: float
    per_mm: float


def draw_figure(request: FigureRequest) -> Figure:
    """Draw a figure.

    Raises:
        InputError: a text holds a character without a glyph.
    """
    name = request.name()
    svg = Svg(WIDTH)
    top = panels.header(svg, request)
    rows, columns = _crop(request)
    values, labels = request.image[rows, columns], request.labels[rows, columns]
    view, grey, enlarged = _enlarge(request, values, labels, top)
    shapes = _shapes(request, enlarged, view, labels)
    labelled, unplaced = _to_label(shapes)
    texts = [panels.label_lines(s.structure, request.language, _LABEL_WIDTH) for s in labelled]
    pitch = max((_label_height(t) for t in texts), default=0.0) + _LABEL_GAP
    each = max(1, math.ceil(0.6 * len(labelled)))
    panel = max(view.height, each * pitch)
    view = _View(view.x, top + (panel - view.height) / 2, view.width, view.height, view.per_mm)
    shapes = [_moved(s, view) for s in shapes]
    labelled = [s for s in shapes if s.structure in {x.structure for x in labelled}]
    placements = place_labels(
        np.array([s.anchor for s in labelled]).reshape(-1, 2),
        Columns(view.x - _GUTTER, view.x + view.width + _GUTTER, top, top + panel),
        pitch,
    )
    _draw_image(svg, view, encode_png(grey), shapes)
    for shape, placement, lines in zip(labelled, placements, texts, strict=True):
        _draw_label(svg, view, shape, placement, lines)
    _draw_orientation(svg, view, request.orientation, placements)
    bottom = panels.scale_bar(svg, view.x, view.y + view.height + 8, view.width, view.per_mm)
    bottom = max(bottom, top + panel)
    listed = [s.structure for s in shapes]
    bottom = panels.caption(svg, bottom + 14, request, len(unplaced))
    bottom = panels.legend(svg, bottom + 16, request, listed)
    height = panels.footer(svg, bottom + 6, request, name)
    facts = request.facts()
    drawing = svg.document(
        height,
        title=f"{captions.title(request).en}: {', '.join(display_name(s.structure) for s in labelled)}",
        description=captions.caption(request, len(unplaced)).en,
        metadata=json.dumps({"figure": name, **facts}, sort_keys=True),
    )
    png = render_png(drawing)
    sidecar = _sidecar(request, name, shapes, labelled, drawing, png)
    return Figure(name, drawing, png, sidecar, request)


def render_png(svg: bytes, zoom: float = PNG_ZOOM) -> bytes:
    """An SVG of this package as PNG, with the shipped typeface and none that is installed."""
    import resvg_py

    return bytes(
        resvg_py.svg_to_bytes(
            svg_string=svg.decode(),
            skip_system_fonts=True,
            font_files=[str(path) for path in fonts.FILES.values()],
            zoom=zoom,
        )
    )


def _crop(request: FigureRequest) -> tuple[slice, slice]:
    """The part of the frame with the body in it."""
    window = request.effective_window()
    threshold = _AIR_HU if request.modality == "CT" else window.center - window.width * 0.45
    return contours.body_box(request.image, request.labels, threshold=threshold)


def _enlarge(
    request: FigureRequest, values: np.ndarray, labels: np.ndarray, top: float
) -> tuple[_View, np.ndarray, np.ndarray]:
    """Place the crop on the canvas with true proportions; its greys and labels at that size (or finer)."""
    height_mm, width_mm = values.shape[0] * request.pixel_mm[0], values.shape[1] * request.pixel_mm[1]
    per_mm = min(IMAGE_WIDTH / width_mm, IMAGE_HEIGHT / height_mm)
    shape = (max(1, round(height_mm * per_mm)), max(1, round(width_mm * per_mm)))
    view = _View((WIDTH - shape[1]) / 2, top, shape[1], shape[0], per_mm)
    fine = (max(shape[0], values.shape[0]), max(shape[1], values.shape[1]))
    grey = apply_window(contours.enlarge_values(values, fine), request.effective_window())
    wanted = np.array([0, *(s.id for s in request.structures)])
    kept = np.where(np.isin(labels, wanted), labels, 0)
    return view, grey, contours.enlarge_labels(kept, shape)


def _shapes(request: FigureRequest, enlarged: np.ndarray, view: _View, labels: np.ndarray) -> list[_Shape]:
    """The requested structures that the image shows, in image pixels, in the order of the request."""
    shapes = []
    pixel_cm2 = request.pixel_mm[0] * request.pixel_mm[1] / 100
    for structure in request.structures:
        mask = enlarged == structure.id
        if not mask.any():
            continue
        point = contours.anchor(mask)
        whole = enlarged > 0 if structure.key == "body" else mask
        area = float((labels == structure.id).sum()) * pixel_cm2
        shapes.append(_Shape(structure, contours.outline(whole), (point.x, point.y), point.radius, area))
    return shapes


def _moved(shape: _Shape, view: _View) -> _Shape:
    """From image pixels to the canvas."""
    rings = tuple(ring + (view.x, view.y) for ring in shape.outline.rings)
    anchor = (shape.anchor[0] + view.x, shape.anchor[1] + view.y)
    return _Shape(shape.structure, contours.Outline(rings), anchor, shape.depth, shape.area_cm2)


def _to_label(shapes: Sequence[_Shape]) -> tuple[list[_Shape], list[_Shape]]:
    """Which structures get a leader, and which only the legend: where there are too many, the smallest."""
    named = [s for s in shapes if not s.is_context]
    keep = sorted(named, key=lambda s: -s.area_cm2)[: 2 * LABELS_PER_SIDE]
    return [s for s in named if s in keep], [s for s in named if s not in keep]


def _label_height(lines: panels.LabelLines) -> float:
    return _LINE_EN * len(lines.en) + _LINE_ZH * len(lines.zh)


def _draw_image(svg: Svg, view: _View, png: bytes, shapes: Sequence[_Shape]) -> None:
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


def _draw_label(
    svg: Svg, view: _View, shape: _Shape, placement: Placement, lines: panels.LabelLines
) -> None:
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
    height = _label_height(lines)
    left = stub[0] if outward > 0 else stub[0] - _BAR
    svg.rectangle(left, port_y - height / 2, _BAR, height, rx=1.5, fill=shape.structure.colour)
    text_x = stub[0] + outward * (_BAR + _BAR_GAP)
    align = "start" if outward > 0 else "end"
    baseline = port_y - height / 2
    for line in lines.en:
        svg.text(text_x, baseline + 13, line, 13.5, weight="bold", fill=INK, align=align)
        baseline += _LINE_EN
    for line in lines.zh:
        svg.text(text_x, baseline + 12.5, line, 13, fill=MUTED if lines.en else INK, align=align, language="zh-CN")
        baseline += _LINE_ZH


def _draw_orientation(
    svg: Svg, view: _View, letters: tuple[str, str, str, str], placements: Sequence[Placement]
) -> None:
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


def _sidecar(
    request: FigureRequest, name: str, shapes: Sequence[_Shape], labelled: Sequence[_Shape], svg: bytes, png: bytes
) -> dict[str, Any]:
    named = {s.structure.id for s in labelled}
    facts = request.facts()
    return {
        "format": "medillus-figure",
        "format_version": SIDECAR_VERSION,
        "figure": name,
        "request": facts,
        "title": captions.title(request)._asdict(),
        "caption": captions.caption(request, len([s for s in shapes if not s.is_context]) - len(named))._asdict(),
        "warning": captions.warning(request)._asdict(),
        "confidence_note": wording.FOOTNOTE._asdict(),
        "structures": [
            {
                "id": s.structure.id,
                "key": s.structure.key,
                "name": {"en": s.structure.name_en, "zh": s.structure.name_zh},
                "code": s.structure.code or None,
                "code_system": "SNOMED CT" if s.structure.code else None,
                "meaning": s.structure.meaning or None,
                "laterality": s.structure.laterality or None,
                "colour": s.structure.colour,
                "confidence": facts["confidences"].get(str(s.structure.id)),
                "area_cm2": round(s.area_cm2, 2),
                "labelled": s.structure.id in named,
            }
            for s in shapes
        ],
        "not_shown": [s.key for s in request.structures if s.id not in {x.structure.id for x in shapes}],
        "files": {
            "svg": {"sha256": hashlib.sha256(svg).hexdigest(), "bytes": len(svg)},
            "png": {"sha256": hashlib.sha256(png).hexdigest(), "bytes": len(png)},
        },
    }
