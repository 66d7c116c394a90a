"""Scenes that the tests of figures share: ellipses as organs on the coarse grid of the generator."""

from typing import Any

import numpy as np

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.illustration.request import FigureRequest

ORGANS = (
    ("body", 0.5, 0.5, 0.41, 0.29, 50),
    ("liver", 0.32, 0.43, 0.17, 0.18, 110),
    ("stomach", 0.68, 0.40, 0.11, 0.10, 60),
    ("spleen", 0.77, 0.52, 0.07, 0.09, 120),
    ("vertebrae_L1", 0.50, 0.66, 0.06, 0.06, 300),
    ("kidney_right", 0.34, 0.64, 0.055, 0.07, 160),
    ("kidney_left", 0.67, 0.65, 0.055, 0.07, 160),
    ("aorta", 0.52, 0.56, 0.03, 0.03, 180),
    ("pancreas", 0.55, 0.47, 0.08, 0.025, 90),
    ("adrenal_gland_left", 0.60, 0.57, 0.016, 0.02, 40),
)


def scene(size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """HU int16 and vocabulary ids uint8, (size, size)."""
    words = vocabulary.load()
    row, column = np.mgrid[:size, :size] / size
    values = np.full((size, size), -1000, np.int16)
    labels = np.zeros((size, size), np.uint8)
    for key, x, y, across, down, hu in ORGANS:
        inside = ((column - x) / across) ** 2 + ((row - y) / down) ** 2 < 1
        values[inside] = hu
        labels[inside] = words.by_key(key).id
    return values, labels


def request(**changes: Any) -> FigureRequest:
    """A request for the scene, with anything changed."""
    words = vocabulary.load()
    values, labels = scene()
    ids = [int(i) for i in np.unique(labels) if i]
    standard: dict[str, Any] = {
        "image": values,
        "labels": labels,
        "structures": tuple(words.by_id(i) for i in ids),
        "confidences": {i: 0.5 + 0.4 * n / len(ids) for n, i in enumerate(ids)},
        "modality": "CT",
        "body_part": "ABDOMEN",
        "level": 0.62,
        "pixel_mm": (6.4, 6.4),
        "source": "generated",
        "slice_name": "s-0123456789abcdef-0001",
        "patient": "p-0123456789abcdef",
        "split": "validation",
        "model_name": "medillus-generator",
        "model_version": "3",
        "dataset_fingerprint": "1a2b3c4d5e6f708192a3",
        "seed": 42,
        "steps": 25,
        "code_version": "0.1.0",
        "vocabulary_version": words.version,
        "run_ids": {"mlflow": "0f0f", "dagster": "a1b2"},
    }
    return FigureRequest(**(standard | changes))
