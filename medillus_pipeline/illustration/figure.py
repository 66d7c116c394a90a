"""One labelled figure in its style: SVG, PNG, PDF and provenance sidecar; a quiz comes with its answer key.

Same request, same bytes. What is not here: what a page holds (`composition.py`), a page of several slices
(`summary.py`), where labels go (`layout.py`), shapes (`contours.py`), sentences (`captions.py`).
"""

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Any

from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration import captions, composition, styles
from medillus_pipeline.illustration.composition import Page
from medillus_pipeline.illustration.raster import PNG_ZOOM, render_png
from medillus_pipeline.illustration.request import SIDECAR_VERSION, FigureRequest, canonical_json

JOURNAL_DPI = 300.0


@dataclass(frozen=True)
class Figure:
    """A finished figure. `sidecar` is plain JSON data; `sidecar_json()` its bytes.

    `answer_key` is the SVG of a quiz's answers, None for other styles.
    """

    name: str
    svg: bytes
    png: bytes
    sidecar: dict[str, Any]
    request: FigureRequest
    answer_key: bytes | None = None

    def sidecar_json(self) -> bytes:
        """The sidecar as it is to be stored."""
        return canonical_json(self.sidecar)

    def pdf(self) -> bytes:
        """The figure as PDF, text as text; a journal's in the four inks of print."""
        from medillus_pipeline.illustration.pdf import to_pdf

        return to_pdf(self.svg, inks=self.request.style == "journal")

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


def draw_figure(request: FigureRequest, *, zoom: float | None = None, dpi: float | None = None) -> Figure:
    """Draw a figure.

    Args:
        request: what to show, and in which style.
        zoom: pixels of the PNG to a user unit of the SVG; 1.5 where neither is given, but for a journal.
        dpi: resolution of the PNG on paper instead; 300 for a journal where neither is given.

    Raises:
        InputError: a text holds a character without a glyph, the resolution is out of range, or the style is `summary`,
            which takes several requests.
    """
    if request.style == "summary":
        raise InputError("a summary takes several requests: draw it with summary.draw_summary")
    name, look = request.name(), styles.look(request)
    page = composition.page(request, name, look)
    key = None
    if look.secret:
        key = composition.page(request, name, replace(look, secret=False, legend="codes")).svg
    if zoom is None and dpi is None and look.printed:
        dpi = JOURNAL_DPI
    png = render_png(page.svg, PNG_ZOOM if zoom is None else zoom, dpi=dpi)
    return Figure(name, page.svg, png, _sidecar(request, name, page, png, key), request, key)


def structure_facts(request: FigureRequest, page: Page) -> list[dict[str, Any]]:
    """What a sidecar tells of each structure that the page shows, ready for JSON."""
    scores = request.facts()["confidences"]
    return [
        {
            "id": s.structure.id,
            "key": s.structure.key,
            "name": {"en": s.structure.name_en, "zh": s.structure.name_zh},
            "code": s.structure.code or None,
            "code_system": "SNOMED CT" if s.structure.code else None,
            "meaning": s.structure.meaning or None,
            "laterality": s.structure.laterality or None,
            "colour": s.colour,
            "confidence": scores.get(str(s.structure.id)),
            "area_cm2": round(s.area_cm2, 2),
            "greatest_diameter_mm": round(s.diameter_mm, 1),
            "labelled": s.structure.id in page.labelled,
            **({"number": page.numbers[s.structure.id]} if s.structure.id in page.numbers else {}),
        }
        for s in page.shapes
    ]


def file_facts(data: bytes) -> dict[str, Any]:
    """SHA-256 and size of a file."""
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def _sidecar(request: FigureRequest, name: str, page: Page, png: bytes, key: bytes | None) -> dict[str, Any]:
    shown = {s.structure.id for s in page.shapes}
    return {
        "format": "medillus-figure",
        "format_version": SIDECAR_VERSION,
        "figure": name,
        "request": request.facts(),
        "title": captions.title(request)._asdict(),
        "caption": page.caption._asdict(),
        "warning": captions.warning(request)._asdict(),
        "confidence_note": captions.confidence_note(request)._asdict(),
        "palette": {
            "name": request.palette,
            "least_distance": None if page.least_distance is None else round(page.least_distance, 1),
        },
        "structures": structure_facts(request, page),
        "pathologies": [
            {
                "key": p.key,
                "name": {"en": p.name_en, "zh": p.name_zh},
                "icd11": p.icd11 or None,
                "title": p.title or None,
            }
            for p in request.pathologies
        ],
        "not_shown": [s.key for s in request.structures if s.id not in shown],
        "files": {
            "svg": file_facts(page.svg),
            "png": file_facts(png),
            **({"answer_key": file_facts(key)} if key is not None else {}),
        },
    }
