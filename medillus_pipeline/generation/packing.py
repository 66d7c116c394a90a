"""The labelled slices of one series, packed in the canonical frame, with their neighbours where they are asked for.

Runs in worker processes, so everything passed in and out can be pickled. Which slices and masks are taken is decided
before (`snapshot.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from medillus_pipeline.dicom.png import decode_png
from medillus_pipeline.generation import canonical
from medillus_pipeline.generation.series_frame import SeriesFrame, height
from medillus_pipeline.zones import Zone

SAME_HEIGHT_MM = 0.01
"""Slices no further apart than this lie at one height."""


@dataclass(frozen=True)
class SeriesJob:
    """A series: all its axial slices (rows of `slices`, by position), and which of them are packed with which mask."""

    clean: Zone
    slices: Sequence[dict[str, Any]]
    masks: dict[str, dict[str, Any]]
    """Rows of `masks` by slice name."""
    modality: str
    size: int
    field_of_view: float
    channels: int = 1
    """1, or 3 for the slices just below and above as well."""


@dataclass(frozen=True)
class PackedSlice:
    """A slice in the canonical frame: `values` (size, size) int16, `labels` (size, size) uint8 vocabulary ids, and
    `neighbours`, the values of the slices just below and just above, where they were asked for.
    """

    slice_name: str
    values: np.ndarray
    labels: np.ndarray
    level: float
    affine: np.ndarray
    body_fraction: float
    mean: float
    neighbours: tuple[np.ndarray, np.ndarray] | None = None


def pack_series(job: SeriesJob) -> list[PackedSlice]:
    """The labelled slices of the series, feet to head. Each slice is read once, whomever it is a neighbour of."""
    series = SeriesFrame(job.slices, job.clean, modality=job.modality, size=job.size, field_of_view=job.field_of_view)
    heights = [height(row) for row in series.ordered]
    span = max(heights) - min(heights)
    packed: dict[int, PackedSlice] = {}
    bare: dict[int, np.ndarray] = {}
    near = {
        number: adjacent(heights, number)
        for number, row in enumerate(series.ordered)
        if job.channels > 1 and row["slice_name"] in job.masks
    }
    beside = {number for pair in near.values() for number in pair}
    for number, (row, z) in enumerate(zip(series.ordered, heights, strict=True)):
        mask_row = job.masks.get(row["slice_name"])
        if mask_row is None:
            if number in beside:
                bare[number] = series.slice(row).values
            continue
        label_map = decode_png(job.clean.read(mask_row["path"]))
        found = series.slice(row, label_map > 0)
        inside = found.inside
        packed[number] = PackedSlice(
            slice_name=row["slice_name"],
            values=found.values,
            labels=canonical.resample_labels(label_map, found.grid, found.k),
            level=(z - min(heights)) / span if span else 0.5,
            affine=series.frame.affine(z),
            body_fraction=float(found.body_share.mean()),
            mean=float(found.resampled[inside].mean()) if inside.any() else float(found.resampled.mean()),
        )
    values = bare | {number: item.values for number, item in packed.items()}
    return [
        replace(item, neighbours=(values[near[number][0]], values[near[number][1]])) if number in near else item
        for number, item in packed.items()
    ]


def adjacent(heights: Sequence[float], number: int) -> tuple[int, int]:
    """Positions of the slices just below and just above slice `number` of `heights` (mm, ascending); at an end, its
    own. Slices at one height (phases of one series, say) are no neighbours of each other.
    """
    own = heights[number]
    below = next((k for k in range(number - 1, -1, -1) if own - heights[k] > SAME_HEIGHT_MM), number)
    above = next((k for k in range(number + 1, len(heights)) if heights[k] - own > SAME_HEIGHT_MM), number)
    return below, above
