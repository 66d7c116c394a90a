"""What a label map cannot hold: structures that others cover, planning targets, unions. Kept as layers in a side table.

A label map has one structure a pixel. Each structure that is not wholly visible in it is kept beside it as it was
drawn, cut to its box and run-length encoded, so that nothing an annotator drew is lost. Which structure wins a pixel is
not decided here (`label_map.py`).
"""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np

from medillus_pipeline.annotation.label_map import Region


class Covered(StrEnum):
    """Why a structure is not wholly visible in its label map."""

    OVERLAP = "overlap"
    """Others won some or all of its pixels."""
    PLANNING_TARGET = "planning_target"
    """CTV, PTV, ITV: never in a label map."""
    UNION_OF_PARTS = "union_of_parts"
    """All its parts are drawn in the same item."""


def run_lengths(mask: np.ndarray) -> list[int]:
    """Lengths of the runs of a bool mask (height, width) in row-major order, outside and inside in turn.

    The first run counts pixels outside and may be 0. The lengths sum to height x width.
    """
    flat = np.asarray(mask, bool).ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.concatenate(([0], changes, [flat.size]))).tolist()
    return [0, *lengths] if flat.size and flat[0] else lengths


def mask_of(runs: Sequence[int], height: int, width: int) -> np.ndarray:
    """The inverse of `run_lengths`: a bool mask (height, width). Raises ValueError when the runs do not fill it."""
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(height, width)


def layer_of(region: Region) -> dict[str, int | list[int]]:
    """The columns of MASK_LAYERS that hold a region: its box and its runs."""
    height, width = region.mask.shape
    return {
        "top": region.top,
        "left": region.left,
        "height": height,
        "width": width,
        "runs": run_lengths(region.mask),
    }


def region_of(row: dict) -> Region:
    """The region that a row of MASK_LAYERS holds."""
    return Region(int(row["top"]), int(row["left"]), mask_of(row["runs"], int(row["height"]), int(row["width"])))
