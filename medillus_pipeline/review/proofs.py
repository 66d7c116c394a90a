"""What reviewers signed, checked again from the kept proofs: a row of a table can be changed, a signature cannot.

A proof is the signed statement with its signature (`Verdict.proof`). Where proofs are kept is not here.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from medillus_pipeline.errors import GateError
from medillus_pipeline.review.signing import is_signed
from medillus_pipeline.review.verdict import Statement, verdict_id


def proven(
    reviews: Iterable[Mapping[str, Any]],
    proofs: Mapping[str, Mapping[str, str] | None],
    version: str,
    weights_sha256: str,
) -> list[dict[str, Any]]:
    """What was signed about these very weights as this version, as rows for `approvals`: all but the reviewer's
    pseudonym comes from the statements, not from the table.

    `reviews` are rows of the table `reviews`, `proofs` what is kept of each verdict by its id, None where it is gone.
    Raises GateError naming the verdicts whose proof is missing, was altered or says something else than the table: one
    of them may be the rejection that an approval hides behind.
    """
    named = {
        row["verdict"]: row
        for row in reviews
        if str(row["model_version"]) == str(version) and row["weights_sha256"] == weights_sha256
    }
    rows, doubtful = [], []
    for identifier in sorted({*named, *proofs}):
        statement = _signed(identifier, proofs.get(identifier))
        row = named.get(identifier)
        if statement is None or row is None or not _agree(statement, row):
            doubtful.append(identifier)
            continue
        rows.append({**row, "decision": statement.decision, "public_key": statement.public_key})
    if doubtful:
        raise GateError(
            f"{len(doubtful)} verdicts on version {version} cannot be proven ({', '.join(doubtful)}): their signed "
            "statements are missing, altered, or differ from the table. Materialize their review batches again; "
            "where that does not help, find out who changed the store"
        )
    return rows


def _signed(identifier: str, proof: Mapping[str, str] | None) -> Statement | None:
    """The statement of a proof whose id and signature hold."""
    if proof is None or not {"statement", "signature"} <= proof.keys():
        return None
    text = proof["statement"]
    if verdict_id(text) != identifier:
        return None
    try:
        statement = Statement.model_validate_json(text)
    except ValidationError:
        return None
    return statement if is_signed(text, proof["signature"], statement.public_key) else None


def _agree(statement: Statement, row: Mapping[str, Any]) -> bool:
    moment = datetime.fromisoformat(statement.signed_at).astimezone(UTC).isoformat(timespec="milliseconds")
    said = (statement.version, statement.weights_sha256, statement.public_key, statement.decision, moment)
    return said == tuple(row[n] for n in ("model_version", "weights_sha256", "public_key", "decision", "signed_at"))
