"""Ingest, slices and masks killed at any object they write: a rerun ends as if nothing had happened."""

import hashlib
import shutil
from pathlib import Path

import pytest

from medillus_pipeline.tables import INSTANCES, MASKS, SLICES, VOLUMES
from medillus_pipeline_tests.faults.killing import Event, killed, run_tiny, unfinished, written
from medillus_pipeline_tests.site import Site, drawing, series

JOBS = {"ingest_delivery": "next", "ingest_annotations": "drawn"}


@pytest.fixture(scope="module")
def arrived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one published delivery; another one and a batch have just arrived."""
    site = Site(tmp_path_factory.mktemp("arrived"))
    site.arrive("images", "scan", series(1000))
    assert site.run("ingest_delivery", "scan").success
    site.arrive("images", "next", series(2004))  # `ct` gives 2000 the pixels of 1000: no picture would be written
    site.arrive("annotations", "drawn", {f"{site.slice_name(1000 + n)}.json": drawing("liver") for n in range(3)})
    return site.settings.home


@pytest.fixture(scope="module")
def undisturbed(arrived: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """The tables after each job, where nothing came between."""
    done = {}
    for job, partition in JOBS.items():
        site = Site(Path(shutil.copytree(arrived, tmp_path_factory.mktemp(job) / "home")))
        assert run_tiny(site, job, partition).success
        done[job] = site.tables()
    return done


def sound(site: Site) -> None:
    """Every visible payload has the bytes that its name promises, and every row a payload."""
    clean = site.settings.clean
    for path in clean.files():
        if len(Path(path).stem) == 64:
            assert hashlib.sha256(clean.read(path)).hexdigest() == Path(path).stem, path
    for table in (INSTANCES, SLICES, VOLUMES, MASKS):
        for row in site.store.tables.read_all(table).to_pylist():
            assert row["path"] is None or clean.exists(row["path"])


SLOW = pytest.mark.slow
PLACES = [
    pytest.param("ingest_delivery", unfinished("tables/instances"), marks=SLOW, id="the table of instances"),
    pytest.param("ingest_delivery", written("tables/instances"), marks=SLOW, id="after the table of instances"),
    pytest.param("ingest_delivery", Event("os", "replace", "before", "/slices/", 2), marks=SLOW, id="a slice"),
    pytest.param("ingest_delivery", unfinished("tables/slices"), id="the table of slices"),
    pytest.param("ingest_delivery", written("tables/slices"), marks=SLOW, id="after the table of slices"),
    pytest.param("ingest_delivery", unfinished("tables/volumes"), marks=SLOW, id="the table of volumes"),
    pytest.param("ingest_annotations", unfinished("masks", 2), marks=SLOW, id="a mask"),
    pytest.param("ingest_annotations", unfinished("tables/masks"), marks=SLOW, id="the table of masks"),
    pytest.param("ingest_annotations", written("tables/masks"), id="after the table of masks"),
    pytest.param("ingest_annotations", written("tables/mask_items"), marks=SLOW, id="after the receipt"),
]


@pytest.mark.parametrize(("job", "event"), PLACES)
def test_a_job_killed_at_an_object_loses_nothing_and_its_rerun_makes_the_same_tables(
    arrived: Path, undisturbed: dict[str, dict[str, bytes]], tmp_path: Path, job: str, event: Event
) -> None:
    site = Site(Path(shutil.copytree(arrived, tmp_path / "home")))
    before = site.tables()
    killed(site.settings.home, job, JOBS[job], event)
    after = site.tables()
    assert before.items() <= after.items()
    assert after.items() <= undisturbed[job].items(), "what is visible is whole"
    if event.when == "after":
        assert any(event.shown in path for path in after.keys() - before.keys())
    sound(site)
    assert run_tiny(site, job, JOBS[job]).success
    assert site.tables() == undisturbed[job]
    sound(site)
