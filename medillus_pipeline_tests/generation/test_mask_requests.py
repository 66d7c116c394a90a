import numpy as np
import pytest

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.errors import InputError
from medillus_pipeline.generation.body_regions import level_of_region
from medillus_pipeline.generation.mask_requests import MaskRequest, propose_mask
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.language.prior_requests import sample_mask, understood

WORDS = vocabulary.load()


def ids(*keys: str) -> tuple[int, ...]:
    return tuple(WORDS.by_key(key).id for key in keys)


@pytest.mark.parametrize(
    "text",
    [
        "liver, spleen without gallbladder at 0.4",
        "the liver and the spleen, at level 0.4, without the gallbladder",
        "Liver; spleen; no gallbladder; at 0.4",
        "肝、脾，水平0.4，不要胆囊",
        "肝脾 不要胆囊 水平 0.4",
    ],
)
def test_a_request_is_understood_in_either_language(prior: Prior, text: str):
    assert understood(text, prior, WORDS) == MaskRequest(0.4, ids("liver", "spleen"), ids("gallbladder"))


def test_the_level_of_structures_is_where_they_are(prior: Prior):
    asked = understood("liver, spleen at the level of the kidneys", prior, WORDS)
    chinese = understood("肝脾，在肾水平", prior, WORDS)
    assert asked == chinese and asked.structures == ids("liver", "spleen")
    assert asked.level is not None
    level = round(asked.level * (len(prior.tissue) - 1))
    for label in ids("kidney_left", "kidney_right"):
        shown = prior.occupancy[:, prior.classes.index(label)].sum((1, 2))
        assert shown[level] > 0.5 * shown.max()


def test_regions_lie_in_their_order(prior: Prior):
    chest, upper, middle = (level_of_region(prior, name, WORDS) for name in ("chest", "upper abdomen", "中腹部"))
    assert chest > upper > middle
    assert understood("upper abdomen without spleen", prior, WORDS) == MaskRequest(upper, (), ids("spleen"))


def test_a_structure_with_parts_stands_for_those_that_the_prior_has(prior: Prior):
    assert understood("only lungs, heart", prior, WORDS) == MaskRequest(
        None, ids("lung_left", "lung_right", "heart"), (), True
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("liver and a frobnicator", "not understood: 'frobnicator'"),
        ("big liver", "cannot draw a size"),
        ("brain", "knows no brain; it knows spleen"),
        ("pelvis", "cannot tell where 'pelvis' is"),
        ("liver at 0.2 at 0.4", "more than one level"),
        ("liver without liver", "both asks for and leaves out: liver"),
        ("kidneys at 1", "no patient of the prior has left kidney at level 1.00"),
        ("only", "'only' needs"),
        ("", "names no structure and no level"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(prior: Prior, text: str, said: str):
    with pytest.raises(InputError, match=said):
        sample_mask(prior, WORDS, text)


def test_masks_have_what_is_asked_for_and_nothing_left_out(prior: Prior):
    proposed = sample_mask(prior, WORDS, "liver, left kidney without spine", count=6, seed=2)
    assert proposed.ids.shape == (6, 32, 32) and proposed.ids.dtype == np.uint8
    for label in ids("liver", "kidney_left"):
        assert (proposed.ids == label).any((1, 2)).all()
    assert not np.isin(proposed.ids, ids("spine")).any()
    assert set(np.unique(proposed.ids).tolist()) <= {0, *prior.classes}
    assert "with liver, left kidney" in proposed.understood and "without vertebral column" in proposed.understood


def test_only_means_only(prior: Prior):
    proposed = sample_mask(prior, WORDS, "only liver", count=3)
    assert set(np.unique(proposed.ids).tolist()) == {0, *ids("liver")}


def test_masks_are_plausible_in_area_and_lie_at_the_level(prior: Prior):
    proposed = sample_mask(prior, WORDS, "at 0.9", count=8)
    assert proposed.plausible.all() and "8 of 8" in proposed.understood
    assert np.abs(proposed.levels - 0.9).max() <= 0.5 / 7 + 1e-6
    lung = prior.classes.index(ids("lung_left")[0])
    mean, deviation = prior.area[round(0.9 * 7), lung]
    areas = (proposed.ids == prior.classes[lung]).sum((1, 2)) * prior.pixel_mm**2
    assert (np.abs(areas - mean) < 2.5 * max(deviation, 0.2 * mean) + prior.pixel_mm**2).all()


def test_the_same_seed_gives_the_same_masks_and_another_gives_others(prior: Prior):
    one, again, other = (sample_mask(prior, WORDS, "liver", count=3, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.ids, again.ids)
    assert not np.array_equal(one.ids, other.ids)
    assert len({mask.tobytes() for mask in one.ids}) == 3


def test_a_request_by_ids_needs_structures_of_the_prior(prior: Prior):
    made = propose_mask(prior, WORDS, MaskRequest(structures=ids("heart")))
    assert (made.ids == ids("heart")[0]).any()
    with pytest.raises(InputError, match="knows no brain"):
        propose_mask(prior, WORDS, MaskRequest(structures=ids("brain")))
    with pytest.raises(InputError, match="no structure 0"):
        propose_mask(prior, WORDS, MaskRequest(structures=(0,)))
    with pytest.raises(InputError, match="outside 0"):
        propose_mask(prior, WORDS, MaskRequest(level=1.5))
    with pytest.raises(InputError, match="1 to 256 masks"):
        sample_mask(prior, WORDS, "liver", count=0)
