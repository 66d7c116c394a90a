"""A delivery or a batch is taken back as a whole, however often the taking back is killed."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from medillus_pipeline import landings
from medillus_pipeline.stewardship import records
from medillus_pipeline.stewardship.references import in_force, is_payload
from medillus_pipeline.tables import INSTANCES, MASK_ITEMS, MASKS, SLICES
from medillus_pipeline_tests.conftest import REPOSITORY
from medillus_pipeline_tests.site import drawing, failure
from medillus_pipeline_tests.stewardship.scenes import LEAVES, STAYS, Stewarded, ingested, scan

KILLED = """
import os, signal, sys
from pathlib import Path
from medillus_pipeline.stewardship import retraction
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.flow import settings_at

settings, step = settings_at(Path(sys.argv[1])), int(sys.argv[2])
done = 0

def counted(act):
    def acting(*arguments):
        global done
        done += 1
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return act(*arguments)
    return acting

Zone.write, Zone.remove = counted(Zone.write), counted(Zone.remove)
key = settings.pseudonymiser().key
retraction.retract(settings.vault, settings.clean, "both", run_id="killed", signing_key=key)
print(done)
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ingested(tmp_path_factory.mktemp("published")).settings.home


@pytest.fixture
def site(published: Path, tmp_path: Path) -> Stewarded:
    return Stewarded(Path(shutil.copytree(published, tmp_path / "home")))


def attempt(home: Path, step: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-c", KILLED, str(home), str(step)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def points_at_nothing(site: Stewarded) -> set[str]:
    """Payloads that a table or document names and that are gone."""
    return {path for path in in_force(site.settings.clean) if not site.settings.clean.exists(path)}


def test_a_retracted_delivery_leaves_no_table_payload_or_partition_and_its_drawings_wait_again(site: Stewarded) -> None:
    result = site.act("retract", "take_back", key="both")
    assert result.success, failure(result)
    tables, clean = site.store.tables, site.settings.clean
    assert tables.keys(INSTANCES) == tables.keys(SLICES) == []
    assert tables.keys(MASKS) == []
    assert {row["outcome"] for row in tables.read(MASK_ITEMS, "drawn").to_pylist()} == {"pending"}
    assert [path for path in clean.files() if path.split("/")[0] in ("instances", "slices", "masks", "previews")] == []
    assert "both" not in site.instance.get_dynamic_partitions("deliveries")
    assert landings.retracted_keys(site.settings.vault, "images") == {"both"}
    record = records.read(site.settings.vault, "retractions", "images.both", "record")
    assert record is not None
    assert records.holds(site.settings.pseudonymiser().key, record)
    assert not records.holds(site.settings.pseudonymiser().key, {**record, "payloads": 0})
    assert (record["by"], record["rows"]["instances"]) == (result.run_id, 6)


def test_the_same_images_in_another_delivery_keep_their_drawings_and_payloads(site: Stewarded) -> None:
    site.arrive("images", "again", scan(STAYS))
    assert site.run("ingest_delivery", "again").success
    assert site.act("retract", "take_back", key="both").success
    rows = site.store.tables.read(MASKS, "drawn").to_pylist()
    assert [row["slice_name"] for row in rows] == [site.of(STAYS, 1)]
    assert points_at_nothing(site) == set()
    outcomes = {row["outcome"] for row in site.store.tables.read(MASK_ITEMS, "drawn").to_pylist()}
    assert outcomes == {"accepted", "pending"}


def test_a_retracted_batch_goes_and_a_later_one_that_repeated_it_is_read_again(site: Stewarded) -> None:
    site.arrive("annotations", "later", {f"{site.of(LEAVES, 1)}.json": drawing("liver")})
    assert site.run("ingest_annotations", "later").success
    assert site.act("retract", "take_back", key="drawn").success
    assert "drawn" not in site.store.tables.keys(MASK_ITEMS)
    todo = records.read(site.settings.vault, "follow_ups", "retract.drawn", "todo")
    assert todo == {"read_again": ["later"], "retrain": True}
    assert site.run("ingest_annotations", "later").success
    assert [row["slice_name"] for row in site.store.tables.read(MASKS, "later").to_pylist()] == [site.of(LEAVES, 1)]


def test_what_was_retracted_is_not_ingested_again_by_sensor_or_by_hand(site: Stewarded) -> None:
    assert site.act("retract", "take_back", key="both").success
    site.register("images")
    assert "both" not in site.instance.get_dynamic_partitions("deliveries")
    site.instance.add_dynamic_partitions("deliveries", ["both"])
    assert "was retracted" in failure(site.run("ingest_delivery", "both"))
    assert site.store.tables.keys(INSTANCES) == []


def test_a_key_that_never_landed_is_refused(site: Stewarded) -> None:
    before = site.tables()
    assert "no delivery or annotation batch" in failure(site.act("retract", "take_back", key="nowhere"))
    assert site.tables() == before


def test_killed_between_writes_and_removals_no_table_names_what_is_gone_and_the_rest_is_done_by_the_next(
    site: Stewarded, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(site.settings.home, whole)
    finished = attempt(whole, 0)
    assert finished.returncode == 0, finished.stderr
    steps = int(finished.stdout)
    expected = Stewarded(whole).tables()
    left = {path for path in Stewarded(whole).settings.clean.files() if is_payload(path)}
    for step in (3, steps // 3, 2 * steps // 3):
        home = tmp_path / f"step-{step}"
        shutil.copytree(site.settings.home, home)
        killed = attempt(home, step)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        again = Stewarded(home)
        assert points_at_nothing(again) == set(), step
        assert attempt(home, 0).returncode == 0
        assert again.tables() == expected, step
        assert {path for path in again.settings.clean.files() if is_payload(path)} == left, step
