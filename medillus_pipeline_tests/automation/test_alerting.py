"""Who is told of real failures: once for each sort, by owner, without identified values, and never at a run's cost."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from medillus_pipeline import telemetry
from medillus_pipeline.automation.alerting import ALERT_SENSORS, MESSAGES_PER_TICK
from medillus_pipeline.automation.arrivals import observation
from medillus_pipeline.errors import StoreError
from medillus_pipeline.failures import failing_clearly
from medillus_pipeline.landing_seals import Change, Contents
from medillus_pipeline.resources.alerts import AlertsResource
from medillus_pipeline_tests.resources import test_alerts
from medillus_pipeline_tests.resources.test_alerts import Receiver

receiver = test_alerts.receiver
without_waiting = test_alerts.without_waiting

deliveries = dg.StaticPartitionsDefinition([f"d-{number}" for number in range(30)])


class How(dg.Config):
    end: str = "well"


@dg.asset(
    partitions_def=deliveries,
    owners=["team:data-engineering"],
    check_specs=[dg.AssetCheckSpec("plausible", asset="slices", partitions_def=deliveries)],
)
def slices(config: How) -> Iterator[Any]:
    """Ends as it is told to."""
    yield dg.AssetCheckResult(passed=config.end != "odd", check_name="plausible", description="1 of 9 rows does not")
    if config.end == "clear":
        with failing_clearly(restricted=True):
            raise StoreError("the disk is full: free space, then run again")
    if config.end == "surprise":
        raise ValueError("Vogelweide, Walther")
    yield dg.MaterializeResult()


@dg.op
def sweep() -> None:
    raise RuntimeError("no asset here")


@dg.job
def tidy() -> None:
    sweep()


class Office:
    """An instance on disk, the sensors of alerts, and a receiver."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance, url: str) -> None:
        self.instance = instance
        self.file = folder / "alerts.toml"
        self.file.write_text(
            f"repeat_minutes = 60\n[routes]\n'team:data-engineering' = ['{url}']\n'*' = ['{url}?all']\n"
            "[webhook]\nallow_plain_http = true\nattempts = 1\n"
        )
        job = dg.define_asset_job("ingest", selection=[slices], partitions_def=deliveries)
        self.definitions = dg.Definitions(assets=[slices], jobs=[job, tidy], sensors=ALERT_SENSORS)
        self.cursors: dict[str, str | None] = {}

    def fail(self, end: str, partition: int = 0) -> dg.ExecuteInProcessResult:
        return self.definitions.resolve_job_def("ingest").execute_in_process(
            instance=self.instance,
            partition_key=f"d-{partition}",
            run_config={"ops": {"slices": {"config": {"end": end}}}},
            raise_on_error=False,
        )

    def tick(self, sensor: str, *, on: bool = True) -> str:
        """One tick; why it asked for no run."""
        resource = AlertsResource(file=str(self.file) if on else "")
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursors.get(sensor),
            definitions=self.definitions,
            resources={"alerts": resource},
        ) as context:
            done: Any = self.definitions.get_repository_def().get_sensor_def(sensor)(context)
        self.cursors[sensor] = done.cursor
        return done.skip_reason.skip_message

    def runs(self) -> str:
        return self.tick("alert_on_failed_runs")

    def checks(self) -> str:
        return self.tick("alert_on_failed_checks")


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    """One for all tests: each begins with what happens from then on."""
    telemetry.switch_off()
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("dagster"))) as instance:
        yield instance


@pytest.fixture
def office(tmp_path: Path, instance: dg.DagsterInstance, receiver: Receiver) -> Office:
    office = Office(tmp_path, instance, receiver.url)
    assert "from now on" in office.runs() and "from now on" in office.checks()
    return office


def told(receiver: Receiver) -> list[dict[str, Any]]:
    return [json.loads(body) for _, body in receiver.got]


def test_a_clear_failure_is_told_to_the_owner_with_run_asset_partition_and_message(
    office: Office, receiver: Receiver
) -> None:
    run = office.fail("clear", 3)
    office.runs()
    (alert,) = told(receiver)
    assert alert["run_id"] == run.run_id and alert["asset"] == "slices" and alert["partitions"] == ["d-3"]
    assert alert["owners"] == ["team:data-engineering"] and alert["error_class"] == "Failure"
    assert alert["message"] == "the disk is full: free space, then run again"
    assert "nothing failed" in office.runs() and len(receiver.got) == 1


def test_of_an_unexpected_error_only_the_class_leaves(office: Office, receiver: Receiver) -> None:
    office.fail("surprise")
    office.runs()
    (alert,) = told(receiver)
    assert alert["error_class"] == "ValueError" and alert["message"] == ""
    assert b"Vogelweide" not in receiver.got[0][1]


def test_a_failed_check_of_a_run_that_went_on_is_told_and_a_passed_one_is_not(
    office: Office, receiver: Receiver
) -> None:
    office.fail("well", 1)
    office.fail("odd", 2)
    office.checks()
    (alert,) = told(receiver)
    assert (alert["kind"], alert["check"], alert["partitions"]) == ("failed_check", "plausible", ["d-2"])
    assert alert["message"] == "1 of 9 rows does not" and alert["owners"] == ["team:data-engineering"]
    assert "nothing failed" in office.runs()


def test_a_folder_that_changed_is_told(office: Office, receiver: Receiver) -> None:
    change = Change("d-20260304-0a", 3, 120, Contents(frozenset()))
    office.instance.report_runless_asset_event(observation("images", change))
    office.checks()
    office.checks()
    (alert,) = told(receiver)
    assert alert["kind"] == "changed_after_ready" and alert["partitions"] == ["d-20260304-0a"]
    assert "3 files came or changed" in alert["message"]


def test_many_failures_of_one_sort_are_one_message_and_repeats_wait(office: Office, receiver: Receiver) -> None:
    for number in range(12):
        office.fail("clear", number)
    office.runs()
    (alert,) = told(receiver)
    assert alert["count"] == 12 and len(alert["partitions"]) == 11 and alert["partitions"][-1] == "and 2 more"
    office.fail("clear", 20)
    assert "0 messages were sent" in office.runs()
    office.file.write_text(office.file.read_text().replace("repeat_minutes = 60", "repeat_minutes = 1"))
    cursor = json.loads(office.cursors["alert_on_failed_runs"] or "")
    cursor["told"] = {group: [last - 61, unsaid] for group, (last, unsaid) in cursor["told"].items()}
    office.cursors["alert_on_failed_runs"] = json.dumps(cursor)
    office.fail("clear", 21)
    office.runs()
    assert len(receiver.got) == 2 and told(receiver)[1]["unsaid"] == 1


def test_a_receiver_that_is_down_fails_nothing_is_logged_once_and_is_told_later(
    office: Office,
    receiver: Receiver,
    capfd: pytest.CaptureFixture[str],
) -> None:
    office.fail("clear", 5)
    receiver.answers = [503, 503]
    assert "tried again at the next tick" in office.runs()
    assert "tried again at the next tick" in office.runs()
    assert capfd.readouterr().err.count("do not reach the webhook at 127.0.0.1: it answered 503") == 1
    assert "1 messages were sent" in office.runs()
    assert told(receiver)[-1]["partitions"] == ["d-5"]
    assert "nothing failed" in office.runs()


def test_a_failure_without_an_owner_goes_to_everybody(office: Office, receiver: Receiver) -> None:
    office.definitions.resolve_job_def("tidy").execute_in_process(instance=office.instance, raise_on_error=False)
    office.runs()
    (alert,) = told(receiver)
    assert alert["owners"] == [] and alert["error_class"] == "RuntimeError" and alert["job"] == "tidy"


def test_while_alerts_are_off_nothing_is_kept_for_later(office: Office, receiver: Receiver) -> None:
    office.fail("clear")
    assert "no alerts are configured" in office.tick("alert_on_failed_runs", on=False)
    assert "nothing failed" in office.runs() and receiver.got == []


def test_the_cursor_stays_small(office: Office, receiver: Receiver) -> None:
    for number in range(MESSAGES_PER_TICK):
        office.fail("clear", number)
        office.runs()
    assert len(office.cursors["alert_on_failed_runs"] or "") < 4000
