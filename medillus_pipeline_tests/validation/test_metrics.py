"""Numbers against values worked out by hand or by an independent formula."""

import numpy as np
import pytest
from scipy import linalg

from medillus_pipeline.validation import controls, metrics


def maps(*rows: str) -> np.ndarray:
    """One class map of digits."""
    return np.array([[list(map(int, row)) for row in rows]], np.uint8)


def test_dice_of_half_overlapping_squares_is_one_half():
    truth, found = np.zeros((1, 8, 8), np.uint8), np.zeros((1, 8, 8), np.uint8)
    truth[0, :4, :4] = 1
    found[0, :4, 2:6] = 1
    assert metrics.dice(metrics.overlap(truth, found, 1)).tolist() == [[0.5]]


def test_an_organ_that_the_mask_lacks_has_no_dice_but_a_false_find_costs_its_patient():
    truth = np.zeros((2, 8, 8), np.uint8)
    truth[0, :4, :4] = 1
    counts = metrics.overlap(truth, np.stack([truth[0], truth[0]]), 1)
    assert np.isnan(metrics.dice(counts)[1, 0])
    assert metrics.patient_dice(counts, np.array([0, 0]), 1)[0, 0] == pytest.approx(2 / 3)


def test_organs_of_a_few_pixels_are_not_scored():
    counts = metrics.overlap(maps("1100", "0000"), maps("1100", "0000"), 1)
    assert np.isnan(metrics.dice(counts)).all()


def test_moments_are_those_of_the_pixels_under_the_mask_of_all_slices_of_a_patient():
    rng = np.random.default_rng(0)
    values = rng.integers(-1000, 400, (4, 16, 16)).astype(np.int16)
    labels = rng.integers(0, 3, (4, 16, 16)).astype(np.uint8)
    groups = np.array([0, 0, 1, 1])
    found = metrics.patient_moments(values, labels, groups, 2, 2)
    under = values[2:][labels[2:] == 2].astype(float)
    assert found.mean[1, 1] == pytest.approx(under.mean())
    assert found.sd[1, 1] == pytest.approx(under.std())


def test_blur_lowers_sharpness_and_noise_raises_it():
    rng = np.random.default_rng(0)
    image = np.cumsum(rng.normal(0, 30, (1, 32, 32)), axis=2).astype(np.int16)
    region = np.ones(image.shape, bool)
    blurred = ((image + np.roll(image, 1, 1) + np.roll(image, 1, 2)) / 3).astype(np.int16)
    noisy = (image + rng.normal(0, 60, image.shape)).astype(np.int16)
    low, plain, high = (metrics.sharpness(one, region)[0] for one in (blurred, image, noisy))
    assert low < plain < high


def test_interiors_leave_out_every_pixel_beside_another_class():
    labels = np.zeros((1, 7, 8), np.uint8)
    labels[0, 1:6, 1:4] = 1
    labels[0, 1:6, 4:7] = 2
    inside = metrics.interiors(labels)[0]
    assert [tuple(place) for place in np.argwhere(inside)] == [(r, c) for r in (2, 3, 4) for c in (2, 5)]


def test_a_ragged_body_has_a_longer_outline_and_specks_and_holes_do_not_count():
    image = np.full((2, 20, 20), -1000, np.int16)
    image[:, 4:14, 4:14] = 40
    image[0, 7:9, 7:9] = -1000
    image[0, 17, 17] = 40
    image[1, 4:14:2, 13] = -1000
    smooth, ragged = metrics.outline(image)
    assert smooth == 4.0
    assert ragged > 4.8
    assert np.isnan(metrics.outline(np.full((1, 8, 8), -1000, np.int16))[0])


def test_frechet_distance_agrees_with_the_matrix_root_formula():
    rng = np.random.default_rng(1)
    a, b = rng.normal(0, 1, (60, 5)), rng.normal(0.4, 1.7, (50, 5))
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * linalg.sqrtm(ca @ cb).real)
    assert metrics.frechet(a, b) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_stands_more_features_than_samples_and_is_zero_to_itself():
    a = np.random.default_rng(2).normal(size=(6, 40))
    assert metrics.frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_perfect_images_have_a_frechet_ratio_about_one_however_few():
    rng = np.random.default_rng(3)
    centre = rng.normal(0, 1, (4, 6))
    groups = np.repeat(np.arange(4), 8)
    real, made = (centre[groups] + rng.normal(0, 1, (32, 6)) for _ in range(2))
    found = metrics.matched_frechet(real, made, groups, 4, rng)
    assert 0.7 < found.ratio < 1.4
    assert found.low <= found.ratio <= found.high
    assert metrics.matched_frechet(real, made + 5, groups, 4, rng).ratio > 5


def test_the_frechet_ratio_of_one_patient_is_not_a_number():
    features = np.ones((4, 2))
    assert np.isnan(metrics.matched_frechet(features, features, np.zeros(4, int), 1, np.random.default_rng()).ratio)


def test_the_bootstrap_interval_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(4)
    weights = metrics.bootstrap_weights(30, 400, rng)
    hits = 0
    for _ in range(200):
        table = rng.normal(1.0, 0.5, (30, 1))
        found = metrics.estimate(lambda w, t=table: metrics.weighted_mean(t, w)[:, 0], weights)
        hits += found.low <= 1.0 <= found.high
    assert 0.88 <= hits / 200 <= 0.99


def test_one_patient_gives_a_value_without_an_interval():
    weights = metrics.bootstrap_weights(1, 50, np.random.default_rng(0))
    found = metrics.estimate(lambda w: metrics.weighted_mean(np.array([[0.7]]), w)[:, 0], weights)
    assert found.value == pytest.approx(0.7)
    assert np.isnan([found.low, found.high]).all()


def test_the_shuffled_partner_is_the_nearest_level_of_another_patient():
    patients, levels = np.array(["a", "a", "b", "b"], object), np.array([0.1, 0.5, 0.12, 0.9])
    partner = controls.other_patient_at_same_level(patients, levels)
    assert partner is not None
    assert partner.tolist() == [2, 2, 0, 1]
    assert controls.other_patient_at_same_level(np.array(["a", "a"], object), levels[:2]) is None


def test_a_limit_takes_slices_evenly_over_patients_and_levels():
    patients = np.array(["a"] * 20 + ["b"] * 3 + ["c"] * 20, object)
    levels = np.concatenate([np.linspace(0, 1, 20), np.linspace(0, 1, 3), np.linspace(0, 1, 20)])
    rows = controls.evenly_over_patients(patients, levels, 13)
    counts = [int((patients[rows] == name).sum()) for name in "abc"]
    assert counts == [5, 3, 5]
    assert np.ptp(levels[rows][:5]) > 0.6
    assert controls.evenly_over_patients(patients, levels, 500).tolist() == list(range(43))


def test_gaussian_texture_has_the_statistics_of_each_label():
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 3, (6, 32, 32)).astype(np.uint8)
    values = np.array([-900.0, 40.0, 300.0])[labels] + rng.normal(0, 1, labels.shape) * np.array([50, 10, 90])[labels]
    statistics = controls.label_statistics(values.astype(np.int16), labels, 3)
    painted = controls.gaussian_texture(labels, statistics, rng)
    for label, (mean, sd) in enumerate([(-900, 50), (40, 10), (300, 90)]):
        assert painted[labels == label].mean() == pytest.approx(mean, abs=6)
        assert painted[labels == label].std() == pytest.approx(sd, rel=0.1)
    assert statistics.mean[3] == statistics.mean[0]
