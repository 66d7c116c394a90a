"""What a figure is compared with: images made from another patient's mask, per-label noise, and real pairs.

A control must be beaten by a good model and reached by a bad one. Raw Dice is not enough: painting every label with
Gaussian noise already scores high, because a judge finds any patch of the right mean at the right place.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelStatistics:
    """Mean and standard deviation of the values under each class map value 0..C (0 = background), (C + 1,) each."""

    mean: NDArray[np.float64]
    sd: NDArray[np.float64]


def label_statistics(
    values: NDArray[np.integer], class_maps: NDArray[np.uint8], classes: int, *, maximum_slices: int = 400
) -> LabelStatistics:
    """Statistics of (slices, height, width) training images; a class that never occurs takes the background's.

    At most `maximum_slices`, evenly spaced, are read.
    """
    rows = np.unique(np.linspace(0, len(values) - 1, min(len(values), maximum_slices)).astype(int))
    sums = np.zeros((3, classes + 1))
    for row in rows:
        flat, keys = np.asarray(values[row], dtype=np.float64).ravel(), np.asarray(class_maps[row]).ravel()
        for power in range(3):
            sums[power] += np.bincount(keys, weights=flat**power, minlength=classes + 1)[: classes + 1]
    count = np.maximum(sums[0], 1)
    mean = sums[1] / count
    sd = np.sqrt(np.maximum(sums[2] / count - mean**2, 0))
    seen = sums[0] > 0
    return LabelStatistics(mean=np.where(seen, mean, mean[0]), sd=np.where(seen, sd, sd[0]))


def gaussian_texture(
    class_maps: NDArray[np.uint8], statistics: LabelStatistics, rng: np.random.Generator
) -> NDArray[np.int16]:
    """Images that paint each class map value with independent N(mean, sd) pixels, int16, in the statistics' unit."""
    noise = rng.standard_normal(class_maps.shape)
    painted = statistics.mean[class_maps] + statistics.sd[class_maps] * noise
    return np.clip(np.rint(painted), -1024, 3071).astype(np.int16)


def other_patient_at_same_level(patients: NDArray, levels: NDArray[np.floating]) -> NDArray[np.int64] | None:
    """For each slice the row of the slice of another patient that is nearest along the body axis, (slices,).

    The same level on purpose: a generator that ignores its mask but knows the level would look good against a mask
    from elsewhere in the body. None when all slices are of one patient.
    """
    if len(set(patients.tolist())) < 2:
        return None
    gap = np.abs(levels[:, None] - levels[None, :])
    gap[patients[:, None] == patients[None, :]] = np.inf
    return gap.argmin(axis=1)


def evenly_over_patients(patients: NDArray, levels: NDArray[np.floating], limit: int) -> NDArray[np.int64]:
    """At most `limit` rows, as many of each patient as can be, spread over the patient's levels; sorted row numbers."""
    names = sorted(set(patients.tolist()))
    owned = {name: np.flatnonzero(patients == name) for name in names}
    quota = dict.fromkeys(names, 0)
    left = min(limit, len(patients))
    while left:
        for name in names:
            if left and quota[name] < len(owned[name]):
                quota[name] += 1
                left -= 1
    chosen = []
    for name in names:
        rows = owned[name][np.argsort(levels[owned[name]], kind="stable")]
        picks = (np.arange(quota[name]) + 0.5) * len(rows) / max(quota[name], 1)
        chosen.extend(rows[picks.astype(int)])
    return np.sort(np.array(chosen, dtype=np.int64))
