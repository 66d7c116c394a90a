"""Edits of masks are plausible, and the counterfactual figure tells who follows them from who does not."""

import numpy as np
import pytest

from medillus_pipeline.validation.counterfactual import Counterfactual, CounterfactualConfig, counterfactual
from medillus_pipeline.validation.mask_edits import EDITS, grow, move, remove
from medillus_pipeline_tests.validation import anatomy

REAL = anatomy.cohort(patients=4, slices=6)
CONFIG = CounterfactualConfig(masks=12, draws=100)


def square(size: int = 32) -> np.ndarray:
    """A label map with one organ of 10 × 10 pixels in its middle."""
    out = np.zeros((size, size), np.uint8)
    out[11:21, 11:21] = 1
    return out


def measured(sample) -> Counterfactual:
    return counterfactual(
        REAL.values, REAL.class_maps, REAL.patients, np.array(REAL.levels), sample=sample,
        judge=anatomy.OracleJudge(), seed=3, config=CONFIG,
    )  # fmt: skip


def everywhere(class_map: np.ndarray) -> np.ndarray:
    return np.ones(class_map.shape, bool)


def test_a_moved_organ_keeps_its_shape_and_goes_a_tenth_of_its_size():
    before = square()
    after = move(before, 1, everywhere(before), np.random.default_rng(0))
    assert after is not None and (after == 1).sum() == 100
    shift = np.argwhere(after == 1).mean(0) - np.argwhere(before == 1).mean(0)
    assert np.abs(shift).max() == 1


def test_an_organ_grows_two_pixels_of_64_on_every_side():
    before = np.pad(square(), 16)
    after = grow(before, 1, everywhere(before), np.random.default_rng(0))
    assert after is not None
    rows, columns = np.nonzero(after == 1)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (14, 14)


def test_a_removed_organ_becomes_what_surrounds_it():
    before = square()
    before[9:23, 9:11] = before[9:23, 21:23] = before[9:11, 9:23] = before[21:23, 9:23] = 2
    after = remove(before, 1, everywhere(before), np.random.default_rng(0))
    assert after is not None and set(np.unique(after[11:21, 11:21])) == {2}


def test_no_edit_leaves_the_body():
    before = square()
    assert move(before, 1, before > 0, np.random.default_rng(0)) is None
    assert grow(before, 1, before > 0, np.random.default_rng(0)) is None


def test_no_neighbour_is_eaten():
    before = square()
    before[8:11, 8:24] = before[21:24, 8:24] = 2
    before[11:21, 9:11] = before[11:21, 21:23] = 3
    assert grow(before, 1, everywhere(before), np.random.default_rng(0)) is None


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_changes_neither_its_input_nor_what_is_far_from_the_organ(edit):
    before = square()
    before[1:4, 1:4] = 5
    kept = before.copy()
    after = EDITS[edit](before, 1, everywhere(before), np.random.default_rng(0))
    assert after is not None and not np.array_equal(after, before)
    assert np.array_equal(before, kept)
    assert np.array_equal(after[:6, :6], before[:6, :6])


def test_a_generator_that_follows_its_mask_follows_every_edit():
    figures = measured(anatomy.good).figures
    for edit in ("", *(f"_{name}" for name in EDITS)):
        assert figures[f"counterfactual_iou{edit}"] > 0.8, edit
        assert figures[f"counterfactual_iou{edit}_low"] <= figures[f"counterfactual_iou{edit}"]
    assert figures["counterfactual_cases"] > 20


def test_a_generator_that_ignores_its_mask_follows_none():
    fixed = np.stack([REAL.class_maps[3]] * 64)
    figures = measured(lambda maps, levels, seed: anatomy.good(fixed[: len(maps)], levels, seed)).figures
    for edit in ("", *(f"_{name}" for name in EDITS)):
        assert figures[f"counterfactual_iou{edit}"] < 0.05, edit


def test_before_and_after_come_from_the_same_noise():
    seeds = []

    def watched(maps, levels, seed):
        seeds.append(seed)
        return anatomy.good(maps, levels, seed)

    measured(watched)
    assert seeds[::2] == seeds[1::2]


def test_masks_without_an_organ_give_no_figure():
    empty = np.zeros_like(REAL.class_maps)
    found = counterfactual(
        REAL.values,
        empty,
        REAL.patients,
        np.array(REAL.levels),
        sample=anatomy.good,
        judge=anatomy.OracleJudge(),
        seed=1,
    )
    assert found.figures == {"counterfactual_cases": 0.0} and not found.cases
