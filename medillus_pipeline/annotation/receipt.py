"""The receipt of a batch: what became of every submitted item, for annotators, and for the restricted ledger."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medillus_pipeline.annotation.drawing import Drawing
from medillus_pipeline.annotation.layers import Covered
from medillus_pipeline.annotation.outcomes import Outcome, Reason
from medillus_pipeline.tables import storable

LEDGER_OUTCOMES = {
    Outcome.ACCEPTED: "published",
    Outcome.KEPT: "published",
    Outcome.PENDING: "pending",
    Outcome.REFUSED: "quarantined",
}
"""How the ledger, which knows deliveries too, calls what became of a file."""


@dataclass
class Item:
    """A file of the batch: path inside it, hash and size as delivered, pseudonym, what was found in it, and who drew it
    as which revision (None: counted).

    `layers` says of vocabulary ids why they never enter a label map; `accepted` holds, by structure key, the slices
    whose label maps show it; `labels` are labels of studies, rows of STUDY_LABELS, that it holds instead of a drawing.
    """

    path: str
    sha256: str
    bytes: int
    name: str
    drawing: Drawing
    annotator: str
    revision: int | None = None
    layers: dict[int, Covered] = field(default_factory=dict)
    labels: list[dict[str, Any]] = field(default_factory=list)
    accepted: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))


def lines(items: Sequence[Item]) -> list[dict[str, Any]]:
    """Rows of MASK_ITEMS: a line per item, structure, outcome and reason."""
    found = []
    for item in items:
        for structure, names in sorted(item.accepted.items()):
            found.append(_line(item, structure, Outcome.ACCEPTED, "", len(names)))
        for (structure, outcome, reason), places in sorted(item.drawing.notes.items()):
            found.append(_line(item, structure, outcome, reason, len(places)))
    return sorted(found, key=lambda line: (line["item"], line["structure"], line["outcome"], line["reason"]))


def _line(item: Item, structure: str, outcome: Outcome, reason: str, slices: int) -> dict[str, Any]:
    return {
        "item": item.name,
        "structure": structure,
        "source_format": item.drawing.source_format,
        "outcome": str(outcome),
        "reason": str(reason),
        "slices": slices,
        "remark": "; ".join(sorted(item.drawing.remarks)),
    }


def _outcomes(lines: list[dict[str, Any]]) -> dict[str, tuple[Outcome, str]]:
    """By item: accepted if anything of it was, else pending if anything is, else refused; with the first reason."""
    found: dict[str, tuple[Outcome, str]] = {}
    for outcome in Outcome:
        for line in lines:
            if line["outcome"] == outcome:
                found.setdefault(line["item"], (outcome, line["reason"]))
    return found


def ledger_row(item: Item, outcome: str, reason: str, member: str = "") -> dict[str, Any]:
    """A row of LEDGER. Restricted: it holds the path as delivered."""
    return {
        "source": item.path,
        "member": member,
        "sha256": item.sha256,
        "bytes": item.bytes,
        "outcome": outcome,
        "reason": reason,
        "pseudonym": item.name,
    }


def ledger(items: Sequence[Item], lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per file, and one per name that the vocabulary does not know (as its member), for who may read them."""
    outcomes = _outcomes(lines)
    rows = []
    for item in items:
        outcome, reason = outcomes[item.name]
        rows.append(ledger_row(item, LEDGER_OUTCOMES[outcome], reason))
        for label in sorted(item.drawing.unknown_labels):
            member = "label " + storable(json.dumps(label, ensure_ascii=False))
            rows.append(ledger_row(item, LEDGER_OUTCOMES[Outcome.REFUSED], Reason.UNKNOWN_LABEL, member))
    return rows


def counts(lines: list[dict[str, Any]]) -> dict[str, int]:
    """Accepted lines, and the others by reason."""
    return dict(sorted(Counter(line["reason"] or line["outcome"] for line in lines).items()))


def corrections(
    masks: Sequence[Mapping[str, Any]], others: Iterable[tuple[str, Mapping[str, Any]]]
) -> dict[tuple[str, str], int]:
    """How many label maps of a batch were corrected since, by (item, batch that holds the newer revision).

    `masks` are the batch's rows of MASKS, `others` pairs of a batch's key and a row of MASKS of that batch.
    """
    own = {(row["slice_name"], row["annotator"]): row for row in masks}
    newest: dict[tuple[str, str], tuple[int, str]] = {}
    for key, row in others:
        place = row["slice_name"], row["annotator"]
        if place in own and row["revision"] > own[place]["revision"]:
            newest[place] = max(newest.get(place, (0, "")), (row["revision"], key))
    return dict(sorted(Counter((own[place]["item"], key) for place, (_, key) in newest.items()).items()))
