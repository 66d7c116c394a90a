"""Places where an identifying value hides although its own attribute was cleaned, and files that hide each other."""

import io
import zipfile

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from medillus_pipeline.deidentification.ingest import Ingested, ingest_delivery
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.deidentification.delivered_files import deliver, encoded, image


def ingested(landing: Zone, clean: Zone, key: Pseudonymiser, files: dict[str, bytes], folder: str = "one") -> Ingested:
    deliver(landing, folder, files)
    return ingest_delivery(landing, folder, clean, key)


@pytest.mark.parametrize("charset", ["ISO_IR 192", "GB18030"])
@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("王小明", "王小明"),
        ("Wang^Xiao=王^小明", "王小明"),
        ("Kim^Ann", "Ann Kim"),
        ("Vogelweide^Walther", "DOB 1961-12-24"),
        ("Vogelweide^Walther", "24.12.1961"),
    ],
)
def test_short_names_and_dates_are_found_in_text_that_is_kept(
    landing, clean, pseudonymiser, name, kept, charset
) -> None:
    slice_ = image(name=name, patient="77", SpecificCharacterSet=charset, ConvolutionKernel=kept, ReceiveCoilName=kept)
    result = ingested(landing, clean, pseudonymiser, {"a.dcm": encoded(slice_)})
    assert result.counts == {"quarantined/residual_identifier": 1}
    assert clean.files() == []


def test_a_technical_text_is_no_date(landing, clean, pseudonymiser) -> None:
    slice_ = image(ConvolutionKernel="B30f", ReceiveCoilName="HE1-4 1961")
    assert ingested(landing, clean, pseudonymiser, {"a.dcm": encoded(slice_)}).counts == {"published": 1}


@pytest.mark.parametrize("comment", [b"Vogelweide^Walther", b"Kim 1961-12-24", b""])
def test_a_comment_inside_compressed_pixels_is_blanked(landing, clean, pseudonymiser, comment) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(stream, "JPEG", comment=comment)
    slice_ = image(Rows=16, Columns=16, BitsAllocated=8, BitsStored=8, HighBit=7)
    slice_.PixelData = encapsulate([stream.getvalue()])
    slice_["PixelData"].is_undefined_length = True
    result = ingested(landing, clean, pseudonymiser, {"a.dcm": encoded(slice_, JPEGBaseline8Bit)})
    assert result.counts == {"published": 1}
    written = clean.read(result.instances[0]["path"])
    assert not comment or comment not in written
    assert np.array_equal(pydicom.dcmread(io.BytesIO(written)).pixel_array, slice_.pixel_array)


def test_an_overlay_in_unused_bits_of_the_pixels_is_quarantined(landing, clean, pseudonymiser) -> None:
    slice_ = image()
    slice_.add_new(0x60000010, "US", slice_.Rows)
    slice_.add_new(0x60000102, "US", 12)
    result = ingested(landing, clean, pseudonymiser, {"a.dcm": encoded(slice_)})
    assert result.counts == {"quarantined/burned_in_annotation": 1}


def test_odd_members_of_an_archive_cost_no_other_file_its_place(landing, clean, pseudonymiser) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("a", encoded(image(number=1)))
        archive.writestr("a", encoded(image(number=2)))
        archive.writestr("a#2", encoded(image(number=3)))
        archive.writestr(zipfile.ZipInfo("."), b"x")
    result = ingested(landing, clean, pseudonymiser, {"a.zip": stream.getvalue(), "b.dcm": encoded(image(number=4))})
    assert result.counts == {"published": 4, "quarantined/unsafe_archive_member": 1}
    assert len({row["member"] for row in result.ledger}) == len(result.ledger)
    assert len({row["sha256"] for row in result.instances}) == 4


def test_files_without_ids_of_two_deliveries_are_not_one_patient(landing, clean, pseudonymiser) -> None:
    nameless = {"SOPInstanceUID": None, "StudyInstanceUID": None, "SeriesInstanceUID": None, "PatientID": None}
    found = [
        ingested(
            landing,
            clean,
            pseudonymiser,
            {"IM1": encoded(image(number=n, PatientName=None, **nameless))},
            folder=folder,
        ).instances[0]
        for n, folder in ((1, "first"), (2, "second"))
    ]
    for column in ("patient", "split_token", "series_instance_uid", "study_instance_uid"):
        assert found[0][column] != found[1][column], column
