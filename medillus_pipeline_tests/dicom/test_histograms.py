"""Histograms of intensities: shares of what the frames hold, read from no more frames than were asked for."""

import numpy as np
import pytest

from medillus_pipeline.dicom.histograms import BINS, CT_RANGE, histogram_picture, intensity_histograms
from medillus_pipeline.dicom.png import decode_png
from medillus_pipeline.dicom.slices import render_delivery
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.dicom.image_files import encoded, image, instance_row

HU = {"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"}


class Counting(Zone):
    """A zone that counts what is read from it."""

    reads = 0

    def read(self, path: str) -> bytes:
        self.reads += 1
        return super().read(path)


def halves(low: int, high: int, **attributes: object) -> bytes:
    """An image of which three quarters have one value and a quarter another."""
    pixels = np.full((16, 16), low, np.uint16)
    pixels[:4] = high
    return encoded(image(pixels, **attributes))


def test_shares_of_ct_are_those_of_hounsfield_units_on_one_axis(clean: Zone) -> None:
    rows = render_delivery([instance_row(halves(24, 1064, **HU), clean)], clean).slices
    (found,) = intensity_histograms(rows, clean)
    assert (found.modality, found.unit, found.low, found.high) == ("CT", "HU", *CT_RANGE)
    width = (CT_RANGE[1] - CT_RANGE[0]) / BINS
    filled = {int((value - CT_RANGE[0]) / width): share for value, share in ((-1000, 0.75), (40, 0.25))}
    assert {int(n): float(found.shares[n]) for n in np.flatnonzero(found.shares)} == pytest.approx(filled)
    assert found.window == ("soft-tissue", 50.0, 350.0)


def test_padding_does_not_count_and_values_beyond_the_axis_stand_at_its_ends(clean: Zone) -> None:
    data = halves(0, 5000, PixelPaddingValue=0, **HU)
    rows = render_delivery([instance_row(data, clean)], clean).slices
    (found,) = intensity_histograms(rows, clean)
    assert found.shares[-1] == 1.0


def test_other_modalities_have_an_axis_of_their_own_and_colour_has_none(clean: Zone) -> None:
    colour = image(np.zeros((8, 8, 3), np.uint8), SamplesPerPixel=3, PhotometricInterpretation="RGB", Modality="US")
    colour.PlanarConfiguration = 0
    data = [halves(100, 300, Modality="MR"), encoded(colour)]
    rows = render_delivery([instance_row(each, clean) for each in data], clean).slices
    assert len(rows) == 2
    (found,) = intensity_histograms(rows, clean)
    assert (found.modality, found.unit, found.low, found.high) == ("MR", "rescaled value", 100.0, 300.0)
    assert (found.shares[0], found.shares[-1]) == (0.75, 0.25)


def test_no_more_frames_are_read_than_asked_for(clean: Zone) -> None:
    data = [halves(24, 1000 + n, **HU) for n in range(12)]
    rows = render_delivery([instance_row(each, clean) for each in data], clean).slices
    counting = Counting(clean.url)
    (found,) = intensity_histograms(rows, counting, sampled=5)
    assert (counting.reads, found.frames, found.slices) == (5, 5, 12)


def test_a_file_that_is_gone_costs_its_frame_only(clean: Zone) -> None:
    data = [halves(24, 1000 + n, **HU) for n in range(2)]
    rows = render_delivery([instance_row(each, clean) for each in data], clean).slices
    clean.remove(rows[0]["instance_path"])
    (found,) = intensity_histograms(rows, clean)
    assert found.frames == 1
    clean.remove(rows[1]["instance_path"])
    assert intensity_histograms(rows, clean) == []


def test_the_picture_has_a_panel_for_each_and_drops_what_does_not_fit(clean: Zone) -> None:
    data = [halves(24, 1000, **HU), halves(7, 9, Modality="MR")]
    rows = render_delivery([instance_row(each, clean) for each in data], clean).slices
    found = intensity_histograms(rows, clean)
    whole, one = histogram_picture(found), histogram_picture(found[:1])
    assert decode_png(whole).shape[0] == 2 * decode_png(one).shape[0]
    assert histogram_picture(found) == whole
    assert histogram_picture(found, maximum=len(whole) - 1) == one
    with pytest.raises(ValueError, match="no histogram fits"):
        histogram_picture(found, maximum=10)
