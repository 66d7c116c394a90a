"""Dataset, training and promotion killed: no second round of the split, MLflow run, version or promotion."""

import shutil
from pathlib import Path

import pytest

from medillus_pipeline import landings
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline.tables import PATIENT_SPLITS, PROMOTIONS
from medillus_pipeline_tests.faults.killing import Event, killed, run_tiny, unfinished, written
from medillus_pipeline_tests.flow import land_cohort
from medillus_pipeline_tests.site import Site

MODELS = ("judge", "organ_segmenter", "generator_checkpoint")
DATASET = ("training_dataset", "anatomical_prior")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a small cohort, published with its masks."""
    folder = tmp_path_factory.mktemp("ingested")
    site = Site(folder / "home")
    land_cohort(site.settings, folder / "cohort")
    for job, kind in (("ingest_delivery", "images"), ("ingest_annotations", "annotations")):
        site.register(kind)  # type: ignore[arg-type]
        for key in landings.known_keys(site.settings.vault, kind):  # type: ignore[arg-type]
            assert site.run(job, key).success
    return site.settings.home


@pytest.fixture(scope="module")
def packed(ingested: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with its dataset and prior."""
    site = Site(Path(shutil.copytree(ingested, tmp_path_factory.mktemp("packed") / "home")))
    assert run_tiny(site, "retrain", assets=DATASET).success
    return site.settings.home


@pytest.fixture(scope="module")
def trained(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with its models."""
    site = Site(Path(shutil.copytree(packed, tmp_path_factory.mktemp("trained") / "home")))
    assert run_tiny(site, "retrain", assets=MODELS).success
    return site.settings.home


def copied(home: Path, folder: Path) -> Site:
    return Site(Path(shutil.copytree(home, folder / "home")))


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(unfinished("datasets"), id="a part of the snapshot"),
        pytest.param(written("tables/patient_splits"), id="after the split"),
        pytest.param(unfinished("published"), id="the pointer"),
        pytest.param(written("published/training_dataset"), id="after the pointer"),
    ],
)
def test_a_killed_dataset_is_packed_again_with_the_split_it_had(
    ingested: Path, packed: Path, tmp_path: Path, event: Event
) -> None:
    site = copied(ingested, tmp_path)
    before, undisturbed = site.tables(), Site(packed).tables()
    killed(site.settings.home, "retrain", None, event, *DATASET)
    assert before.items() <= site.tables().items() <= undisturbed.items()
    assert run_tiny(site, "retrain", assets=DATASET).success
    assert site.tables() == undisturbed
    assert len(site.store.tables.keys(PATIENT_SPLITS)) == 1


def registered(site: Site) -> tuple[int, list[str], str | None]:
    """Number of MLflow runs, versions, and the challenger."""
    mlflow = MLflowResource.of(site.settings)
    experiment = mlflow.client().get_experiment_by_name(mlflow.experiment)
    assert experiment is not None
    runs = mlflow.client().search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    return len(runs), [str(version.version) for version in mlflow.versions()], mlflow.alias("challenger")


def weights(site: Site) -> dict[str, bytes]:
    """The payloads of the segmenters, and the generator as MLflow keeps it."""
    clean, mlflow = site.settings.clean, MLflowResource.of(site.settings)
    folder = mlflow.download("1", site.settings.home / "downloaded")
    kept = {path: clean.read(path) for path in clean.files("segmenters")}
    return kept | {"generator": (folder / "weights.safetensors").read_bytes()}


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(unfinished("segmenters"), id="weights of a segmenter"),
        pytest.param(written("published/judge"), id="after the judge"),
        pytest.param(Event("mlflow", "MlflowClient.create_run", "after"), id="after the MLflow run began"),
        pytest.param(Event("pathlib", "Path.replace", "before", "/training/", 2), id="a checkpoint"),
        pytest.param(Event("mlflow", "MlflowClient.create_model_version", "before"), id="the version"),
        pytest.param(Event("mlflow", "MlflowClient.create_model_version", "after"), id="after the version"),
        pytest.param(written("published/generator_checkpoint"), id="after the checkpoint's pointer"),
    ],
)
def test_a_killed_training_makes_no_second_run_or_version_and_the_same_weights(
    packed: Path, trained: Path, tmp_path: Path, event: Event
) -> None:
    site = copied(packed, tmp_path)
    before, undisturbed = site.tables(), Site(trained)
    killed(site.settings.home, "retrain", None, event, *MODELS)
    assert before.items() <= site.tables().items()
    assert run_tiny(site, "retrain", assets=MODELS).success
    assert registered(site) == registered(undisturbed) == (1, ["1"], "1")
    assert weights(site) == weights(undisturbed)
    kept, expected = site.tables(), undisturbed.tables()
    assert kept.keys() == expected.keys()
    differing = {path for path in kept if kept[path] != expected[path]}
    assert differing <= {"published/generator_checkpoint.json"}, "it names the MLflow run"


@pytest.fixture(scope="module")
def validated(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with its report; its MLflow artifacts lie where the models were trained."""
    site = copied(trained, tmp_path_factory.mktemp("validated"))
    assert run_tiny(site, "retrain", assets=("validation_report",)).success
    return site.settings.home


def promotions(site: Site) -> list[tuple[int, str, str]]:
    rows = site.store.tables.read_all(PROMOTIONS).to_pylist()
    return [(row["number"], row["version"], row["action"]) for row in rows]


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(unfinished("published"), id="the pointer"),
        pytest.param(written("published/promoted_generator"), id="after the pointer"),
        pytest.param(Event("mlflow", "MlflowClient.set_registered_model_alias", "before"), id="the alias"),
        pytest.param(unfinished("tables/illustrations"), id="the table of figures"),
    ],
)
def test_a_killed_promotion_is_completed_and_not_repeated(validated: Path, tmp_path: Path, event: Event) -> None:
    site = copied(validated, tmp_path)
    before = site.tables()
    killed(site.settings.home, "promote", None, event)
    assert before.items() <= site.tables().items()
    assert run_tiny(site, "promote").success
    assert promotions(site) == [(1, "1", "promote")]
    mlflow = MLflowResource.of(site.settings)
    assert (mlflow.alias("champion"), mlflow.alias("previous")) == ("1", None)
    assert [str(version.version) for version in mlflow.versions()] == ["1"]
