"""What a sketch segmenter's scores are worth: confidence for each structure, and where strangeness begins.

Pydantic and numpy only, so that it can be stored and read without torch. The drawings it is learned from are made in
`training.py`.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

RIGHT_DICE = 0.7
"""Dice with the region as drawn from which a structure counts as read right."""


class Calibration(BaseModel):
    """Learned on drawings of training patients whom the weights have not seen.

    `scores` and `shares`: knots of a rising line from a structure's score to the share of structures with that score
    that were read right (own name and Dice of at least .7). `drawn_scores` and `drawn_shares`: the same to the share
    of those that somebody drew at all. `mirror_margin`: by how much the mirrored
    reading must be more upright before a mirror is suspected; None: left and right cannot be told.
    `misplaced` and `size` (classes,): scores of the plausibility rules from which a structure is refused; `left_of`
    (classes, classes): pairs of which the first always lies further to the patient's left.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scores: tuple[float, ...] = Field(min_length=1)
    shares: tuple[float, ...] = Field(min_length=1)
    drawn_scores: tuple[float, ...] = (0.0, 1.0)
    drawn_shares: tuple[float, ...] = (0.0, 1.0)
    mirror_margin: float | None = None
    misplaced: tuple[float, ...] = ()
    size: tuple[float, ...] = ()
    left_of: tuple[tuple[bool, ...], ...] = ()
    drawings: int = Field(ge=0)

    def confidence(self, score: float) -> float:
        """The share of structures with this score that are read right, 0 … 1."""
        return float(np.interp(score, self.scores, self.shares))

    def drawn(self, score: float) -> float:
        """The share of structures with this score that were drawn at all, however well they are read, 0 … 1."""
        return float(np.interp(score, self.drawn_scores, self.drawn_shares))


def rising_line(scores: NDArray[np.floating], right: NDArray[np.bool_]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Knots of the isotonic regression of `right` on `scores`, both (n,).

    Two further observations, one right and one wrong, stand at each knot: few drawings never make certain.
    """
    from scipy.optimize import isotonic_regression

    order = np.argsort(scores, kind="stable")
    x, y = np.asarray(scores, np.float64)[order], np.asarray(right, np.float64)[order]
    if not len(x):
        return (0.0, 1.0), (0.5, 0.5)
    fitted = isotonic_regression(y).x
    knots, shares = [], []
    for value in np.unique(fitted):
        own = fitted == value
        knots.append(float(x[own].mean()))
        shares.append(float((y[own].sum() + 1) / (own.sum() + 2)))
    return tuple(knots), tuple(np.maximum.accumulate(shares).tolist())
