"""The landing zone as written: complete, closed, reproducible."""

import json
from pathlib import Path

import pytest

from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.phantom.cohort import Cohort, write_cohort
from medillus_pipeline_tests.phantom.conftest import PATIENTS, SEED, SHAPE


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_two_worker_processes_write_the_bytes_of_one(
    cohort: Cohort, landing_folder: Path, demo: Pseudonymiser, tmp_path: Path
) -> None:
    steps: list[tuple[int, int]] = []
    again = write_cohort(
        tmp_path, demo, patients=PATIENTS, seed=SEED, shape=SHAPE, workers=2, progress=lambda *step: steps.append(step)
    )
    assert again == cohort
    assert _tree(tmp_path) == _tree(landing_folder)
    assert steps == [(done, PATIENTS) for done in range(1, PATIENTS + 1)]


def test_every_folder_is_closed_and_says_that_it_is_synthetic(cohort: Cohort, landing_folder: Path) -> None:
    labels = []
    for kind, folders in (("images", cohort.deliveries), ("annotations", cohort.batches)):
        assert sorted(p.name for p in (landing_folder / kind).iterdir()) == sorted(folders)
        for folder in folders:
            marker = json.loads((landing_folder / kind / folder / "_READY").read_bytes())
            assert marker["synthetic"] is True
            labels.append((kind, marker.get("label")))
    assert ("images", None) in labels, "one delivery gets its key from the hash of its folder's name"
    declared = [label for _, label in labels if label]
    assert len(declared) == len(set(declared)) >= 4


def test_delivery_folders_name_a_patient(cohort: Cohort) -> None:
    assert all(any(word in folder for word in cohort.identifiers) for folder in cohort.deliveries)


def test_files_come_in_archives_nested_folders_and_without_extension(cohort: Cohort, landing_folder: Path) -> None:
    files = [p for p in (landing_folder / "images").rglob("*") if p.is_file()]
    assert sum(p.suffix == ".zip" for p in files) == 1
    assert sum(p.name.startswith("IM0") and not p.suffix for p in files) == PATIENTS // 2 * SHAPE[0]
    loose = len(files) - len(cohort.deliveries) - 1
    assert loose + SHAPE[0] == sum(cohort.expected.values())


def test_every_patient_is_annotated_and_a_few_slices_twice(cohort: Cohort) -> None:
    assert len(cohort.batches) == 4
    second = [folder for folder in cohort.batches if folder.startswith("second")]
    assert cohort.masks[second[0]] == 3
    assert sum(cohort.masks.values()) - 3 == cohort.slices


def test_one_patient_makes_one_delivery(demo: Pseudonymiser, tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, demo, patients=1, seed=SEED, shape=SHAPE, workers=1)
    assert len(cohort.deliveries) == 1
    assert cohort.expected["published"] == SHAPE[0]


def test_a_cohort_without_patients_is_refused(demo: Pseudonymiser, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1 patient"):
        write_cohort(tmp_path, demo, patients=0)
