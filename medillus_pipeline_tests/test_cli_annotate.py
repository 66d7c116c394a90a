"""`medillus annotate export`: what it says and leaves behind, from tables of a clean zone, and what a mistake gets."""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medillus_pipeline import cli, published
from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.annotation.batch import read_batch
from medillus_pipeline.annotation.publication import Existing
from medillus_pipeline.annotation.submission import Submission
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.dicom.png import decode_png, encode_png
from medillus_pipeline.dicom.source_folder import FolderZone
from medillus_pipeline.generation.config import preset
from medillus_pipeline.generation.dataset import build_snapshot, load_snapshot
from medillus_pipeline.generation.segmenter import train_segmenter
from medillus_pipeline.tables import MASKS, PATIENT_SPLITS, SLICES, Table, TableStore
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.generation.published import Published, publish_phantoms

WORDS = vocabulary.load()
DEFAULTS = {
    "string": "x",
    "int32": 1,
    "int64": 1,
    "double": 1.0,
    "list<int32>": [],
    "list<double>": [],
    "list<string>": [],
}


def full(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    """The row with every column of the table."""
    return {c.name: row.get(c.name, None if c.nullable else DEFAULTS[c.type]) for c in table.columns}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Published]:
    """A home with eight published patients; the last three slices of each have no mask; a segmenter is in force."""
    home = tmp_path_factory.mktemp("home")
    (home / "clean").mkdir()
    phantoms = publish_phantoms(Zone((home / "clean").as_uri(), cache=home / "cache"), 8)
    clean, store = phantoms.clean, TableStore(phantoms.clean)
    for row in phantoms.slices:
        grey = np.random.default_rng(row["ordinal"]).integers(0, 256, (row["rows"], row["columns"]), np.uint8)
        row |= {"path": clean.put("slices", encode_png(grey), ".png").path, "slice_spacing": 30.0}
    late = {row["slice_name"] for row in phantoms.slices if row["ordinal"] >= 5}
    snapshot = build_snapshot(
        phantoms.slices,
        [row for row in phantoms.masks if row["slice_name"] not in late],
        phantoms.instances,
        phantoms.splits,
        clean,
        WORDS,
        preset("tiny").dataset,
        partitions={},
    )
    dataset = load_snapshot(clean, snapshot.path)
    train = dataset.split("train")
    config = preset("tiny").organ_segmenter.model_copy(update={"steps": 60})
    segmenter = train_segmenter(train.values, train.labels, dataset.classes, config=config, seed=1)
    payload = clean.put("segmenters", segmenter.to_bytes(), ".safetensors")
    published.publish(clean, "training_dataset", {"fingerprint": dataset.fingerprint, "manifest": snapshot.path})
    about = {"path": payload.path, "sha256": payload.sha256, "dataset_fingerprint": dataset.fingerprint}
    published.publish(clean, "organ_segmenter", about)
    published.publish(clean, "judge", about | {"path": "segmenters/none", "sha256": "0" * 64})
    digests = {row["slice_name"]: hashlib.sha256(clean.read(row["path"])).hexdigest() for row in phantoms.masks}
    masks = [
        full(MASKS, row | {"sha256": digests[row["slice_name"]], "annotator": "a-00000001"})
        for row in phantoms.masks
        if row["slice_name"] not in late
    ]
    store.publish(SLICES, "d-1", SLICES.to_arrow([full(SLICES, row) for row in phantoms.slices]))
    store.publish(MASKS, "first", MASKS.to_arrow(masks[:20]))
    store.publish(MASKS, "second", MASKS.to_arrow(masks[20:]))
    splits = [{"split_token": token, "split": split, "round": 1} for token, split in phantoms.splits.items()]
    store.publish(PATIENT_SPLITS, "round-000001", PATIENT_SPLITS.to_arrow(splits))
    return home, phantoms


@pytest.fixture
def home(made: tuple[Path, Published], monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("MEDILLUS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MEDILLUS_HOME", str(made[0]))
    return made[0]


class Run:
    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.capsys, self.monkeypatch = capsys, monkeypatch

    def __call__(self, *arguments: Any) -> tuple[int, str, str]:
        self.monkeypatch.setattr(sys, "argv", ["medillus", "annotate", "export", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = self.capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(capsys, monkeypatch)


def read_back(folder: Path, made: tuple[Path, Published], pseudonymiser: Pseudonymiser) -> dict[str, np.ndarray]:
    store = TableStore(made[1].clean)
    rows = store.read_all(SLICES).drop(["partition"]).to_pylist()
    submission = Submission(FolderZone(folder), "", rows, pseudonymiser, WORDS)
    batch = read_batch(submission, made[1].clean, Existing([]))
    return {row["slice_name"]: decode_png(made[1].clean.read(row["path"])) for row in batch.masks}


def test_masks_of_a_batch_are_written_and_come_back(
    run: Run, made: tuple[Path, Published], tmp_path: Path, pseudonymiser: Pseudonymiser
) -> None:
    status, out, err = run(tmp_path / "out", "--format", "labelme", "--batch", "first")
    assert (status, err) == (0, "") and "masks of 20 slices" in out and "README.txt" in out
    back = read_back(tmp_path / "out", made, pseudonymiser)
    stored = TableStore(made[1].clean).read(MASKS, "first").to_pylist()
    assert set(back) == {row["slice_name"] for row in stored}
    for row in stored:
        assert np.array_equal(back[row["slice_name"]], decode_png(made[1].clean.read(row["path"])))


def test_series_and_patients_narrow_the_choice(run: Run, made: tuple[Path, Published], tmp_path: Path) -> None:
    first, second = sorted({row["series_instance_uid"] for row in made[1].slices})[:2]
    patient = next(row["patient"] for row in made[1].slices if row["series_instance_uid"] == first)
    status, out, _ = run(tmp_path / "two", "--format", "nifti", "--series", first, "--series", second)
    assert status == 0 and {p.name for p in (tmp_path / "two").glob("*.nii.gz")} == {
        f"{u}.nii.gz" for u in (first, second)
    }
    status, out, _ = run(tmp_path / "one", "--format", "nifti", "--series", first, "--patient", patient)
    assert status == 0 and "masks of 5 slices" in out
    status, _, err = run(tmp_path / "none", "--format", "nifti", "--series", second, "--patient", patient)
    assert status == 1 and err.count("\n") == 1 and "no mask fits" in err and not (tmp_path / "none").exists()


def test_proposals_are_for_undrawn_slices_of_training_patients_only(
    run: Run, made: tuple[Path, Published], tmp_path: Path, pseudonymiser: Pseudonymiser
) -> None:
    status, out, err = run(tmp_path / "out", "--format", "labelme", "--proposals", 6)
    assert (status, err) == (0, "") and "proposals of 6 slices" in out and "not offered, split judge" in out
    names = {path.stem for path in (tmp_path / "out").glob("s-*.json")}
    rows = {row["slice_name"]: row for row in made[1].slices}
    assert len(names) == 6 and all(rows[name]["ordinal"] >= 5 for name in names)
    assert {made[1].splits[rows[name]["split_token"]] for name in names} == {"train"}
    for name in names:
        shapes = json.loads((tmp_path / "out" / f"{name}.json").read_bytes())["shapes"]
        assert shapes and all(each["flags"] == {"proposal": True} for each in shapes)
    assert read_back(tmp_path / "out", made, pseudonymiser) == {}


def test_proposals_can_be_asked_of_one_patient(run: Run, made: tuple[Path, Published], tmp_path: Path) -> None:
    splits = made[1].splits
    of_split = {splits[row["split_token"]]: row["patient"] for row in made[1].slices}
    status, out, _ = run(tmp_path / "a", "--format", "labelme", "--proposals", 9, "--patient", of_split["train"])
    assert status == 0 and "proposals of 3 slices" in out
    status, _, err = run(tmp_path / "b", "--format", "labelme", "--proposals", 9, "--patient", of_split["locked_test"])
    assert status == 1 and "nothing to propose" in err and not (tmp_path / "b").exists()


def test_a_segmenter_of_an_earlier_dataset_proposes_nothing(
    run: Run, made: tuple[Path, Published], tmp_path: Path
) -> None:
    about = published.require(made[1].clean, "organ_segmenter")
    published.publish(made[1].clean, "organ_segmenter", about | {"dataset_fingerprint": "earlier"})
    try:
        status, _, err = run(tmp_path / "out", "--format", "labelme", "--proposals", 6)
    finally:
        published.publish(made[1].clean, "organ_segmenter", about)
    assert status == 1 and "materialize organ_segmenter" in err


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ((), 2, "--format"),
        (("--format", "png"), 2, "png"),
        (("--format", "labelme", "--proposals", "0"), 2, "--proposals"),
        (("--format", "labelme", "--labelmap"), 1, "--labelmap is for --format dicom-seg"),
        (("--format", "labelme", "--proposals", "3", "--batch", "first"), 1, "leave out --batch"),
        (("--format", "labelme", "--batch", "third"), 1, "--batch"),
        (("--format", "labelme", "--annotator", "Ada Holloway"), 1, "--annotator"),
        (("--format", "labelme", "--patient", "MRN 0042"), 1, "--patient"),
        (("--format", "labelme", "--proposals", "3", "--series", "1.2.3"), 1, "--series"),
    ],
)
def test_a_mistake_gets_its_status_and_says_what_to_do(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], status: int, words: str
) -> None:
    code, out, err = run(tmp_path / "out", *arguments)
    assert code == status and words in err and "Traceback" not in out + err
    assert status == 2 or err.count("\n") == 1
    assert not (tmp_path / "out").exists() and "Holloway" not in err and "MRN" not in err


def test_a_folder_inside_a_zone_or_of_somebody_else_is_refused(run: Run, home: Path, tmp_path: Path) -> None:
    for inside in (home / "clean" / "out", home):
        status, _, err = run(inside, "--format", "labelme")
        assert status == 1 and "zone" in err
    (tmp_path / "theirs.txt").write_text("years of work")
    assert run(tmp_path, "--format", "labelme")[0] == 1
    assert run(tmp_path / "theirs.txt", "--format", "labelme")[0] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.txt"]


def test_a_series_that_cannot_be_written_has_a_line_and_a_status_of_its_own(
    run: Run, made: tuple[Path, Published], tmp_path: Path
) -> None:
    store = TableStore(made[1].clean)
    before = store.read(SLICES, "d-1")
    rows = before.to_pylist()
    odd = rows[0]["series_instance_uid"]
    for row in rows:
        if row["series_instance_uid"] == odd and row["ordinal"] == 7:
            row["position"][2] += 11
    store.publish(SLICES, "d-1", SLICES.to_arrow(rows))
    try:
        status, out, err = run(tmp_path / "out", "--format", "nifti")
    finally:
        store.publish(SLICES, "d-1", before)
    assert status == 4 and f"left out: series {odd}: the slices lie at uneven steps" in err
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 7 and "masks of 35 slices" in out


def test_without_any_mask_it_says_what_to_do_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setenv("MEDILLUS_HOME", str(tmp_path / "new"))
    for arguments, words in (((), "land an annotation batch"), (("--proposals", "3"), "organ_segmenter")):
        status, _, err = Run(capsys, monkeypatch)(tmp_path / "out", "--format", "labelme", *arguments)
        assert status == 1 and words in err and err.count("\n") == 1
