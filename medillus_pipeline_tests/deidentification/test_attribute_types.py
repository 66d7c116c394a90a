"""Compound codes are resolved by Type: the facts agree with published tables, the action is never one not offered."""

import csv
from collections import defaultdict
from importlib import resources

import pytest
from pydicom.datadict import keyword_for_tag

from medillus_pipeline.deidentification.attribute_types import action_for, type_of
from medillus_pipeline.deidentification.profile import table

CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
PET = "1.2.840.10008.5.1.4.1.1.128"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
XA_3D = "1.2.840.10008.5.1.4.1.1.13.1.1"
STRENGTH = ("3", "2C", "2", "1C", "1")
COMPOUND = {keyword_for_tag(int(row.tag, 16)): row.basic for row in table() if "/" in row.basic}


def test_every_type_agrees_with_the_tables_of_highdicom() -> None:
    standard = pytest.importorskip("highdicom._standard_utils")
    modules, iods = standard.get_module_attribute_map(), standard.get_iod_module_map()
    differing, compared = [], 0
    for sop_class, iod in standard.get_sop_class_iod_map().items():
        expected: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
        for module in iods[iod]:
            for attribute in modules.get(module["key"], []):
                if attribute["keyword"] in COMPOUND:
                    expected[attribute["keyword"], tuple(attribute["path"])].append(attribute["type"])
        for (keyword, path), types in expected.items():
            compared += 1
            if type_of(keyword, sop_class, path) != max(types, key=STRENGTH.index):
                differing.append((keyword, sop_class, path))
        absent = [keyword for keyword in COMPOUND if (keyword, ()) not in expected and type_of(keyword, sop_class)]
        differing += [(keyword, sop_class, ()) for keyword in absent]

    assert differing == []
    assert compared > 9000


def test_every_attribute_with_a_compound_code_has_a_type_somewhere() -> None:
    package = resources.files("medillus_pipeline.deidentification")
    listing = (package / "attribute_types.csv").read_text(encoding="ascii")
    listed = {line["keyword"] for line in csv.DictReader(listing.splitlines())}

    assert listed - {"*"} == set(COMPOUND)


def test_the_same_attribute_is_removed_emptied_or_replaced_by_its_type() -> None:
    assert action_for("X/D", type_of("SeriesDate", CT)) == "X"
    assert action_for("X/D", type_of("SeriesDate", PET)) == "D"
    assert action_for("Z/D", type_of("ContentDate", CT)) == "Z"
    assert action_for("Z/D", type_of("ContentDate", SEGMENTATION)) == "D"
    assert action_for("X/Z/D", type_of("DeviceSerialNumber", CT)) == "X"
    assert action_for("X/Z/D", type_of("DeviceSerialNumber", ENHANCED_CT)) == "D"


def test_the_type_in_a_sequence_is_its_own() -> None:
    path = ("OperatorIdentificationSequence",)

    assert type_of("InstitutionName", CT) == "3"
    assert type_of("InstitutionName", CT, path) == "1C"
    assert type_of("ContrastBolusAgent", XA_3D, ("XRay3DAcquisitionSequence",)) == "1C"
    assert type_of("InstitutionName", CT, ("ReferencedImageSequence",)) is None


def test_shared_and_per_frame_functional_groups_have_the_same_types() -> None:
    macro = "XAXRFFrameCharacteristicsSequence"
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        enhanced_xa = "1.2.840.10008.5.1.4.1.1.12.1.1"
        assert type_of("AcquisitionDeviceProcessingDescription", enhanced_xa, (groups, macro)) == "3"


@pytest.mark.parametrize("depth", range(1, 6))
def test_content_items_have_their_type_at_every_depth(depth: int) -> None:
    assert type_of("ObservationDateTime", ENCAPSULATED_PDF, ("ContentSequence",) * depth) == "1C"


def test_a_sop_class_that_is_not_listed_gets_the_strongest_action() -> None:
    assert type_of("SeriesDate", "1.2.3.4") is None
    assert action_for("X/D", None) == "D"
    assert action_for("X/Z", None) == "Z"
    assert action_for("X/Z/U*", None) == "U*"


@pytest.mark.parametrize("code", sorted(set(COMPOUND.values())))
@pytest.mark.parametrize("type_", [*STRENGTH, None])
def test_an_action_is_always_one_that_the_code_offers(code: str, type_: str | None) -> None:
    assert action_for(code, type_) in code.split("/")


@pytest.mark.parametrize(
    ("code", "actions"),
    [
        ("X/D", {"3": "X", "2": "D", "1": "D"}),
        ("X/Z", {"3": "X", "2": "Z", "1": "Z"}),
        ("Z/D", {"3": "Z", "2": "Z", "1": "D"}),
        ("X/Z/D", {"3": "X", "2": "Z", "1": "D"}),
        ("X/Z/U*", {"3": "X", "2": "Z", "1": "U*"}),
    ],
)
def test_the_weakest_action_that_keeps_the_file_valid_is_taken(code: str, actions: dict[str, str]) -> None:
    for type_, action in actions.items():
        assert action_for(code, type_) == action
        if type_ != "3":
            assert action_for(code, f"{type_}C") == action


def test_a_code_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Table E\.1-1a"):
        action_for("X/Q", "1")
