"""A small snapshot of synthetic patients, and a sketch segmenter of few steps trained on them."""

import pytest

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.generation.config import preset
from medillus_pipeline.generation.dataset import Dataset, build_snapshot, load_snapshot
from medillus_pipeline.generation.prior import Prior, build_prior
from medillus_pipeline.sketches.config import SketchConfig
from medillus_pipeline.sketches.segmenter import SketchSegmenter
from medillus_pipeline.sketches.training import train_sketch_segmenter
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.generation.published import publish_phantoms

TINY = SketchConfig(channels=(8, 16, 24), steps=40, batch_size=4, calibration_drawings=16)


@pytest.fixture(scope="session")
def words() -> Vocabulary:
    """The vocabulary as shipped."""
    return vocabulary.load()


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory, words: Vocabulary) -> Dataset:
    """Eight patients of eight slices each, 32 × 32 pixels."""
    published = publish_phantoms(Zone(f"file://{tmp_path_factory.mktemp('clean')}"), 8)
    snapshot = build_snapshot(
        published.slices,
        published.masks,
        published.instances,
        published.splits,
        published.clean,
        words,
        preset("tiny").dataset,
        partitions={"slices": {"d-1": "version"}},
    )
    return load_snapshot(published.clean, snapshot.path)


@pytest.fixture(scope="session")
def prior(dataset: Dataset) -> Prior:
    """The prior of `dataset`."""
    return build_prior(dataset, preset("tiny").prior)


@pytest.fixture(scope="session")
def segmenter(dataset: Dataset, prior: Prior, words: Vocabulary) -> SketchSegmenter:
    """Trained for 40 steps: its names are of little use, its shapes and files are real."""
    return train_sketch_segmenter(dataset, prior, TINY, vocabulary=words, seed=3)
