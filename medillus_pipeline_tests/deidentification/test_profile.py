"""Claims about the table and the order of precedence."""

import json
from collections import Counter
from pathlib import Path

import pytest
from pydicom.datadict import tag_for_keyword

from medillus_pipeline.deidentification.profile import Action, Option, Profile, Rule, Sensitivity, table


def rule(keyword: str, *options: Option) -> Rule:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return Profile(options).rule(tag)


def test_the_table_has_the_657_rows_of_edition_2026d() -> None:
    assert len(table()) == 657
    assert Counter(row.basic for row in table()) == {
        "X": 417, "D": 93, "U": 55, "Z": 42, "X/D": 23, "X/Z": 11, "X/Z/D": 8, "Z/D": 6, "X/Z/U*": 2
    }  # fmt: skip


def test_the_table_agrees_with_the_published_facts(shared_data: Path) -> None:
    facts = json.loads((shared_data / "standard" / "e1_1_2026d.json").read_text())
    options = {
        "private": "retain_safe_private",
        "uids": "retain_uids",
        "device": "retain_device_identity",
        "institution": "retain_institution_identity",
        "patient": "retain_patient_characteristics",
        "full_dates": "retain_longitudinal_full_dates",
        "modified_dates": "retain_longitudinal_modified_dates",
        "descriptors": "clean_descriptors",
        "structured": "clean_structured_content",
        "graphics": "clean_graphics",
    }
    ours = {" ".join(row.name.split()): row for row in table()}
    assert len(ours) == len(facts)
    for fact in facts:
        row = ours[" ".join(fact["name"].split())]
        assert row.basic == fact["basic_profile"]
        assert {options[column]: code for column, code in row.codes.items()} == fact["options"]
        assert row.tag == "odd" or row.tag == fact["tag"].strip("()").replace(",", "").lower()


@pytest.mark.parametrize(
    ("keyword", "action"),
    [
        ("OtherPatientIDs", Action.REMOVE),
        ("PatientBirthDate", Action.EMPTY),
        ("ReferringPhysicianName", Action.EMPTY),
        ("SOPInstanceUID", Action.UID),
        ("PatientID", Action.PATIENT),
        ("DeviceSerialNumber", Action.DUMMY),
        ("ReferencedImageSequence", Action.KEEP),
        ("StudyDate", Action.EMPTY),
        ("KVP", Action.KEEP),
        ("ConvolutionKernel", Action.KEEP),
        ("LUTExplanation", Action.DUMMY),
        ("SegmentDescription", Action.REMOVE),
        ("PositionReferenceIndicator", Action.EMPTY),
        ("EvaluatorName", Action.REMOVE),
        ("ExpiryDate", Action.REMOVE),
        ("TargetFrameOfReferenceUID", Action.UID),
    ],
)
def test_the_basic_profile_alone_gives(keyword: str, action: Action) -> None:
    assert rule(keyword).action is action


def test_modified_dates_shift_what_the_option_cleans_and_nothing_else() -> None:
    dates = Option.RETAIN_MODIFIED_DATES
    assert rule("StudyDate", dates).action is Action.SHIFT
    assert rule("StudyDate", dates).fallback is Action.EMPTY
    assert rule("SeriesDate", dates).fallback is Action.REMOVE
    assert rule("PatientBirthDate", dates).action is Action.EMPTY


def test_an_option_that_keeps_beats_the_basic_profile_and_full_dates_exclude_modified_ones() -> None:
    assert rule("StudyDate", Option.RETAIN_FULL_DATES).action is Action.KEEP
    assert rule("StationName", Option.RETAIN_DEVICE_IDENTITY).action is Action.KEEP
    with pytest.raises(ValueError, match="kept or moved, not both"):
        Profile({Option.RETAIN_MODIFIED_DATES, Option.RETAIN_FULL_DATES})


def test_a_calibration_date_moves_with_the_others_where_the_device_is_retained() -> None:
    assert rule("DateOfLastCalibration", Option.RETAIN_DEVICE_IDENTITY).action is Action.KEEP
    both = (Option.RETAIN_DEVICE_IDENTITY, Option.RETAIN_MODIFIED_DATES)
    assert rule("DateOfLastCalibration", *both).action is Action.SHIFT


def test_a_compound_code_is_resolved_by_the_type_in_the_kind_of_object() -> None:
    tag = tag_for_keyword("ContentDate")
    assert tag is not None
    profile = Profile([])
    assert profile.rule(tag, "1.2.840.10008.5.1.4.1.1.2").action is Action.EMPTY
    assert profile.rule(tag, "1.2.840.10008.5.1.4.1.1.88.11").action is Action.DUMMY


@pytest.mark.parametrize("tag", [0x00091001, 0x50000010, 0x60003000, 0x60FF0010, 0x00041500, 0x00080000, 0x0040E012])
def test_private_repeating_file_set_and_unknown_attributes_go(tag: int) -> None:
    assert Profile().rule(tag).action is Action.REMOVE


def test_descriptions_are_searched_less_strictly_than_names() -> None:
    assert rule("StudyDescription").sensitivity is Sensitivity.DESCRIPTIVE
    assert rule("InstitutionName").sensitivity is Sensitivity.IDENTIFYING
