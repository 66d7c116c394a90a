"""Claims about the residual search: what counts as a hit, and what does not."""

import pytest

from medillus_pipeline.dicom.profile import Sensitivity
from medillus_pipeline.dicom.residual import Identifier, Kept, Replaced, identifiers_of, search, search_kept, unchanged

IDENTIFYING, DESCRIPTIVE = Sensitivity.IDENTIFYING, Sensitivity.DESCRIPTIVE


def found(value: bytes, identifier: Identifier, *, keyword: str = "SliceThickness", vr: str = "DS") -> bool:
    return bool(search(b"\x06\x00" + value + b"8\x00", [(keyword, vr, value)], [], [identifier]))


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
    assert found(value, Identifier("PatientName", text, IDENTIFYING)) is hit


def test_a_value_is_found_although_its_neighbour_bytes_are_letters() -> None:
    header = b"XXSH" + b"48" + b"kaufman" + b"T0"
    assert search(header, [("CodeValue", "SH", b"kaufman")], [], [Identifier("PatientName", "kaufman", IDENTIFYING)])


def test_the_cells_of_the_row_are_searched() -> None:
    assert search(b"", [], ["CT", "KAUFMAN"], [Identifier("PatientName", "kaufman", IDENTIFYING)])


def test_a_description_may_equal_a_defined_term_but_stand_nowhere_else() -> None:
    thorax = Identifier("StudyDescription", "thorax", DESCRIPTIVE)
    assert not found(b"THORAX", thorax, keyword="BodyPartExamined", vr="CS")
    assert found(b"THORAX", thorax, keyword="ImageComments", vr="LT")


def test_hits_name_the_attribute_and_a_count_only() -> None:
    hits = search(
        b"kaufman scott", [("X", "LO", b"kaufman scott")], [], [Identifier("PatientName", "kaufman", IDENTIFYING)]
    )
    assert dict(hits) == {"PatientName": 1}


def test_the_parts_of_a_name_identify_but_common_words_and_short_values_do_not() -> None:
    texts = {i.text for i in identifiers_of("PatientName", "PN", "Kaufman^Scott^A", IDENTIFYING, b"Kaufman^Scott^A")}
    assert {"kaufman", "scott", "kaufman^scott^a"} <= texts
    assert not identifiers_of("PatientName", "PN", "Phantom^CT", IDENTIFYING, b"").count("phantom")
    assert identifiers_of("PatientID", "LO", "4711", IDENTIFYING, b"4711") == []


def test_identifiers_of_one_file_are_searched_in_what_another_kept() -> None:
    kept = [Kept("SequenceName", "for Kaufman"), Kept("SliceLocation", "12.5"), Kept("CodeMeaning", "Chest")]
    identifiers = [Identifier("PatientName", "kaufman", IDENTIFYING), Identifier("PatientName", "scott^a", IDENTIFYING)]
    assert search_kept(kept, identifiers) == {kept[0]: {"PatientName"}}


def test_a_date_that_came_out_as_it_went_in_is_a_hit() -> None:
    same, moved = Replaced("StudyDate", b"2024 ", b"2024"), Replaced("SeriesDate", b"20240101", b"20200101")
    assert unchanged([same, moved]) == {"StudyDate": 1}
