"""The locked test is opened at promotion only, and each opening is counted before anything is looked at.

A test that is opened often stops being one: who chooses by it fits to it. So the count is published, and shown beside
every figure that was measured on it. The evaluation itself is not here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from medillus_pipeline import published
from medillus_pipeline.validation.gates import Verdict
from medillus_pipeline.zones import Zone

NAME = "locked_test_openings"
LockedTest = Callable[[str], Verdict]
"""Version → the verdict of the profile's gates over its figures on the patients of the locked test."""


@dataclass(frozen=True)
class Opening:
    """One opening: its number from 1, the version it was for, the dataset, the run and the time (ISO 8601, UTC)."""

    number: int
    version: str
    dataset_fingerprint: str
    run_id: str
    at: str


def locked_test_openings(clean: Zone) -> tuple[Opening, ...]:
    """All openings, oldest first."""
    document: dict[str, Any] = published.current(clean, NAME) or {"openings": []}
    return tuple(Opening(**entry) for entry in document["openings"])


def record_opening(clean: Zone, version: str, run_id: str, dataset_fingerprint: str) -> int:
    """Count an opening, before the test is opened: one that fails half-way was an opening too. The caller holds the
    promotion lock. Returns its number.
    """
    former = locked_test_openings(clean)
    at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    opening = Opening(len(former) + 1, version, dataset_fingerprint, run_id, at)
    published.publish(clean, NAME, {"openings": [vars(entry) for entry in (*former, opening)]})
    return opening.number


def in_words(openings: tuple[Opening, ...]) -> str:
    """The count as a page says it."""
    if not openings:
        return "The locked test was never opened."
    times = "once" if len(openings) == 1 else f"{len(openings)} times"
    last = openings[-1]
    return f"The locked test was opened {times}, the last time for version {last.version} at {last.at}."
