"""Approvals are of people on the roster, for one version and its weights, and the latest word of each counts."""

from typing import Any

import pytest

from medillus_pipeline.review.approvals import approvals
from medillus_pipeline.review.roster import Roster
from medillus_pipeline_tests.review.sheets import ADA, BO, CAI, ROSTER_FILE, WEIGHTS, roster

MORNING, EVENING = "2026-03-04T08:00:00.000+00:00", "2026-03-04T20:00:00.000+00:00"
NAMES = {key.public: roster().owner_of(key.public).pseudonym for key in (ADA, BO, CAI)}  # type: ignore[union-attr]


def row(key: Any = ADA, **changes: Any) -> dict[str, Any]:
    return {
        "reviewer": NAMES[key.public],
        "public_key": key.public,
        "model_version": "3",
        "weights_sha256": WEIGHTS,
        "decision": "approve",
        "signed_at": MORNING,
    } | changes


def approved(*rows: dict[str, Any], by: Roster | None = None) -> dict[str, list[str]]:
    return approvals(rows, by or roster(), "3", WEIGHTS)


def test_an_approval_counts_for_every_role_of_its_reviewer() -> None:
    both = sorted([NAMES[ADA.public], NAMES[BO.public]])
    assert approved(row(), row(BO)) == {"physician": both, "anatomist": [NAMES[BO.public]]}


@pytest.mark.parametrize("change", [{"model_version": "4"}, {"weights_sha256": "0" * 64}, {"decision": "abstain"}])
def test_other_versions_other_weights_and_abstentions_approve_nothing(change: dict[str, str]) -> None:
    assert approved(row(**change)) == {}


def test_a_later_rejection_withdraws_an_approval_whatever_order_they_arrive_in() -> None:
    said = [row(), row(decision="reject", signed_at=EVENING)]
    assert approved(*said) == approved(*reversed(said)) == {}
    assert approved(row(decision="reject"), row(signed_at=EVENING)) == {"physician": [NAMES[ADA.public]]}


def test_of_two_verdicts_at_one_moment_the_one_that_does_not_approve_counts() -> None:
    assert approved(row(), row(decision="reject")) == approved(row(decision="reject"), row()) == {}


def test_taking_a_reviewer_or_a_key_off_the_roster_takes_the_approval_away() -> None:
    assert approved(row(), by=roster(reviewer=ROSTER_FILE["reviewer"][1:])) == {}
    renewed = ROSTER_FILE["reviewer"][0] | {"keys": [CAI.public]}
    assert approved(row(), by=roster(reviewer=[renewed])) == {}


def test_roles_are_those_of_the_roster_not_of_the_table() -> None:
    assert approved(row(roles=["ethicist"])) == {"physician": [NAMES[ADA.public]]}
