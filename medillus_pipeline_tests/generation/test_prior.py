import numpy as np
import pytest

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.dicom.png import decode_png
from medillus_pipeline.errors import InputError, NotEnoughDataError
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.prior import Prior, build_prior, preview


def index_of(prior: Prior, key: str) -> int:
    return prior.classes.index(vocabulary.load().by_key(key).id)


def test_it_is_built_from_training_patients_only(dataset: Dataset, prior: Prior):
    train = dataset.split("train")
    alone = Dataset(train.values, train.labels, train.classes, train.rows, dataset.fingerprint, dataset.manifest)
    assert build_prior(alone, preset_of(dataset)).to_bytes() == prior.to_bytes()
    assert prior.patients == 4


def preset_of(dataset: Dataset):
    from medillus_pipeline.generation.config import preset

    return preset(dataset.preset).prior


def test_shapes_and_probabilities_hold(prior: Prior):
    count = len(prior.classes)
    assert prior.occupancy.shape == (8, count, 32, 32)
    assert prior.occupancy.min() >= 0 and prior.occupancy.max() <= 1.0001
    assert prior.occupancy.sum(1).max() <= 1.0001
    np.testing.assert_allclose(prior.tissue.sum(1), 1, atol=1e-5)
    assert prior.area.shape == (8, count, 2) and prior.extent.shape == (count, 2)


def test_it_knows_where_structures_lie(prior: Prior):
    left, right = index_of(prior, "lung_left"), index_of(prior, "lung_right")
    spine, liver = index_of(prior, "spine"), index_of(prior, "liver")
    assert prior.order[left, right] == 1 and prior.order[right, left] == 0
    assert prior.centroid[left, 0, 0] > 20 > -20 > prior.centroid[right, 0, 0]
    assert prior.centroid[spine, 1, 0] > prior.centroid[liver, 1, 0]
    assert prior.centroid[index_of(prior, "kidney_left"), 2, 0] < prior.centroid[left, 2, 0]
    cord = index_of(prior, "spinal_cord") + 1
    assert prior.adjacency[cord].argmax() == spine + 1


def test_the_tissue_at_the_lungs_is_air_and_outside_there_is_nothing_else(prior: Prior):
    top = prior.tissue[-1]
    inside = prior.occupancy[-1, index_of(prior, "lung_left")] > 0.9
    assert top[0][inside].min() > 0.8
    assert prior.tissue[:, 0, 0, 0].min() > 0.99


def test_a_mask_tells_its_own_level(dataset: Dataset, prior: Prior):
    held_out = dataset.split("validation")
    assert np.abs(prior.likely_levels(held_out.labels) - held_out.levels).mean() < 0.15


def test_it_survives_storage_byte_for_byte(prior: Prior):
    again = Prior.from_bytes(prior.to_bytes())
    assert again.to_bytes() == prior.to_bytes()
    assert again.classes == prior.classes
    np.testing.assert_array_equal(again.centroid, prior.centroid)


def test_its_version_says_the_format_and_tells_two_priors_apart(dataset: Dataset, prior: Prior):
    coarse = build_prior(dataset, preset_of(dataset).model_copy(update={"levels": 4}))
    assert prior.version.startswith("2-")
    assert prior.version == Prior.from_bytes(prior.to_bytes()).version != coarse.version
    described = prior.describe()
    assert described["origin"].startswith("training patients") and described["patients"] == 4
    assert described["unknown_classes"] == []


def test_a_prior_of_an_earlier_release_is_refused_with_what_to_do(prior: Prior):
    earlier = prior.to_bytes().replace(b'\\"format\\": 2', b'\\"format\\": 1')
    with pytest.raises(InputError, match=r"format 1.* materialize anatomical_prior again"):
        Prior.from_bytes(earlier)
    with pytest.raises(InputError, match="no anatomical prior"):
        Prior.from_bytes(b"something else altogether")


def test_it_knows_the_shape_of_structures(prior: Prior):
    elongation, orientation, compactness = (prior.moments[..., i, 0] for i in range(3))
    assert np.nanmin(elongation) >= 1
    assert np.nanmax(np.abs(orientation)) <= 90
    left, heart = index_of(prior, "lung_left"), index_of(prior, "heart")
    level = np.nan_to_num(prior.area[:, heart, 0]).argmax()
    assert elongation[level, left] > 1.2
    assert compactness[level, heart] > max(0.9, compactness[level, left])
    shown = np.isfinite(prior.area[..., 0])
    assert (np.isfinite(prior.moments[..., 0, 0]) == shown).all()


def test_without_training_patients_there_is_none(dataset: Dataset):
    with pytest.raises(NotEnoughDataError, match="training patient"):
        build_prior(dataset.split("judge"))


def test_the_preview_has_a_column_for_each_level(prior: Prior):
    assert decode_png(preview(prior, vocabulary.load(), columns=4)).shape == (3 * 64, 4 * 64, 3)
