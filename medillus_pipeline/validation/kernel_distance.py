"""Kernel distance between sets of feature vectors (KID), matched to real patients as the Fréchet distance is.

Unlike the Fréchet distance it is not inflated by small samples: between two samples of one distribution it is 0 on
average. What the features are is not decided here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medillus_pipeline.validation.metrics import Array, halvings


@dataclass(frozen=True)
class KernelDistance:
    """KID of images to other patients' real ones, the same between real ones, and its range over the halvings."""

    distance: float
    floor: float
    low: float
    high: float


def kernel(first: Array, second: Array) -> Array:
    """(x·y / d + 1)³ for each pair of rows (n, d), (m, d), giving (n, m) (Bińkowski et al. 2018, section 4)."""
    return (first @ second.T / first.shape[1] + 1.0) ** 3


def squared_discrepancy(first: Array, second: Array, between: Array) -> float:
    """Unbiased MMD² (Gretton et al. 2012, equation 3) from kernel matrices within (n, n), (m, m) and between (n, m).

    May be below 0. NaN with fewer than two rows in a set.
    """
    n, m = between.shape
    if min(n, m) < 2:
        return float("nan")
    within = (first.sum() - np.trace(first)) / (n * (n - 1)) + (second.sum() - np.trace(second)) / (m * (m - 1))
    return float(within - 2 * between.mean())


def matched_kernel_distance(
    real: Array, images: Array, groups: NDArray[np.integer], patients: int, rng: np.random.Generator
) -> KernelDistance:
    """Images made for one half of the patients against real ones of the other half, over the halvings; so the floor.

    Features are divided by the real ones' root mean square, so that the kernel's cube does not depend on their unit.
    NaN for one patient.
    """
    if patients < 2:
        return KernelDistance(*[float("nan")] * 4)
    scale = max(float(np.sqrt((real**2).mean())), 1e-12)
    real, images = real / scale, images / scale
    own, made, across = kernel(real, real), kernel(images, images), kernel(images, real)
    distances, floors = [], []
    for half in halvings(patients, rng):
        one = np.isin(groups, half)
        for inside in (one, ~one):
            rows, others = np.ix_(inside, inside), np.ix_(~inside, ~inside)
            apart = np.ix_(inside, ~inside)
            distances.append(squared_discrepancy(made[rows], own[others], across[apart]))
            floors.append(squared_discrepancy(own[rows], own[others], own[apart]))
    return KernelDistance(
        float(np.mean(distances)), float(np.mean(floors)), float(np.min(distances)), float(np.max(distances))
    )
