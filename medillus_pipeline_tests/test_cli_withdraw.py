"""`medillus withdraw`: the original id leaves no trace outside the prompt or the file that it is read from."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from medillus_pipeline import cli_withdraw
from medillus_pipeline.errors import InputError
from medillus_pipeline.stewardship import records
from medillus_pipeline_tests.flow import settings_at

PATIENT = "MRN 00012345"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDILLUS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def invoked(*arguments: str, typed: str | None = None) -> tuple[int, str, BaseException | None]:
    app = typer.Typer()
    cli_withdraw.register(app)
    result = CliRunner().invoke(app, list(arguments), input=typed)
    return result.exit_code, result.output, result.exception


def test_the_id_of_a_prompt_becomes_a_refused_pseudonym_and_stands_nowhere(home: Path) -> None:
    settings = settings_at(home)
    code, said, error = invoked("withdraw", "--yes", typed=f"{PATIENT}\n{PATIENT}\n")
    assert code == 0, (said, error)
    assert records.refused_patients(settings.vault) == {settings.pseudonymiser().patient(PATIENT)}
    (name,) = records.names(settings.vault, "withdrawals", "record")
    record = records.read(settings.vault, "withdrawals", name, "record")
    assert record is not None and records.holds(settings.pseudonymiser().key, record)
    assert records.names(settings.vault, "withdrawals", "request") == []
    assert "12345" not in said
    held = [path for path in home.rglob("*") if path.is_file() and b"MRN 00012345" in path.read_bytes()]
    assert held == []


def test_two_ways_to_an_id_and_an_empty_file_are_refused(home: Path, tmp_path: Path) -> None:
    empty = tmp_path / "id"
    empty.write_text("\n")
    for arguments in (("--file", str(empty)), ("--file", str(empty), "--patient-id", PATIENT)):
        code, _, error = invoked("withdraw", "--yes", *arguments)
        assert code and isinstance(error, InputError)
        assert PATIENT not in str(error)
    assert records.refused_patients(settings_at(home).vault) == frozenset()
