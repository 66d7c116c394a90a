"""Housekeeping tells first, removes only what nobody names and is old enough, and never what a table leads to."""

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from medillus_pipeline import access_log, landings, published
from medillus_pipeline.stewardship import housekeeping, records
from medillus_pipeline.tables import INSTANCES, TableStore
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.quality import clean as examples
from medillus_pipeline_tests.site import failure
from medillus_pipeline_tests.stewardship.scenes import Stewarded

GRACE = timedelta(days=7)
LATER = datetime.now(UTC) + timedelta(days=8)


def filled(clean: Zone) -> dict[str, str]:
    """A payload that a document leads to through another, one of an orphaned snapshot, and one that nobody names."""
    inner = clean.put("datasets", b"values", ".npy").path
    manifest = clean.put("datasets", json.dumps({"values": inner}).encode(), ".json").path
    published.publish(clean, "training_dataset", {"manifest": manifest})
    old = clean.put("datasets", b"older values", ".npy").path
    return {"inner": inner, "manifest": manifest, "snapshot": old, "orphan": clean.put("slices", b"x", ".png").path}


@pytest.fixture(params=["local", "s3"])
def zone(request: pytest.FixtureRequest, tmp_path: Path) -> Zone:
    if request.param == "local":
        (tmp_path / "clean").mkdir()
        return Zone((tmp_path / "clean").as_uri())
    return Zone(f"{request.getfixturevalue('s3')}/{tmp_path.name}")


def test_only_old_payloads_that_nobody_leads_to_are_found_and_removed(zone: Zone) -> None:
    paths = filled(zone)
    assert housekeeping.orphans(zone, grace=GRACE) == []
    found = housekeeping.orphans(zone, grace=GRACE, now=LATER)
    assert {(one.kind, one.place) for one in found} == {("snapshot", paths["snapshot"]), ("payload", paths["orphan"])}
    assert housekeeping.orphans(zone, grace=GRACE, now=LATER, roots=[paths["snapshot"], paths["orphan"]]) == []
    assert housekeeping.summary(found)["payload"] == {"objects": 1, "bytes": 1}
    published.publish(zone, "since_then", {"path": paths["orphan"]})
    assert housekeeping.remove(found, clean=zone, landing=zone) == len(b"older values")
    left = set(zone.files())
    assert {paths["inner"], paths["manifest"], paths["orphan"]} <= left
    assert paths["snapshot"] not in left


def test_a_dry_run_tells_and_records_and_a_real_one_frees(tmp_path: Path) -> None:
    site = Stewarded(tmp_path)
    clean, eight_days = site.settings.clean, time.time() - 8 * 86400
    orphan = filled(clean)["orphan"]
    half = Path(clean.full("slices")) / ".part.png.0123abcd.unfinished"
    half.write_bytes(b"half")
    checkpoint = site.settings.work / "training" / "0123456789abcdef"
    checkpoint.mkdir(parents=True)
    (checkpoint / "state.safetensors").write_bytes(b"state")
    for path in (Path(clean.full(orphan)), half, checkpoint / "state.safetensors", checkpoint):
        os.utime(path, (eight_days, eight_days))
    before = clean.files()
    assert site.act("housekeeping", "tidy_up").success
    assert clean.files() == before and half.exists() and checkpoint.exists()
    result = site.act("housekeeping", "tidy_up", remove=True)
    assert result.success, failure(result)
    assert set(before) - set(clean.files()) == {orphan}
    assert not half.exists() and not checkpoint.exists()
    vault = site.settings.vault
    told = [
        records.read(vault, "housekeeping", name, "record") for name in records.names(vault, "housekeeping", "record")
    ]
    assert sorted((one or {})["bytes"] for one in told) == [0, len(b"x") + len(b"half") + len(b"state")]
    assert all(one and records.holds(site.settings.pseudonymiser().key, one) for one in told)


def test_landing_past_its_retention_goes_when_it_was_ingested_and_the_marker_stays(tmp_path: Path) -> None:
    site = Stewarded(tmp_path)
    for label in ("done", "new"):
        site.arrive("images", label, {"IM1": b"image"})
    TableStore(site.settings.clean).publish(INSTANCES, "done", INSTANCES.to_arrow(examples.instances()))
    zones = (site.settings.landing, site.settings.vault, site.settings.clean)
    assert housekeeping.past_retention(*zones, retention=timedelta(days=30)) == []
    found = housekeeping.past_retention(*zones, retention=timedelta(days=7), now=LATER)
    housekeeping.remove(found, clean=zones[2], landing=zones[0])
    assert [name.split(" ")[0] for name in site.settings.landing.files("images")] == [
        "images/done", "images/new", "images/new",
    ]  # fmt: skip
    assert "done" in landings.known_keys(site.settings.vault, "images")


def test_an_opening_is_written_down_once_an_hour_with_nothing_that_identifies(tmp_path: Path) -> None:
    vault = Zone(tmp_path.as_uri())
    for _ in range(3):
        access_log.opened(vault, "landing", who="run 1", purpose="ingest Ötzi\nforged line")
    access_log.opened(vault, "vault", who="run 1", purpose="ingest")
    said = [line.split(" ", 1)[1] for line in access_log.lines(vault)]
    assert sorted(said) == ["landing run_1 ingest_tzi_forged_line", "vault run_1 ingest"]
