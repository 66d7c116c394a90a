"""Small pictures of packed slices for people: grey values, coloured label maps, and sheets of both as PNG."""

from collections.abc import Sequence

import numpy as np

from medillus_pipeline.dicom.png import encode_png
from medillus_pipeline.generation.canonical import NORMALISED_RANGE

SHOWN_HU = (-125.0, 225.0)


def grey(values: np.ndarray, modality: str) -> np.ndarray:
    """(..., h, w) calibrated values as (..., h, w, 3) uint8; CT in a 50/350 HU window."""
    low, high = SHOWN_HU if modality == "CT" else NORMALISED_RANGE
    shown = np.rint(np.clip((np.asarray(values, np.float32) - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return np.repeat(shown[..., None], 3, -1)


def class_colours(classes: Sequence[int], palette: bytes) -> np.ndarray:
    """(classes + 1, 3) uint8, background black; `palette` holds three bytes for each vocabulary id."""
    colours = np.frombuffer(palette, np.uint8).reshape(-1, 3)[[0, *classes]].copy()
    colours[0] = 0
    return colours


def overlaid(picture: np.ndarray, labels: np.ndarray, colours: np.ndarray, strength: float = 0.45) -> np.ndarray:
    """A (..., h, w, 3) picture with the colours of (..., h, w) class indices laid over it."""
    share = np.where(labels[..., None] > 0, strength, 0.0)
    return np.rint(picture * (1 - share) + colours[labels] * share).astype(np.uint8)


def sheet(lines: Sequence[Sequence[np.ndarray]], *, enlarge: int = 2) -> bytes:
    """A PNG of (h, w, 3) uint8 pictures in lines; shorter lines are filled with black."""
    width = max(len(line) for line in lines)
    blank = np.zeros_like(lines[0][0])
    rows = [np.concatenate([*line, *[blank] * (width - len(line))], 1) for line in lines]
    return encode_png(np.ascontiguousarray(np.concatenate(rows, 0).repeat(enlarge, 0).repeat(enlarge, 1)))
