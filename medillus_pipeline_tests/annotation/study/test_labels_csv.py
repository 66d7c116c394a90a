"""labels.csv: what is known becomes a label of its study or series, everything else a reason with its line."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medillus_pipeline.annotation.outcomes import Outcome, Reason, Refused
from medillus_pipeline.annotation.references import References
from medillus_pipeline.annotation.slice_index import SliceIndex
from medillus_pipeline.annotation.study import pathology
from medillus_pipeline.annotation.study.labels_csv import MAXIMUM_BYTES, Problem, read_labels, stage
from medillus_pipeline.annotation.study.studies import Studies
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline_tests.annotation.published import PATIENT, SERIES, row

STUDY, OTHER_STUDY, SECOND_SERIES, OTHER_SERIES = "1.2.3", "1.2.5", "1.2.3.5", "1.2.5.4"


class Reader:
    """Three published series, two of them in one study, and what a file says of them."""

    def __init__(self, pseudonymiser: Pseudonymiser) -> None:
        self.pseudonymiser = pseudonymiser
        uid = pseudonymiser.uid
        self.rows = [
            row(pseudonymiser, f"{SERIES}.0", study_instance_uid=uid(STUDY)),
            row(
                pseudonymiser,
                f"{SECOND_SERIES}.0",
                study_instance_uid=uid(STUDY),
                series_instance_uid=uid(SECOND_SERIES),
            ),
            row(
                pseudonymiser,
                f"{OTHER_SERIES}.0",
                study_instance_uid=uid(OTHER_STUDY),
                series_instance_uid=uid(OTHER_SERIES),
                patient=pseudonymiser.patient("MRN 0043"),
            ),
        ]

    def read(self, *lines: str | bytes) -> tuple[list[dict[str, Any]], list[Problem]]:
        index = SliceIndex(self.rows)
        data = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines)
        return read_labels(
            data,
            References(index, self.pseudonymiser),
            index,
            Studies(self.rows, self.pseudonymiser),
            annotator="a-12345678",
            revision=2,
        )

    def found(self, *lines: str) -> set[tuple[str, str, str]]:
        """(original study or series, kind, value); a study where the label is of the whole study."""
        names = {self.pseudonymiser.uid(u): u for u in (STUDY, OTHER_STUDY, SERIES, SECOND_SERIES, OTHER_SERIES)}
        rows, problems = self.read(*lines)
        assert not problems
        return {(names[r["series_instance_uid"] or r["study_instance_uid"]], r["kind"], r["value"]) for r in rows}


@pytest.fixture
def reader(pseudonymiser: Pseudonymiser) -> Reader:
    return Reader(pseudonymiser)


def test_a_line_labels_the_series_that_it_names(reader: Reader) -> None:
    rows, problems = reader.read(
        "series_instance_uid,pathology,stage,contrast_phase", f"{SERIES},lung_cancer,iiia,Portal venous"
    )
    assert not problems
    uid = reader.pseudonymiser.uid
    common = {
        "study_instance_uid": uid(STUDY),
        "series_instance_uid": uid(SERIES),
        "patient": reader.pseudonymiser.patient(PATIENT),
        "annotator": "a-12345678",
        "revision": 2,
    }
    assert rows == [
        common | {"kind": "pathology", "value": "lung_cancer", "code": "2C25"},
        common | {"kind": "stage", "value": "IIIA", "code": ""},
        common | {"kind": "contrast_phase", "value": "portal_venous", "code": ""},
    ]


def test_identifiers_of_the_hospital_and_ours_and_slice_names_mean_the_same(reader: Reader) -> None:
    uid, name = reader.pseudonymiser.uid, reader.rows[0]["slice_name"]
    for column, value in (
        ("series_instance_uid", SERIES),
        ("series_instance_uid", uid(SERIES)),
        ("slice_name", name),
        ("slice_name", f"{name}.png"),
    ):
        assert reader.found(f"{column},stage", f"{value},II") == {(SERIES, "stage", "II")}
    for value in (STUDY, uid(STUDY)):
        assert reader.found("study_instance_uid,stage", f"{value},II") == {(STUDY, "stage", "II")}


@pytest.mark.parametrize("text", ["CA21", "ca21", "emphysema", "Emphysema", "肺气肿"])
def test_a_pathology_is_given_by_key_name_or_code(reader: Reader, text: str) -> None:
    assert reader.found("study_instance_uid;pathology", f"{STUDY};{text}") == {(STUDY, "pathology", "emphysema")}


def test_a_study_may_have_several_pathologies_and_says_each_once(reader: Reader) -> None:
    lines = [f"{STUDY},{text}" for text in ("emphysema", "CA21", "pneumonia", "")]
    assert reader.found("\ufeffStudy_Instance_UID,pathology", *lines) == {
        (STUDY, "pathology", "emphysema"),
        (STUDY, "pathology", "pneumonia"),
    }


def test_a_contrast_phase_is_of_a_series(reader: Reader) -> None:
    header = "study_instance_uid,contrast_phase"
    assert reader.found(header, f"{OTHER_STUDY},动脉期") == {(OTHER_SERIES, "contrast_phase", "arterial")}
    rows, problems = reader.read(header, f"{STUDY},arterial")
    assert not rows and problems == [Problem(2, "contrast_phase", Reason.AMBIGUOUS_SERIES, Outcome.REFUSED)]


@pytest.mark.parametrize(
    ("header", "line", "column", "reason", "outcome"),
    [
        ("study_instance_uid,pathology", f"{STUDY},Ms Holloway", "pathology", Reason.UNKNOWN_VALUE, Outcome.REFUSED),
        ("study_instance_uid,pathology", f"{STUDY},2C99", "pathology", Reason.UNKNOWN_VALUE, Outcome.REFUSED),
        ("study_instance_uid,stage", f"{STUDY},V", "stage", Reason.UNKNOWN_VALUE, Outcome.REFUSED),
        (
            "series_instance_uid,contrast_phase",
            f"{SERIES},late",
            "contrast_phase",
            Reason.UNKNOWN_VALUE,
            Outcome.REFUSED,
        ),
        ("study_instance_uid,stage", "1.2.99,II", "*", Reason.UNKNOWN_SLICE, Outcome.PENDING),
        ("series_instance_uid,stage", "1.2.99,II", "*", Reason.UNKNOWN_SLICE, Outcome.PENDING),
        ("slice_name,stage", "s-none,II", "*", Reason.UNKNOWN_SLICE, Outcome.PENDING),
        ("study_instance_uid,stage", ",II", "*", Reason.BROKEN_LINE, Outcome.REFUSED),
        ("study_instance_uid,stage", f"{STUDY},II,III", "*", Reason.BROKEN_LINE, Outcome.REFUSED),
        (
            "study_instance_uid,series_instance_uid,stage",
            f"{STUDY},{OTHER_SERIES},II",
            "*",
            Reason.OTHER_SERIES,
            Outcome.REFUSED,
        ),
        ("patient_id,study_instance_uid,stage", f"MRN 0043,{STUDY},II", "*", Reason.OTHER_PATIENT, Outcome.REFUSED),
    ],
)
def test_what_does_not_fit_is_refused_by_line_and_the_rest_is_kept(
    reader: Reader, header: str, line: str, column: str, reason: Reason, outcome: Outcome
) -> None:
    good = ",".join(
        {"patient_id": "MRN 0043", "study_instance_uid": OTHER_STUDY, "series_instance_uid": OTHER_SERIES}.get(name)
        or {"stage": "I", "pathology": "CA40", "contrast_phase": "none"}.get(name)
        or reader.rows[2]["slice_name"]
        for name in header.split(",")
    )
    rows, problems = reader.read(header, line, good)
    assert problems == [Problem(2, column, reason, outcome)]
    assert len(rows) == 1 and rows[0]["study_instance_uid"] == reader.pseudonymiser.uid(OTHER_STUDY)
    assert "Holloway" not in repr(problems)


def test_of_labels_that_contradict_each_other_none_is_believed(reader: Reader) -> None:
    lines = [f"{STUDY},normal,I", f"{STUDY},pneumonia,II", f"{OTHER_STUDY},normal,"]
    rows, problems = reader.read("study_instance_uid,pathology,stage", *lines)
    assert [(r["study_instance_uid"], r["value"]) for r in rows] == [(reader.pseudonymiser.uid(OTHER_STUDY), "normal")]
    assert {(p.line, p.column, p.reason) for p in problems} == {
        (line, column, Reason.LABELS_DIFFER) for line in (2, 3) for column in ("pathology", "stage")
    }


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.NO_LABEL_COLUMNS),
        (b"name,stage\nx,II", Reason.NO_LABEL_COLUMNS),
        (b"study_instance_uid,finding\n1.2.3,II", Reason.NO_LABEL_COLUMNS),
        (b"study_instance_uid,stage,stage\n1.2.3,II,I", Reason.NO_LABEL_COLUMNS),
        (b"study_instance_uid,stage\n1.2.3,\xff\xfe", Reason.BROKEN_FILE),
        (b'study_instance_uid,stage\n1.2.3,"II', Reason.BROKEN_FILE),
        (b"study_instance_uid,stage\n" + b"x" * 200_000, Reason.BROKEN_FILE),
        (b" " * (MAXIMUM_BYTES + 1), Reason.TOO_LARGE),
    ],
)
def test_a_file_that_is_none_is_refused_with_one_reason(reader: Reader, data: bytes, reason: Reason) -> None:
    with pytest.raises(Refused) as refused:
        reader.read(data)
    assert refused.value.reason is reason


@given(data=st.binary(max_size=200))
def test_no_file_does_anything_worse_than_being_refused(data: bytes) -> None:
    index = SliceIndex([])
    for text in (data, b"study_instance_uid,pathology,stage\n" + data):
        try:
            rows, _ = read_labels(text, References(index), index, Studies([]), annotator="a-1", revision=1)
            assert rows == []
        except Refused:
            pass


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("0", "0"),
        ("stage iiia1", "IIIA1"),
        ("IVB", "IVB"),
        ("T2a N1 M0", "T2aN1M0"),
        ("CT1BNXM0", "cT1bNXM0"),
        ("ypTisN0M0", "ypTisN0M0"),
        ("V", None),
        ("IIII", None),
        ("T5N0M0", None),
        ("T2", None),
        ("II Holloway", None),
    ],
)
def test_a_stage_is_written_in_one_way_or_refused(text: str, written: str | None) -> None:
    assert stage(text) == written


def test_every_pathology_is_cited_or_blank_and_no_code_stands_twice() -> None:
    rows = pathology.load().rows
    for found in rows:
        assert bool(found.icd11) == bool(found.title) == bool(found.source)
        assert found.source in ("", "s", "t", "c")
        assert all("\u4e00" <= letter <= "\u9fff" for letter in found.name_zh), found.key
        assert not found.title or (found.title[0].isupper() and found.title == found.title.strip())
    codes = [found.icd11 for found in rows if found.icd11]
    assert len(set(codes)) == len(codes) and len(codes) >= 40
    assert "World Health" in (pathology.__doc__ or "") and "CC BY-ND 3.0 IGO" in (pathology.__doc__ or "")


def test_no_name_of_the_lists_means_two_things() -> None:
    names = [name for p in pathology.CONTRAST_PHASES for name in (p.key, p.name_en, p.name_zh)]
    assert all(pathology.contrast_phase(name) is not None for name in names)
    assert len({p.key for p in pathology.CONTRAST_PHASES}) == len({p.name_zh for p in pathology.CONTRAST_PHASES})
    for found in pathology.load().rows:
        for name in (found.key, found.name_en, found.name_zh, found.icd11):
            assert not name or pathology.load().resolve(name) is found
