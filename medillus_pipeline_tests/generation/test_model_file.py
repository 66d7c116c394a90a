"""The model that is registered: it draws what was sampled here, to the last value, where this package is not."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pytest

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.generation import model_file
from medillus_pipeline.generation.compute import cpu_threads
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.generation.sampling import Generator
from medillus_pipeline.generation.served import ServedGenerator
from medillus_pipeline.generation.training import train_generator
from medillus_pipeline_tests.generation.published import Published
from medillus_pipeline_tests.generation.variants import TINY, of_two_modalities, shaken, told, with_neighbours

USE = """
import importlib.util, json, sys
sys.path = [folder for folder in sys.path if folder != sys.argv[5]]
if importlib.util.find_spec("medillus_pipeline") is not None:  # an editable install's finder knows it still
    sys.modules["medillus_pipeline"] = None  # importing it, or anything below it, fails
import mlflow
import numpy as np
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/medillus-generator@challenger")
given = np.load(sys.argv[2])
answer = {}
for name, (inputs, params) in json.loads(sys.argv[4]).items():
    levels = given["level"] if "level" in inputs else np.full(len(given["level"]), np.nan, np.float32)
    answer[name] = model.predict({"mask": given["mask"], "level": levels}, params=params)
forty = {"mask": np.resize(given["mask"], (40, 32, 32)), "level": np.resize(given["level"], 40)}
answer["forty"] = model.predict(forty, params={"seed": 11, "steps": 1})
np.savez(sys.argv[3], **answer)
for wrong in ({"mask": np.full((1, 32, 32), 254, np.uint8), "level": np.zeros(1, np.float32)},):
    try:
        model.predict(wrong)
    except ValueError as error:
        print(error)
"""
REQUESTS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "told": (["level"], {"seed": 11, "steps": 3}),
    "proposed": ([], {"seed": 11, "steps": 3}),
    "heun": (["level"], {"seed": 11, "steps": 3, "method": "heun"}),
    "guided": (["level"], {"seed": 11, "steps": 2, "attributes": "modality=CT; stage=late", "guidance": 2.5}),
    "partial": ([], {"seed": 11, "steps": 2, "partial": True}),
    "no_context": (["level"], {"seed": 11, "steps": 2, "context": "none"}),
    "default": (["level"], {}),
}
"""What a user may ask for: whether the level is given, and the parameters."""


def sampled(generator: Generator, labels: np.ndarray, levels: np.ndarray, name: str) -> np.ndarray:
    """The same as REQUESTS[name], drawn by this package's own sampler."""
    inputs, params = REQUESTS[name]
    params = dict(params)
    said = [part.strip() for part in params.pop("attributes", "").split(";") if part.strip()]
    drawn = None
    if params.pop("partial", False):
        drawn = np.stack([(labels == c + 1).any((1, 2)) for c in range(len(generator.classes))], 1)
    return generator.sample(
        labels,
        levels if "level" in inputs else None,
        seed=params.pop("seed", 0),
        drawn=drawn,
        said=[said] * len(labels) if said else None,
        **params,
    )


@pytest.fixture(scope="module", params=["flow", "gan"])
def generator(request: pytest.FixtureRequest, dataset: Dataset, prior: Prior) -> Generator:
    config = TINY[request.param].model_copy(update={"steps": 2})
    made = train_generator(told(dataset), prior, config, seed=3)
    return replace(made, network=shaken(made.network))


@pytest.fixture
def packaged(generator: Generator, dataset: Dataset, tmp_path: Path) -> dict[str, str]:
    return packed(generator, dataset, tmp_path / "model")


def packed(generator: Generator, dataset: Dataset, folder: Path) -> dict[str, str]:
    words = vocabulary.load().version
    return model_file.package(generator, generator.prior, dataset.classes, words, dataset.manifest, folder)


def served(artifacts: dict[str, str]) -> ServedGenerator:
    result = ServedGenerator()
    result.load_context(SimpleNamespace(artifacts=artifacts))
    return result


@pytest.fixture
def given(dataset: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks of vocabulary ids, the same as class indices, and levels, of three validation slices."""
    held_out = dataset.split("validation")
    labels, levels = np.asarray(held_out.labels[2:5]), held_out.levels[2:5]
    return np.array([0, *dataset.classes], np.uint8)[labels], labels, levels


@pytest.fixture
def tracking(tmp_path: Path) -> Iterator[str]:
    before = mlflow.get_tracking_uri()
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    mlflow.create_experiment("generator", artifact_location=(tmp_path / "artifacts").as_uri())
    mlflow.set_experiment("generator")
    yield uri
    mlflow.set_tracking_uri(before)


@pytest.mark.parametrize("name", REQUESTS)
def test_served_images_are_the_sampled_ones_to_the_last_value(
    generator: Generator, packaged: dict[str, str], given: tuple[np.ndarray, ...], name: str
):
    masks, labels, levels = given
    inputs, params = REQUESTS[name]
    asked = levels if "level" in inputs else np.full(len(levels), np.nan, np.float32)
    with cpu_threads(1):
        answer = served(packaged).predict(None, {"mask": masks, "level": asked}, params)
    assert answer.dtype == np.int16 and answer.std() > 0
    np.testing.assert_array_equal(answer, sampled(generator, labels, levels, name))


def test_each_parameter_changes_what_is_served_where_the_family_has_it(
    generator: Generator, packaged: dict[str, str], given: tuple[np.ndarray, ...]
):
    model, plain = served(packaged), {"seed": 11, "steps": 2, "attributes": "stage=late"}

    def images(**changed: Any) -> bytes:
        return model.predict(None, {"mask": given[0], "level": given[2]}, {**plain, **changed}).tobytes()

    of_a_flow = {"steps": 3, "method": "heun", "guidance": 2.0}
    for name, value in {
        "seed": 12,
        "attributes": "stage=early",
        "partial": True,
        "context": "none",
        **of_a_flow,
    }.items():
        assert (images(**{name: value}) != images()) is (generator.family == "flow" or name not in of_a_flow), name


def test_a_registered_model_works_without_this_package_and_without_pickle(
    generator: Generator,
    packaged: dict[str, str],
    given: tuple[np.ndarray, ...],
    tracking: str,
    tmp_path: Path,
):
    with mlflow.start_run():
        info = model_file.log_generator(
            packaged, model_file.write_model_file(tmp_path / "model"), registered_model_name="medillus-generator"
        )
    version = str(info.registered_model_version)
    mlflow.MlflowClient().set_registered_model_alias("medillus-generator", "challenger", version)
    files = [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in (".pkl", ".pickle", ".pt", ".pth")]

    masks, labels, levels = given
    np.savez(tmp_path / "given.npz", mask=masks, level=levels)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    package = str(Path(model_file.__file__).parents[2])
    finished = subprocess.run(
        [sys.executable, "-c", USE, tracking, str(tmp_path / "given.npz"), str(tmp_path / "answer.npz"),
         json.dumps(REQUESTS), package],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env=environment | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    assert "no class for the vocabulary ids [254]" in finished.stdout
    answer = np.load(tmp_path / "answer.npz")
    for name in REQUESTS:
        np.testing.assert_array_equal(answer[name], sampled(generator, labels, levels, name), err_msg=name)
    forty = generator.sample(np.resize(labels, (40, 32, 32)), np.resize(levels, 40), seed=11, steps=1)
    np.testing.assert_array_equal(answer["forty"], forty)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"attributes": "stage=IV"}, "does not know stage=IV; it knows modality=CT, body_part=CHESTABDOMEN, pathology"),
        ({"steps": 0}, "steps are 1 to 1000, not 0"),
        ({"context": "drawn"}, "the context is proposed or none, not 'drawn'"),
    ],
)
def test_a_request_out_of_range_is_refused(
    packaged: dict[str, str], given: tuple[np.ndarray, ...], changed: dict[str, Any], said: str
):
    with pytest.raises(ValueError, match=said):
        served(packaged).predict(None, {"mask": given[0], "level": given[2]}, changed)


def test_masks_and_levels_belong_together_and_have_the_models_size(
    packaged: dict[str, str], given: tuple[np.ndarray, ...]
):
    with pytest.raises(ValueError, match="3 masks and 2 levels"):
        served(packaged).predict(None, {"mask": given[0], "level": given[2][:2]})
    with pytest.raises(ValueError, match=r"masks are \(n, 32, 32\)"):
        served(packaged).predict(None, {"mask": given[0][:, :16], "level": given[2]})


@pytest.mark.parametrize("family", ["flow", "gan"])
def test_of_three_channels_the_middle_is_served(
    published: Published, prior: Prior, given: tuple[np.ndarray, ...], family: str, tmp_path: Path
):
    three = with_neighbours(published)
    made = train_generator(three, prior, TINY[family].model_copy(update={"steps": 2}), seed=3)
    with cpu_threads(1):
        answer = served(packed(made, three, tmp_path)).predict(
            None, {"mask": given[0], "level": given[2]}, {"seed": 1, "steps": 2}
        )
    np.testing.assert_array_equal(answer, made.sample(given[1], given[2], seed=1, steps=2, every_channel=True)[:, 1])


def test_a_model_of_several_modalities_says_none_unless_asked(
    dataset: Dataset, prior: Prior, given: tuple[np.ndarray, ...], tmp_path: Path
):
    both = of_two_modalities(dataset)
    made = train_generator(both, prior, TINY["flow"].model_copy(update={"steps": 2}), seed=3)
    made = replace(made, network=shaken(made.network))
    model = served(packed(made, both, tmp_path))
    answers = [
        model.predict(None, {"mask": given[0], "level": given[2]}, {"steps": 1, "attributes": said})
        for said in ("", "modality=CT", "modality=MR")
    ]
    assert len({answer.tobytes() for answer in answers}) == 3
    np.testing.assert_array_equal(answers[0], made.sample(given[1], given[2], seed=0, steps=1, said=[[]] * 3))


def test_everything_that_gives_the_model_meaning_is_beside_it(
    generator: Generator, packaged: dict[str, str], dataset: Dataset
):
    config = json.loads(Path(packaged["config"]).read_text())
    assert config["classes"] == list(dataset.classes)
    assert config["family"] == generator.family and config["attributes"] == list(generator.attributes)
    assert config["modalities"] == ["CT"] and config["images"] == 1
    assert config["dataset_fingerprint"] == generator.dataset_fingerprint
    assert config["split_hash"] == dataset.manifest["split_hash"]
    assert config["vocabulary_version"] == vocabulary.load().version
    assert json.loads(Path(packaged["manifest"]).read_text()) == dataset.manifest


def test_the_package_loads_what_it_packaged(generator: Generator, packaged: dict[str, str]):
    again = model_file.load(Path(packaged["weights"]).parent)
    assert again.to_bytes() == generator.to_bytes()


def test_the_model_file_names_nothing_of_this_package():
    assert "medillus_pipeline" not in model_file.model_source()


def test_no_name_of_the_model_file_is_taken_twice():
    """Its parts are one text: a second definition of a name would replace the first in all of it."""
    defined: dict[str, str] = {}
    for name in model_file.PARTS:
        for node in ast.parse((Path(model_file.__file__).parent / name).read_text()).body:
            names = [node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
            if isinstance(node, ast.Assign):
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            for own in names:
                assert own not in defined, f"{own} of {defined[own]} and {name}"
                defined[own] = name
    assert {"FlowUNet", "AnatomicalGenerator", "ShapeModel", "ServedGenerator", "TISSUES"} <= set(defined)


def test_parts_that_do_not_belong_together_are_not_packaged(generator: Generator, dataset: Dataset, tmp_path: Path):
    with pytest.raises(ValueError, match="trained together"):
        model_file.package(generator, generator.prior, dataset.classes[1:], "v", dataset.manifest, tmp_path / "model")
