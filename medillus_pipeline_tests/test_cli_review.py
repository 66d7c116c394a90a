"""`medillus review`: a key whose public half the roster takes as printed, and the sheet as a file."""

import stat
import tomllib
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from medillus_pipeline import cli_review, published
from medillus_pipeline.errors import InputError, MedillusError
from medillus_pipeline.review.roster import parse_roster
from medillus_pipeline.review.signing import ReviewerKey
from medillus_pipeline_tests.flow import settings_at

app = typer.Typer()
cli_review.register(app)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["review", *arguments])


def test_what_is_printed_goes_into_the_roster_as_it_is() -> None:
    name = 'Ada "the eye" \\ Holloway [bold]'
    said = run("key", name, "--role", "physician", "--role", "engineer").output
    secret = next(line for line in said.splitlines() if line.startswith("mrk-"))
    entry = tomllib.loads(said[said.index("[[reviewer]]") :])
    assert entry["reviewer"][0]["name"] == name
    (reviewer,) = parse_roster(entry, b"k" * 32).reviewers
    assert reviewer.keys == (ReviewerKey.from_text(secret).public,)
    assert reviewer.roles == ("physician", "engineer")


def test_a_secret_in_a_file_is_not_printed_and_nobody_else_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    said = run("key", "Ada", "--role", "physician", "--secret-file", str(file)).output
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().strip() not in said
    assert ReviewerKey.from_text(file.read_text()).public in said
    again = run("key", "Ada", "--role", "physician", "--secret-file", str(file)).exception
    assert isinstance(again, InputError) and "cannot be made" in str(again)


@pytest.mark.parametrize(
    "arguments", [("Ada", "--role", "surgeon"), ("A\nda", "--role", "physician"), (" ", "--role", "engineer")]
)
def test_what_a_roster_would_refuse_gets_no_key(arguments: tuple[str, ...]) -> None:
    refused = run("key", *arguments)
    assert isinstance(refused.exception, InputError) and "mrk-" not in refused.output


def test_the_sheet_is_copied_into_a_new_file_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, out = settings_at(tmp_path / "home"), tmp_path / "sheet.html"
    monkeypatch.setenv("MEDILLUS_HOME", str(tmp_path / "home"))
    none_yet = run("sheet", "--out", str(out)).exception
    assert isinstance(none_yet, MedillusError) and "review_tasks" in str(none_yet)
    payload = settings.clean.put("review_sheets", b"<html>", ".html")
    published.publish(settings.clean, "review_tasks", {"version": "3", "html": payload.path})
    assert "version 3" in run("sheet", "--out", str(out)).output
    assert out.read_bytes() == b"<html>"
    assert isinstance(run("sheet", "--out", str(out)).exception, InputError)
