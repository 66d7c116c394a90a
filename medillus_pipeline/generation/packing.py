"""The labelled slices of one series, packed in the canonical frame.

Runs in worker processes, so everything passed in and out can be pickled. Which slices and masks are taken is decided
before (`dataset.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medillus_pipeline.dicom.png import decode_png
from medillus_pipeline.generation import canonical
from medillus_pipeline.generation.series_frame import SeriesFrame, height
from medillus_pipeline.zones import Zone


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


@dataclass(frozen=True)
class PackedSlice:
    """A slice in the canonical frame: `values` (size, size) int16, `labels` (size, size) uint8 vocabulary ids."""

    slice_name: str
    values: np.ndarray
    labels: np.ndarray
    level: float
    affine: np.ndarray
    body_fraction: float
    mean: float


def pack_series(job: SeriesJob) -> list[PackedSlice]:
    """The labelled slices of the series, feet to head."""
    series = SeriesFrame(job.slices, job.clean, modality=job.modality, size=job.size, field_of_view=job.field_of_view)
    heights = [height(row) for row in series.ordered]
    span = max(heights) - min(heights)
    packed = []
    for row, z in zip(series.ordered, heights, strict=True):
        mask_row = job.masks.get(row["slice_name"])
        if mask_row is None:
            continue
        label_map = decode_png(job.clean.read(mask_row["path"]))
        found = series.slice(row, label_map > 0)
        inside = found.inside
        packed.append(
            PackedSlice(
                slice_name=row["slice_name"],
                values=found.values,
                labels=canonical.resample_labels(label_map, found.grid, found.k),
                level=(z - min(heights)) / span if span else 0.5,
                affine=series.frame.affine(z),
                body_fraction=float(found.body_share.mean()),
                mean=float(found.resampled[inside].mean()) if inside.any() else float(found.resampled.mean()),
            )
        )
    return packed
