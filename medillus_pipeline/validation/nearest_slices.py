"""Nearest slices: distances between images in a judge's features and in aligned pixels, by blocks.

Which distances mean memorisation is decided in `memorisation.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medillus_pipeline.generation.intensity import CT, IntensityMap
from medillus_pipeline.validation.measures import Values

Features = Callable[[Values], NDArray[np.floating]]
Vectors = NDArray[np.float32]

GRID = 32
"""Least side of the grid of block means that pixels are compared on; at most twice that less one."""

BLOCK = 2048
"""Rows of a block of distances, and images that features are taken of at a time."""


@dataclass(frozen=True)
class Described:
    """Images as vectors: `features` (n, d) and `thumbnails` (n, g, g), in [-1, 1]."""

    features: Vectors
    thumbnails: Vectors

    def __len__(self) -> int:
        return len(self.features)

    def at(self, rows: NDArray[np.integer] | slice) -> "Described":
        """The images of these rows."""
        return Described(self.features[rows], self.thumbnails[rows])

    def and_also(self, other: "Described") -> "Described":
        """These images, then the other's."""
        return Described(
            np.concatenate([self.features, other.features]), np.concatenate([self.thumbnails, other.thumbnails])
        )


@dataclass(frozen=True)
class Nearest:
    """For each query the distance (n,) to the nearest reference and its row (n,); infinite and -1 without any."""

    distance: NDArray[np.float64]
    row: NDArray[np.int64]


def described(values: Values, features: Features, *, intensity: IntensityMap = CT) -> Described:
    """Vectors of images (n, h, w); sides are multiples of the power of two that brings them to `GRID`."""
    found, thumbnails = [], []
    for start in range(0, len(values), BLOCK):
        part = np.asarray(values[start : start + BLOCK])
        found.append(np.asarray(features(part), np.float32))
        thumbnails.append(_thumbnails(intensity.forward(part)))
    return Described(np.concatenate(found), np.concatenate(thumbnails))


def standardised(by: Described, *sets: Described) -> tuple[Described, ...]:
    """The sets with features scaled so that those of `by` have mean 0 and deviation 1, over √d."""
    mean, deviation = by.features.mean(0), by.features.std(0)
    scale = np.where(deviation > 1e-6 * max(float(deviation.max()), 1e-12), deviation, np.inf) * np.sqrt(len(mean))
    return tuple(Described((one.features - mean) / scale, one.thumbnails) for one in sets)


def by_features(queries: Described, references: Described, allowed: NDArray[np.bool_] | None = None) -> Nearest:
    """Euclidean distance of features. `allowed` (queries, references) says which pairs count; all by default."""
    distance, row = _candidates(queries.features, references.features, allowed, 1)
    return Nearest(distance[:, 0], row[:, 0])


def by_pixels(
    queries: Described,
    references: Described,
    allowed: NDArray[np.bool_] | None = None,
    *,
    shift: int = 1,
    candidates: int = 4,
) -> Nearest:
    """√(2 − 2r), r the correlation of thumbnails, least over shifts of up to `shift` grid pixels each way.

    Correlation forgives a change of brightness and contrast, as a copy may have. Shifts are tried on the nearest
    `candidates` only.
    """
    inner = _vectors(_window(references.thumbnails, shift, 0, 0))
    _, rows = _candidates(_vectors(_window(queries.thumbnails, shift, 0, 0)), inner, allowed, candidates)
    best = np.full(rows.shape, np.inf)
    for down in range(-shift, shift + 1):
        for right in range(-shift, shift + 1):
            moved = _vectors(_window(queries.thumbnails, shift, down, right))
            for k in range(rows.shape[1]):
                best[:, k] = np.minimum(best[:, k], np.linalg.norm(moved - inner[rows[:, k]], axis=1))
    best[rows < 0] = np.inf
    chosen = best.argmin(1)[:, None]
    return Nearest(np.take_along_axis(best, chosen, 1)[:, 0], np.take_along_axis(rows, chosen, 1)[:, 0])


def between_features(first: Described, second: Described) -> NDArray[np.float64]:
    """Distance of features row by row, (n,)."""
    return np.linalg.norm(first.features - second.features, axis=1).astype(np.float64)


def between_pixels(first: Described, second: Described) -> NDArray[np.float64]:
    """√(2 − 2r) of thumbnails row by row, unshifted, (n,)."""
    return np.linalg.norm(_vectors(first.thumbnails) - _vectors(second.thumbnails), axis=1).astype(np.float64)


def _thumbnails(mapped: Vectors) -> Vectors:
    while min(mapped.shape[1:]) >= 2 * GRID:
        height, width = (side // 2 * 2 for side in mapped.shape[1:])
        even = mapped[:, :height, :width]
        sum_of_four = even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]
        mapped = sum_of_four * np.float32(0.25)
    return mapped.astype(np.float32)


def _window(thumbnails: Vectors, shift: int, down: int, right: int) -> Vectors:
    height, width = thumbnails.shape[1:]
    return thumbnails[:, shift + down : height - shift + down, shift + right : width - shift + right]


def _vectors(thumbnails: Vectors) -> Vectors:
    flat = thumbnails.reshape(len(thumbnails), -1)
    centred = flat - flat.mean(1, keepdims=True)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)


def _candidates(
    queries: Vectors, references: Vectors, allowed: NDArray[np.bool_] | None, count: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distances (n, count) and rows of the nearest references, nearest first; infinite and -1 where there are fewer."""
    best = np.full((len(queries), count), np.inf)
    rows = np.full((len(queries), count), -1, np.int64)
    for start in range(0, len(references), BLOCK):
        part = references[start : start + BLOCK]
        square = (queries**2).sum(1)[:, None] + (part**2).sum(1)[None] - 2 * (queries @ part.T)
        distance = np.sqrt(np.maximum(square, 0)).astype(np.float64)
        if allowed is not None:
            distance[~allowed[:, start : start + BLOCK]] = np.inf
        distances = np.concatenate([best, distance], 1)
        numbers = np.concatenate([rows, np.broadcast_to(np.arange(start, start + len(part)), distance.shape)], 1)
        order = np.argsort(distances, axis=1, kind="stable")[:, :count]
        best, rows = np.take_along_axis(distances, order, 1), np.take_along_axis(numbers, order, 1)
    rows[np.isinf(best)] = -1
    return best, rows
