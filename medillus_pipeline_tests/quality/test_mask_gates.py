"""Defects of masks and of the tables beside them: each is found by the expectations meant for it alone."""

from typing import Any

import numpy as np
import pytest

from medillus_pipeline.annotation.label_map import OVERLAP_POLICY
from medillus_pipeline.annotation.plausibility.findings import REASONS
from medillus_pipeline.quality.gate import Audit, audit, check_result, together
from medillus_pipeline.quality.mask_suites import mask_agreement, mask_findings, mask_layers, masks, study_labels
from medillus_pipeline_tests.quality import clean
from medillus_pipeline_tests.quality.test_gate import CANARY, changed, defective, twice_labelled
from medillus_pipeline_tests.quality.test_image_gates import broken

ALL, ONE, SECOND, LAST = slice(None), slice(0, 1), slice(1, 2), slice(7, 8)

NOBODY, NOWHERE = {"patient": "p-0123456789abcdef"}, {"slice_name": "s-0123456789abcdef-0001"}
TYPED = {"structure": "kidney of Holloway"}
ONLY_A = {"drawn_by": "only_a", "mean_surface_distance_mm": None, "hausdorff_95_mm": None}
Defect = tuple[dict[str, Any], slice, set[str]]
MASKS: dict[str, Defect] = {
    "a label that is no structure": ({"labels": [1, 255]}, ONE, {"labels_known"}),
    "background as a label": ({"labels": [0, 1]}, ONE, {"label_low", "labels_known"}),
    "labels out of order": ({"labels": [5, 1]}, ONE, {"labels_ascend"}),
    "a label without an area": ({"areas": [900]}, ONE, {"areas_match"}),
    "a label without a pixel": ({"areas": [900, 0]}, ONE, {"area_low"}),
    "more pixels than the slice has": ({"areas": [3000, 2000]}, ONE, {"covered_share"}),
    "another size than the slice's": ({"columns": 49}, ONE, {"slice_agrees"}),
    "another patient than the slice's": (NOBODY, ONE, {"slice_agrees"}),
    "a slice that was never published": (NOWHERE, ONE, {"slice_known"}),
    "no overlap policy": ({"overlap_policy": ""}, ONE, {"overlap_policy"}),
    "another release's policy": ({"overlap_policy": f"{OVERLAP_POLICY}, or the nicer"}, ONE, {"overlap_policy"}),
    "a vocabulary without its hash": ({"vocabulary": "v1"}, ALL, {"vocabulary"}),
    "two vocabularies": ({"vocabulary": "f" * 16}, ONE, {"vocabularies"}),
    "a format that nobody reads": ({"source_format": "docx"}, ONE, {"source_format"}),
    "a name where an annotator belongs": ({"annotator": "Ada Holloway"}, ONE, {"annotator"}),
    "a file name where an item belongs": ({"item": "Holloway.json"}, ONE, {"item"}),
    "a picture from another folder": (
        {"path": f"slices/00/{clean.frame('masks')['sha256'].iloc[0]}.png"},
        ONE,
        {"path"},
    ),
}
LAYERS: dict[str, Defect] = {
    "a structure that is none": ({"label": 255}, ONE, {"labels_known"}),
    "a reason that nobody knows": ({"reason": "whim"}, LAST, {"reason"}),
    "a slice that was never published": (NOWHERE, ONE, {"slice_known"}),
    "another size than the slice's": ({"rows": 65}, ONE, {"slice_agrees"}),
    "a box beyond the slice": ({"top": 61}, ONE, {"box_inside"}),
    "a box that begins before it": ({"left": -1}, ONE, {"left"}),
    "runs that do not fill the box": ({"runs": [0, 6, 20, 4, 1]}, ONE, {"runs_fill_box"}),
    "runs of nothing": ({"runs": [0, 6, 26, 0, 0]}, ONE, {"runs_fill_box", "area_is_that_of_runs"}),
    "an area that the runs do not have": ({"area": 11}, ONE, {"area_is_that_of_runs"}),
    "a layer of what is in sight": ({"hidden_pixels": 0}, ONE, {"hidden_pixels"}),
    "more hidden than drawn": ({"hidden_pixels": 11}, ONE, {"area, hidden_pixels"}),
    "a target that is in sight in part": ({"hidden_pixels": 9}, LAST, {"hidden_in_full"}),
    "a file name where an item belongs": ({"item": "Holloway.json"}, ONE, {"item"}),
}
FINDINGS: dict[str, Defect] = {
    "a structure as it was typed": (TYPED, ONE, {"structure_known"}),
    "a slice of another series": ({"slice_name": clean.slices()[-1]["slice_name"]}, ONE, {"place_known"}),
    "a series that was never published": ({"series_instance_uid": "2.25.7"}, ONE, {"place_known"}),
    "a finding that nobody knows": ({"finding": "ugly"}, SECOND, {"finding"}),
    "a severity that nobody knows": ({"severity": "scold"}, ONE, {"severity"}),
    "a unit that nobody knows": ({"unit": "inch"}, ONE, {"unit"}),
    "a value that is not finite": ({"value": np.inf}, SECOND, {"value"}),
    "bounds the wrong way round": ({"low": 4001.0}, SECOND, {"bounds_ascend"}),
    "nothing odd about it": ({"value": 1500.0}, SECOND, {"beyond_bounds"}),
    "no bounds at all": ({"low": None}, ONE, {"beyond_bounds"}),
    "taken off for its volume": ({"severity": "refuse"}, SECOND, {"refusal_has_reason"}),
}
AGREEMENT: dict[str, Defect] = {
    "the pair the other way round": (
        {key: clean.mask_agreement()[0][f"annotator_{other}"] for key, other in (("annotator_a", "b"),)},
        slice(0, 2),
        {"in_order"},
    ),
    "a structure as it was typed": (TYPED, slice(0, 2), {"structure_known"}),
    "a slice of another series": ({"slice_name": clean.slices()[-1]["slice_name"]}, SECOND, {"place_known"}),
    "another patient than the series'": (NOBODY, ONE, {"patient_agrees"}),
    "a word that nobody knows": ({"drawn_by": "either"}, ONE, {"drawn_by", "dice_of_one", "distances_as_drawn"}),
    "more than all in common": ({"dice": 1.5}, ONE, {"dice"}),
    "no Dice where both drew": ({"dice": None}, ONE, {"dice_as_drawn"}),
    "a Dice where only one did": (ONLY_A, slice(0, 2), {"dice_as_drawn", "dice_of_one"}),
    "something in common on a slice of one": (ONLY_A, SECOND, {"dice_of_one"}),
    "one distance of two": ({"mean_surface_distance_mm": None}, ONE, {"distances_as_drawn"}),
    "distances where only one drew": (ONLY_A | {"dice": 0.0, "hausdorff_95_mm": 1.0}, SECOND, {"distances_as_drawn"}),
    "a distance below nothing": ({"hausdorff_95_mm": -1.0}, ONE, {"hausdorff_95_mm"}),
    "a slice counted twice": ({"slices": 2}, SECOND, {"slices_counted"}),
    "an area below nothing": ({"area_b_mm2": -1.0}, ONE, {"area_b_mm2"}),
}
LABELS: dict[str, Defect] = {
    "a study that was never published": ({"study_instance_uid": "2.25.7"}, ONE, {"series_of_study"}),
    "a series of another study": (
        {"series_instance_uid": clean.frame("study_labels")["series_instance_uid"].iloc[-1]},
        ONE,
        {"series_of_study"},
    ),
    "a series as the hospital calls it": (
        {"series_instance_uid": "1.2.3"},
        ONE,
        {"series_instance_uid", "series_of_study"},
    ),
    "another patient than the study's": (NOBODY, ONE, {"patient_agrees"}),
    "a kind that nobody knows": ({"kind": "mood"}, ONE, {"kind", "value_listed", "code_as_listed"}),
    "a diagnosis in words": ({"value": "emphysema, Ms Holloway"}, ONE, {"value", "value_listed", "code_as_listed"}),
    "a pathology in no list": ({"value": "sunburn", "code": ""}, ONE, {"value_listed"}),
    "a phase of a stage": ({"kind": "stage"}, SECOND, {"value_listed"}),
    "another pathology's code": ({"code": "CA22"}, ONE, {"code_as_listed"}),
    "a code of another book": ({"code": "J43.9"}, ONE, {"code", "code_as_listed"}),
    "a name where an annotator belongs": ({"annotator": "Ada Holloway"}, ONE, {"annotator"}),
}
TABLES = {
    "masks": MASKS,
    "mask_layers": LAYERS,
    "mask_findings": FINDINGS,
    "mask_agreement": AGREEMENT,
    "study_labels": LABELS,
}


@pytest.mark.parametrize(("suite", "defect"), [(suite, defect) for suite in TABLES for defect in TABLES[suite]])
def test_a_defect_is_found_by_what_looks_for_it(suite: str, defect: str) -> None:
    change, rows, found = TABLES[suite][defect]
    frame = clean.frame(suite)
    if suite == "mask_layers":
        frame = frame.sort_values("reason", kind="stable", ignore_index=True)
    assert broken(suite, changed(frame, change, rows)) == found


def test_a_comparison_without_a_row_about_the_series_is_found() -> None:
    assert broken("mask_agreement", clean.frame("mask_agreement").drop(index=0)) == {"whole_series_rows"}


@pytest.mark.parametrize(
    "suite", [masks, mask_layers, mask_findings, mask_agreement, study_labels], ids=lambda suite: suite.name
)
def test_every_expectation_is_among_those_that_its_defect_breaks_in_the_whole_suite(suite: Any) -> None:
    for expectation in suite.expectations:
        outcome = audit(suite, defective(clean.frame(suite.name), expectation), related=clean.related())
        failed = {(r.expectation, r.column) for r in outcome.results if not r.success}
        assert (expectation.type, expectation.column) in failed


def test_two_phases_of_one_series_contradict_each_other_and_two_pathologies_do_not() -> None:
    frame = clean.frame("study_labels")
    assert broken("study_labels", twice_labelled(frame)) == {"values_of_single_kind"}
    further = clean.study_labels()[0] | {"value": "pneumonia", "code": "CA40"}
    assert broken("study_labels", changed(frame, further, slice(2, 3)).iloc[[0, 2]]) == set()


def test_a_dice_of_nothing_on_a_slice_that_one_left_out_is_in_order() -> None:
    frame = changed(clean.frame("mask_agreement"), ONLY_A | {"dice": 0.0, "slices_only_a": 1}, SECOND)
    assert broken("mask_agreement", frame) == set()
    alone = changed(clean.frame("mask_agreement"), ONLY_A | {"dice": None, "slices_only_a": 1}, slice(0, 2))
    assert broken("mask_agreement", alone) == set()


def test_what_the_plausibility_checks_may_refuse_the_suite_lets_pass() -> None:
    for kind in REASONS:
        assert broken("mask_findings", changed(clean.frame("mask_findings"), {"finding": str(kind)})) == set()


def test_one_check_speaks_for_several_tables_and_names_each() -> None:
    layers = audit("mask_layers", changed(clean.frame("mask_layers"), {"area": 11}), related=clean.related())
    labels = audit("study_labels", clean.frame("study_labels"), related=clean.related())
    found = together("mask_tables", [layers, labels])
    assert not found.passed and found.rows == 16
    assert found.broken == [
        "mask_layers.area_is_that_of_runs: the area is that of the runs inside (1 of 8 rows do not)"
    ]
    assert len(found.results) == len(layers.results) + len(labels.results)
    said = check_result(found, check_name="mask_tables_gate").description or ""
    assert "expectations hold over 16 rows; mask_layers.area_is_that_of_runs: " in said and CANARY not in said
    assert together("mask_tables", [labels]).passed
    assert not together("mask_tables", []).passed
    assert isinstance(found, Audit)
