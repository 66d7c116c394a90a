"""Claims about the residual search: what counts as a hit, and what does not."""

import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medillus_pipeline.deidentification.profile import Sensitivity
from medillus_pipeline.deidentification.residual import (
    Identifier,
    Kept,
    Replaced,
    across_files,
    dates_in_text,
    identifiers_of,
    in_free_text,
    is_worth_comparing,
    search,
    search_kept,
    unchanged,
)
from medillus_pipeline.dicom.encoding import Encoder, file_meta

IDENTIFYING, DESCRIPTIVE = Sensitivity.IDENTIFYING, Sensitivity.DESCRIPTIVE


def identifier(keyword: str, text: str, sensitivity: Sensitivity = IDENTIFYING) -> Identifier:
    return identifiers_of(keyword, "LO", text, sensitivity, text.encode())[0]


def header(**values: bytes) -> bytes:
    """A file of ours without pixels that holds these values, by keyword."""
    encode = Encoder(implicit=False, little=True).element
    tags = {tag_for_keyword(keyword) or 0: (dictionary_VR(keyword), value) for keyword, value in values.items()}
    meta = file_meta(CTImageStorage, "2.25.1", ExplicitVRLittleEndian)
    return meta + b"".join(encode(tag, vr, value) for tag, (vr, value) in sorted(tags.items()))


def found(value: bytes, searched: Identifier, *, keyword: str = "SliceThickness") -> bool:
    return bool(search(header(**{keyword: value}), [], [searched]))


@pytest.mark.parametrize(
    ("value", "text", "hit"),
    [
        (b"KAUFMAN", "kaufman", True),
        (b"seen by kaufman, md", "kaufman", True),
        (b"KAUFMANN", "kaufman", False),
        (b"1.2.840.77", "1.2.840", False),
        (b"0.12345", "12345", False),
        (b"no. 12345.", "12345", True),
        ("Jérôme".encode(), "jérôme", True),
        ("Jérôme".encode("latin-1"), "jérôme", True),
    ],
)
def test_identifiers_are_found_as_whole_tokens_in_any_encoding(value: bytes, text: str, hit: bool) -> None:
    assert found(value, identifier("PatientName", text)) is hit


def test_a_value_is_found_although_its_neighbour_bytes_are_letters() -> None:
    implicit = Encoder(implicit=True, little=True)
    meta = file_meta(CTImageStorage, "2.25.1", ImplicitVRLittleEndian)
    long = b"K" * 0x41  # its length is encoded as the letter A
    held = meta + implicit.element(0x00204000, "LT", b"kaufman ") + implicit.element(0x4141414C, "LT", long)
    assert b"kaufman AALA" in held
    assert search(held, [], [identifier("PatientName", "kaufman")])


def test_the_cells_of_the_row_are_searched() -> None:
    assert search(header(Modality=b"CT"), ["CT", "KAUFMAN"], [identifier("PatientName", "kaufman")])


def test_a_description_may_equal_a_defined_term_but_stand_nowhere_else() -> None:
    thorax = identifier("StudyDescription", "right thorax", DESCRIPTIVE)
    assert not found(b"RIGHT THORAX", thorax, keyword="BodyPartExamined")
    assert found(b"RIGHT THORAX", thorax, keyword="ImageComments")


def test_hits_name_the_attribute_and_a_count_only() -> None:
    hits = search(header(ImageComments=b"kaufman scott"), [], [identifier("PatientName", "kaufman")])
    assert dict(hits) == {"PatientName": 1}


def test_the_parts_of_a_name_identify_but_common_words_and_short_values_do_not() -> None:
    texts = {i.text for i in identifiers_of("PatientName", "PN", "Kaufman^Scott^A", IDENTIFYING, b"Kaufman^Scott^A")}
    assert {"kaufman", "scott", "kaufman^scott^a"} <= texts
    assert not identifiers_of("PatientName", "PN", "Phantom^CT", IDENTIFYING, b"").count("phantom")
    (short,) = identifiers_of("PatientID", "LO", "4711", IDENTIFYING, b"4711")
    assert short.needles == ()  # compared with whole values alone


def test_identifiers_of_one_file_are_searched_in_what_another_kept() -> None:
    kept = [Kept("SequenceName", "for Kaufman"), Kept("SliceLocation", "12.5"), Kept("CodeMeaning", "Chest")]
    identifiers = [identifier("PatientName", "kaufman"), identifier("PatientName", "scott^a")]
    assert search_kept(kept, across_files(identifiers)) == {kept[0]: {"PatientName"}}


def test_a_date_that_came_out_as_it_went_in_is_a_hit() -> None:
    same, moved = Replaced("StudyDate", b"2024 ", b"2024"), Replaced("SeriesDate", b"20240101", b"20200101")
    assert unchanged([same, moved]) == {"StudyDate": 1}


@pytest.mark.parametrize(
    ("text", "compared"),
    [
        ("512\\512", False),
        ("0.9998476951\\-0.0174524064\\0.0012345678\\0.0174524064\\0.9998476951\\1e-16", False),
        ("12345678", True),
        ("1.2.840.113619.2.55", True),
        ("1" * 63 + "A", True),
    ],
)
def test_measured_numbers_are_not_compared_and_ids_of_digits_are(text: str, compared: bool) -> None:
    assert is_worth_comparing(Kept("ImageOrientationPatient", text)) is compared


def test_what_an_option_retains_is_no_hit_and_what_stands_beside_it_is() -> None:
    hospital, retained = identifier("RequestingService", "St Walpurgis"), frozenset([b"st walpurgis"])
    assert not search(header(InstitutionName=b"St Walpurgis"), [], [hospital], retained)
    assert search(header(InstitutionName=b"St Walpurgis", ImageComments=b"at St Walpurgis"), [], [hospital], retained)


@pytest.mark.parametrize(
    "written",
    [
        *("seen 24.12.1961", "1961-12-24", "12/24/1961", "24/12/61", "DOB19611224", "4 24 Dec 1961"),
        *("December 24, 1961", "24DEC1961", "24-12-1961", "12241961", "12 24 61"),
    ],
)
def test_a_date_is_found_however_people_write_it(written: str) -> None:
    replaced = [Replaced("PatientBirthDate", b"19611224", b"")]
    assert dates_in_text(replaced, [Kept("SoftwareVersions", written)]) == {"PatientBirthDate": 1}


@pytest.mark.parametrize("other", ["1961", "24 12", "25.12.1961", "VB17A 2.4.12.1961.5", "1.2.840.19611224.1x"])
def test_what_is_another_date_or_none_is_not_found(other: str) -> None:
    replaced = [Replaced("PatientBirthDate", b"19610224", b"")]
    assert not dates_in_text(replaced, [Kept("SoftwareVersions", other)])


@pytest.mark.parametrize(
    ("text", "searched", "hit"),
    [
        ("VOGELWEIDE2", "Vogelweide", True),
        ("MRN0012345", "0012345", True),
        ("Vogelweiden", "Vogelweide", False),
        ("Kim", "Kim", True),
        ("Kimono", "Kim", False),
        ("B31s\\kim", "Kim", True),
    ],
)
def test_free_text_is_searched_more_closely(text: str, searched: str, hit: bool) -> None:
    found = in_free_text([Kept("SequenceName", text)], [identifier("PatientName", searched)])
    assert bool(found) is hit


def test_the_parts_of_a_double_name_identify_too() -> None:
    texts = {i.text for i in identifiers_of("PatientName", "PN", "Meier-Vogelweide^O'Brien", IDENTIFYING, b"x")}
    assert {"meier", "vogelweide", "brien"} <= texts
