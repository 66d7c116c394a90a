"""The rules of promotion: each gate of each profile refuses what was not measured; history is a stack."""

import math
from dataclasses import replace

import pytest

from medillus_pipeline.validation.champion_history import History, Turn
from medillus_pipeline.validation.gates import Gate, Profile, judge_gates, load_profile
from medillus_pipeline.validation.promotion_rules import Approval, missing_approvals, rules_hash

PROFILES = ("demo", "research", "clinical-education")
GATES = [(name, gate) for name in PROFILES for gate in load_profile(name).gates]
NOT_MEASURED = (None, math.nan, math.inf, -math.inf)


def just_right(profile: Profile) -> dict[str, float | None]:
    """Figures that every gate of the profile lets through by a hair."""
    figures: dict[str, float | None] = {}
    for gate in profile.gates:
        value = gate.minimum if gate.maximum is None else gate.maximum if gate.minimum is None else 1.0
        figures |= {f"{gate.figure}{end}": value for end in ("", "_low", "_high")}
    return figures


@pytest.mark.parametrize(("name", "gate"), GATES, ids=[f"{name}-{gate.figure}" for name, gate in GATES])
def test_a_figure_that_was_not_measured_fails_its_gate(name: str, gate: Gate) -> None:
    profile = load_profile(name)
    good = just_right(profile)
    assert judge_gates(profile, good).passed  # type: ignore[arg-type]
    ends = ("", "_low", "_high") if gate.needs_bounds else ("",)
    for key in (f"{gate.figure}{end}" for end in ends):
        for broken in ({k: v for k, v in good.items() if k != key}, *(good | {key: value} for value in NOT_MEASURED)):
            verdict = judge_gates(profile, broken)  # type: ignore[arg-type]
            assert not verdict.passed
            assert [result.status for result in verdict.results if not result.passed] == ["inconclusive"]


@pytest.mark.parametrize(("name", "gate"), GATES, ids=[f"{name}-{gate.figure}" for name, gate in GATES])
def test_a_figure_beyond_its_threshold_fails_its_gate(name: str, gate: Gate) -> None:
    profile = load_profile(name)
    for limit, beyond in ((gate.minimum, -math.inf), (gate.maximum, math.inf)):
        if limit is not None:
            worse = math.nextafter(limit, beyond)
            figures = just_right(profile) | {f"{gate.figure}{end}": worse for end in ("", "_low", "_high")}
            found = judge_gates(profile, figures)  # type: ignore[arg-type]
            assert [result.gate.figure for result in found.results if not result.passed] == [gate.figure]


@pytest.mark.parametrize(("name", "gate"), [pair for pair in GATES if pair[1].on_interval])
def test_an_interval_that_does_not_hold_its_own_value_does_not_flatter_it(name: str, gate: Gate) -> None:
    profile = load_profile(name)
    bad = gate.minimum - 0.1 if gate.minimum is not None else (gate.maximum or 0) + 0.1
    assert not judge_gates(profile, just_right(profile) | {gate.figure: bad}).passed  # type: ignore[arg-type]


@pytest.mark.parametrize("name", PROFILES)
def test_every_threshold_and_choice_of_a_profile_gives_its_reason(name: str) -> None:
    profile = load_profile(name)
    reasons = [profile.purpose, profile.automatic_promotion_reason, profile.locked_test_reason]
    assert all(len(reason) > 20 for reason in (*reasons, *(gate.reason for gate in profile.gates)))


def test_only_the_demo_promotes_by_itself_and_only_it_leaves_the_locked_test_shut() -> None:
    assert {name: load_profile(name).automatic_promotion for name in PROFILES} == dict.fromkeys(PROFILES, False) | {
        "demo": True
    }
    assert [name for name in PROFILES if not load_profile(name).locked_test] == ["demo"]


def test_a_reviewer_counts_once_and_a_role_is_asked_for() -> None:
    clinical = load_profile("clinical-education")
    twice = [Approval("r-1", "engineer"), Approval("r-1", "engineer")]
    assert len(missing_approvals(clinical, twice)) == 2
    assert len(missing_approvals(clinical, [*twice, Approval("r-2", "engineer")])) == 1
    assert missing_approvals(clinical, [*twice, Approval("r-2", "physician")]) == []


def open_places(by_role: dict[str, int], approved: dict[str, list[str]]) -> list[str]:
    """What is missing for places by role beside as many approvals in all; by role → who approved."""
    profile = replace(load_profile("research"), required_approvals=0, approvals_by_role=by_role)
    return missing_approvals(profile, [Approval(name, role) for role, own in approved.items() for name in own])


@pytest.mark.parametrize(
    ("by_role", "approved", "still"),
    [
        ({}, {}, []),
        ({"physician": 2}, {"physician": ["r-1"]}, ["2 must be by a physician, and 1 are"]),
        ({"physician": 1, "anatomist": 1}, {"physician": ["r-1"], "anatomist": ["r-1"]}, ["1 must be by"]),
        ({"physician": 1, "anatomist": 1}, {"physician": ["r-1", "r-2"], "anatomist": ["r-1"]}, []),
        ({"anatomist": 1, "physician": 1}, {"physician": ["r-1"], "anatomist": ["r-1", "r-2"]}, []),
        ({"physician": 1}, {"engineer": ["r-1", "r-2"]}, ["1 must be by a physician, and 0 are"]),
    ],
)
def test_every_required_approval_is_another_persons(by_role: dict, approved: dict, still: list[str]) -> None:
    found = open_places(by_role, approved)
    assert len(found) == len(still)
    assert all(part in sentence for part, sentence in zip(still, found, strict=True))


def test_the_rules_of_a_dataset_are_its_format_and_configuration_not_its_data() -> None:
    base = {"format": 1, "config": {"size": 128}, "fingerprint": "a"}
    assert rules_hash(base) == rules_hash(base | {"fingerprint": "b"})
    assert len({rules_hash(base), rules_hash(base | {"format": 2}), rules_hash(base | {"config": {"size": 64}})}) == 3


def turns(*acts: str) -> History:
    """Acts such as `promote 1`; the version before each is not needed for the stack."""
    return History.of(
        Turn(number, version, action, None, "r", "2026-01-01T00:00:00Z", "", "")  # type: ignore[arg-type]
        for number, (action, version) in enumerate((act.split() for act in acts), start=1)
    )


@pytest.mark.parametrize(
    ("acts", "stack"),
    [
        ((), ()),
        (("promote 1", "promote 2", "promote 3"), ("1", "2", "3")),
        (("promote 1", "promote 2", "promote 3", "rollback 2"), ("1", "2")),
        (("promote 1", "promote 2", "promote 3", "rollback 1"), ("1",)),
        (("promote 1", "promote 2", "rollback 1", "rollback 2"), ("2",)),
        (("promote 1", "promote 2", "promote 1"), ("2", "1")),
        (("promote 1", "promote 2", "rollback 1", "revoke 2", "promote 3"), ("1", "3")),
        (("promote 1", "promote 2", "promote 3", "revoke 2"), ("1", "3")),
    ],
)
def test_the_champions_are_a_stack(acts: tuple[str, ...], stack: tuple[str, ...]) -> None:
    assert turns(*acts).stack == stack


def test_a_version_is_down_from_its_rollback_to_its_next_promotion() -> None:
    down = turns("promote 1", "promote 2", "rollback 1")
    assert down.left_by_rollback("2") is not None
    assert down.left_by_rollback("1") is None
    assert turns("promote 1", "promote 2", "rollback 1", "promote 2").left_by_rollback("2") is None
