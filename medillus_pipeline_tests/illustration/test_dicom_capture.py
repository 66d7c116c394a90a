"""The Secondary Capture in the judgement of dciodvfy and of pydicom: what it is, whose it is, and that it repeats."""

import dataclasses
import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration.dicom_capture import figure_uid, secondary_capture
from medillus_pipeline.illustration.finished import FinishedFigure
from medillus_pipeline_tests.illustration.finished_figures import (
    MARKUP,
    figure,
    finished,
    finished_scan,
    hostile,
    origin,
    scan,
)

ALLOWED = (
    "(0x0008,0x001c)",  # SyntheticData is younger than the tool
    "(0x7fe1,0x1001)",  # the credential, a private element
    "Standard Extended SOP Class",
)


def read(made: FinishedFigure) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(made.file(".dcm")))


@pytest.mark.parametrize("made", [finished, finished_scan])
def test_the_validator_has_nothing_to_say_but_that_it_is_old(made, tmp_path: Path) -> None:
    validator = shutil.which("dciodvfy")
    if validator is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    (tmp_path / "figure.dcm").write_bytes(made().file(".dcm"))
    done = subprocess.run([validator, tmp_path / "figure.dcm"], capture_output=True, text=True, check=False)
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    assert "SCImage" in said
    assert [line for line in said if not any(allowed in line for allowed in ALLOWED)] == ["SCImage"]
    assert all("0x0008,0x001c" in line for line in said if line.startswith(("Error", "Abort")))


def test_a_generated_figure_says_that_it_is_synthetic_and_by_what() -> None:
    found = read(finished())
    assert found.SyntheticData == "YES" and found.ConversionType == "SYN" and found.ImageType[0] == "DERIVED"
    synthesizing = [
        item for item in found.ContributingEquipmentSequence
        if item.PurposeOfReferenceCodeSequence[0].CodeValue == "109100"
    ]  # fmt: skip
    assert len(synthesizing) == 1 and synthesizing[0].SoftwareVersions == "model 3"
    assert "AI-generated" in found.DerivationDescription and figure().name in found.DerivationDescription
    assert found.BodyPartExamined == "ABDOMEN" and found.BurnedInAnnotation == "YES"
    assert found.LossyImageCompression == "00" and "PixelSpacing" not in found


def test_a_scan_does_not_pass_for_synthetic() -> None:
    found = read(finished_scan())
    assert found.SyntheticData == "NO" and "109100" not in str(found)


def test_the_patient_is_a_pseudonym_and_nobody_else_is_named() -> None:
    found = read(finished())
    assert found.PatientID == figure().request.patient and str(found.PatientName).rstrip("^") == found.PatientID
    assert not (found.PatientBirthDate or found.PatientSex or found.ReferringPhysicianName or found.AccessionNumber)
    with pytest.raises(InputError, match="pseudonym"):
        nameless = dataclasses.replace(origin(figure()), patient=None)
        secondary_capture(b"", figure().request, nameless, title="", warning="", content_sha256="0" * 64)


def test_the_pixels_are_those_of_the_figure() -> None:
    with Image.open(io.BytesIO(figure().png)) as opened:
        drawn = np.asarray(opened.convert("RGB"))
    assert np.array_equal(read(finished()).pixel_array, drawn)


def test_every_date_is_the_one_that_was_given() -> None:
    found = read(finished())
    dates = {str(e.value)[:8] for e in found.iterall() if e.VR in ("DA", "DT") and e.value}
    assert dates == {"20260301"}
    assert {str(e.value) for e in found.iterall() if e.VR == "TM" and e.value} == {"083000"}


def test_uids_come_from_the_figure_and_differ_from_another_ones() -> None:
    uids = [
        (d.StudyInstanceUID, d.SeriesInstanceUID, d.SOPInstanceUID) for d in map(read, (finished(), finished_scan()))
    ]
    assert len({uid for three in uids for uid in three}) == 6
    assert all(uid.startswith("2.25.") and pydicom.uid.UID(uid).is_valid for three in uids for uid in three)
    assert figure_uid("study", "a") == figure_uid("study", "a") != figure_uid("study", "b")


def test_long_and_strange_text_is_cut_to_what_dicom_holds() -> None:
    strange = f"{MARKUP}\\\x00\n" * 20
    data = secondary_capture(
        scan().png, hostile().request, origin(hostile()), title=strange, warning=strange, content_sha256="0" * 64
    )
    found = pydicom.dcmread(io.BytesIO(data))
    assert len(found.StudyDescription) <= 64 and "\\" not in found.StudyDescription
    assert len(found.BodyPartExamined) <= 16 and found.BodyPartExamined.isascii()


def test_a_broken_picture_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be read"):
        secondary_capture(b"\x89PNG", figure().request, origin(figure()), title="", warning="", content_sha256="0" * 64)
