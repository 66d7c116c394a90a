"""Fitting the shape model of `shape_model.py` to label maps and tissues of training patients.

Each level's means and modes come from the slices around it, every patient with the same weight. What is not here: what
the model answers, and how slices are weighted by level (`prior_building.py`).
"""

import math

import numpy as np
import torch
from torch import Tensor

from medillus_pipeline.generation.config import PriorConfig
from medillus_pipeline.generation.shape_model import ShapeModel, level_sets

LEAST_KERNEL = 1e-3
"""Slices with less than this share of the greatest weight say nothing about a level."""

DRAWS = 64
"""Samples of a level on which the offsets are set."""

CHUNK = 64
"""Slices whose level sets are computed at once."""


def fit_shape_model(masks: np.ndarray, tissue: np.ndarray, kernel: np.ndarray, config: PriorConfig) -> ShapeModel:
    """The shape model of `masks` (n, classes, h, w) bool with `tissue` (n, tissues, h, w) bool.

    `kernel` (levels, n) is the weight of every slice at every level; each line adds up to 1.
    """
    resolution = min(config.shape_resolution, masks.shape[-1])
    count, classes = len(masks), masks.shape[1]
    parts = [
        level_sets(torch.from_numpy(np.concatenate([masks[i], tissue[i]], 1)), resolution, config.shape_clip)
        for i in (slice(start, start + CHUNK) for start in range(0, count, CHUNK))
    ]
    fields = torch.cat(parts)
    place = torch.full((len(kernel), fields.shape[1]), -1, dtype=torch.int32)
    residual, offset = torch.zeros(2, len(kernel), fields.shape[1])
    areas = torch.from_numpy(np.concatenate([masks.mean((2, 3)), tissue.mean((2, 3))], 1, dtype=np.float32))
    means, modes, stored = [], [], 0
    for level, weights in enumerate(torch.from_numpy(np.asarray(kernel, np.float32))):
        near = weights > LEAST_KERNEL * weights.max()
        own, share = fields[near], weights[near] / weights[near].sum()
        there = (own > -config.shape_clip).flatten(2).any(2).any(0).nonzero()[:, 0]
        mean, found, left = principal_components(own[:, there], share, config.shape_modes)
        place[level, there] = torch.arange(stored, stored + len(there), dtype=torch.int32)
        residual[level, there] = left
        area = torch.einsum("n,nc->c", share, areas[near][:, there])
        offset[level, there] = _offset(mean, found, area)
        means.append(mean)
        modes.append(found)
        stored += len(there)
    return ShapeModel(
        place=place,
        mean=torch.cat(means).half(),
        modes=torch.cat(modes).half(),
        residual=residual,
        offset=offset,
        present=_present(areas[:, :classes], torch.from_numpy(np.asarray(kernel, np.float32))),
        tissue_of=_tissue_of(masks, tissue, kernel),
        known=torch.ones(classes, dtype=torch.uint8),
        settings=torch.tensor([config.shape_clip, config.shape_shared_pixels]),
    )


def principal_components(fields: Tensor, weights: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (c, r, r), modes (c, count, r, r) and residual variance (c,) of fields (n, c, r, r) with weights (n,).

    Modes are principal axes times the standard deviation along them, less the noise's (eq. 7 of the paper); where
    there are fewer slices than modes the last ones are zero.
    """
    flat = fields.flatten(1)
    mean = weights @ flat
    centred = (flat - mean) * weights.sqrt()[:, None]
    values, vectors = torch.linalg.eigh((centred @ centred.T).double())
    kept = min(count, len(values) - 1)
    values, vectors = values.flip(0)[:kept].clamp(min=0).float(), vectors.flip(1)[:, :kept].float()
    axes = vectors.T @ centred
    # Directions that the data do not have come out of rounding alone: they are no modes.
    real = values > 1e-6 * values[:1].clamp(min=1e-6)
    axes = axes * (real / values.clamp(min=1e-12).sqrt())[:, None]
    total = centred.square().sum()
    noise = (total - values[real].sum()).clamp(min=0) / max(1, flat.shape[1] - kept)
    modes = axes * (values - noise).clamp(min=0).sqrt()[:, None]
    explained = (axes.square() * values[:, None]).sum(0).reshape(fields.shape[1:])
    left = (centred.square().sum(0).reshape(fields.shape[1:]) - explained).clamp(min=0).mean((1, 2))
    shaped = torch.zeros(count, *fields.shape[1:])
    shaped[:kept] = modes.reshape(kept, *fields.shape[1:])
    return mean.reshape(fields.shape[1:]), _signed(shaped).transpose(0, 1), left


def _offset(mean: Tensor, modes: Tensor, area: Tensor) -> Tensor:
    """(c,) what to add to samples of fields (c, r, r) so that a share `area` (c,) of their pixels is above 0."""
    noise = torch.randn(DRAWS, modes.shape[1], generator=torch.Generator().manual_seed(0))
    drawn = (mean + torch.einsum("nk,ckhw->nchw", noise, modes)).transpose(0, 1).flatten(1).sort(1).values
    above = (area * drawn.shape[1]).round().long().clamp(1, drawn.shape[1] - 1)
    return -drawn.gather(1, drawn.shape[1] - 1 - above[:, None])[:, 0]


def _present(areas: Tensor, kernel: Tensor) -> Tensor:
    """(levels, classes, 2) of areas (n, classes) as shares of the frame: share of slices that show a structure, and
    its area there less one standard deviation, at least a third of the mean.
    """
    there = (areas > 0).float()
    share = kernel @ there
    mean = kernel @ areas / share.clamp(min=1e-6)
    deviation = (kernel @ areas.square() / share.clamp(min=1e-6) - mean.square()).clamp(min=0).sqrt()
    return torch.stack([share, torch.maximum(mean - deviation, mean / 3)], -1)


def _signed(modes: Tensor) -> Tensor:
    """The modes with the sign at which they add up to something positive: an eigenvector has none of its own."""
    sums = modes.flatten(1).sum(1)
    return modes * torch.where(sums < 0, -1.0, 1.0)[:, None, None, None]


def _tissue_of(masks: np.ndarray, tissue: np.ndarray, kernel: np.ndarray) -> Tensor:
    """(levels, classes, tissues): share of each tissue within each structure at each level; of one that a level does
    not have its share over all levels, and equal shares of one that is nowhere.
    """
    pixels = np.einsum("nchw,nthw->nct", masks, tissue, dtype=np.float32, optimize=True)
    counts = np.tensordot(kernel, pixels, axes=1)
    counts = counts + 1e-3 * pixels.sum(0) / max(1.0, math.sqrt(len(masks)))
    total = counts.sum(-1, keepdims=True)
    shares = np.where(total > 0, counts / np.maximum(total, 1e-12), 1 / tissue.shape[1])
    return torch.from_numpy(shares.astype(np.float32))
