"""A process that is killed while it writes: no half object is seen, and a rerun gives what an undisturbed run gives."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from medillus_pipeline.deidentification.ingest import ingest_delivery
from medillus_pipeline.errors import TransientError
from medillus_pipeline.tables import INSTANCES
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.conftest import REPOSITORY
from medillus_pipeline_tests.site import Site, series

INGEST = """
import os, signal, sys
from pathlib import Path
from medillus_pipeline_tests.site import Site

site = Site(Path(sys.argv[1]))
site.register("images")
written, fsync = 0, os.fsync

def die(handle):
    global written
    written += 1
    if written == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(handle)

os.fsync = die
site.run("ingest_delivery", "scan")
"""
FILES = 4
OPENINGS = 2
"""Lines of the access log, for landing and vault, that come before the first payload."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    site = Site(tmp_path_factory.mktemp("undisturbed"))
    site.arrive("images", "scan", series(1000, FILES))
    assert site.run("ingest_delivery", "scan").success
    return site.tables()


@pytest.mark.parametrize("write", [OPENINGS + 3, OPENINGS + FILES + 2], ids=["a payload", "the table"])
def test_a_killed_ingest_leaves_no_half_object_and_its_rerun_makes_the_same_tables(
    tmp_path: Path, undisturbed: dict[str, bytes], write: int
) -> None:
    site = Site(tmp_path)
    site.arrive("images", "scan", series(1000, FILES))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MEDILLUS_")}
    killed = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", INGEST, str(tmp_path), str(write)],
        cwd=REPOSITORY, capture_output=True, check=False, env=environment,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]

    clean = site.settings.clean
    on_disk = [path for path in Path(clean.full("")).rglob("*") if path.is_file()]
    half = [path for path in on_disk if path.name.endswith(".unfinished")]
    waiting = [path for path in tmp_path.rglob(".medillus-staged-*/*") if path.name != "lock"]
    assert half or waiting, "it was killed in the middle of its work"
    seen = clean.files()
    assert len(seen) == len(on_disk) - len(half)
    for path in seen:
        assert hashlib.sha256(clean.read(path)).hexdigest() == Path(path).stem
    assert site.tables() == {}
    assert len(seen) == min(write - OPENINGS - 1, FILES)
    assert "scan" not in site.store.tables.read_all(INSTANCES)["partition"].to_pylist()

    assert site.run("ingest_delivery", "scan").success
    assert site.tables() == undisturbed
    assert not list(tmp_path.rglob(".medillus-staged-*"))


class Deadly(Zone):
    """A zone that kills the worker process that receives it, as the kernel does when memory runs out."""

    def __setstate__(self, state: dict[str, object]) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_process_is_no_riddle_and_may_be_tried_again(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.land("images", "scan", series(1000, FILES))
    clean = site.settings.clean
    with pytest.raises(TransientError, match="ended abruptly, out of memory or in a decoder: run again with fewer"):
        ingest_delivery(
            Deadly(site.settings.landing_url), "scan of Vogelweide", clean, site.settings.pseudonymiser(), workers=2
        )
    assert clean.files() == []
