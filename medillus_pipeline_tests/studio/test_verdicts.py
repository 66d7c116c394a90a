"""Verdicts through the studio: a signed one lands as a batch of reviews, another is refused with its reason."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from medillus_pipeline import landings, published
from medillus_pipeline.errors import InputError
from medillus_pipeline.settings import Settings
from medillus_pipeline.studio.verdicts import Desk
from medillus_pipeline_tests.review.sheets import ADA, verdict_file
from medillus_pipeline_tests.review.sheets import sheet as made_sheet

LATER = datetime(2026, 12, 1, tzinfo=UTC)
ROSTER = f'[[reviewer]]\nname = "Ada Holloway"\nroles = ["physician"]\nkeys = ["{ADA.public}"]\n'


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A home of its own key, which knows one sheet and one reviewer."""
    roster = tmp_path / "reviewers.toml"
    roster.write_text(ROSTER)
    settings = Settings.from_environment({"MEDILLUS_HOME": str(tmp_path / "home"), "MEDILLUS_REVIEWERS": str(roster)})
    sheet = made_sheet()
    key = settings.clean.put("review_keys", json.dumps(sheet.key).encode(), ".json")
    published.publish(settings.clean, f"review_sheets/{sheet.id}", {"key": key.path})
    return Desk(settings, now=lambda: LATER)


def test_a_signed_verdict_lands_as_a_closed_batch_of_reviews_once(desk: Desk) -> None:
    data = verdict_file(made_sheet())
    said = desk.verdict(data)
    assert (said["decision"], said["version"]) == ("approve", "3")
    landing = desk.settings.landing
    assert landings.ready_folders(landing, "reviews") == [said["folder"]]
    (path,) = [path for path in landing.files("reviews") if path.endswith(".json")]
    assert landing.read(path) == data
    with pytest.raises(InputError, match="received before"):
        desk.verdict(data)


def test_an_altered_verdict_and_a_click_are_none(desk: Desk) -> None:
    data = verdict_file(made_sheet())
    with pytest.raises(InputError, match="signature"):
        desk.verdict(data.replace(b"approve", b"abstain", 1))
    with pytest.raises(InputError, match="no verdict file"):
        desk.verdict(b'{"decision": "approve"}')
    assert not desk.settings.landing.files("reviews")
