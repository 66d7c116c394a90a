"""`medillus sample`: images of a mask by a registered model, the record, what is refused, what a rerun does."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
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
from medillus_pipeline_tests.generation.variants import TINY, of_two_modalities, shaken, told

WORDS = vocabulary.load()
SIZE = 32


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    rows = publish_phantoms(Zone(f"file://{tmp_path_factory.mktemp('clean')}"), 8)
    snapshot = build_snapshot(
        rows.slices, rows.masks, rows.instances, rows.splits, rows.clean, WORDS, preset("tiny").dataset, partitions={}
    )
    return load_snapshot(rows.clean, snapshot.path)


def moved(dataset: Dataset, family: str) -> Generator:
    """A generator whose weights are all in motion, so that everything it is told changes its images."""
    config = TINY[family].model_copy(update={"steps": 2})
    made = train_generator(dataset, build_prior(dataset, preset("tiny").prior), config, seed=3)
    return replace(made, network=shaken(made.network))


@pytest.fixture(scope="module")
def generator(dataset: Dataset) -> Generator:
    return moved(told(dataset), "flow")


@pytest.fixture(scope="module")
def registry(dataset: Dataset, generator: Generator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose registry holds version 1, the challenger, which knows pathologies and stages; version 2, a gan of
    two modalities; and version 3, whose configuration an earlier release wrote. Nobody is champion.
    """
    home = tmp_path_factory.mktemp("registry")
    mlflow = MLflowResource.of(settings_at(home))
    both = of_two_modalities(dataset)
    for number, (data, made) in enumerate([(dataset, generator), (both, moved(both, "gan")), (dataset, generator)], 1):
        run = mlflow.training_run(f"key-{number}", "generator", {})
        package = home / f"package-{number}"
        artifacts = model_file.package(
            made,
            made.prior,
            data.classes,
            WORDS.version,
            data.manifest,
            package,
            card=lambda of, data=data: model_card.model_card(of, data.manifest, WORDS, prior_sha256="p"),
        )
        if number == 3:
            config = json.loads(Path(artifacts["config"]).read_text())
            Path(artifacts["config"]).write_text(json.dumps(config | {"format": 1}))
        code = model_file.write_model_file(package)
        register = partial(model_file.log_generator, artifacts, code)
        assert mlflow.register(run.run_id, register, {}) == str(number)
    mlflow.challenge("1")
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


GAN = ("--model", "models:/medillus-generator/2")
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
        np.testing.assert_array_equal(values, image)
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


@pytest.mark.parametrize(
    ("extra", "attributes"),
    [
        ((), ["modality=CT"]),
        (("--stage", "Late"), ["modality=CT", "stage=late"]),
        (
            ("--pathology", "pleural_effusion", "--pathology", "liver_lesion", "--body-part", "chestabdomen"),
            ["modality=CT", "body_part=CHESTABDOMEN", "pathology=liver_lesion", "pathology=pleural_effusion"],
        ),
    ],
)
def test_the_model_is_told_what_is_asked_for(
    extra: tuple[str, ...], attributes: list[str], home: Path, mask: Path, generator: Generator, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "out"
    asked = ("--mask", mask, "--out", out, "--seed", 1, "--steps", 2, "--level", 0.5, "--guidance", 2, *extra)
    assert run(*asked, *CHALLENGER, monkeypatch=monkeypatch) == 0
    record = json.loads((out / "sample.json").read_bytes())
    assert record["attributes"] == attributes and record["request"]["guidance"] == 2
    assert f"the model was told {', '.join(attributes)}" in capsys.readouterr().out
    levels = np.array([0.5], np.float32)
    expected = generator.sample(indices(mask, generator), levels, seed=1, steps=2, said=[attributes], guidance=2)
    np.testing.assert_array_equal(values_of(out), expected[0])


@pytest.mark.parametrize(("extra", "partial", "context"), [(("--partial",), True, "proposed"), ((), False, "none")])
def test_partial_masks_and_contexts_are_asked_for_and_recorded(
    extra: tuple[str, ...], partial: bool, context: str, home: Path, mask: Path, generator: Generator,
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = tmp_path / "out"
    asked = ("--mask", mask, "--out", out, "--steps", 2, "--context", context, *extra, *CHALLENGER)
    assert run(*asked, monkeypatch=monkeypatch) == 0
    record = json.loads((out / "sample.json").read_bytes())
    assert (record["request"]["partial"], record["request"]["context"]) == (partial, context)
    every = [WORDS.by_id(label).key for label in dataset.classes]
    assert record["mask_complete_for"] == ([key for key in every if key in record["structures"]] if partial else every)
    label = indices(mask, generator)
    drawn = np.isin(np.arange(1, len(every) + 1), label)[None] | (not partial)
    expected = generator.sample(
        label, seed=0, steps=2, drawn=drawn, context="none" if context == "none" else "proposed"
    )
    np.testing.assert_array_equal(values_of(out), expected[0])
    assert not drawn.all() or not partial


@pytest.mark.parametrize(("modality", "unit"), [("CT", "HU"), ("mr", "series-normalised, -1000 to 1000")])
def test_a_gan_draws_the_modality_asked_for_in_its_unit(
    modality: str, unit: str, home: Path, mask: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert run("--mask", mask, "--out", out, "--modality", modality, *GAN, monkeypatch=monkeypatch) == 0
    record = json.loads((out / "sample.json").read_bytes())
    assert (record["family"], record["modality"], record["unit"]) == ("gan", modality.upper(), unit)
    assert record["attributes"] == [f"modality={modality.upper()}"]
    assert [record["request"][name] for name in ("steps", "method", "guidance")] == [None, None, None]
    shown = decode_png((out / "sample-001.png").read_bytes())
    np.testing.assert_array_equal(shown, grey(values_of(out), modality.upper())[..., 0])


def indices(mask: Path, generator: Generator) -> np.ndarray:
    """(1, h, w) class indices of a mask file of the model's size."""
    place = np.zeros(256, np.int64)
    place[list(generator.classes)] = np.arange(1, len(generator.classes) + 1)
    return place[decode_png(mask.read_bytes())][None]


def values_of(out: Path) -> np.ndarray:
    """(h, w) of the first NIfTI of a result."""
    return np.asarray(nibabel.Nifti1Image.from_filename(str(out / "sample-001.nii.gz")).dataobj)[..., 0].T


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
    ids=["cut", "nothing", "colour", "16-bit", "flat", "wide", "background", "no-class", "brain"],
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
        ("several modalities", "the model draws CT and MR: say which with --modality"),
        ("pathology", "the model does not know --pathology gout; it knows liver_lesion, pleural_effusion"),
        ("stage", "the model does not know --stage IV; it knows early, late"),
        ("body part", "the model does not know --body-part HEAD; it knows CHESTABDOMEN"),
        ("phase", "the model was told of no contrast phase in training: leave --phase"),
        ("steps of a gan", "the model is a gan, which draws in one pass: leave --steps, --method, --guidance"),
        ("format", "version 3 of medillus-generator has format 1, and this release reads 2: train the generator again"),
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
        case "several modalities":
            extra = GAN
        case "pathology":
            extra = (*CHALLENGER, "--pathology", "liver_lesion", "--pathology", "gout")
        case "stage":
            extra = (*CHALLENGER, "--stage", "IV")
        case "body part":
            extra = (*CHALLENGER, "--body-part", "HEAD")
        case "phase":
            extra = (*CHALLENGER, "--phase", "portal_venous")
        case "steps of a gan":
            extra = (*GAN, "--modality", "CT", "--method", "heun", "--guidance", "2")
        case "format":
            extra = ("--model", "models:/medillus-generator/3")
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
