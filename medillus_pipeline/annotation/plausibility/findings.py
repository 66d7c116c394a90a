"""What an examination finds, how grave it is, and the table rows that it becomes.

What is not here: how anything is found.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from medillus_pipeline.annotation.label_map import Region
from medillus_pipeline.annotation.outcomes import Reason
from medillus_pipeline.annotation.vocabulary import Vocabulary

WHOLE_SERIES = "*"
"""Stands for the slice in a row that is about all slices of a series."""


class FindingKind(StrEnum):
    """What is odd about a structure. `ADVICE` says it in a sentence with what to do."""

    VOLUME = "volume"
    AREA = "area"
    SIDES_SWAPPED = "sides_swapped"
    MIRRORED = "mirrored"
    OUTSIDE_BODY = "outside_body"
    WRONG_TISSUE = "wrong_tissue"
    ISLANDS = "islands"
    SLICE_GAP = "slice_gap"
    COPIED = "copied"
    GONE = "gone"


ADVICE: dict[FindingKind, str] = {
    FindingKind.VOLUME: "its volume is outside the plausible range; check its name and its ends",
    FindingKind.AREA: "its area on the slice is implausibly large; check its name and its outline",
    FindingKind.SIDES_SWAPPED: "left and right are exchanged; exchange the names, unless the image is mirrored",
    FindingKind.MIRRORED: "an organ lies on the side opposite to the usual one; check the image's orientation",
    FindingKind.OUTSIDE_BODY: "it lies outside the body; draw it on the slice that it belongs to",
    FindingKind.WRONG_TISSUE: "the values inside are not those of its tissue; check its name, its slice and its place",
    FindingKind.ISLANDS: "small parts lie far from the rest; delete points that slipped",
    FindingKind.SLICE_GAP: "it is missing on slices between others that show it; draw it there too",
    FindingKind.GONE: "the revision before showed it on this slice; hand it in again unless it was meant to go",
    FindingKind.COPIED: "the same label map stands on a slice of another patient; check where it belongs",
}
"""One sentence per kind: what was found and what to do."""

REASONS: dict[FindingKind, Reason] = {
    FindingKind.SIDES_SWAPPED: Reason.SIDES_SWAPPED,
    FindingKind.OUTSIDE_BODY: Reason.OUTSIDE_BODY,
    FindingKind.WRONG_TISSUE: Reason.WRONG_TISSUE,
}
"""The reason that a receipt gives where a finding of the kind refuses; the other kinds only warn."""


class Severity(StrEnum):
    """REFUSE: surely wrong, the structure is taken off the slices; WARN: someone should look."""

    REFUSE = "refuse"
    WARN = "warn"


@dataclass(frozen=True)
class Finding:
    """One odd thing about one structure (vocabulary id), on a slice or, with None, in the whole series.

    `value` lies outside `low` … `high` (None: no bound on that side), all in `unit`.
    """

    kind: FindingKind
    structure: int
    slice_name: str | None
    value: float
    low: float | None
    high: float | None
    unit: str
    severity: Severity


def downgraded(findings: Iterable[Finding], kinds: Iterable[FindingKind]) -> list[Finding]:
    """The findings, those of `kinds` as warnings."""
    spared = frozenset(kinds)
    return [replace(found, severity=Severity.WARN) if found.kind in spared else found for found in findings]


def refusals(findings: Iterable[Finding], regions: Mapping[str, Mapping[int, Region]]) -> dict[tuple[int, str], Reason]:
    """(vocabulary id, slice name) to be taken off, with the reason; where there are several, that of the first finding.

    `regions` is the drawing that was examined: a finding on the whole series takes the structure off all its slices.
    """
    taken: dict[tuple[int, str], Reason] = {}
    for found in findings:
        if found.severity is not Severity.REFUSE:
            continue
        for name, on_slice in regions.items():
            if found.structure in on_slice and found.slice_name in (None, name):
                taken.setdefault((found.structure, name), REASONS[found.kind])
    return taken


def rows(
    findings: Iterable[Finding], series_instance_uid: str, annotator: str, vocabulary: Vocabulary
) -> list[dict[str, Any]]:
    """Rows of MASK_FINDINGS; the key is (series_instance_uid, annotator, structure, finding, slice_name)."""
    return [
        {
            "series_instance_uid": series_instance_uid,
            "annotator": annotator,
            "structure": vocabulary.by_id(found.structure).key,
            "finding": str(found.kind),
            "slice_name": found.slice_name or WHOLE_SERIES,
            "value": found.value,
            "low": found.low,
            "high": found.high,
            "unit": found.unit,
            "severity": str(found.severity),
        }
        for found in findings
    ]
