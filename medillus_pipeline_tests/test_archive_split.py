"""A large archive becomes deliveries by patient: none in two, all accounted for, resumable, and nothing elsewhere."""

import io
import os
import stat
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medillus_pipeline import archive_split, landings
from medillus_pipeline.archive_split import Staged, divide, stage
from medillus_pipeline.archive_survey import NO_PATIENT, Held
from medillus_pipeline.cli import app
from medillus_pipeline.dicom.reading import iter_files
from medillus_pipeline.errors import InputError, StoreError
from medillus_pipeline.settings import Settings
from medillus_pipeline_tests.deidentification.delivered_files import encoded, image


def dicom(patient: str, study: int, number: int = 1) -> bytes:
    uid = f"1.2.826.0.1.{study}"
    return encoded(image(number=study * 100 + number, PatientID=patient, StudyInstanceUID=uid))


def zipped(**members: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return held.getvalue()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("MEDILLUS_HOME", str(tmp_path / "home"))
    return Settings.from_environment()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    root = tmp_path / "archive"
    files = {
        "Meier/ct/1": dicom("0007", 1),
        "Meier/ct/2": dicom("0007", 1, 2),
        "Schmidt/deep/er/1": dicom("B", 2),
        "elsewhere/again": dicom(" 7 ", 3),
        "one.zip": zipped(a=dicom("C", 4), b=dicom("C", 5)),
        "two.zip": zipped(a=dicom("B", 6), b=dicom("D", 7), c=zipped(x=dicom("E", 8))),
        "notes.txt": b"no image",
        "broken.zip": b"PK\x03\x04 and no more",
        "_READY": b"",
    }
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (root / "outside").symlink_to(tmp_path)
    return root


def staged(settings: Settings, archive: Path, per: int = 3, **further: bool) -> Staged:
    return stage(archive, settings.landing, settings.vault, settings.pseudonymiser(), per_delivery=per, **further)


def held_in(settings: Settings) -> dict[str, list[bytes]]:
    found = landings.ready_folders(settings.landing, "images")
    return {folder: [file.data for file in iter_files(settings.landing, folder)] for folder in found}


def test_a_patient_is_in_one_delivery_and_every_file_is_accounted_for(settings: Settings, archive: Path) -> None:
    done = staged(settings, archive)
    contents = held_in(settings)
    whole = [data for files in contents.values() for data in files]
    wanted = {
        "7": [dicom("0007", 1), dicom("0007", 1, 2), dicom(" 7 ", 3)],
        "B": [dicom("B", 2), dicom("B", 6)],
        "C": [dicom("C", 4), dicom("C", 5)],
        "D": [dicom("D", 7)],
    }
    for files in wanted.values():
        assert sum(set(files) <= set(held) for held in contents.values()) == 1
        assert all(whole.count(file) == 1 for file in files)
    assert b"no image" in whole
    assert dict(done.left_out) == {"archive_in_archive": 1, "link_leads_outside": 1, "marker": 1}
    assert done.deliveries == len(contents) == done.made
    assert done.patients == 4 and done.studies == 7
    assert len(landings.register(settings.landing, settings.vault, settings.pseudonymiser(), "images")) == len(contents)


def test_names_of_deliveries_say_nothing(settings: Settings, archive: Path) -> None:
    done = staged(settings, archive)
    for name in held_in(settings):
        assert landings.LABEL.fullmatch(name) and name.startswith(f"s-{done.name}-")


def test_files_are_linked_and_the_source_is_as_it_was(settings: Settings, archive: Path) -> None:
    before = {path: path.read_bytes() for path in archive.rglob("*") if path.is_file()}
    done = staged(settings, archive)
    assert done.linked == 7 and done.copied == 2
    assert {path: path.read_bytes() for path in before} == before
    assert (archive / "notes.txt").stat().st_nlink == 2


def test_where_no_link_can_be_made_files_are_copied(
    settings: Settings, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_file_system(*_: object) -> None:
        raise OSError(18, os.strerror(18))

    monkeypatch.setattr(os, "link", other_file_system)
    assert staged(settings, archive).copied == 9


def test_a_staging_that_was_interrupted_goes_on_by_its_plan(
    settings: Settings, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = archive_split._place
    calls = []

    def failing(*given: object, **named: object) -> None:
        calls.append(given)
        if len(calls) == 4:
            raise StoreError("the disk is full")
        place(*given, **named)  # pyright: ignore[reportArgumentType]

    with monkeypatch.context() as patch:
        patch.setattr(archive_split, "_place", failing)
        with pytest.raises(StoreError):
            staged(settings, archive)
    closed = set(held_in(settings))
    (archive / "AAA").write_bytes(dicom("0007", 9))
    (archive / "notes.txt").unlink()
    done = staged(settings, archive)
    assert closed < set(held_in(settings)) and done.made == done.deliveries - len(closed)
    assert done.left_out["came_since_the_plan"] == 1
    assert done.left_out["gone_since_the_plan"] == 1
    again = staged(settings, archive)
    assert again.made == again.linked == again.copied == 0


def test_a_dry_run_writes_nothing(settings: Settings, archive: Path) -> None:
    told = staged(settings, archive, dry_run=True)
    assert not settings.landing.exists("images") and not settings.vault.files("stagings")
    assert staged(settings, archive).deliveries == told.deliveries > 1


def test_the_plan_is_readable_by_its_owner_and_lists_every_file(settings: Settings, archive: Path) -> None:
    done = staged(settings, archive)
    lines = settings.vault.read(f"stagings/{done.name}.csv").decode().splitlines()
    assert len(lines) == 1 + done.files + sum(done.left_out.values())


def test_deliveries_hold_as_many_studies_as_asked_and_order_is_stable() -> None:
    held = [Held(f"{p}/{n}", None, f"id:{p}", (f"{p}.{n}",), 1) for p in range(6) for n in range(1 + p % 3)]
    nobody = Held("x", None, "", (), 1, NO_PATIENT)
    placed = divide([nobody, *held], 3)
    by_delivery = [{one.held.patient for one in placed if one.delivery == n} for n in range(1, 7)]
    assert by_delivery == [{"id:0", "id:1"}, {"id:2"}, {"id:3", "id:4"}, {"id:5"}, {""}, set()]
    assert {one.delivery for one in divide(held, 1) if one.held.patient == "id:5"} == {6}


def test_the_command_stays_in_the_restricted_zone(settings: Settings, archive: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    for source, landing, said in (
        (archive, tmp_path / "other", "nowhere else"),
        (archive, settings.clean_url, "nowhere else"),
        (tmp_path, settings.landing_url, "lie in each other"),
        (tmp_path / "home" / "landing" / "x", settings.landing_url, "lie in each other"),
    ):
        result = runner.invoke(app, ["stage", str(source), str(landing)])
        assert isinstance(result.exception, InputError)
        assert said in str(result.exception)
    result = runner.invoke(app, ["stage", str(archive), settings.landing_url, "--studies-per-delivery", "2"])
    assert result.exit_code == 4
    assert "1 archive_in_archive" in result.output and "Meier" not in result.output


def test_a_file_that_cannot_be_read_is_left_out_and_counted(settings: Settings, archive: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads every file")
    (archive / "Meier/ct/2").chmod(stat.S_IWUSR)
    assert staged(settings, archive).left_out["not_readable"] == 1
