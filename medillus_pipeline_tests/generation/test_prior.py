import numpy as np
import pytest

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.dicom.png import decode_png
from medillus_pipeline.errors import NotEnoughDataError
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


def test_channels_are_interpolated_between_levels_and_carry_the_position(prior: Prior):
    channels = prior.channels(np.array([0.0, 0.5 / 7, 1.0]))
    assert channels.shape == (3, 7, 32, 32)
    np.testing.assert_allclose(channels[0, :4], prior.tissue[0])
    np.testing.assert_allclose(channels[1, :4], (prior.tissue[0] + prior.tissue[1]) / 2, atol=1e-6)
    np.testing.assert_allclose(channels[2, :4], prior.tissue[-1], atol=1e-6)
    assert channels[0, 4, 0, 0] == -1 and channels[0, 4, 0, -1] == 1
    assert channels[0, 5, -1, 0] == 1
    assert (channels[:, 6, 0, 0] == np.array([-1, 2 * 0.5 / 7 - 1, 1], np.float32)).all()


def test_a_mask_tells_its_own_level(dataset: Dataset, prior: Prior):
    held_out = dataset.split("validation")
    assert np.abs(prior.likely_levels(held_out.labels) - held_out.levels).mean() < 0.15


def test_it_survives_storage_byte_for_byte(prior: Prior):
    again = Prior.from_bytes(prior.to_bytes())
    assert again.to_bytes() == prior.to_bytes()
    assert again.classes == prior.classes
    np.testing.assert_array_equal(again.centroid, prior.centroid)


def test_without_training_patients_there_is_none(dataset: Dataset):
    with pytest.raises(NotEnoughDataError, match="training patient"):
        build_prior(dataset.split("judge"))


def test_the_preview_has_a_column_for_each_level(prior: Prior):
    assert decode_png(preview(prior, vocabulary.load(), columns=4)).shape == (2 * 64, 4 * 64, 3)
