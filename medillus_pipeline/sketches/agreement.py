"""How well a reading agrees with the anatomical prior, and what in it no body has.

For choosing between readings of one drawing (placements, mirror images) and for refusing. The rules themselves are in
`generation/plausibility_rules.py`.
"""

import numpy as np
from numpy.typing import NDArray

from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.organ_shapes import measure
from medillus_pipeline.generation.plausibility_rules import beyond_size, from_expected_place, misordered
from medillus_pipeline.generation.plausible_anatomy import CALIBRATED, calibrate
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.sketches.calibration import Calibration

LEAST_SHARE = 0.02
"""Occupancy below which a pixel counts as this unlikely and no more: patients differ from those of the prior."""

MARGIN = 1.15
"""By how much the strangest calibration drawing must be exceeded before a drawing is refused."""


def agreement(probability: NDArray[np.floating], prior: Prior) -> float:
    """How likely a reading (classes + 1, h, w) is by network and prior together: a mean log probability, at most 0.

    Each structure counts by the root of its area, at the level that suits all best; minus infinity for a reading with
    nothing in it.
    """
    place, sure = _terms(probability, prior)
    return place + 2 * sure


def uprightness(probability: NDArray[np.floating], prior: Prior) -> float:
    """How coherent a reading (classes + 1, h, w) is, to be compared with that of the mirrored drawing.

    The network reads a mirrored drawing with less certainty and leaves more of it without a name. The weights are
    rounded from a logistic regression on drawings and their mirror images; the margin is calibrated.
    """
    place, sure = _terms(probability, prior)
    if not np.isfinite(place):
        return -np.inf
    entropy = float(-(probability * np.log(probability + 1e-6)).sum(0).mean())
    named = float(np.log((probability.argmax(0) > 0).sum()))
    return place + 3 * sure - 40 * entropy + 2.5 * named


def _terms(probability: NDArray[np.floating], prior: Prior) -> tuple[float, float]:
    """Mean log occupancy at the best level, and mean log probability, over the structures of a reading."""
    labels = probability.argmax(0)
    found = [index for index in range(1, len(probability)) if (labels == index).sum() >= 3]
    if not found:
        return -np.inf, -np.inf
    weights, places, sure = [], [], []
    for index in found:
        own = labels == index
        weights.append(np.sqrt(own.sum()))
        sure.append(np.log(np.maximum(probability[index][own], 1e-3)).mean())
        share = np.nan_to_num(prior.occupancy[:, index - 1], nan=1.0)[:, own]
        places.append(np.log(np.maximum(share, LEAST_SHARE)).mean(1))
    weight = np.array(weights) / np.sum(weights)
    return float((weight[:, None] * np.stack(places)).sum(0).max()), float((weight * np.array(sure)).sum())


def strangeness(
    labels: NDArray[np.integer], levels: NDArray[np.floating], prior: Prior, pixels: int = 6
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n, C) twice: how strange place and size of each structure of label maps (n, h, w) are; NaN where absent."""
    shapes = measure(labels, len(prior.classes), prior.pixel_mm)
    absent = shapes.pixels < pixels
    place, size = from_expected_place(shapes, prior, levels), beyond_size(shapes, prior, levels)
    place[absent], size[absent] = np.nan, np.nan
    return place, size


def limits(
    labels: NDArray[np.integer], levels: NDArray[np.floating], prior: Prior, dataset: Dataset
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """What place (C,) and size (C,) may reach, and which pairs (C, C) have a sure order from left to right.

    At least what the training masks themselves need, and what regions drawn after them (n, h, w) reach.
    """
    rules = calibrate(prior, dataset)
    place, size = strangeness(labels, levels, prior)
    bounds = []
    for name, scores in (("misplaced", place), ("size", size)):
        widest = np.where(np.isnan(scores), -np.inf, scores).max(0, initial=-np.inf)
        bounds.append(MARGIN * np.maximum(rules.limits[:, CALIBRATED.index(name)], widest))
    return bounds[0], bounds[1], rules.left_of


def objections(
    labels: NDArray[np.integer], level: float, prior: Prior, calibration: Calibration, vocabulary: Vocabulary
) -> list[str]:
    """Sentences on what in a label map (h, w) no training patient comes near to; empty where nothing is."""
    levels = np.array([level])
    place, size = strangeness(labels[None], levels, prior)
    shapes = measure(labels[None], len(prior.classes), prior.pixel_mm)
    present = shapes.pixels >= 6
    found = []
    wrong_side = misordered(shapes, present, np.array(calibration.left_of, bool)) > 0.5
    nearest = np.argmin(np.where(np.isfinite(prior.area[..., 0]), _steps(prior, level), np.inf), axis=0)
    for index, label in enumerate(prior.classes):
        name = vocabulary.by_id(label).name_en
        if place[0, index] > calibration.misplaced[index]:
            found.append(f"{name}: out of place; no training patient has it near there at this level")
        if wrong_side[0, index]:
            found.append(f"{name}: on the wrong side of the structures drawn beside it")
        if size[0, index] > calibration.size[index]:
            mean = float(prior.area[nearest[index], index, 0])
            word = "large" if shapes.area[0, index] > mean else "small"
            found.append(
                f"{name}: far too {word}, {shapes.area[0, index] / 100:.0f} cm² where {mean / 100:.0f} cm² is usual"
            )
    return found


def _steps(prior: Prior, level: float) -> NDArray[np.float64]:
    """(levels, C): how far each level of the prior is from this one."""
    steps = np.abs(np.arange(len(prior.area)) - level * (len(prior.area) - 1))
    return np.broadcast_to(steps[:, None], prior.area.shape[:2])
