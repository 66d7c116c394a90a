"""The good sampler draws what is asked, and each planted model has its own fault and no other."""

import numpy as np
import pytest

from medillus_pipeline.validation import metrics, planted
from medillus_pipeline.validation.planted import Slices
from medillus_pipeline_tests.validation import anatomy


def slices(cohort: anatomy.Cohort) -> Slices:
    return Slices(cohort.values, cohort.class_maps, np.array(cohort.levels))


REAL, TRAINING, OTHERS = (slices(anatomy.cohort(patients=4, seed=seed)) for seed in (1, 2, 3))
GOOD = planted.replay(
    Slices(
        np.concatenate([REAL.values, OTHERS.values]),
        np.concatenate([REAL.class_maps, OTHERS.class_maps]),
        np.concatenate([REAL.levels, OTHERS.levels]),
    )
)
LIVER = 2


def ask(sample: planted.Sample, seed: int = 1) -> np.ndarray:
    images = sample(REAL.class_maps, REAL.levels, seed)
    assert images.shape == REAL.values.shape
    assert images.dtype == np.int16
    return images


def judged(images: np.ndarray) -> np.ndarray:
    return anatomy.OracleJudge().predict(images).argmax(1)


def test_the_good_sampler_returns_the_real_image_with_noise_of_its_seed():
    first, again, other = ask(GOOD), ask(GOOD), ask(GOOD, seed=2)
    np.testing.assert_array_equal(first, again)
    assert 0 < np.abs(first - other).mean() < 20
    assert np.abs(first.astype(float) - REAL.values).mean() < 10


def test_the_good_sampler_follows_a_mask_that_was_changed():
    without = np.where(REAL.class_maps == LIVER, 0, REAL.class_maps)
    images = GOOD(without, REAL.levels, 1)
    there = REAL.class_maps == LIVER
    assert (judged(images)[there] == LIVER).mean() < 0.1 < (judged(REAL.values)[there] == LIVER).mean()


def test_the_memoriser_returns_one_of_its_eight_training_slices():
    images = ask(planted.memoriser(TRAINING))
    assert len(np.unique(images, axis=0)) <= 8
    assert all((TRAINING.values == image).all((1, 2)).any() for image in images)


def test_mode_collapse_has_one_image_for_each_level_whatever_the_mask_and_the_seed():
    sample = planted.mode_collapse(GOOD, OTHERS, body_levels=4)
    assert len(np.unique(ask(sample), axis=0)) == 4
    np.testing.assert_array_equal(ask(sample, 1), ask(sample, 2))


def test_the_blur_keeps_the_mean_and_loses_the_grain():
    images, sharp = ask(planted.l1_blur(GOOD)), ask(GOOD)
    assert images.mean() == pytest.approx(sharp.mean(), abs=2)
    body = REAL.values > -500
    assert metrics.sharpness(images, body).mean() < 0.5 * metrics.sharpness(sharp, body).mean()


def test_the_mirror_exchanges_left_and_right():
    np.testing.assert_array_equal(ask(planted.mirror(GOOD))[:, :, ::-1], ask(GOOD))


def test_the_organ_dropper_leaves_out_one_organ_only():
    found = judged(ask(planted.organ_dropper(GOOD, LIVER)))
    before = judged(ask(GOOD))
    for index in range(1, 6):
        share = (found == index)[REAL.class_maps == index].mean() / (before == index)[REAL.class_maps == index].mean()
        assert share < 0.1 if index == LIVER else share > 0.9


def test_the_mask_painter_knows_the_mask_only():
    images = ask(planted.mask_painter(5))
    assert len(np.unique(images[REAL.class_maps == LIVER])) == 1
    assert images.min() == -1000 and images.max() == 1000


def test_wrong_hu_shifts_and_stretches():
    np.testing.assert_array_equal(ask(planted.wrong_hu(GOOD)), ask(GOOD) + 60)
    images = ask(planted.wrong_hu(GOOD, shift=0, gain=1.5))
    np.testing.assert_allclose(images, 1.5 * ask(GOOD), atol=0.51)


def test_shuffled_masks_draw_others():
    agrees = (judged(ask(planted.shuffled_masks(GOOD, OTHERS))) == REAL.class_maps)[REAL.class_maps > 0].mean()
    assert agrees < 0.75 < (judged(ask(GOOD)) == REAL.class_maps)[REAL.class_maps > 0].mean()


def test_every_planted_model_answers_in_batches_of_any_size_without_changing_its_input():
    models = planted.planted_models(GOOD, TRAINING, OTHERS, 5, dropped=LIVER)
    assert len(models) == 8
    maps = REAL.class_maps.copy()
    for sample in models.values():
        assert sample(maps[:3], REAL.levels[:3], 0).shape == maps[:3].shape
    np.testing.assert_array_equal(maps, REAL.class_maps)
