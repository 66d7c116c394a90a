"""Labels of a batch become revisions: what is in force already, taken, or contradicted by another file is left out.

A label stands at a place: a study or series, an annotator, and a kind. The greatest revision there is in force. What a
file says of labels is read in `labels_csv.py`.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from medillus_pipeline.annotation.drawing import WHOLE_ITEM
from medillus_pipeline.annotation.outcomes import Outcome, Reason
from medillus_pipeline.annotation.receipt import Item

Row = Mapping[str, Any]
Place = tuple[str, str, str, str]
SEVERAL = "pathology"
"""The kind of which a study may have several."""


def place_of(row: Row) -> Place:
    """Annotator, study, series and kind."""
    return row["annotator"], row["study_instance_uid"], row["series_instance_uid"], row["kind"]


class LabelsInForce:
    """Labels (rows of STUDY_LABELS) that other batches published before; `arrival` is the least revision to give."""

    def __init__(self, rows: Iterable[Row], arrival: int = 1) -> None:
        self.arrival = arrival
        self._said: dict[Place, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        for row in rows:
            self._said[place_of(row)][int(row["revision"])].add(row["value"])

    def revisions(self, place: Place) -> dict[int, set[str]]:
        """Values by revision."""
        return self._said.get(place, {})


def settle(items: Sequence[Item], before: LabelsInForce) -> list[dict[str, Any]]:
    """Rows of STUDY_LABELS of the items; what became of those that are left out is noted in their items.

    Two files of one annotator that give a place two stages, or two contrast phases, contradict each other: neither is
    believed. Labels of a place that are all in force already are no revision.
    """
    said: dict[Place, list[tuple[Item, dict[str, Any]]]] = defaultdict(list)
    for item in items:
        for row in item.labels:
            said[place_of(row)].append((item, row))
    kept: list[dict[str, Any]] = []
    for place, given in said.items():
        values = {row["value"] for _, row in given}
        revisions = before.revisions(place)
        newest = max(revisions, default=0)
        if place[3] != SEVERAL and len(values) > 1:
            _leave_out(given, Reason.LABELS_DIFFER, Outcome.REFUSED)
        elif any(item.revision in revisions for item, _ in given):
            _leave_out(given, Reason.REVISION_EXISTS, Outcome.REFUSED)
        elif revisions and values == revisions[newest]:
            _leave_out(given, Reason.SUBMITTED_BEFORE, Outcome.KEPT)
        else:
            revision = max((item.revision or 0 for item, _ in given), default=0)
            revision = revision or max(before.arrival, newest + 1)
            kept += _once(given, revision)
    return kept


def _once(given: Sequence[tuple[Item, dict[str, Any]]], revision: int) -> Iterator[dict[str, Any]]:
    yield from {row["value"]: row | {"revision": revision} for _, row in given}.values()


def _leave_out(given: Sequence[tuple[Item, dict[str, Any]]], reason: Reason, outcome: Outcome) -> None:
    for item, row in given:
        item.labels.remove(row)
        item.drawing.note(WHOLE_ITEM, reason, "label " + " ".join(map(str, place_of(row))) + row["value"], outcome)
        item.accepted[WHOLE_ITEM] = {f"label {number}" for number in range(len(item.labels))}
        if not item.labels:
            del item.accepted[WHOLE_ITEM]
