"""Air, fat, soft tissue and bone of an image that is already mapped to [-1, 1]: the context of a training batch.

The same as `prior.tissues` says of calibrated values: the intensity map rises, so thresholds can be mapped instead of
values. What the prior expects where there is no image is not here.
"""

import numpy as np
import torch
from torch.nn import functional

from medillus_pipeline.generation.canonical import NORMALISED_RANGE
from medillus_pipeline.generation.intensity import IntensityMap
from medillus_pipeline.generation.prior import TISSUE_THRESHOLDS_HU

MAJORITY = 5
"""Of the nine values of a 3×3 neighbourhood: the median reaches a threshold where so many do."""


def mapped_thresholds(modality: str, intensity: IntensityMap) -> np.ndarray:
    """(3,) float32, the thresholds between the tissues of a DICOM Modality on the [-1, 1] map of a dataset.

    Modalities without a unit: quarters of the normalised range.
    """
    low, high = NORMALISED_RANGE
    calibrated = TISSUE_THRESHOLDS_HU if modality == "CT" else tuple(np.linspace(low, high, 5)[1:4])
    return intensity.forward(np.array(calibrated))


def tissue_context(images: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """(n, 4, h, w) float32 one-hot tissue of images (n, h, w) after a 3×3 median; `thresholds` (n, 3), rising."""
    reached = images[:, None] >= thresholds[:, :, None, None]
    padded = np.pad(reached.view(np.uint8), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    lines = padded[:, :, :-2] + padded[:, :, 1:-1] + padded[:, :, 2:]
    count = lines[..., :-2] + lines[..., 1:-1] + lines[..., 2:]
    n, _, height, width = count.shape
    context = np.zeros((n, 4, height, width), np.float32)
    context[:, 0] = 1
    context[:, 1:] = count >= MAJORITY
    context[:, :-1] -= context[:, 1:]
    return context


def coarsened(context: np.ndarray, pixels: int) -> np.ndarray:
    """(4, h, w) float32 one-hot: the likeliest tissue of a context (4, h, w) that is known only in squares of so many
    `pixels`, bilinear between their middles. It has the smooth outlines of a proposed context, and tells less of whose
    picture it is.
    """
    squares = functional.avg_pool2d(torch.from_numpy(context)[None], pixels)
    likeliest = functional.interpolate(squares, context.shape[1:], mode="bilinear", align_corners=False).argmax(1)
    return functional.one_hot(likeliest[0], len(context)).permute(2, 0, 1).float().numpy()
