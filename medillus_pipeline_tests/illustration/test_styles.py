import dataclasses
import io
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.annotation.study import pathology
from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration import fonts, plain_words, wording
from medillus_pipeline.illustration.figure import Figure, draw_figure
from medillus_pipeline.illustration.request import FigureRequest, Language
from medillus_pipeline_tests.illustration.scenes import request, scene

SVG = "{http://www.w3.org/2000/svg}"
STYLES = ("radiology", "textbook", "patient", "journal", "quiz")


def groups(svg: bytes, kind: str) -> list[ElementTree.Element]:
    return [g for g in ElementTree.fromstring(svg).iter(f"{SVG}g") if g.get("class") == kind]


def words(svg: bytes) -> set[str]:
    return {e.text or "" for e in ElementTree.fromstring(svg).iter(f"{SVG}text")}


def with_lesion(**changes) -> FigureRequest:
    values, labels = scene()
    vocab = vocabulary.load()
    labels[24:28, 18:22] = vocab.by_key("liver_tumor").id
    values[24:28, 18:22] = 60
    structures = tuple(vocab.by_id(int(i)) for i in np.unique(labels) if i)
    return request(image=values, labels=labels, structures=structures, confidences={}, **changes)


def outline(svg: bytes) -> dict:
    """What a drawing is made of, without coordinates: elements, classes, structures, texts, colours of groups."""
    root = ElementTree.fromstring(svg)
    counted: dict[str, int] = {}
    for element in root.iter():
        counted[element.tag.removeprefix(SVG)] = counted.get(element.tag.removeprefix(SVG), 0) + 1
    return {
        "elements": counted,
        "structures": [g.get("data-structure") for g in groups(svg, "structure")],
        "labels": sorted(g.get("data-structure") or "" for g in groups(svg, "label")),
    }


GOLDEN = {
    "radiology": {"paths": 19, "images": 1, "labels": 9, "structures": 10},
    "textbook": {"paths": 10, "images": 1, "labels": 9, "structures": 10},
    "patient": {"paths": 5, "images": 1, "labels": 5, "structures": 5},
    "journal": {"paths": 19, "images": 1, "labels": 9, "structures": 10},
    "quiz": {"paths": 19, "images": 1, "labels": 9, "structures": 10},
}


@pytest.mark.parametrize("style", STYLES)
def test_each_style_is_made_of_the_parts_that_programs_find_by_name(style) -> None:
    figure = draw_figure(request(style=style), dpi=60)
    made = outline(figure.svg)
    found = {
        "paths": made["elements"]["path"],
        "images": made["elements"]["image"],
        "labels": len(made["labels"]),
        "structures": len(made["structures"]),
    }
    assert found == GOLDEN[style]
    image = next(ElementTree.fromstring(figure.svg).iter(f"{SVG}image"))
    assert image.get("class") == "scan"
    if style != "quiz":
        keys = {s.key for s in figure.request.structures}
        assert set(made["structures"]) <= keys and set(made["labels"]) <= set(made["structures"])
    for group in groups(figure.svg, "label"):
        assert group.find(f"{SVG}text") is not None and group.find(f"{SVG}polyline") is not None


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("language", ["en", "zh", "both"])
def test_every_style_warns_in_both_languages_and_says_what_drew_it(style, language: Language) -> None:
    shown = " ".join(words(draw_figure(request(style=style, language=language), dpi=40).svg))
    assert wording.GENERATED.en in shown and wording.GENERATED.zh in shown
    assert "v3" in shown or "version 3" in shown


@pytest.mark.parametrize("style", STYLES)
def test_every_style_gives_the_same_bytes_again(style) -> None:
    first, second = (draw_figure(request(style=style), dpi=60) for _ in range(2))
    assert (first.svg, first.png, first.sidecar_json(), first.answer_key, first.pdf()) == (
        *(second.svg, second.png, second.sidecar_json(), second.answer_key, second.pdf()),
    )


@pytest.mark.parametrize("width_mm", [85, 180])
@pytest.mark.parametrize("language", ["en", "zh", "both"])
def test_a_journal_figure_has_its_width_300_dpi_no_title_and_no_text_outside(width_mm: int, language: Language) -> None:
    long = request(style="journal", journal_width_mm=width_mm, language=language)
    long = dataclasses.replace(
        long,
        structures=tuple(dataclasses.replace(s, name_en=s.name_en * 3, name_zh=s.name_zh * 6) for s in long.structures),
    )
    figure = draw_figure(long)
    root = ElementTree.fromstring(figure.svg)
    assert root.get("width") == f"{width_mm}mm"
    picture = Image.open(io.BytesIO(figure.png))
    assert picture.width == pytest.approx(width_mm / 25.4 * 300, abs=1)
    assert picture.info["dpi"][0] == pytest.approx(300, abs=0.5)
    assert not words(figure.svg) & {"Axial CT, abdomen", "腹部横断面 CT"}
    _, _, width, height = (float(v) for v in root.attrib["viewBox"].split())
    for text in root.iter(f"{SVG}text"):
        size, content = float(text.attrib["font-size"]), text.text or ""
        assert size * 0.75 >= 5, "print below 5 points is not read"
        advance = fonts.width(content, size, "bold" if text.get("font-weight") == "700" else "regular")
        left = (
            float(text.attrib["x"]) - {"start": 0, "middle": 0.5, "end": 1}[text.get("text-anchor", "start")] * advance
        )
        assert left >= 1 and left + advance <= width - 1, content
        assert float(text.attrib["y"]) - 0.8 * size >= 1 and float(text.attrib["y"]) + 0.1 * size <= height - 1, content


def test_a_quiz_tells_no_answer_in_its_drawing_and_its_key_tells_all() -> None:
    figure = draw_figure(request(style="quiz"), zoom=0.5)
    drawing = re.sub(r"base64,[^)\"]*", "", figure.svg.decode()).lower()
    assert figure.answer_key is not None
    key = words(figure.answer_key)
    named = [s for s in figure.sidecar["structures"] if s["labelled"]]
    assert len(named) == 9 and sorted(s["number"] for s in named) == list(range(1, 10))
    for structure in named:
        for secret in (structure["key"], structure["name"]["en"], structure["name"]["zh"], structure["code"]):
            assert secret.lower() not in drawing
        assert structure["name"]["zh"] in key and structure["code"] in key
    assert {str(n) for n in range(1, 10)} <= words(figure.svg) & key
    assert "metadata" in drawing and figure.name in drawing


def test_a_quiz_and_its_key_number_alike() -> None:
    figure = draw_figure(request(style="quiz"), zoom=0.5)
    places = []
    for svg in (figure.svg, figure.answer_key or b""):
        dots = [g.find(f"{SVG}circle") for g in groups(svg, "label")]
        numbers = [g.findtext(f"{SVG}text") for g in groups(svg, "label")]
        places.append({n: (d.get("cx"), d.get("cy")) for n, d in zip(numbers, dots, strict=True) if d is not None})
    assert places[0] == places[1] and len(places[0]) == 9


def test_a_patient_reads_few_plain_words_and_sees_the_lesion_in_red() -> None:
    figure = draw_figure(with_lesion(style="patient"), zoom=0.5)
    shown = words(figure.svg)
    assert {"Growth in the liver", "肝脏肿块"} <= shown and "SNOMED CT" not in shown
    assert len(groups(figure.svg, "label")) <= 7
    colours = {s["key"]: s["colour"] for s in figure.sidecar["structures"]}
    assert colours.pop("liver_tumor") == "#d81e1e" and len(set(colours.values())) == 1
    red = np.asarray(Image.open(io.BytesIO(figure.png)).convert("RGB")).astype(int)
    assert ((red[..., 0] - red[..., 1] > 90) & (red[..., 0] - red[..., 2] > 90)).sum() > 30


def test_plain_names_exist_for_what_patients_ask_about() -> None:
    vocab = vocabulary.load()
    assert plain_words.plain_name(vocab.by_key("esophagus")) == ("food pipe", "食管")
    assert plain_words.plain_name(vocab.by_key("rib_left_4")).en == "rib"
    assert plain_words.plain_name(vocab.by_key("uterus")).zh == "子宫"
    keys = {s.key for s in vocab}
    assert set(plain_words.NAMES) <= keys


def test_a_textbook_plate_keeps_texture_and_gives_each_structure_its_colour() -> None:
    rng = np.random.default_rng(3)
    values, _ = scene()
    noisy = values + rng.normal(0, 40, values.shape).astype(np.int16) * (values > -500)
    flat, textured = (
        image_of(draw_figure(request(image=v, style="textbook"), zoom=0.5)) for v in (values, noisy.astype(np.int16))
    )
    assert flat.ndim == 3
    liver = vocabulary.load().by_key("liver")
    hue = np.array(liver.rgb)
    close = np.abs(flat.astype(int) - (hue + 0.22 * (235 - hue))).max(axis=-1) < 40
    assert close.mean() > 0.03
    grain = [float(np.abs(np.diff(a[close].astype(float).mean(axis=-1))).mean()) for a in (flat, textured)]
    assert grain[1] > 1.5 * grain[0]
    assert (flat[:5, :5] == 255).all(), "outside the body is paper"


def image_of(figure: Figure) -> np.ndarray:
    import base64

    image = next(ElementTree.fromstring(figure.svg).iter(f"{SVG}image"))
    link = image.attrib["{http://www.w3.org/1999/xlink}href"]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(link.split(",", 1)[1]))))


def test_fills_cover_more_than_outlines_do() -> None:
    opacity = {}
    for marks in ("outlines", "fills"):
        figure = draw_figure(request(marks=marks), zoom=0.5)
        group = next(g for g in groups(figure.svg, "structure") if g.get("data-structure") == "liver")
        opacity[marks] = max(float(p.get("fill-opacity", "0")) for p in group.iter(f"{SVG}path"))
    assert opacity["fills"] >= 0.5 > 0.2 >= opacity["outlines"]


def test_pathologies_stand_with_their_icd11_codes() -> None:
    found = pathology.load().resolve("acute_pancreatitis")
    assert found is not None
    figure = draw_figure(request(pathologies=(found,)), zoom=0.5)
    shown = " ".join(words(figure.svg))
    assert "Acute pancreatitis 急性胰腺炎" in shown and "ICD-11 DC31" in shown
    assert json.loads(figure.sidecar_json())["pathologies"][0]["icd11"] == "DC31"


@pytest.mark.parametrize(
    ("letters", "plane"),
    [(("R", "L", "H", "F"), "Coronal"), (("A", "P", "H", "F"), "Sagittal"), (("L", "R", "P", "A"), "Axial")],
)
def test_planes_are_named_and_lettered(letters, plane: str) -> None:
    figure = draw_figure(request(orientation=letters), zoom=0.5)
    (group,) = groups(figure.svg, "orientation")
    assert [t.text for t in group] == list(letters)
    assert figure.sidecar["title"]["en"].startswith(plane)
    assert ("level 62%" in figure.sidecar["caption"]["en"]) == (plane == "Axial")


def test_modality_and_window_stand_under_the_image() -> None:
    assert "CT, W 350 L 50 HU" in words(draw_figure(request(), zoom=0.5).svg)
    assert "CT，窗宽350 窗位50 HU" in words(draw_figure(request(language="zh"), zoom=0.5).svg)


def test_the_png_has_the_resolution_asked_for_and_an_absurd_one_is_refused() -> None:
    picture = Image.open(io.BytesIO(draw_figure(request(), dpi=150).png))
    assert picture.width == round(1180 / 96 * 150) and picture.info["dpi"][0] == pytest.approx(150, abs=0.1)
    with pytest.raises(InputError, match="dpi"):
        draw_figure(request(), dpi=5000)


def test_a_summary_is_not_drawn_from_one_request() -> None:
    with pytest.raises(InputError, match="draw_summary"):
        draw_figure(request(style="summary"))
