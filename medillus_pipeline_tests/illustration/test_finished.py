"""Every format of a finished figure opens in a reader of its own, says what the figure is, and repeats to the byte."""

import hashlib
import io
import json
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration import credential
from medillus_pipeline.illustration.embedded import into_png, into_svg
from medillus_pipeline.illustration.finished import finish
from medillus_pipeline.illustration.provenance import Origin, build_manifest
from medillus_pipeline.illustration.request import canonical_json
from medillus_pipeline_tests.illustration.finished_figures import (
    KEY,
    MADE_AT,
    MARKUP,
    figure,
    finished,
    finished_scan,
    hostile,
    quiz,
    scan,
)

SVG, RDF = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
SOURCE_TYPE = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
TERMS = "http://cv.iptc.org/newscodes/digitalsourcetype/"
ENDINGS = (".svg", ".png", ".dcm", ".html", ".pdf", ".json", ".manifest.json")


def packet_of(description: ElementTree.Element | None) -> dict[str, str]:
    assert description is not None
    return {child.tag: "".join(child.itertext()) for child in description}


def from_packet(packet: bytes) -> dict[str, str]:
    return packet_of(ElementTree.fromstring(packet.decode("utf-8-sig")).find(f".//{RDF}Description"))


def test_a_figure_finished_again_has_the_same_bytes_in_every_format() -> None:
    again = finish(figure(), key=KEY, made_at=MADE_AT, model_verdict="passed")
    assert again.files == finished().files
    assert sorted(again.files) == sorted(figure().name + ending for ending in ENDINGS)


def test_the_manifest_names_every_file_and_all_that_it_was_made_from() -> None:
    found = json.loads(finished().file(".manifest.json"))["manifest"]
    assert {entry["name"] for entry in found["files"]} == set(finished().files) - {figure().name + ".manifest.json"}
    for entry in found["files"]:
        bare, _ = credential.detach(finished().files[entry["name"]])
        assert (hashlib.sha256(bare).hexdigest(), len(bare)) == (entry["sha256"], entry["bytes"])
    assert found["origin"]["model_version"] == "3" and found["origin"]["model_verdict"] == "passed"
    assert found["request"] == json.loads(canonical_json(figure().request.facts()))
    assert found["digital_source_type"] == TERMS + "trainedAlgorithmicMedia"


def test_each_file_carries_the_manifest_that_lies_beside_it() -> None:
    for ending in (".svg", ".png", ".dcm", ".html", ".pdf"):
        assert credential.detach(finished().file(ending))[1] == finished().file(".manifest.json"), ending


def test_a_further_file_is_in_the_manifest_and_stays_as_it_is() -> None:
    answers = b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    made = finish(scan(), key=KEY, made_at=MADE_AT, further={"answers.svg": answers})
    assert made.files["answers.svg"] == answers
    assert "answers.svg" in {entry["name"] for entry in made.signed.manifest["files"]}
    with pytest.raises(InputError, match="plain name"):
        finish(scan(), key=KEY, made_at=MADE_AT, further={"../answers.svg": answers})


@pytest.mark.parametrize(
    ("source", "labelled_by", "term"),
    [
        ("generated", None, "trainedAlgorithmicMedia"),
        ("scan", "annotator", "humanEdits"),
        ("scan", "organ_segmenter", "algorithmicallyEnhanced"),
    ],
)
def test_the_digital_source_type_tells_generated_from_real(source: str, labelled_by: str, term: str) -> None:
    made = Origin(figure="f-1", source=source, labelled_by=labelled_by, made_at="2026-03-01")  # type: ignore[arg-type]
    assert made.digital_source_type == TERMS + term
    assert ("AI-generated" in made.sentence()) == (source == "generated")


def test_the_svg_is_xml_with_xmp_and_the_facts_as_before() -> None:
    root = ElementTree.fromstring(finished().file(".svg"))
    xmp = packet_of(root.find(f".//{RDF}Description"))
    assert xmp[SOURCE_TYPE] == TERMS + "trainedAlgorithmicMedia"
    assert xmp["{urn:medillus:figure:1}model_version"] == "3"
    plain = [element for element in root.findall(f"{SVG}metadata") if "id" not in element.attrib]
    assert json.loads(plain[0].text or "")["figure"] == figure().name
    before = ElementTree.fromstring(figure().svg)
    drawn = [
        [e.tag for e in tree.iter() if e.tag.startswith(SVG) and "metadata" not in e.tag] for tree in (root, before)
    ]
    assert drawn[0] == drawn[1]


def test_the_png_has_the_same_pixels_and_its_xmp_where_readers_look() -> None:
    with Image.open(io.BytesIO(finished_scan().file(".png"))) as opened, Image.open(io.BytesIO(scan().png)) as before:
        opened.load()
        assert np.array_equal(np.asarray(opened), np.asarray(before))
        assert from_packet(opened.info["XML:com.adobe.xmp"].encode())[SOURCE_TYPE] == TERMS + "humanEdits"


def test_the_pdf_still_opens_and_its_metadata_are_read(tmp_path: Path) -> None:
    reader = shutil.which("pdfinfo")
    if reader is None:
        pytest.skip("pdfinfo (poppler-utils) is not installed")
    file = tmp_path / "figure.pdf"
    file.write_bytes(finished().file(".pdf"))
    said = subprocess.run([reader, "-meta", file], capture_output=True, check=False)
    assert not said.stderr
    assert from_packet(said.stdout.strip())[SOURCE_TYPE] == TERMS + "trainedAlgorithmicMedia"
    text = subprocess.run(["pdftotext", file, "-"], capture_output=True, text=True, check=False)
    assert "Left adrenal gland" in text.stdout and "左肾上腺" in text.stdout and not text.stderr


def test_a_quiz_that_is_handed_out_tells_no_answer() -> None:
    made = finish(quiz(), key=KEY, made_at=MADE_AT)
    assert sorted(made.files) == sorted(
        quiz().name + ending for ending in (".svg", ".png", ".pdf", ".dcm", ".answers.svg", ".json", ".manifest.json")
    )
    for ending in (".svg", ".png", ".pdf", ".dcm"):
        bare, carried = credential.detach(made.file(ending))
        assert b"adrenal" not in bare and b"adrenal" not in (carried or b""), ending
    assert b"adrenal" in made.file(".answers.svg") and b"adrenal" in made.file(".json")
    asked = hashlib.sha256(canonical_json(quiz().request.facts())).hexdigest()
    assert made.signed.manifest["request"]["sha256"] == asked


def test_markup_and_control_characters_in_outside_text_stay_text() -> None:
    made = finish(hostile(), key=KEY, made_at=MADE_AT, model_verdict=f"{MARKUP}\x00")
    xmp = packet_of(ElementTree.fromstring(made.file(".svg")).find(f".//{RDF}Description"))
    assert xmp["{urn:medillus:figure:1}model_name"] == MARKUP
    assert xmp["{urn:medillus:figure:1}model_verdict"] == f"{MARKUP}\ufffd"


def test_what_is_no_picture_takes_no_metadata() -> None:
    for refused in (lambda: into_svg(b"<html>", b""), lambda: into_png(b"GIF89a", b"")):
        with pytest.raises(InputError, match="that is no"):
            refused()
    with pytest.raises(InputError, match="cut off"):
        credential.attach(b"<svg>", b"{}")
    with pytest.raises(InputError, match="carries no credential"):
        credential.attach(b"glTF", b"{}")


def test_a_manifest_without_files_or_with_folders_is_refused() -> None:
    origin = Origin(figure="f-1", source="scan", made_at="2026-03-01")
    for files in ({}, {"a/b.svg": b""}, {"..": b""}):
        with pytest.raises(InputError, match="plain name"):
            build_manifest(origin, {}, files)
