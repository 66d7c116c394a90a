"""The night's retraining: at 02:00, once, and only when there is something to learn."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from medillus_pipeline import published
from medillus_pipeline.automation.schedules import nightly, nightly_retraining
from medillus_pipeline.automation_settings import AutomationSettings
from medillus_pipeline.errors import ConfigurationError
from medillus_pipeline.tables import MASKS
from medillus_pipeline_tests.automation.states import publish_masks, publish_training, retraining_in
from medillus_pipeline_tests.quality import clean
from medillus_pipeline_tests.site import Site

NIGHT = datetime(2026, 3, 4, 2, 0, tzinfo=UTC)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Site]:
    """A home whose instance is on disk, for a schedule opens it by reference."""
    site = Site(tmp_path / "home")
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        site.instance = instance
        yield site


@pytest.fixture
def site(empty: Site) -> Site:
    publish_masks(empty, "first", "second")
    publish_training(empty)
    return empty


def tick(site: Site, moment: datetime = NIGHT) -> Any:
    with dg.build_schedule_context(
        instance=site.instance, scheduled_execution_time=moment, resources={"store": site.store}
    ) as context:
        return nightly_retraining.evaluate_tick(context)


def test_the_tick_is_at_two_in_the_night() -> None:
    assert nightly_retraining.cron_schedule == "0 2 * * *"
    assert nightly_retraining.default_status is dg.DefaultScheduleStatus.RUNNING


def test_an_unchanged_dataset_is_not_trained_on_again_and_the_tick_says_why(site: Site) -> None:
    done = tick(site)
    assert not done.run_requests
    assert done.skip_message == (
        "the dataset is unchanged (fingerprint ffffffffffff): version 3 was trained and validated on it"
    )


def test_a_changed_mask_is_a_reason_to_train(site: Site) -> None:
    rows = clean.masks()
    rows[0] = rows[0] | {"areas": [901, 30]}
    site.store.tables.publish(MASKS, "second", MASKS.to_arrow(rows))
    done = tick(site)
    assert [request.run_key for request in done.run_requests] == ["nightly:2026-03-04"]
    assert done.skip_message is None


def test_a_new_batch_is_a_reason_to_train(site: Site) -> None:
    publish_masks(site, "third")
    assert len(tick(site).run_requests) == 1


def test_a_night_is_trained_once_and_the_next_night_is_another(site: Site) -> None:
    publish_masks(site, "third")
    keys = [tick(site, moment).run_requests[0].run_key for moment in (NIGHT, NIGHT, NIGHT.replace(day=5))]
    assert keys[0] == keys[1] != keys[2]


def test_a_version_that_was_never_validated_is_validated(site: Site) -> None:
    """The last retraining died between the checkpoint and its report."""
    published.publish(site.store.clean, "generator_checkpoint", {"dataset_fingerprint": "f" * 64, "version": "4"})
    assert len(tick(site).run_requests) == 1


def test_without_any_mask_the_tick_says_what_to_do(empty: Site) -> None:
    assert "land a batch of annotations" in tick(empty).skip_message


def test_a_retraining_in_the_queue_is_enough_for_the_night_and_one_that_runs_is_not(site: Site) -> None:
    publish_masks(site, "third")
    retraining_in(site, dg.DagsterRunStatus.STARTED)
    assert len(tick(site).run_requests) == 1
    retraining_in(site, dg.DagsterRunStatus.QUEUED)
    done = tick(site)
    assert not done.run_requests and "queued already" in done.skip_message


def test_hour_and_time_zone_are_settings() -> None:
    chosen = AutomationSettings.from_environment(
        {"MEDILLUS_NIGHT": "30 3 * * 1-5", "MEDILLUS_TIME_ZONE": "Asia/Shanghai"}
    )
    schedule = nightly(chosen)
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("30 3 * * 1-5", "Asia/Shanghai")
    assert nightly_retraining.execution_timezone == "UTC"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MEDILLUS_TIME_ZONE", "Mars/Olympus"),
        ("MEDILLUS_TIME_ZONE", "../etc"),
        ("MEDILLUS_NIGHT", "at two"),
        ("MEDILLUS_NIGHT", "61 2 * * *"),
    ],
)
def test_a_wrong_hour_or_zone_is_refused_by_the_name_of_its_variable(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=variable):
        AutomationSettings.from_environment({variable: value})


def test_an_unreadable_store_fails_the_tick_instead_of_passing_for_unchanged(site: Site) -> None:
    blocked = Path(site.settings.clean.full("published"))
    blocked.rename(blocked.with_name("aside"))
    blocked.write_bytes(b"")
    with pytest.raises(dg.DagsterUserCodeExecutionError) as caught:
        tick(site)
    assert "a file stands where a folder is needed" in str(caught.value.__cause__)
