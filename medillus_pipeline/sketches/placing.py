"""Where the drawing on a sheet lies in the model's frame: candidates, and the strokes and regions moved there.

The sheet says nothing of millimetres. A drawing is placed by its own extent, by the body's outline where there is one,
or by the page; which candidate fits is decided by the prior in `agreement.py`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medillus_pipeline.generation.prior import Prior

PEN = 0.0125
"""Width of the redrawn stroke as a share of the frame's side, the middle of those trained on."""

FINE = 3
LIKELY = 0.25
"""Occupancy from which a pixel is where a structure usually lies."""

AIR = 0
Box = tuple[float, float, float, float]
"""Top, bottom, left, right."""


@dataclass(frozen=True)
class Placement:
    """Sheet pixel (row, column) × `scale` + `shift` = place in pixels of the label map; then mirrored if `flip`."""

    scale: float
    shift: tuple[float, float]
    name: str
    flip: bool = False

    def moved(self, points: NDArray[np.number], side: int) -> NDArray[np.float64]:
        """(k, 2) rows and columns in pixels of the label map, of points (k, 2) on the sheet."""
        placed = np.asarray(points, np.float64) * self.scale + np.array(self.shift)
        return np.stack([placed[:, 0], side - placed[:, 1]], 1) if self.flip else placed


def candidates(lines: NDArray[np.bool_], prior: Prior, level: float | None) -> list[Placement]:
    """Placements worth trying: the page as the frame, the drawing's extent as the body's or as that of its organs."""
    height, width = lines.shape
    side = prior.occupancy.shape[-1]
    rows, columns = np.nonzero(lines)
    box: Box = (float(rows.min()), rows.max() + 1.0, float(columns.min()), columns.max() + 1.0)
    scale = side / max(height, width)
    page = Placement(scale, ((side - height * scale) / 2, (side - width * scale) / 2), "page")
    positions = len(prior.tissue)
    steps = np.linspace(0, positions - 1, 9).round().astype(int) if level is None else [round(level * (positions - 1))]
    found = [page]
    for step in steps:
        body = np.asarray(ndimage.binary_fill_holes(prior.tissue[step, AIR] < 0.5), bool)
        organs = np.nan_to_num(prior.occupancy[step]).max(0) > LIKELY
        for name, mask in (("body", body), ("organs", organs)):
            if mask.any():
                found.append(_onto(box, _box(mask), name))
    kept: list[Placement] = []
    for each in found:
        if not any(_alike(each, other, side) for other in kept):
            kept.append(each)
    return kept


def _box(mask: NDArray[np.bool_]) -> Box:
    rows, columns = np.nonzero(mask)
    return float(rows.min()), rows.max() + 1.0, float(columns.min()), columns.max() + 1.0


def _onto(box: Box, wanted: Box, name: str) -> Placement:
    """The uniform scale and shift that lay one box on another, middle on middle."""
    size, goal = (box[1] - box[0], box[3] - box[2]), (wanted[1] - wanted[0], wanted[3] - wanted[2])
    scale = float(np.sqrt(max(goal[0], 1) * max(goal[1], 1) / (size[0] * size[1])))
    middle, target = (
        ((box[0] + box[1]) / 2, (box[2] + box[3]) / 2),
        (
            (wanted[0] + wanted[1]) / 2,
            (wanted[2] + wanted[3]) / 2,
        ),
    )
    return Placement(scale, (target[0] - middle[0] * scale, target[1] - middle[1] * scale), name)


def _alike(a: Placement, b: Placement, side: int) -> bool:
    shift = np.hypot(a.shift[0] - b.shift[0], a.shift[1] - b.shift[1])
    return bool(abs(np.log(a.scale / b.scale)) < 0.05 and shift < 0.03 * side)


def placed_ink(lines: NDArray[np.bool_], placement: Placement, side: int) -> NDArray[np.float32]:
    """Ink (2·side, 2·side): the lines (h, w) of a sheet redrawn in the frame with one pen."""
    unit = 2 * FINE
    points = placement.moved(np.argwhere(lines) + 0.5, side) * unit
    cells = np.floor(points).astype(int)
    cells = cells[((cells >= 0) & (cells < side * unit)).all(1)]
    bare = np.ones((side * unit, side * unit), bool)
    bare[cells[:, 0], cells[:, 1]] = False
    if bare.all():
        return np.zeros((2 * side, 2 * side), np.float32)
    # On a small sheet neighbouring pixels land apart: the pen is then as wide as their distance.
    reach = max(PEN * side * unit / 2, placement.scale * unit * 0.75)
    stroke = ndimage.distance_transform_edt(bare) <= reach  # pyright: ignore[reportOperatorIssue]
    return stroke.reshape(2 * side, FINE, 2 * side, FINE).mean((1, 3)).astype(np.float32)


def placed_region(region: NDArray[np.bool_], placement: Placement, side: int) -> NDArray[np.bool_]:
    """(side, side): a region (h, w) of a sheet in the frame; a pixel belongs to it when its middle does."""
    middle = np.arange(side) + 0.5
    columns = side - middle if placement.flip else middle
    rows = np.floor((middle - placement.shift[0]) / placement.scale).astype(int)
    columns = np.floor((columns - placement.shift[1]) / placement.scale).astype(int)
    inside = ((rows >= 0) & (rows < region.shape[0]))[:, None] & ((columns >= 0) & (columns < region.shape[1]))[None]
    picked = region[np.clip(rows, 0, region.shape[0] - 1)][:, np.clip(columns, 0, region.shape[1] - 1)]
    return picked & inside
