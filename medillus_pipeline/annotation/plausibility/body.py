"""Where the body is on one CT slice, on a coarse grid: enough to say whether a structure lies in it.

What is not here: the body in the canonical frame of training (`generation/canonical.py`), which has to leave the table
out. Here the table may stay: it makes the judgement milder, never harsher.
"""

from dataclasses import dataclass

import numpy as np

BODY_HU = -300.0
"""Above it is body: halfway between fat and lung."""
GRID_MM = 3.0
LEAST_PART_MM2 = 100.0
"""Parts of less than that (bedding, tubes) are not body; a finger is."""
CUT_MM = 12.0
"""Length of contact with the edge of what was scanned from which the body counts as cut there."""


@dataclass(frozen=True)
class Body:
    """`inside` (grid rows, grid columns) bool: body with what it encloses and one cell of margin for the skin.

    `step` is (rows, columns) of the slice per cell; `middle` the centre (column, row) of the largest part, in pixels;
    `cut` whether the body reaches the edge of what was scanned. `middle` is None for an empty slice.
    """

    inside: np.ndarray
    step: tuple[int, int]
    middle: tuple[float, float] | None
    cut: bool

    def within(self, window: tuple[slice, slice]) -> np.ndarray:
        """(height, width) bool: which pixels of a part of the slice lie in the body."""
        rows, columns = (np.arange(s.start, s.stop) // step for s, step in zip(window, self.step, strict=True))
        return self.inside[rows][:, columns]


def find_body(values: np.ndarray, spacing: tuple[float, float]) -> Body | None:
    """The body on a slice of HU (rows, columns), NaN where nothing was measured; `spacing` row and column pitch in mm.

    A round field of view without marked padding is recognised by its corners: all four hold one value, of air or less.
    None for a slice on which nothing was measured.
    """
    from scipy import ndimage

    step = tuple(max(1, round(GRID_MM / pitch)) for pitch in spacing)
    cell = [pitch * n for pitch, n in zip(spacing, step, strict=True)]
    coarse = _blocks(values, (step[0], step[1]))
    corner = float(values[0, 0])
    same = corner <= -1000 and bool((values[[0, 0, -1, -1], [0, -1, 0, -1]] == corner).all())
    unmeasured = np.isnan(coarse) | (coarse == corner) if same else np.isnan(coarse)
    if unmeasured.all():
        return None
    over = np.nan_to_num(coarse, nan=-np.inf) > BODY_HU
    parts = np.zeros(over.shape, np.int32)
    ndimage.label(over, output=parts)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    kept = (sizes * cell[0] * cell[1] >= LEAST_PART_MM2)[parts]
    filled = _filled(kept)
    edge = np.ones(over.shape, bool)
    edge[1:-1, 1:-1] = False
    edge |= np.asarray(ndimage.binary_dilation(unmeasured))
    ndimage.label(filled, output=parts)
    rows, columns = np.nonzero(parts == 1 + np.bincount(parts.ravel())[1:].argmax()) if kept.any() else ([], [])
    middle = ((np.mean(columns) + 0.5) * step[1] - 0.5, (np.mean(rows) + 0.5) * step[0] - 0.5) if len(rows) else None
    return Body(
        inside=np.asarray(ndimage.binary_dilation(filled)),
        step=(step[0], step[1]),
        middle=None if middle is None else (float(middle[0]), float(middle[1])),
        cut=bool(np.count_nonzero(kept & edge) * min(cell) >= CUT_MM),
    )


def _filled(parts: np.ndarray) -> np.ndarray:
    """With the holes that no way of air leads out of; labelling the air does in one pass what dilation does in many."""
    from scipy import ndimage

    air = np.zeros([n + 2 for n in parts.shape], np.int32)
    ndimage.label(~np.pad(parts, 1), output=air)
    return (air != air[0, 0])[1:-1, 1:-1]


def _blocks(values: np.ndarray, step: tuple[int, int]) -> np.ndarray:
    """Means over cells; the last ones are filled up with their nearest values. A cell with a NaN is NaN."""
    height, width = values.shape
    padded = np.pad(values, ((0, -height % step[0]), (0, -width % step[1])), mode="edge")
    return padded.reshape(padded.shape[0] // step[0], step[0], padded.shape[1] // step[1], step[1]).mean((1, 3))
