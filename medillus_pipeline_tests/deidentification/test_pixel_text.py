"""Claims about finding text in a displayed frame: words of every size and polarity, and anatomy that holds none."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image, ImageDraw, ImageFont

from medillus_pipeline.deidentification import pixel_text
from medillus_pipeline.deidentification.pixel_text import Box, find_text, find_text_in_overlay, ocr_available
from medillus_pipeline.deidentification.text_shapes import rows_of_shapes
from medillus_pipeline.dicom.pixels import PRESETS, grey_frame
from medillus_pipeline.errors import ConfigurationError

needs_tesseract = pytest.mark.skipif(not ocr_available(), reason="Tesseract is not installed")


def ink_of(text: str, size: int, shape: tuple[int, int], at: tuple[int, int] = (20, 20)) -> np.ndarray:
    """Coverage (0 to 1) of each pixel of `shape` by `text` in Pillow's own typeface."""
    picture = Image.new("L", shape[::-1], 0)
    ImageDraw.Draw(picture).text(at, text, 255, ImageFont.load_default(size))
    return np.asarray(picture) / 255.0


def drawn(frame: np.ndarray, ink: np.ndarray, value: int) -> np.ndarray:
    return (frame * (1 - ink) + value * ink).round().astype(np.uint8)


def covered(boxes: list[Box], ink: np.ndarray) -> float:
    """Share of the ink that lies in the boxes."""
    mask = np.zeros(ink.shape, bool)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
    return float(mask[ink > 0.5].mean())


def ct_slice(shared_data: Path, number: int = 50) -> np.ndarray:
    path = sorted((shared_data / "ct_thorax_rt" / "ct").iterdir())[number]
    return grey_frame(pydicom.dcmread(path)).greys(PRESETS["soft-tissue"])


@needs_tesseract
@pytest.mark.parametrize("size", [10, 16, 24, 32])
@pytest.mark.parametrize(("value", "background"), [(255, 0), (0, 255), (190, 90), (60, 150)])
def test_a_name_on_a_plain_background_is_covered_whole(size: int, value: int, background: int) -> None:
    ink = ink_of("KAUFMAN SCOTT", size, (128, 384))
    frame = drawn(np.full(ink.shape, background), ink, value)
    assert covered(find_text(frame), ink) > 0.99


@needs_tesseract
def test_white_text_on_a_ct_slice_is_covered_whole(shared_data: Path) -> None:
    frame = ct_slice(shared_data)
    ink = ink_of("KAUFMAN SCOTT 24.12.1961", 14, frame.shape, (8, 8))
    assert covered(find_text(drawn(frame, ink, 255)), ink) > 0.99


@needs_tesseract
def test_coloured_text_as_light_as_its_background_is_covered() -> None:
    ink = ink_of("KAUFMAN SCOTT", 16, (96, 256))[..., None]
    frame = (np.array([0, 90, 0]) * (1 - ink) + np.array([180, 0, 0]) * ink).round().astype(np.uint8)
    assert covered(find_text(frame), ink[..., 0]) > 0.99


def test_text_turned_by_a_quarter_is_recognised_by_its_shapes() -> None:
    ink = ink_of("KAUFMAN", 16, (64, 128)).T
    assert covered(rows_of_shapes(drawn(np.zeros(ink.shape), ink, 255)), np.ascontiguousarray(ink)) > 0.99


@needs_tesseract
def test_text_in_an_overlay_plane_is_covered() -> None:
    ink = ink_of("KAUFMAN SCOTT", 16, (96, 256))
    assert covered(find_text_in_overlay(ink > 0.5), ink) > 0.99


@needs_tesseract
def test_a_frame_without_anything_has_no_text() -> None:
    assert find_text(np.full((256, 256), 40, np.uint8)) == []


@needs_tesseract
def test_anatomy_without_text_keeps_nine_tenths_of_its_pixels(shared_data: Path) -> None:
    frame = ct_slice(shared_data)
    assert covered(find_text(frame), np.ones(frame.shape)) < 0.1


def test_without_tesseract_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_text, "_languages", lambda: "")
    with pytest.raises(ConfigurationError, match="tesseract-ocr"):
        find_text(np.zeros((16, 16), np.uint8))
