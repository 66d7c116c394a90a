"""The perceptual loss: whose features it takes, and which weights files it refuses."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from medillus_pipeline.generation.config import preset
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.gan_perceptual import FeatureWeightsError, load_features
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.generation.segmenter import train_segmenter
from medillus_pipeline.generation.training import train_generator

CONFIG = preset("tiny").gan.model_copy(update={"steps": 2, "log_every": 1, "perceptual": 1.0})


@pytest.fixture(scope="module")
def weights(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An organ segmenter's file."""
    train = dataset.split("train")
    config = preset("tiny").organ_segmenter.model_copy(update={"steps": 2})
    segmenter = train_segmenter(
        np.asarray(train.values), np.asarray(train.labels), dataset.classes, config=config, seed=1
    )
    path = tmp_path_factory.mktemp("weights") / "features.safetensors"
    path.write_bytes(segmenter.to_bytes())
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_features_come_from_every_resolution_and_only_the_image_learns(weights: Path):
    network = load_features(weights, sha256(weights).upper())
    image = torch.zeros(2, 1, 32, 32, requires_grad=True)
    features = network(image)
    assert [tuple(part.shape) for part in features] == [(2, 8, 32, 32), (2, 16, 16, 16), (2, 24, 8, 8)]
    torch.stack([part.square().mean() for part in features]).sum().backward()
    assert image.grad is not None and image.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in network.parameters())


def test_the_loss_takes_part_in_training_and_the_feature_network_does_not(
    dataset: Dataset, prior: Prior, weights: Path
):
    before, logged = sha256(weights), []
    config = CONFIG.model_copy(update={"perceptual_sha256": before})
    with_it = train_generator(
        dataset, prior, config, seed=3, perceptual_weights=weights, log=lambda step, figures: logged.append(figures)
    )
    assert all(figures["perceptual"] > 0 for figures in logged)
    without = train_generator(dataset, prior, config.model_copy(update={"perceptual": 0.0}), seed=3)
    name = "image.weight"
    assert not torch.equal(with_it.network.state_dict()[name], without.network.state_dict()[name])
    assert sha256(weights) == before


def test_a_weights_file_that_is_not_the_named_one_is_refused(dataset: Dataset, prior: Prior, weights: Path):
    with pytest.raises(FeatureWeightsError, match="SHA-256"):
        load_features(weights, "0" * 64)
    with pytest.raises(FeatureWeightsError, match="cannot be read"):
        load_features(weights.with_name("absent"), "0" * 64)
    with pytest.raises(FeatureWeightsError, match="needs perceptual_weights"):
        train_generator(dataset, prior, CONFIG, seed=3)


@pytest.mark.parametrize("content", [b"", b"\x80\x04 no safetensors", b"\x02\0\0\0\0\0\0\0{}"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(FeatureWeightsError, match="no segmenter"):
        load_features(path, sha256(path))
