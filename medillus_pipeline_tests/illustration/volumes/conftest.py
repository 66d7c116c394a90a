"""A tiny generator, and a small volume that no model had to draw, for all tests of this package."""

from dataclasses import replace

import numpy as np
import pytest

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.generation.config import preset
from medillus_pipeline.generation.dataset import build_snapshot, load_snapshot
from medillus_pipeline.generation.prior import build_prior
from medillus_pipeline.generation.sampling import Generator
from medillus_pipeline.generation.training import train_generator
from medillus_pipeline.illustration.volumes.generated_volume import GeneratedVolume, centred_affine
from medillus_pipeline.phantom.anatomy import torso
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.generation.published import publish_phantoms
from medillus_pipeline_tests.generation.variants import shaken


@pytest.fixture(scope="session")
def words() -> Vocabulary:
    return vocabulary.load()


@pytest.fixture(scope="session")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    """32 × 32 pixels, trained for two steps, then all its weights moved: nothing is silent."""
    published = publish_phantoms(Zone(f"file://{tmp_path_factory.mktemp('clean')}"), 8)
    config = preset("tiny")
    snapshot = build_snapshot(
        published.slices,
        published.masks,
        published.instances,
        published.splits,
        published.clean,
        vocabulary.load(),
        config.dataset,
        partitions={},
    )
    dataset = load_snapshot(published.clean, snapshot.path)
    prior = build_prior(dataset, config.prior)
    made = train_generator(dataset, prior, config.generator.model_copy(update={"steps": 2}), seed=3)
    return replace(made, network=shaken(made.network))


@pytest.fixture(scope="session")
def stack(generator: Generator) -> np.ndarray:
    """(12, 32, 32) vocabulary ids of a synthetic patient that the generator never saw; classes of its own only."""
    drawn = torso(np.random.default_rng(99), shape=(12, 32, 32), spacing=(20.0, 12.8, 12.8))
    return np.where(np.isin(drawn.labels, generator.classes), drawn.labels, 0).astype(np.uint8)


@pytest.fixture(scope="session")
def levels(stack: np.ndarray) -> np.ndarray:
    return np.linspace(0, 1, len(stack))


@pytest.fixture(scope="session")
def volume() -> GeneratedVolume:
    """A phantom of 20 × 48 × 64 voxels of 12 × 8.5 × 6.4 mm as if a model had drawn it, off the middle of its frame."""
    drawn = torso(np.random.default_rng(5), shape=(20, 48, 64), spacing=(12.0, 8.5, 6.4))
    affine = centred_affine(drawn.hu.shape, drawn.spacing)
    affine[:3, 3] += (10.0, -20.0, 300.0)
    return GeneratedVolume(
        drawn.hu, drawn.labels, affine, "CT", 7, 25, 0.6, "fingerprint", "medillus-generator 3", "CHEST"
    )
