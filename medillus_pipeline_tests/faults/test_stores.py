"""A store that is full, blocked or out of reach: one message, no half-written object, and a rerun when it is mended."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from medillus_pipeline.deidentification import staging
from medillus_pipeline.errors import StoreError
from medillus_pipeline.tables import INSTANCES, MASK_ITEMS
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.site import Site, drawing, failure, series


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one published delivery."""
    site = Site(tmp_path_factory.mktemp("ingested"))
    site.arrive("images", "scan", series(1000, 2))
    assert site.run("ingest_delivery", "scan").success
    return site.settings.home


@pytest.fixture
def site(ingested: Path, tmp_path: Path) -> Iterator[Site]:
    """A copy of it, with a delivery and a batch that have just arrived."""
    site = Site(Path(shutil.copytree(ingested, tmp_path / "home")))
    site.arrive("images", "next", series(2000, 2))
    site.arrive("annotations", "drawn", {f"{site.slice_name(1000)}.json": drawing("liver")})
    yield site


JOBS = [("ingest_delivery", "next"), ("ingest_annotations", "drawn")]


@pytest.mark.parametrize(("job", "partition"), JOBS)
def test_a_full_disk(site: Site, monkeypatch: pytest.MonkeyPatch, job: str, partition: str) -> None:
    before = site.tables()
    payloads = set(site.settings.clean.files())

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        result = site.run(job, partition)
    assert "the disk is full: free space, then run again. What was published before is untouched." in failure(result)
    assert site.tables() == before
    assert set(site.settings.clean.files()) == payloads
    assert result.get_asset_materialization_events() == []
    for table in (INSTANCES, MASK_ITEMS):
        assert partition not in site.store.tables.read_all(table)["partition"].to_pylist()
    assert site.run(job, partition).success
    assert before.items() <= site.tables().items()


@pytest.mark.parametrize(
    ("job", "partition", "folder"),
    [(*JOBS[0], "tables/instances"), (*JOBS[0], "instances"), (*JOBS[1], "masks"), (*JOBS[1], "tables/mask_items")],
)
def test_a_folder_of_the_store_that_cannot_be_written(site: Site, job: str, partition: str, folder: str) -> None:
    """A file stands in its place, which stops root too."""
    place = Path(site.settings.clean.full(folder))
    aside = place.with_name(f"{place.name}-aside")
    if place.exists():
        place.rename(aside)
    place.write_bytes(b"")
    before = site.tables()
    message = failure(site.run(job, partition))
    assert "a file stands where a folder is needed: move it out of the way" in message
    assert site.tables() == before
    place.unlink()
    if aside.exists():
        aside.rename(place)
    assert site.run(job, partition).success


def test_a_vault_that_cannot_be_written_publishes_nothing(site: Site) -> None:
    """What is not accounted for in the ledger is not published."""
    ledger = Path(site.settings.vault.full("tables/ledger"))
    ledger.rename(ledger.with_name("aside"))
    ledger.write_bytes(b"")
    before = site.tables()
    assert "move it out of the way" in failure(site.run("ingest_delivery", "next"))
    assert site.tables() == before
    ledger.unlink()
    assert site.run("ingest_delivery", "next").success


def test_the_scratch_folder_is_full(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "scratch/medillus-12345")

    with monkeypatch.context() as patch:
        patch.setattr(staging, "tempfile", SimpleNamespace(TemporaryDirectory=full, gettempdir=tempfile.gettempdir))
        message = failure(site.run("ingest_delivery", "next"))
    assert "(No space left on device): check free space, owner and mode of the folders for work" in message
    assert "/tmp" not in message
    assert site.run("ingest_delivery", "next").success


def test_run_all_goes_on_with_what_does_not_need_the_store_that_failed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One delivery finds no space; the other delivery and the batch are done in the same flow, and it in the next."""
    site.arrive("images", "after", series(3000, 2))
    write = Zone.write

    def full_for_one(self: Zone, path: str, data: bytes) -> None:
        if "partition=next" in path:
            raise StoreError("the disk is full: free space, then run again")
        write(self, path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Zone, "write", full_for_one)
        runs = {run.partition: run.failure for run in site.run_all() if run.partition}
    assert runs["next"] == "the disk is full: free space, then run again"
    assert runs["after"] is None
    assert runs["drawn"] is None
    assert {run.partition for run in site.run_all() if run.job == "ingest_delivery"} == {"next"}
    assert site.store.tables.keys(INSTANCES) == ["after", "next", "scan"]


@pytest.mark.parametrize("act", ["write", "read", "exists", "folders", "files"])
def test_an_object_store_out_of_reach_says_so(monkeypatch: pytest.MonkeyPatch, act: str) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    zone = Zone("s3://hospital/clean")
    with pytest.raises(StoreError, match="check that the store is reachable and its credentials are valid") as caught:
        getattr(zone, act)(*(("a", b"b") if act == "write" else ("a",)))
    assert "hospital" not in str(caught.value)
