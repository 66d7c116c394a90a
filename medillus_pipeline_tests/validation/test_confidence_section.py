"""What the report says of the confidence: the page, the JSON and the published calibration agree."""

import dataclasses
import math

import pytest

from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.validation.confidence import DEFINITION, Calibration
from medillus_pipeline.validation.confidence_section import CalibratedConfidence, calibrated_confidence
from medillus_pipeline.validation.figures import display, kind_of
from medillus_pipeline.validation.gates import judge_gates, load_profile
from medillus_pipeline.validation.report import build_report
from medillus_pipeline_tests.validation import anatomy
from medillus_pipeline_tests.validation.test_confidence import EASY, HARD, names, world
from medillus_pipeline_tests.validation.test_gates import measured
from medillus_pipeline_tests.validation.test_report import PROVENANCE, Figures

GIVEN = {"model_version": "3", "judge_sha256": "j", "segmenter_sha256": "s", "dataset_fingerprint": "d", "seed": 4}
TRAINED, HELD = world(names("a", 20), 1), world(names("b", 20), 2)


@pytest.fixture(scope="module")
def confidence() -> CalibratedConfidence:
    return calibrated_confidence(TRAINED, HELD, [EASY, HARD], {EASY: "liver", HARD: "spleen"}, **GIVEN)


@pytest.fixture(scope="module")
def report(confidence):
    evaluation = measured(anatomy.good).and_also(confidence.figures())
    verdict = judge_gates(load_profile("demo"), evaluation.figures)
    return build_report(evaluation, verdict, PROVENANCE, confidence=confidence)


def test_its_figures_have_names_and_the_raw_score_is_worse(confidence):
    found = confidence.figures()
    assert all(kind_of(key).title and math.isfinite(value) for key, value in found.items())
    assert found["confidence_ece_low"] <= found["confidence_ece"] <= found["confidence_ece_high"]
    assert 0 < found["confidence_ece_floor"] < 2 * found["confidence_ece"] < found["confidence_ece_raw"]
    assert found["confidence_brier"] < found["confidence_brier_base"]


def test_the_published_calibration_carries_the_measured_reliability(confidence):
    again = Calibration.from_bytes(confidence.calibration.to_bytes())
    assert again.evaluated["ece"] == confidence.figures()["confidence_ece"]
    assert again.evaluated["patients"] == 20


def test_the_page_says_what_a_confidence_means_before_the_diagram(report):
    section = report.html.split("<h2>Confidence of structures</h2>")[1].split("<h2>")[0]
    assert section.index(DEFINITION) < section.index("Reliability diagram")
    assert "600 structures drawn from masks of 20 training patients" in section
    shown = {key: text for key, value, text in Figures(section).found}
    for key in ("confidence_ece", "confidence_ece_raw", "confidence_brier", "confidence_brier_base"):
        assert shown[key] == display(key, report.figures[key])


def test_the_json_names_no_patient_of_the_fit(report, confidence):
    document = report.document["confidence"]
    assert document["calibration_sha256"] == confidence.calibration.sha256
    assert document["reliability"]["ece"] == report.figures["confidence_ece"]
    assert document["fitted_on"]["patients"] == 20
    assert not any(patient in report.html for patient in confidence.calibration.fitted_patients)


def test_a_report_without_a_calibration_has_no_such_section():
    evaluation = measured(anatomy.good)
    bare = build_report(evaluation, judge_gates(load_profile("demo"), evaluation.figures), PROVENANCE)
    assert "Confidence of structures" not in bare.html and bare.document["confidence"] is None


@pytest.mark.parametrize("trained", [None, world(names("a", 1), 1), world(names("a", 3), 1, per_patient=5)])
def test_too_little_to_calibrate_on_is_refused(trained):
    with pytest.raises(NotEnoughDataError, match="to calibrate"):
        calibrated_confidence(trained, HELD, [EASY, HARD], {}, **GIVEN)


def test_nothing_to_judge_it_on_is_refused():
    nobody = dataclasses.replace(HELD, **{part.name: getattr(HELD, part.name)[:0] for part in dataclasses.fields(HELD)})
    with pytest.raises(NotEnoughDataError, match="cannot be judged"):
        calibrated_confidence(TRAINED, nobody, [EASY, HARD], {}, **GIVEN)


def test_a_patient_in_both_is_refused():
    with pytest.raises(ValueError, match="must not be used"):
        calibrated_confidence(TRAINED, TRAINED, [EASY, HARD], {}, **GIVEN)
