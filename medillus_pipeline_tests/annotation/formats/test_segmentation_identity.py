"""What a segment means: its code, with its side and its region, and its label have to agree."""

import pytest
from pydicom import Dataset

from medillus_pipeline.annotation.formats.segment_identity import OWN_SCHEME, identify
from medillus_pipeline.annotation.outcomes import Reason
from medillus_pipeline.annotation.vocabulary import load

LEFT, RIGHT = ("SCT", "7771000"), ("SCT", "24028007")
KIDNEY, LIVER, CYST, NEOPLASM = ("SCT", "64033007"), ("SCT", "10200004"), ("SCT", "367643001"), ("SCT", "108369006")
TISSUE, EFFUSION = ("SCT", "85756007"), ("SCT", "41699000")
Concept = tuple[str, str]


def coded(scheme: str, value: str) -> Dataset:
    item = Dataset()
    item.CodingSchemeDesignator = scheme
    setattr(item, "CodeValue" if len(value) <= 16 else "LongCodeValue", value)
    return item


def segment(
    kind: Concept | None,
    label: str = "Segment_1",
    *,
    side: Concept | None = None,
    region: Concept | None = None,
    region_side: Concept | None = None,
) -> Dataset:
    found = Dataset()
    found.SegmentLabel = label
    if kind:
        found.SegmentedPropertyTypeCodeSequence = [coded(*kind)]
        if side:
            found.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
                coded("SCT", "255211005"),  # Long term: a modifier that is no side
                coded(*side),
            ]
    if region:
        found.AnatomicRegionSequence = [coded(*region)]
        if region_side:
            found.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [coded(*region_side)]
    return found


@pytest.mark.parametrize(
    ("given", "key"),
    [
        (segment(LIVER), "liver"),
        (segment(("SRT", "T-62000")), "liver"),
        (segment(LIVER, "Leber"), "liver"),
        (segment(None, "Liver"), "liver"),
        (segment(TISSUE, "Liver"), "liver"),
        (segment(("99OTHER", "10200004"), "spleen"), "spleen"),
        (segment(KIDNEY, side=LEFT), "kidney_left"),
        (segment(KIDNEY, side=("SRT", "G-A100")), "kidney_right"),
        (segment(KIDNEY, "Kidney_L"), "kidney_left"),
        (segment(KIDNEY, "Kidney_L", side=LEFT), "kidney_left"),
        (segment(NEOPLASM), "tumor"),
        (segment(NEOPLASM, region=LIVER), "liver_tumor"),
        (segment(NEOPLASM, region=("SRT", "T-62000")), "liver_tumor"),
        (segment(NEOPLASM, region=("SCT", "78961009")), "tumor"),
        (segment(NEOPLASM, "lesion"), "tumor"),
        (segment(NEOPLASM, "liver_tumor"), "liver_tumor"),
        (segment(NEOPLASM, "tumour", region=LIVER), "liver_tumor"),
        (segment(CYST, region=KIDNEY, region_side=LEFT), "kidney_cyst_left"),
        (segment(CYST), "cyst"),
        (segment(EFFUSION, "pleural effusion"), "pleural_effusion"),
        (segment((OWN_SCHEME, "gtv"), "gross tumor volume"), "gtv"),
        (segment((OWN_SCHEME, "optic_nerve_left")), "optic_nerve_left"),
        (segment((OWN_SCHEME, "pericardial_effusion")), "pericardial_effusion"),
    ],
)  # fmt: skip
def test_a_segment_is_known_by_its_code_else_by_its_label(given: Dataset, key: str) -> None:
    found = identify(given, load())
    assert not isinstance(found, Reason) and found.key == key


@pytest.mark.parametrize(
    "given",
    [segment(TISSUE), segment(None), segment(None, ""), segment(KIDNEY), segment((OWN_SCHEME, "no such key")),
     segment(("99OTHER", "liver"))],
)  # fmt: skip
def test_what_neither_names_is_unknown_and_a_side_is_not_guessed(given: Dataset) -> None:
    assert identify(given, load()) is Reason.UNKNOWN_LABEL


@pytest.mark.parametrize(
    "given",
    [
        segment(LIVER, "spleen"),
        segment(KIDNEY, "Kidney_R", side=LEFT),
        segment(TISSUE, "Kidney_R", side=LEFT),
        segment(NEOPLASM, "liver_tumor", region=("SCT", "78961009")),
        segment(("SCT", "4147007"), "tumor"),
        segment((OWN_SCHEME, "liver"), "spleen"),
    ],
)
def test_a_code_and_a_label_that_name_different_structures_are_both_refused(given: Dataset) -> None:
    assert identify(given, load()) is Reason.CODE_AND_LABEL_DIFFER
