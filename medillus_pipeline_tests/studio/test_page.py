"""The page in headless Chromium, as a physician uses it: drawing, words, a sketch, a refusal, names, notes, files."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medillus_pipeline.illustration.verification import verify
from medillus_pipeline_tests.studio.conftest import Running, Start

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = Path("/usr/bin/chromium")
pytestmark = pytest.mark.slow
PATIENCE = 120_000
"""Milliseconds; the machine may be busy."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip("there is no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield started
        started.close()


class Physician:
    """A fresh profile on the page; what the page complained about, and whom it asked."""

    def __init__(self, browser: Any, studio: Running) -> None:
        self.studio = studio
        self.context = browser.new_context(
            accept_downloads=True, locale="en-GB", viewport={"width": 1280, "height": 900}
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.complaints: list[str] = []
        self.asked: set[str] = set()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.add(request.url))
        self.page.goto(f"{studio.base}/?token={studio.access.token}")
        self.page.wait_for_selector("body[data-ready]")

    def pick(self, name: str, value: str) -> None:
        self.page.locator(f"input[name={name}][value='{value}']").check(force=True)

    def structure(self, name: str) -> None:
        self.page.fill("#find", name)
        self.page.press("#find", "Enter")
        self.page.fill("#find", "")

    def around(self, x: float, y: float, radius: float, *, drag: bool = False) -> None:
        """A ring of corners, or one stroke."""
        box = self.page.locator("#canvas").bounding_box()
        places = [
            (
                box["x"] + box["width"] * (x + radius * math.cos(a)),
                box["y"] + box["height"] * (y + radius * math.sin(a)),
            )
            for a in (2 * math.pi * i / 18 for i in range(19 if drag else 18))
        ]
        if drag:
            self.page.mouse.move(*places[0])
            self.page.mouse.down()
            for place in places:
                self.page.mouse.move(*place)
            self.page.mouse.up()
        else:
            for place in places:
                self.page.mouse.click(*place)
            self.page.press("#canvas", "Enter")

    def make(self) -> None:
        self.page.click("#make")
        self.page.wait_for_selector("#make:not([disabled])")

    def shown(self) -> str:
        """The figure's name."""
        return (self.page.get_attribute("#figure", "src") or "").split("/")[2]


@pytest.fixture
def physician(browser: Any, start: Start) -> Iterator[Physician]:
    found = Physician(browser, start())
    yield found
    found.context.close()


def draw_organs(physician: Physician) -> None:
    physician.pick("tool", "polygon")
    physician.structure("liver")
    physician.around(0.36, 0.45, 0.14)
    physician.structure("spleen")
    physician.around(0.72, 0.5, 0.08)


def test_a_drawing_becomes_a_figure_whose_look_and_names_change_and_that_can_be_taken(
    physician: Physician, tmp_path: Path
) -> None:
    page = physician.page
    draw_organs(physician)
    physician.make()
    assert page.inner_text("#status").startswith("Made in"), page.inner_text("#status")
    assert page.evaluate("document.getElementById('figure').naturalWidth") > 300
    named = page.locator("#names label").all_inner_texts()
    assert len(named) == 2 and named[0].startswith("spleen") and named[1].startswith("liver")
    first = physician.shown()
    with page.expect_response("**/look"):
        page.locator("#names input").first.uncheck()
    page.wait_for_selector(f"#figure:not([src*='{first}'])")
    svg = physician.studio.bench.kept(physician.shown()).figure.svg
    assert b'data-structure="liver"' in svg and b'data-structure="spleen"' not in svg
    key = physician.studio.settings.signing_key()
    for kind in page.locator("#downloads a").all():
        with page.expect_download() as download:
            kind.click()
        file = tmp_path / download.value.suggested_filename
        download.value.save_as(file)
    (manifest,) = tmp_path.glob("*.manifest.json")
    for file in set(tmp_path.glob("f-*")) - {manifest}:
        verify(file.read_bytes(), file.name, beside=(manifest.read_bytes(),), trusted=(key.public,))
    assert {file.suffix for file in tmp_path.iterdir() if file.is_file()} == {
        ".svg",
        ".png",
        ".pdf",
        ".dcm",
        ".html",
        ".json",
    }
    page.fill("#comment", "肝左叶过大")
    page.click("#reject")
    page.wait_for_selector("#noted:has-text('counts as no approval')")
    landing = physician.studio.settings.landing
    (note,) = [json.loads(landing.read(path)) for path in landing.files("figure_notes")]
    assert (note["decision"], note["signed"], note["counts_as_approval"]) == ("reject", False, False)
    assert note["comment"] == "肝左叶过大" and not landing.files("reviews")
    assert physician.complaints == []
    assert all(url.startswith((physician.studio.base, "data:", "blob:")) for url in physician.asked)


def test_the_keyboard_alone_draws_undoes_and_makes(physician: Physician) -> None:
    page = physician.page
    page.focus("#canvas")
    for _ in range(2):
        page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("Space")
    board = "[...document.querySelectorAll('#structures .used')].map((mark) => mark.textContent).join('')"
    assert page.evaluate(board) == "✓"
    page.keyboard.press("Control+z")
    assert page.evaluate(board) == ""
    page.keyboard.press("Space")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#about:not([hidden])")
    assert "structures" not in physician.complaints


def test_words_in_chinese_are_shown_back_and_become_a_figure(physician: Physician) -> None:
    page = physician.page
    page.click("#language-zh")
    assert page.title() == "图解工作室" and page.inner_text("#make") == "生成图"
    physician.pick("way", "words")
    page.fill("#text", "腹部CT，肝，脾，某某某")
    page.wait_for_selector("#shown-back.unsettled")
    page.fill("#text", "CT，肝，脾")
    page.wait_for_selector("#shown-back:not(.unsettled):has-text('肝')")
    physician.make()
    assert page.is_visible("#about"), page.inner_text("#refused")
    assert "肝" in page.inner_text("#names") and physician.complaints == []


def test_a_sketch_that_is_drawn_or_uploaded_becomes_a_figure(physician: Physician, tmp_path: Path) -> None:
    page = physician.page
    physician.pick("way", "sketch")
    physician.structure("liver")
    physician.around(0.36, 0.45, 0.14, drag=True)
    physician.make()
    assert page.is_visible("#about"), page.inner_text("#refused")
    assert "liver" in page.inner_text("#names")
    first = physician.shown()
    file = tmp_path / "sketch.svg"
    file.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100"><g id="spleen">'
        '<circle cx="72" cy="50" r="10" fill="none" stroke="black" stroke-width="1"/></g></svg>'
    )
    page.set_input_files("#upload", file)
    assert "sketch.svg" in page.inner_text("#uploaded")
    physician.make()
    assert physician.shown() != first, page.inner_text("#refused") + page.inner_text("#status")
    assert "spleen" in page.inner_text("#names")


def test_what_does_not_pass_is_not_shown_and_the_reasons_are(browser: Any, start: Start) -> None:
    physician = Physician(browser, start(profile="clinical-education"))
    draw_organs(physician)
    physician.make()
    page = physician.page
    assert page.is_hidden("#figure") and page.is_hidden("#about")
    assert page.locator("#refused li").count() >= 1
    english = page.inner_text("#refused")
    page.click("#language-zh")
    assert page.inner_text("#refused") != english
    physician.context.close()


def test_the_labels_of_a_figure_come_back_to_the_canvas(physician: Physician) -> None:
    page = physician.page
    physician.pick("way", "words")
    page.fill("#text", "CT, liver, spleen")
    physician.make()
    page.click("#edit")
    page.wait_for_selector("#status:has-text('on the canvas')")
    assert page.is_checked("input[name=way][value=organs]")
    assert "✓" in page.inner_text("#structures")
    physician.make()
    assert page.inner_text("#status").startswith("Made in")


def test_every_control_has_a_name_and_both_languages_are_whole(physician: Physician) -> None:
    nameless = """[...document.querySelectorAll("button, input, select, textarea, canvas#canvas")].filter((one) =>
        !(one.labels?.length || one.textContent.trim() || one.getAttribute("aria-label")))
        .map((one) => one.outerHTML)"""
    for language in ("en", "zh"):
        physician.page.click(f"#language-{language}")
        assert physician.page.evaluate(nameless) == []
        wide = physician.page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert not wide
