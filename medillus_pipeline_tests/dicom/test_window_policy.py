"""Which windows a frame is shown through, what its row says of them, and the deeper forms that can be had."""

from typing import Any

import numpy as np
import pytest
from pydicom.uid import JPEGExtended12Bit, JPEGLosslessSV1

from medillus_pipeline.dicom.colours import palette_colours
from medillus_pipeline.dicom.decoding import PixelError, Skip
from medillus_pipeline.dicom.pixels import calibrated, colour_frame, grey_frame
from medillus_pipeline.dicom.rendering import Task, greys, lossless, render_instance, transform
from medillus_pipeline.dicom.windows import PRESETS, VoiLut, Window, WindowPolicy, apply_window
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.dicom.image_files import encoded, image, instance_row, item

HU = {"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"}
PIXELS = np.arange(0, 2400, 25, dtype=np.uint16).reshape(8, 12)


def rendered(clean: Zone, policy: WindowPolicy, modality: str = "CT", **attributes: Any) -> dict[str, Any]:
    row = instance_row(encoded(image(PIXELS, Modality=modality, **attributes)), clean)
    (made,), reasons = render_instance(Task(row, clean, policy))
    assert not reasons
    return made


def test_the_presets_are_those_of_the_reading_room() -> None:
    numbers = {name: (window.center, window.width) for name, window in PRESETS.items()}
    assert numbers == {"soft-tissue": (50, 350), "lung": (-600, 1500), "bone": (400, 1800), "brain": (40, 80)}


def test_several_windows_of_a_ct_are_several_pictures_of_one_slice(clean: Zone) -> None:
    made = rendered(clean, WindowPolicy(override="lung, bone,liver=60/160"), **HU)
    assert [(view["window"], view["window_center"], view["window_width"]) for view in made["views"]] == [
        ("lung", -600, 1500),
        ("bone", 400, 1800),
        ("liver", 60, 160),
    ]
    assert {name: made[name] for name in made["views"][0]} == made["views"][0]
    assert len({view["sha256"] for view in made["views"]}) == 3


def test_one_window_makes_no_list_of_views(clean: Zone) -> None:
    assert "views" not in rendered(clean, WindowPolicy(override="lung"), **HU)
    assert "views" not in rendered(clean, WindowPolicy(override="lung,bone"), modality="MR")
    own = rendered(
        clean, WindowPolicy(override="lung,bone"), WindowCenter=5, WindowWidth=9
    )  # not in HU: no preset fits
    assert ("views" in own, own["window"]) == (False, "file")


def test_ones_own_preset_stands_beside_the_others_and_can_be_that_of_a_body_part() -> None:
    policy = WindowPolicy(presets={"liver": Window("liver", 60, 160)}, ct_body_parts={"LIVER": "liver"})
    assert policy.rules("CT", "Liver") == ("liver",)
    assert policy.preset("liver") == Window("liver", 60, 160)
    assert not policy.needs_values("CT", "LIVER")
    assert policy.needs_values("MR", None) and WindowPolicy(override="lung,file").needs_values("CT", None)


@pytest.mark.parametrize("wrong", ["spleen", "lung,spleen", "liver=60", "liver=60/0.5", "liver=x/100"])
def test_a_window_that_cannot_be_is_refused_when_it_is_asked_for(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"window"):
        WindowPolicy(override=wrong)


def test_the_second_window_of_a_file_can_be_asked_for(clean: Zone) -> None:
    policy = WindowPolicy(override="file", file_window=1)
    assert rendered(clean, policy, WindowCenter=[40, 700], WindowWidth=[80, 900])["window_center"] == 700
    assert rendered(clean, policy, WindowCenter=40, WindowWidth=80)["window_center"] == 40


def test_the_transform_says_enough_to_make_the_picture_again() -> None:
    dataset = image(PIXELS, **HU, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=2375)
    text = transform(grey_frame(dataset), PRESETS["lung"])
    assert text == "rescale 1.0 -1024.0; padding 2375 2375; LINEAR -600.0 1500.0; inverse"
    again = 255 - apply_window(PIXELS.astype(float) - 1024, Window("again", -600.0, 1500.0))
    again[PIXELS == 2375] = 0
    assert np.array_equal(greys(grey_frame(dataset), PRESETS["lung"]), again)


def test_the_row_says_which_transform_made_each_picture(clean: Zone) -> None:
    made = rendered(clean, WindowPolicy(override="lung,bone"), **HU)
    assert [view["transform"] for view in made["views"]] == [
        "rescale 1.0 -1024.0; LINEAR -600.0 1500.0",
        "rescale 1.0 -1024.0; LINEAR 400.0 1800.0",
    ]


def test_the_transform_tells_lookup_tables_apart() -> None:
    frame = grey_frame(image(PIXELS))
    texts = {transform(frame, VoiLut("file-voi-lut", 0, 8, values)) for values in ((0, 255), (0, 254))}
    assert len(texts) == 2
    assert all(text.startswith("rescale 1.0 0.0; VOI-LUT 2 0 8 ") for text in texts)


def test_a_16_bit_picture_has_the_same_greys_only_finer() -> None:
    frame = grey_frame(image(PIXELS, **HU))
    shallow, deep = (greys(frame, PRESETS["bone"], bits) for bits in (8, 16))  # type: ignore[arg-type]
    assert (deep.dtype, deep.max()) == (np.uint16, 65535)
    assert np.abs(deep / 257 - shallow).max() <= 0.5
    assert len(np.unique(deep)) > len(np.unique(shallow))


def test_hounsfield_units_come_back_from_the_lossless_form_to_the_last_one() -> None:
    signed = np.array([[-2000, -1, 0, 1, 3071]], np.int16)
    frame = grey_frame(image(signed, RescaleSlope=1, RescaleIntercept=-24, PixelPaddingValue=-2000))
    values, slope, intercept = lossless(frame)
    assert values.dtype == np.uint16
    assert (values * slope + intercept).tolist() == (signed - 24.0).tolist()


def test_doses_of_32_bits_are_kept_where_they_span_16_and_refused_where_not() -> None:
    narrow = np.array([[1_000_000, 1_065_535]], np.uint32)
    values, slope, intercept = lossless(grey_frame(image(narrow, RescaleSlope=0.5)))
    assert (values * slope + intercept).tolist() == [[500_000, 532_767.5]]
    with pytest.raises(PixelError) as caught:
        lossless(grey_frame(image(np.array([[0, 65_536]], np.uint32))))
    assert caught.value.reason is Skip.TOO_DEEP


def test_a_rescale_that_is_no_number_is_refused() -> None:
    made = image(PIXELS)
    made.add_new("RescaleSlope", "FD", float("nan"))
    with pytest.raises(PixelError) as caught:
        calibrated(made)
    assert caught.value.reason is Skip.INVALID_DESCRIPTION


def test_a_file_whose_voi_lut_is_broken_falls_back_to_its_window(clean: Zone) -> None:
    broken = item()
    broken.add_new("LUTDescriptor", "US", [9, 0, 16])
    broken.add_new("LUTData", "US", [1, 2])
    made = rendered(clean, WindowPolicy(), "DX", VOILUTSequence=[broken], WindowCenter=500, WindowWidth=400)
    assert (made["window"], made["window_center"]) == ("file", 500)


def test_a_palette_with_too_few_entries_is_refused() -> None:
    made = image(np.zeros((2, 2), np.uint8), PhotometricInterpretation="PALETTE COLOR")
    for name in ("Red", "Green", "Blue"):
        made.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [256, 0, 16])
        made.add_new(f"{name}PaletteColorLookupTableData", "OW", bytes(20))
    with pytest.raises(ValueError, match="fewer entries"):
        palette_colours(np.zeros((2, 2), np.uint8), made)
    with pytest.raises(PixelError):
        colour_frame(made)


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize(("bits", "signed"), [(8, False), (12, False), (12, True), (16, True)])
def test_jpeg_lossless_gives_every_value_back(predictor: int, bits: int, signed: bool) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    from pydicom.encaps import encapsulate

    kind = f"{'i' if signed else 'u'}{1 if bits == 8 else 2}"
    low = -(2 ** (bits - 1)) if signed else 0
    values = np.random.default_rng([predictor, bits]).integers(low, low + 2**bits, (16, 24)).astype(kind)
    dataset = image(values, BitsStored=bits, HighBit=bits - 1)
    unsigned = values.view(kind.replace("i", "u")) & np.array(2**bits - 1, kind.replace("i", "u"))
    code = imagecodecs.jpeg8_encode(unsigned, lossless=True, predictor=predictor, bitspersample=bits)
    dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    dataset.PixelData = encapsulate([code])
    dataset["PixelData"].is_undefined_length = True
    assert np.array_equal(calibrated(dataset), values)


def test_12_bit_jpeg_is_decoded_and_a_picture_of_another_size_is_refused() -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    from pydicom.encaps import encapsulate

    values = (np.add.outer(np.arange(32), np.arange(48)) * 50).astype(np.uint16)
    dataset = image(values, BitsStored=12, HighBit=11)
    dataset.file_meta.TransferSyntaxUID = JPEGExtended12Bit
    dataset.PixelData = encapsulate([imagecodecs.jpeg8_encode(values, level=100, bitspersample=12)])
    dataset["PixelData"].is_undefined_length = True
    assert np.abs(calibrated(dataset) - values).max() <= 2
    dataset.Rows = 31
    with pytest.raises(PixelError) as caught:
        calibrated(dataset)
    assert caught.value.reason is Skip.DECODE_FAILED
