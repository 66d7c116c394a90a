"""The deployment of docker/ as processes, driven by GraphQL as the web UI does: landing to champion, and back."""

import json
from typing import Any

import pytest

from medillus_pipeline_tests.deployment.tiny_config import tiny_config
from medillus_pipeline_tests.deployment.topology import Topology, until

pytestmark = pytest.mark.slow

ASSETS = """{ assetNodes {
  assetKey { path } groupName partitionDefinition { name }
  assetMaterializations(limit: 1) { runId metadataEntries { label } }
  assetChecksOrError { ... on AssetChecks { checks {
    name executionForLatestMaterialization { status evaluation { success } } } } }
} }"""
WORKSPACE = """{ locationStatusesOrError { ... on WorkspaceLocationStatusEntries { entries { name loadStatus } } }
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } }
  sensorsOrError(repositorySelector: {repositoryName: "__repository__", repositoryLocationName: "medillus"}) {
    ... on Sensors { results { name sensorState { status ticks(limit: 20) { status error { message } } } } } } }"""


def champion_version() -> str:
    """The version in MLflow's registry that has the alias `champion`."""
    from medillus_pipeline.resources.mlflow import MLflowResource
    from medillus_pipeline.settings import Settings

    version = MLflowResource.of(Settings.from_environment()).version_of_alias("champion")
    assert version is not None
    return str(version.version)


@pytest.fixture(scope="module")
def assets(champion: Topology) -> dict[str, Any]:
    return {"/".join(node["assetKey"]["path"]): node for node in champion.ask(ASSETS)["assetNodes"]}


def test_a_cohort_in_landing_becomes_a_champion_by_automation_alone(champion: Topology) -> None:
    runs = champion.runs()
    assert {run["jobName"] for run in runs} == {"ingest_delivery", "ingest_annotations", "retrain", "promote"}
    started = {
        tag["key"] for run in runs for tag in run["tags"] if tag["key"] in ("dagster/sensor_name", "dagster/backfill")
    }
    assert started == {"dagster/sensor_name"}
    assert all("dagster/sensor_name" in {tag["key"] for tag in run["tags"]} for run in runs)
    assert champion_version() >= "1"


def test_every_daemon_is_healthy_and_no_sensor_failed(champion: Topology) -> None:
    state = champion.ask(WORKSPACE)
    assert state["locationStatusesOrError"]["entries"] == [{"name": "medillus", "loadStatus": "LOADED"}]
    unhealthy = [s["daemonType"] for s in state["instance"]["daemonHealth"]["allDaemonStatuses"]
                 if s["required"] and not s["healthy"]]  # fmt: skip
    assert unhealthy == []
    sensors = {s["name"]: s["sensorState"] for s in state["sensorsOrError"]["results"]}
    assert {"new_deliveries", "retrain_on_new_masks", "promote_by_itself"} <= set(sensors)
    failed = {name: tick["error"] for name, s in sensors.items() for tick in s["ticks"] if tick["status"] == "FAILURE"}
    assert failed == {}


def test_assets_are_listed_with_what_they_hold(assets: dict[str, Any]) -> None:
    made = {name for name, node in assets.items() if node["assetMaterializations"]}
    assert {"deidentified_instances", "slices", "volumes", "masks", "training_dataset", "anatomical_prior", "judge",
            "organ_segmenter", "generator_checkpoint", "validation_report", "promoted_generator",
            "illustrations"} <= made  # fmt: skip
    shown = {entry["label"] for entry in assets["slices"]["assetMaterializations"][0]["metadataEntries"]}
    assert {"preview", "picture"} <= shown


def test_gates_were_evaluated_and_hold(assets: dict[str, Any]) -> None:
    outcomes = {
        check["name"]: check["executionForLatestMaterialization"]
        for node in assets.values()
        for check in node["assetChecksOrError"].get("checks", [])
        if check["name"].endswith("_gate") and node["assetMaterializations"]
    }
    assert {"instances_gate", "slices_gate", "masks_gate"} <= set(outcomes)
    assert {name for name, run in outcomes.items() if run and run["status"] != "SUCCEEDED"} == set()


def test_the_ui_shows_no_secret_of_the_deployment(champion: Topology) -> None:
    said = json.dumps(champion.ask("{ instance { info } version }"))
    logs = "".join(path.read_text("utf-8", "replace") for path in champion.folder.glob("*.log"))
    assert not [name for name, value in champion.secrets.items() if "PASSWORD" in name and value in said + logs]


def test_a_person_retrains_and_takes_the_promotion_back(champion: Topology) -> None:
    first = champion_version()
    config = tiny_config("retrain", {"execution": {"config": {"multiprocess": {"max_concurrent": 1}}}})
    assert config is not None
    config["ops"]["generator_checkpoint"] = {"config": {"preset": "tiny", "seed": 1}}
    champion.launch("retrain", config)
    until(lambda: champion.finished("promote", 2), "the second model is promoted", patience=1800, pause=5)
    assert champion_version() != first
    champion.launch("rollback")
    until(lambda: champion.finished("rollback"), "the promotion is taken back", patience=900, pause=5)
    assert champion_version() == first
