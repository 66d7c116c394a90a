"""The structures in a network's answer that the ink bears out: specks and inventions are left out.

Whose name a drawer gave is not asked here: see `reading.py`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

LEAST_PIXELS = 3
LEAST_INKED = 0.3
"""Share of a part's border that must lie on a stroke: a drawing with a third of its lines missing keeps two."""

SECOND_PART = 0.15
"""Share of a structure's largest part below which a further part is a speck."""

DOUBT_PIXELS = 2.0
"""Pixels of doubt that a structure's score is shrunk by: most inventions cover few pixels."""

CROSS = ndimage.generate_binary_structure(2, 1)
EIGHT_NEIGHBOURS = np.ones((3, 3), bool)


@dataclass(frozen=True)
class Found:
    """A structure in a drawing: its class index from 1, its mask (h, w), its score.

    The score is the mean probability over the mask, as if two further pixels had probability zero.
    """

    index: int
    mask: NDArray[np.bool_]
    score: float


def found_in(probability: NDArray[np.floating], ink: NDArray[np.floating]) -> list[Found]:
    """Structures in probabilities (classes + 1, h, w) that ink (2h, 2w) bears out, in the order of the classes."""
    labels = probability.argmax(0)
    height, width = labels.shape
    stroke = np.asarray(ink).reshape(height, 2, width, 2).max((1, 3)) > 0.3
    near = np.asarray(ndimage.binary_dilation(stroke, EIGHT_NEIGHBOURS), bool)
    found = []
    for index in np.unique(labels[labels > 0]).tolist():
        mask = _borne_out(labels == index, near)
        if mask.any():
            found.append(Found(index, mask, float(probability[index][mask].sum() / (mask.sum() + DOUBT_PIXELS))))
    return found


def _borne_out(mask: NDArray[np.bool_], near: NDArray[np.bool_]) -> NDArray[np.bool_]:
    numbered, count = ndimage.label(mask, EIGHT_NEIGHBOURS)  # pyright: ignore[reportGeneralTypeIssues]
    sizes = np.bincount(numbered.ravel())[1:]
    kept = np.zeros(mask.shape, bool)
    for part in range(1, count + 1):
        own = numbered == part
        border = own & ~np.asarray(ndimage.binary_erosion(own, CROSS), bool)
        large = sizes[part - 1] >= max(LEAST_PIXELS, SECOND_PART * sizes.max())
        if large and near[border].mean() >= LEAST_INKED:
            kept |= own
    return kept
