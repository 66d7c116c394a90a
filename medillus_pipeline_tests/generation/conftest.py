"""One small snapshot of synthetic patients for all tests of this package."""

from pathlib import Path

import pytest

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.generation.config import preset
from medillus_pipeline.generation.dataset import Dataset, build_snapshot, load_snapshot
from medillus_pipeline.generation.prior import Prior, build_prior
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.generation.published import Published, publish_phantoms


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """Eight patients of eight slices each, all labelled. Shared: not to be changed."""
    return publish_phantoms(Zone(f"file://{tmp_path_factory.mktemp('clean')}"), 8)


@pytest.fixture(scope="session")
def dataset(published: Published) -> Dataset:
    """The snapshot of `published` in the tiny preset (32 × 32 pixels)."""
    snapshot = build_snapshot(
        published.slices,
        published.masks,
        published.instances,
        published.splits,
        published.clean,
        vocabulary.load(),
        preset("tiny").dataset,
        partitions={"slices": {"d-1": "version"}},
    )
    return load_snapshot(published.clean, snapshot.path)


@pytest.fixture(scope="session")
def prior(dataset: Dataset) -> Prior:
    """The prior of `dataset`."""
    return build_prior(dataset, preset("tiny").prior)


@pytest.fixture
def clean(tmp_path: Path) -> Zone:
    """An empty clean zone."""
    return Zone(f"file://{tmp_path / 'clean'}")
