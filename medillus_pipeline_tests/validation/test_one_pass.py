"""One pass measures all, draws each image once, and says what it could not measure."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from medillus_pipeline.generation.config import SegmenterConfig
from medillus_pipeline.validation.evaluate import EvaluationConfig
from medillus_pipeline.validation.figures import COMPARED, kind_of
from medillus_pipeline.validation.one_pass import Cohort, Measured, OnePassConfig, measure
from medillus_pipeline_tests.validation import anatomy

REAL, LEARNT = anatomy.cohort(patients=4, slices=4), anatomy.cohort(patients=4, slices=4, seed=5)
CONFIG = OnePassConfig(
    evaluation=EvaluationConfig(slices=12, diversity_masks=3, examples=2, draws=100, context_slices=6),
    training_masks=10,
    edited_masks=5,
    students=1,
    student=SegmenterConfig(channels=(4, 8), steps=5),
)


def cohort(real: anatomy.Cohort, letter: str, **given: np.ndarray) -> Cohort:
    """The slices, patients renamed so that the two cohorts share none."""
    return Cohort(real.values, real.class_maps, [letter + p for p in real.patients], np.array(real.levels), 8.0, given)


def measured(sample: Callable, config: OnePassConfig = CONFIG, *, learnt: Cohort | None = None, **further) -> Measured:
    return measure(
        cohort(REAL, "v"), learnt or cohort(LEARNT, "t"), anatomy.ORGANS, (1, 2, 3, 4, 5), sample=sample,
        judge=anatomy.OracleJudge(), seed=1, config=config, **further,
    )  # fmt: skip


@pytest.fixture(scope="module")
def found() -> Measured:
    """A good model with its contexts, beside a blurred champion."""

    def under(maps, levels, seed, *, real):
        return anatomy.good(maps, levels, seed)

    return measured(anatomy.good, contexts={"true": under, "none": under}, champion=blurred)


def blurred(maps, levels, seed):
    return np.mean([anatomy.good(maps, levels, seed + k) for k in range(8)], axis=0).astype(np.int16)


def test_every_figure_has_a_name(found: Measured):
    for key in found.evaluation.figures:
        assert kind_of(key).title


def test_all_parts_are_measured(found: Measured):
    for key in ("mirrored_share", "copy_rate", "membership_auc", "tstr_ratio", "counterfactual_iou", "kid"):
        assert np.isfinite(found.evaluation.figures[key]), key
    assert found.edits
    assert found.seconds.keys() == {
        "held-out masks", "champion", "edited masks", "training masks", "memorisation", "students"
    }  # fmt: skip
    assert all(seconds >= 0 for seconds in found.seconds.values())


def test_the_champion_is_measured_on_the_same_slices_with_the_same_seeds(found: Measured):
    alone = measured(blurred).evaluation.figures
    for key in COMPARED:
        if key in alone:
            assert found.evaluation.figures[f"{key}_champion"] == pytest.approx(alone[key], nan_ok=True), key
    assert found.evaluation.figures["sharpness_ratio_champion"] < found.evaluation.figures["sharpness_ratio"]


def test_the_nearest_training_patient_of_each_example_is_a_pseudonym(found: Measured):
    owners = {f"t{name}" for name in LEARNT.patients}
    assert all(one.nearest in owners and not one.copied for one in found.evaluation.examples)


def test_the_number_of_images_is_what_the_configuration_says():
    drawn: list[int] = []

    def counting(maps, levels, seed):
        drawn.append(len(maps))
        return anatomy.good(maps, levels, seed)

    measured(counting)
    assert 12 + 3 * 3 + 2 * 2 + 10 < sum(drawn) <= 12 + 3 * 3 + 2 * 2 + 10 + 4 * 5


def test_a_part_that_is_left_out_has_no_figures():
    bare = CONFIG.model_copy(update={"training_masks": 0, "edited_masks": 0})
    figures = measured(anatomy.good, bare).evaluation.figures
    assert not {"copy_rate", "tstr_ratio", "counterfactual_iou"} & figures.keys()


def test_one_training_patient_leaves_a_remark_and_no_copy_rate():
    alone = anatomy.cohort(patients=1, slices=6, seed=5)
    result = measured(anatomy.good, learnt=cohort(alone, "t")).evaluation
    assert "copy_rate" not in result.figures
    assert any("Memorisation was not measured" in remark for remark in result.remarks)


def test_each_image_is_told_what_is_given_of_its_own_slice():
    told = []

    def sample(maps, levels, seed, *, number):
        told.extend(zip(number.tolist(), maps, strict=True))
        return anatomy.good(maps, levels, seed)

    held_out = cohort(REAL, "v", number=np.arange(16))
    learnt = cohort(LEARNT, "t", number=100 + np.arange(16))
    bare = CONFIG.model_copy(update={"edited_masks": 0, "students": 0})
    measure(
        held_out, learnt, anatomy.ORGANS, (1, 2, 3, 4, 5), sample=sample, judge=anatomy.OracleJudge(), seed=1,
        config=bare,
    )  # fmt: skip
    assert {number >= 100 for number, _ in told} == {True, False}
    for number, seen in told:
        own = LEARNT.class_maps[number - 100] if number >= 100 else REAL.class_maps[number]
        np.testing.assert_array_equal(seen, own)


def test_the_confidence_takes_the_structures_of_the_same_images_and_draws_none():
    drawn: list[int] = []

    def counting(maps, levels, seed):
        drawn.append(len(maps))
        return anatomy.good(maps, levels, seed)

    few = CONFIG.model_copy(update={"students": 0, "edited_masks": 0})
    without = measured(counting, few)
    before = sum(drawn)
    found = measured(counting, few, segmenter=anatomy.OracleJudge())
    assert sum(drawn) == 2 * before
    assert without.trained is None and without.held is None
    assert found.trained is not None and found.held is not None
    assert set(found.held.patients) <= {f"v{name}" for name in REAL.patients}
    assert set(found.trained.patients) <= {f"t{name}" for name in LEARNT.patients}
    held = sum(len(set(np.unique(REAL.class_maps[row])) - {0}) for row in found.evaluation.rows)
    assert len(found.held) == held and found.held.found.mean() > 0.9


def test_a_structure_that_the_judge_does_not_know_is_in_neither():
    few = CONFIG.model_copy(update={"students": 0, "edited_masks": 0})
    found = measured(anatomy.good, few, segmenter=anatomy.OracleJudge(), judge_knows=[1, 2])
    assert found.trained is not None and found.held is not None
    assert set(found.trained.structures.tolist()) == set(found.held.structures.tolist()) == {1, 2}


def test_the_judge_s_labels_of_the_generated_images_are_kept(found: Measured):
    seen = anatomy.OracleJudge().predict(found.evaluation.generated).argmax(axis=1)
    np.testing.assert_array_equal(found.evaluation.judged, seen)


def test_modalities_are_measured_apart_where_there_are_several():
    names = sorted(set(REAL.patients))
    said = [("modality=CT",) if names.index(p) % 2 else ("modality=MR",) for p in REAL.patients]
    held_out = replace(cohort(REAL, "v"), attributes=said)
    bare = CONFIG.model_copy(update={"training_masks": 0, "edited_masks": 0})
    figures = measure(
        held_out, cohort(LEARNT, "t"), anatomy.ORGANS, (1, 2, 3, 4, 5), sample=anatomy.good,
        judge=anatomy.OracleJudge(), seed=1, config=bare,
    ).evaluation.figures  # fmt: skip
    assert figures["patients/modality.CT"] == figures["patients/modality.MR"] == 2
    assert figures["slices/modality.CT"] + figures["slices/modality.MR"] == figures["slices"]
