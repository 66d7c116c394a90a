"""One labelled figure: image, outlines, leader-line labels, legend, caption, scale; as SVG, PNG and provenance sidecar.

Same request, same bytes. What is not here: where labels go (`layout.py`), shapes (`contours.py`), sentences
(`captions.py`), strokes (`plate.py`), the panels around the image (`panels.py`).
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medillus_pipeline.dicom.png import encode_png
from medillus_pipeline.dicom.windows import apply_window
from medillus_pipeline.illustration import captions, contours, fonts, panels, plate
from medillus_pipeline.illustration.layout import LABELS_PER_SIDE, Columns, place_labels
from medillus_pipeline.illustration.panels import WIDTH, display_name
from medillus_pipeline.illustration.plate import Shape, View
from medillus_pipeline.illustration.request import SIDECAR_VERSION, FigureRequest, canonical_json
from medillus_pipeline.illustration.svg import Svg

IMAGE_WIDTH, IMAGE_HEIGHT = 640, 600
PNG_ZOOM = 1.5

_LABEL_WIDTH = 190.0
_LABEL_GAP = 9.0
_GUTTER = 24.0
_AIR_HU = -300.0


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


def draw_figure(request: FigureRequest, *, zoom: float = PNG_ZOOM) -> Figure:
    """Draw a figure; the PNG has `zoom` pixels per user unit of the SVG.

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
    pitch = max((plate.label_height(t) for t in texts), default=0.0) + _LABEL_GAP
    each = max(1, math.ceil(0.6 * len(labelled)))
    panel = max(view.height, each * pitch)
    view = View(view.x, top + (panel - view.height) / 2, view.width, view.height, view.per_mm)
    shapes = [s.moved(view) for s in shapes]
    labelled = [s for s in shapes if s.structure in {x.structure for x in labelled}]
    placements = place_labels(
        np.array([s.anchor for s in labelled]).reshape(-1, 2),
        Columns(view.x - _GUTTER, view.x + view.width + _GUTTER, top, top + panel),
        pitch,
    )
    plate.draw_image(svg, view, encode_png(grey), shapes)
    for shape, placement, lines in zip(labelled, placements, texts, strict=True):
        plate.draw_label(svg, view, shape, placement, lines)
    plate.draw_orientation(svg, view, request.orientation, placements)
    bottom = panels.scale_bar(svg, view.x, view.y + view.height + 8, view.width, view.per_mm)
    bottom = max(bottom, top + panel)
    listed = [s.structure for s in shapes]
    bottom = panels.caption(svg, bottom + 14, request, len(unplaced))
    bottom = panels.legend(svg, bottom + 16, request, listed)
    height = 2.0 * math.ceil(panels.footer(svg, bottom + 6, request, name) / 2)
    facts = request.facts()
    drawing = svg.document(
        height,
        title=f"{captions.title(request).en}: {', '.join(display_name(s.structure) for s in labelled)}",
        description=captions.caption(request, len(unplaced)).en,
        metadata=json.dumps({"figure": name, **facts}, sort_keys=True),
    )
    png = render_png(drawing, zoom)
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
) -> tuple[View, np.ndarray, np.ndarray]:
    """Place the crop on the canvas with true proportions; its greys and labels at that size (or finer)."""
    height_mm, width_mm = values.shape[0] * request.pixel_mm[0], values.shape[1] * request.pixel_mm[1]
    per_mm = min(IMAGE_WIDTH / width_mm, IMAGE_HEIGHT / height_mm)
    shape = (max(1, round(height_mm * per_mm)), max(1, round(width_mm * per_mm)))
    view = View((WIDTH - shape[1]) / 2, top, shape[1], shape[0], per_mm)
    fine = (max(shape[0], values.shape[0]), max(shape[1], values.shape[1]))
    grey = apply_window(contours.enlarge_values(values, fine), request.effective_window())
    wanted = np.array([0, *(s.id for s in request.structures)])
    kept = np.where(np.isin(labels, wanted), labels, 0)
    return view, grey, contours.enlarge_labels(kept, shape)


def _shapes(request: FigureRequest, enlarged: np.ndarray, view: View, labels: np.ndarray) -> list[Shape]:
    """The requested structures that the image shows, in image pixels, in the order of the request."""
    shapes = []
    pixel_cm2 = request.pixel_mm[0] * request.pixel_mm[1] / 100
    for structure in request.structures:
        mask = enlarged == structure.id
        if not mask.any():
            continue
        point = contours.anchor(mask)
        whole = enlarged > 0 if structure.key == "body" else mask
        area = float((labels > 0 if structure.key == "body" else labels == structure.id).sum()) * pixel_cm2
        shapes.append(Shape(structure, contours.outline(whole), (point.x, point.y), area))
    return shapes


def _to_label(shapes: Sequence[Shape]) -> tuple[list[Shape], list[Shape]]:
    """Which structures get a leader, and which only the legend: where there are too many, the smallest."""
    named = [s for s in shapes if not s.is_context]
    keep = sorted(named, key=lambda s: -s.area_cm2)[: 2 * LABELS_PER_SIDE]
    return [s for s in named if s in keep], [s for s in named if s not in keep]


def _sidecar(
    request: FigureRequest, name: str, shapes: Sequence[Shape], labelled: Sequence[Shape], svg: bytes, png: bytes
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
        "confidence_note": captions.confidence_note(request)._asdict(),
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
