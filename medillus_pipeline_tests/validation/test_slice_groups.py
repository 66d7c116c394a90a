"""The figures of a modality are those of its own slices: a model that is bad at one shows it there and nowhere else."""

import numpy as np
import pytest

from medillus_pipeline.validation.evaluate import Evaluation, EvaluationConfig, evaluate
from medillus_pipeline.validation.figures import GROUP_FIGURES, KINDS, kind_of
from medillus_pipeline.validation.slice_groups import groups_of
from medillus_pipeline_tests.validation import anatomy
from medillus_pipeline_tests.validation.test_gates import TEXTURE

REAL = anatomy.cohort(patients=8, slices=4)
OWN = np.array(sorted(set(REAL.patients)))[:, None] == np.array(REAL.patients)[None]
SECOND = OWN[4:].any(axis=0)
SAID = [("modality=MR",) if second else ("modality=CT",) for second in SECOND]


def measured(attributes: list[tuple[str, ...]], **further) -> Evaluation:
    """A model that draws the first four patients well, and those after them as it would the mirrored mask."""

    def sample(maps, levels, seed, *, second):
        images = anatomy.good(maps, levels, seed)
        return np.where(second[:, None, None], images[:, :, ::-1], images)

    return evaluate(
        REAL.values, REAL.class_maps, REAL.patients, REAL.levels, anatomy.ORGANS, sample=sample,
        judge=anatomy.OracleJudge(), texture=TEXTURE, seed=1, given={"second": SECOND}, attributes=attributes,
        config=EvaluationConfig(slices=32, diversity_masks=2, examples=1, draws=100), **further,
    )  # fmt: skip


@pytest.fixture(scope="module")
def figures() -> dict[str, float]:
    return measured(SAID).figures


def test_what_is_wrong_with_one_modality_shows_in_its_figures_only(figures):
    assert figures["dice_recovery/modality.CT"] > 0.9
    assert figures["dice_recovery/modality.MR"] < 0.6
    assert figures["judge_dice_generated/modality.MR"] < figures["judge_dice_generated"]
    assert figures["judge_dice_generated"] < figures["judge_dice_generated/modality.CT"]
    assert figures["fid_ratio/modality.MR"] > figures["fid_ratio/modality.CT"]


def test_each_has_its_own_patients_slices_and_interval(figures):
    for name in ("CT", "MR"):
        assert figures[f"patients/modality.{name}"] == 4 and figures[f"slices/modality.{name}"] == 16
        low, value, high = (figures[f"dice_recovery{end}/modality.{name}"] for end in ("_low", "", "_high"))
        assert low <= value <= high


def test_only_ct_has_an_error_in_hu(figures):
    assert "organ_hu_error/modality.CT" in figures and "organ_value_error/modality.CT" not in figures
    assert "organ_value_error/modality.MR" in figures and "organ_hu_error/modality.MR" not in figures
    assert figures["organ_value_error/modality.MR"] > figures["organ_hu_error/modality.CT"]
    assert kind_of("organ_value_error_low/modality.MR").unit == ""


def test_a_group_of_both_has_the_error_in_hu_of_its_ct_slices_and_the_other_of_its_others():
    said = [(*own, "pathology=lung_nodule") if i % 2 else own for i, own in enumerate(SAID)]
    found = measured(said).figures
    assert found["slices/pathology.lung_nodule"] == 16
    assert np.isfinite(found["dice_recovery/pathology.lung_nodule"])
    of_ct, of_mr = (found[f"organ_{unit}_error/pathology.lung_nodule"] for unit in ("hu", "value"))
    assert of_ct < 10 < of_mr


def test_no_figure_in_hu_knows_of_another_modality(figures):
    assert figures["slices_in_hu"] == figures["slices_in_values"] == 16
    assert figures["organ_hu_error"] == pytest.approx(figures["organ_hu_error/modality.CT"])
    assert figures["organ_value_error"] == pytest.approx(figures["organ_value_error/modality.MR"])
    assert figures["organ_value_error"] > 5 * figures["organ_hu_error"]
    assert figures["value_mae"] > figures["mae"]
    assert {kind_of(key).unit for key in figures if "_value_" in key or key.startswith("value_")} == {""}


def test_the_figures_of_all_slices_stay_as_they_are(figures):
    apart = ("_hu_", "hu_", "mae", "value", "slices_in")
    whole = {key: v for key, v in figures.items() if "/modality." not in key and not any(p in key for p in apart)}
    without = measured([]).figures
    assert whole == pytest.approx({key: without[key] for key in whole}, nan_ok=True)


def test_what_is_said_of_every_slice_makes_no_group():
    assert groups_of([("modality=CT", "stage=I"), ("modality=CT",)]) == {}
    assert not any("/modality." in key for key in measured([("modality=CT",)] * 32).figures)


def test_every_figure_of_a_group_has_a_name(figures):
    own = {key for key in figures if "/modality." in key}
    assert {kind_of(key).title for key in own} == {KINDS[key].title for key in GROUP_FIGURES}


def test_attributes_of_other_slices_are_refused():
    with pytest.raises(ValueError, match="one entry per slice"):
        measured(SAID[1:])
