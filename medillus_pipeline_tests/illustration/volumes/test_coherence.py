"""The measures of coherence tell the ways apart in which a volume falls to pieces."""

import numpy as np
import pytest
from scipy import ndimage

from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration.volumes.coherence import dice, measure, texture


def flowing(seed: int, along: float = 1.5) -> np.ndarray:
    """A volume whose grain lasts along z."""
    grain = np.random.default_rng(seed).normal(size=(30, 40, 40))
    smooth = np.asarray(ndimage.gaussian_filter1d(grain, along, axis=0, mode="wrap"))
    return 50 + 20 * smooth / smooth.std()


LABELS = np.zeros((30, 40, 40), np.uint8)
LABELS[:, 4:36, 4:20] = 1
LABELS[:, 4:36, 20:36] = 2


def test_another_volume_of_the_same_kind_passes_every_bar():
    found = measure(flowing(1), flowing(2), LABELS, judge=lambda values: LABELS)
    assert found.failures() == []
    assert found.flicker == pytest.approx(1, abs=0.05) and found.dice_ratio == 1


def test_slices_that_know_nothing_of_each_other_flicker():
    lone = np.random.default_rng(3).normal(50, 20, LABELS.shape)
    found = measure(lone, flowing(2), LABELS)
    said = " ".join(found.failures())
    assert "flicker" in said and "correlation" in said
    assert "texture spread" not in said


def test_a_volume_that_stands_still_is_found_by_the_lag():
    still = np.repeat(flowing(1)[:1], 30, 0)
    said = " ".join(measure(still, flowing(2), LABELS).failures())
    assert "lag-8" in said and "flicker" in said


def test_a_smooth_volume_is_found_by_its_texture():
    blurred = np.asarray(ndimage.gaussian_filter(flowing(1), (0, 2, 2)))
    assert any("texture spread" in said for said in measure(blurred, flowing(2), LABELS).failures())


def test_structures_that_the_judge_cannot_find_are_found():
    real = flowing(2)
    found = measure(flowing(1), real, LABELS, judge=lambda v: LABELS if v is real else np.roll(LABELS, 8, 2))
    assert any("Dice" in said for said in found.failures())


def test_texture_is_what_a_blur_leaves_within_structures_alone():
    values = np.where(LABELS == 1, 100.0, 0.0)
    grain = texture(values, LABELS)
    assert np.isnan(grain[LABELS == 0]).all() and np.isnan(grain[:, 20, 19]).all()
    assert np.nanmax(np.abs(grain)) < 1e-3


def test_dice_counts_over_the_stack():
    assert dice(LABELS, LABELS) == 1
    assert dice(np.zeros_like(LABELS), LABELS) == 0


def test_too_few_slices_and_no_structures_are_refused():
    with pytest.raises(InputError, match="more than 8"):
        measure(flowing(1)[:8], flowing(2)[:8], LABELS[:8])
    with pytest.raises(InputError, match="texture"):
        measure(flowing(1), flowing(2), np.zeros_like(LABELS))
