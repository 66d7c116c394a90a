"""The gates of every profile against planted models, measured in one pass: each fault is refused by its own gate."""

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from medillus_pipeline.generation.config import SegmenterConfig
from medillus_pipeline.generation.plausible_anatomy import Rules, calibrate
from medillus_pipeline.generation.prior import build_prior
from medillus_pipeline.validation import planted
from medillus_pipeline.validation.evaluate import EvaluationConfig
from medillus_pipeline.validation.gates import Verdict, judge_gates, load_profile
from medillus_pipeline.validation.one_pass import Cohort, Measured, OnePassConfig, measure
from medillus_pipeline_tests.generation.test_plausible_anatomy import PIXEL_MM, world
from medillus_pipeline_tests.validation import anatomy

PROFILES = ("demo", "research", "clinical-education")
CLASSES = (1, 2, 3, 4, 5)
LEARNT = world(16, 5)
OTHERS = anatomy.cohort(patients=8, seed=99)
TRAINING = Cohort(LEARNT.values, LEARNT.labels, [f"t-{name}" for name in LEARNT.patients], LEARNT.levels, PIXEL_MM)
BAD = planted.planted_models(
    anatomy.good,
    planted.Slices(LEARNT.values, LEARNT.labels, LEARNT.levels),
    planted.Slices(OTHERS.values, OTHERS.class_maps, np.array(OTHERS.levels)),
    len(CLASSES),
    dropped=2,
)
REFUSED_BY = {
    "memoriser": "copy_rate",
    "mode_collapse": "diversity",
    "l1_blur": "sharpness_ratio",
    "mirror": "mirrored_share",
    "organ_dropper": "worst_organ_dice_ratio",
    "mask_painter": "organ_hu_sd_ratio",
    "wrong_hu": "organ_hu_error",
    "shuffled_masks": "dice_recovery",
}
GOOD_SLICES = planted.Slices(LEARNT.values, LEARNT.labels, LEARNT.levels)
SUBTLE = {
    "forgetful": planted.forgetful(anatomy.good, 3),
    "warped_copies": planted.warped_copies(anatomy.good, GOOD_SLICES, pixels=1.5),
    "one_organ_wrong": planted.one_organ_wrong(anatomy.good, 3, shift=60),
}
"""Faults of one organ, or of one image in ten, that every mean over organs or images hides."""
SUBTLE_REFUSED_BY = {
    "forgetful": "worst_class_error_excess",
    "warped_copies": "distance_ratio_nearest",
    "one_organ_wrong": "worst_organ_hu_excess",
}
MANY, FEW = 80, 24
"""Patients: as many as the strictest profile needs to bound its error rate, and as many as show a fault."""


class CarefulJudge(anatomy.OracleJudge):
    """The oracle, but an organ is one piece: a partial volume of one tissue with another is no second organ."""

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Probabilities (n, organs + 1, h, w)."""
        score = super().predict(values)
        for number, seen in enumerate(score.argmax(1)):
            for organ in CLASSES:
                parts = np.asarray(ndimage.label(seen == organ)[0])  # pyright: ignore[reportIndexIssue]
                if parts.max() > 1:
                    largest = np.bincount(parts.ravel())[1:].argmax() + 1
                    score[number, organ][(parts > 0) & (parts != largest)] = 0
        return score


@cache
def rules() -> Rules:
    """What the training patients' masks imply."""
    return calibrate(build_prior(LEARNT), LEARNT)


def measured(sample: planted.Sample, patients: int, *, students: int = 0, blind: bool = False) -> Measured:
    """All measures of a generator on that many unseen patients."""
    real = anatomy.cohort(patients=patients, seed=1)
    return measure(
        Cohort(real.values, real.class_maps, real.patients, np.array(real.levels), PIXEL_MM),
        TRAINING,
        anatomy.ORGANS,
        CLASSES,
        sample=sample,
        judge=anatomy.OracleJudge(blind=True) if blind else CarefulJudge(),
        seed=1,
        config=OnePassConfig(
            evaluation=EvaluationConfig(slices=8 * patients, draws=300),
            training_masks=128,
            students=students,
            student=SegmenterConfig(channels=(8, 16), steps=40),
        ),
        rules=rules(),
    )


@cache
def good(patients: int) -> Measured:
    """A perfect generator."""
    return measured(anatomy.good, patients, students=1)


@cache
def bad(name: str) -> Measured:
    """A planted model; no student learns from it, which is a failed gate more where a profile asks for students."""
    return measured(BAD[name], FEW)


@cache
def subtle(name: str) -> Measured:
    """A model with a fault that hides in a mean, measured with a student."""
    return measured(SUBTLE[name], FEW, students=1)


def refused(verdict: Verdict) -> set[str]:
    """The gates that were measured and not held."""
    return {result.gate.figure for result in verdict.results if result.status == "failed"}


@pytest.mark.parametrize(
    ("profile", "patients"),
    [("demo", FEW), ("research", FEW), pytest.param("clinical-education", MANY, marks=pytest.mark.slow)],
)
def test_a_good_model_passes_every_profile(profile: str, patients: int):
    verdict = judge_gates(load_profile(profile), good(patients).evaluation.figures)
    assert verdict.passed, verdict.sentence


def test_every_planted_model_has_a_gate_that_names_its_fault():
    assert REFUSED_BY.keys() == BAD.keys()


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", REFUSED_BY)
def test_a_planted_model_is_refused_by_the_gate_that_names_its_fault(name: str, profile: str):
    verdict = judge_gates(load_profile(profile), bad(name).evaluation.figures)
    assert verdict.status == "failed"
    assert REFUSED_BY[name] in refused(verdict)


@pytest.mark.parametrize("profile", ["demo", "research"])
@pytest.mark.parametrize("name", SUBTLE)
def test_a_fault_that_hides_in_a_mean_is_refused_by_its_gate_and_in_the_demo_by_that_alone(name: str, profile: str):
    verdict = judge_gates(load_profile(profile), subtle(name).evaluation.figures)
    assert verdict.status == "failed"
    assert SUBTLE_REFUSED_BY[name] in refused(verdict)
    if profile == "demo":
        assert refused(verdict) == {SUBTLE_REFUSED_BY[name]}


@pytest.mark.parametrize("name", ["memoriser", "mirror"])
def test_the_gate_that_names_a_fault_holds_for_the_other_models(name: str):
    for other in REFUSED_BY.keys() - {name}:
        verdict = judge_gates(load_profile("demo"), bad(other).evaluation.figures)
        assert REFUSED_BY[name] not in refused(verdict), other


@pytest.mark.parametrize("profile", PROFILES)
def test_a_judge_below_its_floor_is_inconclusive_however_good_the_model(profile: str):
    verdict = judge_gates(load_profile(profile), measured(anatomy.good, FEW, blind=True).evaluation.figures)
    assert verdict.status == "inconclusive"


def test_the_strictest_profile_does_not_pass_a_good_model_on_too_few_organs():
    figures = good(FEW).evaluation.figures
    assert figures["anatomical_instances"] < figures["anatomical_instances_needed"]
    results = judge_gates(load_profile("clinical-education"), figures).results
    found = next(one for one in results if one.gate.figure == "anatomical_error_rate")
    assert found.status == "inconclusive"
