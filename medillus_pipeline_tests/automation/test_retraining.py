"""When new masks start a retraining: enough of them, once they have stopped arriving, one at a time in the queue."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from medillus_pipeline.automation.instance import dagster_home
from medillus_pipeline.automation.jobs import retrain
from medillus_pipeline.automation.retraining import NewEvents, still_arriving
from medillus_pipeline.automation_settings import AutomationSettings
from medillus_pipeline.errors import ConfigurationError
from medillus_pipeline.tables import MASKS, TRAINING_SLICES
from medillus_pipeline_tests.automation.states import publish_masks, publish_training, retraining_in
from medillus_pipeline_tests.automation.test_sensors import latest, tick
from medillus_pipeline_tests.quality import clean
from medillus_pipeline_tests.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A home with a queue of runs, whose last generator knows the batch `first`."""
    site = Site(tmp_path / "home")
    with dg.DagsterInstance.from_config(str(dagster_home(tmp_path / "home"))) as instance:
        site.instance = instance
        publish_masks(site, "first")
        rows = clean.training_slices()
        site.store.tables.publish(TRAINING_SLICES, "current", TRAINING_SLICES.to_arrow(rows))
        publish_training(site)
        yield site


def publish_slices(site: Site, batch: str, count: int) -> None:
    """A batch with masks on that many slices."""
    (row, *_) = clean.masks()
    rows = [row | {"slice_name": f"s-{number:04d}-{batch}"} for number in range(count)]
    site.store.tables.publish(MASKS, batch, MASKS.to_arrow(rows))
    site.instance.report_runless_asset_event(dg.AssetMaterialization("masks", partition=batch))


def queued(site: Site, **tags: str) -> dg.DagsterRun:
    return retraining_in(site, dg.DagsterRunStatus.QUEUED, **tags)


def status(site: Site, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    found = site.instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


def test_fewer_slices_than_asked_for_wait_and_count_when_more_arrive(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDILLUS_RETRAIN_SLICES", "10")
    publish_slices(site, "few", 4)
    first = tick(site, "retrain_on_new_masks")
    assert first.run_requests == []
    assert "4 new labelled slices, fewer than 10" in str(first.skipped)
    assert first.cursor == str(latest(site, "masks"))
    publish_slices(site, "more", 6)
    assert len(tick(site, "retrain_on_new_masks", first.cursor).run_requests) == 1


def test_a_share_of_what_is_known_starts_one_too(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    learnt = len(clean.training_slices())
    monkeypatch.setenv("MEDILLUS_RETRAIN_SLICES", "100000")
    monkeypatch.setenv("MEDILLUS_RETRAIN_SHARE", "0.5")
    publish_slices(site, "few", 1)
    assert f"or 50% of {learnt}" in str(tick(site, "retrain_on_new_masks").skipped)
    publish_slices(site, "more", (learnt + 1) // 2)
    assert len(tick(site, "retrain_on_new_masks").run_requests) == 1


def test_without_a_setting_one_new_slice_is_enough(site: Site) -> None:
    publish_slices(site, "few", 1)
    assert len(tick(site, "retrain_on_new_masks").run_requests) == 1


def test_masks_that_just_arrived_wait_for_others_and_keep_the_cursor(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDILLUS_RETRAIN_DEBOUNCE_MINUTES", "5")
    publish_slices(site, "new", 3)
    waiting = tick(site, "retrain_on_new_masks", "1")
    assert waiting.run_requests == [] and waiting.cursor == "1"
    assert "waits until none came for 5 minutes, 30 at most" in str(waiting.skipped)
    monkeypatch.setenv("MEDILLUS_RETRAIN_DEBOUNCE_MINUTES", "0.001")
    time.sleep(0.1)
    assert len(tick(site, "retrain_on_new_masks", waiting.cursor).run_requests) == 1


def test_masks_that_never_stop_arriving_do_not_put_training_off_for_ever() -> None:
    chosen = AutomationSettings(retrain_debounce_minutes=5)
    now = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
    begun = now - timedelta(minutes=29)
    assert still_arriving(NewEvents(9, 9, begun, now), chosen, now) is not None
    assert still_arriving(NewEvents(9, 9, begun - timedelta(minutes=1), now), chosen, now) is None
    assert still_arriving(NewEvents(1, 1, now, now), AutomationSettings(), now) is None


def test_a_newer_dataset_takes_the_place_of_a_queued_retraining_and_of_nothing_else(site: Site) -> None:
    by_masks = queued(site, sensor_name="retrain_on_new_masks", run_key="masks:1")
    by_night = queued(site, schedule_name="nightly_retraining", run_key="nightly:2026-03-04")
    by_person = queued(site)
    running = retraining_in(site, dg.DagsterRunStatus.STARTED, sensor_name="retrain_on_new_masks", run_key="masks:0")
    publish_slices(site, "new", 3)
    done = tick(site, "retrain_on_new_masks")
    assert len(done.run_requests) == 1
    assert [status(site, run) for run in (by_masks, by_night)] == [dg.DagsterRunStatus.CANCELED] * 2
    assert status(site, by_person) is dg.DagsterRunStatus.QUEUED
    assert status(site, running) is dg.DagsterRunStatus.STARTED


def test_a_replayed_tick_does_not_cancel_the_very_run_it_asked_for(site: Site) -> None:
    publish_slices(site, "new", 3)
    first = tick(site, "retrain_on_new_masks")
    run = queued(site, sensor_name="retrain_on_new_masks", run_key=str(first.run_keys[0]))
    again = tick(site, "retrain_on_new_masks")
    assert again.run_keys == first.run_keys
    assert status(site, run) is dg.DagsterRunStatus.QUEUED


def test_one_training_at_a_time(site: Site) -> None:
    """All steps that train share a pool of one, and retrainings of a local instance take turns."""
    training = [site.definitions.resolve_assets_def(name) for name in ("judge", "organ_segmenter")]
    pools = {
        assets.node_def.pool for assets in (*training, site.definitions.resolve_assets_def("generator_checkpoint"))
    }
    assert pools == {"training"}
    assert site.instance.get_settings("concurrency")["pools"]["default_limit"] == 1
    limits = site.instance.get_settings("concurrency")["runs"]["tag_concurrency_limits"]
    assert {"key": "stage", "value": "train", "limit": 1} in limits
    assert retrain.tags["stage"] == "train"


@pytest.mark.parametrize(
    ("variable", "value"),
    [("MEDILLUS_RETRAIN_SLICES", "0"), ("MEDILLUS_RETRAIN_SHARE", "1.5"), ("MEDILLUS_RETRAIN_DEBOUNCE_MINUTES", "-1")],
)
def test_a_threshold_out_of_its_bounds_is_refused(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=variable):
        AutomationSettings.from_environment({variable: value})
