"""A delivery ingested on a Dask cluster gives the tables that this machine gives, also where a worker is killed."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.definitions import build_defs
from medillus_pipeline.deidentification.ingest import Ingested, ingest_delivery
from medillus_pipeline.errors import ConfigurationError
from medillus_pipeline.generation.config import preset
from medillus_pipeline.generation.snapshot import build_snapshot
from medillus_pipeline.phantom.keys import DEMO_KEY
from medillus_pipeline.resources.compute import ComputeResource
from medillus_pipeline.tables import INSTANCES, LEDGER, TRAINING_SLICES, Table
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.generation.published import publish_phantoms
from medillus_pipeline_tests.resources.clusters import address_of, cluster
from medillus_pipeline_tests.site import FAR, Site, series

pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with cluster(tmp_path_factory.mktemp("home"), key=DEMO_KEY.hex()) as made:
        yield made


@pytest.fixture
def compute(running: Any) -> ComputeResource:
    return ComputeResource(workers=1, threads=1, cluster=address_of(running))


def delivery() -> dict[str, bytes]:
    return {**series(0, 30), **series(FAR, 30), "notes.txt": b"no image"}


def ingested(site: Site, compute: ComputeResource, progress: Callable[[int, int], None] | None = None) -> Ingested:
    pseudonymiser = site.settings.pseudonymiser()
    folder = site.land("images", "one", delivery()) + " of Vogelweide"
    with compute.executor(restricted=pseudonymiser.key) as executor:
        landing, clean = site.settings.landing, site.settings.clean
        return ingest_delivery(landing, folder, clean, pseudonymiser, executor=executor, progress=progress)


def as_bytes(table: Table, rows: list[dict[str, Any]]) -> bytes:
    sink = table.to_arrow(rows).replace_schema_metadata(None).combine_chunks()
    return repr(sink.to_pydict()).encode()


@pytest.mark.slow
def test_the_tables_of_a_job_are_byte_identical(compute: ComputeResource, tmp_path: Path) -> None:
    here, there = Site(tmp_path / "here"), Site(tmp_path / "there")
    there.definitions = build_defs(there.settings, resources={"compute": compute})
    for site in (here, there):
        site.arrive("images", "one", delivery())
        assert site.run("ingest_delivery", "one").success
    assert here.tables() == there.tables()
    assert here.settings.clean.files("instances") == there.settings.clean.files("instances")
    assert any("slices" in path for path in here.tables())


def test_a_worker_killed_in_the_middle_changes_nothing(compute: ComputeResource, running: Any, tmp_path: Path) -> None:
    said: list[int] = []

    def kill_one(done: int, total: int) -> None:
        said.append(done)
        if done in (20, 80):
            os.kill(next(iter(running.workers.values())).pid, signal.SIGKILL)

    alone = ComputeResource(workers=1, threads=1)
    here = ingested(Site(tmp_path / "here"), alone)
    there = ingested(Site(tmp_path / "there"), compute, kill_one)
    assert {20, 80} <= set(said) and said == sorted(said)
    assert as_bytes(INSTANCES, here.instances) == as_bytes(INSTANCES, there.instances)
    assert as_bytes(LEDGER, here.ledger) == as_bytes(LEDGER, there.ledger)
    for row in there.instances:
        assert (tmp_path / "there" / "clean" / row["path"]).read_bytes() == (
            tmp_path / "here" / "clean" / row["path"]
        ).read_bytes()


def test_a_worker_that_does_not_see_the_waiting_files_refuses(
    compute: ComputeResource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medillus_pipeline.deidentification import ingest

    task = ingest.Task
    monkeypatch.setattr(ingest, "Task", lambda *given: task(*given[:4], tmp_path / "elsewhere", *given[5:]))
    with pytest.raises(ConfigurationError, match="steps and workers share"):
        ingested(Site(tmp_path / "home"), compute)


def test_a_dataset_packed_on_the_cluster_is_the_same(compute: ComputeResource, tmp_path: Path) -> None:
    published = publish_phantoms(Zone((tmp_path / "clean").as_uri()), 8)
    with compute.executor() as executor:
        made = [
            build_snapshot(
                published.slices,
                published.masks,
                published.instances,
                published.splits,
                published.clean,
                vocabulary.load(),
                preset("tiny").dataset,
                partitions={},
                executor=given,
            )
            for given in (None, executor)
        ]
    assert made[0].fingerprint == made[1].fingerprint
    assert as_bytes(TRAINING_SLICES, made[0].rows) == as_bytes(TRAINING_SLICES, made[1].rows)
