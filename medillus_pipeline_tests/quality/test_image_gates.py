"""Defects of pictures and volumes, as deliveries have them: each is found by the expectations meant for it alone."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from medillus_pipeline.quality.gate import audit
from medillus_pipeline.quality.image_suites import slice_windows, slices, volumes
from medillus_pipeline_tests.quality import clean
from medillus_pipeline_tests.quality.test_gate import CANARY, changed, defective

ALL, ONE = slice(None), slice(0, 1)
LOSSLESS = {"output": "lossless", "window": "lossless", "intercept": -1024.0}
SLICES: dict[str, tuple[dict[str, Any], slice, set[str]]] = {
    "rows of 0": ({"rows": 0}, ONE, {"rows", "instance_agrees"}),
    "a frame 0": ({"frame": 0}, ONE, {"frame"}),
    "an ordinal below 0": ({"ordinal": -1}, ONE, {"ordinal"}),
    "a value that is not finite": ({"maximum": np.inf}, ONE, {"maximum"}),
    "a mean above the greatest value": ({"mean": 901.0}, ONE, {"mean_beyond_range"}),
    "least above greatest value": (
        {"minimum": 5000.0, "mean": 5000.0},
        ONE,
        {"maximum, minimum", "mean_beyond_range"},
    ),
    "constant images": ({"minimum": -500.0, "maximum": -500.0, "mean": -500.0}, ALL, {"value_range"}),
    "HU without their intercept": ({"minimum": 0.0, "mean": 9.0}, ALL, {"ct_minimum"}),
    "HU beyond 16 bits": ({"maximum": 65535.0}, ALL, {"ct_maximum"}),
    "pixels without extent": ({"pixel_spacing": [0.0, 1.6]}, ONE, {"pixel_spacing_low"}),
    "pixels as large as a hand": ({"pixel_spacing": [1.6, 90.0]}, ONE, {"pixel_spacing_high"}),
    "one spacing where there are two": ({"pixel_spacing": [1.6]}, ONE, {"pixel_spacing_values"}),
    "slices on one another": ({"slice_spacing": 0.0}, ALL, {"ct_slice_spacing"}),
    "a position without z": ({"position": [1.0, 2.0]}, ONE, {"position_values"}),
    "directions that are no right angle": (
        {"orientation": [1.0, 0.0, 0.0, 0.7, 0.7, 0.0]},
        ONE,
        {"orientation_error"},
    ),
    "half a window": ({"window_center": None}, ONE, {"window_complete", "ct_windowed"}),
    "CT without a window": ({"window_center": None, "window_width": None}, ONE, {"ct_windowed"}),
    "a window of no width": ({"window_width": 0.0}, ONE, {"window_width"}),
    "a frame shown twice": (
        {"slice_name": "s-0123456789abcdef-0001", **{k: clean.slices()[1][k] for k in ("sop_instance_uid", "patient")}},
        ONE,
        {"sop_instance_uid, frame"},
    ),
    "a name given twice": ({"slice_name": clean.slices()[1]["slice_name"]}, ONE, {"slice_name"}),
    "an instance that was never published": ({"sop_instance_uid": "2.25.7"}, ONE, {"instance_known"}),
    "another patient than the instance's": ({"patient": "p-0123456789abcdef"}, ONE, {"instance_agrees"}),
    "a picture under another's name": ({"sha256": "0" * 64}, ONE, {"hash_in_path"}),
}
WINDOWS: dict[str, tuple[dict[str, Any], slice, set[str]]] = {
    "a slice that is not there": ({"slice_name": "s-0123456789abcdef-0001"}, ONE, {"slice_known"}),
    "the slice's own window again": ({"window": "soft-tissue"}, ONE, {"shows_something_else"}),
    "a window of no width": ({"window_width": 0.0}, ONE, {"window_width"}),
    "half a window": ({"window_center": None}, ONE, {"window_complete"}),
    "an output that nobody knows": ({"output": "grey12"}, ONE, {"output"}),
    "a lossless picture without a slope": (LOSSLESS | {"slope": None}, ONE, {"recoverable"}),
    "a slope of 0": (LOSSLESS | {"slope": 0.0}, ONE, {"slope_size"}),
    "an 8-bit picture with a slope": ({"slope": 1.0}, ONE, {"only_lossless_scaled"}),
    "a file that is no PNG": ({"path": "slices/x.jpg"}, ONE, {"path", "hash_in_path"}),
    "a hash that is none": ({"sha256": "?"}, ONE, {"sha256", "hash_in_path"}),
    "a picture under another's name": ({"sha256": "0" * 64}, ONE, {"hash_in_path"}),
    "no path": ({"path": None}, ONE, {"path"}),
}
VOLUMES: dict[str, tuple[dict[str, Any], slice, set[str]]] = {
    "a verdict without its file": ({"path": None}, ONE, {"filled_as_judged"}),
    "a file without the verdict": ({"verdict": "gaps"}, ONE, {"filled_as_judged"}),
    "a picture of a face": ({"face": "unknown"}, ONE, {"no_face_pictured"}),
    "slices that went missing": ({"slices": 0}, ONE, {"slices", "depth_agrees", "slices_accounted_for"}),
    "steps unlike the affine's": ({"spacing": [1.6, 1.6, 5.9]}, ONE, {"step_error"}),
    "voxels without extent": ({"spacing": [1.6, 1.6, 0.0]}, ONE, {"spacing_low", "step_error"}),
    "voxels as large as a hand": ({"spacing": [1.6, 1.6, 90.0]}, ONE, {"spacing_high", "step_error"}),
    "a plane without rows": ({"shape": [48, 0, 1]}, ONE, {"shape_low"}),
    "a shape of two numbers": ({"shape": [48, 64]}, ONE, {"shape_values", "depth_agrees"}),
    "constant volumes": ({"minimum": -500.0, "maximum": -500.0}, ALL, {"value_range"}),
    "HU without their intercept": ({"minimum": 0.0}, ALL, {"ct_minimum"}),
    "a unit that nobody knows": ({"unit": "cm"}, ONE, {"unit"}),
    "a volume under another's name": ({"sha256": "0" * 64}, ONE, {"hash_in_path"}),
}


def broken(suite: str, frame: pd.DataFrame) -> set[str]:
    results = audit(suite, frame, related=clean.related()).results
    assert not any(result.raised for result in results)
    return {result.column for result in results if not result.success}


@pytest.mark.parametrize("defect", SLICES)
def test_a_defect_of_slices_is_found_by_what_looks_for_it(defect: str) -> None:
    change, rows, found = SLICES[defect]
    assert broken("slices", changed(clean.frame("slices"), change, rows)) == found


@pytest.mark.parametrize("defect", WINDOWS)
def test_a_defect_of_further_pictures_is_found_by_what_looks_for_it(defect: str) -> None:
    change, rows, found = WINDOWS[defect]
    assert broken("slice_windows", changed(clean.frame("slice_windows"), change, rows)) == found


@pytest.mark.parametrize("defect", VOLUMES)
def test_a_defect_of_volumes_is_found_by_what_looks_for_it(defect: str) -> None:
    change, rows, found = VOLUMES[defect]
    assert broken("volumes", changed(clean.frame("volumes"), change, rows)) == found


@pytest.mark.parametrize("suite", [slices, slice_windows, volumes], ids=lambda suite: suite.name)
def test_every_expectation_is_among_those_that_its_defect_breaks_in_the_whole_suite(suite: Any) -> None:
    """The other half of what `test_gate.py` claims of each expectation alone."""
    for expectation in suite.expectations:
        outcome = audit(suite, defective(clean.frame(suite.name), expectation), related=clean.related())
        failed = {(r.expectation, r.column) for r in outcome.results if not r.success}
        assert (expectation.type, expectation.column) in failed


def test_the_same_picture_twice_is_one_too_many() -> None:
    frame = clean.frame("slice_windows")
    assert broken("slice_windows", pd.concat([frame, frame.head(1)])) == {"slice_name, window, output"}
    sixteen = frame.head(1).assign(output="grey16")
    assert broken("slice_windows", pd.concat([frame, sixteen])) == set()


def test_sixteen_bits_through_the_slices_own_window_are_something_else() -> None:
    frame = changed(clean.frame("slice_windows"), {"window": "soft-tissue", "output": "grey16"})
    assert broken("slice_windows", frame) == set()


def test_a_stack_that_is_no_volume_needs_no_hash() -> None:
    frame = changed(clean.frame("volumes"), {"path": None, "sha256": None})
    assert "hash_in_path" not in broken("volumes", frame)
    assert "hash_in_path" in broken("volumes", changed(clean.frame("volumes"), {"sha256": None}))
    assert CANARY not in str(broken("volumes", changed(clean.frame("volumes"), {"sha256": CANARY})))
