"""Every value that the package shows, against a float64 reference written from the standard (`pixel_reference.py`)."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medillus_pipeline.dicom.attributes import own_window
from medillus_pipeline.dicom.colours import ybr_to_rgb
from medillus_pipeline.dicom.decoding import RETIRED_JPEG, PixelError, Skip, frame_count
from medillus_pipeline.dicom.pixels import colour_frame, display, grey_frame, is_colour
from medillus_pipeline.dicom.windows import PRESETS, Window
from medillus_pipeline_tests.dicom import pixel_reference as reference
from medillus_pipeline_tests.dicom.image_files import image, item

stable = settings(derandomize=True, deadline=None, max_examples=150, database=None)
FRAMES = 3
"""Frames of a multi-frame file that are compared: the first, the last and one between."""


def reread(dataset: FileDataset, syntax: str = ExplicitVRLittleEndian) -> FileDataset:
    """The data set as a file of that transfer syntax gives it back; its pixel data are in that byte order already."""
    meta = dataset.file_meta
    meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    sink = io.BytesIO()
    pydicom.dcmwrite(sink, dataset, enforce_file_format=True)
    return pydicom.dcmread(io.BytesIO(sink.getvalue()))


def windows_of(dataset: Dataset, frame: int) -> list[tuple[Window | Any, reference.Voi]]:
    """The file's own VOIs and a preset, as the package and as the reference have them."""
    pairs = [(own_window(dataset, frame, index=k), reference.own_voi(dataset, frame, k)) for k in range(3)]
    assert [one is None for one, _ in pairs] == [other is None for _, other in pairs]
    bone = PRESETS["bone"]
    own = [(one, other) for one, other in pairs if one is not None and other is not None]
    return [*own, (bone, reference.linear(bone.center, bone.width))]


def assert_shown_as_the_standard_says(dataset: Dataset, frame: int = 1) -> None:
    if is_colour(dataset):
        assert np.array_equal(colour_frame(dataset, frame), reference.coloured(dataset, frame))
        return
    for window, voi in windows_of(dataset, frame):
        assert np.array_equal(display(dataset, frame, window), reference.displayed(dataset, frame, voi)), window
    window, voi = windows_of(dataset, frame)[0]
    deep = grey_frame(dataset, frame).greys(window, bits=16)
    assert np.array_equal(deep, reference.displayed(dataset, frame, voi, 65535))


def lut_item(first: int, bits: int, values: list[int], *, negative: bool = False) -> Dataset:
    made = item()
    made.add_new("LUTDescriptor", "SS" if negative else "US", [len(values) & 0xFFFF, first, bits])
    made.add_new("LUTData", "US", values)
    return made


numbers = st.floats(-2000, 2000, allow_nan=False).map(lambda v: float(f"{v:.4g}"))
widths = st.floats(1, 4000).map(lambda v: max(1.0, float(f"{v:.4g}")))


@st.composite
def grey_images(draw: st.DrawFn) -> tuple[FileDataset, str]:
    """A grey image of any depth, with dirt in its unused bits and any road from stored value to grey."""
    allocated = draw(st.sampled_from([8, 16, 16, 16, 32]))
    bits = draw(st.integers(1, allocated))
    high = draw(st.integers(bits - 1, allocated - 1))
    sign = draw(st.booleans())
    cells = draw(st.lists(st.integers(0, 2**allocated - 1), min_size=24, max_size=24))
    syntax = draw(st.sampled_from([ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]))
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    dataset = image(
        np.zeros((4, 6), f"u{allocated // 8}"), BitsStored=bits, HighBit=high, PixelRepresentation=int(sign)
    )
    dataset.PixelData = np.array(cells, f"{order}u{allocated // 8}").tobytes()
    dataset["PixelData"].VR = "OB" if allocated == 8 else "OW"
    dataset.PhotometricInterpretation = draw(st.sampled_from(["MONOCHROME1", "MONOCHROME2"]))
    if draw(st.booleans()):
        dataset.PresentationLUTShape = draw(st.sampled_from(["IDENTITY", "INVERSE"]))
    negative = sign
    road = draw(st.sampled_from(["nothing", "rescale", "lut"]))
    if road == "rescale":
        intercept = draw(numbers)
        dataset.RescaleSlope, dataset.RescaleIntercept = (
            draw(st.sampled_from([1, 2, 0.5, -1, 0.0381, 12.25])),
            intercept,
        )
        negative = sign or intercept < 0 or dataset.RescaleSlope < 0
    elif road == "lut" and bits <= 16:
        entries = draw(st.lists(st.integers(0, 65535), min_size=1, max_size=40))
        first = draw(st.integers(-100 if sign else 0, 200))
        dataset.ModalityLUTSequence, negative = [lut_item(first, 16, entries, negative=sign)], False
    if draw(st.booleans()):
        dataset.WindowCenter = draw(st.lists(numbers, min_size=2, max_size=2))
        dataset.WindowWidth = draw(st.lists(widths, min_size=2, max_size=2))
        function = draw(st.sampled_from(["", "LINEAR", "LINEAR_EXACT", "SIGMOID"]))
        if function:
            dataset.VOILUTFunction = function
    if draw(st.booleans()):
        depth = draw(st.integers(8, 16))
        entries = draw(st.lists(st.integers(0, 2**depth - 1), min_size=2, max_size=50))
        first = draw(st.integers(-300 if negative else 0, 300))
        dataset.VOILUTSequence = [lut_item(first, depth, entries, negative=negative)]
    if draw(st.booleans()) and bits <= 16:
        ends = draw(st.lists(st.integers(-(2**15) if sign else 0, 2**15 - 1 if sign else 2**16 - 1), max_size=2))
        for keyword, end in zip(("PixelPaddingValue", "PixelPaddingRangeLimit"), ends, strict=False):
            dataset.add_new(keyword, "SS" if sign else "US", end)
    return dataset, syntax


@stable
@given(grey_images())
def test_any_grey_image_is_shown_as_the_standard_says(made: tuple[FileDataset, str]) -> None:
    assert_shown_as_the_standard_says(reread(*made))


@stable
@given(grey_images())
def test_the_lossless_form_gives_every_output_value_back(made: tuple[FileDataset, str]) -> None:
    dataset = reread(*made)
    stored = reference.stored_values(dataset, 1)
    if "ModalityLUTSequence" not in dataset and stored.max() - stored.min() > 65535:
        with pytest.raises(PixelError) as caught:
            grey_frame(dataset).lossless()
        assert caught.value.reason is Skip.TOO_DEEP
        return
    values, slope, intercept = grey_frame(dataset).lossless()
    expected = np.vectorize(reference.modality(dataset, 1), otypes=[np.float64])(stored)
    assert values.dtype == np.uint16
    np.testing.assert_allclose(values * slope + intercept, expected, rtol=1e-12, atol=1e-6)


@stable
@given(
    st.lists(st.tuples(st.sampled_from([1, 2, 0.5]), numbers, numbers, widths), min_size=3, max_size=3),
    st.sets(st.sampled_from(["rescale", "window"])),
    st.booleans(),
)
@example([(1, -1024.0, 40.0, 400.0)] * 3, set(), False)
def test_an_enhanced_object_is_shown_by_its_functional_groups(
    frames: list[tuple[float, float, float, float]], shared: set[str], misleading: bool
) -> None:
    def group(kinds: set[str], slope: float, intercept: float, center: float, width: float) -> Dataset:
        made = item()
        if "rescale" in kinds:
            made.PixelValueTransformationSequence = [item(RescaleSlope=slope, RescaleIntercept=intercept)]
        if "window" in kinds:
            made.FrameVOILUTSequence = [item(WindowCenter=[center, center + 5], WindowWidth=[width, width + 9])]
        return made

    pixels = np.random.default_rng(5).integers(0, 4096, (3, 5, 7), np.uint16)
    top = {"RescaleIntercept": 77, "WindowCenter": 1, "WindowWidth": 2} if misleading else {}
    dataset = image(
        pixels,
        SharedFunctionalGroupsSequence=[group(shared, *frames[0])],
        PerFrameFunctionalGroupsSequence=[group({"rescale", "window"} - shared, *numbers) for numbers in frames],
        **top,
    )
    dataset = reread(dataset)
    for frame in (1, 2, 3):
        assert_shown_as_the_standard_says(dataset, frame)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("space", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize("allocated", [8, 16])
def test_colour_of_any_layout_becomes_rgb(syntax: str, planar: int, space: str, allocated: int) -> None:
    samples = np.random.default_rng(7).integers(0, 2**allocated, (2, 6, 8, 3), np.uint16)
    cells = np.moveaxis(samples, -1, 1) if planar else samples
    dataset = image(samples[0], SamplesPerPixel=3, PhotometricInterpretation=space, PlanarConfiguration=planar)
    dataset.NumberOfFrames = 2
    dataset.BitsAllocated = dataset.BitsStored = allocated
    dataset.HighBit = allocated - 1
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    dataset.PixelData = cells.astype(f"{order}u{allocated // 8}").tobytes()
    dataset["PixelData"].VR = "OB" if allocated == 8 else "OW"
    dataset = reread(dataset, syntax)
    for frame in (1, 2):
        assert_shown_as_the_standard_says(dataset, frame)


def test_every_pair_of_chrominances_is_converted_without_an_error_of_rounding() -> None:
    cb, cr = np.meshgrid(np.arange(256), np.arange(256))
    for y in (0, 1, 77, 128, 254, 255):
        samples = np.stack([np.full_like(cb, y), cb, cr], axis=-1).astype(np.uint8)
        dataset = image(samples, SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL", PlanarConfiguration=0)
        assert np.array_equal(ybr_to_rgb(samples, 8), reference.coloured(dataset, 1))


def test_a_native_422_image_shares_chrominance_between_neighbours() -> None:
    dataset = image(np.zeros((2, 4, 3), np.uint8), SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL_422")
    dataset.PlanarConfiguration = 0
    dataset.PixelData = np.random.default_rng(3).integers(0, 256, 16, np.uint8).tobytes()
    assert_shown_as_the_standard_says(reread(dataset))


def palette_image(stored: np.ndarray, descriptor: list[int], data: list[bytes], **attributes: Any) -> FileDataset:
    dataset = image(stored, PhotometricInterpretation="PALETTE COLOR", **attributes)
    dataset["PixelData"].VR = "OB"
    prefix = "Segmented" if dataset.get("LossyImageCompression") == "segmented" else ""
    for name, channel in zip(("Red", "Green", "Blue"), data, strict=True):
        dataset.add_new(f"{name}PaletteColorLookupTableDescriptor", "SS" if descriptor[1] < 0 else "US", descriptor)
        dataset.add_new(f"{prefix}{name}PaletteColorLookupTableData", "OW", channel)
    dataset.pop("LossyImageCompression", None)
    return dataset


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize(
    ("descriptor", "width"),
    [([200, 0, 16], 2), ([200, 0, 8], 1), ([200, 0, 8], 2), ([201, 3, 8], 1), ([40, 20, 16], 2), ([256, 0, 16], 1)],
    ids=["16-bit", "8-bit", "8-bit in words", "odd count", "short, from 20", "words promised, bytes given"],
)
def test_a_palette_of_either_width_is_applied(syntax: str, descriptor: list[int], width: int) -> None:
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    rng = np.random.default_rng(11)
    deep = width == 2 and descriptor[2] == 16
    entries = rng.integers(0, 65536 if deep else 256, (3, descriptor[0] + descriptor[0] % 2), np.uint16)
    data = [
        row.astype(f"{order}u2").tobytes()
        if width == 2
        else row.astype(np.uint8).view("<u2").astype(f"{order}u2").tobytes()
        for row in entries
    ]
    stored = np.arange(256, dtype=np.uint8).reshape(16, 16)
    dataset = reread(palette_image(stored, descriptor, data), syntax)
    found = colour_frame(dataset)
    assert np.array_equal(found, reference.coloured(dataset, 1))
    index = np.clip(stored.astype(int) - descriptor[1], 0, descriptor[0] - 1)
    assert np.array_equal(found, np.moveaxis(entries[:, index], 0, -1) >> (8 if deep else 0))


def test_a_palette_of_signed_pixels_starts_below_zero() -> None:
    entries = np.arange(256, dtype="<u2") * 257
    stored = np.arange(-128, 128, dtype=np.int8).reshape(16, 16)
    dataset = reread(palette_image(stored, [256, -128, 16], [entries.tobytes()] * 3))
    assert colour_frame(dataset)[..., 0].tolist() == np.arange(256).reshape(16, 16).tolist()
    assert_shown_as_the_standard_says(dataset)


@pytest.mark.parametrize("bits", [8, 16])
def test_segments_of_a_palette_are_unfolded(bits: int) -> None:
    scale = 1 if bits == 8 else 257
    discrete, rising, falling = [0, 2, 10 * scale, 20 * scale], [1, 7, 255 * scale], [1, 3, 0]
    offset = len(discrete) * bits // 8
    again = [2, 2, *((offset, 0, 0, 0) if bits == 8 else (offset, 0))]
    data = np.array(discrete + rising + falling + again, "<u1" if bits == 8 else "<u2").tobytes()
    data += b"\0" * (len(data) % 2)
    stored = np.arange(24, dtype=np.uint8).reshape(4, 6)
    dataset = reread(palette_image(stored, [22, 0, bits], [data] * 3, LossyImageCompression="segmented"))
    assert_shown_as_the_standard_says(dataset)
    red = colour_frame(dataset)[..., 0].ravel().tolist()
    assert (red[:2], red[8], red[11], red[18], red[21:]) == ([10, 20], 255, 0, 255, [0, 0, 0])


@pytest.mark.parametrize("space", ["HSV", "YBR_PARTIAL_422", "ARGB"])
def test_a_retired_colour_space_is_refused_rather_than_shown_in_wrong_colours(space: str) -> None:
    dataset = image(np.zeros((4, 4, 3), np.uint8), SamplesPerPixel=3, PhotometricInterpretation=space)
    dataset.PlanarConfiguration = 0
    with pytest.raises(PixelError):
        colour_frame(dataset)


def test_float_pixels_that_are_padding_or_no_number_are_black_and_not_counted() -> None:
    values = np.array([[-5.0, 0.0, 1.5, 3.0], [np.nan, np.inf, -1.0, 2.25]], np.float32)
    dataset = image(np.zeros((2, 4), np.uint32), FloatPixelPaddingValue=-5.0, FloatPixelPaddingRangeLimit=-1.0)
    for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        del dataset[keyword]
    dataset.FloatPixelData, dataset.PhotometricInterpretation = values.tobytes(), "MONOCHROME1"
    dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction = 1.5, 3, "LINEAR_EXACT"
    dataset = reread(dataset)
    assert_shown_as_the_standard_says(dataset)
    frame = grey_frame(dataset)
    assert frame.statistics() == (0.0, 3.0, 1.6875)
    assert frame.greys(Window("any", 1.5, 3, "LINEAR_EXACT")).tolist()[1][:2] == [0, 0]


def test_a_bit_a_pixel_is_black_and_white() -> None:
    dataset = image(np.zeros((3, 5), np.uint8), BitsAllocated=1, BitsStored=1, HighBit=0)
    dataset.PixelData = bytes([0b10110101, 0b00101010])
    assert_shown_as_the_standard_says(reread(dataset))
    assert grey_frame(dataset).greys(grey_frame(dataset).full_range()).ravel().tolist()[:5] == [255, 0, 255, 0, 255]


def test_every_displayable_real_file_is_shown_as_the_standard_says(shared_data: Path) -> None:
    shown = 0
    for path in sorted(p for p in shared_data.rglob("*") if p.is_file() and p.suffix not in (".gz", ".png", ".nrrd")):
        try:
            dataset = pydicom.dcmread(path)
            count = frame_count(dataset)
            frames = sorted({1, (count + 1) // 2, count})[:FRAMES]
            for frame in frames:
                _ = colour_frame(dataset, frame) if is_colour(dataset) else grey_frame(dataset, frame)
        except (pydicom.errors.InvalidDicomError, PixelError):
            continue
        if dataset.file_meta.TransferSyntaxUID in RETIRED_JPEG:  # the reference has no decoder for these two
            continue
        for frame in frames:
            assert_shown_as_the_standard_says(dataset, frame)
        shown += 1
    assert shown > 200
