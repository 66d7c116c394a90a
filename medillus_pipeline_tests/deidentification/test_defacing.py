"""The face goes, the brain stays: on a head of ellipsoids in every orientation, and on real heads."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from medillus_pipeline.deidentification.defacing import METHOD, deface
from medillus_pipeline_tests.deidentification.head_phantom import along_patient, first_hit, grid, head

AIR = {"CT": -1000.0, "MR": 0.0}
SURFACE = {"CT": -400.0, "MR": 60.0}


def _share_of_face_moved(volume: np.ndarray, affine: np.ndarray, mask: np.ndarray, modality: str) -> float:
    before = first_hit(volume, affine, SURFACE[modality])
    after = first_hit(np.where(mask, AIR[modality], volume), affine, SURFACE[modality])
    z = np.linspace(-190, 105, before.shape[0])[:, None]
    x = np.linspace(-105, 105, before.shape[1])[None, :]
    face = (z > -125) & (z < -15) & (np.abs(x) < 50) & (before < 90)
    assert face.sum() > 500
    return float((np.nan_to_num(after, nan=999)[face] - before[face] > 8).mean())


@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize("orientation", ["axial", "sagittal", "coronal"])
def test_the_face_is_gone_and_every_voxel_of_the_brain_stays(orientation: str, modality: str) -> None:
    affine, shape = grid(orientation)
    volume, brain = head(modality, affine, shape)
    defaced = deface(volume, affine, modality)  # type: ignore[arg-type]
    assert defaced.method == METHOD
    assert _share_of_face_moved(volume, affine, defaced.mask, modality) > 0.95
    assert not (defaced.mask & brain).any()


def test_the_ears_are_gone() -> None:
    affine, shape = grid("axial")
    volume, _ = head("CT", affine, shape)
    left = np.where(deface(volume, affine, "CT").mask, -1000, volume)
    k, j, i = np.nonzero(volume > -400)
    places = np.c_[i, j, k, np.ones(len(i))] @ affine.T
    ear = (np.abs(places[:, 0]) > 82) & (np.abs(places[:, 2] + 45) < 20)
    assert ear.sum() > 50
    assert (left[k[ear], j[ear], i[ear]] > -400).mean() < 0.02


def test_the_air_before_the_face_is_replaced_too_so_that_its_border_is_no_mould() -> None:
    affine, shape = grid("axial")
    volume, _ = head("CT", affine, shape)
    mask = along_patient(deface(volume, affine, "CT").mask, affine)
    nose = int((190 - 52) / 3)
    assert mask[nose, :20].all()


def test_the_order_of_the_slices_does_not_matter() -> None:
    affine, shape = grid("axial")
    volume, _ = head("CT", affine, shape)
    turned = affine.copy()
    turned[:, 3] += (shape[0] - 1) * affine[:, 2]
    turned[:3, 2] *= -1
    assert (deface(volume, affine, "CT").mask == deface(volume[::-1], turned, "CT").mask[::-1]).mean() > 0.999


def test_a_volume_without_a_head_is_refused() -> None:
    affine, shape = grid("axial")
    volume = np.full(shape, -1000, np.float32)
    volume[:, 20:-20, 5:-5] = 40
    with pytest.raises(ValueError, match=r"no head|no face"):
        deface(volume, affine, "CT")


def test_a_matrix_that_spans_no_space_is_refused() -> None:
    with pytest.raises(ValueError, match="affine"):
        deface(np.zeros((20, 20, 20), np.float32), np.diag([1.0, 1.0, 0.0, 1.0]), "CT")


@pytest.mark.parametrize("patient", ["pt_100", "pt_112", "pt_119", "pt_31", "pt_66", "pt_87"])
def test_real_heads_lose_their_faces_and_keep_brainstem_and_cord(shared_data: Path, patient: str) -> None:
    folder = shared_data / "ct_headneck_openkbp" / patient
    image = nibabel.load(folder / "ct.nii.gz")  # type: ignore[attr-defined]
    volume = np.asanyarray(image.dataobj).transpose(2, 1, 0).astype(np.float32) - 1000  # type: ignore[attr-defined]
    labels = np.asanyarray(nibabel.load(folder / "seg.nii.gz").dataobj).transpose(2, 1, 0)  # type: ignore[attr-defined]
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine  # type: ignore[attr-defined]
    defaced = deface(volume, affine, "CT")
    assert defaced.moved > 0.95
    assert not defaced.mask[np.isin(labels, (1, 2))].any()
