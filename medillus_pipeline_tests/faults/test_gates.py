"""A gate that does not hold: its evaluation is on record for its partition, and nothing else happened."""

from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from medillus_pipeline.tables import SLICES
from medillus_pipeline_tests.deidentification.delivered_files import COLUMNS, ROWS, encoded, image
from medillus_pipeline_tests.site import Site, check, failure, series

GATE = dg.AssetCheckKey(dg.AssetKey("slices"), "slices_gate")


def blank(number: int) -> bytes:
    """A slice of one value, as a scanner's calibration image."""
    return encoded(image(number=number, PixelData=np.full((ROWS, COLUMNS), 1024, "<u2").tobytes()))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A delivery is published, then sent again with blank images under the same key; another one is sound."""
    site = Site(tmp_path_factory.mktemp("site"))
    site.arrive("images", "bad", series(1000))
    site.arrive("images", "good", series(2000))
    assert site.run("ingest_delivery", "bad").success
    return site


@pytest.fixture(scope="module")
def failed(site: Site) -> tuple[dict[str, bytes], dg.ExecuteInProcessResult]:
    before = site.tables()
    site.land("images", "bad", {f"IM{number}": blank(number) for number in range(1000, 1004)})
    return before, site.run("ingest_delivery", "bad")


def test_the_message_names_what_does_not_hold_and_where_to_look(failed: tuple) -> None:
    message = failure(failed[1])
    assert message.startswith("the gate slices_gate does not hold (")
    assert "value_range: images are not constant" in message
    assert "nothing was published and the previous version stays in force" in message


def test_the_failed_evaluation_is_recorded_with_its_partition(site: Site, failed: tuple) -> None:
    evaluation = check(failed[1], "slices_gate")
    assert (evaluation.passed, evaluation.partition, evaluation.severity) == (False, "bad", dg.AssetCheckSeverity.ERROR)
    (record, *_) = site.instance.event_log_storage.get_asset_check_execution_history(GATE, limit=1)
    assert record.status.value == "FAILED"
    assert record.run_id == failed[1].run_id


def test_nothing_is_materialized_or_published(site: Site, failed: tuple) -> None:
    before, result = failed
    assert [event.asset_key.to_user_string() for event in result.get_asset_materialization_events()] == [
        "deidentified_instances"
    ]
    path = site.store.tables.path(SLICES, "bad")
    assert site.settings.clean.read(path) == before[path]
    for row in site.store.tables.read(SLICES, "bad").to_pylist():
        assert site.settings.clean.exists(row["path"])


def test_a_gate_is_not_tried_again(failed: tuple) -> None:
    assert not [event for event in failed[1].all_events if event.is_step_up_for_retry]


def test_the_next_partitions_pass_does_not_hide_it(site: Site, failed: tuple) -> None:
    assert site.run("ingest_delivery", "good").success
    infos = site.instance.event_log_storage.get_asset_check_partition_info([GATE])
    status = {info.partition_key: info.latest_execution_status.value for info in infos}
    assert status == {"bad": "FAILED", "good": "SUCCEEDED"}


def test_after_the_cause_is_mended_a_rerun_passes(site: Site, failed: tuple) -> None:
    site.land("images", "bad", series(1000))
    assert site.run("ingest_delivery", "bad").success
    assert site.tables()[site.store.tables.path(SLICES, "bad")] == failed[0][site.store.tables.path(SLICES, "bad")]


def test_steps_behind_a_failed_gate_do_not_run(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.arrive("images", "empty", {})
    result = site.run("ingest_delivery", "empty")
    assert "instances_gate" in failure(result)
    assert {event.step_key for event in result.all_events if event.is_step_start} == {"deidentified_instances"}
