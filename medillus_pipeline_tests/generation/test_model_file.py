import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.generation import model_file
from medillus_pipeline.generation.config import preset
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.generation.sampling import Generator
from medillus_pipeline.generation.training import train_generator

USE = """
import sys
sys.modules["medillus_pipeline"] = None  # importing it, or anything below it, fails
import mlflow
import numpy as np
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/medillus-generator@challenger")
given = np.load(sys.argv[2])
answer = {}
for name, level in (("told", given["level"]), ("proposed", np.full(len(given["level"]), np.nan, np.float32))):
    for count in (1, 3):
        request = {"mask": given["mask"][:count], "level": level[:count]}
        answer[f"{name}_{count}"] = model.predict(request, params={"seed": 11, "steps": 3})
given_masks, levels = given["mask"], given["level"]
heun = {"seed": 11, "steps": 3, "method": "heun"}
answer["heun"] = model.predict({"mask": given_masks, "level": levels}, params=heun)
answer["forty"] = model.predict({"mask": np.resize(given_masks, (40, 32, 32)), "level": np.resize(levels, 40)},
                                params={"seed": 11, "steps": 1})
answer["default"] = model.predict({"mask": given["mask"][:1], "level": given["level"][:1]})
np.savez(sys.argv[3], **answer)
try:
    model.predict({"mask": np.full((1, 32, 32), 254, np.uint8), "level": np.zeros(1, np.float32)})
except ValueError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def generator(dataset: Dataset, prior: Prior) -> Generator:
    return train_generator(dataset, prior, preset("tiny").generator.model_copy(update={"threads": 1}), seed=3)


@pytest.fixture
def packaged(generator: Generator, dataset: Dataset, tmp_path: Path) -> dict[str, str]:
    return model_file.package(
        generator, generator.prior, dataset.classes, vocabulary.load().version, dataset.manifest,
        tmp_path / "model",
    )  # fmt: skip


@pytest.fixture
def tracking(tmp_path: Path):
    before = mlflow.get_tracking_uri()
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    mlflow.create_experiment("generator", artifact_location=(tmp_path / "artifacts").as_uri())
    mlflow.set_experiment("generator")
    yield uri
    mlflow.set_tracking_uri(before)


def test_a_registered_model_works_without_this_package_and_without_pickle(
    generator: Generator, dataset: Dataset, packaged: dict[str, str], tracking: str, tmp_path: Path
):
    with mlflow.start_run():
        info = model_file.log_generator(
            packaged, model_file.write_model_file(tmp_path / "model"), registered_model_name="medillus-generator"
        )
    mlflow.MlflowClient().set_registered_model_alias("medillus-generator", "challenger", info.registered_model_version)
    files = [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in (".pkl", ".pickle", ".pt", ".pth")]

    held_out = dataset.split("validation")
    labels, levels = np.asarray(held_out.labels[:3]), held_out.levels[:3]
    masks = np.array([0, *dataset.classes], np.uint8)[labels]
    np.savez(tmp_path / "given.npz", mask=masks, level=levels)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    finished = subprocess.run(
        [sys.executable, "-c", USE, tracking, str(tmp_path / "given.npz"), str(tmp_path / "answer.npz")],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env=environment | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    assert "no class for the vocabulary ids [254]" in finished.stdout
    answer = np.load(tmp_path / "answer.npz")

    here = generator.sample(labels, levels, seed=11, steps=3).astype(int)
    proposed = generator.sample(labels, seed=11, steps=3).astype(int)
    assert answer["told_3"].dtype == np.int16
    assert np.abs(answer["told_3"] - here).max() <= 1
    assert np.abs(answer["told_1"] - here[:1]).max() <= 1
    assert np.abs(answer["proposed_3"] - proposed).max() <= 1
    heun = generator.sample(labels, levels, seed=11, steps=3, method="heun").astype(int)
    assert np.abs(answer["heun"] - heun).max() <= 1 and np.abs(heun - here).max() > 1
    forty = generator.sample(np.resize(labels, (40, 32, 32)), np.resize(levels, 40), seed=11, steps=1)
    assert np.abs(answer["forty"] - forty.astype(int)).max() <= 1
    assert np.abs(answer["default"] - generator.sample(labels[:1], levels[:1], seed=0).astype(int)).max() <= 1


def test_everything_that_gives_the_model_meaning_is_beside_it(packaged: dict[str, str], dataset: Dataset):
    config = json.loads(Path(packaged["config"]).read_text())
    assert config["classes"] == list(dataset.classes)
    assert config["dataset_fingerprint"] == dataset.fingerprint
    assert config["split_hash"] == dataset.manifest["split_hash"]
    assert config["vocabulary_version"] == vocabulary.load().version
    assert json.loads(Path(packaged["manifest"]).read_text()) == dataset.manifest


def test_the_package_loads_what_it_packaged(generator: Generator, packaged: dict[str, str]):
    again = model_file.load(Path(packaged["weights"]).parent)
    assert again.to_bytes() == generator.to_bytes()


def test_the_model_file_names_nothing_of_this_package():
    assert "medillus_pipeline" not in model_file.model_source()


def test_parts_that_do_not_belong_together_are_not_packaged(generator: Generator, dataset: Dataset, tmp_path: Path):
    with pytest.raises(ValueError, match="trained together"):
        model_file.package(generator, generator.prior, dataset.classes[1:], "v", dataset.manifest, tmp_path / "model")
