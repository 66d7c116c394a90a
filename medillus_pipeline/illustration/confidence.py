"""How far a segmenter, looking at the finished image, agrees with the structures that were asked for.

The score is **not calibrated**: 0.8 does not mean right in four cases of five. It is good for ranking structures and
candidates within one model version. The segmenter must be `organ_segmenter`, never the judge, which only measures.
"""

import math
from collections.abc import Mapping

import numpy as np

UNKNOWN = math.nan


def agreement(probabilities: np.ndarray, labels: np.ndarray, classes: Mapping[int, int]) -> dict[int, float]:
    """Confidence per structure, 0 to 1: mean probability inside the requested region times Dice with that region.

    The first factor is low where the image looks like something else inside the region, the second where the structure
    has spilled over or moved; each alone can be fooled.

    Args:
        probabilities: (channels, h, w) of the segmenter on the image, summing to 1 over channels.
        labels: (h, w) vocabulary ids that the image was made from (or that annotators drew on a scan).
        classes: vocabulary id of a structure → its channel in `probabilities`.

    Returns:
        A score for each id of `labels` but 0; NaN for a structure that the segmenter was not trained on.

    Raises:
        ValueError: shapes differ.
    """
    if probabilities.ndim != 3 or probabilities.shape[1:] != labels.shape:
        raise ValueError(f"probabilities {probabilities.shape} do not lie on the label map {labels.shape}")
    winner = probabilities.argmax(axis=0)
    scores: dict[int, float] = {}
    for value in (int(v) for v in np.unique(labels) if v):
        channel = classes.get(value)
        if channel is None:
            scores[value] = UNKNOWN
            continue
        region = labels == value
        found = winner == channel
        dice = 2.0 * float((region & found).sum()) / float(region.sum() + found.sum())
        scores[value] = min(1.0, max(0.0, float(probabilities[channel][region].mean()) * dice))
    return scores
