"""Claims about one file: the Basic Profile to the letter, dates, identities, and the bytes around the data set."""

import datetime
import io
import struct
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    RLELossless,
    RTDoseStorage,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    UltrasoundImageStorage,
)

from medillus_pipeline.deidentification.deidentify import Deidentified, deidentify
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.dicom.encoding import Encoder
from medillus_pipeline.dicom.outcomes import Quarantine, Reason
from medillus_pipeline_tests.deidentification.delivered_files import encoded, image, item

CANARY = "Walpurgisnacht"


def run(dataset: Dataset, pseudonymiser: Pseudonymiser, syntax: str = ExplicitVRLittleEndian) -> FileDataset:
    return dcmread(io.BytesIO(deidentify(encoded(dataset, syntax), pseudonymiser).data))


def spliced(elements: bytes) -> bytes:
    """A valid file with encoded elements put in before its pixel module."""
    data = encoded(image())
    start = data.index(b"\x28\x00\x02\x00US")
    return data[:start] + elements + data[start:]


@pytest.mark.parametrize("defined", [True, False])
def test_sequences_hidden_in_un_are_entered(defined: bool, pseudonymiser: Pseudonymiser) -> None:
    name = Encoder(implicit=True, little=True).element(0x00100010, "PN", CANARY.encode())
    if defined:
        body = struct.pack("<HHL", 0xFFFE, 0xE000, len(name)) + name
    else:
        body = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF) + name
        body += struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    hidden = struct.pack("<HH2sHL", 0x0008, 0x1140, b"UN", 0, len(body) if defined else 0xFFFFFFFF) + body
    found = dcmread(io.BytesIO(deidentify(spliced(hidden), pseudonymiser).data))
    assert found.ReferencedImageSequence[0].PatientName == found.PatientName
    assert CANARY not in str(found)


def test_attributes_that_no_dictionary_knows_are_removed(pseudonymiser: Pseudonymiser) -> None:
    made = image()
    made.add_new(0x00180002, "LO", CANARY)
    made.add_new(0x7FDE0010, "OB", CANARY.encode())
    assert CANARY.encode() not in deidentify(encoded(made), pseudonymiser).data


def test_text_outside_the_table_is_removed_unless_it_is_technique(pseudonymiser: Pseudonymiser) -> None:
    found = run(image(LUTExplanation=CANARY, SegmentDescription=CANARY, ConvolutionKernel="B31s"), pseudonymiser)
    assert CANARY not in str(found)
    assert found.ConvolutionKernel == "B31s"
    assert found.Manufacturer == "SIEMENS"


def test_the_character_set_and_text_written_in_it_stay(pseudonymiser: Pseudonymiser) -> None:
    code = item(CodeValue="51185008", CodingSchemeDesignator="SCT", CodeMeaning="胸部")
    made = image(
        SpecificCharacterSet="GB18030", name="王^小东", AnatomicRegionSequence=code, StudyDescription="胸部 王小东"
    )
    found = run(made, pseudonymiser)
    assert found.SpecificCharacterSet == "GB18030"
    assert found.AnatomicRegionSequence[0].CodeMeaning == "胸部"
    assert "王" not in str(found)


def test_empty_attributes_stay_empty(pseudonymiser: Pseudonymiser) -> None:
    found = run(image(SeriesNumber="", PositionReferenceIndicator="", StudyDate=""), pseudonymiser)
    assert all(keyword in found for keyword in ("SeriesNumber", "PositionReferenceIndicator", "StudyDate"))


def test_a_code_keeps_its_text_only_in_a_published_scheme(pseudonymiser: Pseudonymiser) -> None:
    chest = item(CodeValue="51185008", CodingSchemeDesignator="SCT", CodeMeaning="Chest")
    local = item(CodeValue=CANARY, CodingSchemeDesignator="99HOUSE", CodeMeaning=CANARY)
    found = run(image(AnatomicRegionSequence=chest, ProcedureCodeSequence=local), pseudonymiser)
    assert found.AnatomicRegionSequence[0].CodeMeaning == "Chest"
    assert CANARY not in str(found)


def test_values_that_contradict_their_vr_do_not_pass(pseudonymiser: Pseudonymiser) -> None:
    encoder = Encoder(implicit=False, little=True)
    bad = encoder.element(0x00180050, "LT", CANARY.encode()) + encoder.element(0x00180060, "OB", CANARY.encode())
    found = dcmread(io.BytesIO(deidentify(spliced(bad), pseudonymiser).data))
    assert "SliceThickness" not in found and "KVP" not in found


def test_what_surrounds_the_data_set_is_rebuilt(pseudonymiser: Pseudonymiser) -> None:
    encoder = Encoder(implicit=False, little=True)
    preamble = CANARY.encode().ljust(128, b"\x00")
    trailing = encoder.element(0xFFFCFFFC, "OB", CANARY.encode()) + CANARY.encode()
    data = encoded(image(), preamble=preamble) + trailing
    result = deidentify(data, pseudonymiser).data
    assert result[:132] == bytes(128) + b"DICM"
    assert CANARY.encode() not in result
    meta = dcmread(io.BytesIO(result)).file_meta
    assert meta.MediaStorageSOPInstanceUID == pseudonymiser.uid("1.2.826.0.1.99.1")
    assert "SourceApplicationEntityTitle" not in meta


def test_bytes_hidden_behind_the_last_pixel_are_cut_off(pseudonymiser: Pseudonymiser) -> None:
    made = image()
    pixels = made.PixelData
    made.PixelData = pixels + CANARY.encode()
    assert run(made, pseudonymiser).PixelData == pixels


def test_the_method_is_stated(pseudonymiser: Pseudonymiser) -> None:
    found = run(image(DeidentificationMethod=CANARY), pseudonymiser)
    assert found.PatientIdentityRemoved == "YES"
    assert "2026d" in found.DeidentificationMethod[0]
    assert [code.CodeValue for code in found.DeidentificationMethodCodeSequence] == ["113100", "113107"]
    assert found.LongitudinalTemporalInformationModified == "MODIFIED"


def test_intervals_survive_across_dates_and_datetimes(pseudonymiser: Pseudonymiser) -> None:
    found = run(image(), pseudonymiser)
    study = datetime.datetime.strptime(found.StudyDate, "%Y%m%d").date()
    acquired = datetime.datetime.strptime(found.AcquisitionDateTime[:8], "%Y%m%d").date()
    assert (acquired - study).days == 1
    assert study < datetime.date(2024, 1, 31) - datetime.timedelta(364)
    assert found.AcquisitionDateTime[8:] == "000001+0100"
    assert found.StudyTime == "235959.5"


@pytest.mark.parametrize("value", ["20240231", "hash-of-it", "2024", "00000000"])
def test_an_invalid_date_is_removed_not_copied(value: str, pseudonymiser: Pseudonymiser) -> None:
    made = image()
    made.StudyDate = "20240131"
    data = encoded(made).replace(b"20240131", value.encode().ljust(8)[:8])
    found = dcmread(io.BytesIO(deidentify(data, pseudonymiser).data))
    assert found.StudyDate == ""


def test_dates_of_one_patient_move_alike_whatever_the_spelling_of_the_id(pseudonymiser: Pseudonymiser) -> None:
    first, second = (run(image(patient=spelling), pseudonymiser) for spelling in ("ab 123", "AB123"))
    other = run(image(patient="somebody else"), pseudonymiser)
    assert (first.PatientID, first.StudyDate) == (second.PatientID, second.StudyDate)
    assert other.PatientID != first.PatientID and other.StudyDate != first.StudyDate


def test_references_between_files_still_resolve_and_registered_uids_stay(pseudonymiser: Pseudonymiser) -> None:
    reference = item(ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID="1.2.826.0.1.99.2")
    found = run(image(SourceImageSequence=reference), pseudonymiser)
    other = run(image(number=2), pseudonymiser)
    assert found.SourceImageSequence[0].ReferencedSOPInstanceUID == other.SOPInstanceUID
    assert found.SourceImageSequence[0].ReferencedSOPClassUID == found.SOPClassUID == CTImageStorage


def test_files_without_uids_form_one_series_and_keep_apart(pseudonymiser: Pseudonymiser) -> None:
    blank = {"SOPInstanceUID": "", "SeriesInstanceUID": "", "StudyInstanceUID": ""}
    rows = [
        deidentify(encoded(image(number=n, **blank)), pseudonymiser, location=place).row
        for n, place in ((1, "a"), (2, "a"), (3, "b"))
    ]
    assert len({row["sop_instance_uid"] for row in rows}) == 3
    assert rows[0]["series_instance_uid"] == rows[1]["series_instance_uid"] != rows[2]["series_instance_uid"]
    assert rows[0]["study_instance_uid"] == rows[1]["study_instance_uid"]


def test_without_patient_id_the_study_tells_the_patient(pseudonymiser: Pseudonymiser) -> None:
    files = [encoded(image(patient="", StudyInstanceUID=study)) for study in ("1.2", "1.2", "1.3")]
    rows = [deidentify(file, pseudonymiser).row for file in files]
    assert rows[0]["patient"] == rows[1]["patient"] != rows[2]["patient"]


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_pixels_are_untouched_and_the_output_is_the_same_every_time(syntax: str, pseudonymiser: Pseudonymiser) -> None:
    data = encoded(image(), syntax)
    first, second = deidentify(data, pseudonymiser), deidentify(data, pseudonymiser)
    assert first.data == second.data
    assert (dcmread(io.BytesIO(first.data)).pixel_array == dcmread(io.BytesIO(data)).pixel_array).all()


def test_another_key_gives_other_pseudonyms(pseudonymiser: Pseudonymiser) -> None:
    other = Pseudonymiser(b"o" * 32, pseudonymiser.split_salt)
    one, two = (deidentify(encoded(image()), key).row for key in (pseudonymiser, other))
    assert one["patient"] != two["patient"] and one["sop_instance_uid"] != two["sop_instance_uid"]
    assert one["split_token"] == two["split_token"]


def reason_of(data: bytes, pseudonymiser: Pseudonymiser) -> Reason:
    with pytest.raises(Quarantine) as caught:
        deidentify(data, pseudonymiser)
    assert str(caught.value) == str(caught.value.reason)
    return caught.value.reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"BurnedInAnnotation": "YES"}, Reason.BURNED_IN_ANNOTATION),
        ({"BurnedInAnnotation": ["YES", "NO"]}, Reason.BURNED_IN_ANNOTATION),
        ({"BurnedInAnnotation": "Y"}, Reason.BURNED_IN_ANNOTATION),
        ({"SOPClassUID": MRImageStorage, "ImageType": ["DERIVED", "OTHER", "SCREEN SAVE"]}, Reason.SECONDARY_CAPTURE),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, Reason.SECONDARY_CAPTURE),
        ({"SOPClassUID": UltrasoundImageStorage}, Reason.ULTRASOUND),
        ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]}, Reason.DERIVED_CT),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, Reason.CT_LOCALIZER),
        ({"SOPClassUID": RTDoseStorage}, Reason.NOT_AN_IMAGE),
        ({"SOPClassUID": RTStructureSetStorage}, Reason.RTSTRUCT),
        ({"SOPClassUID": SegmentationStorage}, Reason.SEGMENTATION),
        ({"SOPClassUID": "1.2.40.0.13.77"}, Reason.UNKNOWN_SOP_CLASS),
        ({"PixelData": None}, Reason.NO_PIXEL_DATA),
        ({"PixelData": b"\x00" * 20}, Reason.TRUNCATED_PIXELS),
        ({"NumberOfFrames": 2}, Reason.TRUNCATED_PIXELS),
    ],
)
def test_what_must_not_pass_is_quarantined(
    changes: dict[str, Any], reason: Reason, pseudonymiser: Pseudonymiser
) -> None:
    assert reason_of(encoded(image(**changes)), pseudonymiser) is reason


def test_risky_kinds_pass_when_the_flag_says_no(pseudonymiser: Pseudonymiser) -> None:
    made = image(SOPClassUID=SecondaryCaptureImageStorage, BurnedInAnnotation="NO")
    assert isinstance(deidentify(encoded(made), pseudonymiser), Deidentified)


@pytest.mark.parametrize("keep", [200, 400, 700, -100])
def test_a_file_cut_anywhere_is_quarantined(keep: int, pseudonymiser: Pseudonymiser) -> None:
    assert reason_of(encoded(image())[:keep], pseudonymiser).outcome == "quarantined"


def test_fragments_without_an_end_are_truncated(pseudonymiser: Pseudonymiser) -> None:
    made = image()
    made.PixelData = encapsulate([made.PixelData])
    made["PixelData"].is_undefined_length = True
    data = encoded(made, RLELossless)
    assert deidentify(data, pseudonymiser).row["transfer_syntax_uid"] == RLELossless
    assert reason_of(data[:-40], pseudonymiser) is Reason.TRUNCATED_PIXELS
