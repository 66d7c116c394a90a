"""Which pictures may be mirrored: head, neck and limbs whose structures come in pairs or lie in the middle."""

import pytest

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.generation.mirroring import (
    MIDLINE,
    NO_SIDE,
    PERMITTED,
    UNLIKE_PAIRS,
    counterpart,
    exchanged_classes,
)


@pytest.fixture(scope="module")
def terms() -> Vocabulary:
    """The vocabulary that is shipped."""
    return vocabulary.load()


def exchanged(terms: Vocabulary, keys: str, body_part: str | None, shown: str | None = None) -> tuple[int, ...] | None:
    """What `exchanged_classes` says of classes by their keys; all are shown unless `shown` names some."""
    classes = [terms.by_key(key).id for key in keys.split()]
    visible = classes if shown is None else [terms.by_key(key).id for key in shown.split()]
    return exchanged_classes(classes, visible, body_part, terms)


def test_pairs_trade_places_and_the_middle_stays(terms: Vocabulary) -> None:
    keys = "brainstem parotid_gland_left parotid_gland_right mandible"
    assert exchanged(terms, keys, "HEADNECK") == (0, 1, 3, 2, 4)
    assert exchanged(terms, "femur_left femur_right tibia_right tibia_left", "leg ") == (0, 2, 1, 4, 3)


@pytest.mark.parametrize("part", ["CHEST", "THORAX", "ABDOMEN", "CHESTABDOMEN", "PELVIS", "HIP", "", None, "WHOLEBODY"])
def test_where_organs_have_a_situs_nothing_is_mirrored(terms: Vocabulary, part: str | None) -> None:
    assert exchanged(terms, "femur_left femur_right", part) is None


def test_a_structure_without_its_counterpart_forbids_it(terms: Vocabulary) -> None:
    assert exchanged(terms, "parotid_gland_left mandible", "HEAD") is None


@pytest.mark.parametrize("key", ["liver", "heart", "esophagus", "aorta", "brachiocephalic_trunk", "stomach"])
def test_what_lies_to_one_side_forbids_it(terms: Vocabulary, key: str) -> None:
    assert exchanged(terms, f"mandible {key}", "NECK") is None


def test_a_structure_that_the_body_part_never_shows_forbids_nothing(terms: Vocabulary) -> None:
    keys = "liver eye_left eye_right"
    assert exchanged(terms, keys, "HEAD", shown="eye_left eye_right") == (0, 1, 3, 2)


def test_lungs_and_chambers_of_the_heart_are_no_mirror_images(terms: Vocabulary) -> None:
    assert exchanged(terms, "lung_left lung_right", "HEADNECK") is None
    assert exchanged(terms, "heart_atrium_left heart_atrium_right", "HEADNECK") is None


def test_lesions_and_targets_may_lie_on_either_side(terms: Vocabulary) -> None:
    assert exchanged(terms, "brain brain_tumor gtv", "BRAIN") == (0, 1, 2, 3)


def test_mirroring_twice_gives_back_every_pair_of_the_vocabulary(terms: Vocabulary) -> None:
    pairs = {s.key: other for s in terms if (other := counterpart(s, terms)) is not None}
    assert len(pairs) > 80
    for key, other in pairs.items():
        back = counterpart(other, terms)
        assert back is not None
        assert back.key == key
    without = [
        s.key
        for s in terms
        if s.laterality in ("left", "right") and s.key not in pairs and not s.key.startswith(UNLIKE_PAIRS)
    ]
    assert without == ["left_anterior_descending_artery"]  # of the heart, which no permitted body part shows


def test_the_tables_name_structures_that_exist_and_give_reasons(terms: Vocabulary) -> None:
    for key in (*MIDLINE, *NO_SIDE):
        assert terms.by_key(key).laterality not in ("left", "right")
    assert all(reason and part == part.upper() for part, reason in PERMITTED.items())
