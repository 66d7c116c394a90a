"""The deployment of docker/ as processes, driven by GraphQL as the web UI does: landing to champion, a version that a
reviewer has to approve, and back.
"""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import psycopg2
import pytest

from medillus_pipeline_tests.deployment.conftest import LOOPBACK
from medillus_pipeline_tests.deployment.reviewing import hand_in_approval
from medillus_pipeline_tests.deployment.topology import Topology, until

if TYPE_CHECKING:
    from medillus_pipeline_tests.resources.test_alerts import Receiver

pytestmark = pytest.mark.slow

ASSETS = """{ assetNodes {
  assetKey { path } dependencyKeys { path } groupName partitionDefinition { name }
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


@dataclass(frozen=True)
class Reviewed:
    """What became of a second version: the champion's version at each turn, and what was said of the refusal."""

    first: str
    refused: str
    without_approval: str
    approved: str
    rolled_back: str
    verdict_run: dict[str, Any]
    alerts: list[dict[str, Any]]


@pytest.fixture(scope="module")
def assets(champion: Topology) -> dict[str, Any]:
    return {"/".join(node["assetKey"]["path"]): node for node in champion.ask(ASSETS)["assetNodes"]}


@pytest.fixture(scope="module")
def reviewed(champion: Topology, told: "Receiver") -> Reviewed:
    """The site turns to a profile that asks for an approval; a person trains, promotes too early, then in order, and
    takes it back. Every run but those of sheet and verdict is launched as the launchpad does.
    """
    from medillus_pipeline.settings import Settings

    champion.settle()
    first = champion_version()
    champion.change("code", MEDILLUS_PROFILE="research")
    champion.launch("retrain", {"ops": {"generator_checkpoint": {"config": {"preset": "tiny", "seed": 1}}}})
    until(lambda: champion.finished("make_review_sheet"), "the sheet of the second version", patience=1800, pause=3)
    early = champion.launch("promote")
    champion.meant_to_fail.add(early)
    until(lambda: champion.ended(early, "FAILURE"), "the promotion without an approval ends", patience=600, pause=1)
    without_approval = champion_version()
    hand_in_approval(Settings.from_environment(), "of-march")
    (verdict_run,) = until(lambda: champion.finished("ingest_reviews"), "the verdict is read", patience=600)
    allowed = champion.launch("promote")
    until(lambda: champion.ended(allowed, "SUCCESS"), "the approved version is promoted", patience=900)
    approved = champion_version()
    back = champion.launch("rollback")
    until(lambda: champion.ended(back, "SUCCESS"), "the promotion is taken back", patience=900)
    until(lambda: _alerts(told, early), "somebody is told of the refusal", patience=300)
    refused = champion.reason(early)
    return Reviewed(first, refused, without_approval, approved, champion_version(), verdict_run, _alerts(told, early))


def _alerts(told: "Receiver", run_id: str) -> list[dict[str, Any]]:
    return [alert for alert in (json.loads(body) for _, body in told.got) if alert["run_id"] == run_id]


def test_a_cohort_in_landing_becomes_a_champion_by_automation_alone(champion: Topology) -> None:
    runs = champion.runs()
    assert {"ingest_delivery", "ingest_annotations", "retrain", "promote"} <= {run["jobName"] for run in runs}
    tags = [{tag["key"] for tag in run["tags"]} for run in runs]
    assert all("dagster/sensor_name" in of_run for of_run in tags)
    assert not any("dagster/backfill" in of_run for of_run in tags)
    assert champion_version()


def test_runs_wait_in_the_queue_and_are_kept_in_postgresql(champion: Topology) -> None:
    runs = champion.runs()
    for run in champion.finished("promote"):
        events = champion.events(run["runId"])
        assert events.index("RunEnqueuedEvent") < events.index("RunStartingEvent") < events.index("RunStartEvent")
    password = champion.secrets["DAGSTER_POSTGRES_PASSWORD"]
    where = {"host": LOOPBACK, "port": champion.ports["5432"], "user": "dagster", "dbname": "dagster"}
    with psycopg2.connect(**where, password=password) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT run_id FROM runs")
        assert {run["runId"] for run in runs} <= {row[0] for row in cursor.fetchall()}


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


def test_the_web_ui_answers_with_the_asset_graph(champion: Topology, assets: dict[str, Any]) -> None:
    with urlopen(f"{champion.url}/asset-groups", timeout=60) as answer:
        assert answer.status == 200 and b"<html" in answer.read()
    made_from = {name: {"/".join(key["path"]) for key in node["dependencyKeys"]} for name, node in assets.items()}
    assert made_from["slices"] == {"deidentified_instances"}
    assert {"slices", "masks"} <= made_from["training_dataset"]
    assert "validation_report" in made_from["promoted_generator"]
    assert "promoted_generator" in made_from["illustrations"]


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


def test_without_an_approval_a_version_is_not_promoted_and_its_owners_are_told(reviewed: Reviewed) -> None:
    assert "profile research asks for 1 human approvals, and 0 are recorded" in reviewed.refused
    assert reviewed.without_approval == reviewed.first
    (alert,) = reviewed.alerts
    assert (alert["kind"], alert["job"], alert["asset"]) == ("run_failure", "promote", "promoted_generator")
    assert "1 human approvals" in alert["message"]


def test_a_signed_approval_in_landing_lets_a_person_promote_it(reviewed: Reviewed) -> None:
    assert "dagster/sensor_name" in {tag["key"] for tag in reviewed.verdict_run["tags"]}
    assert int(reviewed.approved) > int(reviewed.first)


def test_a_rollback_brings_the_former_champion_back(reviewed: Reviewed) -> None:
    from medillus_pipeline import published
    from medillus_pipeline.settings import Settings

    assert reviewed.rolled_back == reviewed.first
    pointer = published.require(Settings.from_environment().clean, "promoted_generator")
    assert pointer["version"] == reviewed.first
