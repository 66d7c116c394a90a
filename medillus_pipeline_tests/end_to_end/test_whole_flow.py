"""From landing to figures, the same on local folders and on an object store; and what a second run does not do."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import dagster as dg
import pytest

from medillus_pipeline import published
from medillus_pipeline.automation.instance import local_instance
from medillus_pipeline.phantom.cohort import Cohort
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline.run_all import Flow
from medillus_pipeline.settings import Settings
from medillus_pipeline.tables import (
    ILLUSTRATIONS,
    INSTANCES,
    LEDGER,
    MASKS,
    PATIENT_SPLITS,
    SLICES,
    VOLUMES,
    TableStore,
)
from medillus_pipeline_tests.flow import flow, land_cohort, lower_gates, settings_at


@dataclass
class Done:
    settings: Settings
    cohort: Cohort
    flow: Flow
    said: list[str]


@pytest.fixture(scope="module", params=["file", pytest.param("s3", marks=pytest.mark.slow)])
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    home = tmp_path_factory.mktemp(f"home-{request.param}")
    further = {}
    if request.param == "s3":
        root = request.getfixturevalue("s3")
        further = {
            "MEDILLUS_LANDING_URL": f"{root}/landing",
            "MEDILLUS_VAULT_URL": f"{root}/vault",
            "MEDILLUS_CLEAN_URL": f"{root}/clean",
            "MEDILLUS_MLFLOW_ARTIFACTS": f"{root}/mlflow",
        }
    settings = settings_at(home / "home", **further)
    cohort = land_cohort(settings, home / "cohort")
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        lower_gates(patch)
        yield Done(settings, cohort, flow(settings, said), said)


def test_every_stage_succeeds(done: Done) -> None:
    assert [run.failure for run in done.flow.runs if run.failure] == []
    made = {"promote", "illustrate_volumes", "make_case_library"}
    assert {run.job for run in done.flow.runs} == {"ingest_delivery", "ingest_annotations", "retrain", *made}


def test_every_delivered_file_is_accounted_for(done: Done) -> None:
    ledger = TableStore(done.settings.vault).read_all(LEDGER).to_pylist()
    images = [row for row in ledger if row["partition"].startswith("images.")]
    outcomes: dict[str, int] = {}
    for row in images:
        outcomes[row["outcome"]] = outcomes.get(row["outcome"], 0) + 1
    assert sum(outcomes.values()) == sum(done.cohort.expected.values())
    assert outcomes["published"] == done.cohort.expected["published"]


def test_tables_hold_what_was_delivered_and_drawn(done: Done) -> None:
    tables = TableStore(done.settings.clean)
    assert tables.read_all(INSTANCES).num_rows == done.cohort.slices
    assert tables.read_all(SLICES).num_rows == done.cohort.slices
    assert tables.read_all(MASKS).num_rows == sum(done.cohort.masks.values())
    splits = tables.read_all(PATIENT_SPLITS)["split"].to_pylist()
    assert sorted(splits) == ["judge", "judge", "locked_test", "train", "train", "train", "train", "validation"]


def test_payloads_are_where_tables_say_with_the_hash_they_say(done: Done) -> None:
    tables = TableStore(done.settings.clean)
    for table in (INSTANCES, SLICES, VOLUMES, MASKS):
        rows = [row for row in tables.read_all(table).to_pylist() if row["path"] is not None]
        assert rows, table.name
        for row in rows:
            assert hashlib.sha256(done.settings.clean.read(row["path"])).hexdigest() == row["sha256"]


def test_figures_are_made_by_the_champion_from_validation_patients(done: Done) -> None:
    rows = TableStore(done.settings.clean).read(ILLUSTRATIONS, "champion").to_pylist()
    assert len(rows) == 2
    champion = MLflowResource.of(done.settings).version_of_alias("champion")
    assert champion is not None
    for row in rows:
        assert row["split"] == "validation"
        assert row["model_version"] == str(champion.version)
        sidecar = json.loads(done.settings.clean.read(row["sidecar_path"]))
        assert sidecar["figure"] == row["figure"]
        assert hashlib.sha256(done.settings.clean.read(row["svg_path"])).hexdigest() == row["sha256"]


def test_the_mlflow_run_holds_parameters_curves_samples_and_figures(done: Done) -> None:
    checkpoint = published.require(done.settings.clean, "generator_checkpoint")
    client = MLflowResource.of(done.settings).client()
    run = client.get_run(checkpoint["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["dataset_fingerprint"] == checkpoint["dataset_fingerprint"]
    assert len(client.get_metric_history(checkpoint["run_id"], "loss")) > 1
    report = published.require(done.settings.clean, "validation_report")
    for name, value in report["figures"].items():
        assert run.data.metrics[f"validation.{name.replace('/', '.')}"] == pytest.approx(value)
    assert [artifact.path for artifact in client.list_artifacts(checkpoint["run_id"], "samples")]


def test_image_assets_show_a_small_picture_and_a_link(done: Done) -> None:
    with local_instance(done.settings.home) as instance:
        for name in ("slices", "masks", "training_dataset", "illustrations"):
            event = instance.get_latest_materialization_event(dg.AssetKey(name))
            assert event is not None
            metadata = event.asset_materialization.metadata  # type: ignore[union-attr]
            assert len(str(metadata["preview"].value)) < 40_000
            assert str(metadata["picture"].value).startswith(done.settings.clean_url)


def test_a_second_flow_trains_nothing_and_says_why(done: Done) -> None:
    said: list[str] = []
    again = flow(done.settings, said)
    assert {run.job for run in again.runs} == {"promote", "illustrate_volumes", "make_case_library"}
    assert any("the dataset is unchanged" in line for line in said)


def test_a_forced_retraining_makes_no_second_run_and_no_second_version(done: Done) -> None:
    from medillus_pipeline.automation.jobs import retrain
    from medillus_pipeline.definitions import build_defs
    from medillus_pipeline_tests.flow import TINY

    before = published.require(done.settings.clean, "generator_checkpoint")
    with local_instance(done.settings.home) as instance:
        result = (
            build_defs(done.settings)
            .resolve_job_def(retrain.name)
            .execute_in_process(instance=instance, run_config=TINY["retrain"], raise_on_error=False)
        )
    assert result.success
    assert published.require(done.settings.clean, "generator_checkpoint") == before
    client = MLflowResource.of(done.settings).client()
    assert len(client.search_runs([before["experiment_id"]])) == 1
    assert len(client.search_model_versions("name = 'medillus-generator'")) == 1


def test_nothing_identified_is_in_the_clean_zone_dagster_or_mlflow(done: Done) -> None:
    """Every planted string, in UTF-8 and in the character sets of the files, in every object on the clean side."""
    needles = {
        text.encode(encoding, errors="ignore")
        for text in done.cohort.identifiers
        for encoding in ("utf-8", "iso8859-1", "iso2022_jp", "utf-16-le")
    }
    needles = {needle for needle in needles if len(needle) >= 5}
    assert len(needles) > 50
    clean = done.settings.clean
    haystacks = {path: path.encode() + clean.read(path) for path in clean.files()}
    for folder in ("dagster", "mlflow", "work"):
        for path in Path(done.settings.home / folder).rglob("*"):
            if path.is_file():
                haystacks[str(path)] = path.name.encode() + path.read_bytes()
    assert len(haystacks) > 100
    found = {where for where, data in haystacks.items() for needle in needles if needle in data}
    assert found == set()
    assert not [line for line in done.said for text in done.cohort.identifiers if text in line]


def test_the_object_store_really_was_used(done: Done) -> None:
    if done.settings.clean.is_local:
        assert Path(done.settings.clean.full("tables")).is_dir()
    else:
        import os

        listing = urlopen(f"{os.environ['AWS_ENDPOINT_URL']}/hospital?list-type=2&max-keys=5&prefix=clean/").read()
        assert b"clean/" in listing
        assert not (done.settings.home / "clean").exists()
