"""The files: valid CT, true to the drawn voxels, and full of planted identifiers."""

import io
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medillus_pipeline.phantom import dicom
from medillus_pipeline.phantom.cohort import Cohort, patient, placement
from medillus_pipeline_tests.phantom.conftest import PATIENTS, SEED, SHAPE


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    """A middle slice of every patient."""
    found = []
    for index in range(PATIENTS):
        phantom, who = patient(SEED, index, SHAPE)
        found.append(dicom.series(phantom, who, placement(index))[SHAPE[0] // 2])
    return found


def test_every_series_passes_dciodvfy(files: list[bytes], tmp_path: Path) -> None:
    checker = shutil.which("dciodvfy")
    if checker is None:
        pytest.skip("dciodvfy (package dicom3tools) is not installed")
    for number, data in enumerate(files):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(data)
        said = subprocess.run([checker, path], capture_output=True, text=True, errors="replace", check=False).stderr
        assert "Error" not in said, said


def test_stored_values_give_back_the_drawn_hu(files: list[bytes]) -> None:
    syntaxes = set()
    for index, data in enumerate(files):
        dataset = pydicom.dcmread(io.BytesIO(data))
        syntaxes.add(dataset.file_meta.TransferSyntaxUID)
        values = dataset.pixel_array.astype(np.int32) * int(dataset.RescaleSlope) + int(dataset.RescaleIntercept)
        assert np.array_equal(values, patient(SEED, index, SHAPE)[0].hu[SHAPE[0] // 2])
    assert len(syntaxes) == 3


def test_slices_ascend_towards_the_head_and_keep_their_spacing() -> None:
    phantom, who = patient(SEED, 0, SHAPE)
    heads = [pydicom.dcmread(io.BytesIO(data)) for data in dicom.series(phantom, who, placement(0))]
    heights = [float(head.ImagePositionPatient[2]) for head in heads]
    assert np.allclose(np.diff(heights), phantom.spacing[0])
    assert [head.InstanceNumber for head in heads] == list(range(SHAPE[0], 0, -1))
    assert list(heads[0].ImageOrientationPatient) == [1, 0, 0, 0, 1, 0]


def test_names_survive_their_character_sets(files: list[bytes]) -> None:
    sets = set()
    for index, data in enumerate(files):
        dataset = pydicom.dcmread(io.BytesIO(data))
        sets.add(str(dataset.SpecificCharacterSet))
        assert str(dataset.PatientName) == patient(SEED, index, SHAPE)[1].name
    assert len(sets) == PATIENTS


def test_identifiers_stand_in_nested_and_private_elements(files: list[bytes]) -> None:
    for index, data in enumerate(files):
        who = patient(SEED, index, SHAPE)[1]
        dataset = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
        assert dataset.RequestAttributesSequence[0].AccessionNumber == who.accession
        assert dataset.OtherPatientIDsSequence[1].PatientID == who.other_ids[1]
        assert dataset.ReferencedStudySequence[0].ReferencedSOPInstanceUID == who.referenced_study_uid
        block = dataset.private_block(0x0011, dicom.PRIVATE_CREATOR)
        assert who.patient_id in bytes(block[0x02].value).decode()
        nested = block[0x05].value
        if dataset.original_encoding[0]:
            assert who.patient_id.encode() in nested, "implicit VR: the sequence reads as UN, bytes"
        else:
            assert who.patient_id == nested[0].PatientID


def test_every_planted_identifier_is_really_in_the_landing(cohort: Cohort, landing_folder: Path) -> None:
    seen = []
    for path in sorted(landing_folder.rglob("*")):
        seen.append(str(path.relative_to(landing_folder)))
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    seen += [name, *_texts(archive.read(name))]
        elif path.is_file():
            seen += _texts(path.read_bytes())
    everything = "\n".join(seen)
    missing = [text for text in cohort.identifiers if text not in everything]
    assert not missing
    assert all(len(text) >= 5 for text in cohort.identifiers)
    assert len(cohort.identifiers) > PATIENTS * SHAPE[0]
    assert all(day in everything for day in cohort.dates)


def _texts(data: bytes) -> list[str]:
    if data[128:132] != b"DICM":
        return [data.decode("utf-8", "replace")] if not data.startswith(b"\x1f\x8b") else []
    dataset = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
    return ["\n".join(str(element.value) for element in dataset.iterall() if element.VR != "SQ")]
