"""A verdict counts only as it was signed, by whom it was signed, for the version and weights that the sheet showed."""

import hashlib
import json
from datetime import timedelta
from typing import Any

import pytest

from medillus_pipeline.review.refusals import MEANINGS, Refusal
from medillus_pipeline.review.signing import ReviewerKey
from medillus_pipeline.review.verdict import LARGEST_FILE, Verdict, read_verdict, rows_of
from medillus_pipeline.tables import REVIEWS
from medillus_pipeline_tests.review.sheets import ADA, BO, NOW, key_of, roster, sheet, statement, verdict_file

SHEET, NEXT = sheet(), sheet(version="4")
OTHER_WEIGHTS = sheet(weights="0" * 64)
FIRST = SHEET.images[0].id


def read(data: bytes, received: tuple[str, ...] = ()) -> Verdict | Refusal:
    return read_verdict(data, roster(), key_of(SHEET, NEXT), now=NOW, received=received)


def resaid(data: bytes, **changes: Any) -> bytes:
    """The statement changed after it was signed."""
    file = json.loads(data)
    file["statement"] = json.dumps(json.loads(file["statement"]) | changes)
    return json.dumps(file).encode()


def reanswered(**changes: Any) -> list[dict[str, Any]]:
    first, *others = statement(SHEET, ADA, "")["answers"]
    return [first | changes, *others]


def test_a_verdict_as_saved_counts_with_all_answers() -> None:
    found = read(verdict_file(SHEET, said={FIRST: "vessels end in air"}))
    assert isinstance(found, Verdict)
    assert found.reviewer.pseudonym.startswith("r-") and found.reviewer.roles == ("physician",)
    rows = rows_of(found, keep_comments=False)
    assert {row["image"]: row["origin"] for row in rows} == {
        name: image["origin"] for name, image in SHEET.key["images"].items()
    }
    assert sum(row["comment_characters"] for row in rows) == len("vessels end in air")
    assert REVIEWS.to_arrow(rows).num_rows == len(SHEET.images)


def test_comments_stay_out_of_the_table_unless_the_roster_keeps_them() -> None:
    found = read(verdict_file(SHEET, said={FIRST: "as in Mr Holloway"}))
    assert isinstance(found, Verdict)
    assert "Holloway" not in repr(rows_of(found, keep_comments=False)) + repr(found) + repr(found.proof())
    assert [row["comment"] for row in rows_of(found, keep_comments=True) if row["comment"]] == ["as in Mr Holloway"]


GOOD = verdict_file(SHEET)
FORGED: dict[str, tuple[bytes, Refusal]] = {
    "no JSON": (b"\x00\xff", Refusal.NOT_A_VERDICT),
    "another JSON": (b'["statement"]', Refusal.NOT_A_VERDICT),
    "too large": (GOOD + b" " * LARGEST_FILE, Refusal.NOT_A_VERDICT),
    "too deep": (b"[" * 100_000, Refusal.NOT_A_VERDICT),
    "a lone surrogate": (GOOD.replace(b'"comments": "', b'"comments": "\\ud800'), Refusal.NOT_A_VERDICT),
    "a key of nobody": (verdict_file(SHEET, ReviewerKey(b"x" * 32)), Refusal.UNKNOWN_KEY),
    "signed by a stranger in Ada's name": (
        verdict_file(SHEET, ReviewerKey(b"x" * 32), public_key=ADA.public),
        Refusal.BAD_SIGNATURE,
    ),
    "signed by Bo in Ada's name": (verdict_file(SHEET, BO, public_key=ADA.public), Refusal.BAD_SIGNATURE),
    "an answer altered": (resaid(GOOD, answers=reanswered(anatomy="5")), Refusal.BAD_SIGNATURE),
    "the decision altered": (resaid(verdict_file(SHEET, decision="reject"), decision="approve"), Refusal.BAD_SIGNATURE),
    "moved to another version": (
        resaid(GOOD, version="4", sheet=NEXT.id, answers=statement(NEXT, ADA, "")["answers"]),
        Refusal.BAD_SIGNATURE,
    ),
    "one space more": (GOOD.replace(b'{\\"form', b'{ \\"form'), Refusal.BAD_SIGNATURE),
    "no signature": (json.dumps(json.loads(GOOD) | {"signature": ""}).encode(), Refusal.BAD_SIGNATURE),
    "comments altered": (
        json.dumps(json.loads(GOOD) | {"comments": '{"by_image": {}}'}).encode(),
        Refusal.ALTERED_COMMENTS,
    ),
    "signed for a version that the sheet does not show": (verdict_file(SHEET, version="4"), Refusal.OTHER_VERSION),
    "signed for another model": (verdict_file(SHEET, model="other"), Refusal.OTHER_VERSION),
    "signed for weights that the sheet does not show": (
        verdict_file(SHEET, weights_sha256="0" * 64),
        Refusal.OTHER_WEIGHTS,
    ),
    "a sheet from elsewhere": (verdict_file(OTHER_WEIGHTS), Refusal.UNKNOWN_SHEET),
    "an answer that is not offered": (verdict_file(SHEET, answers=reanswered(anatomy="6")), Refusal.OUT_OF_FORM),
    "a number for an answer": (verdict_file(SHEET, answers=reanswered(anatomy=5)), Refusal.OUT_OF_FORM),
    "a decision that is not offered": (verdict_file(SHEET, decision="maybe"), Refusal.OUT_OF_FORM),
    "a field too many": (verdict_file(SHEET, name="Ada Holloway"), Refusal.OUT_OF_FORM),
    "a structure that is not shown": (verdict_file(SHEET, answers=reanswered(wrong=[99])), Refusal.OUT_OF_FORM),
    "an image twice": (
        verdict_file(SHEET, answers=[*reanswered(), reanswered()[0]]),
        Refusal.OUT_OF_FORM,
    ),
    "a comment without end": (verdict_file(SHEET, said={FIRST: "x" * 501}), Refusal.OUT_OF_FORM),
    "no time": (verdict_file(SHEET, signed_at="yesterday"), Refusal.OUT_OF_FORM),
    "an open question": (verdict_file(SHEET, answers=reanswered(origin=None)), Refusal.INCOMPLETE),
    "an image left out": (verdict_file(SHEET, answers=reanswered()[1:]), Refusal.INCOMPLETE),
    "from the future": (
        verdict_file(SHEET, signed_at=(NOW + timedelta(days=30)).isoformat()),
        Refusal.DATED_AHEAD,
    ),
}


@pytest.mark.parametrize("how", FORGED)
def test_what_was_not_signed_so_is_refused_with_its_reason(how: str) -> None:
    data, reason = FORGED[how]
    assert read(data) is reason


def test_the_same_verdict_again_counts_once() -> None:
    first = read(GOOD)
    assert isinstance(first, Verdict)
    assert read(GOOD, received=(first.id,)) is Refusal.RECEIVED_BEFORE


def test_every_reason_says_what_to_do_and_has_a_file_that_shows_it() -> None:
    assert set(MEANINGS) == set(Refusal)
    assert {reason for _, reason in FORGED.values()} | {Refusal.RECEIVED_BEFORE} == set(Refusal)


@pytest.mark.parametrize("where", ["file", "statement", "comments"])
def test_a_key_that_stands_twice_is_refused_though_the_signature_holds(where: str) -> None:
    of = sheet()
    saved = json.loads(verdict_file(of))
    if where == "statement":
        text = saved["statement"][:-1] + ', "decision": "approve"}'
        twice = json.dumps(saved | {"statement": text, "signature": ADA.sign(text)})
    elif where == "comments":
        comments = '{"by_image": {}, "by_image": {}}'
        signed = json.loads(saved["statement"]) | {"comments_sha512": hashlib.sha512(comments.encode()).hexdigest()}
        text = json.dumps(signed)
        twice = json.dumps({"statement": text, "signature": ADA.sign(text), "comments": comments})
    else:
        twice = json.dumps(saved)[:-1] + f', "signature": "{saved["signature"]}"}}'
    assert read(twice.encode()) in (Refusal.NOT_A_VERDICT, Refusal.OUT_OF_FORM)
