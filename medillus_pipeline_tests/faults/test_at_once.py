"""Two runs of the same partition at the same time: one after the other or mixed, the tables are the same."""

import subprocess
import sys
from pathlib import Path

import pytest

from medillus_pipeline_tests.conftest import REPOSITORY
from medillus_pipeline_tests.site import Site, drawing, series

TWIN = """
import sys
from pathlib import Path
from medillus_pipeline import zones
from medillus_pipeline_tests.faults.killing import run_tiny
from medillus_pipeline_tests.site import Site

site, write = Site(Path(sys.argv[1])), zones.Zone.write

def meeting(zone, path, data):
    if path.startswith(f"tables/{sys.argv[4]}/"):
        print("ready", flush=True)
        sys.stdin.readline()
    write(zone, path, data)

zones.Zone.write = meeting
result = run_tiny(site, sys.argv[2], sys.argv[3])
print("success" if result.success else "failure")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "partition", "table"), [("ingest_delivery", "scan", "instances"), ("ingest_annotations", "drawn", "masks")]
)
def test_two_runs_that_publish_at_the_same_moment_leave_the_tables_of_one(
    tmp_path: Path, job: str, partition: str, table: str
) -> None:
    def arrived(name: str) -> Site:
        site = Site(tmp_path / name)
        site.arrive("images", "scan", series(1000))
        if job == "ingest_annotations":
            assert site.run("ingest_delivery", "scan").success
            site.arrive("annotations", "drawn", {f"{site.slice_name(1000)}.json": drawing("liver")})
        return site

    alone, shared = arrived("alone"), arrived("shared")
    assert alone.run(job, partition).success
    words = [sys.executable, "-W", "ignore", "-c", TWIN, str(shared.settings.home), job, partition, table]
    pipe = subprocess.PIPE
    twins = [subprocess.Popen(words, cwd=REPOSITORY, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    for twin in twins:
        assert twin.stdout is not None
        assert twin.stdout.readline() == "ready\n", twin.communicate()[1][-1500:]
    for twin in twins:  # both hold everything that they are about to publish
        assert twin.stdin is not None
        twin.stdin.write("go\n" * 9)
        twin.stdin.flush()
    ends = [twin.communicate(timeout=300) for twin in twins]
    assert [out.splitlines()[-1] for out, _ in ends] == ["success"] * 2, ends[0][1][-1500:] + ends[1][1][-1500:]
    assert shared.tables() == alone.tables()
    assert not list(tmp_path.rglob("*.unfinished"))
