"""The interactive page in a real browser, from a file: pointed at, tabbed through, with hostile names, no network."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration import fonts
from medillus_pipeline.illustration.figure import Figure, draw_figure
from medillus_pipeline.illustration.functions import TABLE, function_of
from medillus_pipeline.illustration.interactive import interactive_page
from medillus_pipeline.illustration.interactive_wording import KINDS, WORDS
from medillus_pipeline_tests.illustration.finished_figures import MARKUP, figure, finished, hostile, origin, scan
from medillus_pipeline_tests.illustration.scenes import request

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = Path("/usr/bin/chromium")
LIVER = "g.structure[data-structure=liver]"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip("there is no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield started
        started.close()


class Opened:
    """The page in a fresh profile, what it asked the network for, and what it complained about."""

    def __init__(self, browser: Any, file: Path, **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": 1500, "height": 1000}, **options)
        self.page = self.context.new_page()
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.url = file.as_uri()
        self.page.goto(self.url)

    def told(self) -> list[str]:
        """Keys of the structures whose description can be seen."""
        return self.page.eval_on_selector_all(
            ".about", "found => found.filter(e => e.checkVisibility()).map(e => e.dataset.structure)"
        )

    def focused(self) -> str | None:
        return self.page.evaluate("document.activeElement.dataset.structure ?? null")

    def shown(self, selector: str) -> bool:
        return self.page.locator(selector).first.is_visible()

    def into_drawing(self) -> None:
        """By the tabulator alone, from the start of the page."""
        self.page.locator("#languages button").last.focus()
        self.page.keyboard.press("Tab")


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Opened]:
    file = tmp_path / "figure.html"
    file.write_bytes(finished().file(".html"))
    page = Opened(browser, file)
    yield page
    page.context.close()


def opened_with(browser: Any, tmp_path: Path, of: Figure, **options: Any) -> Opened:
    file = tmp_path / "figure.html"
    file.write_bytes(interactive_page(of, origin(of)))
    return Opened(browser, file, **options)


def keys_in_drawing(page: Opened) -> list[str]:
    return page.page.eval_on_selector_all("g.structure", "found => found.map(e => e.dataset.structure)")


def test_pointing_at_an_organ_tells_what_it_is(opened: Opened) -> None:
    assert opened.told() == [] and opened.shown("#hint")
    opened.page.hover(LIVER)
    assert opened.told() == ["liver"] and not opened.shown("#hint")
    said = opened.page.inner_text("#about-liver")
    for expected in ("Liver", "肝", "Makes bile", "分泌胆汁", "10200004", "62%", "cm²"):
        assert expected in said
    opened.page.hover("h1")
    assert opened.told() == []


def test_a_click_keeps_it_until_another_or_escape(opened: Opened) -> None:
    opened.page.click(LIVER)
    opened.page.hover("g.structure[data-structure=spleen]")
    assert opened.told() == ["liver"]
    assert opened.page.get_attribute(LIVER, "aria-pressed") == "true"
    opened.page.keyboard.press("Escape")
    assert opened.told() == [] and opened.page.get_attribute(LIVER, "aria-pressed") == "false"


def test_the_keyboard_alone_reaches_every_organ_in_one_stop(opened: Opened) -> None:
    opened.into_drawing()
    keys, visited = keys_in_drawing(opened), []
    for _ in keys:
        visited.append(opened.focused())
        assert opened.told() == [opened.focused()]
        opened.page.keyboard.press("ArrowRight")
    assert visited == keys and opened.focused() == keys[0]
    opened.page.keyboard.press("End")
    opened.page.keyboard.press("Enter")
    assert opened.focused() == keys[-1] and opened.told() == [keys[-1]]
    opened.page.keyboard.press("Tab")
    assert opened.page.evaluate("document.activeElement.closest('#plate')") is None


def test_a_screen_reader_hears_a_named_button_with_its_description(opened: Opened) -> None:
    liver = opened.page.get_by_role("button", name="Liver 肝", exact=True)
    assert liver.count() == 1
    described = opened.page.locator(f"#{liver.get_attribute('aria-describedby')}")
    assert described.count() == 1 and "Makes bile" in (described.text_content() or "")
    unnamed = opened.page.evaluate(
        "[...document.querySelectorAll('button,input')].filter(e => !(e.innerText || e.labels?.[0]?.innerText)).length"
    )
    assert unnamed == 0
    assert opened.page.get_by_role("checkbox").count() == opened.page.locator("input").count()
    ids = opened.page.eval_on_selector_all("[id]", "found => found.map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_layers_and_structures_go_and_come_back(opened: Opened) -> None:
    opened.page.uncheck("#layers input[data-layer=scan]")
    assert not opened.shown("image.scan") and opened.shown(LIVER)
    opened.page.check("#layers input[data-layer=scan]")
    assert opened.shown("image.scan")
    opened.page.uncheck("#shown input[data-structure=liver]")
    assert not opened.shown(LIVER) and opened.shown("g.structure[data-structure=spleen]")
    opened.into_drawing()
    for _ in keys_in_drawing(opened):
        assert opened.focused() not in (None, "liver")
        opened.page.keyboard.press("ArrowDown")
    opened.page.click("#all")
    assert opened.shown(LIVER)


def test_outlines_only_leaves_neither_image_nor_colour(opened: Opened) -> None:
    opened.page.click("#outline-only")
    assert opened.page.get_attribute("#outline-only", "aria-pressed") == "true" and not opened.shown("image.scan")
    painted = opened.page.eval_on_selector_all(
        "g.structure path", "found => found.map(e => [getComputedStyle(e).fillOpacity, getComputedStyle(e).stroke])"
    )
    assert all(opacity == "0" and stroke != "none" for opacity, stroke in painted)
    opened.page.click("#outline-only")
    assert opened.shown("image.scan")


def test_outlines_only_shows_outlines_where_the_style_draws_none(browser: Any, tmp_path: Path) -> None:
    page = opened_with(browser, tmp_path, draw_figure(request(style="patient")))
    page.page.click("#outline-only")
    strokes = page.page.eval_on_selector_all("g.structure path", "found => found.map(e => getComputedStyle(e).stroke)")
    assert strokes and "none" not in strokes
    page.context.close()


def test_a_language_can_be_chosen(opened: Opened) -> None:
    opened.page.click(LIVER)
    opened.page.click("#languages button[data-language=zh]")
    said = opened.page.inner_text("#about-liver")
    assert "肝" in said and "Makes bile" not in said
    assert opened.page.get_attribute("html", "lang") == "zh-CN"


def test_it_opens_no_connection_and_complains_about_nothing(opened: Opened) -> None:
    opened.page.click("#outline-only")
    opened.page.click("#none")
    opened.page.click("summary")
    assert [url for url in opened.asked if not url.startswith("data:")] == [opened.url]
    assert opened.complaints == []


def test_no_script_runs_but_its_own(opened: Opened) -> None:
    opened.page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))"
    )
    opened.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<i onclick=\"window.ran = 2\" id=i>x</i>')")
    opened.page.click("#i")
    assert opened.page.evaluate("window.ran ?? null") is None and len(opened.complaints) == 2


def test_markup_in_names_and_captions_stays_text(browser: Any, tmp_path: Path) -> None:
    page = opened_with(browser, tmp_path, hostile())
    assert page.page.evaluate("document.title") != "run" and page.complaints == []
    assert page.page.locator("b, [onclick]").count() == 0 and page.page.locator("script").count() == 1
    page.into_drawing()
    page.page.keyboard.press("End")
    assert MARKUP in (page.page.locator(f"#about-{page.focused()} h2").text_content() or "")
    page.context.close()


def test_without_scripts_everything_can_still_be_read(browser: Any, tmp_path: Path) -> None:
    page = opened_with(browser, tmp_path, scan(), java_script_enabled=False)
    assert (
        page.page.locator(".about").count()
        == page.page.locator(".about:visible").count()
        == len(scan().request.structures)
    )
    page.context.close()


def test_the_drawing_in_chromium_has_the_labels_as_text(opened: Opened) -> None:
    assert "Left adrenal gland" in (opened.page.locator("#plate > svg").text_content() or "")


def test_labels_are_a_layer_where_the_drawing_groups_them(browser: Any, tmp_path: Path) -> None:
    grouped = re.sub(
        rb'(<text [^>]*>Spleen</text>)', rb'<g class="label" data-structure="spleen">\1</g>', figure().svg, count=1
    )  # fmt: skip
    if b'class="label"' in figure().svg:
        grouped = figure().svg
    of = Figure(figure().name, grouped, figure().png, figure().sidecar, figure().request)
    page = opened_with(browser, tmp_path, of)
    label = "g.label[data-structure=spleen]"
    page.page.hover(f"{label} text")
    assert page.told() == ["spleen"]
    page.page.uncheck("#layers input[data-layer=label]")
    assert not page.shown(label)
    page.context.close()


def test_a_drawing_that_does_not_match_its_sidecar_is_refused() -> None:
    plain = figure()
    for svg, said in ((b"<svg", "cannot be read"), (b"<html/>", "no <svg>"), (b"<svg/>", "names no structure")):
        with pytest.raises(InputError, match=said):
            interactive_page(Figure(plain.name, svg, plain.png, plain.sidecar, plain.request), origin(plain))


def test_every_structure_of_the_vocabulary_says_what_it_is_for_in_glyphs_that_exist() -> None:
    for structure in vocabulary.load():
        said = function_of(structure)
        assert said is not None and said.en.endswith(".") and said.zh.endswith("。"), structure.key
        assert fonts.width(said.en + said.zh, 12) > 0


def test_the_words_of_the_page_have_glyphs_in_the_typeface_that_it_carries() -> None:
    assert set(KINDS) == set(get_args(vocabulary.Kind))
    for text in (*WORDS.values(), *KINDS.values()):
        assert text.en and text.zh and fonts.width(text.en + text.zh, 12) > 0


def test_the_further_functions_are_of_structures_that_the_vocabulary_says_nothing_of() -> None:
    keys = [line.split(",")[0] for line in TABLE.read_text("utf-8").splitlines()[1:]]
    assert len(keys) == len(set(keys))
    assert not [key for key in keys if vocabulary.load().by_key(key).function_en]
