"""`medillus slices`: the same pictures as the asset makes, what is refused, what a second run does."""

import csv
import hashlib
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from medillus_pipeline import cli
from medillus_pipeline.dicom import slices as slices_module
from medillus_pipeline.dicom.png import decode_png
from medillus_pipeline.dicom.slices import render_delivery
from medillus_pipeline.dicom.slices_folder import slices_of_folder
from medillus_pipeline.dicom.windows import PRESETS, apply_window
from medillus_pipeline.errors import InputError
from medillus_pipeline.tables import SLICES, from_parquet
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.dicom.image_files import encoded, image, instance_row

HU = {"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"}
GEOMETRY = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [0.8, 0.8]}
CLEAN = {"PatientIdentityRemoved": "YES", "PatientID": "p-00000000000000aa"}


def ct(z: float, **attributes: Any) -> bytes:
    pixels = np.random.default_rng(round(10 * z)).integers(0, 2500, (20, 24), np.uint16)
    return encoded(image(pixels, **(HU | GEOMETRY | CLEAN | {"ImagePositionPatient": [0, 0, z]} | attributes)))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of a CT series of four slices, an MR slice, and a text."""
    folder = tmp_path / "src"
    (folder / "deep" / "er").mkdir(parents=True)
    for number in range(4):
        (folder / "deep" / f"{number}.dcm").write_bytes(ct(2.5 * number))
    (folder / "deep" / "er" / "mr").write_bytes(ct(1.0, Modality="MR", SeriesInstanceUID="2.25.77"))
    (folder / "readme.txt").write_text("no image")
    return folder


def pictures(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("series-*/*.png")}


def rows(folder: Path) -> list[dict[str, Any]]:
    return from_parquet((folder / "slices.parquet").read_bytes()).to_pylist()


def test_pictures_and_rows_are_those_of_the_asset(source: Path, tmp_path: Path, clean: Zone) -> None:
    window = "soft-tissue,lung"
    files = [path for path in sorted(source.rglob("*")) if path.is_file() and path.suffix != ".txt"]
    instances = [
        instance_row(
            path.read_bytes(),
            clean,
            sop_instance_uid=str(dcmread(path).SOPInstanceUID),
            patient=str(dcmread(path).PatientID),
        )
        for path in files
    ]
    asset = render_delivery(instances, clean, window=window)
    done = slices_of_folder(source, tmp_path / "dst", window=window)
    assert (done.slices, done.pictures, done.status) == (5, 9, 0)
    mine = {row["slice_name"]: row for row in rows(tmp_path / "dst")}
    for row in SLICES.to_arrow(asset.slices).to_pylist():
        made = mine.pop(row["slice_name"])
        assert (tmp_path / "dst" / made["path"]).read_bytes() == clean.read(row["path"])
        differ = {name for name in row if row[name] != made[name]}
        assert differ <= {"path", "split_token"}
    assert not mine
    for row in asset.further:
        (picture,) = (tmp_path / "dst").glob(f"series-*/{row['slice_name']}.lung.png")
        assert picture.read_bytes() == clean.read(row["path"])


def test_the_further_picture_is_the_slice_through_its_window(source: Path, tmp_path: Path) -> None:
    slices_of_folder(source, tmp_path / "dst", window="soft-tissue,lung,liver=60/160")
    file = source / "deep" / "2.dcm"
    (row,) = [row for row in rows(tmp_path / "dst") if row["sop_instance_uid"] == dcmread(file).SOPInstanceUID]
    hu = dcmread(file).pixel_array.astype(float) - 1024
    lung = (tmp_path / "dst" / row["path"]).with_suffix(".lung.png")
    assert np.array_equal(decode_png(lung.read_bytes()), apply_window(hu, PRESETS["lung"]))
    further = from_parquet((tmp_path / "dst" / "slice_windows.parquet").read_bytes()).to_pylist()
    assert sorted({(r["window"], r["window_center"], r["window_width"]) for r in further}) == [
        ("liver", 60, 160),
        ("lung", -600, 1500),
    ]
    assert len(further) == 8


def test_names_and_tables_hold_nothing_of_the_names_of_the_source(source: Path, tmp_path: Path) -> None:
    (source / "deep").rename(source / "Walther_von_der_Vogelweide")
    slices_of_folder(source, tmp_path / "dst")
    for path in (tmp_path / "dst").rglob("*"):
        assert "Vogelweide" not in str(path)
        assert not path.is_file() or b"Vogelweide" not in path.read_bytes()
    assert all("Vogelweide" not in str(row) for row in rows(tmp_path / "dst"))


def test_a_second_run_does_no_pixel_work(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = slices_of_folder(source, tmp_path / "dst")
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "dst").rglob("*") if p.is_file()}
    monkeypatch.setattr(slices_module, "_render", None)  # whoever renders now fails
    again = slices_of_folder(source, tmp_path / "dst")
    assert again.unchanged and (again.slices, again.left_out, again.notes) == (5, first.left_out, first.notes)
    assert stamps == {p: p.stat().st_mtime_ns for p in (tmp_path / "dst").rglob("*") if p.is_file()}


@pytest.mark.parametrize("harm", ["removed", "changed"])
def test_a_picture_that_was_lost_or_changed_is_made_again(source: Path, tmp_path: Path, harm: str) -> None:
    slices_of_folder(source, tmp_path / "dst")
    before = pictures(tmp_path / "dst")
    victim = next((tmp_path / "dst").glob("series-*/*.png"))
    if harm == "removed":
        victim.unlink()
    else:
        victim.write_bytes(victim.read_bytes()[:-1])
    assert not slices_of_folder(source, tmp_path / "dst").unchanged
    assert pictures(tmp_path / "dst") == before


def test_a_file_that_left_the_source_leaves_the_result(source: Path, tmp_path: Path) -> None:
    slices_of_folder(source, tmp_path / "dst", window="soft-tissue,lung")
    (source / "deep" / "0.dcm").unlink()
    (source / "deep" / "er" / "mr").unlink()
    slices_of_folder(source, tmp_path / "dst")
    fresh = slices_of_folder(source, tmp_path / "fresh")
    assert fresh.slices == 3
    assert pictures(tmp_path / "dst") == pictures(tmp_path / "fresh")
    for name in ("slices.parquet", ".medillus.json"):
        assert (tmp_path / "dst" / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()
    assert {p.name for p in (tmp_path / "dst").iterdir()} == {p.name for p in (tmp_path / "fresh").iterdir()}


def test_identified_files_are_refused_unless_allowed_and_then_their_uids_are_hashed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "src").mkdir()
    data = ct(0.0, PatientIdentityRemoved="NO", PatientID="MRN-4711", StudyInstanceUID="1.2.276.4711")
    (tmp_path / "src" / "a").write_bytes(data)
    assert run(capsys, monkeypatch, f"slices {tmp_path}/src {tmp_path}/dst")[0] == 3
    assert not pictures(tmp_path / "dst")
    assert run(capsys, monkeypatch, f"slices {tmp_path}/src {tmp_path}/dst --identified")[0] == 0
    (row,) = rows(tmp_path / "dst")
    assert "4711" not in str({name: row[name] for name in ("patient", "study_instance_uid", "split_token")})
    assert row["sop_instance_uid"] != str(dcmread(tmp_path / "src" / "a").SOPInstanceUID)
    assert row["sop_instance_uid"].startswith("2.25.")


def test_every_entry_is_counted_and_copies_that_differ_are_not_shown(source: Path, tmp_path: Path) -> None:
    data = (source / "deep" / "1.dcm").read_bytes()
    (source / "copy").write_bytes(data)
    (source / "other").write_bytes((source / "deep" / "2.dcm").read_bytes()[:-2] + b"\x01\x01")
    (source / "cut").write_bytes(ct(9.0, SOPInstanceUID="2.25.9")[:-50])
    (source / "link").symlink_to("/etc/hostname")
    done = slices_of_folder(source, tmp_path / "dst")
    assert done.left_out == {
        "conflicting_copies": 2,
        "duplicate": 1,
        "not_dicom": 1,
        "not_read/link_leads_outside": 1,
        "truncated_pixels": 1,
    }
    assert done.slices + sum(done.left_out.values()) == done.entries == 10
    assert done.status == 4


def test_two_workers_make_what_one_makes(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("slices", "slices_folder"):
        monkeypatch.setattr(f"medillus_pipeline.dicom.{module}.POOLED", 1)
    slices_of_folder(source, tmp_path / "two", workers=2)
    slices_of_folder(source, tmp_path / "one")
    assert pictures(tmp_path / "one") == pictures(tmp_path / "two")
    assert (tmp_path / "one" / "slices.parquet").read_bytes() == (tmp_path / "two" / "slices.parquet").read_bytes()


def test_a_folder_that_is_not_its_own_is_left_alone(source: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("words")
    with pytest.raises(InputError, match="not empty"):
        slices_of_folder(source, tmp_path / "full")
    with pytest.raises(InputError, match="overlap"):
        slices_of_folder(source, source / "dst")
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.txt"]


def test_a_result_of_other_files_is_not_overwritten(source: Path, tmp_path: Path) -> None:
    slices_of_folder(source, tmp_path / "dst")
    before = pictures(tmp_path / "dst")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").write_bytes(ct(0.0, SeriesInstanceUID="2.25.555"))
    with pytest.raises(InputError, match="other files"):
        slices_of_folder(tmp_path / "other", tmp_path / "dst")
    assert pictures(tmp_path / "dst") == before


def ledger(folder: Path) -> dict[str, tuple[str, str]]:
    """Path and member → outcome and reason."""
    with (folder / "ledger.csv").open(newline="") as file:
        return {f"{r['source']}/{r['member']}".strip("/"): (r["outcome"], r["reason"]) for r in csv.DictReader(file)}


def test_members_of_zip_archives_are_shown_like_files_and_other_archives_are_named(
    source: Path, tmp_path: Path
) -> None:
    slices_of_folder(source, tmp_path / "plain")
    with zipfile.ZipFile(source / "disc.bin", "w") as archive:
        for number in range(4):
            archive.write(source / "deep" / f"{number}.dcm", f"Walther/{number}")
            (source / "deep" / f"{number}.dcm").unlink()
        archive.writestr("inner.zip", (source / "disc.bin").read_bytes())
    with tarfile.open(source / "more.tar", "w") as tar:
        tar.add(source / "readme.txt", "readme.txt")
    done = slices_of_folder(source, tmp_path / "dst")
    assert pictures(tmp_path / "dst") == pictures(tmp_path / "plain")
    assert done.left_out == {"archive_not_opened": 2, "not_dicom": 1}
    assert (done.status, done.entries) == (4, 8)
    assert ledger(tmp_path / "dst.report") == {
        **{f"disc.bin/Walther/{number}": ("shown", "") for number in range(4)},
        "disc.bin/inner.zip": ("left_out", "archive_not_opened"),
        "more.tar": ("left_out", "archive_not_opened"),
        "deep/er/mr": ("shown", ""),
        "readme.txt": ("left_out", "not_dicom"),
    }
    assert slices_of_folder(source, tmp_path / "dst").unchanged


def test_folders_of_the_source_may_have_any_name(source: Path, tmp_path: Path) -> None:
    (source / "deep").rename(source / "slices")
    (source / "slices" / "er").rename(source / "members")
    done = slices_of_folder(source, tmp_path / "dst")
    assert (done.slices, done.left_out) == (5, {"not_dicom": 1})


def test_the_ledger_is_restricted_and_follows_a_renamed_file(source: Path, tmp_path: Path) -> None:
    (source / "cut").write_bytes(ct(9.0, SOPInstanceUID="2.25.9")[:-50])
    slices_of_folder(source, tmp_path / "dst")
    report = tmp_path / "dst.report"
    assert (report.stat().st_mode & 0o777, (report / "ledger.csv").stat().st_mode & 0o777) == (0o700, 0o600)
    assert ledger(report)["cut"] == ("not_shown", "1 truncated_pixels")
    (source / "cut").rename(source / "short")
    assert slices_of_folder(source, tmp_path / "dst").unchanged
    assert ledger(report)["short"] == ("not_shown", "1 truncated_pixels") and "cut" not in ledger(report)


def test_hounsfield_units_come_back_from_a_lossless_picture_by_its_row(source: Path, tmp_path: Path) -> None:
    slices_of_folder(source, tmp_path / "dst", window="lung,bone", outputs=("lossless", "grey16"))
    further = from_parquet((tmp_path / "dst" / "slice_windows.parquet").read_bytes()).to_pylist()
    kinds = {(row["window"], row["output"]) for row in further}
    assert kinds >= {("bone", "grey8"), ("lung", "grey16"), ("bone", "grey16"), ("lossless", "lossless")}
    assert ("lung", "grey8") not in kinds
    uids = {row["slice_name"]: row["sop_instance_uid"] for row in rows(tmp_path / "dst")}
    files = {
        str(dcmread(path).SOPInstanceUID): path
        for path in source.rglob("*")
        if path.suffix != ".txt" and path.is_file()
    }
    compared = 0
    for row in further:
        hu = dcmread(files[uids[row["slice_name"]]]).pixel_array.astype(float) - 1024
        picture = decode_png((tmp_path / "dst" / row["path"]).read_bytes())
        if row["output"] == "lossless":
            assert np.array_equal(picture * row["slope"] + row["intercept"], hu)
            compared += 1
        elif row["output"] == "grey16" and row["window"] == "lung":
            assert np.array_equal(picture, apply_window(hu, PRESETS["lung"], bits=16))
            compared += 1
    assert compared == 5 + 4
    plain = slices_of_folder(source, tmp_path / "dst", window="lung,bone")
    assert plain.pictures == 9 and not list((tmp_path / "dst").glob("*/*lossless*"))
    assert len(pictures(tmp_path / "dst")) == 9


def test_a_run_that_was_stopped_half_way_is_made_good_by_the_next(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("medillus_pipeline.dicom.slices_folder.finish", None)  # placed, and no table written
        with pytest.raises(TypeError):
            slices_of_folder(source, tmp_path / "dst")
    slices_of_folder(source, tmp_path / "dst")
    slices_of_folder(source, tmp_path / "fresh")
    assert pictures(tmp_path / "dst") == pictures(tmp_path / "fresh")
    assert not list((tmp_path / "dst").glob(".unfinished"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--preset ,", "no window is named"),
        ("--preset nan", "no window preset 'nan'"),
        ("--preset liver=nan/100", "no window preset 'liver=nan/100'"),
        ("--preset liver=60/0", "the window liver: a window needs a finite centre and a positive width"),
        ("--preset lossless=40/80", "the name lossless has a meaning of its own"),
        ("--report {source}", "the source and the report overlap"),
        ("--report {source}/../new/r", "the result and the report overlap"),
    ],
)
def test_misuse_is_refused_in_one_line_before_anything_is_made(
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: str,
    said: str,
) -> None:
    line = f"slices {source} {tmp_path}/new {arguments.format(source=source)}"
    status, out, aside = run(capsys, monkeypatch, line)
    assert (status, out, aside.count("\n")) == (1, "", 1)
    assert said in aside
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


def test_a_report_that_is_another_s_is_left_alone(source: Path, tmp_path: Path) -> None:
    (tmp_path / "dst.report").mkdir()
    (tmp_path / "dst.report" / "report.json").write_text("{}")
    with pytest.raises(InputError, match="report holds other files"):
        slices_of_folder(source, tmp_path / "dst")
    assert not (tmp_path / "dst").exists()


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: str) -> tuple[int, str, str]:
    """`medillus` with this line of arguments: exit status, standard output and standard error."""
    monkeypatch.setattr(sys, "argv", ["medillus", *line.split()])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


def test_the_command_says_what_it_made_and_an_unknown_preset_in_one_line(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, said, aside = run(capsys, monkeypatch, f"slices {source} {tmp_path}/dst --preset bone --workers 1")
    assert (status, aside) == (0, "")
    assert "6 entries: 5 slices of 2 series, 5 pictures" in said
    status, said, aside = run(capsys, monkeypatch, f"slices {source} {tmp_path}/new --preset spleen")
    assert (status, said) == (1, "")
    assert "no window preset 'spleen'" in aside and aside.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_the_help_warns_that_nothing_is_deidentified(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "does NOT de-identify" in " ".join(run(capsys, monkeypatch, "slices --help")[1].split())
