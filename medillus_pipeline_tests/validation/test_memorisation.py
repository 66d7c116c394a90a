"""A model that returns its training slices is refused by the copy rate, an honest one is not accused."""

import numpy as np
import pytest

from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.validation import planted
from medillus_pipeline.validation.memorisation import Memorisation, MemorisationConfig, Owned, memorisation
from medillus_pipeline.validation.nearest_slices import by_features, by_pixels, described, standardised
from medillus_pipeline_tests.validation import anatomy

TRAIN, HELD_OUT = anatomy.cohort(patients=12, seed=5), anatomy.cohort(patients=10, seed=6)
LEARNT = planted.Slices(TRAIN.values, TRAIN.class_maps, np.array(TRAIN.levels))
TRAIN_NAMES = np.array([f"t-{name}" for name in TRAIN.patients])
HELD_OUT_NAMES = np.array([f"v-{name}" for name in HELD_OUT.patients])
MEMBERS = np.arange(0, 96)[:80]
FEATURES = anatomy.OracleJudge().features


def measured(sample: planted.Sample, seed: int = 3) -> Memorisation:
    return memorisation(
        Owned(TRAIN.values, TRAIN_NAMES),
        Owned(HELD_OUT.values, HELD_OUT_NAMES),
        sample(HELD_OUT.class_maps, np.array(HELD_OUT.levels), seed),
        MEMBERS,
        sample(TRAIN.class_maps[MEMBERS], np.array(TRAIN.levels)[MEMBERS], seed + 1),
        features=FEATURES,
        rng=np.random.default_rng(0),
        config=MemorisationConfig(draws=200),
    )


def over_trained(class_maps, levels, seed):
    """Honest on masks that it never saw; on those it was trained on it returns the slice itself."""
    images = anatomy.good(class_maps, levels, seed)
    for i, (one, level) in enumerate(zip(class_maps, levels, strict=True)):
        known = (LEARNT.class_maps == one).all((1, 2)) & (LEARNT.levels == level)
        if known.any():
            images[i] = LEARNT.values[known.argmax()]
    return images


@pytest.fixture(scope="module")
def honest() -> Memorisation:
    return measured(anatomy.good)


def test_an_honest_model_copies_nothing_and_knows_no_members(honest: Memorisation):
    assert honest.copy_rate.value <= 0.01
    assert honest.membership_auc.low <= 0.5 <= honest.membership_auc.high
    assert honest.nearness_auc.low <= 0.5 <= honest.nearness_auc.high
    assert 0.9 < honest.distance_ratio.value < 1.1


@pytest.mark.parametrize(
    "copier",
    [
        planted.memoriser(LEARNT),
        planted.memoriser(LEARNT, noise=15.0),
        planted.wrong_hu(planted.memoriser(LEARNT), shift=40, gain=1.1),
        lambda m, levels, s: np.roll(planted.memoriser(LEARNT)(m, levels, s), 1, axis=2),
    ],
    ids=["exact", "with noise", "brighter", "shifted"],
)
def test_a_memoriser_is_refused_even_where_it_disguises_its_copies(copier):
    found = measured(copier)
    assert found.copy_rate.value > 0.9
    assert found.copy_rate.low > 0.01
    assert found.distance_ratio.high < 0.8


def test_the_nearest_slice_of_a_copy_is_the_one_that_was_copied():
    found = measured(planted.memoriser(LEARNT))
    images = planted.memoriser(LEARNT)(HELD_OUT.class_maps, np.array(HELD_OUT.levels), 3)
    np.testing.assert_array_equal(TRAIN.values[found.nearest_training], images)
    np.testing.assert_array_equal(found.nearest_patient, TRAIN_NAMES[found.nearest_training])
    assert found.copied.all()


def test_a_model_that_knows_its_training_slices_by_their_masks_is_found_by_membership():
    found = measured(over_trained)
    assert found.copy_rate.value <= 0.01
    assert found.membership_auc.value > 0.9
    assert found.membership_auc.low > 0.55


@pytest.mark.parametrize("name", ["l1_blur", "mirror", "mask_painter", "wrong_hu", "organ_dropper"])
def test_other_faults_are_not_taken_for_copying(name: str):
    others = anatomy.cohort(patients=2, seed=9)
    pool = planted.Slices(others.values, others.class_maps, np.array(others.levels))
    sample = planted.planted_models(anatomy.good, LEARNT, pool, 5)[name]
    assert measured(sample).copy_rate.value <= 0.05


def test_figures_carry_values_intervals_and_the_stated_thresholds(honest: Memorisation):
    figures = honest.figures()
    assert {f"{name}{bound}" for name in ("copy_rate", "membership_auc") for bound in ("", "_low", "_high")} <= set(
        figures
    )
    assert all(figures[f"copy_threshold_{space}"] > 0 for space in ("features", "pixels"))


def test_the_same_seed_gives_the_same_figures(honest: Memorisation):
    assert measured(anatomy.good).figures() == honest.figures()


def test_without_held_out_images_nothing_is_claimed():
    none = np.zeros((0, anatomy.SIZE, anatomy.SIZE), np.int16)
    with pytest.raises(NotEnoughDataError, match="two training patients"):
        memorisation(
            Owned(TRAIN.values, TRAIN_NAMES),
            Owned(none, HELD_OUT_NAMES[:0]),
            none,
            MEMBERS,
            TRAIN.values[MEMBERS],
            features=FEATURES,
            rng=np.random.default_rng(0),
        )


def test_each_image_needs_its_slice():
    with pytest.raises(ValueError, match="whose mask"):
        memorisation(
            Owned(TRAIN.values, TRAIN_NAMES),
            Owned(HELD_OUT.values, HELD_OUT_NAMES),
            HELD_OUT.values[:5],
            MEMBERS,
            TRAIN.values[MEMBERS],
            features=FEATURES,
            rng=np.random.default_rng(0),
        )


def test_searching_by_blocks_finds_what_all_distances_at_once_find(monkeypatch: pytest.MonkeyPatch):
    known, asked = (described(c.values, FEATURES) for c in (TRAIN, HELD_OUT))
    known, asked = standardised(known, known, asked)
    whole = by_features(asked, known), by_pixels(asked, known, shift=0)
    monkeypatch.setattr("medillus_pipeline.validation.nearest_slices.BLOCK", 17)
    for found, one in zip(whole, (by_features(asked, known), by_pixels(asked, known, shift=0)), strict=True):
        np.testing.assert_array_equal(found.row, one.row)
        np.testing.assert_allclose(found.distance, one.distance, atol=1e-3)
    direct = np.linalg.norm(asked.features[:, None] - known.features[None], axis=2)
    np.testing.assert_array_equal(whole[0].row, direct.argmin(1))


def test_a_query_without_an_allowed_reference_is_infinitely_far():
    known = described(TRAIN.values[:5], FEATURES)
    for search in (by_features, by_pixels):
        found = search(known, known, np.zeros((5, 5), bool))
        assert np.isinf(found.distance).all()
        assert (found.row == -1).all()
