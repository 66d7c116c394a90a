"""A verdict file: read, held against the roster and the key of its sheet, and turned into rows of the table `reviews`.

The file is JSON with `statement` (JSON as a string, so that exactly what was signed is checked), `signature`, and
`comments` (a string too; the statement holds its SHA-512, so the comments can stay behind without harm to the
signature). Nothing of a refused file is shown anywhere but its reason (`refusals.py`).
"""

import hashlib
import json
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medillus_pipeline.review.questions import DECISIONS, MAXIMUM_COMMENT, QUESTIONS
from medillus_pipeline.review.refusals import Refusal
from medillus_pipeline.review.roster import Reviewer, Roster
from medillus_pipeline.review.sheet import SheetKey
from medillus_pipeline.review.signing import is_signed
from medillus_pipeline.tables import storable

FORM = "medillus-verdict-1"
LARGEST_FILE = 4 * 1024 * 1024
"""Bytes of a verdict file."""
CLOCKS_DIFFER = timedelta(hours=26)
"""How far ahead a moment of signing may lie: time zones are not in it, but clocks are set wrongly by them."""

_HEX64 = r"^[0-9a-f]{64}$"


class Answer(BaseModel):
    """What a reviewer said of one image; None where nothing was. `wrong` are vocabulary ids."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    image: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    anatomy: str | None
    realism: str | None
    labels: str | None
    origin: str | None
    wrong: list[int]


class Statement(BaseModel):
    """What is signed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    form: str
    model: Annotated[str, Field(max_length=200)]
    version: Annotated[str, Field(max_length=50)]
    weights_sha256: Annotated[str, Field(pattern=_HEX64)]
    sheet: Annotated[str, Field(pattern=_HEX64)]
    public_key: Annotated[str, Field(pattern=_HEX64)]
    decision: str
    signed_at: Annotated[str, Field(max_length=40)]
    comments_sha512: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
    answers: Annotated[list[Answer], Field(max_length=10_000)]


@dataclass(frozen=True)
class Verdict:
    """A verdict that holds. `id` is `v-` and 12 digits of the statement's hash; `signed_at` is UTC, ISO 8601."""

    id: str
    reviewer: Reviewer
    statement: Statement
    signed_at: str
    key: SheetKey
    comments: Mapping[str, str] = field(repr=False)
    text: str = field(repr=False)
    signature: str = field(repr=False)

    def proof(self) -> dict[str, str]:
        """What a later reader needs to check the signature again; without the comments."""
        return {"statement": self.text, "signature": self.signature}


def verdict_id(statement: str) -> str:
    """The id of the verdict that this statement is."""
    return "v-" + hashlib.sha256(statement.encode()).hexdigest()[:12]


def read_verdict(
    data: bytes,
    roster: Roster,
    key_of: Callable[[str], SheetKey | None],
    *,
    now: datetime,
    received: Container[str] = (),
) -> Verdict | Refusal:
    """The verdict in a file, or why it does not count.

    `key_of` gives the key of a sheet by its id, `received` holds the ids of verdicts that came before.
    """
    parts = _parts(data)
    if parts is None:
        return Refusal.NOT_A_VERDICT
    text, signature, comments = parts
    claimed = _object(text).get("public_key")
    reviewer = roster.owner_of(claimed) if isinstance(claimed, str) else None
    if reviewer is None:
        return Refusal.UNKNOWN_KEY if isinstance(claimed, str) else Refusal.NOT_A_VERDICT
    if not is_signed(text, signature, str(claimed)):
        return Refusal.BAD_SIGNATURE
    try:
        statement = Statement.model_validate_json(text)
        moment = datetime.fromisoformat(statement.signed_at).astimezone(UTC)
    except (ValidationError, ValueError, OverflowError):
        return Refusal.OUT_OF_FORM
    if hashlib.sha512(comments.encode()).hexdigest() != statement.comments_sha512:
        return Refusal.ALTERED_COMMENTS
    said = _comments(comments)
    if said is None or statement.form != FORM or not _offered(statement):
        return Refusal.OUT_OF_FORM
    key = key_of(statement.sheet)
    if key is None:
        return Refusal.UNKNOWN_SHEET
    refusal = _against_sheet(statement, said, key)
    if refusal is not None:
        return refusal
    if moment > now + CLOCKS_DIFFER:
        return Refusal.DATED_AHEAD
    identifier = verdict_id(text)
    if identifier in received:
        return Refusal.RECEIVED_BEFORE
    signed_at = moment.isoformat(timespec="milliseconds")
    return Verdict(identifier, reviewer, statement, signed_at, key, said, text, signature)


def rows_of(verdict: Verdict, *, keep_comments: bool) -> list[dict[str, Any]]:
    """One row of the table `reviews` for each image; comments as text only where the installation keeps them."""
    shared = {
        "verdict": verdict.id,
        "reviewer": verdict.reviewer.pseudonym,
        "roles": list(verdict.reviewer.roles),
        "public_key": verdict.statement.public_key,
        "model_version": verdict.key.version,
        "weights_sha256": verdict.key.weights_sha256,
        "sheet": verdict.key.sheet,
        "decision": verdict.statement.decision,
        "signed_at": verdict.signed_at,
    }
    rows = []
    for answer in verdict.statement.answers:
        image, comment = verdict.key.images[answer.image], verdict.comments.get(answer.image, "")
        rows.append(
            shared
            | {
                "image": answer.image,
                "slice_name": image["slice_name"],
                "origin": image["origin"],
                "said_origin": answer.origin,
                "anatomy": int(answer.anatomy or 0),
                "realism": int(answer.realism or 0),
                "labels_fit": answer.labels,
                "structures": sorted(image["structures"]),
                "wrong_structures": sorted(answer.wrong),
                "comment_characters": len(comment),
                "comment": storable(comment) if keep_comments and comment else None,
            }
        )
    return rows


def _against_sheet(statement: Statement, comments: Mapping[str, str], key: SheetKey) -> Refusal | None:
    if statement.model != key.model or statement.version != key.version:
        return Refusal.OTHER_VERSION
    if statement.weights_sha256 != key.weights_sha256:
        return Refusal.OTHER_WEIGHTS
    answered = [answer.image for answer in statement.answers]
    if len(set(answered)) < len(answered) or not {*answered, *comments} <= set(key.images):
        return Refusal.OUT_OF_FORM
    if any(not set(answer.wrong) <= set(key.images[answer.image]["structures"]) for answer in statement.answers):
        return Refusal.OUT_OF_FORM
    unanswered = any(getattr(answer, q.key) is None for answer in statement.answers for q in QUESTIONS)
    return Refusal.INCOMPLETE if unanswered or len(answered) < len(key.images) else None


def _offered(statement: Statement) -> bool:
    """Whether every answer and the decision are among those that the sheet offers."""
    return statement.decision in DECISIONS and all(
        (given := getattr(answer, question.key)) is None or given in question.answers
        for answer in statement.answers
        for question in QUESTIONS
    ) and all(len(set(answer.wrong)) == len(answer.wrong) for answer in statement.answers)  # fmt: skip


def _parts(data: bytes) -> tuple[str, str, str] | None:
    """Statement, signature and comments of a file; None where it is no verdict file."""
    if len(data) > LARGEST_FILE:
        return None
    try:
        found = _object(data.decode())
        parts = (found.get("statement"), found.get("signature"), found.get("comments"))
        for part in parts:
            if not isinstance(part, str):
                return None
            part.encode()  # lone surrogates, which JSON may escape, have no bytes that could be signed
    except UnicodeError:
        return None
    return parts[0], parts[1], parts[2]  # type: ignore[return-value]


def _object(text: str) -> dict[str, Any]:
    """The JSON object in a text; empty where there is none, and where a key stands twice in any object of it: two
    readers could take it for two different verdicts.
    """
    try:
        found = json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs. Raises ValueError where a key stands twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _comments(text: str) -> dict[str, str] | None:
    """Comments by image id; None where they are out of form."""
    found = _object(text).get("by_image")
    if not isinstance(found, dict):
        return None
    if not all(isinstance(said, str) and len(said) <= MAXIMUM_COMMENT for said in found.values()):
        return None
    return found
