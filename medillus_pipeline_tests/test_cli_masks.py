"""`medillus masks`: label maps on the slices of `medillus slices`, the report, what is refused, what a rerun does."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from medillus_pipeline import cli
from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline.deidentification.folder import deidentify_folder, folder_pseudonymiser
from medillus_pipeline.deidentification.policy import Policy
from medillus_pipeline.dicom.folder_instances import hashed_uid
from medillus_pipeline.dicom.png import decode_png
from medillus_pipeline.dicom.slice_names import slice_name
from medillus_pipeline.dicom.slices_folder import slices_of_folder
from medillus_pipeline.tables import MASK_ITEMS, MASKS, from_parquet
from medillus_pipeline_tests.annotation.published import SQUARE, labelme, shape, square_mm, structure_set
from medillus_pipeline_tests.dicom.image_files import encoded, image

HU = {"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"}
GEOMETRY = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [2.0, 1.0], "SliceThickness": 5}
PLACE = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4", "FrameOfReferenceUID": "1.2.3.9"}
KEY = bytes(range(32))


def ct(k: int, **attributes: Any) -> bytes:
    pixels = np.random.default_rng(k).integers(900, 1200, (40, 50), np.uint16)
    place = {"SOPInstanceUID": f"1.2.3.4.{k}", "ImagePositionPatient": [-20, -30, 5.0 * k], "PatientID": "MRN 0042"}
    return encoded(image(pixels, **(HU | GEOMETRY | PLACE | place | attributes)))


@pytest.fixture
def identified(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    folder.mkdir()
    for k in range(3):
        (folder / f"{k}.dcm").write_bytes(ct(k))
    return folder


@pytest.fixture
def slices(identified: Path, tmp_path: Path) -> Path:
    """Slices of the identified files: their UIDs are hashed without a key."""
    slices_of_folder(identified, tmp_path / "slices", identified=True)
    return tmp_path / "slices"


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    folder = tmp_path / "Holloway, Ada"
    folder.mkdir()
    contours = [("CLOSED_PLANAR", f"1.2.3.4.{k}", square_mm(5.0 * k)) for k in (1, 2)]
    (folder / "RS.dcm").write_bytes(structure_set({"Heart": contours, "PTV": contours[:1], "???": contours[:1]}))
    (folder / "annotator.txt").write_text("Ada Holloway")
    (folder / f"{slice_name(hashed_uid('1.2.3.4.0'), 1)}.json").write_bytes(labelme(shape("liver", SQUARE)))
    (folder / "=cmd.txt").write_text("no annotation")
    return folder


def run(*arguments: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", ["medillus", "masks", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def masks_in(folder: Path) -> list[dict[str, Any]]:
    return MASKS.to_arrow(from_parquet((folder / "masks.parquet").read_bytes()).to_pylist()).to_pylist()


def test_an_rtstruct_and_labelme_become_label_maps_that_mirror_the_slices(
    annotations: Path, slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = tmp_path / "masks"
    assert run(annotations, destination, "--slices", slices, monkeypatch=monkeypatch) == 4
    rows = masks_in(destination)
    assert {load().by_id(label).key for row in rows for label in row["labels"]} == {"heart", "liver"}
    for row in rows:
        (picture,) = slices.glob(f"series-*/{row['slice_name']}.png")
        mask = destination / row["annotator"] / picture.parent.name / picture.name
        assert row["path"] == mask.relative_to(destination).as_posix()
        values = decode_png(mask.read_bytes())
        assert values.shape == decode_png(picture.read_bytes()).shape
        assert sorted(set(values.ravel().tolist()) - {0}) == row["labels"]


def test_the_report_names_files_and_reasons_and_the_result_names_none(
    annotations: Path, slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    destination = tmp_path / "masks"
    run(annotations, destination, "--slices", slices, monkeypatch=monkeypatch)
    with (tmp_path / "masks.report" / "ledger.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["outcome"] != "read"]
    said = {(row["source"], row["structure"]): row["reason"] for row in rows}
    assert said[("RS.dcm", "heart")] == "" and said[("RS.dcm", "ptv")] == "planning_target"
    assert said[("'=cmd.txt", "*")] == "unsupported_format" and said[("RS.dcm", 'label "???"')] == "unknown_label"
    told = capsys.readouterr()
    names = b"".join(path.read_bytes() for path in destination.rglob("*") if path.is_file())
    assert b"Holloway" not in names and b"RS.dcm" not in names and "Holloway" not in told.out + told.err
    items = from_parquet((destination / "mask_items.parquet").read_bytes()).to_pylist()
    assert MASK_ITEMS.to_arrow(items).num_rows == len([place for place in said if not place[1].startswith("label ")])


def test_annotations_of_the_hospital_meet_deidentified_slices_by_the_key(
    identified: Path, annotations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slices: Path
) -> None:
    key = tmp_path / "key"
    key.write_text(KEY.hex())
    key.chmod(0o600)
    deidentify_folder(identified, tmp_path / "clean", tmp_path / "report", folder_pseudonymiser(KEY), policy=Policy())
    slices_of_folder(tmp_path / "clean", tmp_path / "slices2")
    for arguments, masks in ((("--key-file", key), 2), ((), 0)):
        out = tmp_path / f"masks{masks}"
        run(annotations / "RS.dcm", out, "--slices", tmp_path / "slices2", *arguments, monkeypatch=monkeypatch)
        assert len(masks_in(out)) == masks


def test_annotations_of_another_patient_are_refused(
    annotations: Path, identified: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "key"
    key.write_text(KEY.hex())
    key.chmod(0o600)
    deidentify_folder(identified, tmp_path / "clean", tmp_path / "report", folder_pseudonymiser(KEY), policy=Policy())
    slices_of_folder(tmp_path / "clean", tmp_path / "slices2")
    dataset = dcmread(annotations / "RS.dcm")
    dataset.PatientID = "someone else"
    dataset.save_as(annotations / "RS.dcm")
    arguments = (annotations / "RS.dcm", tmp_path / "masks", "--slices", tmp_path / "slices2", "--key-file", key)
    assert run(*arguments, monkeypatch=monkeypatch) == 4
    (line,) = from_parquet((tmp_path / "masks" / "mask_items.parquet").read_bytes()).to_pylist()
    assert line["reason"] == "other_patient"


def test_a_second_run_gives_the_same_bytes_and_drops_what_is_gone(
    annotations: Path, slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = tmp_path / "masks"

    def files() -> dict[str, bytes]:
        return {str(p.relative_to(destination)): p.read_bytes() for p in destination.rglob("*") if p.is_file()}

    run(annotations, destination, "--slices", slices, monkeypatch=monkeypatch)
    first = files()
    run(annotations, destination, "--slices", slices, monkeypatch=monkeypatch)
    assert files() == first
    (annotations / "RS.dcm").unlink()
    run(annotations, destination, "--slices", slices, monkeypatch=monkeypatch)
    assert len([name for name in files() if name.endswith(".png")]) == len(masks_in(destination)) == 1


@pytest.mark.parametrize(
    "misuse", ["no slices", "not ours", "inside", "a file", "missing", "empty", "damaged", "report inside"]
)
def test_misuse_is_one_line_and_changes_nothing(
    misuse: str,
    annotations: Path,
    slices: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    destination, extra = tmp_path / "masks", []
    match misuse:
        case "no slices":
            slices = tmp_path / "src"
        case "not ours":
            destination.mkdir()
            (destination / "mine.txt").write_text("keep me")
        case "inside":
            destination = annotations / "masks"
        case "a file":
            destination.write_text("keep me")
        case "missing":
            annotations = tmp_path / "nowhere"
        case "empty":
            annotations = tmp_path / "hollow"
            annotations.mkdir()
        case "damaged":
            (slices / "slices.parquet").write_bytes(b"PAR1")
        case "report inside":
            extra = ["--report", destination / "report"]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert run(annotations, destination, "--slices", slices, *extra, monkeypatch=monkeypatch) == 1
    told = capsys.readouterr().err.strip()
    assert told.startswith("error:") and "Traceback" not in told and "Holloway" not in told
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def test_a_result_killed_half_way_is_made_again(
    annotations: Path, slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = tmp_path / "masks"
    (destination / ".unfinished" / "masks").mkdir(parents=True)
    (destination / ".medillus.json").write_text(json.dumps({"made_by": "medillus masks"}))
    assert run(annotations, destination, "--slices", slices, monkeypatch=monkeypatch) == 4
    assert not (destination / ".unfinished").exists() and len(masks_in(destination)) == 3


def test_one_file_is_read_with_what_speaks_for_it(
    annotations: Path, slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for source, out in ((annotations, "all"), (annotations / "RS.dcm", "one")):
        run(source, tmp_path / out, "--slices", slices, monkeypatch=monkeypatch)
    one, whole = (masks_in(tmp_path / out) for out in ("one", "all"))
    assert len(one) == 2 and {row["annotator"] for row in one} == {row["annotator"] for row in whole}


def test_every_entry_has_its_line_and_none_is_waited_for(
    annotations: Path, slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (annotations / "loop.json").symlink_to(annotations / "loop.json")
    (annotations / "out.json").symlink_to("/etc/hostname")
    os.mkfifo(annotations / "pipe.json")
    assert run(annotations, tmp_path / "masks", "--slices", slices, monkeypatch=monkeypatch) == 4
    with (tmp_path / "masks.report" / "ledger.csv").open(newline="") as file:
        said = {row["source"]: row["reason"] or row["outcome"] for row in csv.DictReader(file)}
    assert said["loop.json"] == "dangling_link" and said["out.json"] == "link_leads_outside"
    assert said["pipe.json"] == "special_file" and said["annotator.txt"] == "read"
    assert "Place and tissue were not judged" in (tmp_path / "masks" / "report.html").read_text()


def test_without_the_key_it_is_said_that_patients_were_not_compared(
    annotations: Path, slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(annotations, tmp_path / "masks", "--slices", slices, monkeypatch=monkeypatch)
    assert "Patients were not compared" in capsys.readouterr().out
