"""Which training slice a sample is drawn from: balanced over patients, and over structures that few slices show.

What is done with the slice is not here: see `augmentation.py` and `batches.py`.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from medillus_pipeline.generation.augmentation_config import AugmentationConfig


class Balance:
    """Draws row numbers of the train split.

    First a patient, each with the same chance, so that long series do not outweigh short ones; then one of the
    patient's slices: all alike, or, in a share of `rare_structures` of the draws, by weight. The weight of a slice is
    the inverse of the share of all training slices that show its rarest class, at most `rare_weight`. With
    `balance_patients` off, all slices are drawn from as if they were one patient's.
    """

    def __init__(self, patients: Sequence[str], shown: Sequence[Sequence[int]], config: AugmentationConfig) -> None:
        """`patients` (n,) and the classes `shown` (n,) of each slice."""
        self.weights = rarity(shown, config.rare_weight)
        self.share = config.rare_structures
        everyone = patients if config.balance_patients else [""] * len(patients)
        own: dict[str, list[int]] = {}
        for row, patient in enumerate(everyone):
            own.setdefault(patient, []).append(row)
        self.own = [np.array(own[patient]) for patient in sorted(own)]
        self.upto = [np.cumsum(self.weights[rows]) / self.weights[rows].sum() for rows in self.own]

    def row(self, who: float, how: float, which: float) -> int:
        """The row that three uniform draws in [0, 1) choose: the patient, whether by weight, the slice."""
        patient = int(who * len(self.own))
        rows = self.own[patient]
        if how < self.share:
            place = int(np.searchsorted(self.upto[patient], which, side="right"))
            return int(rows[min(place, len(rows) - 1)])
        return int(rows[int(which * len(rows))])


def rarity(shown: Sequence[Sequence[int]], greatest: float) -> np.ndarray:
    """(n,) float64 weights of slices, 1 to `greatest`, from the classes that each shows; without any class 1."""
    counts = Counter(label for labels in shown for label in set(labels))
    rarest = [min((counts[label] for label in labels), default=len(shown)) for labels in shown]
    return np.minimum(len(shown) / np.array(rarest, np.float64), greatest)
