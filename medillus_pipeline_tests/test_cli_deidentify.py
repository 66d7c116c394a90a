"""`medillus deidentify`, `key` and `reidentify`: what they say, what they leave behind, and their exit statuses."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medillus_pipeline import cli
from medillus_pipeline.phantom.keys import DEMO_KEY
from medillus_pipeline.settings import write_secret
from medillus_pipeline_tests.deidentification.delivered_files import encoded, image

SECRET = "ab" * 32


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a source of two slices and a key; no setting is set."""
    for name in [name for name in os.environ if name.startswith("MEDILLUS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MEDILLUS_WORKERS", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src").mkdir()
    for number in (1, 2):
        (tmp_path / "src" / f"{number}").write_bytes(encoded(image(number=number, Manufacturer="SIEMENS")))
    write_secret(tmp_path / "key", bytes.fromhex(SECRET))
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: str) -> tuple[int, str, str]:
    """`medillus` with this line of arguments: exit status, standard output and standard error."""
    monkeypatch.setattr(sys, "argv", ["medillus", *line.split()])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


def test_a_folder_is_deidentified_and_the_last_line_says_where(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, said, aside = run(capsys, monkeypatch, "deidentify src dst --key-file key")
    assert (status, aside) == (0, "")
    assert "2 published" in said and "2 files written to dst" in said and "dst.report" in said
    assert len(list((place / "dst").rglob("*.dcm"))) == 2
    assert json.loads((place / "dst.report" / "report.json").read_text())["policy"]["options"] == ["retain-dates"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("deidentify src dst", "no key"),
        ("deidentify src dst --key-file none", "cannot be read"),
        ("deidentify src dst --key-file src", "no regular file"),
        ("deidentify src dst --key-file short", "at least 64 digits"),
        ("deidentify src dst --key-file words", "hexadecimal"),
        ("deidentify src dst --key-file shown", "chmod 600"),
        ("deidentify src dst --key-file demo", "public"),
        ("deidentify none dst --key-file key", "does not exist"),
        ("deidentify src src/dst --key-file key", "lies inside the source"),
        ("deidentify src . --key-file key", "lies inside the result"),
        ("deidentify src key --key-file key", "a file stands there"),
        ("deidentify src dst --key-file key --retain datse", "did you mean 'retain-dates'"),
        ("deidentify src dst --key-file key --clean pixel-date", "did you mean 'clean-pixel-data'"),
        ("deidentify src dst --key-file key --retain dates,full-dates", "contradict"),
        ("deidentify src dst --key-file key --config none.toml", "cannot be read"),
        ("deidentify src dst --key-file key --reidentification-table", "MEDILLUS_REIDENTIFICATION_KEY_FILE"),
        ("reidentify p-0123456789abcdef", "MEDILLUS_REIDENTIFICATION_KEY_FILE is unset"),
        ("key new key", "never overwritten"),
        ("key check short", "at least 64 digits"),
    ],
)
def test_what_cannot_be_done_is_one_line_without_the_key_and_makes_nothing(
    line: str, words: str, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = {"short": SECRET[:62], "words": "not a key at all " * 5, "shown": SECRET, "demo": DEMO_KEY.hex()}
    for name, text in contents.items():
        (place / name).write_text(text)
        (place / name).chmod(0o644 if name == "shown" else 0o600)
    status, _, said = run(capsys, monkeypatch, line)
    assert status == 1
    assert said.startswith("error: ") and said.count("\n") == 1 and words in said
    assert not [text for text in contents.values() if text in said]
    assert not (place / "dst").exists() and not (place / "dst.report").exists()


@pytest.mark.parametrize("line", ["deidentify", "deidentify src", "deidentify src dst --workers 0", "key", "key new"])
def test_a_malformed_line_is_status_2(
    line: str, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, said, aside = run(capsys, monkeypatch, line)
    assert status == 2 and "Usage: " in said + aside


def test_the_key_comes_from_the_file_or_the_environment_and_never_from_both(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(capsys, monkeypatch, "deidentify src one --key-file key")[0] == 0
    monkeypatch.setenv("MEDILLUS_KEY", SECRET)
    status, _, said = run(capsys, monkeypatch, "deidentify src two --key-file key")
    assert status == 1 and "leave out the one" in said and SECRET not in said
    status, shown, _ = run(capsys, monkeypatch, "deidentify src two")
    assert status == 0 and SECRET not in shown
    one, two = (sorted(p.relative_to(place / n) for p in (place / n).rglob("*.dcm")) for n in ("one", "two"))
    assert one == two


def test_the_command_line_overrules_the_file_which_overrules_the_setting(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "site.toml").write_text('options = ["retain-device", "clean-descriptors"]\ndocuments = true')
    (place / "other.toml").write_text("options = []")
    monkeypatch.setenv("MEDILLUS_DEIDENTIFICATION", str(place / "site.toml"))
    expected = {
        "a": ("", ["clean-descriptors", "retain-device"], True),
        "b": ("--config other.toml", [], False),
        "c": ("--retain dates,patient", ["clean-descriptors", "retain-dates", "retain-patient"], True),
        "d": ("--clean none --no-documents", ["retain-device"], False),
    }
    for name, (words, options, documents) in expected.items():
        assert run(capsys, monkeypatch, f"deidentify src {name} --key-file key {words}")[0] == 0
        policy = json.loads((place / f"{name}.report" / "report.json").read_text())["policy"]
        assert (policy["options"], policy["documents"]) == (options, documents)


def test_a_residual_hit_is_status_3_and_an_unseen_entry_status_4(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "src" / "gone").symlink_to("nowhere")
    status, _, aside = run(capsys, monkeypatch, "deidentify src dst --key-file key")
    assert status == 4 and "could not be looked at" in aside
    (place / "src" / "3").write_bytes(encoded(image(number=3, ScanOptions="VOGELWEIDE")))
    status, said, aside = run(capsys, monkeypatch, "deidentify src dst --key-file key")
    assert status == 3 and "PatientName in 1 files" in said
    assert "vogelweide" not in (said + aside).lower()


def test_a_folder_without_images_is_status_0_and_says_so(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "texts").mkdir()
    (place / "texts" / "a.txt").write_text("a")
    status, _, aside = run(capsys, monkeypatch, "deidentify texts dst --key-file key")
    assert status == 0 and "no file of the source could be published" in aside


def test_a_key_is_made_private_and_shown_only_by_its_check(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, said, _ = run(capsys, monkeypatch, "key new sub/fresh")
    made = (place / "sub" / "fresh").read_text().strip()
    assert status == 0 and len(made) == 64 and made not in said
    assert stat.S_IMODE((place / "sub" / "fresh").stat().st_mode) == 0o600
    _, check, _ = run(capsys, monkeypatch, "key check sub/fresh")
    assert check.strip() in said and len(check.strip()) == 8 and check.strip() not in made
    run(capsys, monkeypatch, "deidentify src dst --key-file sub/fresh")
    assert json.loads((place / "dst.report" / "report.json").read_text())["key_check"] == check.strip()


def test_a_pseudonym_leads_back_by_the_table_and_only_with_its_key(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(capsys, monkeypatch, "key new second")
    monkeypatch.setenv("MEDILLUS_REIDENTIFICATION_KEY_FILE", str(place / "second"))
    assert run(capsys, monkeypatch, "deidentify src dst --key-file key --reidentification-table")[0] == 0
    patient = next(path.name for path in (place / "dst").iterdir() if path.name.startswith("p-"))
    status, said, _ = run(capsys, monkeypatch, f"reidentify {patient} --report dst.report")
    assert status == 0 and "MRN-0012345" in said and "days" in said
    (line,) = [path.read_text() for path in (place / "dst.report" / "reidentification" / "access").iterdir()]
    assert patient in line and "MRN" not in line
    status, _, said = run(capsys, monkeypatch, "reidentify MRN-0012345 --report dst.report")
    assert status == 1 and "MRN" not in said
    monkeypatch.setenv("MEDILLUS_REIDENTIFICATION_KEY_FILE", str(place / "key"))
    status, _, said = run(capsys, monkeypatch, f"reidentify {patient} --report dst.report")
    assert status == 1 and "another key" in said


def test_the_pseudonym_key_cannot_seal_the_table(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDILLUS_REIDENTIFICATION_KEY_FILE", str(place / "key"))
    status, _, said = run(capsys, monkeypatch, "deidentify src dst --key-file key --reidentification-table")
    assert status == 1 and "make another" in said and not (place / "dst").exists()


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_a_stopped_run_leaves_no_file_half_written_and_is_repeated(
    sent: signal.Signals, status: int, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command itself, as a process, stopped once it has begun to stage files."""
    for number in range(3, 1000):
        (place / "src" / f"{number}").write_bytes(encoded(image(number=number)))
    command = [str(Path(sys.executable).with_name("medillus")), "deidentify", "src", "dst", "--key-file", "key"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if (place / "dst" / ".unfinished").exists():
                process.send_signal(sent)
                break
            time.sleep(0.01)
        said, aside = process.communicate(timeout=60)
    assert process.returncode == status
    assert "Traceback" not in said + aside
    for path in (place / "dst").rglob("*.dcm"):
        assert path.stat().st_size > 1000
    assert run(capsys, monkeypatch, "deidentify src dst --key-file key")[0] == 0
    assert run(capsys, monkeypatch, "deidentify src ref --key-file key")[0] == 0
    results = [
        {path.relative_to(place / name): path.read_bytes() for path in (place / name).rglob("*") if path.is_file()}
        for name in ("dst", "ref")
    ]
    assert results[0] == results[1] and len(results[0]) == 1000


def test_a_defect_is_one_line_without_what_it_quotes(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("Vogelweide^Walther")

    monkeypatch.setattr("medillus_pipeline.deidentification.folder.ingest_delivery", broken)
    status, said, aside = run(capsys, monkeypatch, "deidentify src dst --key-file key")
    assert status == 1 and "unexpected ValueError at " in aside and aside.count("\n") == 1
    assert "Vogelweide" not in said + aside


def test_help_lists_the_exit_statuses() -> None:
    shown = CliRunner().invoke(cli.app, ["deidentify", "--help"])
    assert shown.exit_code == 0
    for text in ("Exit status", "0 ", "3 ", "4 ", "130 "):
        assert text in shown.output


def test_a_malformed_uid_of_the_source_is_not_quoted_by_a_warning(place: Path) -> None:
    """As a process: warnings go to its standard error."""
    odd = "dbf60361338b6cb0d8add6f6ea34276642da945f02b34613f09188618e7d4d7b"
    dataset = image(number=3)
    dataset.add_new(0x0020000E, "LO", odd)
    (place / "src" / "3").write_bytes(encoded(dataset).replace(b"\x20\x00\x0e\x00LO", b"\x20\x00\x0e\x00UI"))
    command = [str(Path(sys.executable).with_name("medillus")), "deidentify", "src", "dst", "--key-file", "key"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "3 published" in done.stdout
    assert odd not in done.stdout + done.stderr
