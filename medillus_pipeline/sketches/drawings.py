"""Drawings of a dataset's slices, in numbers: what a sketch segmenter is trained, calibrated and measured on.

How one is drawn is in `drawing.py`, what the sheet does to it in `sheet.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.sketches.config import DrawingConfig
from medillus_pipeline.sketches.drawing import draw
from medillus_pipeline.sketches.ink import ink_of
from medillus_pipeline.sketches.outlines import Outline, body_outline, organ_outlines
from medillus_pipeline.sketches.sheet import photographed


@dataclass(frozen=True)
class Sitter:
    """A slice to be drawn: its organs' outlines, the body's or None, and its level along the body."""

    organs: tuple[Outline, ...]
    body: Outline | None
    level: float


@dataclass(frozen=True)
class Drawings:
    """n drawings: `ink` (n, 2·side, 2·side) as read off the sheet, `labels` (n, side, side) as drawn, `levels` (n,)."""

    ink: np.ndarray
    labels: np.ndarray
    levels: np.ndarray


def sitters(dataset: Dataset, config: DrawingConfig, rows: np.ndarray | None = None) -> list[Sitter]:
    """The slices of these row numbers (all without) with at least one organ to draw."""
    found = []
    for row in range(len(dataset)) if rows is None else rows.tolist():
        organs = organ_outlines(np.asarray(dataset.labels[row]), least_pixels=config.least_pixels)
        if organs:
            ct = dataset.rows[row]["modality"] == "CT"
            body = body_outline(np.asarray(dataset.values[row])) if ct else None
            found.append(Sitter(tuple(organs), body, float(dataset.rows[row]["level"])))
    return found


def drawn(
    chosen: Sequence[Sitter],
    side: int,
    random: np.random.Generator,
    config: DrawingConfig,
    *,
    gaps: float | None = None,
    everything: bool = False,
) -> Drawings:
    """A drawing of each of these slices, photographed and read off again or plain; arguments as of `draw`."""
    ink = np.zeros((len(chosen), 2 * side, 2 * side), np.float32)
    labels = np.zeros((len(chosen), side, side), np.uint8)
    for place, sitter in enumerate(chosen):
        drawing = draw(sitter.organs, side, random, config, body=sitter.body, gaps=gaps, everything=everything)
        photo = random.random() < config.photographed
        ink[place] = ink_of(photographed(drawing.ink, random, config), dark=True) if photo else drawing.ink
        labels[place] = drawing.labels
    return Drawings(ink, labels, np.array([sitter.level for sitter in chosen], np.float32))
