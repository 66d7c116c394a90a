"""What all tests of faults share."""

import dagster as dg
import pytest


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow each other at once."""
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda *_: 0)
