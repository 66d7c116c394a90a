"""Clean tables pass, every expectation has a defect that trips it, and no value of a table leaves an audit."""

import json
import logging
import subprocess
import sys
from dataclasses import replace
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from medillus_pipeline.quality.expectations import Expectation
from medillus_pipeline.quality.gate import audit, check_result
from medillus_pipeline.quality.suites import SUITES
from medillus_pipeline.quality.volume_columns import FILLED
from medillus_pipeline.tables import TABLES, VOLUMES
from medillus_pipeline_tests.quality import clean

CANARY = "CANARY^PATIENT 19470312"
FLIPPED = [-1.6, 0, 0, 200, 0, 1.6, 0, -200, 0, 0, 6, 40, 0, 0, 0, 1]
DEGENERATE = [1.6, 0, 0, 200, 0, 0, 0, -200, 0, 0, 6, 40, 0, 0, 0, 1]
SHEARED = [1.6, 0, 0, -200, 0, 1.6, 0.9, -200, 0, 0, 6, 40, 0, 0, 0, 1]

Change = dict[str, Any]

OUT_OF_BOUNDS: dict[str, Change] = {
    "rows": {"rows": 70000},
    "columns": {"columns": -1},
    "frames": {"frames": -1},
    "bytes": {"bytes": 0},
    "frame": {"frame": 0},
    "ordinal": {"ordinal": -1},
    "revision": {"revision": 0},
    "all_or_no_pixels": {"frames": 0},
    "hash_in_path": {"sha256": "0" * 64},
    "split_known": {"source": "generated", "patient": "p-0123456789abcdef", "split": None},
    "patients_of_study": {"patient": "p-0123456789abcdef"},
    "studies_of_series": {"study_instance_uid": "2.25.7"},
    "tokens_of_patient": {"split_token": "0" * 32},
    "instance_known": {"sop_instance_uid": "2.25.7"},
    "instance_agrees": {"rows": 65},
    "pixel_spacing_low": {"pixel_spacing": [0.0, 1.0]},
    "pixel_spacing_high": {"pixel_spacing": [1.0, 900.0]},
    "pixel_spacing_values": {"pixel_spacing": [1.0]},
    "position_values": {"position": [1.0, 2.0]},
    "orientation_error": {"orientation": [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]},
    "ct_slice_spacing": {"slice_spacing": 0.0},
    "window_complete": {"window_center": None},
    "ct_windowed": {"window_width": None},
    "window_width": {"window_width": 0.0},
    "shows_something_else": {"window": "soft-tissue"},
    "recoverable": {"output": "lossless"},
    "only_lossless_scaled": {"slope": 1.0},
    "slope_size": {"slope": 0.0},
    "mean_beyond_range": {"mean": 901.0},
    "minimum": {"minimum": -np.inf},
    "maximum": {"maximum": np.inf},
    "value_range": {"minimum": 900.0},
    "ct_minimum": {"minimum": 0.0},
    "ct_maximum": {"maximum": 65535.0},
    "stack": {"stack": -1},
    "slices": {"slices": 0},
    "series_known": {"series_instance_uid": "2.25.7"},
    "series_agrees": {"modality": "MR"},
    "slices_accounted_for": {"slices": 2},
    "filled_as_judged": {"affine": None},
    "no_face_pictured": {"face": "possible"},
    "shape_values": {"shape": [48, 64]},
    "shape_low": {"shape": [48, 0, 1]},
    "depth_agrees": {"shape": [48, 64, 2]},
    "spacing_low": {"spacing": [1.6, 1.6, 0.0]},
    "spacing_high": {"spacing": [1.6, 1.6, 60.0]},
    "step_error": {"spacing": [1.6, 1.6, 5.9]},
    "skew": {"affine": SHEARED},
    "slice_known": {"slice_name": "s-0123456789abcdef-0001"},
    "slice_agrees": {"columns": 512},
    "label_count": {"labels": []},
    "label_low": {"labels": [0, 1]},
    "label_high": {"labels": [1, 256]},
    "labels_ascend": {"labels": [5, 5]},
    "labels_known": {"label": 255, "labels": [1, 255]},
    "vocabularies": {"vocabulary": "fedcba9876543210"},
    "areas_match": {"areas": [900]},
    "area_low": {"areas": [900, 0]},
    "covered_share": {"areas": [3000, 2000]},
    "overlap_share": {"overlap_pixels": 5000},
    "label": {"label": 0},
    "top": {"top": -1},
    "left": {"left": -1},
    "height": {"height": 0},
    "width": {"width": 0},
    "box_inside": {"left": 41},
    "runs_fill_box": {"runs": [0, 6, 20, 4]},
    "area_is_that_of_runs": {"area": 11},
    "hidden_pixels": {"hidden_pixels": 0},
    "hidden_in_full": {"reason": "planning_target"},
    "place_known": {"slice_name": "s-0123456789abcdef-0001"},
    "structure_known": {"structure": "pineapple"},
    "value": {"value": -np.inf},
    "bounds_ascend": {"high": -6.0},
    "beyond_bounds": {"value": 0.0},
    "refusal_has_reason": {"finding": "islands"},
    "patient_agrees": {"patient": "p-0123456789abcdef"},
    "in_order": {"annotator_a": "a-ffffffff"},
    "whole_series_rows": {"structure": "heart"},
    "slices_only_a": {"slices_only_a": -1},
    "slices_only_b": {"slices_only_b": -1},
    "slices_counted": {"slices_only_b": 2},
    "dice": {"dice": 1.01},
    "dice_as_drawn": {"dice": None},
    "dice_of_one": {"drawn_by": "only_a"},
    "mean_surface_distance_mm": {"mean_surface_distance_mm": -0.1},
    "hausdorff_95_mm": {"hausdorff_95_mm": -0.1},
    "distances_as_drawn": {"hausdorff_95_mm": None},
    "area_a_mm2": {"area_a_mm2": -1.0},
    "area_b_mm2": {"area_b_mm2": -1.0},
    "area_difference_percent": {"area_difference_percent": 201.0},
    "series_of_study": {"series_instance_uid": "2.25.7"},
    "value_listed": {"value": "sunburn"},
    "code_as_listed": {"code": "CA22"},
    "pathologies_listed": {"pathology": ["liver_cyst", "normal"]},
    "stage_listed": {"stage": "stage 1"},
    "phases_of_series": {"contrast_phase": None},
    "row_offset": {"row": 99},
    "splits_of_patient": {"split": "locked_test"},
    "splits_of_values": {"source_value_sha256": clean.training_slices()[-1]["source_value_sha256"]},
    "patients_of_series": {"patient": "p-0123456789abcdef"},
    "level": {"level": 1.2},
    "seed": {"seed": -1},
    "pixel_area": {"affine": DEGENERATE},
    "axis_agreement": {"affine": FLIPPED},
    "body_fraction": {"body_fraction": 0.0},
    "ct_mean": {"mean": -1000.0},
    "locked_test_shown": {"source": "generated", "split": "locked_test"},
    "confidences_match": {"confidences": [0.5]},
    "confidence_faults": {"confidences": [0.5, 1.5]},
    "provenance_complete": {"source": "generated", "model_version": None},
}
"""For every column that a bound is set on: what to write into a row so that the bound does not hold."""


def changed(frame: pd.DataFrame, change: Change, rows: slice = slice(0, 1)) -> pd.DataFrame:
    """A copy with the given values in some rows; the columns become objects where a value needs it."""
    copy = frame.astype(dict.fromkeys(change, object))
    for column, value in change.items():
        for position in range(*rows.indices(len(copy))):
            copy.iat[position, copy.columns.get_loc(column)] = value
        if not isinstance(value, list | str | None):
            copy[column] = pd.to_numeric(copy[column])
    return copy


def defective(frame: pd.DataFrame, expectation: Expectation) -> pd.DataFrame:
    """The frame with a defect that this expectation is there to find."""
    kind, column = expectation.type, expectation.column
    everywhere = slice(None) if "mostly" in expectation.kwargs else slice(0, 1)
    match kind:
        case "expect_table_row_count_to_be_between":
            return frame.head(0)
        case "expect_column_values_to_be_unique" | "expect_compound_columns_to_be_unique":
            return pd.concat([frame, frame.head(1)], ignore_index=True)
        case "expect_column_values_to_not_be_null":
            return changed(frame, {column: None})
        case "expect_column_values_to_match_regex" | "expect_column_values_to_be_in_set":
            return changed(frame, {column: CANARY})
        case "expect_column_distinct_values_to_contain_set":
            return changed(frame, {column: "train"}, slice(None))
        case "expect_column_pair_values_a_to_be_greater_than_b":
            return changed(frame, {expectation.kwargs["column_B"]: 5000.0})
        case _ if column == "values_of_single_kind":
            return twice_labelled(frame)
        case _:
            change = {name: value for name, value in OUT_OF_BOUNDS[column].items() if name in frame}
            return changed(frame, change, everywhere)


def twice_labelled(frame: pd.DataFrame) -> pd.DataFrame:
    """Another contrast phase of a series that has one."""
    return pd.concat([frame, frame[frame["kind"] == "contrast_phase"].head(1).assign(value="delayed")])


@pytest.mark.parametrize("name", SUITES)
def test_clean_data_trips_nothing(name: str) -> None:
    outcome = audit(name, clean.frame(name), related=clean.related())
    assert outcome.passed, outcome.broken
    assert len(outcome.results) == len(SUITES[name].expectations)
    assert not any(result.unexpected or result.raised for result in outcome.results)


@pytest.mark.parametrize("name", SUITES)
def test_every_expectation_has_a_defect_that_trips_it(name: str) -> None:
    suite, frame = SUITES[name], clean.frame(name)
    silent = []
    for expectation in suite.expectations:
        (outcome,) = audit(
            replace(suite, expectations=[expectation]), defective(frame, expectation), related=clean.related()
        ).results
        if outcome.success or outcome.unexpected == 0 or outcome.raised:
            silent.append(outcome)
    assert not silent


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_covers_the_form_of_its_whole_table(name: str) -> None:
    (table,) = [table for table in TABLES if table.name == name]
    kinds = {(e.type, e.column) for e in SUITES[name].expectations}
    required = {("expect_column_values_to_not_be_null", c.name) for c in table.columns if not c.nullable}
    assert required <= kinds
    named = {part for e in SUITES[name].expectations for part in e.column.split(", ") if part}
    assert named <= {c.name for c in table.columns} | set(SUITES[name].derived)
    assert set(SUITES[name].derived) <= named


@pytest.mark.parametrize("name", SUITES)
def test_an_empty_table_fails_by_its_row_count_and_says_so(name: str) -> None:
    outcome = audit(name, clean.frame(name).head(0), related=clean.related())
    assert not outcome.passed
    (line,) = outcome.broken
    assert line.startswith("the table: ") and "at least one" in line


@pytest.mark.parametrize("name", SUITES)
def test_what_cannot_be_evaluated_counts_as_failed(name: str) -> None:
    frame, related = clean.frame(name), clean.related()
    _, *others = frame.columns
    outcome = audit(name, frame.drop(columns=others), related=related)
    absent = [result for result in outcome.results if result.column in others]
    assert absent and all(result.raised and not result.success and result.unexpected == 8 for result in absent)
    bounded = [e.column for e in SUITES[name].expectations if e.type.endswith("_between") and e.column in frame]
    outcome = audit(name, changed(frame, dict.fromkeys(bounded, CANARY)), related=related)
    assert {r.column for r in outcome.results if r.raised and not r.success} >= set(bounded)


@pytest.mark.parametrize("name", SUITES)
def test_no_value_of_the_table_leaves_the_audit(
    name: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    frame, said = clean.frame(name), []
    numeric = list(frame.select_dtypes("number").columns)
    with caplog.at_level(logging.DEBUG):
        for columns, rows in (frame.columns, slice(None)), (frame.columns, slice(0, 1)), (numeric, slice(0, 1)):
            outcome = audit(name, changed(frame, dict.fromkeys(columns, CANARY), rows), related=clean.related())
            assert not outcome.passed
            result = check_result(outcome, check_name="gate", asset_key=dg.AssetKey(name))
            metadata = {key: value.value for key, value in result.metadata.items()}
            said += [repr(outcome), repr(result), json.dumps(metadata), *outcome.broken, outcome.markdown()]
    captured = capfd.readouterr()
    said += [caplog.text, captured.out, captured.err, *(str(warning.message) for warning in recwarn)]
    text = "\n".join(said)
    assert "expectations hold" in text
    assert not [word for word in ("CANARY", "19470312") if word in text]
    assert not captured.err, "no progress bars"


def test_a_failed_gate_is_an_error_that_names_columns_and_counts() -> None:
    frame = changed(clean.frame("slices"), {"sha256": CANARY})
    result = check_result(audit("slices", frame, related=clean.related()), check_name="slices_gate")
    assert not result.passed and result.severity == dg.AssetCheckSeverity.ERROR
    assert result.check_name == "slices_gate" and result.asset_key is None
    assert result.metadata["rows"].value == 8 and result.metadata["failed_expectations"].value == 2
    assert "sha256: a SHA-256 (1 of 8 rows do not)" in (result.description or "")
    assert "| **no** | column_values_to_match_regex | sha256 | 8 | 1 |" in str(result.metadata["expectations"].value)


def test_one_blank_image_does_not_keep_a_delivery_back_but_a_lost_intercept_does() -> None:
    frame, related = clean.frame("slices"), clean.related()
    blank = {"minimum": -1000.0, "maximum": -1000.0, "mean": -1000.0}
    assert audit("slices", changed(frame, blank), related=related).passed
    lost = {"minimum": 0.0, "maximum": 1900.0, "mean": 800.0}
    assert audit("slices", changed(frame, lost, slice(None)), related=related).broken == [
        "ct_minimum: HU reach below water; if not, the rescale intercept is lost (8 of 8 rows do not)"
    ]


def test_other_modalities_need_neither_window_nor_hounsfield_units() -> None:
    change = {
        "modality": "US",
        "window": "as-stored",
        "window_center": None,
        "window_width": None,
        "minimum": 0.0,
        "mean": 9.0,
    }
    spatial = {"pixel_spacing": None, "position": None, "orientation": None, "slice_spacing": None}
    frame = changed(clean.frame("slices"), change | spatial, slice(None))
    assert audit("slices", frame, related=clean.related()).broken == []


def test_a_delivery_of_nothing_but_stacks_that_are_no_volumes_passes() -> None:
    nothing = {"verdict": "gaps", **dict.fromkeys((*FILLED, "padding", "preview"))}
    rows = [row | nothing for row in clean.volumes()]
    for kept in (8, 1):
        frame = VOLUMES.to_arrow(clean.volumes()[kept:] + rows[:kept]).to_pandas()
        assert audit("volumes", frame, related=clean.related()).broken == []


@pytest.mark.parametrize("name", [name for name in SUITES if SUITES[name].related])
def test_a_comparison_that_was_not_provided_for_is_an_error_and_no_pass(name: str) -> None:
    with pytest.raises(ValueError, match=rf"suite {name} compares with .* pass related="):
        audit(name, clean.frame(name))


def test_the_suites_load_neither_great_expectations_nor_pandas() -> None:
    code = (
        "import sys, medillus_pipeline.quality.suites, medillus_pipeline.quality.gate; "
        "sys.exit(bool({'great_expectations', 'pandas', 'pyarrow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
