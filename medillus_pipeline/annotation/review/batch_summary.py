"""What a batch came to, in words and numbers: its verdict, its items by reason, its structures, its slices by name.

What is not here: the page that shows it (`batch_report.py`).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from medillus_pipeline.annotation.outcomes import MEANINGS, Outcome, Reason
from medillus_pipeline.annotation.plausibility.findings import ADVICE, FindingKind
from medillus_pipeline.annotation.review.agreement import WHOLE_SERIES, in_force
from medillus_pipeline.annotation.review.worst_slices import GRAVE, Shown
from medillus_pipeline.annotation.vocabulary import Structure, Vocabulary

Row = Mapping[str, Any]
OUTCOMES = {
    Outcome.REFUSED: "✕ refused",
    Outcome.PENDING: "… waiting",
    Outcome.KEPT: "○ kept beside the label map",
    Outcome.ACCEPTED: "✓ accepted",
}

LABELS = "labels of studies"


@dataclass(frozen=True)
class BatchRows:
    """What the report is made from: rows of MASKS and MASK_ITEMS of the batch, of SLICES, and, where there are any,
    of MASK_AGREEMENT, of MASKS of the other readers, and of MASK_FINDINGS. `without_values`: place and tissue were not
    judged, as the values were not at hand.
    """

    masks: Sequence[Row]
    items: Sequence[Row]
    slices: Sequence[Row]
    agreement: Sequence[Row] = ()
    others: Sequence[Row] = ()
    findings: Sequence[Row] = ()
    without_values: bool = False


@dataclass(frozen=True)
class Group:
    """Receipt lines of one outcome and reason: what it means, how many files, and structures with their slices."""

    outcome: Outcome
    meaning: str
    files: int
    structures: str


@dataclass(frozen=True)
class Amount:
    """A structure of the batch: its number on the page, slices, patients, and ml per series and reader (None where a
    spacing is not known): the median, and least and greatest where there are several.
    """

    number: int
    structure: Structure
    slices: int
    patients: int
    millilitres: tuple[float, float, float] | None


def verdict(rows: BatchRows, vocabulary: Vocabulary) -> tuple[str, str]:
    """`good`, `look` or `bad`, and the batch in a sentence."""
    if not rows.masks:
        outcomes = {item["outcome"] for item in rows.items}
        if Outcome.PENDING in outcomes:
            rest = " What was refused is in the table of items." if Outcome.REFUSED in outcomes else ""
            return "look", f"No mask yet: what was handed in waits for its slices.{rest}"
        if outcomes and Outcome.REFUSED not in outcomes:
            return "good", "No new label map: what was handed in is in force already, or stands beside the label maps."
        return "bad", "No mask came out of this batch; the table of items says why."
    slices, patients = ({mask[key] for mask in rows.masks} for key in ("slice_name", "patient"))
    labels = {label for mask in rows.masks for label in mask["labels"]}
    made = (
        f"{count(len(slices), 'slice')} of {count(len(patients), 'patient')} "
        f"{'has' if len(slices) == 1 else 'have'} masks of {count(len(labels), 'structure')}"
    )
    todo = []
    asking = [item for item in rows.items if item["reason"] not in (Reason.NOT_AN_ANNOTATION, Reason.CORRECTED)]
    for outcome, word in ((Outcome.REFUSED, "refused"), (Outcome.PENDING, "waiting for slices")):
        names = sorted({_meant(item, vocabulary) for item in asking if item["outcome"] == outcome})
        if names:
            todo.append(f"{word}: {_listed(names)}")
    if grave := len({found["structure"] for found in rows.findings if found["severity"] == GRAVE}):
        todo.append(f"{count(grave, 'structure')} taken off by the checks")
    if light := sum(found["severity"] != GRAVE for found in rows.findings):
        todo.append(f"{count(light, 'finding')} to check")
    scored = [r for r in rows.agreement if r["slice_name"] == WHOLE_SERIES and r["dice"] is not None]
    if scored:
        least = min(scored, key=lambda r: (r["dice"], r["structure"]))
        agreed = f"readers differ most on {structure_name(least['structure'], vocabulary)} (Dice {least['dice']:.2f})"
        made += f"; {agreed}"
    unjudged = " Place and tissue were not judged: the values behind the pictures were not at hand."
    note = unjudged if rows.without_values else ""
    if not todo:
        return "good", f"{made}. Nothing was refused, nothing waits, and no check found anything odd.{note}"
    return "look", f"{made}. To look at: {'; '.join(todo)}.{note}"


def groups(items: Sequence[Row], vocabulary: Vocabulary) -> list[Group]:
    """Receipt lines by outcome, what needs somebody first, and reason."""
    gathered: dict[tuple[Outcome, str], list[Row]] = defaultdict(list)
    for item in items:
        gathered[Outcome(item["outcome"]), item["reason"]].append(item)
    found = []
    for outcome in OUTCOMES:
        for (of, reason), lines in sorted(gathered.items()):
            if of != outcome:
                continue
            slices: dict[str, int] = defaultdict(int)
            for line in lines:
                slices[_meant(line, vocabulary)] += line["slices"]
            named = [
                f"{name} ({n if name == LABELS else count(n, 'slice')})" if n else name
                for name, n in sorted(slices.items())
            ]
            meaning = MEANINGS[Reason(reason)] if reason else "in the label maps, or among the labels of studies"
            found.append(Group(outcome, meaning, len({line["item"] for line in lines}), ", ".join(named)))
    return found


def amounts(rows: BatchRows, vocabulary: Vocabulary) -> list[Amount]:
    """Structures of the batch by id, numbered from 1."""
    by_name = {row["slice_name"]: row for row in rows.slices}
    slices: dict[int, set[str]] = defaultdict(set)
    patients: dict[int, set[str]] = defaultdict(set)
    volumes: dict[int, dict[tuple[str, str], float]] = defaultdict(lambda: defaultdict(float))
    for mask in in_force(rows.masks):
        row = by_name.get(mask["slice_name"])
        for label, area in zip(mask["labels"], mask["areas"], strict=True):
            slices[label].add(mask["slice_name"])
            patients[label].add(mask["patient"])
            voxel = float("nan")
            if row and row["pixel_spacing"] and row["slice_spacing"]:
                voxel = row["pixel_spacing"][0] * row["pixel_spacing"][1] * row["slice_spacing"] / 1000
            series = row["series_instance_uid"] if row else ""
            volumes[label][series, mask["annotator"]] += area * voxel
    found = []
    for number, label in enumerate(sorted(slices), start=1):
        known = [value for value in volumes[label].values() if value == value]
        spread = (median(known), min(known), max(known)) if known else None
        structure = vocabulary.by_id(label)
        found.append(Amount(number, structure, len(slices[label]), len(patients[label]), spread))
    return found


class Titles:
    """How the page calls slices and series: by number, with the series only where there are several."""

    def __init__(self, masks: Sequence[Row], slices: Sequence[Row]) -> None:
        self._by_name = {row["slice_name"]: row for row in slices}
        self._lengths: dict[str, int] = defaultdict(int)
        for row in slices:
            self._lengths[row["series_instance_uid"]] += 1
        drawn = [self._by_name[mask["slice_name"]] for mask in masks if mask["slice_name"] in self._by_name]
        ordered = sorted({(row["patient"], row["series_instance_uid"], row["modality"]) for row in drawn})
        self._numbers = {uid: number for number, (_, uid, _) in enumerate(ordered, start=1)}
        self.series = [
            f"{number}: {modality}, {count(self._lengths[uid], 'slice')}, patient {patient}"
            for number, (patient, uid, modality) in enumerate(ordered, start=1)
        ]

    def slice(self, row: Row) -> str:
        """A row of SLICES, for example `series 2, CT slice 30 of 105`."""
        uid = row["series_instance_uid"]
        series = f"series {self._numbers[uid]}, " if len(self._numbers) > 1 and uid in self._numbers else ""
        return f"{series}{row['modality']} slice {row['ordinal'] + 1} of {self._lengths[uid]}"

    def place(self, slice_name: str) -> str:
        """A slice by name, or the whole series."""
        return self.slice(self._by_name[slice_name]) if slice_name in self._by_name else "whole series"

    def number(self, series_instance_uid: str) -> str:
        """The number of a series; – for one of which the batch shows nothing."""
        return str(self._numbers.get(series_instance_uid, "–"))


def why(shown: Shown, rows: BatchRows, vocabulary: Vocabulary) -> str:
    """What there is to look at on a slice, by structure."""
    name, annotator = shown.mask["slice_name"], shown.mask["annotator"]
    parts = []
    for found in sorted(rows.findings, key=lambda f: (f["severity"] != GRAVE, f["structure"])):
        if found["slice_name"] == name and found["annotator"] == annotator:
            what = ADVICE[FindingKind(found["finding"])].split(";")[0]
            parts.append(f"{structure_name(found['structure'], vocabulary)}: {what}")
    scored = [
        one
        for one in rows.agreement
        if one["slice_name"] == name
        and one["dice"] is not None
        and annotator in (one["annotator_a"], one["annotator_b"])
    ]
    if scored:
        least = min(scored, key=lambda one: (one["dice"], one["structure"]))
        if least["dice"] < 1:
            label = structure_name(least["structure"], vocabulary)
            parts.append(f"readers differ most on {label} (Dice {least['dice']:.2f})")
    if pixels := shown.mask["overlap_pixels"]:
        parts.append(f"{count(pixels, 'pixel')} in more than one structure")
    return "; ".join(parts) or "nothing noted"


def _meant(item: Row, vocabulary: Vocabulary) -> str:
    if item["structure"] == "*" and item["source_format"] == "labels":
        return LABELS
    if item["structure"] == "*" and item["reason"] == Reason.UNKNOWN_LABEL:
        return "structures with unknown names"
    return structure_name(item["structure"], vocabulary)


def structure_name(structure: str, vocabulary: Vocabulary) -> str:
    """The English name of a structure key, or the whole file."""
    return "whole file" if structure == "*" else vocabulary.by_key(structure).name_en


def count(number: int, word: str) -> str:
    """A number with its noun, `2 slices`."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def _listed(names: Sequence[str], maximum: int = 3) -> str:
    more = [f"{len(names) - maximum} more"] if len(names) > maximum else []
    parts = [*names[:maximum], *more]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
