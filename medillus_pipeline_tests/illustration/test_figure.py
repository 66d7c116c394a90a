import dataclasses
import hashlib
import io
import json
import math
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration import fonts, wording
from medillus_pipeline.illustration.figure import Figure, draw_figure
from medillus_pipeline.illustration.raster import PNG_ZOOM
from medillus_pipeline.illustration.request import FigureRequest
from medillus_pipeline.tables import ILLUSTRATIONS
from medillus_pipeline_tests.illustration.scenes import request, scene

ASCENT, DESCENT = 0.88, 0.12
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def figure() -> Figure:
    return draw_figure(request())


def texts(figure: Figure) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(figure.svg).iter(f"{SVG}text"))


def boxes(figure: Figure) -> list[tuple[float, float, float, float, str]]:
    """Left, top, right, bottom and content of every text, measured with the shipped typeface."""
    found = []
    for element in texts(figure):
        size, content = float(element.attrib["font-size"]), element.text or ""
        weight: fonts.Weight = "bold" if element.get("font-weight") == "700" else "regular"
        width = fonts.width(content, size, weight)
        shift = {"start": 0.0, "middle": 0.5, "end": 1.0}[element.get("text-anchor", "start")]
        left, baseline = float(element.attrib["x"]) - shift * width, float(element.attrib["y"])
        found.append((left, baseline - ASCENT * size, left + width, baseline + DESCENT * size, content))
    return found


def long_names() -> FigureRequest:
    plain = request()
    structures = tuple(
        dataclasses.replace(s, name_en=f"{s.name_en} " * 9, name_zh=s.name_zh * 14) for s in plain.structures
    )
    part, model = "A part that nobody named " * 6, "m" * 240
    return dataclasses.replace(plain, structures=structures, body_part=part, model_name=model)


def crowded(count: int) -> FigureRequest:
    """So many small structures on a grid."""
    structures = [s for s in vocabulary.load() if s.kind != "region"][:count]
    labels = np.zeros((128, 128), np.uint8)
    for index, structure in enumerate(structures):
        row, column = 12 + 16 * (index // 6), 14 + 18 * (index % 6)
        labels[row : row + 5 + index % 4, column : column + 6 + index % 3] = structure.id
    values = np.full((128, 128), 40, np.int16)
    return request(image=values, labels=labels, structures=tuple(structures), confidences={}, pixel_mm=(3.0, 3.0))


CASES = {
    "both": lambda: request(),
    "en": lambda: request(language="en"),
    "zh": lambda: request(language="zh"),
    "scan": lambda: request(source="scan", labelled_by="organ_segmenter", confidences={}, model_version=None),
    "long names": long_names,
    "34 labels": lambda: crowded(34),
    "coronal": lambda: request(orientation=("R", "L", "H", "F"), pixel_mm=(12.0, 4.0), modality="MR", level=None),
    "37 numbers": lambda: crowded(37),
    "textbook": lambda: request(style="textbook"),
    "textbook long names": lambda: dataclasses.replace(long_names(), style="textbook", language="zh"),
    "patient": lambda: request(style="patient"),
    "patient long names": lambda: dataclasses.replace(long_names(), style="patient"),
    "patient zh": lambda: request(style="patient", language="zh"),
    "quiz": lambda: request(style="quiz"),
    "quiz long names": lambda: dataclasses.replace(long_names(), style="quiz"),
    "nothing labelled": lambda: request(labels=np.zeros((64, 64), np.uint8), confidences={}),
}


@pytest.mark.parametrize("case", CASES)
def test_no_text_leaves_the_canvas_and_none_lies_on_another(case: str) -> None:
    figure = draw_figure(CASES[case](), zoom=1.0)
    root = ElementTree.fromstring(figure.svg)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    found = boxes(figure)
    assert found
    for left, top, right, bottom, content in found:
        assert left >= 8 and top >= 8 and right <= width - 8 and bottom <= height - 8, content
    for i, a in enumerate(found):
        for b in found[i + 1 :]:
            apart = a[2] <= b[0] + 0.5 or b[2] <= a[0] + 0.5 or a[3] <= b[1] + 0.5 or b[3] <= a[1] + 0.5
            assert apart, (a[4], b[4])
    pixels = np.asarray(Image.open(io.BytesIO(figure.png)).convert("L"))
    assert pixels.shape == (height, width)
    border = 8
    for edge in (pixels[:border], pixels[-border:], pixels[:, :border], pixels[:, -border:]):
        assert (edge == 255).all()


def test_the_png_has_ink_where_each_text_stands(figure: Figure) -> None:
    pixels = np.asarray(Image.open(io.BytesIO(figure.png)).convert("L"))
    for left, top, right, bottom, content in boxes(figure):
        part = pixels[int(top * PNG_ZOOM) : int(bottom * PNG_ZOOM), int(left * PNG_ZOOM) : int(right * PNG_ZOOM)]
        assert part.max() - part.min() > 60, content


def test_the_same_request_gives_the_same_bytes(figure: Figure) -> None:
    again = draw_figure(request())
    assert (again.svg, again.png, again.sidecar_json()) == (figure.svg, figure.png, figure.sidecar_json())
    assert request(seed=43).name() != figure.name


def test_structures_are_named_coded_and_scored_in_both_languages(figure: Figure) -> None:
    drawn = {e.text for e in texts(figure)}
    for structure in figure.request.structures:
        assert structure.name_en[:1].upper() + structure.name_en[1:] in drawn
        assert {structure.name_zh, structure.code, f"{figure.request.confidences[structure.id]:.0%}"} <= drawn
    assert {"R", "L", "A", "P", "10 cm"} <= drawn


def test_generated_figures_say_so_in_both_languages_whatever_the_language(figure: Figure) -> None:
    for one in (figure, draw_figure(request(language="en"), zoom=0.5), draw_figure(request(language="zh"), zoom=0.5)):
        assert set(wording.GENERATED) <= {e.text for e in texts(one)}
        assert one.sidecar["warning"] == wording.GENERATED._asdict()


def test_scans_say_what_they_are_and_never_claim_to_be_generated() -> None:
    shown = "".join(e.text or "" for e in texts(draw_figure(CASES["scan"](), zoom=0.5)))
    assert "Real de-identified scan" in shown and "AI-generated" not in shown and "人工智能" not in shown


def test_leaders_start_inside_their_organ_and_never_cross() -> None:
    figure = draw_figure(crowded(34), zoom=0.5)
    root = ElementTree.fromstring(figure.svg)
    dots = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in root.iter(f"{SVG}circle")]
    assert len(dots) == len(set(dots)) == 34
    assert sum(s["labelled"] for s in figure.sidecar["structures"]) == 34


def test_beyond_34_labels_are_numbers_and_the_legend_is_their_key() -> None:
    figure = draw_figure(crowded(37), zoom=0.5)
    structures = figure.sidecar["structures"]
    assert sorted(s["number"] for s in structures) == list(range(1, 38)) and all(s["labelled"] for s in structures)
    shown = [e.text for e in texts(figure)]
    for structure in structures:
        assert shown.count(str(structure["number"])) >= 2, structure


def test_beyond_100_the_smallest_structures_stand_in_the_legend_only() -> None:
    structures = [s for s in vocabulary.load() if s.kind != "region"][:103]
    labels = np.zeros((192, 192), np.uint8)
    for index, structure in enumerate(structures):
        row, column = 8 + 16 * (index // 11), 8 + 16 * (index % 11)
        labels[row : row + 5 + index % 4, column : column + 6] = structure.id
    plain = request(image=np.full(labels.shape, 40), labels=labels, structures=tuple(structures), confidences={})
    figure = draw_figure(plain, zoom=0.5)
    unplaced = [s for s in figure.sidecar["structures"] if not s["labelled"]]
    assert len(unplaced) == 3
    assert max(s["area_cm2"] for s in unplaced) <= min(
        s["area_cm2"] for s in figure.sidecar["structures"] if s["labelled"]
    )
    assert "3 small structures" in figure.sidecar["caption"]["en"]


def test_the_scale_bar_measures_true(figure: Figure) -> None:
    root = ElementTree.fromstring(figure.svg)
    image = next(root.iter(f"{SVG}image"))
    left = float(image.attrib["x"])
    bar = next(
        points
        for line in root.iter(f"{SVG}polyline")
        if (points := [tuple(map(float, p.split(","))) for p in line.attrib["points"].split()])[0][0] == left
        and len(points) == 2
        and points[1][0] > left
    )
    columns = round(float(image.attrib["width"]) / (bar[1][0] - bar[0][0]) * 100 / 6.4)
    body = np.nonzero((figure.request.labels > 0).any(axis=0))[0]
    assert len(body) < columns <= len(body) + 8


def test_hostile_text_is_text(figure: Figure) -> None:
    hostile = "</text><script>alert('x')</script>&amp;\"]]>"
    structures = tuple(dataclasses.replace(s, name_en=hostile, name_zh=hostile) for s in request().structures[:1])
    drawn = draw_figure(
        request(structures=structures, body_part=hostile, slice_name=hostile, model_name=hostile), zoom=0.5
    )
    root = ElementTree.fromstring(drawn.svg)
    assert not list(root.iter(f"{SVG}script")) and b"<script" not in drawn.svg
    assert any("alert" in (e.text or "") for e in texts(drawn))


def test_a_character_without_glyph_is_refused() -> None:
    with pytest.raises(InputError, match=r"U\+1F480"):
        draw_figure(request(body_part="\U0001f480"))


def test_the_svg_needs_no_other_file(figure: Figure) -> None:
    root = ElementTree.fromstring(figure.svg)
    links = [v for e in root.iter() for k, v in e.attrib.items() if k.endswith("href")]
    assert links and all(link.startswith("data:image/png;base64,") for link in links)
    assert b"data:font/woff;base64," in figure.svg and b"http" not in figure.svg.split(b"<style>")[1]


def test_the_sidecar_tells_where_the_figure_comes_from(figure: Figure) -> None:
    sidecar = json.loads(figure.sidecar_json())
    assert sidecar["files"]["svg"]["sha256"] == hashlib.sha256(figure.svg).hexdigest()
    assert sidecar["files"]["png"]["sha256"] == hashlib.sha256(figure.png).hexdigest()
    facts = sidecar["request"]
    assert facts["seed"] == 42 and facts["model"] == {"name": "medillus-generator", "version": "3"}
    assert facts["dataset_fingerprint"] == "1a2b3c4d5e6f708192a3" and facts["run_ids"]["mlflow"] == "0f0f"
    assert facts["image"]["sha256"] == hashlib.sha256(scene()[0].tobytes()).hexdigest()
    liver = next(s for s in sidecar["structures"] if s["key"] == "liver")
    assert liver["code"] == "10200004" and liver["confidence"] is not None and liver["area_cm2"] > 50
    root = ElementTree.fromstring(figure.svg)
    assert json.loads(root.findtext(f"{SVG}metadata") or "")["figure"] == figure.name


def test_the_row_fits_the_table(figure: Figure) -> None:
    unscored = draw_figure(request(confidences={5: math.nan}), zoom=0.5)
    rows = [f.row(svg_path="a", png_path="b", sidecar_path="c") for f in (figure, unscored)]
    table = ILLUSTRATIONS.to_arrow(rows)
    assert table.num_rows == 2 and json.loads(unscored.sidecar_json())["request"]["confidences"] == {"5": None}


def test_an_absent_structure_is_reported_not_drawn() -> None:
    heart = vocabulary.load().by_key("heart")
    drawn = draw_figure(request(structures=(*request().structures, heart)), zoom=0.5)
    assert drawn.sidecar["not_shown"] == ["heart"] and "Heart" not in {e.text for e in texts(drawn)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.zeros((3, 3), np.uint8)}, "one shape"),
        ({"pixel_mm": (0.0, 1.0)}, "positive"),
        ({"seed": None}, "seed"),
        ({"confidences": {5: 1.2}}, "outside 0 to 1"),
        ({"image": np.full((64, 64), np.nan)}, "not finite"),
        ({"orientation": ("R", "R", "A", "P")}, "edge letters"),
        ({"orientation": ("R", "L", "L", "R")}, "edge letters"),
        ({"style": "journal", "journal_width_mm": 120}, "85 or 180"),
    ],
)
def test_an_impossible_request_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        request(**changes)
