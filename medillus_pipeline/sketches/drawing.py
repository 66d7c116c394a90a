"""A hand drawing synthesised from outlines: an unsteady hand, gaps, a pen, and organs that are left out.

Every draw comes from the generator that is passed in. What the sheet and its light do to the drawing is in `sheet.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from medillus_pipeline.sketches.config import DrawingConfig
from medillus_pipeline.sketches.outlines import BODY, POINTS, Outline, enclosed_area

FINE = 3
"""Pixels along a side that are rendered for each pixel of ink."""

OVER = 2
"""Pixels of ink for each pixel of the label map, along a side."""


@dataclass(frozen=True)
class Drawing:
    """`ink` (2·side, 2·side) float32, 0 sheet and 1 stroke; `labels` (side, side) uint8: the regions as drawn.

    `labels` holds class indices of the drawn organs only, each within its contour as the hand led it, gaps closed.
    """

    ink: NDArray[np.float32]
    labels: NDArray[np.uint8]


def draw(
    outlines: Sequence[Outline],
    side: int,
    random: np.random.Generator,
    config: DrawingConfig,
    *,
    body: Outline | None = None,
    gaps: float | None = None,
    everything: bool = False,
) -> Drawing:
    """A drawing of some of these organs in a frame of `side` pixels; the same generator state, the same drawing.

    `gaps` fixes the share of every contour that is left out, else it is drawn up to `config.gaps`. `everything` leaves
    no organ out. Organs are drawn from the largest to the smallest, and the later lies on top.
    """
    chosen = list(outlines) if everything else _some(outlines, random, config)
    share = config.gaps * np.sqrt(random.random()) if gaps is None else gaps
    pen = random.uniform(*config.stroke) * side * OVER * FINE
    place = _placement(side, random, config)
    unit = OVER * FINE
    strokes = Image.new("L", (side * unit, side * unit), 0)
    regions = Image.new("L", (side * unit, side * unit), 0)
    on_strokes, on_regions = ImageDraw.Draw(strokes), ImageDraw.Draw(regions)
    if body is not None and random.random() < config.body:
        curve = place(_by_hand(body, side, random, config)) * unit
        _stroke(on_strokes, curve, pen, share, side * unit, random, config)
    for each in chosen:
        curve = place(_by_hand(each, side, random, config)) * unit
        on_regions.polygon([(x, y) for x, y in curve.tolist()], fill=each.label)
        _stroke(on_strokes, curve, pen, share, side * unit, random, config)
    if random.random() < config.stray:
        _stray(on_strokes, side * unit, pen, random)
    ink = (np.asarray(strokes.reduce(FINE)) / 255).astype(np.float32)
    labels = np.asarray(regions)[unit // 2 :: unit, unit // 2 :: unit]
    return Drawing(ink, np.ascontiguousarray(labels))


def _some(outlines: Sequence[Outline], random: np.random.Generator, config: DrawingConfig) -> list[Outline]:
    """All organs, or some of them, at least one; all parts of an organ share its fate."""
    labels = sorted({each.label for each in outlines})
    if not labels or random.random() < config.whole:
        return list(outlines)
    kept = random.random(len(labels)) < random.uniform(config.least_kept, 1)
    kept[random.integers(len(labels))] = True
    wanted = {label for label, keep in zip(labels, kept, strict=True) if keep}
    return [each for each in outlines if each.label in wanted]


def _placement(side: int, random: np.random.Generator, config: DrawingConfig):
    """The map that the whole drawing goes through: turned, scaled, shifted and a little bent."""
    angle = np.deg2rad(random.uniform(-1, 1) * config.rotation_degrees)
    zoom = 1 + random.uniform(-1, 1, 2) * config.scale * np.array([1.0, 1.0])
    zoom = zoom * 0.5 + zoom.mean() * 0.5
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) * zoom
    shift = random.uniform(-1, 1, 2) * config.shift * side
    waves = random.normal(0, 1, (2, 3, 2)) * 2 * np.pi / side
    phase = random.uniform(0, 2 * np.pi, (2, 3))
    bend = config.bend * side / np.sqrt(1.5)

    def placed(points: NDArray[np.float64]) -> NDArray[np.float64]:
        moved = (points - side / 2) @ turn + side / 2 + shift
        bent = [np.sin(points @ waves[axis].T + phase[axis]).sum(1) / np.sqrt(3) for axis in range(2)]
        return moved + bend * np.stack(bent, 1)

    return placed


def _by_hand(outline: Outline, side: int, random: np.random.Generator, config: DrawingConfig) -> NDArray[np.float64]:
    """The outline as a hand leads it: a smooth wobble of a few waves, the organ a little off in size and place."""
    middle = outline.centre
    radius = np.sqrt(max(enclosed_area(outline.points), 1e-6) / np.pi)
    zoom = 1.0 if outline.label == BODY else max(1.0, config.least_radius * side / radius)
    radius *= zoom
    zoom *= 1 + random.uniform(-1, 1) * config.organ_scale
    around = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    amplitude = min(config.wobble * side, radius / 6)
    waves = np.arange(2, 7)
    size = random.normal(0, 1, (2, len(waves), 2)) / waves[None, :, None]
    wobble = np.einsum("pk,akt->pat", np.cos(np.outer(around, waves)), size[..., :1]) + np.einsum(
        "pk,akt->pat", np.sin(np.outer(around, waves)), size[..., 1:]
    )
    shift = random.uniform(-1, 1, 2) * min(config.organ_shift * side, radius / 2)
    return middle + (outline.points - middle) * zoom + amplitude * wobble[..., 0] + shift


def _stroke(
    image: ImageDraw.ImageDraw,
    curve: NDArray[np.float64],
    pen: float,
    gaps: float,
    side: int,
    random: np.random.Generator,
    config: DrawingConfig,
) -> None:
    """Lead the pen along the curve, lifting it over the gaps; its pressure comes and goes."""
    steps = 2 * POINTS
    places = np.linspace(0, POINTS, steps + 1)
    closed = np.concatenate([curve, curve[:1]])
    path = np.stack([np.interp(places, np.arange(POINTS + 1), closed[:, axis]) for axis in range(2)], 1)
    unsteady = random.normal(0, config.tremor * side, (steps + 1, 2))
    path = path + (unsteady + np.roll(unsteady, 1, 0)) / 2
    down = ~_lifted(steps, gaps, random)
    pressure = 1 + 0.25 * np.sin(places / POINTS * 2 * np.pi * random.uniform(0.5, 3) + random.uniform(0, 2 * np.pi))
    widths = np.where(down, np.maximum(1, np.rint(pen * pressure[:-1])), 0).astype(int)
    # One call for each run of one width: a call for each step is most of the time that training takes.
    ends = np.concatenate([np.flatnonzero(np.diff(widths)) + 1, [steps]])
    start = 0
    for end in ends.tolist():
        width = int(widths[start])
        if width:
            image.line(path[start : end + 1].ravel().tolist(), fill=255, width=width)
            for x, y in path[[start, end]].tolist() if width > 3 else []:
                image.ellipse([x - width / 2, y - width / 2, x + width / 2, y + width / 2], fill=255)
        start = end


def _lifted(steps: int, gaps: float, random: np.random.Generator) -> NDArray[np.bool_]:
    """(steps,): where the pen is up; `gaps` of all steps, in one to four gaps at random places."""
    total = round(gaps * steps)
    count = min(int(random.integers(1, 5)), max(total, 1))
    lifted = np.zeros(steps, bool)
    if not total:
        return lifted
    lengths = np.diff(np.concatenate([[0], np.sort(random.integers(0, total + 1, count - 1)), [total]]))
    free = steps - total
    between = np.sort(random.integers(0, free + 1, count)) + np.concatenate([[0], np.cumsum(lengths)[:-1]])
    for start, length in zip(between, lengths, strict=True):
        lifted[start : start + length] = True
    return np.roll(lifted, int(random.integers(steps)))


def _stray(image: ImageDraw.ImageDraw, side: int, pen: float, random: np.random.Generator) -> None:
    """One to three short strokes that belong to no organ: a slip of the pen, a leader line."""
    for _ in range(int(random.integers(1, 4))):
        start = random.uniform(0.05, 0.95, 2) * side
        end = start + random.normal(0, 0.06, 2) * side
        image.line([*start.tolist(), *end.tolist()], fill=255, width=max(1, round(pen)))
