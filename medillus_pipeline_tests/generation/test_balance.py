"""Which slice a sample is drawn from: patients alike, slices with rare structures more often, and bounded."""

import numpy as np
import pytest

from medillus_pipeline.generation.augmentation_config import AugmentationConfig
from medillus_pipeline.generation.balance import Balance, rarity

PATIENTS = ["long"] * 90 + ["short"] * 10
SHOWN = [[1, 7] if row in (3, 95) else [1] for row in range(100)]
"""Class 7 is on one slice of each of two patients."""


def drawn(config: AugmentationConfig, count: int = 20_000) -> np.ndarray:
    """How often each row is drawn, as a share."""
    random = np.random.default_rng(0)
    balance = Balance(PATIENTS, SHOWN, config)
    rows = [balance.row(*random.random(3)) for _ in range(count)]
    return np.bincount(rows, minlength=len(PATIENTS)) / count


def test_a_patient_of_few_slices_is_drawn_as_often_as_one_of_many() -> None:
    share = drawn(AugmentationConfig())
    assert share[90:].sum() == pytest.approx(0.5, abs=0.02)


def test_slices_of_rare_structures_are_drawn_by_their_bounded_weight() -> None:
    share = drawn(AugmentationConfig(rare_structures=0.5, rare_weight=10))
    # Of the short patient's draws half are alike (1/10), half by weight (10 of 10 + 9 · 1).
    assert share[95] == pytest.approx(0.5 * (0.5 / 10 + 0.5 * 10 / 19), rel=0.1)
    assert share[91] == pytest.approx(0.5 * (0.5 / 10 + 0.5 * 1 / 19), rel=0.15)


def test_balance_can_be_turned_off() -> None:
    share = drawn(AugmentationConfig(balance_patients=False, rare_structures=0))
    assert share[90:].sum() == pytest.approx(0.1, abs=0.01)
    assert share[[3, 95]].sum() == pytest.approx(0.02, abs=0.005)


def test_every_row_can_be_drawn_and_none_beyond() -> None:
    assert (drawn(AugmentationConfig()) > 0).all()
    balance = Balance(PATIENTS, SHOWN, AugmentationConfig(rare_structures=1))
    nearly_one = float(np.nextafter(1, 0))
    assert balance.row(nearly_one, 0.0, nearly_one) == 99
    assert balance.row(0.0, 0.0, 0.0) == 0


def test_rarity_is_the_inverse_share_of_the_rarest_class_within_its_bound() -> None:
    assert rarity([[1], [1, 2], [1], []], 100).tolist() == [4 / 3, 4, 4 / 3, 1]
    assert rarity([[1], [1, 2], [1], []], 2).tolist() == [4 / 3, 2, 4 / 3, 1]
