"""The tissue between the structures of a whole stack: proposed slice by slice by the prior, then made one body along z.

The prior's shape model has modes of its own at each level, so proposals of neighbouring slices need not agree. What is
not here: the shape model (`generation/shape_model.py`).
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from medillus_pipeline.generation.conditions import TISSUES, noise_for

if TYPE_CHECKING:
    from medillus_pipeline.generation.prior import Prior

CHUNK = 16
"""Slices that are proposed at once."""

SMOOTHING_MM = 12.0
"""Standard deviation along z of the votes that decide a voxel's tissue."""

SHAPE_SEED = 0x9E3779B9
"""Added to a seed for the noise of shapes, which must not be that of the pixels; below 2**32 as in `sampling.py`."""


def stack_context(
    prior: "Prior", labels: Tensor, levels: Tensor, spacing: float, *, seed: int, smoothing: float = SMOOTHING_MM
) -> np.ndarray:
    """(slices, h, w) uint8: 0 air, 1 fat, 2 soft tissue, 3 bone, for a stack of class indices (slices, h, w).

    One draw of the latent variables for the whole stack; then each voxel takes the tissue that most of its neighbours
    along z have, weighted by a Gaussian of `smoothing` mm (0: as proposed). `spacing` is the distance of slices in mm.
    """
    shapes = prior.shape_model
    latent = noise_for(1, (shapes.latents,), seed + SHAPE_SEED)
    proposed = np.empty(tuple(labels.shape), np.uint8)
    for start in range(0, len(labels), CHUNK):
        part = slice(start, start + CHUNK)
        count = len(labels[part])
        told = torch.ones((count, shapes.classes), dtype=torch.bool)
        found = shapes.propose_context(labels[part], told, levels[part], latent.expand(count, -1))
        proposed[part] = found.argmax(1).numpy()
    return along_z(proposed, smoothing / spacing) if smoothing else proposed


def along_z(tissue: np.ndarray, sigma: float) -> np.ndarray:
    """Tissues (slices, h, w) decided by a vote along the first axis, weighted by a Gaussian of `sigma` slices."""
    decided = np.empty_like(tissue)
    for row in range(tissue.shape[1]):
        votes = [
            ndimage.gaussian_filter1d((tissue[:, row] == kind).astype(np.float32), sigma, axis=0, mode="nearest")
            for kind in range(TISSUES)
        ]
        decided[:, row] = np.argmax(votes, axis=0)
    return decided


def one_hot_tissue(tissue: np.ndarray | None, shape: tuple[int, int, int]) -> Tensor:
    """(n, 4, h, w) float32 for tissues (n, h, w); zeros of that `shape` where nothing is known."""
    if tissue is None:
        return torch.zeros((shape[0], TISSUES, *shape[1:]))
    return functional.one_hot(torch.from_numpy(tissue.astype(np.int64)), TISSUES).permute(0, 3, 1, 2).float()
