"""The command line: what each command says and leaves behind, and that a mistake gets one clear line, no traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from medillus_pipeline import automation_settings, cli, landings
from medillus_pipeline.phantom.keys import DEMO_KEY, DEMO_SALT
from medillus_pipeline.settings import VARIABLES, Settings, write_secret
from medillus_pipeline.tables import LEDGER, MASK_ITEMS, TableStore

LEDGER_ROW = {"member": "", "sha256": "0" * 64, "bytes": 1, "pseudonym": None}
ITEM_ROW = {"item": "i-0123456789ab", "source_format": "labelme", "slices": 1, "remark": ""}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home that the environment names; no other setting is set."""
    for name in [name for name in os.environ if name.startswith("MEDILLUS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MEDILLUS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MEDILLUS_WORKERS", "1")
    return tmp_path / "home"


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A folder of two text files."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.txt").write_text(name)
    return folder


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    """`medillus` with these arguments: exit status, standard output and standard error."""
    monkeypatch.setattr(sys, "argv", ["medillus", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("demo", "--annotations", "."), "--annotations needs --images"),
        (("demo", "--images", "no-such-folder"), "does not exist"),
        (("land", "pictures", "."), "images, annotations, reviews or requests"),
        (("land", "images", "no-such-folder"), "does not exist"),
        (("land", "images", ".", "--name", "a/b"), "single path component"),
        (("land", "images", ".", "--label", "No Label"), "3 to 41 of the characters"),
        (("import-nifti", "no-such-folder"), "nothing to import"),
        (("import-nifti", ".", "--name", "../x"), "letters, digits"),
        (("ledger", "no-such-key"), "`medillus deliveries` lists the keys"),
        (("receipt", "no-such-key"), "`medillus deliveries` lists the keys"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_done_is_said_in_one_line(
    arguments: tuple[str, ...],
    words: str,
    home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    status, _, said = run(capsys, monkeypatch, *arguments)
    assert status == 1
    assert said.startswith("error: ") and said.count("\n") == 1
    assert words in said


@pytest.mark.parametrize(
    "arguments",
    [
        ("no-such-command",),
        ("land",),
        ("land", "images"),
        ("import-nifti", ".", "--limit", "0"),
        ("demo", "--patients", "3"),
        ("demo", "--patients", "many"),
        ("run-all", "--fast"),
        ("deliveries", "all"),
        ("ledger",),
        ("receipt",),
        ("settings", "--json"),
        ("ui", "--port", "0"),
    ],
    ids=" ".join,
)
def test_a_malformed_command_shows_how_it_is_used(
    arguments: tuple[str, ...], home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, _, said = run(capsys, monkeypatch, *arguments)
    assert status == 2
    assert "Usage: " in said and "--help" in said
    assert "Traceback" not in said
    assert not home.exists()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MEDILLUS_HOEM", "/somewhere"),
        ("MEDILLUS_WORKERS", "many"),
        ("MEDILLUS_PROFILE", "diagnosis"),
        ("MEDILLUS_CLEAN_URL", "/a/bare/path"),
        ("MEDILLUS_LANDING_URL", "ftp://elsewhere"),
    ],
)
def test_a_wrong_setting_is_named_before_anything_is_done(
    variable: str, value: str, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    for command in ("settings", "run-all", "deliveries"):
        status, _, said = run(capsys, monkeypatch, command)
        assert status == 1
        assert said.startswith("error: ") and said.count("\n") == 1
        assert variable in said
    assert not home.exists()


def test_a_folder_lands_once(
    texts: Path, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, said, _ = run(capsys, monkeypatch, "land", "images", str(texts), "--label", "first-delivery")
    assert status == 0 and "2 files landed" in said
    assert json.loads((home / "landing/images/texts/_READY").read_text()) == {
        "label": "first-delivery",
        "synthetic": False,
    }
    status, _, said = run(capsys, monkeypatch, "land", "images", str(texts))
    assert status == 1 and "--name" in said


def test_deliveries_lists_keys_and_folders_as_they_are_called(
    texts: Path, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of folders come from outside: brackets in them are no markup, and a long one is not cut."""
    settings = Settings.from_environment()
    odd, long = "scan [red] [mr] 7", "knee " * 40 + "left"
    for name, label in ((odd, None), (long, "knees")):
        landings.land_folder(settings.landing, "images", texts, name=name, label=label)
    landings.register(settings.landing, settings.vault, settings.pseudonymiser(), "images")
    status, said, _ = run(capsys, monkeypatch, "deliveries")
    assert status == 0
    assert odd in said and long in said and "knees" in said


def test_ledger_shows_what_was_not_published_and_everything_on_demand(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"source": "images/x/good.dcm", "outcome": "published", "reason": "", **LEDGER_ROW},
        {"source": "images/x [/note].txt", "outcome": "not_dicom", "reason": "not_dicom", **LEDGER_ROW},
    ]
    TableStore(Settings.from_environment().vault).publish(LEDGER, "images.some-key", LEDGER.to_arrow(rows))
    status, said, _ = run(capsys, monkeypatch, "ledger", "some-key")
    assert status == 0
    assert "x [/note].txt" in said and "good.dcm" not in said
    _, said, _ = run(capsys, monkeypatch, "ledger", "some-key", "--all")
    assert "good.dcm" in said


def test_receipt_lists_structures_with_their_reasons(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"structure": "liver", "outcome": "accepted", "reason": "", **ITEM_ROW},
        {"structure": "*", "outcome": "refused", "reason": "unsupported_format", **ITEM_ROW},
    ]
    TableStore(Settings.from_environment().clean).publish(MASK_ITEMS, "some-batch", MASK_ITEMS.to_arrow(rows))
    status, said, _ = run(capsys, monkeypatch, "receipt", "some-batch")
    assert status == 0
    assert "liver" in said and "unsupported_format" in said and "i-0123456789ab" in said


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg2://medillus:hunter2@db:5432/mlflow",
        "postgresql+psycopg2://medillus:hun@ter2/hunter2@db:5432/mlflow",
        "https://:hunter2@mlflow.example",
        "postgresql+psycopg2://db/mlflow?user=medillus&password=hunter2",
    ],
)
def test_settings_hide_passwords(
    url: str, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDILLUS_MLFLOW_TRACKING_URI", url)
    status, said, _ = run(capsys, monkeypatch, "settings")
    assert status == 0
    assert "MEDILLUS_MLFLOW_TRACKING_URI" in said and "mlflow" in said
    assert "hunter2" not in said and "ter2" not in said


def test_settings_show_when_automation_starts_something(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDILLUS_NIGHT", "17 4 * * 6")
    status, said, _ = run(capsys, monkeypatch, "settings")
    assert status == 0
    shown = {cells[1].strip(): cells[2].strip() for line in said.splitlines() if len(cells := line.split("│")) > 2}
    assert (shown["MEDILLUS_NIGHT"], shown["MEDILLUS_TIME_ZONE"]) == ("17 4 * * 6", "UTC")
    assert {*VARIABLES, *automation_settings.VARIABLES} <= set(shown)


def test_volumes_are_imported_as_a_delivery_and_a_batch(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for patient in ("one", "two"):
        folder = tmp_path / "volumes" / patient
        folder.mkdir(parents=True)
        volume = np.random.default_rng(1).integers(0, 2000, (8, 8, 4)).astype(np.int16)
        nib.save(nib.Nifti1Image(volume, np.eye(4)), folder / "ct.nii.gz")
        nib.save(nib.Nifti1Image((volume > 1000).astype(np.uint8), np.eye(4)), folder / "seg.nii.gz")
    (tmp_path / "volumes" / "labels.json").write_text('{"1": "liver"}')
    source = str(tmp_path / "volumes")
    status, said, _ = run(capsys, monkeypatch, "import-nifti", source, "--name", "vol", "--offset", "-1000")
    assert status == 0
    assert "2 patients with 8 instances and 2 label maps landed as vol" in said
    landing = Settings.from_environment().landing
    assert landings.ready_folders(landing, "images") == landings.ready_folders(landing, "annotations") == ["vol"]
    status, _, said = run(capsys, monkeypatch, "import-nifti", source, "--name", "vol")
    assert status == 1 and "choose another name" in said


def test_the_demo_keeps_out_of_a_home_with_a_real_key(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Settings.from_environment().pseudonymiser()
    status, _, said = run(capsys, monkeypatch, "demo")
    assert status == 1
    assert "a home of its own" in said
    assert not (home / "landing").exists()


@pytest.mark.parametrize("command", ["demo --images", "land images", "import-nifti"])
def test_nothing_real_lands_in_the_home_of_the_demo(
    command: str, texts: Path, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key is public; a folder that landed there would also block the demo for good."""
    settings = Settings.from_environment()
    write_secret(settings.key_file, DEMO_KEY)
    write_secret(settings.split_salt_file, DEMO_SALT)
    status, _, said = run(capsys, monkeypatch, *command.split(), str(texts))
    assert status == 1
    assert "another folder" in said
    assert not (home / "landing").exists()


def test_a_delivery_of_texts_ends_with_the_reason_and_what_to_do(texts: Path, home: Path) -> None:
    """The command itself, as a process: the whole way of a user's folder that holds no image."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("medillus")), "demo", "--images", str(texts)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MEDILLUS_PROFILE": "demo", "PYTHONWARNINGS": "ignore"},
    )
    assert done.returncode == 1
    assert "2 not_dicom" in done.stdout and "deliver DICOM images" in done.stdout
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert "Traceback" not in done.stdout + done.stderr


def test_help_names_every_command() -> None:
    shown = CliRunner().invoke(cli.app, ["--help"])
    assert shown.exit_code == 0
    for command in ("demo", "run-all", "land", "import-nifti", "deliveries", "ledger", "receipt", "settings", "ui"):
        assert command in shown.output
