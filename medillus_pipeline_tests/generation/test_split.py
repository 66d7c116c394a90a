from collections import Counter

import pytest

from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.generation.split import MINIMUM_PATIENTS, QUOTAS, assign, split_hash


def tokens(first: int, last: int) -> list[str]:
    return [f"{number * 7919 % 100003:06d}" for number in range(first, last)]


def test_sixteen_patients_meet_the_quotas_exactly():
    assert Counter(assign(tokens(0, 16), {}).values()) == {
        "train": 8,
        "judge": 4,
        "validation": 2,
        "locked_test": 2,
    }


@pytest.mark.parametrize("count", range(MINIMUM_PATIENTS, 60))
def test_every_cohort_fills_every_split_within_one_patient_of_its_quota(count: int):
    counts = Counter(assign(tokens(0, count), {}).values())
    for split, share in QUOTAS.items():
        assert counts[split] >= 1
        assert abs(counts[split] - share * count) < 1


def test_the_order_of_arrival_within_a_round_does_not_matter():
    assert assign(tokens(0, 20), {}) == assign(tokens(0, 20)[::-1], {})


def test_nobody_moves_when_patients_are_added_one_by_one_and_the_quotas_still_hold():
    splits = assign(tokens(0, 8), {})
    for number in range(8, 64):
        before = dict(splits)
        added = assign(tokens(0, number + 1), splits)
        assert set(added) == {tokens(0, number + 1)[number]}
        splits |= added
        assert before.items() <= splits.items()
    assert Counter(splits.values()) == {"train": 32, "judge": 16, "validation": 8, "locked_test": 8}


def test_too_few_patients_are_named_with_the_number_that_is_needed():
    with pytest.raises(NotEnoughDataError, match=rf"^1 patient .*at least {MINIMUM_PATIENTS} "):
        assign(["a"], {})


def test_a_cohort_that_was_once_large_enough_takes_single_newcomers():
    assert len(assign(["new"], assign(tokens(0, 8), {}))) == 1


def test_an_assignment_to_a_split_without_quota_is_refused():
    with pytest.raises(ValueError, match="without a quota"):
        assign(tokens(0, 8), {"x": "elsewhere"})


def test_the_split_hash_sees_every_assignment_and_no_order():
    splits = assign(tokens(0, 8), {})
    assert split_hash(splits) == split_hash(dict(reversed(splits.items())))
    assert split_hash(splits) != split_hash(splits | {"x": "train"})
