"""Two readers of one series: rows of MASKS and SLICES from arrays, for the tests of agreement and of reports."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline.dicom.png import encode_png
from medillus_pipeline.zones import Zone

A, B = "a-00000001", "a-00000002"


def square(top: int, left: int, size: int = 10, label: str = "liver", rows: int = 40, columns: int = 50) -> np.ndarray:
    """A label map with one square."""
    values = np.zeros((rows, columns), np.uint8)
    values[top : top + size, left : left + size] = load().by_key(label).id
    return values


def mask_row(
    clean: Zone, row: Mapping[str, Any], values: np.ndarray, annotator: str = A, **changes: Any
) -> dict[str, Any]:
    """A row of MASKS whose label PNG lies in the clean zone."""
    labels, areas = np.unique(values[values > 0], return_counts=True)
    payload = clean.put("masks", encode_png(values, load().palette()), ".png")
    return {
        "slice_name": row["slice_name"],
        "sop_instance_uid": row["sop_instance_uid"],
        "frame": row["frame"],
        "patient": row["patient"],
        "annotator": annotator,
        "revision": 1,
        "source_format": "labelme",
        "item": "i-000000000001",
        "rows": row["rows"],
        "columns": row["columns"],
        "labels": labels.tolist(),
        "areas": areas.tolist(),
        "overlap_pixels": 0,
        "path": payload.path,
        "sha256": payload.sha256,
    } | changes


def with_pictures(clean: Zone, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of SLICES with a picture each: a bright body with a darker right half."""
    grey = np.full((40, 50), 0, np.uint8)
    grey[3:37, 4:46] = 150
    grey[3:37, 4:25] = 110
    return [row | {"path": clean.put("slices", encode_png(grey), ".png").path} for row in rows]
