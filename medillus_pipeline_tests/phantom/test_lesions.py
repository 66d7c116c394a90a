"""Lesions and labels that may be planted: in image, mask and labels.csv alike, and nothing else changes."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.annotation.references import References
from medillus_pipeline.annotation.slice_index import SliceIndex
from medillus_pipeline.annotation.study import pathology
from medillus_pipeline.annotation.study.labels_csv import read_labels
from medillus_pipeline.annotation.study.studies import Studies
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.dicom.slice_names import slice_name
from medillus_pipeline.phantom.cohort import identity_of, patient, write_cohort
from medillus_pipeline.phantom.lesions import lesion_of
from medillus_pipeline_tests.phantom.conftest import SEED

SHAPE = (40, 160, 160)
WORDS = vocabulary.load()


@pytest.mark.parametrize(
    ("index", "key", "host", "low", "high"),
    [(1, "lung_nodule", "lung_", 0, 90), (5, "lung_nodule", "lung_", 0, 90), (3, "liver_cyst", "liver", -15, 30)],
)
def test_a_lesion_lies_in_its_organ_with_the_values_of_its_tissue(
    index: int, key: str, host: str, low: float, high: float
) -> None:
    plain, _ = patient(SEED, index, SHAPE)
    diseased, _ = patient(SEED, index, SHAPE, lesions=True)
    label = WORDS.by_key(key).id
    inside = diseased.labels == label
    assert {WORDS.by_id(int(v)).key.startswith(host) for v in np.unique(plain.labels[inside])} == {True}
    volume = inside.sum() * float(np.prod(diseased.spacing)) / 1000
    assert 0.5 < volume < 40
    core = np.asarray(ndimage.binary_erosion(inside), bool)
    assert core.any() and low < np.median(diseased.hu[core]) < high
    assert np.array_equal(plain.labels[~inside], diseased.labels[~inside])
    near = np.ones(SHAPE, np.bool_)
    for axis, span in enumerate(np.nonzero(inside)):
        at = np.arange(SHAPE[axis]).reshape([-1 if a == axis else 1 for a in range(3)])
        near = near & (at >= span.min() - 4) & (at <= span.max() + 4)
    assert np.array_equal(plain.hu[~near], diseased.hu[~near])


def test_half_of_the_patients_have_none_and_none_unless_asked(demo: Pseudonymiser) -> None:
    assert [lesion_of(index) for index in range(4)] == [None, "lung_nodule", None, "liver_cyst"]
    lesions = {s.id for s in WORDS if s.kind == "lesion"}
    assert not lesions & set(np.unique(patient(SEED, 1, (8, 32, 32))[0].labels))


def test_the_labels_of_a_cohort_are_read_as_they_were_planted(demo: Pseudonymiser, tmp_path: Path) -> None:
    shape, patients = (10, 80, 80), 6
    cohort = write_cohort(
        tmp_path, demo, patients=patients, seed=SEED, shape=shape, workers=1, lesions=True, labels=True
    )
    people = [identity_of(SEED, index, shape[0]) for index in range(patients)]
    rows = [
        {
            "slice_name": slice_name(demo.uid(uid), 1),
            "sop_instance_uid": demo.uid(uid),
            "frame": 1,
            "series_instance_uid": demo.uid(who.series_uid),
            "study_instance_uid": demo.uid(who.study_uid),
            "frame_of_reference_uid": demo.uid(who.frame_uid),
            "patient": demo.patient(who.patient_id),
            "modality": "CT",
            "ordinal": ordinal,
            "rows": 80,
            "columns": 80,
            "position": None,
            "orientation": None,
            "pixel_spacing": None,
            "slice_spacing": None,
        }
        for who in people
        for ordinal, uid in enumerate(who.slice_uids)
    ]
    index, studies, found = SliceIndex(rows), Studies(rows, demo), {}
    for folder, lines in cohort.labels.items():
        data = (tmp_path / "annotations" / folder / "labels.csv").read_bytes()
        labels, problems = read_labels(data, References(index, demo), index, studies, annotator="a-1", revision=1)
        assert not problems and len(labels) == 2 * lines
        found |= {(row["series_instance_uid"], row["kind"]): row["value"] for row in labels}
    assert len(cohort.labels) == 3
    for number, who in enumerate(people):
        series = demo.uid(who.series_uid)
        assert found.pop((series, "pathology")) == (lesion_of(number) or pathology.NORMAL)
        assert found.pop((series, "contrast_phase")) == "portal_venous"
    assert not found
