"""Real ticks of the sensors: each arrival asks for one run, and any number of masks for one retraining."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from medillus_pipeline.assets.dataset import input_versions
from medillus_pipeline.automation_settings import AutomationSettings
from medillus_pipeline_tests.automation.states import publish_masks, publish_training
from medillus_pipeline_tests.site import Site, drawing, series

RUNS_PER_TICK = AutomationSettings().landing_runs_per_tick


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@dataclass
class Tick:
    """What a tick asked for, the reason where it asked for nothing, and the cursor that the next one gets."""

    run_requests: list[dg.RunRequest]
    skipped: str | None
    cursor: str | None
    partitions: list[dg.AddDynamicPartitionsRequest]

    @property
    def partition_keys(self) -> list[str | None]:
        return [request.partition_key for request in self.run_requests]

    @property
    def run_keys(self) -> list[str | None]:
        return [request.run_key for request in self.run_requests]


def evaluate(site: Site, sensor: str, cursor: str | None = None) -> Tick:
    """The tick alone."""
    with dg.build_sensor_context(
        instance=site.instance, cursor=cursor, definitions=site.definitions, resources={"store": site.store}
    ) as context:
        done: Any = site.definitions.get_repository_def().get_sensor_def(sensor)(context)
    if isinstance(done, dg.SkipReason):
        return Tick([], done.skip_message, cursor, [])
    skipped = done.skip_reason.skip_message if done.skip_reason else None
    return Tick(list(done.run_requests or []), skipped, done.cursor, list(done.dynamic_partitions_requests or []))


def tick(site: Site, sensor: str, cursor: str | None = None) -> Tick:
    """What the daemon does with a tick but for launching the runs: evaluate it, and add the partitions it asks for."""
    done = evaluate(site, sensor, cursor)
    for request in done.partitions:
        site.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
    return done


def latest(site: Site, asset: str) -> int:
    return site.instance.fetch_materializations(dg.AssetKey(asset), limit=1).records[0].storage_id


@pytest.mark.parametrize(("sensor", "kind"), [("new_deliveries", "images"), ("new_annotation_batches", "annotations")])
def test_each_closed_folder_gets_one_run_and_a_partition_and_never_again(site: Site, sensor: str, kind: Any) -> None:
    assert "closed by _READY" in tick(site, sensor).skipped
    for label in ("one", "two"):
        site.land(kind, label, {"file": b"x"})
    site.settings.landing.write(f"{kind}/still copying/file", b"x")
    first = tick(site, sensor)
    assert first.partition_keys == ["one", "two"]
    assert first.run_keys == [f"{kind}:one", f"{kind}:two"]
    assert tick(site, sensor).run_requests == []
    site.land(kind, "three", {"file": b"x"})
    assert tick(site, sensor).partition_keys == ["three"]


def test_the_daemon_takes_a_run_for_a_partition_that_the_same_tick_adds(tmp_path: Path) -> None:
    """Resolved as the process does that serves the definitions, on an instance that it opens by reference."""
    site = Site(tmp_path)
    site.land("images", "one", {"file": b"x"})
    (tmp_path / "dagster").mkdir()
    sensor = site.definitions.get_repository_def().get_sensor_def("new_deliveries")
    with (
        dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance,
        dg.SensorEvaluationContext(
            instance_ref=instance.get_ref(),
            last_tick_completion_time=None,
            last_run_key=None,
            cursor=None,
            repository_name=None,
            definitions=site.definitions,
            resources=site.definitions.get_repository_def().get_top_level_resources(),
        ) as context,
    ):
        done = sensor.evaluate_tick(context)
    assert done.run_requests is not None
    assert [request.tags["dagster/partition"] for request in done.run_requests] == ["one"]


def test_a_backlog_is_worked_off_in_portions(site: Site) -> None:
    for number in range(RUNS_PER_TICK + 3):
        site.land("images", f"backlog-{number:03d}", {"file": b"x"})
    asked = [tick(site, "new_deliveries").partition_keys for _ in range(3)]
    assert [len(portion) for portion in asked] == [RUNS_PER_TICK, 3, 0]
    assert len({key for portion in asked for key in portion}) == RUNS_PER_TICK + 3


def test_a_tick_that_was_lost_is_asked_for_again_under_the_same_run_key(site: Site) -> None:
    """The daemon died before it added the partition: the folder is registered, but nothing was asked for."""
    site.land("images", "one", {"file": b"x"})
    lost = evaluate(site, "new_deliveries")
    again = tick(site, "new_deliveries")
    assert lost.run_keys == again.run_keys == ["images:one"]


def test_a_real_folder_under_the_public_key_of_the_demo_stops_the_tick_and_names_no_folder(site: Site) -> None:
    site.land("images", "one", {"file": b"x"}, synthetic=False)
    with pytest.raises(dg.Failure) as caught:
        tick(site, "new_deliveries")
    assert "Point MEDILLUS_HOME at another folder" in str(caught.value)
    chain: list[BaseException] = []
    error: BaseException | None = caught.value
    while error is not None:
        chain.append(error)
        error = error.__cause__ or error.__context__
    assert "Vogelweide" not in repr(chain)


def test_waiting_batches_are_tried_again_when_slices_appear(site: Site) -> None:
    publish_masks(site, "complete")
    publish_masks(site, "early", "earlier", pending=True)
    before = tick(site, "pending_masks")
    assert before.run_requests == []
    assert "no annotation batch waits" in before.skipped
    assert "neither slices nor masks" in tick(site, "pending_masks", before.cursor).skipped

    site.instance.report_runless_asset_event(dg.AssetMaterialization("slices", partition="d-1"))
    after = tick(site, "pending_masks", before.cursor)
    assert after.partition_keys == ["earlier", "early"]
    assert after.cursor == str(latest(site, "slices"))
    assert tick(site, "pending_masks", after.cursor).run_requests == []
    replayed = tick(site, "pending_masks", before.cursor)
    assert replayed.run_keys == after.run_keys


def test_a_batch_read_while_its_slices_were_being_published_is_not_forgotten(site: Site) -> None:
    """The tick of the slices came before the batch had a receipt, so that tick could not know that it waits."""
    site.instance.report_runless_asset_event(dg.AssetMaterialization("slices", partition="d-1"))
    early = tick(site, "pending_masks")
    assert early.run_requests == []
    publish_masks(site, "raced", pending=True, seen=0)
    assert tick(site, "pending_masks", early.cursor).partition_keys == ["raced"]


def test_a_batch_that_saw_the_newest_slices_is_not_tried_in_circles(site: Site) -> None:
    site.instance.report_runless_asset_event(dg.AssetMaterialization("slices", partition="d-1"))
    publish_masks(site, "stray", pending=True, seen=latest(site, "slices"))
    assert tick(site, "pending_masks").run_requests == []


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """1,000 materializations of masks over 100 batches, all between two ticks."""
    site = Site(tmp_path_factory.mktemp("crowded"))
    publish_masks(site, "first")
    publish_training(site)
    publish_masks(site, *(f"batch-{number:03d}" for number in range(100)))
    for number in range(900):
        event = dg.AssetMaterialization("masks", partition=f"batch-{number % 100:03d}")
        site.instance.report_runless_asset_event(event)
    yield site


def test_a_thousand_masks_in_one_tick_are_one_retraining_and_none_is_missed(crowded: Site) -> None:
    done = tick(crowded, "retrain_on_new_masks")
    assert len(done.run_requests) == 1
    assert done.cursor == str(latest(crowded, "masks"))
    assert len(input_versions(crowded.store.tables)["masks"]) == 101
    assert "no masks were published" in tick(crowded, "retrain_on_new_masks", done.cursor).skipped


def test_a_cursor_anywhere_among_them_leads_to_the_same_run(crowded: Site) -> None:
    """A replayed tick asks for the very run that was asked for, so the daemon does not launch it twice."""
    whole = tick(crowded, "retrain_on_new_masks")
    for cursor in (None, "1", str(latest(crowded, "masks") - 1)):
        replayed = tick(crowded, "retrain_on_new_masks", cursor)
        assert replayed.run_keys == whole.run_keys
        assert replayed.cursor == whole.cursor


def test_a_mask_that_lands_during_the_retraining_asks_for_another(crowded: Site) -> None:
    first = tick(crowded, "retrain_on_new_masks")
    crowded.instance.report_runless_asset_event(dg.AssetMaterialization("masks", partition="batch-007"))
    second = tick(crowded, "retrain_on_new_masks", first.cursor)
    assert len(second.run_requests) == 1
    assert second.run_requests[0].run_key != first.run_requests[0].run_key


def test_unchanged_masks_are_not_trained_on_again_and_the_tick_says_so(site: Site) -> None:
    publish_masks(site, "first")
    publish_training(site)
    done = tick(site, "retrain_on_new_masks")
    assert done.run_requests == []
    assert "the dataset is unchanged (fingerprint ffffffffffff): version 3 was trained" in done.skipped
    assert done.cursor == str(latest(site, "masks"))


def test_too_few_patients_are_no_reason_to_fail_every_time(site: Site) -> None:
    """Real tables: one patient, drawn on; the tick says how many are needed."""
    site.arrive("images", "scan", series(1000))
    site.arrive("annotations", "drawn", {f"{site.slice_name(1000)}.json": drawing("liver")})
    assert site.run("ingest_delivery", "scan").success
    assert site.run("ingest_annotations", "drawn").success
    done = tick(site, "retrain_on_new_masks")
    assert done.run_requests == []
    assert "1 patient with labelled slices, and at least 8 are needed" in done.skipped


def test_masks_are_not_forgotten_while_the_store_cannot_be_read(site: Site) -> None:
    """The tick fails, so its cursor stays, and the next one sees the same masks."""
    publish_masks(site, "first")
    blocked = Path(site.settings.clean.full("published"))
    blocked.write_bytes(b"")
    with pytest.raises(dg.Failure) as caught:
        tick(site, "retrain_on_new_masks")
    assert "a file stands where a folder is needed" in str(caught.value)
    blocked.unlink()
    publish_training(site)
    publish_masks(site, "second")
    assert len(tick(site, "retrain_on_new_masks").run_requests) == 1
