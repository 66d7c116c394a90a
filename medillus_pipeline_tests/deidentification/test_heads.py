"""What the source says of the part of the body, and what the volume shows where it says nothing."""

from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from medillus_pipeline.deidentification.defacing import volume_shows_head
from medillus_pipeline.deidentification.heads import face_by_name, may_show_face
from medillus_pipeline.dicom.attributes import plane
from medillus_pipeline.dicom.encoded import scan
from medillus_pipeline.dicom.face import Face
from medillus_pipeline.dicom.geometry import volume_affine
from medillus_pipeline_tests.deidentification.head_phantom import grid, head
from medillus_pipeline_tests.dicom.image_files import encoded, image, item


@pytest.mark.parametrize(
    ("part", "text", "face"),
    [
        ("HEAD", "", Face.POSSIBLE),
        ("Head & Neck", "", Face.POSSIBLE),
        ("IAC", "", Face.POSSIBLE),
        ("WHOLEBODY", "", Face.POSSIBLE),
        ("CHEST", "PET-CT whole body", Face.POSSIBLE),
        ("", "MRT Schaedel nativ", Face.POSSIBLE),
        ("", "t1_mprage_sag", Face.POSSIBLE),
        ("", "头颅平扫", Face.POSSIBLE),
        ("CHEST", "Thorax 4.0", Face.NONE),
        ("", "CT Abdomen/Pelvis", Face.NONE),
        ("KNEE", "", Face.NONE),
        ("", "", Face.UNKNOWN),
        ("", "5/5mm Plain", Face.UNKNOWN),
        ("UNHEARD OF", "", Face.UNKNOWN),
    ],
)
def test_names_decide(part: str, text: str, face: Face) -> None:
    assert face_by_name("CT", (part,), (), (text,)) is face


def test_plain_radiographs_and_ultrasound_make_no_surface() -> None:
    assert face_by_name("CR", ("SKULL",), (), ()) is Face.NONE


def test_a_coded_region_decides_within_functional_groups_too() -> None:
    region = item(CodeValue="12738006", CodingSchemeDesignator="SCT", CodeMeaning="")
    group = item(FrameAnatomySequence=[item(AnatomicRegionSequence=[region])])
    source = scan(encoded(image(np.zeros((4, 4), np.uint16), SharedFunctionalGroupsSequence=[group])))
    assert source is not None
    assert may_show_face(source) is Face.POSSIBLE


def test_a_description_in_another_character_set_is_read() -> None:
    dataset = image(np.zeros((4, 4), np.uint16), SpecificCharacterSet="GB18030", StudyDescription="头部")
    source = scan(encoded(dataset))
    assert source is not None
    assert may_show_face(source) is Face.POSSIBLE


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_a_head_shows_in_its_volume(modality: str) -> None:
    affine, shape = grid("sagittal")
    assert volume_shows_head(head(modality, affine, shape)[0], affine, modality)  # type: ignore[arg-type]


@pytest.mark.parametrize("patient", ["pt_100", "pt_13", "pt_22", "pt_66", "pt_99"])
def test_real_heads_show_cropped_or_whole(shared_data: Path, patient: str) -> None:
    loaded = nibabel.load(shared_data / "ct_headneck_openkbp" / patient / "ct.nii.gz")  # type: ignore[attr-defined]
    volume = np.asanyarray(loaded.dataobj).transpose(2, 1, 0).astype(np.float32) - 1000  # type: ignore[attr-defined]
    assert volume_shows_head(volume, np.diag([-1.0, -1.0, 1.0, 1.0]) @ loaded.affine, "CT")  # type: ignore[attr-defined]


def test_a_thorax_shows_no_head(shared_data: Path) -> None:
    files = sorted((shared_data / "ct_thorax_rt" / "ct").glob("*.dcm"))
    slices = sorted((pydicom.dcmread(file) for file in files), key=lambda one: one.ImagePositionPatient[2])
    volume = np.stack([one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept) for one in slices])
    first, last = slices[0].ImagePositionPatient, slices[-1].ImagePositionPatient
    assert not volume_shows_head(volume, volume_affine(first, last, len(slices), plane(slices[0])), "CT")


def test_an_abdomen_shows_no_head(shared_data: Path) -> None:
    loaded = nibabel.load(shared_data / "ct_abdomen_totalseg" / "ct.nii.gz")  # type: ignore[attr-defined]
    volume = np.asanyarray(loaded.dataobj).transpose(2, 1, 0).astype(np.float32)  # type: ignore[attr-defined]
    assert not volume_shows_head(volume, np.diag([-1.0, -1.0, 1.0, 1.0]) @ loaded.affine, "CT")  # type: ignore[attr-defined]
