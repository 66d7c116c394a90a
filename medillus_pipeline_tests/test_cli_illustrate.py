"""`medillus illustrate`: what is wrong with a command is one clear sentence, before any model is loaded."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from medillus_pipeline.cli import app
from medillus_pipeline.errors import MedillusError


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "give a mask, a sketch, a text or a scan"),
        (["--text", "liver", "--scan", "s-1"], "cannot be combined"),
        (["--text", "liver", "--style", "poster"], "style"),
        (["--text", "liver", "--format", "svg,gif"], "formats"),
        (["--text", "liver", "--style", "quiz", "--format", "html"], "would tell the answers"),
        (["--text", "liver", "--style", "summary", "--format", "dicom"], "leave the format dicom"),
        (["--sketch", "a.png", "--legend", "red"], "#rrggbb=structure"),
        (["--text", "liver", "--candidates", "0"], "candidates"),
        (["--text", "liver"], "promoted_generator"),
    ],
)
def test_a_wrong_command_is_one_clear_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], reason: str
) -> None:
    monkeypatch.setenv("MEDILLUS_HOME", str(tmp_path))
    result = CliRunner().invoke(app, ["illustrate", *arguments, "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, MedillusError)
    assert reason in str(result.exception)
    assert "\n" not in str(result.exception)
    assert not (tmp_path / "out").exists()
