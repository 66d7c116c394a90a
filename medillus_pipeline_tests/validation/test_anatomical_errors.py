"""The bound on the error rate is honest: positive without errors, wider for clustered ones, and it covers the truth."""

import math

import numpy as np
import pytest

from medillus_pipeline.generation.plausible_anatomy import KINDS, Findings
from medillus_pipeline.validation import metrics
from medillus_pipeline.validation.anatomical_errors import (
    AnatomicalErrors,
    anatomical_errors,
    exact_bounds,
    few_patients,
    organ_figures,
)


def findings(wrong: np.ndarray, kind: str = "missing") -> Findings:
    """Findings with every instance counted; `wrong` (n, classes) have an error of that kind."""
    broken = np.zeros((*wrong.shape, len(KINDS)), bool)
    broken[..., KINDS.index(kind)] = wrong
    return Findings(np.ones(wrong.shape, bool), broken)


def rates(wrong: np.ndarray, groups: np.ndarray, real: np.ndarray | None = None, draws: int = 400) -> AnatomicalErrors:
    patients = int(groups.max()) + 1
    weights = metrics.bootstrap_weights(patients, draws, np.random.default_rng(0))
    return anatomical_errors(findings(wrong), findings(np.zeros_like(wrong) if real is None else real), groups, weights)


def scene(patients: int, slices: int, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((patients * slices, classes), bool), np.repeat(np.arange(patients), slices)


def test_no_error_at_all_still_gives_a_positive_bound():
    found = rates(*scene(40, 10))
    assert found.generated.value == 0
    assert 0 < found.generated.high < 0.01
    assert found.difference_low < 0 < found.difference_high


def test_about_six_hundred_independent_instances_are_needed_without_errors():
    assert math.log(0.05) / math.log1p(-0.005) == pytest.approx(598, abs=1)
    assert exact_bounds(0, 598, 0.05)[1] == pytest.approx(0.005, rel=0.01)
    found = rates(np.zeros((5000, 1), bool), np.arange(5000), draws=100)
    assert found.generated.design_effect == 1
    assert 597 <= found.needed <= 602


def test_too_few_instances_are_inconclusive_and_have_no_bound_that_a_gate_could_pass_on():
    found = rates(*scene(20, 5))
    assert found.generated.instances == 500 < found.needed
    assert not found.conclusive
    assert math.isnan(found.figures()["anatomical_error_rate_high"])
    assert found.figures()["anatomical_error_rate"] == 0


def test_enough_instances_without_errors_are_conclusive_and_under_the_threshold():
    found = rates(*scene(60, 20))
    assert found.conclusive
    assert found.figures()["anatomical_error_rate_high"] < 0.005


def test_the_bound_gets_under_the_threshold_exactly_where_it_becomes_conclusive():
    for patients in (8, 20, 50):
        for slices in (5, 20, 80):
            found = rates(*scene(patients, slices), draws=100)
            assert found.conclusive == (found.generated.high <= 0.005), (patients, slices)


def test_a_plainly_bad_rate_is_no_question_of_numbers():
    wrong, groups = scene(6, 8)
    wrong[:, 0] = True
    found = rates(wrong, groups)
    assert found.generated.instances < found.needed
    assert found.conclusive
    assert found.figures()["anatomical_error_rate_low"] > 0.005


def test_errors_of_one_patient_widen_the_bound_over_the_same_number_spread_out():
    wrong, groups = scene(20, 20)
    one, spread = wrong.copy(), wrong.copy()
    one[:20, 0] = True
    spread[::20, 0] = True
    assert one.sum() == spread.sum()
    clustered, even = rates(one, groups).generated, rates(spread, groups).generated
    assert clustered.value == even.value
    assert clustered.design_effect > 5 * even.design_effect
    assert clustered.high > 1.5 * even.high


def test_the_bound_covers_the_true_rate_of_clustered_errors():
    rng = np.random.default_rng(4)
    truth, covered = 0.02, 0
    for _ in range(200):
        chances = rng.beta(truth * 10, (1 - truth) * 10, 15)
        wrong, groups = scene(15, 10)
        wrong |= rng.random(wrong.shape) < np.repeat(chances, 10)[:, None]
        covered += rates(wrong, groups, draws=100).generated.high >= truth
    assert covered >= 0.93 * 200


def test_one_patient_has_no_bound():
    found = rates(*scene(1, 1000))
    assert math.isnan(found.generated.high)
    assert found.needed == math.inf
    assert not found.conclusive
    assert few_patients(1, 0.05) == 0


def test_errors_that_real_images_show_as_well_are_no_excess():
    wrong, groups = scene(20, 20)
    wrong[::7, 1] = True
    same = rates(wrong, groups, real=wrong)
    assert same.difference == 0
    assert same.difference_low < 0 < same.difference_high
    assert rates(wrong, groups).difference_low > 0


def test_an_instance_with_two_errors_counts_once_and_under_both_kinds():
    wrong, groups = scene(5, 4)
    both = findings(wrong)
    both.broken[0, 0, [0, 4]] = True
    weights = metrics.bootstrap_weights(5, 100, np.random.default_rng(0))
    found = anatomical_errors(both, findings(wrong), groups, weights)
    assert found.generated.errors == 1
    assert found.by_kind["missing"] == found.by_kind["size"] == 1 / 100


def test_classes_without_instances_have_no_figure():
    wrong, groups = scene(5, 4, classes=2)
    made = findings(wrong)
    made.counted[:, 1] = False
    weights = metrics.bootstrap_weights(5, 100, np.random.default_rng(0))
    found = anatomical_errors(made, findings(wrong), groups, weights)
    assert organ_figures(found, ["liver", "spleen"]) == {"anatomical_error_rate/liver": 0.0}


def test_lengths_must_agree():
    wrong, groups = scene(5, 4)
    with pytest.raises(ValueError, match="one entry per slice"):
        rates(wrong, groups[:-1])
