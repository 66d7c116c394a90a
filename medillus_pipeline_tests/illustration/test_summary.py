import io
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration import fonts, wording
from medillus_pipeline.illustration.measures import greatest_diameter
from medillus_pipeline.illustration.summary import Summary, draw_summary
from medillus_pipeline_tests.illustration.scenes import request

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def page() -> Summary:
    return draw_summary([request(level=0.6), request(level=0.7, seed=43), request(orientation=("R", "L", "H", "F"))])


def disc(radius_mm: float, pixel_mm: float):
    size = 96
    row, column = np.mgrid[:size, :size]
    inside = (row - 47.5) ** 2 + (column - 47.5) ** 2 < (radius_mm / pixel_mm) ** 2
    vocab = vocabulary.load()
    liver = vocab.by_key("liver")
    labels = np.where(inside, liver.id, 0).astype(np.uint8)
    return request(
        image=np.full((size, size), 40), labels=labels, structures=(liver,), confidences={}, pixel_mm=(pixel_mm,) * 2
    )


@pytest.mark.parametrize(("radius", "pixel"), [(40.0, 2.0), (25.0, 1.0), (60.0, 3.0)])
def test_area_and_diameter_of_a_disc_are_those_of_a_disc(radius: float, pixel: float) -> None:
    (row,) = draw_summary([disc(radius, pixel)], zoom=0.3).sidecar["slices"][0]["structures"]
    assert row["area_cm2"] == pytest.approx(np.pi * radius**2 / 100, rel=0.03)
    assert row["greatest_diameter_mm"] == pytest.approx(2 * radius, abs=pixel)


def test_parts_that_lie_apart_have_no_common_diameter() -> None:
    square = np.array([(0.0, 0.0), (3.0, 0.0), (3.0, 4.0), (0.0, 4.0)])
    assert greatest_diameter([square, square + 100]) == 5.0
    assert greatest_diameter([]) == 0.0


def test_the_page_shows_every_slice_labelled_with_its_measures(page: Summary) -> None:
    root = ElementTree.fromstring(page.svg)
    shown = {e.text or "" for e in root.iter(f"{SVG}text")}
    assert len(list(root.iter(f"{SVG}image"))) == 3
    assert {"Slice 切片 1: Axial 横断面, 60%", "Slice 切片 3: Coronal 冠状面"} <= shown
    for told in page.sidecar["slices"]:
        liver = next(s for s in told["structures"] if s["key"] == "liver")
        stated = [tuple(map(float, m.groups())) for t in shown if (m := re.fullmatch(r"([\d.]+) cm², (\d+) mm", t))]
        wanted = (liver["area_cm2"], liver["greatest_diameter_mm"])
        assert any(abs(a - wanted[0]) < 0.06 and abs(d - wanted[1]) < 0.6 for a, d in stated), wanted
    assert "10200004" in shown and set(wording.GENERATED) <= shown


def test_no_text_of_the_page_leaves_it_or_lies_on_another(page: Summary) -> None:
    root = ElementTree.fromstring(page.svg)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    boxes = []
    for e in root.iter(f"{SVG}text"):
        size, text = float(e.attrib["font-size"]), e.text or ""
        advance = fonts.width(text, size, "bold" if e.get("font-weight") == "700" else "regular")
        left = float(e.attrib["x"]) - {"start": 0, "middle": 0.5, "end": 1}[e.get("text-anchor", "start")] * advance
        y = float(e.attrib["y"])
        boxes.append((left, y - 0.88 * size, left + advance, y + 0.12 * size, text))
    for i, a in enumerate(boxes):
        assert a[0] >= 8 and a[1] >= 8 and a[2] <= width - 8 and a[3] <= height - 8, a[4]
        for b in boxes[i + 1 :]:
            assert a[2] <= b[0] + 0.5 or b[2] <= a[0] + 0.5 or a[3] <= b[1] + 0.5 or b[3] <= a[1] + 0.5, (a[4], b[4])


def test_a_structure_has_one_colour_on_the_whole_page() -> None:
    told = draw_summary([request(palette="colour-blind"), request(palette="colour-blind", seed=7)], zoom=0.3).sidecar
    first, second = ({s["key"]: s["colour"] for s in one["structures"]} for one in told["slices"])
    assert first == second


def test_the_same_slices_give_the_same_page(page: Summary) -> None:
    again = draw_summary(page.requests)
    assert (again.svg, again.png, again.sidecar_json()) == (page.svg, page.png, page.sidecar_json())
    assert Image.open(io.BytesIO(page.png)).width == 1770 and page.pdf().startswith(b"%PDF-1.7")
    assert json.loads(page.sidecar_json())["figure"] == page.name


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([], "1 to 6"),
        ([request()] * 7, "1 to 6"),
        ([request(), request(patient="p-ffffffffffffffff")], "patient"),
        ([request(), request(source="scan", confidences={})], "source"),
        ([request(), request(language="en")], "language"),
    ],
)
def test_slices_that_do_not_belong_together_are_refused(requests, message: str) -> None:
    with pytest.raises(InputError, match=message):
        draw_summary(requests)
