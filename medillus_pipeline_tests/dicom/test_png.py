import io
import struct
import zlib

import numpy as np
import pytest
from isal import isal_zlib
from PIL import Image

from medillus_pipeline.dicom.png import decode_png, encode_png


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.mark.parametrize(
    "shape", [(1, 1), (3, 1), (1, 5), (64, 48), (127, 33), (2, 2), (3, 9), (4, 5000), (5, 7, 3), (1, 1, 3), (9, 900, 3)]
)
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


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (37, 20), (64, 1)])
def test_16_bit_greys_are_kept_to_the_last_bit(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    pixels = rng.integers(0, 65536, shape, np.uint16)
    assert np.array_equal(decode_png(encode_png(pixels)), pixels)
    assert encode_png(pixels) == encode_png(pixels.astype(">u2"))


def filter_types(png: bytes, width: int) -> list[int]:
    """The filter type of each row of a grey image."""
    start = png.index(b"IDAT")
    (length,) = struct.unpack(">I", png[start - 4 : start])
    return list(zlib.decompress(png[start + 4 : start + 4 + length])[:: width + 1])


@pytest.mark.parametrize("width", [40, 41, 2040, 5000])
def test_only_rows_whose_pixels_mostly_change_are_stored_as_differences(width: int) -> None:
    busy = np.arange(width, dtype=np.uint8)
    pixels = np.stack([busy, np.full(width, 7, np.uint8), np.repeat(busy, 10)[:width], busy[::-1]])
    assert filter_types(encode_png(pixels), width) == [1, 0, 0, 1]


def test_rows_of_a_label_map_are_stored_as_they_are() -> None:
    labels = np.tile(np.arange(40, dtype=np.uint8), (5, 1))
    assert filter_types(encode_png(labels, bytes(768)), 40) == [0] * 5


def test_a_shaded_picture_is_much_smaller_than_without_differences() -> None:
    shade = np.add.outer(np.arange(200) * 3, np.arange(300) // 2).astype(np.uint8)
    pixels = shade + np.random.default_rng(1).integers(0, 4, shade.shape, np.uint8)
    plain = np.pad(pixels, ((0, 0), (1, 0)))
    assert len(encode_png(pixels)) < 0.6 * len(isal_zlib.compress(plain, 1))


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
        (np.zeros((2, 2, 3), np.uint16), None),
        (np.zeros((2, 2), np.uint16), bytes(768)),
    ],
)
def test_what_is_no_8_bit_image_is_refused(array: np.ndarray, palette: bytes | None) -> None:
    with pytest.raises(ValueError, match=r"PNG|palette"):
        encode_png(array, palette)


@pytest.mark.parametrize(
    "data",
    [b"", b"not a png", encode_png(np.arange(200, dtype=np.uint8).reshape(10, 20))[:60]],
    ids=["empty", "text", "cut"],
)
def test_bytes_that_are_no_png_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no readable PNG"):
        decode_png(data)
