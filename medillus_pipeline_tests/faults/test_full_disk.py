"""A disk that is really full, and a limit on the size of files, as the kernel enforces them on a process."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medillus_pipeline_tests.conftest import REPOSITORY
from medillus_pipeline_tests.faults.killing import run_tiny
from medillus_pipeline_tests.site import Site, series

SMALL_DISK = """
mount -t tmpfs -o size=48k none "$1/clean" || exit 77
"$2" -W ignore -c "$3" "$1"
"""
ON_SMALL_DISK = """
import sys
from pathlib import Path
from medillus_pipeline.run_all import failure_of
from medillus_pipeline_tests.site import Site

import dagster as dg
dg.RetryPolicy.calculate_delay = lambda *_: 0
site = Site(Path(sys.argv[1]))
site.register("images")
result = site.run("ingest_delivery", "scan")
print("said:", failure_of(result))
print("retries:", sum(event.is_step_up_for_retry for event in result.all_events))
print("tables:", sorted(site.tables()))
left = [path for path in Path(site.settings.clean.full("")).rglob("*") if path.name.endswith(".unfinished")]
print("unfinished:", len(left))
"""


@pytest.fixture
def arrived(tmp_path: Path) -> Path:
    site = Site(tmp_path / "home")
    site.arrive("images", "scan", series(1000, 12))
    Path(site.settings.clean.full("")).mkdir(parents=True, exist_ok=True)
    return site.settings.home


@pytest.mark.slow
def test_a_file_system_without_space_is_named_and_holds_nothing_half_written(arrived: Path) -> None:
    """A file system in memory of 48 KiB, in a mount namespace of its own."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine gives no mount namespace to who asks")
    words = [unshare, "-rm", "sh", "-c", SMALL_DISK, "sh", str(arrived), sys.executable, ON_SMALL_DISK]
    ended = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=300)
    if ended.returncode == 77:
        pytest.skip("this machine lets nobody mount a file system in memory")
    assert ended.returncode == 0, ended.stderr[-1500:]
    said = dict(line.split(": ", 1) for line in ended.stdout.splitlines() if ": " in line)
    assert "the disk is full: free space, then run again. What was published before is untouched." in said["said"]
    assert (said["retries"], said["tables"], said["unfinished"]) == ("2", "[]", "0")
    assert run_tiny(Site(arrived), "ingest_delivery", "scan").success


def test_a_limit_on_the_size_of_files_is_said_once(tmp_path: Path) -> None:
    """`ulimit -f` of an account: the kernel answers EFBIG, which no further attempt changes."""
    script = """
import resource, sys
from medillus_pipeline.zones import StoreRefused, Zone
zone = Zone(sys.argv[1])
zone.write("small", b"x" * 100)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    zone.write("large", b"x" * 2000)
except StoreRefused as refused:
    print(refused)
print(zone.files(), zone.read("small") == b"x" * 100)
"""
    words = [sys.executable, "-c", script, tmp_path.as_uri()]
    ended = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "`ulimit -f` allows: raise the limit. What was published before is untouched." in ended.stdout
    assert "['small'] True" in ended.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["small"]
