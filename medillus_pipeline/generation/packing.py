"""One series into the canonical frame: read its instances, find the body, resample values and label maps.

Runs in worker processes, so everything passed in and out can be pickled. Which slices and masks are taken is decided
before (`dataset.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medillus_pipeline.dicom.geometry import slice_to_lps_affine
from medillus_pipeline.dicom.png import decode_png
from medillus_pipeline.dicom.slice_values import SliceValues
from medillus_pipeline.generation import canonical
from medillus_pipeline.zones import Zone

SURVEYED_SLICES = 12
"""So many slices, evenly spaced over the series, tell where the body is and how values are scaled."""


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


def affine_of(row: dict[str, Any]) -> np.ndarray:
    """(4, 4), (column, row, 0, 1) → LPS mm, of a row of `slices` that has its geometry."""
    return slice_to_lps_affine(row["position"], row["orientation"], row["pixel_spacing"])


def pack_series(job: SeriesJob) -> list[PackedSlice]:
    """The labelled slices of the series, feet to head."""
    reader = SliceValues(job.clean, canonical.AIR if job.modality == "CT" else None)
    rows = sorted(job.slices, key=lambda row: (_height(row), row["slice_name"]))
    survey = [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, SURVEYED_SLICES).round().astype(int))]
    surveyed = [reader.values(row) for row in survey]
    scale = None
    if job.modality != "CT":
        scale = canonical.series_scale(np.concatenate([values.ravel()[::7] for values in surveyed]))
    outside = canonical.AIR if scale is None else canonical.NORMALISED_RANGE[0]
    threshold = canonical.BODY_THRESHOLD_HU if scale is None else canonical.NORMALISED_BODY_THRESHOLD

    boxes = []
    for row, values in zip(survey, surveyed, strict=True):
        mask = canonical.body_mask(_scaled(values, scale), tuple(row["pixel_spacing"]), threshold)
        box = canonical.body_box(mask, affine_of(row))
        boxes += [box] if box is not None else []
    frame = canonical.Frame(job.size, job.field_of_view, *_centre(boxes, rows))

    heights = [_height(row) for row in rows]
    span = max(heights) - min(heights)
    packed = []
    for row, height in zip(rows, heights, strict=True):
        mask_row = job.masks.get(row["slice_name"])
        if mask_row is None:
            continue
        values = np.maximum(_scaled(reader.values(row), scale), outside)
        body = canonical.body_mask(values, tuple(row["pixel_spacing"]), threshold)
        label_map = decode_png(job.clean.read(mask_row["path"]))
        grid, k = canonical.source_grid(affine_of(row), frame)
        resampled = canonical.resample_values(np.where(body | (label_map > 0), values, outside), grid, k, outside)
        body_share = canonical.resample_values(body, grid, k, 0.0)
        inside = body_share >= 0.5
        packed.append(
            PackedSlice(
                slice_name=row["slice_name"],
                values=np.rint(np.clip(resampled, -32768, 32767)).astype(np.int16),
                labels=canonical.resample_labels(label_map, grid, k),
                level=(height - min(heights)) / span if span else 0.5,
                affine=frame.affine(height),
                body_fraction=float(body_share.mean()),
                mean=float(resampled[inside].mean()) if inside.any() else float(resampled.mean()),
            )
        )
    return packed


def _height(row: dict[str, Any]) -> float:
    """z in LPS mm of the slice's middle."""
    middle = affine_of(row) @ np.array([(row["columns"] - 1) / 2, (row["rows"] - 1) / 2, 0, 1])
    return float(middle[2])


def _scaled(values: np.ndarray, scale: tuple[float, float] | None) -> np.ndarray:
    return values if scale is None else canonical.normalised(values, scale)


def _centre(boxes: list[tuple[float, float, float, float]], rows: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """The middle of the median body box, or of the first slice where no body was found; (x, y) in LPS mm."""
    if boxes:
        left, right, front, back = np.median(np.array(boxes), axis=0)
        return float(left + right) / 2, float(front + back) / 2
    middle = affine_of(rows[0]) @ np.array([(rows[0]["columns"] - 1) / 2, (rows[0]["rows"] - 1) / 2, 0, 1])
    return float(middle[0]), float(middle[1])
