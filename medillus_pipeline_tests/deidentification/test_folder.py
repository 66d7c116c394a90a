"""Any folder: read in place, written by pseudonyms, every entry accounted for, and the same bytes on every run."""

import csv
import hashlib
import io
import json
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import RTStructureSetStorage

from medillus_pipeline.deidentification.folder import deidentify_folder, folder_pseudonymiser
from medillus_pipeline.deidentification.folder_report import FolderResult
from medillus_pipeline.deidentification.options import DEFAULT_OPTIONS
from medillus_pipeline.deidentification.policy import Policy
from medillus_pipeline.deidentification.reidentification import ReidentificationTables
from medillus_pipeline.dicom.source_folder import FolderZone
from medillus_pipeline.errors import InputError, StoreError
from medillus_pipeline_tests.deidentification.delivered_files import encoded, image

KEY = b"k" * 32
PLANTED = (b"Vogelweide", b"MRN-0012345", b"Eschenbach", b"Burgdorf", b"1.2.826.0.1.9")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder as it is found: nested, with an archive, a note, and a name that identifies."""
    folder = tmp_path / "Vogelweide, Walther #1?%20"
    for name, data in {
        "a/1": encoded(image(number=1)),
        "a/1 again": encoded(image(number=1)),
        "deep/er/2.dcm": encoded(image(number=2)),
        "note.txt": b"hello",
        "rs": encoded(image(number=9, SOPClassUID=RTStructureSetStorage)),
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        archive.writestr("3", encoded(image(number=3)))
    return folder


def run(source: Path, destination: Path, *, key: bytes = KEY, **further: Any) -> FolderResult:
    report = further.pop("report", destination.with_name(f"{destination.name}.report"))
    further.setdefault("policy", Policy())
    return deidentify_folder(source, destination, report, folder_pseudonymiser(key), **further)


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def ledger_of(report: Path) -> dict[str, tuple[str, str]]:
    rows = csv.DictReader(io.StringIO((report / "ledger.csv").read_bytes().decode(), newline=""))
    return {"!".join(filter(None, (r["source"], r["member"]))): (r["outcome"], r["reason"]) for r in rows}


def test_every_entry_is_in_the_ledger_and_images_are_laid_out_by_pseudonyms(source: Path, tmp_path: Path) -> None:
    result = run(source, tmp_path / "out")
    assert ledger_of(tmp_path / "out.report") == {
        "a/1": ("published", ""),
        "a/1 again": ("duplicate", "same_pixels"),
        "deep/er/2.dcm": ("published", ""),
        "more.zip!3": ("published", ""),
        "note.txt": ("not_dicom", "not_dicom"),
        "rs": ("annotation", "rtstruct"),
    }
    assert (result.status, result.unaccounted, sum(result.counts.values())) == (0, 0, 6)
    written = sorted((tmp_path / "out").rglob("*.dcm"))
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in written) == sorted(
        row["path"] for row in result.instances
    )
    for path in written:
        dataset = dcmread(path)
        assert path.stem == dataset.SOPInstanceUID
        assert [parent.name for parent in path.parents][:3] == [
            dataset.SeriesInstanceUID,
            dataset.StudyInstanceUID,
            dataset.PatientID,
        ]


def test_nothing_that_identifies_leaves_the_report_and_nobody_else_may_open_that(source: Path, tmp_path: Path) -> None:
    run(source, tmp_path / "out")
    told = [tmp_path / "out.report" / name for name in ("report.json", "report.md", "instances.parquet")]
    for path in (*(tmp_path / "out").rglob("*"), *told):
        data = os.fsencode(path.relative_to(tmp_path)) + (path.read_bytes() if path.is_file() else b"")
        assert not [value for value in (*PLANTED, KEY, KEY.hex().encode()) if value in data]
    report = tmp_path / "out.report"
    assert stat.S_IMODE(report.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in told} == {0}


def test_the_source_is_not_touched(source: Path, tmp_path: Path) -> None:
    before = digests(source), {path: path.stat().st_mtime_ns for path in source.rglob("*")}
    run(source, tmp_path / "out")
    assert (digests(source), {path: path.stat().st_mtime_ns for path in source.rglob("*")}) == before


def test_a_second_run_and_two_processes_give_the_same_bytes(source: Path, tmp_path: Path) -> None:
    run(source, tmp_path / "out")
    first = digests(tmp_path / "out")
    run(source, tmp_path / "out", workers=2)
    assert digests(tmp_path / "out") == first
    (tmp_path / "other").mkdir()
    run(source, tmp_path / "other" / "out")
    assert digests(tmp_path / "other" / "out") == first


def test_what_left_the_source_leaves_the_result_and_other_files_stay(source: Path, tmp_path: Path) -> None:
    run(source, tmp_path / "out")
    (tmp_path / "out" / "my notes.txt").write_text("mine")
    (source / "deep/er/2.dcm").unlink()
    result = run(source, tmp_path / "out")
    assert result.removed == 1
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == len(result.instances) == 2
    assert (tmp_path / "out" / "my notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"key": b"q" * 32}, "another key"),
        ({"policy": Policy(options=DEFAULT_OPTIONS, terms=("nodule",))}, "other options or another configuration"),
    ],
)
def test_results_of_two_kinds_are_not_mixed(changes: dict[str, Any], said: str, source: Path, tmp_path: Path) -> None:
    run(source, tmp_path / "out")
    before = digests(tmp_path / "out"), digests(tmp_path / "out.report")
    with pytest.raises(InputError, match=said):
        run(source, tmp_path / "out", **changes)
    with pytest.raises(InputError, match="another source"):
        run(source / "a", tmp_path / "out")
    assert (digests(tmp_path / "out"), digests(tmp_path / "out.report")) == before


def _a_file(path: Path) -> None:
    path.write_bytes(b"mine")


def _a_full_folder(path: Path) -> None:
    path.mkdir()
    (path / ".medillus.json").write_text('["made by", "somebody"]')


@pytest.mark.parametrize("make", [_a_file, _a_full_folder])
def test_what_this_command_did_not_make_is_not_written_to(
    make: Callable[[Path], None], source: Path, tmp_path: Path
) -> None:
    for taken, further in ((tmp_path / "out", {}), (tmp_path / "rep", {"report": tmp_path / "rep"})):
        make(taken)
        before = digests(tmp_path)
        with pytest.raises(InputError):
            run(source, tmp_path / "out2" if further else taken, **further)
        assert {path: value for path, value in digests(tmp_path).items() if path in before} == before


@pytest.mark.parametrize(
    ("destination", "report"), [("in", "rep"), ("out", "in/rep"), (".", "rep"), ("out", "out/rep"), ("rep", "rep")]
)
def test_overlapping_folders_are_refused_before_anything_is_made(destination: str, report: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1").write_bytes(encoded(image()))
    with pytest.raises(InputError):
        run(tmp_path / "in", tmp_path / destination, report=tmp_path / report)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_nothing_to_read_is_said_and_nothing_is_made(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for missing, said in ((tmp_path / "empty", "empty folder"), (tmp_path / "none", "does not exist")):
        with pytest.raises(InputError, match=said):
            run(missing, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_one_file_and_one_archive_are_sources_too(source: Path, tmp_path: Path) -> None:
    whole = run(source, tmp_path / "whole")
    pseudonyms = {row["sop_instance_uid"] for row in whole.instances}
    for name in ("a/1", "more.zip"):
        result = run(source / name, tmp_path / Path(name).name)
        assert len(result.ledger) == len(result.instances) == 1
        assert result.instances[0]["sop_instance_uid"] in pseudonyms


def test_links_pipes_and_odd_names_are_accounted_for_and_no_loop_is_walked(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    odd = folder / os.fsdecode(b"M\xfcller")
    odd.mkdir(parents=True)
    (odd / "line\nbreak").write_bytes(encoded(image(number=1)))
    (folder / "_READY").write_bytes(b"")
    (tmp_path / "secret.dcm").write_bytes(encoded(image(number=2)))
    for name, target in {
        "loop": ".",
        "self": "self",
        "up": "..",
        "out": "../secret.dcm",
        "again": f"{odd.name}/line\nbreak",
    }.items():
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "pipe")
    result = run(folder, tmp_path / "out")
    assert ledger_of(tmp_path / "out.report") == {
        "M\\udcfcller/line\nbreak": ("published", ""),
        "_READY": ("not_read", "marker"),
        "again": ("duplicate", "same_pixels"),
        "loop": ("not_read", "link_to_folder"),
        "out": ("not_read", "link_leads_outside"),
        "pipe": ("not_read", "special_file"),
        "self": ("not_read", "dangling_link"),
        "up": ("not_read", "link_leads_outside"),
    }
    assert (result.status, result.unseen, result.unaccounted) == (4, 3, 0)


def test_a_residual_hit_is_kept_out_and_is_status_3(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "1").write_bytes(encoded(image(number=1)))
    (folder / "2").write_bytes(encoded(image(number=2, ScanOptions="VOGELWEIDE")))
    result = run(folder, tmp_path / "out")
    assert result.status == 3 and len(result.instances) == 1
    assert {hit["attribute"] for hit in result.residual_hits} == {"PatientName"}
    said = json.loads((tmp_path / "out.report" / "report.json").read_text())
    assert said["status"] == 3 and said["counts"]["quarantined/residual_identifier"] == 1


def test_a_run_that_was_killed_is_repeated_with_the_same_result(source: Path, tmp_path: Path) -> None:
    run(source, tmp_path / "ref")
    for folder, name in ((tmp_path / "out", ".unfinished"), (tmp_path / "out.report", ".scratch")):
        (folder / name).mkdir(parents=True)
        (folder / name / "rest").write_bytes(b"half")
    (tmp_path / "out" / ".medillus.json").write_bytes((tmp_path / "ref" / ".medillus.json").read_bytes())
    run(source, tmp_path / "out")
    assert digests(tmp_path / "out") == digests(tmp_path / "ref")
    assert not (tmp_path / "out.report" / ".scratch").exists()


def test_a_failing_disk_leaves_the_earlier_result_and_report_whole(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(source, tmp_path / "out")
    before = digests(tmp_path / "out"), digests(tmp_path / "out.report")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="disk is full"):
        run(source, tmp_path / "out")
    assert (digests(tmp_path / "out"), digests(tmp_path / "out.report")) == before


def test_two_runs_do_not_write_one_result_at_a_time(source: Path, tmp_path: Path) -> None:
    refused: list[str] = []

    def meanwhile(done: int, total: int) -> None:
        if not refused:
            with pytest.raises(InputError, match="another run") as caught:
                run(source, tmp_path / "out")
            refused.append(str(caught.value))

    assert run(source, tmp_path / "out", progress=meanwhile).status == 0
    assert refused


def test_the_table_of_originals_is_encrypted_in_the_report_and_leads_back(source: Path, tmp_path: Path) -> None:
    result = run(source, tmp_path / "out", reidentification_key=b"r" * 32)
    tables = ReidentificationTables(FolderZone(tmp_path / "out.report"), b"r" * 32)
    row = result.instances[0]
    (patient,) = tables.find(row["patient"])
    assert patient.original == "MRN-0012345"
    assert patient.days == folder_pseudonymiser(KEY).date_shift("MRN-0012345")
    (instance,) = tables.find(row["sop_instance_uid"])
    assert instance.original.startswith("1.2.826.0.1.99.")
    for path in (tmp_path / "out.report" / "reidentification").rglob("*"):
        assert path.is_dir() or not [value for value in PLANTED if value in path.read_bytes()]


@pytest.mark.parametrize("folder", ["phi", "awkward"])
def test_real_folders_are_accounted_for_to_the_last_file(folder: str, shared_data: Path, tmp_path: Path) -> None:
    result = run(shared_data / folder, tmp_path / "out")
    files = {path.relative_to(shared_data / folder).as_posix() for path in (shared_data / folder).rglob("*")}
    listed = {row["source"] for row in result.ledger}
    assert listed == {name for name in files if (shared_data / folder / name).is_file()}
    assert result.unaccounted == 0 and result.status in (0, 3)
    assert len(result.instances) == len(list((tmp_path / "out").rglob("*.dcm"))) > 0
