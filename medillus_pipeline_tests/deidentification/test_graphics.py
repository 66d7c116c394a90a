"""Claims about overlays: they go, or stay without their text where Clean Graphics is chosen."""

import io

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from medillus_pipeline.deidentification.deidentify import deidentify
from medillus_pipeline.deidentification.options import DEFAULT_OPTIONS, Option
from medillus_pipeline.deidentification.pixel_text import ocr_available
from medillus_pipeline.deidentification.policy import Policy
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline_tests.deidentification.delivered_files import encoded, image
from medillus_pipeline_tests.deidentification.test_pixel_text import ink_of

GRAPHICS = Policy(options=DEFAULT_OPTIONS | {Option.CLEAN_GRAPHICS})
SHAPE = (96, 256)
NAME = ink_of("VOGELWEIDE", 16, SHAPE, (20, 12)) > 0.5


def with_overlay(bits: np.ndarray) -> bytes:
    made: Dataset = image()
    made.add_new(0x60000010, "US", bits.shape[0])
    made.add_new(0x60000011, "US", bits.shape[1])
    made.add_new(0x60000022, "LO", "drawn by Vogelweide")
    made.add_new(0x60000040, "CS", "G")
    made.add_new(0x60000050, "SS", [1, 1])
    made.add_new(0x60000100, "US", 1)
    made.add_new(0x60000102, "US", 0)
    made.add_new(0x60003000, "OW", np.packbits(bits.reshape(-1), bitorder="little").tobytes())
    return encoded(made)


def drawing() -> np.ndarray:
    """A circle far from where the name is written."""
    rows, columns = np.indices(SHAPE)
    distance = np.hypot(rows - 62, columns - 190)
    return (distance < 26) & (distance > 23)


def test_an_overlay_goes_as_a_whole_by_default(pseudonymiser: Pseudonymiser) -> None:
    found = dcmread(io.BytesIO(deidentify(with_overlay(drawing()), pseudonymiser).data))
    assert not [element.tag for element in found if element.tag.group == 0x6000]


@pytest.mark.skipif(not ocr_available(), reason="Tesseract is not installed")
def test_with_clean_graphics_the_drawing_stays_and_the_name_on_it_goes(pseudonymiser: Pseudonymiser) -> None:
    made = deidentify(with_overlay(drawing() | NAME), pseudonymiser, policy=GRAPHICS)
    found = dcmread(io.BytesIO(made.data))
    bits = found.overlay_array(0x6000).astype(bool)
    assert not bits[NAME].any()
    assert (bits == drawing()).all()
    assert found[0x60000040].value == "G" and 0x60000022 not in found


def test_an_overlay_that_cannot_be_understood_goes(pseudonymiser: Pseudonymiser) -> None:
    made = dcmread(io.BytesIO(with_overlay(drawing())))
    made[0x60000010].value = 9999
    found = dcmread(io.BytesIO(deidentify(encoded(made), pseudonymiser, policy=GRAPHICS).data))
    assert 0x60003000 not in found
