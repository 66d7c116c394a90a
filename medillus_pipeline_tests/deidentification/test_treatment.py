"""Claims about what a place remembers and about what is judged by its neighbours."""

import io

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medillus_pipeline.deidentification import residual
from medillus_pipeline.deidentification.deidentify import _desk, deidentify
from medillus_pipeline.deidentification.options import DEFAULT_OPTIONS, Option
from medillus_pipeline.deidentification.pixel_text import ocr_available
from medillus_pipeline.deidentification.policy import Policy, RegionRule
from medillus_pipeline.deidentification.private import SafePrivate
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline_tests.deidentification.delivered_files import encoded, image, item


def written(made: Dataset, key: Pseudonymiser, *options: Option, **policy: object) -> Dataset:
    chosen = Policy(options=frozenset(options) or DEFAULT_OPTIONS, **policy)  # type: ignore[arg-type]
    return dcmread(io.BytesIO(deidentify(encoded(made), key, policy=chosen).data))


def test_what_was_remembered_of_one_patient_never_reaches_another(pseudonymiser: Pseudonymiser) -> None:
    files = [
        encoded(image(number=number, patient=patient, name=name, StudyDate="20240131"))
        for number, (patient, name) in enumerate([("A-1", "Eins^Anna"), ("B-2", "Zwei^Bert"), ("A-1", "Eins^Anna")], 1)
    ]
    together = [deidentify(data, pseudonymiser).data for data in files]
    alone = []
    for data in files:
        _desk.cache_clear()
        alone.append(deidentify(data, pseudonymiser).data)
    assert together == alone
    dates = [dcmread(io.BytesIO(data)).StudyDate for data in together]
    assert dates[0] == dates[2] != dates[1]


def test_the_same_words_are_kept_for_one_patient_and_not_for_one_of_that_name(pseudonymiser: Pseudonymiser) -> None:
    options = (*DEFAULT_OPTIONS, Option.CLEAN_DESCRIPTORS)
    found = [
        written(image(name=name, patient=name, SeriesDescription="hand axial"), pseudonymiser, *options)
        for name in ("Vogelweide^Walther", "Hand^Walther")
    ]
    assert [one.get("SeriesDescription", "") for one in found] == ["hand axial", "axial"]


def test_safe_private_elements_stay_by_creator_whatever_their_block(pseudonymiser: Pseudonymiser) -> None:
    made = image()
    made.add_new(0x00190010, "LO", "SOMEBODY ELSE")
    made.add_new(0x0019100C, "IS", "4711471")
    made.add_new(0x00190042, "LO", "SIEMENS MR HEADER")
    made.add_new(0x0019420C, "IS", "1000")
    made.add_new(0x001942FF, "LO", "not in any list")
    kept = written(made, pseudonymiser, *DEFAULT_OPTIONS, Option.RETAIN_SAFE_PRIVATE)
    assert kept[0x0019420C].value == 1000 and kept[0x00190042].value == "SIEMENS MR HEADER"
    assert {int(element.tag) for element in kept if element.tag.is_private} == {0x00190042, 0x0019420C}
    assert not any(element.tag.is_private for element in written(made, pseudonymiser))


def test_a_site_s_own_list_of_private_elements_is_kept_too(pseudonymiser: Pseudonymiser) -> None:
    made = image()
    made.add_new(0x00290010, "LO", "OUR LAB")
    made.add_new(0x00291001, "UI", "1.2.826.0.1.99.1")
    own = (SafePrivate("OUR LAB", 0x0029, 0x01, "UI"),)
    options = (*DEFAULT_OPTIONS, Option.RETAIN_SAFE_PRIVATE)
    kept = written(made, pseudonymiser, *options, safe_private=own)
    assert kept[0x00291001].value == pseudonymiser.uid("1.2.826.0.1.99.1")
    assert 0x00291001 not in written(made, pseudonymiser, *options)


@pytest.mark.parametrize(
    ("option", "keyword", "value"),
    [
        (Option.RETAIN_DEVICE_IDENTITY, "StationName", "CT-02"),
        (Option.RETAIN_INSTITUTION_IDENTITY, "InstitutionName", "Spital Burgdorf"),
        (Option.RETAIN_PATIENT_CHARACTERISTICS, "PatientAge", "063Y"),
        (Option.RETAIN_FULL_DATES, "StudyDate", "20240131"),
        (Option.RETAIN_UIDS, "SOPInstanceUID", "1.2.826.0.1.99.1"),
    ],
)
def test_an_option_retains_what_it_says_and_is_named(
    option: Option, keyword: str, value: str, pseudonymiser: Pseudonymiser
) -> None:
    made = image(StationName="CT-02", PatientAge="063Y")
    kept = written(made, pseudonymiser, option)
    assert kept[keyword].value == value
    assert option.code[0] in [code.CodeValue for code in kept.DeidentificationMethodCodeSequence]
    assert written(made, pseudonymiser).get(keyword) != value


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([Option.RETAIN_MODIFIED_DATES], "MODIFIED"),
        ([Option.RETAIN_FULL_DATES], "UNMODIFIED"),
        ([Option.RETAIN_DEVICE_IDENTITY], "REMOVED"),
    ],
)
def test_the_file_says_what_became_of_its_dates(options: list[Option], said: str, pseudonymiser: Pseudonymiser) -> None:
    assert written(image(), pseudonymiser, *options).LongitudinalTemporalInformationModified == said


def test_a_known_word_in_small_letters_is_still_a_code(pseudonymiser: Pseudonymiser) -> None:
    assert written(image(BodyPartExamined="Chest"), pseudonymiser).BodyPartExamined == "CHEST"
    assert (
        "BodyPartExamined" not in written(image(BodyPartExamined="Walther"), pseudonymiser)
        or not written(image(BodyPartExamined="Walther"), pseudonymiser).BodyPartExamined
    )


def test_binary_values_stay_only_where_the_data_set_calls_for_them(pseudonymiser: Pseudonymiser) -> None:
    table = item(LUTDescriptor=[4, 0, 16], ModalityLUTType="HU", LUTData=np.arange(4, dtype="<u2").tobytes())
    made = image(ModalityLUTSequence=table)
    assert len(written(made, pseudonymiser).ModalityLUTSequence[0].LUTData) in (4, 8)
    table[0].LUTData = b"Vogelweide, Walther "
    assert "LUTData" not in written(made, pseudonymiser).ModalityLUTSequence[0]


def test_a_decimal_string_that_is_too_long_is_rounded_and_a_long_number_goes(pseudonymiser: Pseudonymiser) -> None:
    data = encoded(image(SliceThickness="1.25"))
    for value, expected in ((b"1.2499999999999999999", 1.25), (b"0012345678901234567890", None)):
        value += b" " * (len(value) % 2)
        at = data.index(b"\x18\x00P\x00DS")
        spoiled = data[:at] + b"\x18\x00P\x00DS" + len(value).to_bytes(2, "little") + value + data[at + 12 :]
        found = dcmread(io.BytesIO(deidentify(spoiled, pseudonymiser).data))
        assert found.get("SliceThickness") == expected


def test_what_an_option_retains_costs_no_file_its_place(pseudonymiser: Pseudonymiser) -> None:
    hospital = {"InstitutionName": "St Walpurgis", "RequestingService": "St Walpurgis"}
    policy = Policy(options=DEFAULT_OPTIONS | {Option.RETAIN_INSTITUTION_IDENTITY})
    beside = deidentify(encoded(image(**hospital)), pseudonymiser, policy=policy)
    assert not residual.found_in(beside)
    assert not residual.search_kept(beside.kept, residual.across_files(beside.identifiers))
    elsewhere = deidentify(encoded(image(**hospital, ReceiveCoilName="at St Walpurgis")), pseudonymiser, policy=policy)
    assert residual.found_in(elsewhere)


def test_a_removed_date_is_looked_for_in_text_that_is_kept(pseudonymiser: Pseudonymiser) -> None:
    made = image(SeriesDate="20110314", ReceiveCoilName="of 20110314")
    bare = deidentify(encoded(made), pseudonymiser, policy=Policy(options=frozenset()))
    assert "SeriesDate" in residual.found_in(bare)


def test_an_impossible_date_is_not_retained(pseudonymiser: Pseudonymiser) -> None:
    assert not written(image(StudyDate="20209999"), pseudonymiser, Option.RETAIN_FULL_DATES).get("StudyDate")


@pytest.mark.skipif(not ocr_available(), reason="Tesseract is not installed")
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_file_with_cleaned_pixels_can_be_searched(syntax: str, pseudonymiser: Pseudonymiser) -> None:
    region = RegionRule(boxes=((0, 0, 1, 1),))
    policy = Policy(options=DEFAULT_OPTIONS | {Option.CLEAN_PIXEL_DATA}, regions=(region,))
    data = encoded(image(ReceiveCoilName="Vogelweide"), syntax)
    assert dict(residual.found_in(deidentify(data, pseudonymiser, policy=policy))) == {"PatientName": 1}
