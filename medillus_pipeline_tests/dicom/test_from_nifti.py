import io
import json
import shutil
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from medillus_pipeline.deidentification.ingest import ingest_delivery
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.dicom.attributes import plane
from medillus_pipeline.dicom.from_nifti import import_nifti, wrap_volume
from medillus_pipeline.dicom.geometry import volume_affine
from medillus_pipeline.dicom.pixels import calibrated
from medillus_pipeline.dicom.slices import render_delivery
from medillus_pipeline.dicom.volumes import build_volumes
from medillus_pipeline.errors import InputError
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.dicom.image_files import instance_row

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
AXES = {
    "RAS": np.diag([1.5, 2.0, 3.0, 1.0]),
    "LPS": np.diag([-1.5, -2.0, 3.0, 1.0]),
    "LPI": np.diag([-1.5, -2.0, -3.0, 1.0]),
    "PIR": np.array([[0, 0, 1.5, 0], [-2.0, 0, 0, 0], [0, -3.0, 0, 0], [0, 0, 0, 1.0]]),
    "ASL": np.array([[0, 0, -2.0, 0], [1.5, 0, 0, 0], [0, 3.0, 0, 0], [0, 0, 0, 1.0]]),
}


@pytest.fixture
def volume() -> np.ndarray:
    return np.random.default_rng(11).integers(-1024, 3000, (7, 6, 5)).astype(np.int16)


def rebuilt(files: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """The volume (column, row, slice) in output units and its matrix to RAS mm, from the files alone."""
    datasets = [pydicom.dcmread(io.BytesIO(data)) for data in files]
    planes = [plane(dataset) for dataset in datasets]
    assert planes[0].position is not None
    assert planes[-1].position is not None
    affine = volume_affine(planes[0].position, planes[-1].position, len(planes), planes[0])
    return np.stack([calibrated(d).T for d in datasets], axis=2), LPS_TO_RAS @ affine


def values_at(volume: np.ndarray, affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Values (n,) at points (n, 3) in RAS mm that must lie within 0.01 mm of voxel centres."""
    indices = (np.linalg.inv(affine) @ np.c_[points, np.ones(len(points))].T)[:3].T
    nearest = np.rint(indices).astype(int)
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    assert np.max(np.abs(indices - nearest) * steps) < 0.01
    return volume[tuple(nearest.T)]


def every_voxel(volume: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    indices = np.indices(volume.shape).reshape(3, -1)
    return (affine @ np.r_[indices, np.ones((1, indices.shape[1]))])[:3].T, volume.reshape(-1)


@pytest.mark.parametrize("axes", list(AXES))
def test_a_volume_comes_back_with_its_values_where_they_were(volume: np.ndarray, axes: str) -> None:
    affine = AXES[axes].copy()
    affine[:3, 3] = [-123.456, 78.9, -1001.25]
    again, placed = rebuilt(wrap_volume(volume, affine, patient_id="demo"))
    points, values = every_voxel(volume, affine)
    assert np.max(np.abs(values_at(again, placed, points) - values)) < 0.5


def test_slices_are_axial_with_the_feet_first_and_the_patients_right_on_the_left(volume: np.ndarray) -> None:
    files = [pydicom.dcmread(io.BytesIO(data)) for data in wrap_volume(volume, AXES["PIR"], patient_id="demo")]
    assert list(files[0].ImageOrientationPatient) == [1, 0, 0, 0, 1, 0]
    heights = [float(file.ImagePositionPatient[2]) for file in files]
    assert heights == sorted(heights)


def test_an_oblique_volume_keeps_its_orientation(volume: np.ndarray) -> None:
    a, b = np.deg2rad(12), np.deg2rad(-20)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_x @ about_z @ np.diag([0.9, 1.1, 2.5])
    again, placed = rebuilt(wrap_volume(volume, affine, patient_id="demo"))
    points, values = every_voxel(volume, affine)
    assert np.array_equal(values_at(again, placed, points), values)


def test_fractions_of_hu_are_rounded_and_the_offset_is_added() -> None:
    volume = np.random.default_rng(2).uniform(0, 3000, (4, 4, 3))
    again, placed = rebuilt(wrap_volume(volume, np.eye(4), patient_id="demo", offset=-1000))
    points, values = every_voxel(volume, np.eye(4))
    assert np.max(np.abs(values_at(again, placed, points) - (values - 1000))) <= 0.5


def test_an_mr_with_fractions_keeps_them_to_a_65000th_of_its_range() -> None:
    volume = np.random.default_rng(2).uniform(0, 7.5, (4, 4, 3))
    again, placed = rebuilt(wrap_volume(volume, np.eye(4), patient_id="demo", modality="MR"))
    points, values = every_voxel(volume, np.eye(4))
    assert np.max(np.abs(values_at(again, placed, points) - values)) < 7.5 / 65000


def test_the_same_volume_gives_the_same_files_and_another_patient_other_uids(volume: np.ndarray) -> None:
    once = wrap_volume(volume, np.eye(4), patient_id="one")
    assert once == wrap_volume(volume.copy(), np.eye(4), patient_id="one")
    other = wrap_volume(volume, np.eye(4), patient_id="two")
    uids = {pydicom.dcmread(io.BytesIO(data)).SOPInstanceUID for data in [*once, *other]}
    assert len(uids) == 10
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in uids)


@pytest.mark.parametrize(
    ("affine", "words"),
    [
        (np.array([[1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "sheared"),
        (np.diag([1.0, 0.0, 1.0, 1.0]), "singular"),
    ],
)
def test_an_affine_without_slices_is_refused(volume: np.ndarray, affine: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        wrap_volume(volume, affine, patient_id="demo")


def test_values_that_no_ct_can_hold_are_refused(volume: np.ndarray) -> None:
    with pytest.raises(InputError, match="16 bits"):
        wrap_volume(volume.astype(np.float32) * 50, np.eye(4), patient_id="demo")
    with pytest.raises(InputError, match="finite"):
        wrap_volume(np.full((2, 2, 2), np.nan), np.eye(4), patient_id="demo")


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_the_files_satisfy_an_independent_validator(volume: np.ndarray, modality: str, tmp_path: Path) -> None:
    if not shutil.which("dciodvfy"):
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    path = tmp_path / "slice.dcm"
    path.write_bytes(wrap_volume(volume, np.eye(4), patient_id="demo", modality=modality, body_part="chest")[2])
    said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    assert "Error" not in said.stderr + said.stdout
    assert f"{modality}Image" in said.stderr + said.stdout


def write_patient(folder: Path, volume: np.ndarray, affine: np.ndarray, labels: np.ndarray | None = None) -> None:
    folder.mkdir(parents=True)
    nib.save(nib.Nifti1Image(volume, affine), folder / "ct.nii.gz")
    if labels is not None:
        nib.save(nib.Nifti1Image(labels, affine), folder / "seg.nii.gz")


def test_a_folder_of_volumes_becomes_a_delivery_and_an_annotation_batch(volume: np.ndarray, tmp_path: Path) -> None:
    source, landing = tmp_path / "source", tmp_path / "landing"
    labels = (volume > 0).astype(np.uint8) * 3
    write_patient(source / "pt_1", volume, AXES["LPI"], labels)
    write_patient(source / "pt_2", volume + 1, AXES["RAS"])
    (source / "labels.json").write_text(json.dumps({"3": "Mandible"}))
    seen: list[tuple[int, int]] = []
    done = import_nifti(source, landing, name="study-a", progress=lambda n, total: seen.append((n, total)))
    assert (done.patients, done.instances, done.label_maps) == (2, 10, 1)
    assert seen == [(1, 2), (2, 2)]
    index = json.loads((landing / "annotations" / "study-a" / "index.json").read_text())
    first = pydicom.dcmread(landing / "images" / "study-a" / "pt_1" / "0001.dcm")
    assert index == {
        "volumes": [{"file": "pt_1.nii.gz", "series_instance_uid": str(first.SeriesInstanceUID)}],
        "labels": {"3": "Mandible"},
    }
    assert first.PatientID == "pt_1"
    assert json.loads((landing / "images" / "study-a" / "_READY").read_text()) == {"label": "study-a"}
    assert json.loads((landing / "annotations" / "study-a" / "_READY").read_text()) == {"label": "study-a-labels"}
    copied = nib.load(landing / "annotations" / "study-a" / "pt_1.nii.gz")
    assert np.array_equal(np.asarray(copied.dataobj), labels)


@pytest.mark.parametrize("defect", ["damaged", "unnamed", "other_grid", "empty"])
def test_a_failed_import_leaves_nothing_behind(volume: np.ndarray, tmp_path: Path, defect: str) -> None:
    source, landing = tmp_path / "source", tmp_path / "landing"
    words = {"damaged": "volume 2 of 2", "unnamed": "no name", "other_grid": "grid", "empty": "nothing to import"}
    if defect != "empty":
        write_patient(source / "a", volume, np.eye(4))
        write_patient(
            source / "b", volume, np.eye(4), np.ones((2, 2, 2) if defect == "other_grid" else (7, 6, 5), "u1")
        )
    if defect == "damaged":
        (source / "b" / "ct.nii.gz").write_bytes((source / "b" / "ct.nii.gz").read_bytes()[:150])
    labels = {1: "liver"} if defect in ("damaged", "other_grid") else None
    with pytest.raises(InputError, match=words[defect]):
        import_nifti(source, landing, name="x", labels=labels)
    assert not [p for p in landing.rglob("*") if p.is_file()]


def test_an_import_never_mixes_with_what_is_there(volume: np.ndarray, tmp_path: Path) -> None:
    write_patient(tmp_path / "source", volume, np.eye(4))
    import_nifti(tmp_path / "source", tmp_path / "landing", name="x")
    with pytest.raises(InputError, match="choose another name"):
        import_nifti(tmp_path / "source", tmp_path / "landing", name="x")
    with pytest.raises(InputError, match="name may hold"):
        import_nifti(tmp_path / "source", tmp_path / "landing", name="../x")


def test_a_research_patient_comes_through_with_air_around_the_body(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "ct_headneck_openkbp"
    done = import_nifti(source, tmp_path, name="openkbp", body_part="HEADNECK", offset=-1000, limit=1)
    assert (done.patients, done.instances, done.label_maps) == (1, 128, 1)
    folder = next((tmp_path / "images" / "openkbp").glob("pt_*"))
    original = nib.load(source / folder.name / "ct.nii.gz")
    again, placed = rebuilt([path.read_bytes() for path in sorted(folder.glob("*.dcm"))])
    points, values = every_voxel(np.asarray(original.dataobj)[::9, ::7, ::5], original.affine @ np.diag([9, 7, 5, 1]))
    assert np.array_equal(values_at(again, placed, points), values.astype(float) - 1000)
    assert again[0, 0, 0] == -1000


TURN = np.array(
    [[0.8137977, -0.4409696, 0.3785223], [0.4698463, 0.8825641, 0.0180283], [-0.3420201, 0.1631759, 0.9254166]]
)
GRIDS = {
    "axial": np.diag([0.9, 0.9, 2.5]),
    "anisotropic": np.diag([-0.71, -1.37, 4.9]),
    "oblique": TURN * 1.2,
    "oblique and anisotropic": TURN @ np.diag([0.61, 1.45, 3.3]),
    "sagittal and oblique": TURN @ np.array([[0, 0, 1.1], [0.8, 0, 0], [0, -2.3, 0]]),
}


@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize("grid", list(GRIDS))
def test_a_volume_comes_back_from_the_clean_side_within_half_a_hu_and_a_hundredth_of_a_mm(
    tmp_path: Path, landing: Zone, clean: Zone, pseudonymiser: Pseudonymiser, grid: str, modality: str
) -> None:
    rng = np.random.default_rng(4)
    given = rng.uniform(-1024, 2900, (14, 12, 9)) if modality == "CT" else rng.uniform(0, 90, (14, 12, 9))
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = GRIDS[grid], (-183.219, 77.4063, -1250.5)
    (tmp_path / "source").mkdir()
    nib.save(nib.Nifti1Image(given.astype(np.float32), affine), tmp_path / "source" / "ct.nii.gz")
    import_nifti(tmp_path / "source", Path(landing.full("")), name="back", modality=modality, body_part="CHEST")
    instances = ingest_delivery(landing, "back", clean, pseudonymiser).instances
    (row,) = build_volumes(render_delivery(instances, clean).slices, instances, clean)
    assert (row["verdict"], row["face"], row["unit"]) == ("volume", "none", "HU" if modality == "CT" else "calibrated")
    loaded = nib.load(clean.full(row["path"]))
    assert isinstance(loaded, nib.Nifti1Image)
    points, values = every_voxel(given, affine)
    found = values_at(loaded.get_fdata(), np.asarray(loaded.affine), points)
    assert np.max(np.abs(found - values)) <= (0.5 if modality == "CT" else 90 / 65000) + 1e-4
    assert loaded.shape == tuple(row["shape"])


def test_a_volume_that_came_back_can_be_imported_again(volume: np.ndarray, tmp_path: Path, clean: Zone) -> None:
    rows = [instance_row(data, clean) for data in wrap_volume(volume, AXES["LPI"], patient_id="demo")]
    (row,) = build_volumes(render_delivery(rows, clean).slices, rows, clean)
    (tmp_path / "again").mkdir()
    shutil.copyfile(clean.full(row["path"]), tmp_path / "again" / "ct.nii.gz")
    import_nifti(tmp_path / "again", tmp_path / "landing", name="again")
    again, placed = rebuilt([f.read_bytes() for f in sorted((tmp_path / "landing").rglob("*.dcm"))])
    points, values = every_voxel(volume, AXES["LPI"])
    assert np.array_equal(values_at(again, placed, points), values)
