"""A volume's files: NIfTI and DICOM hold the same values at the same place, and DICOM says what it is."""

import gzip
import io
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from medillus_pipeline.illustration.volumes.ct_series import write_labels_nifti, write_volume_dicom, write_volume_nifti
from medillus_pipeline.illustration.volumes.generated_volume import GeneratedVolume

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def files(volume: GeneratedVolume) -> list[bytes]:
    return write_volume_dicom(volume)


@pytest.fixture(scope="module")
def headers(files: list[bytes]) -> list[pydicom.FileDataset]:
    return [pydicom.dcmread(io.BytesIO(data)) for data in files]


def test_nifti_holds_hu_and_the_place(volume: GeneratedVolume):
    for data, array in ((write_volume_nifti(volume), volume.values), (write_labels_nifti(volume), volume.labels)):
        loaded = nib.Nifti1Image.from_bytes(gzip.decompress(data))
        np.testing.assert_array_equal(np.asarray(loaded.dataobj).transpose(2, 1, 0), array)
        np.testing.assert_allclose(loaded.affine, LPS_TO_RAS @ volume.affine, atol=1e-4)
        assert nib.orientations.aff2axcodes(loaded.affine) == ("L", "P", "S")


def test_dicom_holds_hu_and_the_place(volume: GeneratedVolume, headers: list[pydicom.FileDataset]):
    for index, header in enumerate(headers):
        hu = header.pixel_array * float(header.RescaleSlope) + float(header.RescaleIntercept)
        np.testing.assert_array_equal(hu, volume.values[index])
        np.testing.assert_allclose(
            [float(v) for v in header.ImagePositionPatient], (volume.affine @ [0, 0, index, 1])[:3], atol=1e-3
        )
    assert [float(v) for v in headers[0].PixelSpacing] == pytest.approx(volume.spacing[1:])
    assert headers[0].RescaleType == "HU" and headers[0].SOPClassUID == pydicom.uid.CTImageStorage


def test_every_file_says_that_it_is_synthetic_and_of_nobody(headers: list[pydicom.FileDataset]):
    for header in headers:
        assert header[0x0008, 0x001C].value == "YES"
        assert list(header.ImageType[:2]) == ["DERIVED", "SECONDARY"]
        assert header.PatientID.startswith("synthetic-") and "SYNTHETIC" in str(header.PatientName)
        assert not header.PatientBirthDate and not header.StudyDate
        (equipment,) = header.ContributingEquipmentSequence
        (purpose,) = equipment.PurposeOfReferenceCodeSequence
        assert (purpose.CodeValue, purpose.CodingSchemeDesignator) == ("109100", "DCM")
        assert (
            equipment.ManufacturerModelName == "medillus-generator 3" and "seed 7" in equipment.ContributionDescription
        )


def test_slices_are_one_series_with_uids_that_follow_from_the_content(
    volume: GeneratedVolume, files: list[bytes], headers: list[pydicom.FileDataset]
):
    assert write_volume_dicom(volume) == files
    assert len({header.SOPInstanceUID for header in headers}) == len(headers)
    assert len({header.SeriesInstanceUID for header in headers}) == 1
    other = pydicom.dcmread(io.BytesIO(write_volume_dicom(replace(volume, seed=8))[0]))
    assert other.SeriesInstanceUID != headers[0].SeriesInstanceUID
    named = pydicom.dcmread(io.BytesIO(write_volume_dicom(volume, subject="p-1")[0]))
    assert named.PatientID == "p-1" and named.StudyInstanceUID != headers[0].StudyInstanceUID


@pytest.mark.parametrize("body_part", ["CHEST", ""])
def test_dciodvfy_knows_every_element_but_the_synthetic_flag(volume: GeneratedVolume, tmp_path: Path, body_part: str):
    checker = shutil.which("dciodvfy")
    if checker is None:
        pytest.skip("dciodvfy (package dicom3tools) is not installed")
    path = tmp_path / "slice.dcm"
    path.write_bytes(write_volume_dicom(replace(volume, body_part=body_part))[3])
    said = subprocess.run([checker, str(path)], capture_output=True, text=True, check=False)
    errors = [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")]
    assert "CTImage" in said.stdout + said.stderr
    assert [line for line in errors if "(0x0008,0x001c)" not in line] == []


def test_another_reader_finds_the_same_volume_in_both(volume: GeneratedVolume, files: list[bytes], tmp_path: Path):
    sitk = pytest.importorskip("SimpleITK")
    (tmp_path / "volume.nii.gz").write_bytes(write_volume_nifti(volume))
    for number, data in enumerate(files):
        (tmp_path / f"{number:03d}.dcm").write_bytes(data)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    series, nifti = reader.Execute(), sitk.ReadImage(str(tmp_path / "volume.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(series), sitk.GetArrayFromImage(nifti))
    for one, other in zip(
        (series.GetOrigin(), series.GetSpacing(), series.GetDirection()),
        (nifti.GetOrigin(), nifti.GetSpacing(), nifti.GetDirection()),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, atol=1e-3)
