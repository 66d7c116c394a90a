"""From a request's arrays to what a plate shows: the part with the body, its image at drawing size, and its shapes.

What is not here: where labels go (`layout.py`), strokes (`plate.py`), a page's layout (`composition.py`, `summary.py`).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from medillus_pipeline.annotation.vocabulary import Structure
from medillus_pipeline.dicom.png import encode_png
from medillus_pipeline.dicom.windows import apply_window
from medillus_pipeline.illustration import contours, measures, palette, print_colours, shading
from medillus_pipeline.illustration.plate import Shape, is_context
from medillus_pipeline.illustration.request import FigureRequest
from medillus_pipeline.illustration.styles import Look

_AIR_HU, _OUTSIDE_HU = -300.0, -1000
_PAPER_EDGE = 0.07


@dataclass(frozen=True)
class ScanView:
    """A slice at drawing size: `image` a PNG, `shapes` in its pixels, `per_mm` pixels to a millimetre.

    `neighbours` are the pairs of ids that touch, `least_distance` how far apart (ΔE) the closest of them are in the
    worst of four eyes.
    """

    image: bytes
    shapes: tuple[Shape, ...]
    width: int
    height: int
    per_mm: float
    neighbours: frozenset[palette.Pair]
    least_distance: float | None

    def recoloured(self, colours: Mapping[int, str]) -> "ScanView":
        """With other outline colours, by vocabulary id; the image stays."""
        shapes = tuple(replace(s, colour=colours.get(s.structure.id, s.colour)) for s in self.shapes)
        chosen = {s.structure.id: s.colour for s in shapes}
        return replace(self, shapes=shapes, least_distance=palette.least_distance(chosen, self.neighbours))


def view(request: FigureRequest, look: Look) -> ScanView:
    """The part of the frame with the body in it, with true proportions, as large as the look has room for."""
    rows, columns = _crop(request)
    values, labels = request.image[rows, columns], request.labels[rows, columns]
    if look.raster == "shaded" and request.modality == "CT":
        # The letters stand on paper beside the body, also where the frame ends at the skin.
        edge = max(1, round(_PAPER_EDGE * max(values.shape)))
        values = np.pad(values, edge, constant_values=_OUTSIDE_HU)
        labels = np.pad(labels, edge)
    height_mm, width_mm = values.shape[0] * request.pixel_mm[0], values.shape[1] * request.pixel_mm[1]
    per_mm = min(look.image_width / width_mm, look.image_height / height_mm)
    # Print is small on the page and fine on paper: shapes are found on a grid of their own.
    fineness = 2 if look.printed else 1
    shape = (max(1, round(height_mm * per_mm * fineness)), max(1, round(width_mm * per_mm * fineness)))
    wanted = np.array([0, *(s.id for s in _chosen(request, look, labels))])
    kept = np.where(np.isin(labels, wanted), labels, 0)
    enlarged = contours.enlarge_labels(kept, shape)
    shown = [s for s in request.structures if (enlarged == s.id).any()]
    named = [s for s in shown if not is_context(s)]
    pairs = palette.touching(np.where(np.isin(enlarged, [s.id for s in named]), enlarged, 0))
    colours = _colours(request, look, shown, named, pairs)
    shapes = tuple(
        _shape(request, s, enlarged, labels, colours[s.id], per_mm * fineness).scaled(1 / fineness) for s in shown
    )
    fine = (max(shape[0], values.shape[0]), max(shape[1], values.shape[1]))
    image = _image(request, look, contours.enlarge_values(values, fine), enlarged, colours, named)
    return ScanView(
        image,
        shapes,
        round(shape[1] / fineness),
        round(shape[0] / fineness),
        per_mm,
        frozenset(pairs),
        None if look.plain_words else palette.least_distance(colours, pairs),
    )


def _crop(request: FigureRequest) -> tuple[slice, slice]:
    """The part of the frame with the body in it."""
    return contours.body_box(request.image, request.labels, threshold=_threshold(request))


def _chosen(request: FigureRequest, look: Look, labels: np.ndarray) -> list[Structure]:
    """The structures to draw: all, or for patients lesions and the few largest organs, so that words stay few."""
    if look.most_drawn is None:
        return list(request.structures)
    areas = np.bincount(labels.ravel(), minlength=256)
    shown = [s for s in request.structures if areas[s.id] and not is_context(s)]
    rank = {"lesion": 0, "target": 0, "organ": 1}
    ranked = sorted(shown, key=lambda s: (rank.get(s.kind, 2), -int(areas[s.id]), s.id))
    return ranked[: look.most_drawn]


def _threshold(request: FigureRequest) -> float:
    window = request.effective_window()
    return _AIR_HU if request.modality == "CT" else window.center - window.width * 0.45


def _colours(
    request: FigureRequest,
    look: Look,
    shown: list[Structure],
    named: list[Structure],
    pairs: Collection[palette.Pair],
) -> dict[int, str]:
    backdrop = {s.id: s.colour for s in shown if is_context(s)}
    if look.plain_words:
        return backdrop | palette.for_patients(named)
    avoid = shading.GROUND if look.raster == "shaded" else ()
    chosen = backdrop | palette.colours(named, pairs, request.palette, avoid=avoid)
    return {i: print_colours.printed(c) for i, c in chosen.items()} if look.printed else chosen


def _shape(
    request: FigureRequest, structure: Structure, enlarged: np.ndarray, labels: np.ndarray, colour: str, per_mm: float
) -> Shape:
    mask = enlarged == structure.id
    point = contours.anchor(mask)
    whole = structure.key == "body"
    outline = contours.outline(enlarged > 0 if whole else mask)
    area = float((labels > 0 if whole else labels == structure.id).sum())
    area *= request.pixel_mm[0] * request.pixel_mm[1] / 100
    diameter = measures.greatest_diameter(outline.rings) / per_mm
    return Shape(structure, outline, (point.x, point.y), area, diameter, colour)


def _image(
    request: FigureRequest,
    look: Look,
    values: np.ndarray,
    enlarged: np.ndarray,
    colours: dict[int, str],
    named: list[Structure],
) -> bytes:
    grey = apply_window(values, request.effective_window())
    if look.raster == "grey":
        return encode_png(grey)
    if enlarged.shape != values.shape:
        rows = np.arange(values.shape[0]) * enlarged.shape[0] // values.shape[0]
        columns = np.arange(values.shape[1]) * enlarged.shape[1] // values.shape[1]
        enlarged = enlarged[rows[:, None], columns]
    kept = {s.id: colours[s.id] for s in named}
    drawn = np.where(np.isin(enlarged, list(kept)), enlarged, 0)
    # Only in CT is what is dark surely air: elsewhere it may be fluid, which is no paper.
    body = _body(values, _threshold(request)) if request.modality == "CT" else np.ones(values.shape, np.float32)
    return encode_png(shading.shaded(values, grey, drawn, kept, modality=request.modality, body=body))


def _body(values: np.ndarray, threshold: float) -> np.ndarray:
    """How much of each pixel is body, 0 to 1: the largest component above the threshold, holes filled, edge smoothed.

    What hangs on it by a thread (a table, a sheet) is cut off first.
    """
    thread = max(2, min(values.shape) // 90)
    solid = ndimage.binary_opening(values > threshold, iterations=thread)
    numbered = np.zeros(values.shape, np.int32)
    count = int(ndimage.label(solid, output=numbered))  # type: ignore[arg-type]
    if not count:
        return np.ones(values.shape, np.float32)
    largest = numbered == 1 + int(np.argmax(np.bincount(numbered.ravel())[1:]))
    filled = np.asarray(ndimage.binary_fill_holes(largest))
    smooth = ndimage.gaussian_filter(filled.astype(np.float32), thread)
    return np.clip((smooth - 0.5) * thread * 2.5 + 0.5, 0, 1)
