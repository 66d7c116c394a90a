"""An RT Structure Set is drawn only on slices that it agrees with: patient, series, space, plane, name and code."""

import io
from collections.abc import Callable

import pydicom
import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence

from medillus_pipeline.annotation.formats import rtstruct
from medillus_pipeline.annotation.references import References
from medillus_pipeline.annotation.slice_index import SliceIndex
from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline_tests.annotation.published import SERIES, Desk, reasons, row, square_mm, structure_set

CLOSED = "CLOSED_PLANAR"
ON = f"{SERIES}.0"
RING = square_mm(0.0, -0.5, 9.5)


def changed(data: bytes, change: Callable[[Dataset], None]) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(data))
    change(dataset)
    sink = io.BytesIO()
    dataset.save_as(sink, enforce_file_format=True)
    return sink.getvalue()


def submitted(desk: Desk, data: bytes) -> set[tuple[str, str, str, int]]:
    desk.drop("RS.dcm", data)
    desk.drop("good.dcm", structure_set({"Heart": [(CLOSED, f"{SERIES}.2", square_mm(10.0, -0.5, 9.5))]}))
    found = reasons(desk.read())
    assert ("heart", "accepted", "", 1) in found
    return found - {("heart", "accepted", "", 1)}


def test_another_patient_is_refused(desk: Desk) -> None:
    data = structure_set({"Liver": [(CLOSED, ON, RING)]}, patient="MRN 7")
    assert submitted(desk, data) == {("*", "refused", "other_patient", 0)}


def test_another_patient_is_refused_without_references_too(desk: Desk) -> None:
    data = structure_set({"Liver": [(CLOSED, "", RING)]}, patient="MRN 7")
    assert submitted(desk, data) == {("*", "refused", "other_patient", 0)}


def test_a_structure_set_that_names_one_series_and_points_into_another_is_refused(desk: Desk) -> None:
    data = structure_set({"Liver": [(CLOSED, ON, RING)]}, series="9.9.9")
    assert submitted(desk, data) == {("liver", "refused", "other_series", 1)}


def test_a_structure_set_of_a_series_that_is_not_here_draws_nothing_on_one_that_is(desk: Desk) -> None:
    data = structure_set({"Liver": [(CLOSED, "", RING), (CLOSED, "9.9.9.1", RING)]}, series="9.9.9")
    assert submitted(desk, data) == {("liver", "pending", "unknown_slice", 2)}


def test_an_image_that_is_not_here_is_not_replaced_by_one_at_the_same_place(desk: Desk) -> None:
    data = structure_set({"Liver": [(CLOSED, "9.9.9.1", RING)]}, series="")
    assert submitted(desk, data) == {("liver", "pending", "unknown_slice", 1)}


def test_coordinates_of_another_frame_of_reference_are_refused(desk: Desk) -> None:
    def move(dataset: Dataset) -> None:
        dataset.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = "1.2.3.99"

    data = changed(structure_set({"Liver": [(CLOSED, ON, RING)]}), move)
    assert submitted(desk, data) == {("liver", "refused", "other_space", 1)}


def test_without_a_frame_of_reference_the_named_image_counts(desk: Desk) -> None:
    def drop(dataset: Dataset) -> None:
        del dataset.StructureSetROISequence[0].ReferencedFrameOfReferenceUID

    data = changed(structure_set({"Liver": [(CLOSED, ON, RING)]}), drop)
    assert submitted(desk, data) == {("liver", "accepted", "", 1)}


def test_another_grid_is_refused(desk: Desk) -> None:
    data = structure_set({"Liver": [(CLOSED, ON, square_mm(0.0, 300, 340))]})
    assert submitted(desk, data) == {("liver", "refused", "other_geometry", 1)}


def test_a_second_series_at_the_same_place_stays_empty(desk: Desk) -> None:
    p = desk.pseudonymiser
    desk.slices += [
        row(p, f"8.8.{k}", series_instance_uid=p.uid("8.8"), position=[-20, -30, 5.0 * k]) for k in range(3)
    ]
    desk.drop("RS.dcm", structure_set({"Liver": [(CLOSED, "", RING)]}, series="8.8"))
    assert [mask["slice_name"] for mask in desk.read().masks] == [desk.slices[3]["slice_name"]]


def code(value: str, laterality: str = "", scheme: str = "SCT") -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "free text that nobody reads"
    if laterality:
        modifier = Dataset()
        modifier.CodeValue, modifier.CodingSchemeDesignator, modifier.CodeMeaning = laterality, "SCT", "side"
        item.SegmentedPropertyTypeModifierCodeSequence = Sequence([modifier])
    return item


def coded(name: str, *codes: Dataset, interpreted: str = "ORGAN") -> bytes:
    def observe(dataset: Dataset) -> None:
        observation = Dataset()
        observation.ObservationNumber, observation.ReferencedROINumber = 1, 1
        observation.RTROIInterpretedType = interpreted
        observation.RTROIIdentificationCodeSequence = Sequence(codes)
        dataset.RTROIObservationsSequence = Sequence([observation])

    return changed(structure_set({name: [(CLOSED, ON, RING)]}), observe)


LIVER, SPLEEN, KIDNEY, LEFT = "10200004", "78961009", "64033007", "7771000"


@pytest.mark.parametrize(
    ("name", "codes", "expected"),
    [
        ("Organ 17", [code(LIVER)], ("liver", "accepted", "", 1)),
        ("Organ 17", [code(KIDNEY, LEFT)], ("kidney_left", "accepted", "", 1)),
        ("Organ 17", [code(KIDNEY)], ("*", "refused", "unknown_label", 1)),
        ("Organ 17", [code(LIVER), code(SPLEEN)], ("*", "refused", "unknown_label", 1)),
        ("Organ 17", [code("999")], ("*", "refused", "unknown_label", 1)),
        ("Organ 17", [code(LIVER, scheme="99LOCAL")], ("*", "refused", "unknown_label", 1)),
        ("Organ 17", [], ("*", "refused", "unknown_label", 1)),
        ("Liver", [code(LIVER)], ("liver", "accepted", "", 1)),
        ("Liver", [code("999")], ("liver", "accepted", "", 1)),
        ("Liver", [code(SPLEEN)], ("*", "refused", "code_and_label_differ", 1)),
        ("kidney_right", [code(KIDNEY, LEFT)], ("*", "refused", "code_and_label_differ", 1)),
    ],
)
def test_a_code_names_what_the_vocabulary_does_not_know_by_name_and_never_overrules_it(
    desk: Desk, name: str, codes: list[Dataset], expected: tuple[str, str, str, int]
) -> None:
    assert submitted(desk, coded(name, *codes)) == {expected}


@pytest.mark.parametrize("interpreted", ["PTV", "GTV", "EXTERNAL", "ORGAN", ""])
def test_the_interpreted_type_names_nothing(desk: Desk, interpreted: str) -> None:
    assert submitted(desk, coded("Liver", interpreted=interpreted)) == {("liver", "accepted", "", 1)}
    assert submitted(desk, coded("Organ 17", interpreted=interpreted)) == {("*", "refused", "unknown_label", 1)}


def test_two_regions_of_interest_of_one_structure_are_united_and_remarked_on(desk: Desk) -> None:
    data = structure_set({"Liver": [(CLOSED, ON, RING)], "liver": [(CLOSED, ON, square_mm(0.0, -0.5, 15.5))]})
    index = SliceIndex(desk.slices)
    drawn = rtstruct.read(data, References(index, desk.pseudonymiser), index, load())
    assert drawn.remarks == {"liver: 2 regions of interest were united"}
    assert [region.area for on in drawn.regions.values() for region in on.values()] == [16 * 8]
