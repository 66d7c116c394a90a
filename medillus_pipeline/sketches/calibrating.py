"""Learning what a sketch segmenter's scores are worth, on drawings of patients whom its weights have not seen.

What is learned is kept in `calibration.py`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.sketches.agreement import limits, uprightness
from medillus_pipeline.sketches.calibration import RIGHT_DICE, Calibration, rising_line
from medillus_pipeline.sketches.drawings import Sitter, drawn
from medillus_pipeline.sketches.found import found_in
from medillus_pipeline.sketches.segmenter import SketchSegmenter

FALSE_MIRRORS = 0.01
"""Share of the drawings that are the right way round and of which a mirror may be suspected."""

LEAST_MIRRORS = 0.2
"""Share of mirrored drawings that must be noticed at that rate; below, left and right look alike: nothing is said."""


def calibrated(segmenter: SketchSegmenter, prior: Prior, dataset: Dataset, unseen: Sequence[Sitter]) -> Calibration:
    """Confidence, the mirror's margin and the limits of plausibility, on drawings of the slices `unseen`."""
    config = segmenter.config
    random = np.random.default_rng([segmenter.seed, 2])
    chosen = [unseen[row] for row in random.integers(len(unseen), size=config.calibration_drawings)]
    drawings = drawn(chosen, segmenter.side, random, config.drawing)
    scores, right, drawn_at_all, margins, mirrored = [], [], [], [], []
    probabilities = segmenter.predict(drawings.ink, prior)
    turned = segmenter.predict(drawings.ink[:, :, ::-1].copy(), prior)
    for ink, labels, probability, other in zip(drawings.ink, drawings.labels, probabilities, turned, strict=True):
        for each in found_in(probability, ink):
            scores.append(each.score)
            right.append(dice(each.mask, labels == each.index) >= RIGHT_DICE)
            drawn_at_all.append(bool((labels == each.index).any()))
        gain = uprightness(other, prior) - uprightness(probability, prior)
        if np.isfinite(gain):
            margins.append(gain)
            mirrored.append(-gain)
    knots, shares = rising_line(np.array(scores), np.array(right, bool))
    drawn_knots, drawn_shares = rising_line(np.array(scores), np.array(drawn_at_all, bool))
    place, size, left_of = limits(drawings.labels, drawings.levels, prior, dataset)
    return Calibration(
        scores=knots,
        shares=shares,
        drawn_scores=drawn_knots,
        drawn_shares=drawn_shares,
        mirror_margin=_margin(np.array(margins), np.array(mirrored)),
        misplaced=tuple(place.tolist()),
        size=tuple(size.tolist()),
        left_of=tuple(tuple(row) for row in left_of.tolist()),
        drawings=len(chosen),
    )


def _margin(upright: NDArray[np.floating], mirrored: NDArray[np.floating]) -> float | None:
    """The gain in uprightness above which at most a hundredth of upright drawings lie; None when it catches few."""
    if not len(upright):
        return None
    margin = max(float(np.quantile(upright, 1 - FALSE_MIRRORS)), 0.0)
    return margin if (mirrored > margin).mean() >= LEAST_MIRRORS else None


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Dice of two masks; 0 where both are empty."""
    return float(2 * (first & second).sum() / max(int(first.sum() + second.sum()), 1))
