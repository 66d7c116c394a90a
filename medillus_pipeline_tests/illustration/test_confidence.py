import math

import numpy as np
import pytest

from medillus_pipeline.illustration.confidence import agreement


def probabilities(found: np.ndarray, certainty: float) -> np.ndarray:
    rest = (1 - certainty) / 2
    result = np.full((3, *found.shape), rest)
    for channel in range(3):
        result[channel][found == channel] = certainty
    return result


def test_full_agreement_scores_the_segmenters_certainty() -> None:
    labels = np.zeros((8, 8), np.uint8)
    labels[2:6, 2:6] = 5
    scores = agreement(probabilities((labels == 5).astype(int), 0.9), labels, {5: 1})
    assert scores == {5: pytest.approx(0.9)}


def test_spilling_over_and_moving_away_both_lower_the_score() -> None:
    labels = np.zeros((8, 8), np.uint8)
    labels[2:6, 2:6] = 5
    spilled = agreement(probabilities(np.ones((8, 8), int), 0.9), labels, {5: 1})[5]
    moved = agreement(probabilities(np.roll(labels == 5, 2, axis=1).astype(int), 0.9), labels, {5: 1})[5]
    absent = agreement(probabilities(np.zeros((8, 8), int), 0.9), labels, {5: 1})[5]
    assert 0 == absent < moved < spilled < 0.9


def test_a_structure_unknown_to_the_segmenter_has_no_score() -> None:
    labels = np.full((4, 4), 9, np.uint8)
    assert math.isnan(agreement(probabilities(np.zeros((4, 4), int), 0.9), labels, {5: 1})[9])


def test_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="label map"):
        agreement(np.zeros((3, 4, 4)), np.zeros((5, 5), np.uint8), {})
