"""The plausibility rules, each a small function: how far an organ instance is from what training patients show.

An instance is a class in a slice; a rule gives a score (slices, classes), higher for stranger. Which score is too high,
and why, is decided in `plausible_anatomy.py`.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from medillus_pipeline.generation.organ_shapes import PARTS, Shapes

Table = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Expected(Protocol):
    """What the rules read of a prior; shapes and units as in `prior.Prior`."""

    @property
    def occupancy(self) -> np.ndarray: ...
    @property
    def area(self) -> np.ndarray: ...
    @property
    def centroid(self) -> np.ndarray: ...
    @property
    def adjacency(self) -> np.ndarray: ...


def prediction_spreads(patients: int, tail: float) -> float:
    """Standard deviations within which a new patient lies but for `tail` on one side, when the spread is known from
    that many patients only (Student's prediction bound).
    """
    return float(stats.t.isf(tail, max(patients - 1, 1)) * np.sqrt(1 + 1 / patients))


def surplus_part(shapes: Shapes, asked: Shapes | None, *, share: float, pixels: int) -> Table:
    """(n, C): the first part beyond those asked for (one, without a mask), over the largest part.

    A part counts from `pixels` pixels on; a part is asked for from that `share` of the largest asked part on.
    """
    allowed = np.ones(shapes.pixels.shape, int)
    if asked is not None:
        large = asked.parts >= share * np.maximum(asked.parts[..., :1], 1e-9)
        allowed = np.clip(large.sum(2), 1, PARTS)
    padded = np.concatenate([shapes.parts, np.zeros_like(shapes.parts[..., :1])], -1)
    surplus = np.take_along_axis(padded, allowed[..., None], -1)[..., 0]
    smallest = (pixels * shapes.pixel_mm**2)[:, None]
    return np.where(surplus >= smallest, surplus / np.maximum(shapes.parts[..., 0], 1e-9), 0.0)


def from_asked_place(shapes: Shapes, asked: Shapes) -> Table:
    """(n, C): distance of the centroid to the asked one, in radii of a disc of the asked area; NaN where one lacks.

    One and a half pixels are forgiven, the width of a small organ's edge.
    """
    distance = np.hypot(shapes.x - asked.x, shapes.y - asked.y) - 1.5 * shapes.pixel_mm[:, None]
    radius = np.sqrt(asked.area / np.pi)
    return np.maximum(distance, 0) / np.where(radius > 0, radius, np.nan)


def from_expected_place(shapes: Shapes, prior: Expected, levels: NDArray[np.floating]) -> Table:
    """(n, C): distance of the centroid to where the prior has the class, in spreads over patients, NaN where absent.

    In the plane, to the middle of its occupancy at the nearest of three levels; along the body, to the nearest level
    where a training patient has it. The larger of both. NaN for a class that the prior knows nothing of.
    """
    count = len(prior.area)
    occupied = np.isfinite(prior.area[..., 0])
    height, width = prior.occupancy.shape[2:]
    weight = np.maximum(prior.occupancy.sum((2, 3)), 1e-9)
    across = (prior.occupancy.sum(2) @ (np.arange(width) - (width - 1) / 2)) / weight
    along = (prior.occupancy.sum(3) @ (np.arange(height) - (height - 1) / 2)) / weight
    pitch = shapes.pixel_mm[:, None]
    deviation = np.nan_to_num(prior.centroid[..., 1])
    spread = np.sqrt(deviation[:, 0] ** 2 + deviation[:, 1] ** 2 + pitch**2)
    planar, axial = (np.full(shapes.pixels.shape, np.inf) for _ in range(2))
    position = np.asarray(levels, np.float64) * (count - 1)
    unit = np.hypot(deviation[:, 2] * (count - 1), 1.0)
    for level in range(count):
        gap = np.abs(position - level)[:, None]
        axial = np.minimum(axial, np.where(occupied[level], np.maximum(gap - 1, 0) / unit, np.inf))
        distance = np.hypot(shapes.x - across[level] * pitch, shapes.y - along[level] * pitch) / spread
        planar = np.minimum(planar, np.where((gap <= 1.5) & occupied[level], distance, np.inf))
    # Beyond all known levels the place in the plane is unknown, and the axial distance alone speaks.
    planar = np.where(np.isinf(planar) & np.isfinite(axial), 0.0, planar)
    return np.where((shapes.pixels > 0) & np.isfinite(axial), np.maximum(planar, axial), np.nan)


def misordered(shapes: Shapes, present: Flags, left_of: Flags) -> Table:
    """(n, C): share of the structures with a sure left-right order in this slice that lie on the wrong side of it."""
    x = np.where(present, shapes.x, np.nan)
    gap = x[:, :, None] - x[:, None, :]
    together = np.isfinite(gap)
    wrong = (together & left_of & (gap < 0)) | (together & left_of.T & (gap > 0))
    partners = (together & (left_of | left_of.T)).sum(2)
    return wrong.sum(2) / np.maximum(partners, 1)


def beyond_size(shapes: Shapes, prior: Expected, levels: NDArray[np.floating]) -> Table:
    """(n, C): how far the area lies outside the mean areas at the nearest levels, in spreads; 0 inside or unknown.

    The spread is the larger of that at the level and the class's typical one: a level may hold one patient only.
    """
    count = len(prior.area)
    mean, deviation = prior.area[..., 0].astype(np.float64), prior.area[..., 1].astype(np.float64)
    known = np.isfinite(mean)
    typical = np.sqrt(np.where(known, np.nan_to_num(deviation) ** 2, 0).sum(0) / np.maximum(known.sum(0), 1))
    largest = np.where(known, mean, 0).max(0)
    position = np.asarray(levels, np.float64) * (count - 1)
    shape = shapes.pixels.shape
    low, high, spread = np.full(shape, np.inf), np.full(shape, -np.inf), np.zeros(shape)
    for level in range(count):
        near = (np.abs(position - level) <= 1.5)[:, None] & known[level]
        low = np.where(near, np.minimum(low, mean[level]), low)
        high = np.where(near, np.maximum(high, mean[level]), high)
        spread = np.where(near, np.maximum(spread, np.nan_to_num(deviation[level])), spread)
    pixel = (shapes.pixel_mm**2)[:, None]
    spread = np.maximum(spread, np.maximum(typical, 0.1 * largest)) + pixel
    excess = np.maximum(shapes.area - high, low - shapes.area)
    return np.where(np.isfinite(low) & (shapes.pixels > 0), np.maximum(excess, 0) / spread, 0.0)


def foreign_border(shapes: Shapes, prior: Expected) -> Table:
    """(n, C): share of the border along labels that the class touches in no training mask, the background included.

    Labels that the prior knows nothing of are no strangers.
    """
    known = np.isfinite(prior.adjacency).any(1)
    return (shapes.borders * ((prior.adjacency == 0) & known)[1:]).sum(2)
