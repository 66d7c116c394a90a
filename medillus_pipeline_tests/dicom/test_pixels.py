"""Against a float64 reference of PS3.3 C.11.1 and C.11.2.1, written here from the standard, value by value."""

import math
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.pixels import pixel_array

from medillus_pipeline.dicom.attributes import own_window, plane
from medillus_pipeline.dicom.decoding import PixelError, Skip
from medillus_pipeline.dicom.pixels import calibrated, colour_frame, display, grey_frame
from medillus_pipeline.dicom.windows import PRESETS, VoiLut, Window, WindowPolicy, apply_window, percentile_window
from medillus_pipeline_tests.dicom.image_files import image, item

EVERY_16_BIT_VALUE = np.arange(65536, dtype=np.uint16).reshape(256, 256)


def reference_linear(x: float, c: float, w: float) -> float:
    """PS3.3 C.11.2.1.2.1."""
    if x <= c - 0.5 - (w - 1) / 2:
        return 0.0
    if x > c - 0.5 + (w - 1) / 2:
        return 255.0
    return ((x - (c - 0.5)) / (w - 1) + 0.5) * 255.0


def reference_linear_exact(x: float, c: float, w: float) -> float:
    """PS3.3 C.11.2.1.3.2."""
    if x <= c - w / 2:
        return 0.0
    if x > c + w / 2:
        return 255.0
    return ((x - c) / w + 0.5) * 255.0


def reference_sigmoid(x: float, c: float, w: float) -> float:
    """PS3.3 C.11.2.1.3.1."""
    exponent = -4 * (x - c) / w
    return 255.0 / (1 + math.exp(exponent)) if exponent < 700 else 0.0


REFERENCES = {"LINEAR": reference_linear, "LINEAR_EXACT": reference_linear_exact, "SIGMOID": reference_sigmoid}


@pytest.mark.parametrize("function", list(REFERENCES))
@pytest.mark.parametrize(("center", "width"), [(50, 350), (-600, 1500), (40, 80), (0.5, 1), (128, 256), (300.25, 7.5)])
def test_every_value_is_windowed_as_the_standard_says(function: str, center: float, width: float) -> None:
    reference = REFERENCES[function]
    values = np.arange(-3000, 3001)
    expected = [math.floor(reference(float(x), center, width) + 0.5) for x in values]
    greys = apply_window(values, Window("any", center, width, function))  # type: ignore[arg-type]
    assert greys.tolist() == expected


@pytest.mark.parametrize("window", [Window("w", 0, 0), Window("w", 0, 0.5), Window("w", 0, -4, "LINEAR_EXACT")])
def test_a_width_that_the_standard_forbids_is_refused(window: Window) -> None:
    with pytest.raises(ValueError, match="width"):
        apply_window(np.zeros(3), window)


@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (0.25, -100.5), (2.0002442, -4047)])
def test_lookup_tables_give_what_the_formula_gives_for_all_16_bits(slope: float, intercept: float) -> None:
    dataset = image(EVERY_16_BIT_VALUE, RescaleSlope=slope, RescaleIntercept=intercept)
    hu = EVERY_16_BIT_VALUE.astype(np.float64) * slope + intercept
    assert np.array_equal(calibrated(dataset), hu.astype(np.float32))
    for window in PRESETS.values():
        assert np.array_equal(display(dataset, 1, window), apply_window(hu, window))


def test_unused_bits_hold_no_pixel_and_the_sign_is_extended_from_the_highest_stored_bit() -> None:
    values = np.array([[-2048, -1, 0, 2047]], np.int16)
    soiled = ((values.view(np.uint16) & 0x0FFF) | 0xA000).view(np.int16)
    dataset = image(soiled, BitsStored=12, HighBit=11)
    assert calibrated(dataset).tolist() == values.tolist()
    unsigned = image((np.array([[0, 5, 4095]], np.uint16) | 0xF000), BitsStored=12, HighBit=11)
    assert calibrated(unsigned).tolist() == [[0, 5, 4095]]


def test_a_high_bit_above_the_stored_bits_shifts_them_down() -> None:
    dataset = image(np.array([[0x0010, 0xFFF3]], np.uint16), BitsStored=12, HighBit=15)
    assert calibrated(dataset).tolist() == [[1, 4095]]


def test_a_modality_lut_maps_stored_values_and_holds_its_ends() -> None:
    table = item(LUTDescriptor=[4, 10, 16], LUTData=[100, 200, 400, 800], ModalityLUTType="US")
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    dataset = image(np.array([[0, 10, 11, 13, 200]], np.uint16), ModalityLUTSequence=[table])
    assert calibrated(dataset).tolist() == [[100, 100, 200, 800, 800]]


def test_the_files_own_voi_lut_is_applied_after_the_rescale() -> None:
    table = item(LUTDescriptor=[3, 100, 12], LUTData=[0, 2048, 4095])
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    dataset = image(np.array([[0, 50, 51, 52, 900]], np.uint16), RescaleIntercept=50, VOILUTSequence=[table])
    voi = own_window(dataset)
    assert isinstance(voi, VoiLut)
    assert display(dataset, 1, voi).tolist() == [[0, 0, math.floor(2048 / 4095 * 255 + 0.5), 255, 255]]


def test_a_lut_packed_two_entries_to_a_word_is_unpacked() -> None:
    table = item(LUTDescriptor=[4, 0, 8], LUTData=[0x4000, 0xFF80])
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    voi = own_window(image(np.zeros((1, 4), np.uint8), VOILUTSequence=[table]))
    assert isinstance(voi, VoiLut)
    assert voi.values == (0, 0x40, 0x80, 0xFF)


def test_the_files_window_is_chosen_by_index_and_keeps_its_function() -> None:
    pixels = np.zeros((2, 2), np.int16)
    dataset = image(pixels, WindowCenter=[40, -600], WindowWidth=[80, 1500], VOILUTFunction="SIGMOID")
    assert own_window(dataset) == Window("file-sigmoid", 40, 80, "SIGMOID")
    assert own_window(dataset, index=1) == Window("file-sigmoid", -600, 1500, "SIGMOID")
    assert own_window(dataset, index=2) is None
    assert own_window(image(pixels, WindowCenter=40, WindowWidth=0)) is None
    assert own_window(image(pixels)) is None


@pytest.mark.parametrize(
    "attributes",
    [
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"PresentationLUTShape": "INVERSE"},
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
    ],
)
def test_monochrome1_and_inverse_are_turned_over_once(attributes: dict[str, str]) -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    window = Window("any", 100, 120)
    assert np.array_equal(display(image(pixels, **attributes), 1, window), 255 - apply_window(pixels, window))


def test_padding_is_black_and_left_out_of_the_statistics() -> None:
    pixels = np.array([[-2000, -2000, 0, 10, 20]], np.int16)
    dataset = image(pixels, PixelPaddingValue=-2000, PhotometricInterpretation="MONOCHROME1")
    frame = grey_frame(dataset)
    values, counts = frame.histogram()
    assert (values.tolist(), counts.tolist()) == ([0, 10, 20], [1, 1, 1])
    assert frame.statistics() == (0, 20, 10)
    assert frame.greys(Window("any", 10, 21))[0, :2].tolist() == [0, 0]
    assert calibrated(dataset, padding=-1000.0)[0, :2].tolist() == [-1000, -1000]


def test_the_statistics_of_a_falling_rescale_are_the_right_way_round() -> None:
    pixels = np.array([[1, 2, 9]], np.uint16)
    assert grey_frame(image(pixels, RescaleSlope=-2, RescaleIntercept=10)).statistics() == (-8, 8, 2)


def test_a_padding_range_and_a_padding_value_read_with_the_wrong_sign_are_understood() -> None:
    pixels = np.array([[-2000, -1999, -1998, 5]], np.int16)
    ranged = image(pixels, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1999)
    assert set(grey_frame(ranged).histogram()[0]) == {-1998, 5}
    misread = image(pixels)
    misread.add_new("PixelPaddingValue", "US", 65536 - 2000)
    assert set(grey_frame(misread).histogram()[0]) == {-1999, -1998, 5}


def test_a_padding_value_that_the_pixel_cannot_hold_masks_nothing() -> None:
    dataset = image(np.array([[96, 7]], np.uint16), BitsStored=12, HighBit=11)
    dataset.add_new("PixelPaddingValue", "US", 63584)
    assert grey_frame(dataset).calibration.padding is None


def test_each_frame_of_an_enhanced_object_has_its_own_rescale_window_and_place() -> None:
    def groups(k: int) -> pydicom.Dataset:
        return item(
            PixelValueTransformationSequence=[item(RescaleSlope=k + 1, RescaleIntercept=-10 * k, RescaleType="HU")],
            FrameVOILUTSequence=[item(WindowCenter=100 + k, WindowWidth=50)],
            PlanePositionSequence=[item(ImagePositionPatient=[0, 0, 2.5 * k])],
        )

    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelMeasuresSequence=[item(PixelSpacing=[0.5, 0.6])],
    )
    dataset = image(
        np.array([[[7, 8]], [[7, 8]], [[9, 9]]], np.uint16),
        PerFrameFunctionalGroupsSequence=[groups(k) for k in range(3)],
        SharedFunctionalGroupsSequence=[shared],
    )
    assert [calibrated(dataset, k).tolist() for k in (1, 2, 3)] == [[[7, 8]], [[4, 6]], [[7, 7]]]
    assert own_window(dataset, 3) == Window("file", 102, 50)
    where = plane(dataset, 3)
    assert (where.position, where.pixel_spacing) == ((0, 0, 5.0), (0.5, 0.6))
    with pytest.raises(PixelError):
        calibrated(dataset, 4)


def test_colour_is_brought_to_8_bit_rgb() -> None:
    pixels = np.array([[[0, 0x8000, 0xFFFF], [0x1234, 0x0100, 0x00FF]]], np.uint16)
    dataset = image(pixels, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    assert colour_frame(dataset).tolist() == [[[0, 0x80, 0xFF], [0x12, 1, 0]]]
    with pytest.raises(PixelError) as caught:
        calibrated(dataset)
    assert caught.value.reason is Skip.COLOUR


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Rows": 400}, Skip.TRUNCATED),
        ({"Rows": 0}, Skip.INVALID_DESCRIPTION),
        ({"Rows": 65535, "Columns": 65535}, Skip.TOO_LARGE),
        ({"BitsStored": 40}, Skip.INVALID_DESCRIPTION),
        ({"Modality": "SEG"}, Skip.NOT_AN_IMAGE),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, Skip.NOT_AN_IMAGE),
    ],
)
def test_a_frame_that_cannot_be_shown_says_why(changes: dict[str, object], reason: Skip) -> None:
    dataset = image(np.zeros((4, 4), np.int16), **changes)
    with pytest.raises(PixelError) as caught:
        grey_frame(dataset)
    assert caught.value.reason is reason


def test_the_window_follows_modality_and_body_part() -> None:
    policy = WindowPolicy()
    assert policy.rule("CT", "CHEST") == policy.rule("CT", None) == policy.rule("CT", "HEADNECK") == "soft-tissue"
    assert policy.rule("CT", "HEAD") == "brain"
    assert (policy.rule("MR", "HEAD"), policy.rule("PT", None), policy.rule("DX", None)) == (
        "percentiles",
        "percentiles",
        "file",
    )
    assert WindowPolicy(override="lung").rule("CT", "HEAD") == "lung"
    assert WindowPolicy(override="lung").rule("MR", "HEAD") == "percentiles"
    with pytest.raises(ValueError, match="choose one of soft-tissue, lung, bone, brain"):
        WindowPolicy(override="liver")


def test_a_percentile_window_does_not_mind_a_few_hot_pixels() -> None:
    values = np.concatenate([np.arange(1000.0), [1e6]])
    window = percentile_window([values], [np.ones(1001)], (0.5, 99.5))
    assert window is not None
    assert window.center == pytest.approx(500, abs=2)
    assert window.width == pytest.approx(990, abs=4)
    assert percentile_window([], [], (1, 99)) is None


EXACT, NEAR = 0, 5
SYNTAXES = {
    "CTImage.dcm": EXACT,
    "LittleEndianExplicit": EXACT,
    "LittleEndianImplicit": EXACT,
    "BigEndianExplicit": EXACT,
    "DeflatedExplicit": EXACT,
    "RLELossless": EXACT,
    "JPEGLSLossless": EXACT,
    "JPEG2000LosslessOnly": EXACT,
    "JPEG2000TransferSyntax": NEAR,
    "JPEGLSLossy": NEAR,
    "JPEGProcess1TransferSyntax": 80,
    "JPEGProcess14TransferSyntax": EXACT,
    "JPEGProcess14SV1": EXACT,
    "JPEGProcess2_4": 40,
    "JPEGProcess6_8": 40,
    "JPEGProcess10_12": 40,
}
"""Greatest difference from the uncompressed slice, in HU."""


@pytest.mark.parametrize(("name", "expected"), SYNTAXES.items(), ids=list(SYNTAXES))
def test_one_ct_in_every_transfer_syntax(shared_data: Path, name: str, expected: int) -> None:
    folder = shared_data / "awkward" / "one_ct_many_syntaxes"
    (path,) = (p for p in sorted(folder.iterdir()) if p.name == name or f"_{name}" in p.name)
    plain = calibrated(pydicom.dcmread(folder / "CTImage.dcm"))
    dataset = pydicom.dcmread(path)
    assert np.max(np.abs(calibrated(dataset) - plain)) <= expected
    if expected == EXACT:
        soft = PRESETS["soft-tissue"]
        assert np.array_equal(display(dataset, 1, soft), display(pydicom.dcmread(folder / "CTImage.dcm"), 1, soft))


@pytest.mark.parametrize(
    "name",
    ["MR_small.dcm", "emri_small_big_endian.dcm", "emri_small_RLE.dcm", "JLSL_16_15_1_1F.dcm", "693_J2KI.dcm"],
)
def test_stored_values_agree_with_pydicom(shared_data: Path, name: str) -> None:
    dataset = pydicom.dcmread(shared_data / "awkward" / "single" / name)
    frame = int(dataset.get("NumberOfFrames", 1) or 1)
    expected = pixel_array(dataset, index=frame - 1) * float(dataset.get("RescaleSlope", 1))
    assert np.array_equal(calibrated(dataset, frame), expected + float(dataset.get("RescaleIntercept", 0)))


def test_palettes_of_real_files_become_colour(shared_data: Path) -> None:
    for name in ("examples_palette.dcm", "TestPattern_Palette_16.dcm", "OBXXXX1A_rle.dcm"):
        colours = colour_frame(pydicom.dcmread(shared_data / "awkward" / "single" / name))
        assert colours.shape[2] == 3
        assert len(np.unique(colours)) > 20


def test_overlays_of_a_real_file_are_left_out(shared_data: Path) -> None:
    dataset = pydicom.dcmread(shared_data / "awkward" / "single" / "ovly_p01.dcm")
    assert calibrated(dataset).max() <= 4095
