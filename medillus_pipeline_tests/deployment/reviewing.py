"""A reviewer of a deployment: the roster that names them, and the approval that their browser saves. No checks here."""

import hashlib
import json
from datetime import UTC, datetime

from medillus_pipeline import landings, published
from medillus_pipeline.review.signing import ReviewerKey
from medillus_pipeline.review.verdict import FORM
from medillus_pipeline.settings import Settings

REVIEWER = ReviewerKey(b"r" * 32)
ROSTER = f"""
[ethics]
intended_use = "Anatomy teaching."
responsible = "Head of anatomy"
date = 2026-03-01
[[reviewer]]
name = "Ada Holloway"
roles = ["physician"]
keys = ["{REVIEWER.public}"]
"""


def hand_in_approval(settings: Settings, folder: str) -> None:
    """Put the signed approval of the newest version into a folder of landing/reviews, and close it."""
    sheet = published.require(settings.clean, "review_tasks")
    key, comments = json.loads(settings.clean.read(sheet["key"])), json.dumps({"nonce": "0", "by_image": {}})
    said = {"anatomy": "4", "realism": "3", "labels": "yes", "origin": "real", "wrong": []}
    statement = {
        "form": FORM,
        **{name: key[name] for name in ("model", "version", "weights_sha256", "sheet")},
        "public_key": REVIEWER.public,
        "decision": "approve",
        "signed_at": datetime.now(UTC).isoformat(),
        "comments_sha512": hashlib.sha512(comments.encode()).hexdigest(),
        "answers": [{"image": image, **said} for image in key["images"]],
    }
    text = json.dumps(statement)
    saved = {"statement": text, "signature": REVIEWER.sign(text), "comments": comments}
    settings.landing.write(f"reviews/{folder}/verdict.json", json.dumps(saved).encode())
    landings.close(settings.landing, "reviews", folder, {"label": folder, "synthetic": True})
