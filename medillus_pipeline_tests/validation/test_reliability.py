"""Reliability tells a calibrated confidence from one that boasts, its intervals widen with few patients, and the
diagram shows the numbers."""

import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.validation.confidence import fit_confidence
from medillus_pipeline.validation.reliability import LEAST_IN_BIN, Reliability, reliability, reliability_of
from medillus_pipeline.validation.reliability_plot import reliability_plot
from medillus_pipeline_tests.validation.test_confidence import EASY, HARD, names, world


def drawn(count: int, patients: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    confidences = rng.uniform(0.2, 1, count)
    return confidences, rng.random(count) < confidences, np.array([f"p-{n % patients}" for n in range(count)])


@pytest.fixture(scope="module")
def both() -> tuple[Reliability, Reliability]:
    given = {"model_version": "3", "judge_sha256": "j", "segmenter_sha256": "s", "dataset_fingerprint": "d"}
    calibration = fit_confidence(world(names("a", 20), 1), [EASY, HARD], **given)
    return reliability_of(calibration, world(names("b", 20), 2), seed=4)


def test_a_perfect_confidence_is_at_its_floor_and_a_boastful_one_far_above() -> None:
    confidences, found, patients = drawn(2000, 25)
    right = reliability(confidences, found, patients, seed=1)
    boastful = reliability(np.sqrt(confidences), found, patients, seed=1)
    assert right.ece.value < 2 * right.ece_floor < 0.06
    assert boastful.ece.value > 0.1 > 4 * boastful.ece_floor and boastful.ece.low > right.ece.high
    assert boastful.brier.value > right.brier.value


def test_the_error_is_the_distance_of_confidence_and_found_share() -> None:
    found = np.array([True] * 6 + [False] * 4)
    one = reliability(np.full(10, 0.9), found, np.array(list("aabbccddee")), seed=1)
    assert one.ece.value == pytest.approx(0.3) and len(one.bins) == 1
    assert one.brier.value == pytest.approx(0.6 * 0.01 + 0.4 * 0.81) and one.brier_base == pytest.approx(0.24)


def test_bins_hold_enough_and_every_instance_once() -> None:
    confidences, found, patients = drawn(200, 10)
    bins = reliability(confidences, found, patients, seed=1).bins
    assert 1 < len(bins) <= 8 and sum(b.instances for b in bins) == 200
    assert min(b.instances for b in bins) >= LEAST_IN_BIN
    assert all(b.low <= b.found <= b.high for b in bins)


def test_a_bin_where_everything_was_found_keeps_room_below() -> None:
    every = reliability(np.full(30, 0.98), np.ones(30, bool), np.array(["a", "b", "c"] * 10), seed=1)
    assert every.bins[0].found == 1 and 0.85 < every.bins[0].low < 0.9


def test_patients_not_structures_make_the_interval() -> None:
    """Four patients who are wholly right or wholly wrong know little, however many structures each has."""
    patients = np.repeat(["a", "b", "c", "d"], 100)
    found = np.isin(patients, ["a", "b"])
    clustered = reliability(np.full(400, 0.5), found, patients, seed=1)
    apart = reliability(np.full(400, 0.5), found, np.array([f"p{n}" for n in range(400)]), seed=1)
    width = [r.bins[0].high - r.bins[0].low for r in (clustered, apart)]
    assert width[0] > 0.8 and width[1] < 0.15


def test_one_patient_has_no_interval_of_the_error_and_the_document_is_still_json() -> None:
    confidences, found, _ = drawn(60, 1)
    single = reliability(confidences, found, np.full(60, "p"), structures=np.full(60, 5), seed=1)
    assert math.isnan(single.ece.low)
    read = json.loads(json.dumps(single.document(), allow_nan=False))
    assert read["ece_low"] is None and read["by_structure"]["5"]["instances"] == 60


def test_nothing_drawn_and_confidences_that_are_none_are_refused() -> None:
    with pytest.raises(NotEnoughDataError):
        reliability(np.zeros(0), np.zeros(0, bool), np.zeros(0, np.str_), seed=1)
    with pytest.raises(ValueError, match="0 to 1"):
        reliability(np.array([1.2]), np.array([True]), np.array(["p"]), seed=1)


def test_on_other_patients_the_calibrated_error_is_small_beside_the_raw_one(both) -> None:
    calibrated, raw = both
    assert calibrated.ece.value < 0.06 < 0.15 < raw.ece.value
    assert calibrated.brier.value < min(calibrated.brier_base, raw.brier.value) - 0.04
    assert set(calibrated.by_structure) == {EASY, HARD}


def test_the_patients_of_the_fit_cannot_be_the_patients_of_the_diagram() -> None:
    given = {"model_version": "3", "judge_sha256": "j", "segmenter_sha256": "s", "dataset_fingerprint": "d"}
    rows = world(names("a", 20), 1)
    with pytest.raises(ValueError, match="fitted on"):
        reliability_of(fit_confidence(rows, [EASY, HARD], **given), rows, seed=1)


def test_equal_numbers_give_equal_pictures_with_every_structure_named(both) -> None:
    called = {EASY: "liver", HARD: "pancreas"}
    svg = reliability_plot(*both, called)
    assert svg == reliability_plot(*both, called) and svg.startswith(b"<?xml")
    assert b"<!-- liver" in svg and b"<!-- pancreas" in svg
    other = replace(both[0], bins=both[0].bins[:-1])
    assert reliability_plot(other, both[1], called) != svg


def test_nothing_of_the_diagram_is_cut_off(both) -> None:
    from PIL import Image

    png = reliability_plot(*both, {EASY: "liver", HARD: "a structure with quite a long name"}, kind="png")
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("L"))
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert (edge > 250).all() and (pixels < 100).any()
