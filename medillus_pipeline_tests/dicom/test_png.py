import io

import numpy as np
import pytest
from PIL import Image

from medillus_pipeline.dicom.png import decode_png, encode_png


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (1, 5), (64, 48), (127, 33), (5, 7, 3), (1, 1, 3)])
def test_pillow_reads_back_the_very_pixels(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    pixels = rng.integers(0, 256, shape, np.uint8)
    png = encode_png(pixels)
    with Image.open(io.BytesIO(png)) as image:
        image.verify()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), pixels)
    assert np.array_equal(decode_png(png), pixels)


def test_the_same_pixels_give_the_same_bytes_whatever_their_layout_in_memory(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 40, (90, 70), np.uint8)
    assert encode_png(pixels) == encode_png(pixels.copy()) == encode_png(np.asfortranarray(pixels))


def test_a_label_map_keeps_its_indices_and_shows_its_palette(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 256, (40, 30), np.uint8)
    palette = bytes(rng.integers(0, 256, 768, np.uint8))
    png = encode_png(labels, palette)
    assert np.array_equal(decode_png(png), labels)
    image = Image.open(io.BytesIO(png))
    assert image.mode == "P"
    assert np.array_equal(np.asarray(image.convert("RGB")), np.frombuffer(palette, np.uint8).reshape(256, 3)[labels])


def test_png_files_of_other_writers_are_read(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (9, 8, 3), np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).convert("RGBA").save(sink, "PNG")
    assert np.array_equal(decode_png(sink.getvalue()), pixels)


@pytest.mark.parametrize(
    ("array", "palette"),
    [
        (np.zeros((4, 4), np.int16), None),
        (np.zeros((4, 4, 4), np.uint8), None),
        (np.zeros((0, 4), np.uint8), None),
        (np.full((2, 2), 9, np.uint8), bytes(9)),
        (np.zeros((2, 2, 3), np.uint8), bytes(768)),
    ],
)
def test_what_is_no_8_bit_image_is_refused(array: np.ndarray, palette: bytes | None) -> None:
    with pytest.raises(ValueError, match=r"PNG|palette"):
        encode_png(array, palette)


@pytest.mark.parametrize(
    "data",
    [b"", b"not a png", encode_png(np.arange(200, dtype=np.uint8).reshape(10, 20))[:120]],
    ids=["empty", "text", "cut"],
)
def test_bytes_that_are_no_png_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no readable PNG"):
        decode_png(data)
