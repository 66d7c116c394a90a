import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw

from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.errors import InputError
from medillus_pipeline.sketches.picture_file import rgb_of
from medillus_pipeline.sketches.reading import sheet_of
from medillus_pipeline.sketches.svg_file import svg_drawing

SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 200 200">{}</svg>'
CIRCLE = '<circle cx="60" cy="90" r="30" fill="none" stroke="#000" stroke-width="3"/>'


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return head + struct.pack(">I", 1 << 20) + b"IDAT"


@pytest.mark.parametrize("size", [(100_000, 100), (20_000, 20_000), (8, 8)])
def test_a_picture_of_unbearable_size_is_refused_by_its_header(size: tuple[int, int]):
    with pytest.raises(InputError, match="pixels"):
        rgb_of(png_header(*size))


@pytest.mark.parametrize("data", [b"", b"GIF89a....", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0garbage"])
def test_what_is_no_picture_is_refused(data: bytes):
    with pytest.raises(InputError):
        rgb_of(data)


def test_a_photo_is_turned_upright_by_its_exif():
    picture = Image.new("RGB", (60, 40), "white")
    picture.paste("black", (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    picture.save(file, "JPEG", exif=exif, quality=95)
    read = rgb_of(file.getvalue())
    assert read.shape == (60, 40, 3)
    assert read[:8, -8:].mean() < 0.2 < 0.8 < read[:8, :8].mean()


def test_transparency_is_white_sheet():
    file = io.BytesIO()
    Image.new("RGBA", (32, 32), (0, 0, 0, 0)).save(file, "PNG")
    assert rgb_of(file.getvalue()).min() == 1


@pytest.mark.parametrize(
    "inside",
    [
        "<script>1</script>",
        '<image href="file:///etc/hostname"/>',
        '<a href="http://example.org/">' + CIRCLE + "</a>",
        '<circle r="3" onclick="1"/>',
        '<use href="#a"/>',
        "<style>@import 'a.css';</style>",
        "<style>circle{fill:url(http://example.org/a.svg#b)}</style>",
        "<foreignObject/>",
        "<g>" * 100 + "</g>" * 100,
        CIRCLE * 20_001,
    ],
)
def test_an_svg_that_does_more_than_draw_is_refused(inside: str, words: Vocabulary):
    with pytest.raises(InputError):
        svg_drawing(SVG.format(inside).encode(), words)


def test_entities_are_refused_before_they_expand(words: Vocabulary):
    bomb = '<!DOCTYPE svg [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>' + SVG.format("<g>&b;</g>")
    with pytest.raises(InputError, match="document type"):
        svg_drawing(bomb.encode(), words)


@pytest.mark.parametrize("said", ['id="liver"', 'data-structure="liver"', 'id="liver-2"', 'aria-label="肝"'])
def test_a_group_names_its_structure(said: str, words: Vocabulary):
    drawing = svg_drawing(SVG.format(f"<g {said}>{CIRCLE}</g><g>{CIRCLE.replace('60', '140')}</g>").encode(), words)
    assert list(drawing.named) == ["liver"]
    columns = np.nonzero(drawing.named["liver"] > 0.5)[1]
    assert columns.max() < 0.5 * drawing.rgb.shape[1]


def test_a_title_names_its_group_and_an_unknown_name_is_said(words: Vocabulary):
    body = f"<g><title>spleen</title>{CIRCLE}</g><g data-structure='gizzard'>{CIRCLE}</g>"
    drawing = svg_drawing(SVG.format(body).encode(), words)
    assert list(drawing.named) == ["spleen"] and drawing.unknown == ("gizzard",)


def colour_drawing(ground: str, first: str, second: str) -> bytes:
    picture = Image.new("RGB", (300, 300), ground)
    pen = ImageDraw.Draw(picture)
    pen.ellipse([30, 60, 130, 180], outline=first, width=5)
    pen.ellipse([170, 60, 270, 180], outline=second, width=5)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("ground", ["#f4efe2", "#101010"])
def test_only_strokes_of_the_legends_colour_get_its_name(ground: str, words: Vocabulary):
    plain = "black" if ground == "#f4efe2" else "white"
    sheet = sheet_of(colour_drawing(ground, "#e02020", plain), words, {"#ff0000": "liver", "#00a000": "spleen"})
    assert list(sheet.named) == ["liver"]
    assert np.nonzero(sheet.named["liver"])[1].max() < 140
    assert any("spleen" in remark for remark in sheet.remarks)
    assert np.nonzero(sheet.lines)[1].max() > 250


@pytest.mark.parametrize(
    "legend",
    [{"red": "liver"}, {"#ff0000": "gizzard"}, {"#808080": "liver"}, {"#ff0000": "liver", "#ee1010": "spleen"}],
)
def test_a_legend_that_cannot_be_meant_is_refused(legend: dict[str, str], words: Vocabulary):
    with pytest.raises(InputError, match="legend"):
        sheet_of(colour_drawing("white", "red", "black"), words, legend)
