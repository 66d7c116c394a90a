"""Which slices of a batch a person should see: the worst ones, and some from the middle for comparison.

Slices are ranked by what is known of their masks: first by findings, grave ones before the others, then by how far
another reader disagrees, then by pixels that more than one structure claimed. What is not here: the findings and the
agreement themselves (rows that are passed in), and the pictures.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medillus_pipeline.annotation.review.agreement import WHOLE_SERIES

Row = Mapping[str, Any]
GRAVE = "refuse"
"""Severity of a finding that counts before all others."""
NEIGHBOURS = 3
"""A slice so near to a worse one of its series that is shown already gives way to the next place: it looks the same."""
STAGGER = (5**0.5 - 1) / 2
"""Sampled slices are shifted within their stretch by multiples of the golden ratio: even steps, as long as a series,
would show the same level of every patient.
"""


@dataclass(frozen=True, order=True)
class Badness:
    """How much there is to look at; compares as described above. `dissent` is 1 − the least Dice of any structure with
    any other reader, `dissent_mm2` the area that they do not share; 0 where nobody else drew the slice.
    """

    grave: int = 0
    findings: int = 0
    dissent: float = 0.0
    dissent_mm2: float = 0.0
    overlap_pixels: int = 0

    def __bool__(self) -> bool:
        return self > Badness()

    def __str__(self) -> str:
        found = self.grave + self.findings
        parts = [f"{found} finding{'s' if found > 1 else ''}"] if found else []
        if self.dissent:
            parts.append(f"lowest Dice {1 - self.dissent:.2f}")
        if self.overlap_pixels:
            parts.append(f"{self.overlap_pixels} px overlap")
        return ", ".join(parts) or "nothing noted"


@dataclass(frozen=True)
class Shown:
    """A mask (row of MASKS), its slice (row of SLICES), and what there is to see on it."""

    mask: Row
    row: Row
    badness: Badness


def choose(
    masks: Sequence[Row],
    slices: Sequence[Row],
    *,
    worst: int,
    median: int,
    findings: Sequence[Row] = (),
    agreement: Sequence[Row] = (),
) -> tuple[list[Shown], list[Shown]]:
    """At most `worst` slices with something to look at, worst first, and at most `median` from the middle third of the
    ranking, spread over patients, series and positions in reading order. No slice is shown twice.

    `masks` and `slices` are rows of MASKS and SLICES; masks without their slice are left out. `findings` and
    `agreement` are rows of MASK_FINDINGS and MASK_AGREEMENT.
    """
    by_name = {row["slice_name"]: row for row in slices}
    graded = _grade(masks, findings, agreement)
    every = [
        Shown(mask, by_name[mask["slice_name"]], graded[mask["slice_name"], mask["annotator"]])
        for mask in masks
        if mask["slice_name"] in by_name
    ]
    every.sort(key=_place)
    ranked: dict[str, Shown] = {}
    for shown in sorted(every, key=lambda shown: shown.badness, reverse=True):
        ranked.setdefault(shown.mask["slice_name"], shown)
    chosen = _worst(list(ranked.values()), worst)
    taken = {shown.mask["slice_name"] for shown in chosen}
    rest = [shown for shown in every if shown.mask["slice_name"] not in taken]
    return chosen, _median(rest, median)


def _worst(ranked: list[Shown], maximum: int) -> list[Shown]:
    """The first `maximum` with anything to look at; those beside one that is shown wait for places that stay free."""
    first: list[Shown] = []
    later: list[Shown] = []
    for shown in (one for one in ranked if one.badness):
        near = any(
            shown.row["series_instance_uid"] == other.row["series_instance_uid"]
            and abs(shown.row["ordinal"] - other.row["ordinal"]) <= NEIGHBOURS
            for other in first
        )
        (later if near else first).append(shown)
    return sorted((first + later)[:maximum], key=lambda shown: shown.badness, reverse=True)


def _median(rest: list[Shown], maximum: int) -> list[Shown]:
    if not rest:
        return []
    grades = sorted(shown.badness for shown in rest)
    low, high = grades[len(grades) // 3], grades[min(len(grades) - 1, 2 * len(grades) // 3)]
    middle = [shown for shown in rest if low <= shown.badness <= high]
    single = list({shown.mask["slice_name"]: shown for shown in middle}.values())
    if len(single) <= maximum:
        return single
    steps = np.arange(maximum)
    return [single[int(i)] for i in (steps + (0.5 + steps * STAGGER) % 1) * len(single) / maximum]


def _grade(masks: Sequence[Row], findings: Sequence[Row], agreement: Sequence[Row]) -> dict[tuple[str, str], Badness]:
    grave: dict[tuple[str, str], int] = defaultdict(int)
    light: dict[tuple[str, str], int] = defaultdict(int)
    for found in findings:
        (grave if found["severity"] == GRAVE else light)[found["slice_name"], found["annotator"]] += 1
    dissent: dict[tuple[str, str], float] = defaultdict(float)
    area: dict[tuple[str, str], float] = defaultdict(float)
    for one in agreement:
        if one["slice_name"] == WHOLE_SERIES or one["dice"] is None:
            continue
        for annotator in (one["annotator_a"], one["annotator_b"]):
            key = one["slice_name"], annotator
            dissent[key] = max(dissent[key], 1 - one["dice"])
            area[key] += (1 - one["dice"]) * ((one["area_a_mm2"] or 0.0) + (one["area_b_mm2"] or 0.0))
    return {
        key: Badness(
            grave[key],
            light[key],
            dissent[key],
            area[key],
            mask["overlap_pixels"],
        )
        for mask in masks
        for key in [(mask["slice_name"], mask["annotator"])]
    }


def _place(shown: Shown) -> tuple[str, str, int, str, int]:
    row, mask = shown.row, shown.mask
    return row["patient"], row["series_instance_uid"], row["ordinal"], mask["annotator"], mask["revision"]
