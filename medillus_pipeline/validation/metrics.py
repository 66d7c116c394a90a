"""Numbers from arrays: overlap, HU moments, sharpness, Fréchet distance, similarity, and bootstrap over patients.

Pure functions; they know neither organs by name nor thresholds. A class map holds 0 for background and 1..C for the
classes; tables are (slices, classes) or (patients, classes), NaN where a class does not occur.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.floating]

MINIMUM_PIXELS = 12
"""A class counts for a patient from this many mask pixels on: below it one pixel decides the figure."""

MAXIMUM_HALVINGS = 40
"""Ways to halve the patients that `matched_frechet` averages over."""


@dataclass(frozen=True)
class Overlap:
    """Pixel counts per slice and class, each (slices, classes) int64."""

    intersection: NDArray[np.int64]
    predicted: NDArray[np.int64]
    truth: NDArray[np.int64]


def overlap(truth: NDArray[np.uint8], predicted: NDArray[np.integer], classes: int) -> Overlap:
    """Counts for the Dice of each class 1..`classes`; both maps (slices, height, width)."""
    return Overlap(
        intersection=_count(np.where(truth == predicted, truth, 0), classes),
        predicted=_count(predicted, classes),
        truth=_count(truth, classes),
    )


def _count(maps: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    rows = [np.bincount(one.ravel(), minlength=classes + 1)[1 : classes + 1] for one in maps]
    return np.array(rows, dtype=np.int64).reshape(len(maps), classes)


def sum_by(groups: NDArray[np.integer], table: NDArray, count: int) -> NDArray:
    """Rows of `table` (slices, …) added up by group number 0..`count`-1, giving (count, …)."""
    out = np.zeros((count, *table.shape[1:]), dtype=table.dtype)
    np.add.at(out, groups, table)
    return out


def dice(counts: Overlap) -> Array:
    """2·|A∩B| / (|A|+|B|) in [0, 1] by row and class (Dice 1945); NaN where the truth has under `MINIMUM_PIXELS`."""
    total = counts.predicted + counts.truth
    with np.errstate(invalid="ignore", divide="ignore"):
        value = 2.0 * counts.intersection / total
    return np.where(counts.truth >= MINIMUM_PIXELS, value, np.nan)


def patient_dice(counts: Overlap, groups: NDArray[np.integer], patients: int) -> Array:
    """Dice of a patient's slices taken together, (patients, classes): false finds on slices without the organ count."""
    return dice(Overlap(*(sum_by(groups, table, patients) for table in vars(counts).values())))


def slice_dice(counts: Overlap) -> Array:
    """Mean Dice of the classes that a slice's mask holds, (slices,); NaN for a slice without any."""
    return nan_mean(dice(counts), axis=1)


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of the values by patient and class, (patients, classes), in the values' unit."""

    mean: Array
    sd: Array


def patient_moments(
    values: NDArray[np.integer], class_maps: NDArray[np.uint8], groups: NDArray[np.integer], patients: int, classes: int
) -> Moments:
    """Moments of the pixels under each class 1..`classes`, a patient's slices taken together."""
    sums = np.zeros((len(values), 3, classes + 1))
    for row, (image, labels) in enumerate(zip(values, class_maps, strict=True)):
        flat, keys = image.astype(np.float64).ravel(), labels.ravel()
        for power in range(3):
            sums[row, power] = np.bincount(keys, weights=flat**power, minlength=classes + 1)[: classes + 1]
    count, total, square = np.moveaxis(sum_by(groups, sums, patients)[:, :, 1:], 1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        variance = np.maximum(square / count - mean**2, 0.0)
    enough = count >= MINIMUM_PIXELS
    return Moments(mean=np.where(enough, mean, np.nan), sd=np.where(enough, np.sqrt(variance), np.nan))


def sharpness(values: NDArray[np.integer], region: NDArray[np.bool_]) -> Array:
    """Mean absolute 4-neighbour Laplacian inside `region`, (slices,), in the values' unit per pixel²; NaN where empty.

    Blur lowers it, noise that real tissue does not have raises it; no judge is needed.
    """
    image = np.clip(values.astype(np.float64), -1000, 1000)
    inner = image[:, 1:-1, 1:-1]
    around = image[:, :-2, 1:-1] + image[:, 2:, 1:-1] + image[:, 1:-1, :-2] + image[:, 1:-1, 2:]
    inside = region[:, 1:-1, 1:-1]
    with np.errstate(invalid="ignore"):
        return (np.abs(around - 4 * inner) * inside).sum(axis=(1, 2)) / inside.sum(axis=(1, 2))


def interiors(class_maps: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels (slices, height, width) whose whole 3x3 neighbourhood carries one and the same class, no border of any."""
    inside = class_maps > 0
    inside[:, [0, -1], :] = False
    inside[:, :, [0, -1]] = False
    for axis, step in itertools.product((1, 2), (-1, 1)):
        inside &= np.roll(class_maps, step, axis=axis) == class_maps
    for row, column in itertools.product((-1, 1), (-1, 1)):
        inside &= np.roll(class_maps, (row, column), axis=(1, 2)) == class_maps
    return inside


def outline(values: NDArray[np.integer], threshold: float = -300.0) -> Array:
    """Perimeter over the root of the area of the body, (slices,): 4 for a square along the axes, more when ragged.

    The body is the largest connected region above `threshold` (HU), holes filled; NaN for a slice without one.
    """
    out = np.full(len(values), np.nan)
    for row, image in enumerate(values):
        regions = np.empty(image.shape, np.int32)
        if ndimage.label(image > threshold, output=regions):
            largest = 1 + np.bincount(regions.ravel())[1:].argmax()
            body = np.pad(np.asarray(ndimage.binary_fill_holes(regions == largest)), 1)
            edges = sum(np.count_nonzero(np.diff(body, axis=axis)) for axis in (0, 1))
            out[row] = edges / np.sqrt(np.count_nonzero(body))
    return out


def frechet(first: Array, second: Array) -> float:
    """Fréchet distance between Gaussians fitted to two feature sets (n, d), (m, d) (Heusel 2017, equation 6).

    The trace of the matrix root is taken as the nuclear norm of the product of the centred data matrices, which is
    exact and stands more features than samples. NaN with fewer than two samples in a set.
    """
    if min(len(first), len(second)) < 2:
        return float("nan")
    gap = first.mean(axis=0) - second.mean(axis=0)
    a = (first - first.mean(axis=0)) / np.sqrt(len(first) - 1)
    b = (second - second.mean(axis=0)) / np.sqrt(len(second) - 1)
    cross = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return float(max(gap @ gap + (a**2).sum() + (b**2).sum() - 2 * cross, 0.0))


@dataclass(frozen=True)
class Frechet:
    """Fréchet distance of images to real ones, the real-to-real floor at the same sample sizes, and their ratio.

    `low` and `high` are the smallest and largest ratio over the ways to halve the patients, not a bootstrap interval.
    """

    distance: float
    floor: float
    ratio: float
    low: float
    high: float


def matched_frechet(
    real: Array, images: Array, groups: NDArray[np.integer], patients: int, rng: np.random.Generator
) -> Frechet:
    """Distance of images made for one half of the patients to real ones of the other half, over the halvings.

    Small samples inflate a Fréchet distance. Comparing image(A) to real(B) and real(A) to real(B) gives figure and
    floor the same sizes and the same patients apart, so a perfect generator has a ratio about 1. NaN for one patient.
    """
    if patients < 2:
        return Frechet(*[float("nan")] * 5)
    pairs = []
    for half in halvings(patients, rng):
        one = np.isin(groups, half)
        for inside in (one, ~one):
            other = real[~inside]
            pairs.append((frechet(images[inside], other), frechet(real[inside], other)))
    distances, floors = np.array(pairs).T
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = distances / floors
    distance, floor = float(distances.mean()), float(floors.mean())
    ratio = distance / floor if floor > 0 else float("nan")
    return Frechet(distance, floor, ratio, float(ratios.min()), float(ratios.max()))


def halvings(patients: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Patient numbers of one half, for each way to halve 0..`patients`-1 that a matched distance averages over."""
    half = patients // 2
    if math.comb(patients, half) <= MAXIMUM_HALVINGS:
        return list(itertools.combinations(range(patients), half))
    drawn: set[tuple[int, ...]] = set()
    while len(drawn) < MAXIMUM_HALVINGS:
        drawn.add(tuple(sorted(rng.permutation(patients)[:half].tolist())))
    return sorted(drawn)


def similarity(values: NDArray[np.integer], real: NDArray[np.integer]) -> tuple[Array, Array]:
    """SSIM (Wang 2004, values clipped to ±1000, range 2000) and mean absolute error per slice, (slices,) each."""
    from skimage.metrics import structural_similarity

    first, second = (np.clip(stack.astype(np.float64), -1000, 1000) for stack in (values, real))
    ssim = [structural_similarity(a, b, data_range=2000.0) for a, b in zip(first, second, strict=True)]
    return np.array(ssim), np.abs(values.astype(np.float64) - real).mean(axis=(1, 2))


def nan_mean(table: Array, axis: int | None = None) -> Array:
    """Mean without NaN entries, and without a warning where there is nothing to average (NaN)."""
    known = np.isfinite(table)
    count = known.sum(axis=axis)
    total = np.where(known, table, 0.0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def group_mean(per_slice: Array, groups: NDArray[np.integer], patients: int) -> Array:
    """Mean of a per-slice figure by patient, (patients,); slices with NaN are left out."""
    return np.array([float(nan_mean(per_slice[groups == patient])) for patient in range(patients)])


def weighted_mean(table: Array, weights: NDArray) -> Array:
    """Means over patients of `table` (patients, …) under each row of `weights` (draws, patients), NaN left out."""
    known = np.isfinite(table)
    flat = np.where(known, table, 0.0).reshape(len(table), -1)
    count = weights @ known.reshape(len(table), -1)
    total = weights @ flat
    mean = np.where(count > 0, total / np.maximum(count, 1e-12), np.nan)
    return mean.reshape(len(weights), *table.shape[1:])


@dataclass(frozen=True)
class Estimate:
    """A figure with its bootstrap 95% interval over patients; NaN bounds when there are under two patients."""

    value: float
    low: float
    high: float


def estimate(statistic: Callable[[NDArray], Array], weights: NDArray) -> Estimate:
    """Value of `statistic` on all patients, and its 2.5 and 97.5 percentiles over the bootstrap draws.

    `statistic` maps patient weights (draws, patients) to (draws,); `weights` come from `bootstrap_weights`.
    """
    patients = weights.shape[1]
    value = float(statistic(np.ones((1, patients)))[0])
    draws = statistic(weights)
    draws = draws[np.isfinite(draws)]
    if patients < 2 or not len(draws) or not np.isfinite(value):
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.percentile(draws, (2.5, 97.5))
    return Estimate(value, float(low), float(high))


def bootstrap_weights(patients: int, draws: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How often each patient is drawn in each of `draws` resamplings with replacement, (draws, patients)."""
    return rng.multinomial(patients, np.full(patients, 1 / patients), size=draws)
