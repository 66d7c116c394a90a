"""`medillus sample`: images of a mask by a registered model, the record, what is refused, what a rerun does."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from medillus_pipeline import cli
from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.dicom.png import decode_png, encode_png
from medillus_pipeline.generation import model_card, model_file
from medillus_pipeline.generation.config import preset
from medillus_pipeline.generation.dataset import Dataset, build_snapshot, load_snapshot
from medillus_pipeline.generation.pictures import grey
from medillus_pipeline.generation.prior import build_prior
from medillus_pipeline.generation.sampling import Generator
from medillus_pipeline.generation.training import train_generator
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline.settings import Settings
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.flow import settings_at
from medillus_pipeline_tests.generation.published import publish_phantoms

WORDS = vocabulary.load()
SIZE = 32


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    rows = publish_phantoms(Zone(f"file://{tmp_path_factory.mktemp('clean')}"), 8)
    snapshot = build_snapshot(
        rows.slices, rows.masks, rows.instances, rows.splits, rows.clean, WORDS, preset("tiny").dataset, partitions={}
    )
    return load_snapshot(rows.clean, snapshot.path)


@pytest.fixture(scope="module")
def generator(dataset: Dataset) -> Generator:
    config = preset("tiny").generator.model_copy(update={"threads": 1, "steps": 4})
    return train_generator(dataset, build_prior(dataset, preset("tiny").prior), config, seed=3)


@pytest.fixture(scope="module")
def registry(dataset: Dataset, generator: Generator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose registry holds version 1, the challenger; nobody is champion."""
    home = tmp_path_factory.mktemp("registry")
    mlflow = MLflowResource.of(settings_at(home))
    run = mlflow.training_run("key", "generator", {})
    artifacts = model_file.package(
        generator,
        generator.prior,
        dataset.classes,
        WORDS.version,
        dataset.manifest,
        home / "package",
        card=lambda of: model_card.model_card(of, dataset.manifest, WORDS, prior_sha256="p"),
    )
    code = model_file.write_model_file(home / "package")
    version = mlflow.register(run.run_id, lambda: model_file.log_generator(artifacts, code), {})
    mlflow.challenge(version)
    return home


@pytest.fixture
def home(registry: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("CLEAN_URL", "VAULT_URL", "LANDING_URL"):
        monkeypatch.delenv(f"MEDILLUS_{name}", raising=False)
    monkeypatch.setenv("MEDILLUS_HOME", str(registry))
    monkeypatch.setenv("MEDILLUS_THREADS", "1")
    yield registry


@pytest.fixture
def mask(dataset: Dataset, tmp_path: Path) -> Path:
    ids = np.array([0, *dataset.classes], np.uint8)[np.asarray(dataset.split("validation").labels[3])]
    path = tmp_path / "in" / "mask.png"
    path.parent.mkdir()
    path.write_bytes(encode_png(ids, WORDS.palette()))
    return path


CHALLENGER = ("--model", "models:/medillus-generator@challenger")


def run(*arguments: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", ["medillus", "sample", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_images_values_and_record_of_a_mask(
    home: Path, mask: Path, generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "out"
    asked = ("--mask", mask, "--out", out, "--modality", "CT", "--n", 3, "--seed", 1, "--steps", 2, "--level", 0.5)
    assert run(*asked, *CHALLENGER, monkeypatch=monkeypatch) == 0
    record = json.loads((out / "sample.json").read_bytes())
    ids = decode_png(mask.read_bytes())
    classes = np.zeros(256, np.int64)
    classes[list(generator.classes)] = np.arange(1, len(generator.classes) + 1)
    levels = np.full(3, 0.5, np.float32)
    expected = generator.sample(np.repeat(classes[ids][None], 3, 0), levels, seed=1, steps=2)
    for number, image in enumerate(expected, start=1):
        volume = nibabel.Nifti1Image.from_filename(str(out / f"sample-{number:03d}.nii.gz"))
        values = np.asarray(volume.dataobj)[..., 0].T
        assert np.abs(values.astype(int) - image).max() <= 1
        assert volume.header.get_zooms()[:2] == pytest.approx((420 / SIZE, 420 / SIZE))
        np.testing.assert_array_equal(
            decode_png((out / f"sample-{number:03d}.png").read_bytes()), grey(values, "CT")[..., 0]
        )
    np.testing.assert_array_equal(decode_png((out / "mask.png").read_bytes()), ids)
    assert record["notice"] == "AI-generated images, not for diagnosis"
    assert record["model"] == {
        "name": "medillus-generator", "version": "1", "weights_sha256": hashlib.sha256(generator.to_bytes()).hexdigest()
    }  # fmt: skip
    assert record["dataset_fingerprint"] == generator.dataset_fingerprint
    assert record["mask_sha256"] == hashlib.sha256(mask.read_bytes()).hexdigest()
    assert (record["request"]["seed"], record["request"]["steps"], record["request"]["level"]) == (1, 2, 0.5)
    for name, digest in record["files"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert {".medillus.json", "sample.json", *record["files"]} == set(files(out))
    told = capsys.readouterr().out
    assert "mask of 32 × 32 pixels of 13.12 mm (assumed" in told and "not for diagnosis" in told
    assert str(tmp_path).encode() not in (out / "sample.json").read_bytes()


def test_the_same_request_gives_the_same_bytes_and_another_leaves_nothing_behind(
    home: Path, mask: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for out in (first, first, second):
        assert run("--mask", mask, "--out", out, "--n", 2, "--steps", 1, *CHALLENGER, monkeypatch=monkeypatch) == 0
    assert files(first) == files(second)
    again = ("--mask", mask, "--out", first, "--seed", 5, "--steps", 1, "--method", "heun", *CHALLENGER)
    assert run(*again, monkeypatch=monkeypatch) == 0
    assert sorted(files(first)) == [".medillus.json", "mask.png", "sample-001.nii.gz", "sample-001.png", "sample.json"]
    assert files(first)["sample-001.png"] != files(second)["sample-001.png"]


def test_the_champion_is_taken_unless_another_is_named(
    home: Path, mask: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--mask", mask, "--out", tmp_path / "out", "--steps", 1)
    assert run(*asked, monkeypatch=monkeypatch) == 1
    assert "no version of medillus-generator has the alias champion: promote one" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    client = MLflowResource.of(settings_at(home)).client()
    client.set_registered_model_alias("medillus-generator", "champion", "1")
    try:
        assert run(*asked, monkeypatch=monkeypatch) == 0
    finally:
        client.delete_registered_model_alias("medillus-generator", "champion")


def picture(values: np.ndarray, palette: bytes | None = None) -> bytes:
    return encode_png(np.ascontiguousarray(values), palette)


SQUARE = np.pad(np.full((16, 16), 5, np.uint8), 8)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x89PNG\r\n\x1a\n", "no readable PNG"),
        (b"", "no readable PNG"),
        (picture(np.zeros((32, 32, 3), np.uint8)), "colour or 16-bit"),
        (picture(np.full((32, 32), 5, np.uint16)), "colour or 16-bit"),
        (picture(np.full((4, 32), 5, np.uint8)), "32 × 4 pixels: sides are 8 to 4096"),
        (picture(np.full((8, 4097), 5, np.uint8)), "4097 × 8 pixels"),
        (picture(np.zeros((32, 32), np.uint8)), "background alone"),
        (picture(np.full((32, 32), 255, np.uint8)), "no class for the mask's values 255 ("),
        (picture(np.where(SQUARE, 90, 0).astype(np.uint8)), "no class for the mask's values 90 (brain)"),
    ],
)
def test_a_mask_that_cannot_be_used_is_one_line(
    data: bytes, said: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = tmp_path / "mask.png"
    path.write_bytes(data)
    assert run("--mask", path, "--out", tmp_path / "out", *CHALLENGER, monkeypatch=monkeypatch) == 1
    told = capsys.readouterr().err.strip()
    assert told.startswith("error:") and said in told and "\n" not in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("misuse", "said"),
    [
        ("no mask", "no mask at that path"),
        ("not ours", "not empty, and this command did not make it"),
        ("a file", "a file stands there"),
        ("its own mask", "the mask lies in the folder of the result"),
        ("modality", "the model draws CT, not MR"),
        ("no version", "no version 7 of medillus-generator"),
        ("no model", "no version of nobody has the alias champion"),
        ("no reference", "a model is named models:/NAME@ALIAS"),
        ("coarse", "no structure of the mask is left in the model's frame"),
    ],
)
def test_misuse_is_one_line_and_changes_nothing(
    misuse: str, said: str, home: Path, mask: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out, extra = tmp_path / "out", CHALLENGER
    match misuse:
        case "no mask":
            mask = tmp_path / "nothing.png"
        case "not ours":
            out.mkdir()
            (out / "sample-001.png").write_text("keep me")
        case "a file":
            out.write_text("keep me")
        case "its own mask":
            out.mkdir()
            (out / ".medillus.json").write_text('{"made_by": "medillus sample"}')
            mask = Path(shutil.copy(mask, out / "mask.png"))
        case "modality":
            extra = (*CHALLENGER, "--modality", "MR")
        case "no version":
            extra = ("--model", "models:/medillus-generator/7")
        case "no model":
            extra = ("--model", "models:/nobody@champion")
        case "no reference":
            extra = ("--model", "mine")
        case "coarse":
            extra = (*CHALLENGER, "--pixel-size", "0.01")
    before = files(tmp_path)
    assert run("--mask", mask, "--out", out, "--steps", 1, *extra, monkeypatch=monkeypatch) == 1
    told = capsys.readouterr().err.strip()
    assert told.startswith("error:") and said in told and "\n" not in told
    assert files(tmp_path) == before


def test_a_version_whose_files_are_gone_is_named(
    home: Path, mask: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings.from_environment()
    client = MLflowResource.of(settings).client()
    version = client.create_model_version("medillus-generator", (tmp_path / "gone").as_uri()).version
    asked = ("--mask", mask, "--out", tmp_path / "out", "--model", f"models:/medillus-generator/{version}")
    assert run(*asked, monkeypatch=monkeypatch) == 1
    assert f"the files of version {version} of medillus-generator cannot be read" in capsys.readouterr().err
