"""A figure prints a calibrated confidence as such, with what calibrated it, and an uncalibrated one as uncalibrated."""

import json
import math

import numpy as np
import pytest

from medillus_pipeline import published
from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration.confidence import calibrated, provenance
from medillus_pipeline.illustration.figure import draw_figure
from medillus_pipeline.resources.illustration_models import calibration_of as _calibration
from medillus_pipeline.validation.confidence import Calibration, fit_confidence
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.illustration.scenes import request
from medillus_pipeline_tests.validation.test_confidence import EASY, HARD, names, world


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return fit_confidence(
        world(names("a", 20), 1), [EASY, HARD],
        model_version="3", judge_sha256="j", segmenter_sha256="s", dataset_fingerprint="d",
    )  # fmt: skip


def test_a_calibrated_figure_says_so_in_the_drawing_and_in_its_provenance(calibration: Calibration) -> None:
    figure = draw_figure(request(calibration=provenance(calibration)), zoom=0.5)
    text = figure.svg.decode()
    assert "calibrated on other patients" in text and "已用其他患者的数据校准" in text
    assert "uncalibrated" not in text and "未经校准" not in text
    sidecar = json.loads(figure.sidecar_json())
    told = sidecar["request"]["confidence_calibration"]
    assert told["sha256"] == calibration.sha256 and told["model_version"] == "3"
    assert "p-a000" not in figure.sidecar_json().decode(), "patients of the fit are told by number only"
    assert "calibrated" in sidecar["confidence_note"]["en"]


def test_without_a_calibration_a_figure_says_uncalibrated() -> None:
    figure = draw_figure(request(), zoom=0.5)
    assert "uncalibrated" in figure.svg.decode()
    assert json.loads(figure.sidecar_json())["request"]["confidence_calibration"] is None


def test_a_scan_cannot_carry_a_generators_calibration(calibration: Calibration) -> None:
    with pytest.raises(InputError, match="scan"):
        request(source="scan", model_version=None, calibration=provenance(calibration))


def test_every_structure_of_the_mask_gets_a_confidence_or_is_said_to_have_none(calibration: Calibration) -> None:
    labels = np.zeros((16, 16), np.uint8)
    labels[:8], labels[12:] = EASY, 99
    probabilities = np.full((2, 16, 16), 0.1)
    probabilities[1, :8] = 0.9
    found = calibrated(calibration, probabilities, labels, {EASY: 1}, "p-new")
    assert 0.5 < found[EASY] < 1 and math.isnan(found[99])


def test_a_calibration_of_another_segmenter_is_not_used_and_the_reason_is_said(
    calibration: Calibration, tmp_path
) -> None:
    clean = Zone(f"file://{tmp_path}")
    assert _calibration(clean, "3", "s")[0] is None
    payload = clean.put("reports", calibration.to_bytes(), ".json")
    published.publish(clean, "confidence-3", {"path": payload.path, "sha256": payload.sha256})
    assert _calibration(clean, "3", "s") == (calibration, None)
    found, why = _calibration(clean, "3", "trained-again")
    assert found is None and "segmenter" in (why or "")
