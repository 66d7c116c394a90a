"""Label maps that stand, byte for byte, on a slice of another patient: pasted, or filed under the wrong name."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from medillus_pipeline.annotation.plausibility.findings import Finding, FindingKind, Severity

LEAST_PIXELS = 200
"""Smaller drawings (a rectangle, a few clicks) can agree by chance."""


def copied(masks: Sequence[Mapping[str, Any]], earlier: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """Warnings for rows of MASKS whose label map (`sha256`) another patient also has, in the batch or in `earlier`.

    One finding per structure and slice; the value is the number of equal label maps of other patients. Copies within a
    patient are no finding: annotators carry an outline from slice to slice.
    """
    owners: dict[str, set[tuple[str, str]]] = {}
    for row in (*earlier, *masks):
        owners.setdefault(row["sha256"], set()).add((row["patient"], row["slice_name"]))
    found = []
    for row in masks:
        others = sum(patient != row["patient"] for patient, _ in owners[row["sha256"]])
        if others and sum(row["areas"]) >= LEAST_PIXELS:
            for label in row["labels"]:
                found.append(
                    Finding(
                        FindingKind.COPIED, int(label), row["slice_name"], float(others), None, 0.0, "masks",
                        Severity.WARN,
                    )
                )  # fmt: skip
    return found
