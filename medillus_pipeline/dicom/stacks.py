"""Stacks of a delivery: its slices series by series, each stack in order, with what is unusual and the verdict.

Works from rows of SLICES alone. What is not here: the rules (`geometry.py`), and what headers and pixels say against a
volume (`volumes.py`).
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from medillus_pipeline.dicom.geometry import MINIMUM_SLICES, Plane, SeriesNote, Verdict, stack_series, verdict

Row = dict[str, Any]


@dataclass(frozen=True)
class JudgedStack:
    """Number of the stack in its series, rows of SLICES in order along the normal (each frame once), notes, and the
    verdict by geometry and colour.
    """

    number: int
    members: list[Row]
    notes: frozenset[SeriesNote]
    verdict: Verdict


def judged_stacks(slices: Sequence[Row], *, minimum_slices: int = MINIMUM_SLICES) -> Iterator[JudgedStack]:
    """The stacks of all `slices`, in the order of their Series Instance UIDs and the largest of a series first."""
    series: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(slices):
        series[row["series_instance_uid"]].append(number)
    for uid in sorted(series):
        frames: dict[tuple[str, int], Row] = {}
        for row in sorted((slices[number] for number in series[uid]), key=lambda row: row["slice_name"]):
            frames.setdefault((row["sop_instance_uid"], row["frame"]), row)
        rows = list(frames.values())
        planes = [
            Plane(row["rows"], row["columns"], row["position"], row["orientation"], row["pixel_spacing"])
            for row in rows
        ]
        identities = [f"{row['sop_instance_uid']} {row['frame']:06d}" for row in rows]
        for number, stack in enumerate(stack_series(planes, identities)):
            members = [rows[index] for index in stack.members]
            colour = any(row["window"] == "colour" for row in members)
            judged = Verdict.COLOUR if colour else verdict(stack, planes, minimum_slices=minimum_slices)
            yield JudgedStack(number, members, stack.notes, judged)


def stack_summary(stack: JudgedStack) -> Row:
    """What a table of series shows of a stack: the columns of VOLUMES of these names, and `window`, all that made its
    pictures. `shape` counts columns, rows, slices; `spacing` is in mm along them, the last one the median.
    """
    first = stack.members[0]
    down, across = first["pixel_spacing"] or (None, None)
    spacing = [across, down, first["slice_spacing"]]
    return {
        "series_instance_uid": first["series_instance_uid"],
        "stack": stack.number,
        "modality": first["modality"],
        "body_part": first["body_part"],
        "slices": len(stack.members),
        "shape": [first["columns"], first["rows"], len(stack.members)],
        "spacing": [step for step in spacing if step is not None],
        "window": ", ".join(sorted({row["window"] for row in stack.members})),
        "verdict": str(stack.verdict),
        "notes": sorted(str(note) for note in stack.notes),
    }
