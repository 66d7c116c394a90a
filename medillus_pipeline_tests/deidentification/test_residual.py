"""Claims about the residual search: what counts as a hit, and what does not."""

import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medillus_pipeline.deidentification.profile import Sensitivity
from medillus_pipeline.deidentification.residual import (
    Identifier,
    Kept,
    Replaced,
    identifiers_of,
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
    assert identifiers_of("PatientID", "LO", "4711", IDENTIFYING, b"4711") == []


def test_identifiers_of_one_file_are_searched_in_what_another_kept() -> None:
    kept = [Kept("SequenceName", "for Kaufman"), Kept("SliceLocation", "12.5"), Kept("CodeMeaning", "Chest")]
    identifiers = [identifier("PatientName", "kaufman"), identifier("PatientName", "scott^a")]
    assert search_kept(kept, identifiers) == {kept[0]: {"PatientName"}}


def test_a_date_that_came_out_as_it_went_in_is_a_hit() -> None:
    same, moved = Replaced("StudyDate", b"2024 ", b"2024"), Replaced("SeriesDate", b"20240101", b"20200101")
    assert unchanged([same, moved]) == {"StudyDate": 1}
