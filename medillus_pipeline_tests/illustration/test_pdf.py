import io
import re
import shutil
import subprocess
import zlib
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration.figure import draw_figure
from medillus_pipeline.illustration.pdf import to_pdf
from medillus_pipeline_tests.illustration.scenes import request

SVG = "{http://www.w3.org/2000/svg}"
poppler = pytest.mark.skipif(shutil.which("pdftotext") is None, reason="poppler-utils is not installed")


def texts(svg: bytes) -> list[str]:
    return [e.text or "" for e in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def squeezed(text: str) -> str:
    return re.sub(r"\s", "", text)


def read(pdf: bytes, folder: Path) -> str:
    path = folder / "figure.pdf"
    path.write_bytes(pdf)
    return subprocess.run(["pdftotext", "-raw", str(path), "-"], capture_output=True, check=True).stdout.decode()


def rendered(pdf: bytes, folder: Path, dpi: int) -> np.ndarray:
    path = folder / "figure.pdf"
    path.write_bytes(pdf)
    subprocess.run(
        ["pdftoppm", "-r", str(dpi), "-png", "-singlefile", str(path), str(folder / "page")],
        check=True,
        capture_output=True,
    )
    return np.asarray(Image.open(folder / "page.png").convert("L")).astype(int)


@poppler
@pytest.mark.parametrize("style", ["radiology", "textbook", "patient", "journal", "quiz"])
def test_an_independent_reader_finds_every_text(style, tmp_path: Path) -> None:
    figure = draw_figure(request(style=style), dpi=40)
    found = squeezed(read(figure.pdf(), tmp_path))
    for text in texts(figure.svg):
        assert squeezed(text) in found, text


@poppler
@pytest.mark.parametrize("style", ["radiology", "journal"])
def test_the_page_has_the_ink_that_the_png_has(style, tmp_path: Path) -> None:
    figure = draw_figure(request(style=style), dpi=144)
    png = np.asarray(Image.open(io.BytesIO(figure.png)).convert("L")).astype(int)
    page = rendered(figure.pdf(), tmp_path, 144)
    assert abs(page.shape[0] - png.shape[0]) <= 2 and abs(page.shape[1] - png.shape[1]) <= 2
    height, width = (min(a, b) for a, b in zip(page.shape, png.shape, strict=True))
    assert np.abs(page[:height, :width] - png[:height, :width]).mean() < 6
    root = ElementTree.fromstring(figure.svg)
    unit = png.shape[1] / float(root.attrib["viewBox"].split()[2])
    for text in root.iter(f"{SVG}text"):
        x, y, size = (float(text.attrib[k]) * unit for k in ("x", "y", "font-size"))
        shift = {"start": 0.0, "middle": -0.5, "end": -1.0}[text.get("text-anchor", "start")] * size
        box = page[max(0, int(y - size)) : int(y + 0.2 * size) + 1, max(0, int(x + shift)) : int(x + shift + size) + 1]
        assert box.max() - box.min() > 50, text.text


@poppler
def test_fonts_are_embedded_and_mapped_to_text(tmp_path: Path) -> None:
    path = tmp_path / "figure.pdf"
    path.write_bytes(draw_figure(request(), dpi=40).pdf())
    lines = subprocess.run(["pdffonts", str(path)], capture_output=True, check=True).stdout.decode().splitlines()[2:]
    assert len(lines) == 2
    assert all(re.search(r"Identity-H\s+yes yes yes", line) for line in lines), lines


@poppler
@pytest.mark.parametrize("width_mm", [85, 180])
def test_a_journals_page_is_as_wide_as_asked(width_mm: int, tmp_path: Path) -> None:
    path = tmp_path / "figure.pdf"
    path.write_bytes(draw_figure(request(style="journal", journal_width_mm=width_mm), dpi=60).pdf())
    said = subprocess.run(["pdfinfo", str(path)], capture_output=True, check=True).stdout.decode()
    size = re.search(r"Page size:\s+([\d.]+) x", said)
    assert size and float(size[1]) == pytest.approx(width_mm / 25.4 * 72, abs=0.1)


def content(pdf: bytes) -> str:
    streams = [m[1] for m in re.finditer(rb"/FlateDecode/Length \d+>>\nstream\n(.*?)\nendstream", pdf, re.DOTALL)]
    return next(t for s in streams if (t := zlib.decompress(s)).endswith(b"Q") and b" cm" in t).decode("ascii")


def test_a_journal_is_written_in_inks_and_other_styles_in_rgb() -> None:
    journal, screen = (content(draw_figure(request(style=s), dpi=60).pdf()) for s in ("journal", "radiology"))
    assert re.search(r" k$", journal, re.MULTILINE) and not re.search(r" (rg|RG)$", journal, re.MULTILINE)
    assert re.search(r" rg$", screen, re.MULTILINE) and not re.search(r" [kK]$", screen, re.MULTILINE)


def test_a_colour_image_is_not_separated_and_a_strange_element_is_refused() -> None:
    with pytest.raises(InputError, match="grey"):
        to_pdf(draw_figure(request(style="textbook"), dpi=40).svg, inks=True)
    strange = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9" viewBox="0 0 9 9"><ellipse/></svg>'
    with pytest.raises(InputError, match="ellipse"):
        to_pdf(strange)


def test_metadata_given_is_stored_as_it_is() -> None:
    assert b"<x:xmpmeta>here</x:xmpmeta>" in to_pdf(
        draw_figure(request(), dpi=40).svg, xmp=b"<x:xmpmeta>here</x:xmpmeta>"
    )
