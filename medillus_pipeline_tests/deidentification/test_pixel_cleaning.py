"""Claims about Clean Pixel Data on whole files: what goes black, in every frame and encoding, and what stays."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, SecondaryCaptureImageStorage

from medillus_pipeline.deidentification.pixel_cleaning import CleanedPixels, clean_pixels
from medillus_pipeline.deidentification.pixel_text import ocr_available, read_words
from medillus_pipeline.deidentification.policy import RegionRule
from medillus_pipeline.dicom.outcomes import Quarantine, Reason
from medillus_pipeline.dicom.pixels import colour_frame, grey_frame
from medillus_pipeline_tests.deidentification.test_pixel_text import ink_of
from medillus_pipeline_tests.dicom.image_files import encoded, image

pytestmark = pytest.mark.skipif(not ocr_available(), reason="Tesseract is not installed")

SHAPE = (96, 320)
INK = ink_of("KAUFMAN SCOTT", 18, SHAPE) > 0.5


def cleaned(dataset: FileDataset, *regions: RegionRule, **device: str) -> tuple[CleanedPixels, FileDataset]:
    given = {"manufacturer": "", "model": ""} | device
    result = clean_pixels(encoded(dataset), regions, **given)
    return result, pydicom.dcmread(io.BytesIO(result.data))


def others(dataset: FileDataset) -> dict[int, Any]:
    """The raw elements that do not describe pixels."""
    return {
        int(tag): dataset.get_item(tag).value
        for tag in dataset.keys()  # noqa: SIM118 - iterating decodes the elements
        if tag.group not in (0x0028, 0x7FE0)
    }


def delivered(path: Path) -> FileDataset:
    """A real file without its sequences, which `deidentify` would write with a defined length."""
    dataset = pydicom.dcmread(path)
    for element in [element for element in dataset if element.VR == "SQ"]:
        del dataset[element.tag]
    return dataset


def words(picture: np.ndarray) -> str:
    enlarged = np.kron(picture, np.ones((3, 3), np.uint8))
    return " ".join(text for _, text, _ in read_words(enlarged)).upper()


def test_a_name_in_the_third_frame_is_blacked_out_in_all_frames() -> None:
    frames = np.full((4, *SHAPE), 100, np.uint16)
    frames[2][INK] = 900
    before = image(frames)
    result, after = cleaned(before)
    assert result.changed and {box.frame for box in result.boxes} == {1, 2, 3, 4}
    assert (after.pixel_array[:, INK] == 100).all() and after.BurnedInAnnotation == "NO"
    assert others(after) == others(pydicom.dcmread(io.BytesIO(encoded(before))))


def test_a_file_without_text_keeps_its_pixel_bytes() -> None:
    before = image(np.full((64, 64), 7, np.uint16), BurnedInAnnotation="YES")
    result, after = cleaned(before)
    assert not result.changed and not result.boxes and after.BurnedInAnnotation == "NO"
    assert after.PixelData == before.PixelData
    assert others(after) == others(pydicom.dcmread(io.BytesIO(encoded(before))))


def test_in_monochrome1_black_is_the_greatest_value() -> None:
    pixels = np.full(SHAPE, 4000, np.uint16)
    pixels[INK] = 20
    _, after = cleaned(image(pixels, PhotometricInterpretation="MONOCHROME1"))
    assert (after.pixel_array[INK] == 4000).all()


def test_signed_text_at_the_padding_value_is_found() -> None:
    pixels = np.full(SHAPE, 40, np.int16)
    pixels[INK] = 32767
    pixels[0, 0] = -1000
    _, after = cleaned(image(pixels, PixelPaddingValue=32767, WindowCenter=40, WindowWidth=400))
    assert (after.pixel_array[INK] == -1000).all()


def test_a_palette_stays_and_its_darkest_entry_is_used() -> None:
    pixels = np.full(SHAPE, 1, np.uint8)
    pixels[INK] = 2
    table = np.array([65535, 30000, 60000, 0] + [65535] * 252, "<u2")
    luts = {f"{name}PaletteColorLookupTableData": table.tobytes() for name in ("Red", "Green", "Blue")}
    descriptors = {f"{name}PaletteColorLookupTableDescriptor": [256, 0, 16] for name in ("Red", "Green", "Blue")}
    _, after = cleaned(image(pixels, PhotometricInterpretation="PALETTE COLOR", **luts, **descriptors))
    assert after.PhotometricInterpretation == "PALETTE COLOR"
    assert (after.pixel_array[INK] == 3).all()


def test_a_colour_jpeg_becomes_native_rgb_and_stays_marked_as_lossy() -> None:
    pixels = np.zeros((*SHAPE, 3), np.uint8)
    pixels[INK] = (255, 230, 0)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    before = image(
        pixels, SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL_422", PlanarConfiguration=0,
        SOPClassUID=SecondaryCaptureImageStorage, LossyImageCompression="01",
    )  # fmt: skip
    before.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    before.PixelData = encapsulate([buffer.getvalue()])
    before["PixelData"].VR, before["PixelData"].is_undefined_length = "OB", True
    _, after = cleaned(before)
    assert after.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert after.PhotometricInterpretation == "RGB" and after.LossyImageCompression == "01"
    assert (after.pixel_array[INK] == 0).all()


def test_a_matching_region_is_black_and_another_devices_region_is_not() -> None:
    pixels = np.full((64, 64), 9, np.uint8)
    pixels[0, 0] = 1
    ours = RegionRule(boxes=((10, 20, 30, 99),), manufacturer=" acme ", rows=64)
    theirs = RegionRule(boxes=((0, 0, 64, 64),), manufacturer="OTHER")
    result, after = cleaned(image(pixels), ours, theirs, manufacturer="ACME", model="X")
    expected = pixels.copy()
    expected[20:64, 10:30] = 1
    assert result.changed and (after.pixel_array == expected).all()


def test_the_same_file_gives_the_same_bytes() -> None:
    pixels = np.where(INK, 200, 10).astype(np.uint8)
    assert cleaned(image(pixels))[0] == cleaned(image(pixels))[0]


def test_pixels_that_cannot_be_decoded_are_quarantined() -> None:
    broken = image(np.full((64, 64), 7, np.uint16))
    broken.PixelData = broken.PixelData[:100]
    with pytest.raises(Quarantine) as caught:
        cleaned(broken)
    assert caught.value.reason is Reason.UNDECODABLE_PIXELS


def test_the_real_ct_with_a_planted_name_loses_it(shared_data: Path) -> None:
    folder = shared_data / "phi" / "pseudo_phi"
    before = delivered(folder / "burned_in_ct_kaufman.dcm")
    ink = before.pixel_array == 32767  # the boxes of ground_truth.json are 25 pixels off
    result, after = cleaned(before)
    assert result.changed and (after.pixel_array[ink] != 32767).all()
    left = words((grey_frame(after).calibrated() > 3000).astype(np.uint8) * 255)
    planted = json.loads((folder / "ground_truth.json").read_text())["burned_in_ct_kaufman.dcm"]
    assert not [entry["label"] for entry in planted if entry["label"] in left]


def test_the_real_ultrasound_loses_its_header_line(shared_data: Path) -> None:
    before = delivered(shared_data / "phi" / "deid_data" / "us_burned_in_grey.dcm")
    assert "00079241539" in words(before.pixel_array)
    _, after = cleaned(before)
    assert not [word for word in ("00079241539", "PATIENT", "1951", "CCHS") if word in words(after.pixel_array)]


def test_a_real_photograph_in_ybr_decodes_as_before_outside_the_boxes(shared_data: Path) -> None:
    before = delivered(shared_data / "phi" / "deid_data" / "ct_simpson.dcm")
    result, after = cleaned(before, RegionRule(boxes=((0, 0, 40, 40),)))
    expected = colour_frame(before).copy()
    for _, left, top, right, bottom in result.boxes:
        expected[top:bottom, left:right] = 0
    assert (colour_frame(after) == expected).all()
