import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.errors import InputError
from medillus_pipeline.generation.atlas import load_atlas, prior_for
from medillus_pipeline.generation.config import preset
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.language.prior_requests import sample_mask
from medillus_pipeline.phantom.anatomy import torso

TINY = preset("tiny").prior
KNOWN = ("lung_left", "lung_right", "liver", "heart", "spine")


def write_volume(path: Path, values: np.ndarray, *, spacing: float = 6.4, step: float = 30.0) -> None:
    """(slices, rows, columns) as NIfTI, whose x runs to the right of LPS and y to the front."""
    affine = np.diag([-spacing, -spacing, step, 1.0])
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.moveaxis(values, 0, 2).swapaxes(0, 1).copy(), affine), path)  # type: ignore[attr-defined]


def write_atlas(folder: Path, *, images: bool, cases: int = 3, names: tuple[str, ...] = KNOWN) -> Path:
    ids = [vocabulary.load().by_key(key).id for key in KNOWN]
    for number in range(cases):
        patient = torso(np.random.default_rng([3, number]), shape=(8, 64, 64), spacing=(30.0, 6.4, 6.4))
        values = np.zeros_like(patient.labels, np.uint8)
        for value, label in enumerate(ids, start=1):
            values[patient.labels == label] = value
        write_volume(folder / f"{number}" / "labels.nii.gz", values)
        if images:
            write_volume(folder / f"{number}" / "ct.nii.gz", patient.hu)
    (folder / "labels.json").write_text(json.dumps({str(i): name for i, name in enumerate(names, start=1)}))
    return folder


def load(path: Path, dataset: Dataset):
    return load_atlas(path, dataset.classes, vocabulary.load(), size=32, field_of_view=420.0, config=TINY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_atlas(tmp_path_factory.mktemp("atlas"), images=True)


def centre(prior: Prior, key: str) -> np.ndarray:
    return prior.centroid[prior.classes.index(vocabulary.load().by_key(key).id), :, 0]


def test_a_folder_of_volumes_says_the_same_as_the_training_patients(folder: Path, dataset: Dataset, prior: Prior):
    found = load(folder, dataset)
    assert found.prior.patients == 3 and found.prior.origin.startswith("atlas ")
    for key in KNOWN:
        x, y, level = centre(found.prior, key) - centre(prior, key)
        assert abs(x) < 15 and abs(y) < 15 and abs(level) < 0.1, key
    assert np.abs(found.prior.tissue - prior.tissue).mean() < 0.1


def test_structures_that_the_atlas_lacks_are_unknown_and_those_of_its_own_are_dropped(folder: Path, dataset: Dataset):
    words = vocabulary.load()
    kept = tuple(label for label in dataset.classes if label != words.by_key("heart").id)
    found = load_atlas(folder, kept, words, size=32, field_of_view=420.0, config=TINY)
    assert {words.by_id(label).key for label in found.matched} == set(KNOWN) - {"heart"}
    assert found.dropped == (words.by_key("heart").id,)
    kidney = kept.index(words.by_key("kidney_left").id)
    assert np.isnan(found.prior.occupancy[:, kidney]).all() and np.isnan(found.prior.adjacency[kidney + 1]).all()
    assert words.by_key("kidney_left").id in found.prior.describe()["unknown_classes"]
    again = Prior.from_bytes(found.prior.to_bytes())
    proposed = sample_mask(again, words, "liver", count=2).ids
    assert set(np.unique(proposed).tolist()) <= {0, *found.matched}
    assert (proposed == words.by_key("liver").id).any((1, 2)).all()
    with pytest.raises(InputError, match="knows no left kidney"):
        sample_mask(again, words, "left kidney")


def test_without_images_the_tissue_follows_from_the_structures(tmp_path: Path, dataset: Dataset):
    prior = load(write_atlas(tmp_path, images=False), dataset).prior
    words = vocabulary.load()
    lung, spine = (prior.classes.index(words.by_key(key).id) for key in ("lung_left", "spine"))
    assert prior.tissue[6][0][prior.occupancy[6, lung] > 0.7].min() > 0.6
    assert prior.tissue[4][3][prior.occupancy[4, spine] > 0.5].mean() > 0.4
    assert prior.tissue[:, 0, 0, 0].min() > 0.9
    np.testing.assert_allclose(prior.tissue.sum(1), 1, atol=1e-5)


def test_a_ready_prior_is_taken_as_it_is_and_says_where_it_comes_from(tmp_path: Path, dataset: Dataset, prior: Prior):
    path = tmp_path / "prior.safetensors"
    path.write_bytes(prior.to_bytes())
    found = load(path, dataset)
    np.testing.assert_array_equal(found.prior.occupancy, prior.occupancy)
    np.testing.assert_array_equal(found.prior.shapes["shape_modes"], prior.shapes["shape_modes"])
    assert found.unknown == found.dropped == ()
    assert found.prior.origin.startswith("atlas ") and found.prior.dataset_fingerprint == ""


def test_a_ready_prior_is_resampled_to_the_size_of_the_dataset(tmp_path: Path, dataset: Dataset, prior: Prior):
    path = tmp_path / "prior.safetensors"
    path.write_bytes(prior.to_bytes())
    found = load_atlas(path, dataset.classes, vocabulary.load(), size=64, field_of_view=420.0).prior
    assert found.occupancy.shape[2:] == (64, 64) and found.pixel_mm == 420 / 64
    assert sample_mask(found, vocabulary.load(), "liver", count=1).ids.shape == (1, 64, 64)


def test_a_prior_of_another_frame_is_refused(tmp_path: Path, dataset: Dataset, prior: Prior):
    path = tmp_path / "prior.safetensors"
    path.write_bytes(replace(prior, pixel_mm=280 / 32).to_bytes())
    with pytest.raises(InputError, match="280 mm wide and the dataset's 420 mm"):
        load(path, dataset)


def test_what_was_matched_is_told_in_keys(folder: Path, dataset: Dataset):
    prior, said = prior_for(dataset, TINY, str(folder), vocabulary.load())
    assert prior.classes == dataset.classes
    assert set(said["matched"].split(", ")) == set(KNOWN)
    assert "kidney_left" in said["unknown_to_atlas"] and said["dropped_of_atlas"] == "none"


def test_without_an_atlas_it_is_the_prior_of_the_training_patients(dataset: Dataset, prior: Prior):
    built, said = prior_for(dataset, TINY, None, vocabulary.load())
    assert built.version == prior.version and said == {}


def test_what_cannot_be_used_is_refused_with_the_reason(tmp_path: Path, dataset: Dataset):
    with pytest.raises(InputError, match="neither a file nor a folder"):
        load(tmp_path / "nothing", dataset)
    with pytest.raises(InputError, match="0 label volumes"):
        load(tmp_path, dataset)
    unnamed = write_atlas(tmp_path / "unnamed", images=False, cases=2)
    (unnamed / "labels.json").unlink()
    with pytest.raises(InputError, match=r"label volume 1 of 2 .*nothing says what its values mean"):
        load(unnamed, dataset)
    foreign = write_atlas(
        tmp_path / "foreign", images=False, cases=2, names=("brain", "face", "skull", "lips", "tongue")
    )
    with pytest.raises(InputError, match="none of the dataset's 12 structures"):
        load(foreign, dataset)
    (foreign / "0" / "labels.nii.gz").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"label volume 1 of 2 .*cannot be read"):
        load(foreign, dataset)


def test_an_nrrd_label_map_is_read_as_the_nifti_is(tmp_path: Path, dataset: Dataset):
    as_nifti = write_atlas(tmp_path / "nifti", images=False, cases=2)
    (tmp_path / "nrrd").mkdir()
    for number in range(2):
        image = nib.load(as_nifti / f"{number}" / "labels.nii.gz")  # type: ignore[attr-defined]
        values = np.asarray(image.dataobj, np.uint8)  # type: ignore[attr-defined]
        header = (
            "NRRD0004\ntype: uint8\ndimension: 3\nspace: left-posterior-superior\n"
            f"sizes: {' '.join(map(str, values.shape))}\nspace directions: (6.4,0,0) (0,6.4,0) (0,0,30)\n"
            "kinds: domain domain domain\nencoding: raw\nspace origin: (0,0,0)\n\n"
        )
        (tmp_path / "nrrd" / f"{number}.nrrd").write_bytes(header.encode() + values.tobytes(order="F"))
    (tmp_path / "nrrd" / "labels.json").write_bytes((as_nifti / "labels.json").read_bytes())
    one, other = load(as_nifti, dataset), load(tmp_path / "nrrd", dataset)
    assert one.matched == other.matched
    np.testing.assert_allclose(one.prior.occupancy, other.prior.occupancy, atol=1e-6)
