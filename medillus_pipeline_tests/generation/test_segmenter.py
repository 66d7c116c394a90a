import math

import numpy as np
import pytest
import torch

from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.generation.config import SegmenterConfig
from medillus_pipeline.generation.segmenter import Segmenter, augment, segmentation_loss, train_segmenter

CONFIG = SegmenterConfig(channels=(8, 16), steps=120, batch_size=8, threads=1)


def shapes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A bright square on the left and a dark one on the right of noisy 32 × 32 images, with their labels."""
    random = np.random.default_rng(seed)
    labels = np.zeros((count, 32, 32), np.uint8)
    for image in labels:
        row, column = random.integers(4, 18, 2)
        image[row : row + 8, column // 2 : column // 2 + 7] = 1
        image[row : row + 8, 20:27] = 2
    values = np.array([-100, 60, -500])[labels] + random.normal(0, 10, labels.shape)
    return values.astype(np.int16), labels


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    values, labels = shapes(48, 0)
    return train_segmenter(values, labels, (5, 9), config=CONFIG, seed=1)


def test_it_labels_images_it_has_not_seen(segmenter: Segmenter):
    values, labels = shapes(16, 1)
    found = segmenter.labels(values)
    for label in (1, 2):
        overlap = 2 * ((found == label) & (labels == label)).sum()
        assert overlap / ((found == label).sum() + (labels == label).sum()) > 0.9


def test_probabilities_add_up_and_features_tell_images_apart(segmenter: Segmenter):
    values, _ = shapes(70, 2)
    probabilities = segmenter.predict(values)
    assert probabilities.shape == (70, 3, 32, 32) and probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    features = segmenter.features(values)
    assert features.shape == (70, 32)
    assert np.ptp(features, axis=0).max() > 0
    assert segmenter.predict(values[:0]).shape == (0, 3, 32, 32)


def test_the_same_seed_gives_the_same_weights_and_another_one_others(segmenter: Segmenter):
    values, labels = shapes(48, 0)
    again = train_segmenter(values, labels, (5, 9), config=CONFIG, seed=1)
    assert again.to_bytes() == segmenter.to_bytes()
    other = train_segmenter(values, labels, (5, 9), config=CONFIG.model_copy(update={"steps": 2}), seed=2)
    assert other.sha256 != segmenter.sha256


def test_training_leaves_the_global_random_state_alone():
    values, labels = shapes(8, 0)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_segmenter(values, labels, (5, 9), config=CONFIG.model_copy(update={"steps": 2}), seed=1)
    assert torch.equal(torch.rand(3), expected)


def test_it_survives_storage(segmenter: Segmenter):
    again = Segmenter.from_bytes(segmenter.to_bytes())
    values, _ = shapes(4, 3)
    np.testing.assert_array_equal(again.predict(values), segmenter.predict(values))
    assert again.classes == (5, 9) and again.to_bytes() == segmenter.to_bytes()


def test_a_class_that_the_labels_lack_is_not_predicted():
    values, labels = shapes(48, 0)
    trained = train_segmenter(values, labels, (5, 9, 200), config=CONFIG, seed=1)
    assert trained.predict(values).shape[1] == 4
    assert not (trained.labels(values) == 3).any()


def test_a_class_that_an_annotator_never_drew_is_not_learned_as_background():
    """Most annotators drew the first class only: taken at their word they teach that the second is not there."""
    values, labels = shapes(48, 0)
    held_out, truth = shapes(12, 9)
    claimed = np.ones((48, 2), bool)
    claimed[12:, 1] = False
    partial = np.where(claimed[:, 1, None, None] | (labels != 2), labels, 0).astype(np.uint8)
    found = {}
    for told in (None, claimed):
        trained = train_segmenter(values, partial, (5, 9), config=CONFIG, seed=1, claimed=told)
        found[told is not None] = (trained.labels(held_out) == 2)[truth == 2].mean()
    assert found[True] > max(0.7, found[False] + 0.2)


def test_the_loss_of_a_partial_mask_adds_up_what_the_background_may_be():
    logits = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.7, 0.2]]).log().T[None, :, None, :]
    target = torch.tensor([[[0, 1]]])
    complete = segmentation_loss(logits, target, torch.tensor([[True, True]]))
    assert complete.item() == pytest.approx(segmentation_loss(logits, target).item(), rel=1e-6)
    partial = segmentation_loss(logits, target, torch.tensor([[True, False]]))
    entropy = -(math.log(0.5 + 0.2) + math.log(0.7)) / 2
    dice = 2 * 0.7 / (1 + 0.3**2 + 0.7**2)  # of the first class alone
    assert partial.item() == pytest.approx(entropy + 1 - dice, rel=1e-5)


def test_augmentation_moves_image_and_labels_together_and_never_mirrors():
    _, labels = shapes(64, 4)
    images = torch.from_numpy(labels).float()[:, None] - 1
    config = SegmenterConfig(noise=0.0)
    moved, moved_labels = augment(images, torch.from_numpy(labels), config, torch.Generator().manual_seed(0))
    inside = (moved[:, 0] - (moved_labels.float() - 1)).abs()
    assert inside.mean() < 0.06
    assert not torch.equal(moved_labels, torch.from_numpy(labels))
    columns = torch.arange(32).float()
    for label_map in moved_labels:
        left = ((label_map == 1).float().sum(0) * columns).sum() / (label_map == 1).sum()
        right = ((label_map == 2).float().sum(0) * columns).sum() / (label_map == 2).sum()
        assert left < right


def test_without_slices_the_error_says_so():
    with pytest.raises(NotEnoughDataError, match="no patients with masks"):
        train_segmenter(np.zeros((0, 32, 32), np.int16), np.zeros((0, 32, 32), np.uint8), (5,), config=CONFIG, seed=0)
