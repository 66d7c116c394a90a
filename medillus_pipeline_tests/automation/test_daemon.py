"""The daemon's own code over the real definitions, served by another process: every sensor, and a missed night."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import InstigatorStatus, TickStatus
from dagster._core.test_utils import create_test_daemon_workspace_context, freeze_time
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._scheduler.scheduler import launch_scheduled_runs

from medillus_pipeline_tests.automation.states import publish_masks, publish_training
from medillus_pipeline_tests.site import Site

pytestmark = pytest.mark.slow
CONFIGURATION = "telemetry:\n  enabled: false\nrun_coordinator:\n  module: dagster\n  class: QueuedRunCoordinator\n"
LOGGER = logging.getLogger("medillus.tests.daemon")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Any]]:
    """An installation with new masks, and the workspace that a daemon would serve; nothing dequeues its runs."""
    home = tmp_path_factory.mktemp("home")
    site = Site(home)
    (home / "dagster").mkdir()
    (home / "dagster" / "dagster.yaml").write_text(CONFIGURATION)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("LANDING", "VAULT", "CLEAN"):
            patch.setenv(f"MEDILLUS_{name}_URL", getattr(site.settings, f"{name.lower()}_url"))
        patch.setenv("MEDILLUS_HOME", str(home))
        patch.setenv("MEDILLUS_PROFILE", "demo")
        with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
            site.instance = instance
            publish_masks(site, "first")
            publish_training(site)
            publish_masks(site, "second")
            site.land("images", "one", {"file": b"x"})
            target = ModuleTarget("medillus_pipeline.definitions", None, str(Path.cwd()), "medillus")
            with create_test_daemon_workspace_context(target, instance) as workspace:
                yield site, workspace


def test_every_sensor_is_evaluated_and_none_fails(daemon: tuple[Site, Any]) -> None:
    site, workspace = daemon
    with ThreadPoolExecutor(2) as threads:
        futures: dict[str, Any] = {}
        list(execute_sensor_iteration(workspace, LOGGER, threads, None, futures))
        for future in list(futures.values()):
            future.result(timeout=240)
    ticks = {
        state.instigator_name: site.instance.get_ticks(state.instigator_origin_id, state.selector_id)[0]
        for state in site.instance.all_instigator_state()
    }
    sensors = {sensor.name for sensor in site.definitions.get_repository_def().sensor_defs}
    assert sensors <= set(ticks)
    failed = {name: tick.error for name, tick in ticks.items() if tick.status is TickStatus.FAILURE}
    assert failed == {}
    assert site.instance.get_dynamic_partitions("deliveries") == ["one"]
    jobs = sorted(run.job_name for run in site.instance.get_runs())
    assert jobs == ["ingest_delivery", "retrain"]


def test_five_nights_of_downtime_are_made_up_once(daemon: tuple[Site, Any]) -> None:
    site, workspace = daemon
    for run in site.instance.get_runs():
        site.instance.run_coordinator.cancel_run(run.run_id)
    begun = datetime(2026, 3, 4, 1, 0, tzinfo=UTC)
    for moment in (begun, begun + timedelta(days=5, hours=9)):
        with freeze_time(moment):
            list(launch_scheduled_runs(workspace, LOGGER, moment, {}))
    runs = site.instance.get_runs(dg.RunsFilter(tags={"dagster/schedule_name": "nightly_retraining"}))
    assert len(runs) == 1
    assert runs[0].tags["dagster/run_key"] == "nightly:2026-03-09"
    states = site.instance.all_instigator_state()
    assert all(state.status is not InstigatorStatus.STOPPED for state in states)
