"""Whose word counts where annotators label studies and series, and how it is told to a model."""

from typing import Any

from medillus_pipeline.generation.slice_attributes import StudyLabels, attributes_of, known_attributes

NOTHING: dict[str, Any] = {"pathology": [], "stage": None, "contrast_phase": None}


def label(kind: str, value: str, *, annotator: str = "a-1", series: str = "", revision: int = 1, study: str = "st"):
    return {
        "study_instance_uid": study,
        "series_instance_uid": series,
        "kind": kind,
        "value": value,
        "annotator": annotator,
        "revision": revision,
    }


def test_of_a_series_that_nobody_labelled_nothing_is_said() -> None:
    labels = StudyLabels([label("stage", "IIIA", study="other"), label("stage", "IIIA", series="se-2")])
    assert labels.of("st", "se-1") == StudyLabels([]).of("st", "se-1") == NOTHING


def test_what_is_said_of_a_study_holds_for_each_of_its_series() -> None:
    labels = StudyLabels([label("pathology", "pneumonia"), label("pathology", "emphysema"), label("stage", "IA1")])
    expected = NOTHING | {"pathology": ["emphysema", "pneumonia"], "stage": "IA1"}
    assert labels.of("st", "se-1") == labels.of("st", "se-2") == expected


def test_what_is_said_of_a_series_stands_before_what_is_said_of_its_study() -> None:
    labels = StudyLabels([label("pathology", "liver_cyst"), label("pathology", "normal", series="se-1")])
    assert labels.of("st", "se-1")["pathology"] == ["normal"]
    assert labels.of("st", "se-2")["pathology"] == ["liver_cyst"]


def test_the_greatest_revision_is_in_force_whatever_the_order_of_the_rows() -> None:
    rows = [
        label("pathology", "pneumonia", revision=3),
        label("pathology", "normal", revision=1),
        label("pathology", "emphysema", revision=3),
        label("pathology", "lung_nodule", revision=2),
    ]
    for order in (rows, rows[::-1]):
        assert StudyLabels(order).of("st", "se")["pathology"] == ["emphysema", "pneumonia"]


def test_the_primary_annotator_is_the_one_who_labelled_most_places() -> None:
    rows = [label("stage", "IA1", annotator="a-1"), label("stage", "IIB", annotator="a-2")]
    assert StudyLabels(rows).of("st", "se")["stage"] == "IA1"
    busy = [*rows, label("stage", "IIB", annotator="a-2", study="other")]
    assert StudyLabels(busy).of("st", "se")["stage"] == "IIB"


def test_the_primary_annotator_speaks_for_a_series_although_another_was_more_exact() -> None:
    rows = [
        label("stage", "IIB", annotator="a-2"),
        label("stage", "IIB", annotator="a-2", study="other"),
        label("stage", "IA1", annotator="a-1", series="se"),
    ]
    assert StudyLabels(rows).of("st", "se")["stage"] == "IIB"


def test_a_majority_is_more_than_half_of_those_who_spoke() -> None:
    rows = [
        label("pathology", "pneumonia", annotator="a-1"),
        label("pathology", "pneumonia", annotator="a-2"),
        label("pathology", "emphysema", annotator="a-2"),
        label("pathology", "normal", annotator="a-3"),
        label("contrast_phase", "venous", annotator="a-1", series="se"),
        label("contrast_phase", "arterial", annotator="a-2", series="se"),
    ]
    for rule in ("majority", "staple"):
        assert StudyLabels(rows, rule).of("st", "se") == NOTHING | {"pathology": ["pneumonia"]}


def test_what_contradicts_itself_is_not_believed() -> None:
    said = (("pathology", "normal"), ("pathology", "pneumonia"), ("stage", "IA1"), ("stage", "IIB"))
    assert StudyLabels([label(kind, value) for kind, value in said]).of("st", "se") == NOTHING


def test_attributes_stand_by_kind_and_what_is_not_known_is_not_said() -> None:
    row = {
        "modality": "CT",
        "body_part": None,
        "contrast_phase": "portal_venous",
        "pathology": ["emphysema", "pneumonia"],
        "stage": "cT2N0M0",
    }
    assert attributes_of(row) == (
        "modality=CT",
        "contrast_phase=portal_venous",
        "pathology=emphysema",
        "pathology=pneumonia",
        "stage=cT2N0M0",
    )


def test_attributes_that_no_training_patient_has_are_not_known() -> None:
    bare = {"body_part": "HEAD", "contrast_phase": None, "pathology": [], "stage": None}
    rows = [
        bare | {"modality": "MR", "split": "train"},
        bare | {"modality": "CT", "split": "train", "stage": "IA1", "pathology": ["pneumonia"]},
        bare | {"modality": "PT", "split": "judge", "contrast_phase": "none"},
    ]
    known = ("modality=CT", "modality=MR", "body_part=HEAD", "pathology=pneumonia", "stage=IA1")
    assert known_attributes(rows) == known_attributes(rows[::-1]) == known
