"""The calibration recovers a known truth, holds on other patients, and never speaks of what it cannot know."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import special

from medillus_pipeline.errors import InputError, NotEnoughDataError
from medillus_pipeline.validation.confidence import (
    FOUND_DICE,
    MINIMUM_INSTANCES,
    Calibration,
    Instances,
    RawScores,
    collect,
    confidence,
    fit_confidence,
    predicted,
    raw_scores,
    uncalibrated,
)

EASY, HARD, RARE, UNKNOWN = 5, 6, 7, 99


def world(patients: list[str], seed: int, per_patient: int = 30) -> Instances:
    """Instances whose outcome follows a logistic law of the scores, harder for one structure; the segmenter is timid:
    its scores are far below the true probability."""
    rng = np.random.default_rng(seed)
    count = len(patients) * per_patient
    structures = rng.choice([EASY, HARD], count)
    strength = rng.normal(0, 1.3, count)
    scores = np.stack(
        [
            special.expit(strength + rng.normal(0, 0.3, count)),
            special.expit(strength + rng.normal(0, 0.3, count)),
            rng.integers(12, 400, count),
        ],
        axis=1,
    )
    truth = special.expit(1.5 + 1.5 * strength - 2.0 * (structures == HARD))
    return Instances(structures, np.repeat(patients, per_patient), scores, rng.random(count) < truth)


def fitted(instances: Instances, **changes: str) -> Calibration:
    named = {"model_version": "3", "judge_sha256": "j", "segmenter_sha256": "s", "dataset_fingerprint": "d"} | changes
    return fit_confidence(instances, [EASY, HARD, RARE], **named)


def names(prefix: str, count: int) -> list[str]:
    return [f"p-{prefix}{number:03d}" for number in range(count)]


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return fitted(world(names("a", 20), 1))


def test_on_other_patients_the_calibrated_confidence_is_right_where_the_raw_score_is_not(
    calibration: Calibration,
) -> None:
    others = world(names("b", 40), 2)
    values = predicted(calibration, others)
    for structure in (EASY, HARD):
        own = others.structures == structure
        assert values[own].mean() == pytest.approx(others.found[own].mean(), abs=0.05)
    assert uncalibrated(others).mean() < others.found.mean() - 0.15
    assert ((values - others.found) ** 2).mean() < ((uncalibrated(others) - others.found) ** 2).mean() - 0.02


def test_a_harder_structure_gets_less_for_the_same_scores(calibration: Calibration) -> None:
    same = RawScores(0.8, 0.8, 100)
    found = confidence(calibration, {EASY: same, HARD: same}, "p-else")
    assert found[EASY] > found[HARD] + 0.1


def test_a_structure_never_seen_in_the_fit_takes_the_curve_of_all(calibration: Calibration) -> None:
    assert calibration.counts[RARE] == 0 and calibration.offsets[RARE] == 0
    same = RawScores(0.8, 0.8, 100)
    found = confidence(calibration, {EASY: same, HARD: same, RARE: same}, "p-else")
    assert found[HARD] < found[RARE] < found[EASY]


def test_two_lucky_instances_move_a_rare_structure_less_than_two_hundred() -> None:
    base = world(names("a", 20), 1)
    offsets = []
    for count in (2, 200):
        rare = Instances(
            np.full(count, RARE),
            np.repeat("p-a000", count),
            np.tile([0.5, 0.5, 100.0], (count, 1)),
            np.ones(count, bool),
        )
        both = (base, rare)
        joined = Instances(*(np.concatenate([getattr(x, n) for x in both]) for n in vars(base)))
        offsets.append(fitted(joined).offsets[RARE])
    assert 0 < offsets[0] < 0.6 * offsets[1]


def test_more_agreement_never_lowers_the_confidence_even_where_the_data_say_so() -> None:
    rows = world(names("a", 20), 1)
    absurd = replace(rows, found=~rows.found)
    for calibrated in (fitted(rows), fitted(absurd)):
        ladder = [
            confidence(calibrated, {EASY: RawScores(share, share, 80)}, "p-else")[EASY]
            for share in np.linspace(0, 1, 21)
        ]
        assert (np.diff(ladder) >= 0).all()


def test_outcomes_that_are_all_alike_give_no_certainty() -> None:
    rows = world(names("a", 4), 3, per_patient=20)
    sure = fitted(replace(rows, found=np.ones(len(rows), bool)))
    best = confidence(sure, {EASY: RawScores(1.0, 1.0, 400)}, "p-else")[EASY]
    assert 0.9 < best <= (len(rows) + 1) / (len(rows) + 2)


def test_it_refuses_the_patients_that_it_was_fitted_on(calibration: Calibration) -> None:
    with pytest.raises(ValueError, match="fitted on"):
        confidence(calibration, {EASY: RawScores(0.9, 0.9, 100)}, "p-a000")
    with pytest.raises(ValueError, match="fitted on"):
        predicted(calibration, world(["p-a003", "p-new"], 4))


def test_of_what_the_judge_does_not_know_and_of_slivers_nothing_is_said(calibration: Calibration) -> None:
    found = confidence(calibration, {UNKNOWN: RawScores(0.9, 0.9, 100), EASY: RawScores(0.9, 0.9, 3)}, "p-else")
    assert math.isnan(found[UNKNOWN]) and math.isnan(found[EASY])


def test_bytes_give_the_same_calibration_and_the_same_hash(calibration: Calibration) -> None:
    again = Calibration.from_bytes(calibration.to_bytes())
    assert again == calibration and again.sha256 == calibration.sha256
    assert fitted(world(names("a", 20), 1)).to_bytes() == calibration.to_bytes()
    assert replace(calibration, evaluated={"ece": 0.01}).sha256 != calibration.sha256


def test_a_file_that_is_none_or_another_releases_is_refused(calibration: Calibration) -> None:
    other = calibration.to_bytes().replace(b'"format": 1', b'"format": 9')
    for data in (b"{}", b"not json", b"[]", other):
        with pytest.raises(InputError, match="calibration"):
            Calibration.from_bytes(data)


def test_it_holds_for_its_own_version_and_segmenter_only(calibration: Calibration) -> None:
    assert calibration.unfit_for("3", "s") is None
    assert "version 3" in (calibration.unfit_for("4", "s") or "")
    assert "segmenter" in (calibration.unfit_for("3", "other") or "")


def test_too_few_structures_or_a_single_patient_are_not_fitted() -> None:
    few = world(names("a", 2), 1, per_patient=MINIMUM_INSTANCES // 2 - 1)
    for rows in (few, world(["p-a"], 1, per_patient=200)):
        with pytest.raises(NotEnoughDataError, match="uncalibrated"):
            fitted(rows)


class Paints:
    """A segmenter that finds what is bright: class i at values of 100·i."""

    def predict(self, values: np.ndarray) -> np.ndarray:
        index = np.rint(values / 100).astype(int).clip(0, 2)
        return np.moveaxis(np.eye(3)[index] * 0.85 + 0.05, -1, 1)


def test_collected_instances_carry_the_segmenters_scores_and_the_judges_finding() -> None:
    maps = np.zeros((3, 16, 16), np.uint8)
    maps[:, 2:10, 2:10] = 1
    maps[0, 12:14, 12:14] = 2  # four pixels: no outcome is known of these
    maps[2, 12:16, 10:16] = 2
    judged = maps.copy()
    judged[1] = np.roll(judged[1], 4, axis=1)
    images = (maps * 100).astype(np.int16)
    found = collect(images, maps, judged, ["p-1", "p-2", "p-2"], [40, 41], Paints(), batch=2)
    assert found.structures.tolist() == [40, 40, 40, 41] and found.patients.tolist() == ["p-1", "p-2", "p-2", "p-2"]
    assert found.found.tolist() == [True, False, True, True]
    np.testing.assert_allclose(found.scores[:, 0], 0.9)
    assert found.scores[:, 1].tolist() == [1, 1, 1, 1] and found.scores[:, 2].tolist() == [64, 64, 64, 24]
    without = collect(images, maps, judged, ["p-1", "p-2", "p-2"], [40, 41], Paints(), judge_knows=[40])
    assert set(without.structures.tolist()) == {40}


def test_found_means_a_dice_of_the_stated_bound() -> None:
    maps = np.zeros((2, 20, 20), np.uint8)
    maps[:, :10, :10] = 1
    judged = np.zeros_like(maps)
    for row, columns in enumerate((5, 6)):  # Dice 100 / 150 = 0.67 and 120 / 160 = 0.75
        judged[row, :10, :columns] = 1
    found = collect((maps * 100).astype(np.int16), maps, judged, ["a", "b"], [4, 5], Paints())
    assert FOUND_DICE == 0.7 and found.found.tolist() == [False, True]


def test_scores_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="label map"):
        raw_scores(np.zeros((3, 4, 4)), np.zeros((5, 5), np.uint8), {})
