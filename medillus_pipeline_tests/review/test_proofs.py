"""A promotion believes signatures, not rows: what cannot be proven refuses the whole, whoever it speaks for."""

import json
from typing import Any

import pytest

from medillus_pipeline.errors import GateError
from medillus_pipeline.review.proofs import proven
from medillus_pipeline.review.signing import ReviewerKey
from medillus_pipeline.review.verdict import Verdict, read_verdict, rows_of
from medillus_pipeline_tests.review.sheets import ADA, BO, NOW, WEIGHTS, key_of, roster, sheet, verdict_file

VERSION = "3"


def accepted(by: ReviewerKey, **changes: Any) -> Verdict:
    of = sheet()
    found = read_verdict(verdict_file(of, by, **changes), roster(), key_of(of), now=NOW)
    assert isinstance(found, Verdict)
    return found


@pytest.fixture
def verdicts() -> list[Verdict]:
    return [accepted(ADA), accepted(BO, decision="reject")]


def table(verdicts: list[Verdict]) -> list[dict[str, Any]]:
    return [row for verdict in verdicts for row in rows_of(verdict, keep_comments=False)]


def proofs(verdicts: list[Verdict]) -> dict[str, Any]:
    return {verdict.id: verdict.proof() for verdict in verdicts}


def test_what_was_signed_is_believed_once_for_each_verdict(verdicts: list[Verdict]) -> None:
    found = proven(table(verdicts), proofs(verdicts), VERSION, WEIGHTS)
    assert {row["verdict"]: row["decision"] for row in found} == {
        verdicts[0].id: "approve",
        verdicts[1].id: "reject",
    }


def test_a_row_that_was_turned_into_an_approval_is_found(verdicts: list[Verdict]) -> None:
    rows = [row | {"decision": "approve"} for row in table(verdicts)]
    with pytest.raises(GateError, match=verdicts[1].id):
        proven(rows, proofs(verdicts), VERSION, WEIGHTS)


@pytest.mark.parametrize("kept", ["rows", "proofs"])
def test_a_rejection_cannot_be_made_to_vanish_from_one_side(verdicts: list[Verdict], kept: str) -> None:
    first = verdicts[:1]
    rows, signed = (table(verdicts), proofs(first)) if kept == "rows" else (table(first), proofs(verdicts))
    with pytest.raises(GateError, match=f"1 verdicts on version 3 cannot be proven.*{verdicts[1].id}"):
        proven(rows, signed, VERSION, WEIGHTS)


def test_an_altered_statement_and_a_borrowed_signature_prove_nothing(verdicts: list[Verdict]) -> None:
    one, other = verdicts
    said = json.loads(other.text) | {"decision": "approve"}
    forged = {one.id: one.proof(), other.id: {"statement": json.dumps(said), "signature": other.signature}}
    with pytest.raises(GateError, match=other.id):
        proven(table(verdicts), forged, VERSION, WEIGHTS)
    with pytest.raises(GateError, match=other.id):
        borrowed = proofs(verdicts) | {other.id: {**other.proof(), "signature": one.signature}}
        proven(table(verdicts), borrowed, VERSION, WEIGHTS)
    with pytest.raises(GateError, match=other.id):
        proven(table(verdicts), proofs(verdicts) | {other.id: None}, VERSION, WEIGHTS)


def test_verdicts_on_other_versions_need_no_proof_here(verdicts: list[Verdict]) -> None:
    assert proven(table(verdicts), {}, "4", WEIGHTS) == []
