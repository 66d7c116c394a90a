"""One drawing from several readers of the same slices: by majority, or by STAPLE.

A majority needs no assumption. STAPLE (Warfield 2004, IEEE TMI 23:903) estimates, together with the drawing, how
reliable each reader is; it wants three readers or more. With two it cannot know whom to believe where they differ: it
ends near the drawing of one of them or the union of both, whichever the prior favours.

What is not here: how far readers agree (`agreement.py`), and where readers' masks come from.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medillus_pipeline.annotation.label_map import Region, compose, trimmed
from medillus_pipeline.annotation.vocabulary import Vocabulary

MAXIMUM_READERS = 32
MAXIMUM_ROUNDS = 10_000
SETTLED = 1e-7
"""Greatest change of a sensitivity or specificity between two rounds at which STAPLE stops."""
TRUSTED = 0.99999
"""Sensitivity and specificity of every reader at the start."""
LIKELY = 0.5
"""A pixel belongs to the consensus when its probability is greater."""


def majority(maps: Sequence[np.ndarray]) -> np.ndarray:
    """The label that more than half of the readers gave each pixel, else 0 (background).

    `maps` are k ≥ 2 label maps of one shape, uint8 vocabulary ids. No two labels can each have more than half, so
    nothing overlaps; a tie is background, and two readers agree on what both drew and on nothing else. Raises
    ValueError for fewer than two maps or different shapes.
    """
    stacked = _stacked(maps)
    values = np.zeros(stacked.shape[1:], np.uint8)
    for label in _labels(stacked):
        values[2 * np.count_nonzero(stacked == label, axis=0) > len(stacked)] = label
    return values


@dataclass(frozen=True)
class Staple:
    """`probability` has the shape of a reader's mask, 0 to 1; `sensitivity` and `specificity` are (readers,); `rounds`
    is how many the estimate took.
    """

    probability: np.ndarray
    sensitivity: np.ndarray
    specificity: np.ndarray
    rounds: int


def staple(readers: Sequence[np.ndarray], *, prior: float | None = None) -> Staple:
    """The probability that each pixel belongs to a structure, from k ≥ 2 bool masks of one shape.

    Worked out on the box around the union of all masks, outside which the probability is 0: specificities are those
    within the box, since any share of certain background can be had by looking at more of it. `prior` is the
    probability that a pixel of the box belongs to the structure; None takes the mean of the readers' masks over the
    box. Pixels that the readers marked alike share all figures, so the rounds run over
    the at most 2^k patterns of marks that occur. Raises ValueError for under two or over `MAXIMUM_READERS` masks,
    different shapes, or when nobody drew anything.
    """
    stacked = _stacked(readers).astype(bool)
    if len(stacked) > MAXIMUM_READERS:
        raise ValueError(f"STAPLE takes at most {MAXIMUM_READERS} readers")
    union = stacked.any(axis=0)
    if not union.any():
        raise ValueError("none of the readers drew anything")
    window = tuple(slice(int(at.min()), int(at.max()) + 1) for at in np.nonzero(union))
    boxed = stacked[(slice(None), *window)]
    codes = np.zeros(boxed.shape[1:], np.uint32)
    for bit, mask in enumerate(boxed):
        codes |= mask.astype(np.uint32) << np.uint32(bit)
    patterns, places, counts = np.unique(codes, return_inverse=True, return_counts=True)
    marks = (patterns >> np.arange(len(boxed), dtype=np.uint32)[:, None] & 1).astype(float)
    if prior is None:
        prior = float((marks * counts).sum() / (len(boxed) * counts.sum()))
    likely, sensitivity, specificity, rounds = _estimate(marks, counts.astype(float), prior)
    probability = np.zeros(union.shape)
    probability[window] = likely[places.reshape(codes.shape)]
    return Staple(probability, sensitivity, specificity, rounds)


def _estimate(marks: np.ndarray, counts: np.ndarray, prior: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Expectation and maximisation over `marks`, (readers, patterns) of 0 and 1 that occur `counts` times: probability
    of each pattern, sensitivities, specificities, rounds.
    """
    sensitivity = np.full(len(marks), TRUSTED)
    specificity = np.full(len(marks), TRUSTED)
    likely = _expect(marks, sensitivity, specificity, prior)
    for rounds in range(1, MAXIMUM_ROUNDS + 1):
        inside, outside = likely * counts, (1 - likely) * counts
        before = np.concatenate([sensitivity, specificity])
        sensitivity = marks @ inside / inside.sum() if inside.sum() else sensitivity
        specificity = (1 - marks) @ outside / outside.sum() if outside.sum() else specificity
        likely = _expect(marks, sensitivity, specificity, prior)
        if np.abs(np.concatenate([sensitivity, specificity]) - before).max() < SETTLED:
            return likely, sensitivity, specificity, rounds
    return likely, sensitivity, specificity, MAXIMUM_ROUNDS


def _expect(marks: np.ndarray, sensitivity: np.ndarray, specificity: np.ndarray, prior: float) -> np.ndarray:
    p, q = sensitivity[:, None], specificity[:, None]
    belongs = prior * np.where(marks > 0, p, 1 - p).prod(axis=0)
    not_so = (1 - prior) * np.where(marks > 0, 1 - q, q).prod(axis=0)
    total = belongs + not_so
    # A pattern that the estimates make impossible either way says nothing beyond what was known before.
    return np.divide(belongs, total, out=np.full(total.shape, prior), where=total > 0)


@dataclass(frozen=True)
class Consensus:
    """`values` (slices, rows, columns) uint8 vocabulary ids; by structure id the readers' sensitivities and
    specificities, (readers,) each; and how many pixels more than one structure claimed before the overlap policy
    decided.
    """

    values: np.ndarray
    sensitivity: dict[int, np.ndarray]
    specificity: dict[int, np.ndarray]
    overlap_pixels: int


def staple_label_maps(maps: Sequence[np.ndarray], vocabulary: Vocabulary) -> Consensus:
    """Label maps from k ≥ 2 readers' maps, each (slices, rows, columns) uint8 vocabulary ids of the same slices.

    Structure by structure: all slices together are one drawing of it, which whoever left it out has left empty. Where
    two structures are both likely, the overlap policy of `label_map.compose` decides. Raises ValueError as `staple`.
    """
    stacked = _stacked(maps)
    sensitivity, specificity = {}, {}
    regions: list[dict[int, Region]] = [{} for _ in stacked[0]]
    for label in _labels(stacked):
        estimate = staple(list(stacked == label))
        sensitivity[label], specificity[label] = estimate.sensitivity, estimate.specificity
        for on_slice, likely in zip(regions, estimate.probability > LIKELY, strict=True):
            if (region := trimmed(likely)) is not None:
                on_slice[label] = region
    rows, columns = stacked.shape[2:]
    composed = [compose(on_slice, rows, columns, vocabulary) for on_slice in regions]
    return Consensus(
        np.stack([one.values for one in composed]),
        sensitivity,
        specificity,
        sum(one.overlap_pixels for one in composed),
    )


def _stacked(maps: Sequence[np.ndarray]) -> np.ndarray:
    if len(maps) < 2:
        raise ValueError("a consensus takes two readers or more")
    if len({one.shape for one in maps}) > 1:
        raise ValueError("the readers' maps differ in size")
    return np.stack(maps)


def _labels(stacked: np.ndarray) -> list[int]:
    return [int(label) for label in np.unique(stacked) if label]
