import re
from html.parser import HTMLParser
from urllib.parse import unquote
from xml.etree import ElementTree

from medillus_pipeline.illustration.figure import draw_figure
from medillus_pipeline.illustration.gallery import GalleryEntry, build_gallery
from medillus_pipeline_tests.illustration.scenes import request


class Reader(HTMLParser):
    """Collects tags with their attributes, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: bytes) -> Reader:
    reader = Reader()
    reader.feed(page.decode())
    return reader


def test_the_page_is_self_contained_and_speaks_both_languages() -> None:
    figures = [draw_figure(request(seed=seed), zoom=0.5) for seed in (1, 2)]
    page = build_gallery([GalleryEntry(f, f"{f.name}.json", f"{f.name}.png") for f in figures])
    reader = read(page)
    images = [a for tag, a in reader.tags if tag == "img"]
    assert len(images) == 2 and all("Liver" in (a["alt"] or "") for a in images)
    for image, figure in zip(images, figures, strict=True):
        kind, source = (image["src"] or "").split(",", 1)
        assert kind == "data:image/svg+xml"
        assert unquote(source).encode() == figure.svg
        ElementTree.fromstring(unquote(source))
    assert not [a for tag, a in reader.tags if tag in ("link", "iframe") or (tag == "script" and "src" in a)]
    assert not re.search(rb"(src|href)=\"?https?:", page) and b"@import" not in page
    assert {a.get("lang") for _, a in reader.tags} >= {"en", "zh-CN"}
    links = [a["href"] for tag, a in reader.tags if tag == "a"]
    assert links == [n for f in figures for n in (f"{f.name}.png", f"{f.name}.json")]
    assert "AI-generated, not for diagnosis" in reader.text and "2 figures" in reader.text
    assert page == build_gallery([GalleryEntry(f, f"{f.name}.json", f"{f.name}.png") for f in figures])


def test_hostile_text_is_text_on_the_page_too() -> None:
    figure = draw_figure(request(body_part='<script>alert(1)</script>" onload="x'))
    reader = read(build_gallery([GalleryEntry(figure, '"><b>.json')]))
    assert len([tag for tag, _ in reader.tags if tag == "script"]) == 1
    assert not [tag for tag, a in reader.tags if tag == "b" or "onload" in a]


def test_an_empty_gallery_is_still_a_page() -> None:
    assert "0 figures" in read(build_gallery([])).text
