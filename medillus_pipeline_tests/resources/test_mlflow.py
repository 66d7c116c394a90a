"""MLflow as training and promotion use it, on a real SQLite registry: one run and one version however often tried."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from medillus_pipeline import published
from medillus_pipeline.errors import ConfigurationError
from medillus_pipeline.resources.mlflow import KEY_TAG, MLflowResource, MlflowUnavailable
from medillus_pipeline.settings import Settings
from medillus_pipeline.validation import gates
from medillus_pipeline_tests.flow import settings_at
from medillus_pipeline_tests.site import Site, failure

GENERATOR = dg.AssetKey("generator_checkpoint")
PROMOTED = dg.AssetKey("promoted_generator")
BRIEF = {"ops": {"generator_checkpoint": {"config": {"preset": "tiny", "steps": 10}}}}


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow each other at once."""
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda *_: 0)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database: making one takes seconds, so tests copy it."""
    home = tmp_path_factory.mktemp("database")
    MLflowResource.of(settings_at(home)).client()
    return home / "mlflow" / "mlflow.db"


def with_database(home: Path, database: Path) -> Settings:
    (home / "mlflow").mkdir(parents=True)
    shutil.copy(database, home / "mlflow" / "mlflow.db")
    return settings_at(home)


@pytest.fixture
def mlflow(tmp_path: Path, database: Path) -> MLflowResource:
    return MLflowResource.of(with_database(tmp_path, database))


def versions(mlflow: MLflowResource, count: int) -> None:
    """Registered versions 1 to count, whose artifacts nobody asks for."""
    client = mlflow.client()
    client.create_registered_model(mlflow.model)
    for _ in range(count):
        client.create_model_version(mlflow.model, "file:///nowhere")


def alias(mlflow: MLflowResource, name: str) -> str | None:
    found = mlflow.version_of_alias(name)
    return None if found is None else str(found.version)


def test_the_same_training_is_the_same_run(mlflow: MLflowResource) -> None:
    first = mlflow.training_run("key-1", "generator", {"try": "1"})
    mlflow.finish(first.run_id, "FAILED")
    assert mlflow.client().get_run(first.run_id).info.status == "FAILED"
    again = mlflow.training_run("key-1", "generator", {"try": "2"})
    assert again == first
    assert mlflow.client().get_run(first.run_id).info.status == "RUNNING"
    other = mlflow.training_run("key-2", "generator", {})
    assert other.run_id != first.run_id
    assert len(mlflow.client().search_runs([first.experiment_id])) == 2


def test_a_deleted_experiment_is_named_with_what_to_do(mlflow: MLflowResource) -> None:
    run = mlflow.training_run("key-1", "generator", {})
    mlflow.client().delete_experiment(run.experiment_id)
    with pytest.raises(Exception, match="restore it, then run again"):
        mlflow.training_run("key-1", "generator", {})


def test_promotion_keeps_the_former_champion(mlflow: MLflowResource) -> None:
    versions(mlflow, 3)
    assert mlflow.promote("1", {"why": "first"}) is None
    assert (alias(mlflow, "champion"), alias(mlflow, "previous")) == ("1", None)
    assert mlflow.promote("3", {"why": "better"}) == "1"
    assert (alias(mlflow, "champion"), alias(mlflow, "previous")) == ("3", "1")
    assert mlflow.promote("3", {"why": "again"}) == "3"
    assert (alias(mlflow, "champion"), alias(mlflow, "previous")) == ("3", "1")
    assert mlflow.client().get_model_version(mlflow.model, "3").tags["why"] == "again"


def test_there_is_no_champion_before_the_first_promotion(mlflow: MLflowResource) -> None:
    assert mlflow.version_of_alias("champion") is None


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "sqlite:///{blocked}/mlflow.db", "sqlite:///{folder}"])
def test_mlflow_out_of_reach_is_said_within_a_minute(tmp_path: Path, uri: str) -> None:
    (tmp_path / "blocked").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    given = uri.format(blocked=tmp_path / "blocked", folder=tmp_path / "folder")
    resource = MLflowResource(tracking_uri=given, artifacts=tmp_path.as_uri(), ui_url="http://127.0.0.1:5000")
    began = time.monotonic()
    with pytest.raises(MlflowUnavailable, match="check MEDILLUS_MLFLOW_TRACKING_URI and that the server or database"):
        resource.client()
    assert time.monotonic() - began < 60


def test_a_password_in_the_address_is_not_repeated() -> None:
    uri = "postgresql+psycopg2://medillus:geheim@127.0.0.1:9/mlflow"
    with pytest.raises(MlflowUnavailable) as caught:
        MLflowResource(tracking_uri=uri, artifacts="file:///tmp", ui_url="http://127.0.0.1:5000").client()
    assert "geheim" not in str(caught.value)


def test_an_address_that_is_none_is_a_setting_to_mend() -> None:
    with pytest.raises(ConfigurationError, match="must be an http"):
        MLflowResource(tracking_uri="mlruns", artifacts="file:///tmp", ui_url="http://127.0.0.1:5000").client()


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Path:
    """A home with a published dataset and prior of eight tiny patients, and nothing trained yet."""
    from medillus_pipeline.annotation import vocabulary
    from medillus_pipeline.generation.config import preset
    from medillus_pipeline.generation.dataset import build_snapshot, load_snapshot
    from medillus_pipeline.generation.prior import build_prior
    from medillus_pipeline_tests.generation.published import publish_phantoms

    home = tmp_path_factory.mktemp("packed")
    clean = with_database(home, database).clean
    tiny = preset("tiny")
    rows = publish_phantoms(clean, 8, shape=(8, 32, 32), spacing=(30.0, 12.8, 12.8))
    snapshot = build_snapshot(
        rows.slices, rows.masks, rows.instances, rows.splits, clean, vocabulary.load(), tiny.dataset, partitions={}
    )
    prior = clean.put("priors", build_prior(load_snapshot(clean, snapshot.path), tiny.prior).to_bytes(), ".safetensors")
    published.publish(
        clean,
        "anatomical_prior",
        {"path": prior.path, "sha256": prior.sha256, "dataset_manifest": snapshot.path},
    )
    return home


@pytest.fixture(scope="module")
def trained(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Three tries of one training, each a Dagster run of its own: MLflow away, checkpoints unwritable, and all well."""
    home = Path(shutil.copytree(packed, tmp_path_factory.mktemp("trained") / "home"))
    site = Site(home)
    mlflow = MLflowResource.of(site.settings)

    def attempt() -> dg.ExecuteInProcessResult:
        return site.run("retrain", asset_selection=[GENERATOR], run_config=BRIEF)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dg.RetryPolicy, "calculate_delay", lambda *_: 0)
        database = home / "mlflow" / "mlflow.db"
        database.rename(home / "aside")
        database.mkdir()
        before = site.tables()
        away = attempt()
        untouched = site.tables() == before
        database.rmdir()
        (home / "aside").rename(database)

        site.settings.work.write_bytes(b"")
        unwritable = attempt()
        (failed,) = mlflow.client().search_runs(["1"])
        site.settings.work.unlink()

        yield {
            "site": site,
            "mlflow": mlflow,
            "attempt": attempt,
            "away": (away, untouched),
            "unwritable": (unwritable, failed),
            "well": attempt(),
        }


def test_training_without_mlflow_fails_clearly_and_publishes_nothing(trained: dict[str, Any]) -> None:
    result, untouched = trained["away"]
    assert failure(result).startswith("MLflow (sqlite) does not answer: check MEDILLUS_MLFLOW_TRACKING_URI")
    assert untouched
    assert result.get_asset_materialization_events() == []


def test_a_failed_training_marks_its_run_and_says_what_to_mend(trained: dict[str, Any]) -> None:
    result, run = trained["unwritable"]
    assert run.info.status == "FAILED"
    assert "check free space, owner and mode of the folders for work" in failure(result)


def test_the_next_dagster_run_resumes_that_very_run_and_registers_one_version(trained: dict[str, Any]) -> None:
    assert trained["well"].success, failure(trained["well"])
    client = trained["mlflow"].client()
    _, failed = trained["unwritable"]
    (run,) = client.search_runs([failed.info.experiment_id])
    assert run.info.run_id == failed.info.run_id
    assert run.info.status == "FINISHED"
    assert run.data.tags[KEY_TAG] == failed.data.tags[KEY_TAG]
    (version,) = client.search_model_versions("name = 'medillus-generator'")
    assert version.run_id == run.info.run_id
    assert alias(trained["mlflow"], "challenger") == "1"
    assert published.require(trained["site"].store.clean, "generator_checkpoint")["version"] == "1"


def test_a_process_killed_between_registration_and_publication_is_completed(trained: dict[str, Any]) -> None:
    """What such a process leaves: a version, and neither alias nor pointer."""
    clean = trained["site"].store.clean
    before = published.require(clean, "generator_checkpoint")
    trained["mlflow"].client().delete_registered_model_alias("medillus-generator", "challenger")
    clean.remove("published/generator_checkpoint.json")
    assert trained["attempt"]().success
    assert published.require(clean, "generator_checkpoint") == before
    assert alias(trained["mlflow"], "challenger") == "1"
    assert len(trained["mlflow"].client().search_model_versions("name = 'medillus-generator'")) == 1


@pytest.fixture
def validated(tmp_path: Path, database: Path) -> Site:
    """Version 1 is champion; version 2 was trained, and its report passed."""
    site = Site(with_database(tmp_path, database).home)
    mlflow = MLflowResource.of(site.settings)
    versions(mlflow, 2)
    mlflow.promote("1", {})
    checkpoint = {"version": "2", "run_id": "r", "dataset_fingerprint": "f" * 64, "dataset_manifest": "m"}
    published.publish(site.store.clean, "generator_checkpoint", checkpoint)
    published.publish(site.store.clean, "validation_report", REPORT | {"gates_sha256": gates.fingerprint()})
    return site


REPORT = {
    "version": "2",
    "run_id": "r",
    "status": "passed",
    "sentence": "All 5 gates of profile demo passed.",
    "profile": "demo",
    "required_approvals": 0,
    "review_statement": "The demo asks for no human review.",
    "failed_gates": [],
    "html": "reports/x.html",
    "dataset_fingerprint": "f" * 64,
}


def promote(site: Site, **changes: Any) -> dg.ExecuteInProcessResult:
    report = published.require(site.store.clean, "validation_report") | changes
    published.publish(site.store.clean, "validation_report", report)
    return site.run("promote", asset_selection=[PROMOTED])


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"version": "1"}, "the report is about version 1, the newest is 2: materialize validation_report"),
        ({"gates_sha256": "0" * 64}, "the report was made under other gates: materialize validation_report"),
        ({"profile": "research"}, "holds the figures against profile research, this installation's is demo"),
        (
            {"status": "failed", "sentence": "Not to be promoted.", "failed_gates": ["dice_recovery"]},
            "Not to be promoted. Gates not passed: dice_recovery",
        ),
        ({"status": "inconclusive", "sentence": "Inconclusive."}, "Inconclusive. Gates not passed"),
        ({"required_approvals": 2}, "asks for 2 human approvals"),
    ],
)
def test_promotion_is_refused_with_what_is_missing(validated: Site, changes: dict[str, Any], missing: str) -> None:
    message = failure(promote(validated, **changes))
    assert message.startswith("not promoted; the champion, if any, stays as it is. ")
    assert missing in message
    mlflow = MLflowResource.of(validated.settings)
    assert (alias(mlflow, "champion"), alias(mlflow, "previous")) == ("1", None)
    assert published.current(validated.store.clean, "promoted_generator") is None
    assert promote(validated, **REPORT, gates_sha256=gates.fingerprint()).success
    assert (alias(mlflow, "champion"), alias(mlflow, "previous")) == ("2", "1")


def test_everything_that_is_missing_is_listed_at_once(validated: Site) -> None:
    changes: dict[str, Any] = {"version": "1", "profile": "research", "status": "failed", "required_approvals": 1}
    assert failure(promote(validated, **changes)).count(" | ") == 3


def test_promotion_before_any_report_says_what_to_materialize(tmp_path: Path) -> None:
    result = Site(tmp_path).run("promote", asset_selection=[PROMOTED])
    assert failure(result) == "validation_report was never published: materialize validation_report first"


def test_promotion_without_mlflow_leaves_the_pointer_alone(validated: Site) -> None:
    database = validated.settings.home / "mlflow" / "mlflow.db"
    database.rename(validated.settings.home / "aside")
    database.mkdir()
    assert failure(promote(validated)).startswith("MLflow (sqlite) does not answer")
    assert published.current(validated.store.clean, "promoted_generator") is None
    database.rmdir()
    (validated.settings.home / "aside").rename(database)
    assert promote(validated).success
    assert published.require(validated.store.clean, "promoted_generator")["version"] == "2"
