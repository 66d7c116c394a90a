"""The kernel distance is unbiased, contexts are scored on the same slices, and unlike extractors are not compared."""

import numpy as np
import pytest

from medillus_pipeline.errors import InputError
from medillus_pipeline.validation import controls
from medillus_pipeline.validation.comparison import side_by_side
from medillus_pipeline.validation.evaluate import Evaluation, EvaluationConfig, evaluate
from medillus_pipeline.validation.figures import CONTEXT_FIGURES, CONTEXTS, kind_of
from medillus_pipeline.validation.kernel_distance import kernel, matched_kernel_distance, squared_discrepancy
from medillus_pipeline.validation.metrics import MAXIMUM_HALVINGS, halvings
from medillus_pipeline_tests.validation import anatomy

REAL = anatomy.cohort(patients=4, slices=6)
TEXTURE = controls.label_statistics(REAL.values, REAL.class_maps, len(anatomy.ORGANS))


def blurred(class_maps, levels, seed, *, real=None):
    """Good images, averaged over eight draws."""
    return np.mean([anatomy.good(class_maps, levels, seed + k) for k in range(8)], axis=0).astype(np.int16)


def copied(class_maps, levels, seed, *, real):
    """The real slices themselves: the best that a true context could do."""
    return real


def measured(contexts=None) -> Evaluation:
    return evaluate(
        REAL.values, REAL.class_maps, REAL.patients, REAL.levels, anatomy.ORGANS, sample=anatomy.good,
        judge=anatomy.OracleJudge(), texture=TEXTURE, seed=1, contexts=contexts,
        config=EvaluationConfig(draws=100, context_slices=12),
    )  # fmt: skip


@pytest.fixture(scope="module")
def with_contexts() -> Evaluation:
    return measured({"true": copied, "none": blurred})


def test_the_kernel_distance_of_one_distribution_is_zero_on_average_however_small_the_samples():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        a, b = rng.standard_normal((2, 6, 4))
        found.append(squared_discrepancy(kernel(a, a), kernel(b, b), kernel(a, b)))
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(len(found))
    assert min(found) < 0


def test_the_kernel_distance_grows_with_what_is_wrong():
    rng = np.random.default_rng(0)
    real, groups = rng.standard_normal((60, 8)), np.repeat(np.arange(6), 10)
    distances = [
        matched_kernel_distance(real, real[rng.permutation(60)] + shift, groups, 6, rng).distance
        for shift in (0.0, 0.5, 1.0)
    ]
    assert distances[0] < distances[1] < distances[2]


def test_the_kernel_distance_does_not_depend_on_the_unit_of_the_features():
    rng = np.random.default_rng(0)
    real, made, groups = rng.standard_normal((30, 5)), rng.standard_normal((30, 5)) + 1, np.repeat(np.arange(3), 10)
    once, hundredfold = (
        matched_kernel_distance(unit * real, unit * made, groups, 3, np.random.default_rng(1)) for unit in (1, 100)
    )
    assert once.distance == pytest.approx(hundredfold.distance)


def test_halvings_of_many_patients_are_spread_over_all_of_them():
    halves = halvings(21, np.random.default_rng(0))
    assert len(halves) == len(set(halves)) == MAXIMUM_HALVINGS
    counts = np.bincount(np.concatenate(halves), minlength=21)
    assert counts.min() >= 8 and counts.max() <= 32


def test_every_context_gives_its_figures_with_names(with_contexts):
    for suffix in CONTEXTS:
        for key in CONTEXT_FIGURES:
            assert np.isfinite(with_contexts.figures[f"{key}_{suffix}"]), (key, suffix)
            assert kind_of(f"{key}_{suffix}_low") is kind_of(key)


def test_a_true_context_that_shows_the_slice_scores_as_the_slice(with_contexts):
    figures = with_contexts.figures
    assert figures["mae_true_context"] == 0
    assert figures["organ_hu_error_true_context"] == pytest.approx(0)
    assert figures["dice_recovery_true_context"] == pytest.approx(1)
    assert figures["fid_ratio_true_context"] == pytest.approx(1)


def test_no_context_shows_what_is_lost(with_contexts):
    figures = with_contexts.figures
    assert figures["organ_hu_sd_ratio_no_context"] < figures["organ_hu_sd_ratio_proposed_context"] - 0.05


def test_contexts_change_no_other_figure(with_contexts):
    without = measured().figures
    shared = {key: value for key, value in with_contexts.figures.items() if not key.count("_context")}
    assert shared.keys() == without.keys()
    for key, value in without.items():
        assert shared[key] == pytest.approx(value, nan_ok=True), key


def test_figures_of_two_extractors_are_not_compared():
    documents = [{"figures": {"fid": 1.0}, "feature_extractor": {"sha256": letter * 64}} for letter in "ab"]
    with pytest.raises(InputError, match="different feature extractors"):
        side_by_side(documents)
    with pytest.raises(InputError, match="does not say"):
        side_by_side([{"figures": {}}])


def test_figures_of_one_extractor_stand_side_by_side():
    documents = [{"figures": figures, "feature_extractor": {"sha256": "a"}} for figures in ({"fid": 1.0}, {"kid": 2.0})]
    assert side_by_side(documents) == {"fid": (1.0, None), "kid": (None, 2.0)}
