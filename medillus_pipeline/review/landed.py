"""The verdict files of one landing folder: each read, counted, and entered into the ledger by its outcome."""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from medillus_pipeline.review.refusals import Refusal
from medillus_pipeline.review.roster import Roster
from medillus_pipeline.review.sheet import SheetKey
from medillus_pipeline.review.verdict import Verdict, read_verdict
from medillus_pipeline.tables import storable
from medillus_pipeline.zones import Zone


@dataclass
class LandedVerdicts:
    """Verdicts that count, refusals by reason, and rows of the ledger (restricted: they name the files)."""

    verdicts: list[Verdict] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    ledger: list[dict[str, Any]] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Files by outcome: `accepted`, or the reason of the refusal."""
        return ({"accepted": len(self.verdicts)} if self.verdicts else {}) | dict(self.refused)


def read_landed(
    landing: Zone,
    folder: str,
    roster: Roster,
    key_of: Callable[[str], SheetKey | None],
    *,
    marker: str,
    now: datetime,
    received: Collection[str] = (),
) -> LandedVerdicts:
    """Every file below `folder`, the `marker` that closes it left out, in the order of their names.

    `received` are the ids of verdicts that came in earlier folders; within this one the first of two equal ones counts.
    """
    landed, known = LandedVerdicts(), set(received)
    for path in landing.files(folder):
        source = path.removeprefix(folder).lstrip("/")
        if source == marker:
            continue
        data = landing.read(path)
        found = read_verdict(data, roster, key_of, now=now, received=known)
        if isinstance(found, Refusal):
            landed.refused[str(found)] += 1
            outcome = "duplicate" if found is Refusal.RECEIVED_BEFORE else "refused"
        else:
            landed.verdicts.append(found)
            known.add(found.id)
            outcome = "published"
        landed.ledger.append(
            {
                "source": storable(source),
                "member": "",
                "sha256": hashlib.sha256(data).hexdigest(),
                "bytes": len(data),
                "outcome": outcome,
                "reason": str(found) if isinstance(found, Refusal) else "",
                "pseudonym": None if isinstance(found, Refusal) else found.id,
            }
        )
    return landed
