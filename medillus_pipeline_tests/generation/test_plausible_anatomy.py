"""Each perturbation of a real mask trips its own rule, and real masks trip next to none."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.organ_shapes import measure
from medillus_pipeline.generation.plausible_anatomy import KINDS, PlausibilityConfig, Rules, calibrate
from medillus_pipeline.generation.prior import Prior, build_prior
from medillus_pipeline_tests.validation import anatomy

PIXEL_MM = 8.0


def world(patients: int, seed: int, split: str = "train") -> Dataset:
    """Synthetic bodies of five organs as a snapshot, all in one split."""
    drawn = anatomy.cohort(patients=patients, slices=8, seed=seed)
    affine = np.diag([PIXEL_MM, PIXEL_MM, 1.0, 1.0]).ravel().tolist()
    rows = [
        {"patient": name, "level": level, "split": split, "affine": affine, "modality": "CT"}
        for name, level in zip(drawn.patients, drawn.levels, strict=True)
    ]
    manifest = {"config": {"modality": "CT", "preset": "demo"}}
    return Dataset(drawn.values, drawn.class_maps, (1, 2, 3, 4, 5), rows, "0" * 64, manifest)


ORGANS = [organ.key for organ in anatomy.ORGANS]
TRAIN, HELD_OUT = world(16, 5), world(8, 6)
LUNG, LIVER, HEART, VERTEBRA, SPLEEN = range(1, 6)


@pytest.fixture(scope="module")
def rules() -> Rules:
    return calibrate(build_prior(TRAIN), TRAIN)


def middle(name: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The fifth slice of a held-out patient, (1, h, w), and its level."""
    return HELD_OUT.labels[8 * name + 4][None].copy(), HELD_OUT.levels[8 * name + 4][None]


def found_kinds(rules: Rules, found: np.ndarray, level: np.ndarray, asked: np.ndarray | None = None) -> dict[int, set]:
    """The kinds of error by class, for one slice."""
    broken = rules.check(found, level, PIXEL_MM, asked).broken[0]
    return {index + 1: {KINDS[k] for k in np.flatnonzero(one)} for index, one in enumerate(broken) if one.any()}


def moved(labels: np.ndarray, organ: int, down: int, right: int) -> np.ndarray:
    out = np.where(labels == organ, 0, labels)
    out[np.roll(labels == organ, (down, right), (1, 2))] = organ
    return out


def test_real_masks_of_training_patients_break_at_most_one_in_a_hundred(rules: Rules):
    found = rules.check(TRAIN.labels, TRAIN.levels, PIXEL_MM)
    assert found.counted.sum() > 500
    assert (found.wrong & found.counted).sum() <= 0.01 * found.counted.sum()


def test_real_masks_of_unseen_patients_break_hardly_more(rules: Rules):
    for asked in (None, HELD_OUT.labels):
        found = rules.check(HELD_OUT.labels, HELD_OUT.levels, PIXEL_MM, asked)
        assert (found.wrong & found.counted).sum() <= 0.02 * found.counted.sum()


def test_a_mask_that_is_followed_has_no_error(rules: Rules):
    assert not rules.check(HELD_OUT.labels, HELD_OUT.levels, PIXEL_MM, HELD_OUT.labels).wrong.any()


@pytest.mark.parametrize("organ", [LUNG, LIVER, HEART, VERTEBRA, SPLEEN])
def test_an_organ_that_is_asked_for_and_not_found_is_missing(rules: Rules, organ: int):
    asked, level = middle()
    assert found_kinds(rules, np.where(asked == organ, 0, asked), level, asked) == {organ: {"missing"}}


def test_a_few_pixels_of_an_organ_leave_it_missing(rules: Rules):
    asked, level = middle()
    found = np.where(asked == LIVER, 0, asked)
    rows, columns = np.nonzero(asked[0] == LIVER)
    found[0, rows[:3], columns[:3]] = LIVER
    assert found_kinds(rules, found, level, asked) == {LIVER: {"missing"}}


def test_a_second_heart_is_a_double(rules: Rules):
    asked, level = middle()
    found = asked.copy()
    found[np.roll(asked == HEART, (4, -13), (1, 2)) & (asked != HEART)] = HEART
    assert measure(found, 5, PIXEL_MM).parts[0, HEART - 1, 1] > 0
    assert "duplicated" in found_kinds(rules, found, level, asked)[HEART]
    assert "duplicated" in found_kinds(rules, found, level)[HEART]


def test_a_second_part_that_the_mask_asks_for_is_none(rules: Rules):
    asked, level = middle()
    asked[np.roll(asked == HEART, (4, -13), (1, 2)) & (asked != HEART)] = HEART
    assert found_kinds(rules, asked, level, asked) == {}


def test_an_organ_beside_its_asked_place_is_misplaced(rules: Rules):
    asked, level = middle()
    assert found_kinds(rules, moved(asked, VERTEBRA, 0, 9), level, asked) == {VERTEBRA: {"misplaced"}}


def test_an_organ_that_nobody_asked_for_is_held_against_the_prior(rules: Rules):
    found, level = middle()
    asked = np.where(found == VERTEBRA, 0, found)
    assert found_kinds(rules, found, level, asked) == {}
    assert "misplaced" in found_kinds(rules, moved(found, VERTEBRA, 8, 18), level, asked)[VERTEBRA]


def test_an_organ_at_a_level_where_nobody_has_it_is_misplaced(rules: Rules):
    found, _ = middle()
    low = TRAIN.levels < 0.6
    headless = replace(
        TRAIN, labels=np.where((TRAIN.labels == VERTEBRA) & ~low[:, None, None], 0, TRAIN.labels).astype(np.uint8)
    )
    lower = calibrate(build_prior(headless), headless)
    assert "misplaced" in found_kinds(lower, found, np.array([1.0]))[VERTEBRA]
    assert VERTEBRA not in found_kinds(lower, found, np.array([0.5]))


def test_a_mirrored_body_has_its_lateral_organs_on_the_wrong_side(rules: Rules):
    asked, level = middle()
    for against in (None, asked):
        kinds = found_kinds(rules, asked[:, :, ::-1], level, against)
        assert all("wrong_side" in kinds[organ] for organ in (LUNG, LIVER, SPLEEN))


def test_one_organ_across_the_body_is_blamed_and_its_neighbours_are_not(rules: Rules):
    asked, level = middle()
    kinds = found_kinds(rules, moved(asked, LIVER, 0, 25), level)
    assert "wrong_side" in kinds[LIVER]
    assert not any("wrong_side" in kinds.get(organ, set()) for organ in (HEART, VERTEBRA, SPLEEN))


def test_an_organ_far_too_large_breaks_the_size_rule_and_the_mask_excuses_it(rules: Rules):
    asked, level = middle()
    grown = asked.copy()
    grown[0][ndimage.binary_dilation(asked[0] == SPLEEN, iterations=5) & (asked[0] == 0)] = SPLEEN
    assert "size" in found_kinds(rules, grown, level, asked)[SPLEEN]
    assert found_kinds(rules, grown, level, grown) == {}


def test_an_organ_against_one_that_it_never_touches_breaks_adjacency(rules: Rules):
    asked, level = middle()
    assert rules.prior.adjacency[VERTEBRA, LUNG] == 0
    found = asked.copy()
    ring = ndimage.binary_dilation(asked[0] == VERTEBRA) & (asked[0] == 0)
    found[0][ring] = LUNG
    assert "adjacency" in found_kinds(rules, found, level, asked)[VERTEBRA]


def test_specks_below_the_least_size_are_no_instances(rules: Rules):
    empty = np.zeros((1, anatomy.SIZE, anatomy.SIZE), np.uint8)
    speck = empty.copy()
    speck[0, 2, 2:6] = SPLEEN
    assert not rules.check(speck, np.array([0.5]), PIXEL_MM, empty).counted.any()


def test_one_training_patient_gives_no_rules():
    one = world(1, 3)
    with pytest.raises(NotEnoughDataError, match="two training patients"):
        calibrate(build_prior(one), one)


def test_fewer_patients_give_wider_tolerances(rules: Rules):
    few = world(3, 5)
    assert (calibrate(build_prior(few), few).limits[:, 1:3] > rules.limits[:, 1:3]).all()


def test_phantoms_of_the_snapshot_follow_the_rules(dataset: Dataset, prior: Prior):
    rules = calibrate(prior, dataset)
    keys = [vocabulary.load().by_id(c).key for c in prior.classes]
    assert rules.left_of[keys.index("lung_left"), keys.index("lung_right")]
    assert not rules.left_of[keys.index("lung_right"), keys.index("lung_left")]
    for split in ("train", "validation", "judge"):
        part = dataset.split(split)
        found = rules.check(part.labels, part.levels, part.pixel_mm)
        assert (found.wrong & found.counted).sum() <= 0.02 * found.counted.sum()


def test_a_label_without_a_class_is_refused(rules: Rules):
    with pytest.raises(ValueError, match="there are 5 classes"):
        rules.check(np.full((1, 8, 8), 6, np.uint8), np.array([0.5]), PIXEL_MM)


def test_stated_tolerances_can_be_turned(rules: Rules):
    strict = PlausibilityConfig(missing_share=0.9)
    asked, level = middle()
    rules = calibrate(rules.prior, TRAIN, strict)
    half = asked.copy()
    rows = np.flatnonzero((asked[0] == LIVER).any(1))
    half[0, rows[len(rows) // 2] :][half[0, rows[len(rows) // 2] :] == LIVER] = 0
    assert "missing" in found_kinds(rules, half, level, asked)[LIVER]
