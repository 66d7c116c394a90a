"""`medillus slices`: the same pictures as the asset makes, what is refused, what a second run does."""

import hashlib
import sys
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
