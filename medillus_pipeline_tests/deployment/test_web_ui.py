"""Dagster's web UI in Chromium: the asset graph, a materialization with its previews, a gate that does not hold.

With `SCREENSHOTS=docs` in the environment the pictures of the README are made anew.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pytest

from medillus_pipeline import landings
from medillus_pipeline_tests.deidentification.delivered_files import COLUMNS, ROWS, encoded, image
from medillus_pipeline_tests.deployment.browser import browser_page, keep, open_page
from medillus_pipeline_tests.deployment.conftest import LOOPBACK, REPO, free_port
from medillus_pipeline_tests.deployment.topology import until
from medillus_pipeline_tests.flow import flow, land_cohort, lower_gates, settings_at

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow
LARGEST = 400_000
"""Bytes of a picture in the README."""
GROUPS = ("images", "annotations", "dataset", "models", "validation", "promotion", "figures")
GRAPH = {"x": 560, "y": 290, "width": 1640, "height": 1500}
ABOVE_PATHS = {"x": 0, "y": 0, "width": 1500, "height": 780}
"""The part of the page that shows no path of the machine that the picture is taken on."""
SETTLED = 10_000
"""Milliseconds in which the graph comes to rest and its nodes learn their state."""
COLOURS = """image => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const drawing = canvas.getContext("2d");
  drawing.drawImage(image, 0, 0);
  const bytes = drawing.getImageData(0, 0, canvas.width, canvas.height).data;
  return [canvas.width, new Set(bytes).size];
}"""
"""Width of an image, and how many values its pixels take."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the whole flow was done, and then a delivery of blank images did not pass its gate."""
    home = tmp_path_factory.mktemp("home")
    settings = settings_at(home)
    land_cohort(settings, tmp_path_factory.mktemp("cohort"))
    with pytest.MonkeyPatch.context() as patch:
        lower_gates(patch)
        assert [run.failure for run in flow(settings).failures] == []
        blank = np.full((ROWS, COLUMNS), 1024, "<u2").tobytes()
        for number in range(4):
            settings.landing.write(f"images/calibration/IM{number}", encoded(image(number=number, PixelData=blank)))
        landings.close(settings.landing, "images", "calibration", {"label": "calibration", "synthetic": True})
        (failed,) = flow(settings).failures
    assert (failed.job, failed.partition) == ("ingest_delivery", "calibration")
    return home


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
    """Dagster's webserver over that home, as `make ui` starts it."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MEDILLUS_")}
    environment |= {"MEDILLUS_HOME": str(home), "MEDILLUS_PROFILE": "demo", "DAGSTER_HOME": str(home / "dagster")}
    environment |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = [
        "dagster-webserver",
        "--host",
        LOOPBACK,
        "--port",
        str(port),
        "--workspace",
        str(REPO / "workspace.yaml"),
    ]
    with (home / "webserver.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, cwd=REPO, stdout=log, stderr=subprocess.STDOUT)
    try:
        until(lambda: _answers(f"http://{LOOPBACK}:{port}/server_info"), f"the webserver: {home / 'webserver.log'}")
        yield f"http://{LOOPBACK}:{port}"
    finally:
        server.terminate()
        server.wait(60)


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=10) as answer:
            return answer.status == 200
    except (URLError, TimeoutError):
        return False


@pytest.fixture
def page() -> Iterator["Page"]:
    with browser_page() as page:
        yield page


def test_the_graph_shows_every_group_and_its_assets(page: "Page", url: str, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 2200, "height": 1900})
    open_page(page, f"{url}/asset-groups")
    page.get_by_text("figures", exact=True).last.wait_for()
    page.keyboard.press("Alt+e")  # opens all groups
    page.get_by_text("slices", exact=True).first.wait_for()
    page.reload()  # they stay open, and the whole graph is fitted into the page
    for name in ("slices", "volumes", "masks", "training_dataset", "judge", "validation_report", "promoted_generator"):
        page.get_by_text(name, exact=True).first.wait_for()
    assert {group for group in GROUPS if not page.get_by_text(group, exact=True).count()} == set()
    page.wait_for_timeout(SETTLED)
    assert 10_000 < keep(page, "asset-graph.png", tmp_path, clip=GRAPH).stat().st_size < LARGEST


def test_a_materialization_shows_its_preview(page: "Page", url: str, tmp_path: Path) -> None:
    open_page(page, f"{url}/assets/slices?view=partitions&partition=phantom-a")
    row = page.locator("tr", has=page.get_by_text("preview", exact=True))
    row.get_by_text("Show Markdown").click()
    shown = page.get_by_role("dialog").locator("img")
    shown.wait_for()
    width, colours = shown.evaluate(COLOURS)
    assert width >= 100 and colours > 10, "a picture that is no single colour"
    assert 10_000 < keep(page, "dagster-preview.png", tmp_path, clip=ABOVE_PATHS).stat().st_size < LARGEST


def test_a_gate_that_does_not_hold_is_seen_with_what_is_wrong(page: "Page", url: str, tmp_path: Path) -> None:
    open_page(page, f"{url}/assets/slices?view=checks&checkDetail=slices_gate")
    page.get_by_text("slices_gate", exact=True).first.wait_for()
    page.get_by_text("Failed", exact=True).first.wait_for()
    page.get_by_text("images are not constant").first.wait_for()
    assert page.get_by_text("calibration").count()
    assert 10_000 < keep(page, "failed-gate.png", tmp_path).stat().st_size < LARGEST
