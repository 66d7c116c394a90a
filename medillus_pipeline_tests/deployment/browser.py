"""Chromium on Dagster's web UI: pages opened as a person opens them, and pictures of what they show."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

SIZE = {"width": 1500, "height": 900}
PATIENCE = 120_000
"""Milliseconds within which something has to be seen: the machine may be busy."""
SCREENSHOTS = "SCREENSHOTS"
"""Environment variable: a folder that keeps the pictures, such as docs."""


@contextmanager
def browser_page() -> Iterator["Page"]:
    """A page of a headless Chromium. Skips where Playwright or Chromium is not installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not installed here")
    with playwright.sync_playwright() as started:
        # Chromium's sandbox refuses to work for root; the pages are our own.
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = started.chromium.launch(executable_path=program, args=options)
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(PATIENCE)
        yield page
        browser.close()


def open_page(page: "Page", url: str) -> None:
    """Open a page of the UI and put away what greets a newcomer."""
    page.goto(url, timeout=PATIENCE)
    page.wait_for_load_state("networkidle", timeout=PATIENCE)
    from playwright.sync_api import TimeoutError as NotSeen

    with suppress(NotSeen):  # it comes once for each browser, a moment after the page
        page.get_by_role("button", name="Skip").click(timeout=6000)


def keep(page: "Page", name: str, folder: Path, **given: Any) -> Path:
    """A picture of the page, in the folder that the environment names or else in `folder`."""
    path = Path(os.environ.get(SCREENSHOTS, folder)) / name
    page.screenshot(path=path, animations="disabled", **given)
    return path
