"""A small sheet of synthetic pictures, a roster of three, and verdicts on it, for the tests of human review."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from medillus_pipeline.review.roster import Roster, parse_roster
from medillus_pipeline.review.sheet import Sheet, SheetKey, ShownStructure, build_sheet, plan_sheet
from medillus_pipeline.review.signing import ReviewerKey
from medillus_pipeline.review.verdict import FORM
from medillus_pipeline.review.wording import Bilingual

KEY = b"k" * 32
WEIGHTS = hashlib.sha256(b"weights").hexdigest()
NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
PATIENTS = [f"p-{number // 3:016x}" for number in range(12)]
STRUCTURES = (
    ShownStructure(5, Bilingual("Liver", "肝"), "#d45a3c"),
    ShownStructure(1, Bilingual("Spleen", "脾"), "#7a53c9"),
)
ADA, BO, CAI = (ReviewerKey(bytes([number]) * 32) for number in (1, 2, 3))
ROSTER_FILE: dict[str, Any] = {
    "ethics": {
        "intended_use": "Anatomy teaching, first year.",
        "responsible": "Head of anatomy teaching",
        "date": datetime(2026, 3, 1).date(),
    },
    "reviewer": [
        {"name": "Ada Holloway", "roles": ["physician"], "keys": [ADA.public]},
        {"name": "Bo", "roles": ["physician", "anatomist"], "keys": [BO.public]},
        {"name": "Cai", "roles": ["engineer"], "keys": [CAI.public]},
    ],
}


def roster(**changes: Any) -> Roster:
    return parse_roster(ROSTER_FILE | changes, KEY)


def sheet(version: str = "3", weights: str = WEIGHTS, count: int = 6) -> Sheet:
    """Discs on a ramp; places 0 … count - 1."""
    plan = plan_sheet(PATIENTS, count, version=version, weights_sha256=weights)
    rows, columns = np.mgrid[:48, :48]
    maps = np.zeros((len(plan), 48, 48), np.uint8)
    pictures = np.zeros_like(maps)
    for place, planned in enumerate(plan):
        disc = (rows - 24) ** 2 + (columns - 18 - planned.row) ** 2 < 90
        maps[place] = np.where(disc, 1, np.where((rows > 36) & (columns > 30), 2, 0))
        pictures[place] = np.where(disc, 190, 40 + 2 * columns + planned.row)
    names = [f"s-{planned.row:016x}-0001" for planned in plan]
    return build_sheet(
        plan,
        pictures,
        maps,
        names,
        STRUCTURES,
        model="medillus-generator",
        version=version,
        weights_sha256=weights,
        further={"seed": 1},
    )


def key_of(*sheets: Sheet) -> Any:
    """As `read_verdict` asks for keys."""
    known = {one.id: SheetKey.of(one.key) for one in sheets}
    return known.get


def statement(of: Sheet, signer: ReviewerKey, comments: str, **changes: Any) -> dict[str, Any]:
    answer = {"anatomy": "4", "realism": "3", "labels": "yes", "origin": "real", "wrong": []}
    return {
        "form": FORM,
        "model": of.model,
        "version": of.version,
        "weights_sha256": of.weights_sha256,
        "sheet": of.id,
        "public_key": signer.public,
        "decision": "approve",
        "signed_at": (NOW - timedelta(hours=1)).isoformat().replace("+00:00", "Z"),
        "comments_sha512": hashlib.sha512(comments.encode()).hexdigest(),
        "answers": [{"image": image.id, **answer} for image in of.images],
    } | changes


def verdict_file(of: Sheet, signer: ReviewerKey = ADA, *, said: dict[str, str] | None = None, **changes: Any) -> bytes:
    """The file that the page saves, signed after the changes to the statement."""
    comments = json.dumps({"nonce": "00", "by_image": said or {}})
    text = json.dumps(statement(of, signer, comments, **changes))
    return json.dumps({"statement": text, "signature": signer.sign(text), "comments": comments}).encode()
