"""Small real models for the tests of requests: eight synthetic patients, a prior, segmenter and generator of two steps.

Two steps make no picture, so a test that needs one that passes has a painter and a reader in their place.
"""

import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.generation.config import preset
from medillus_pipeline.generation.dataset import Dataset, build_snapshot, load_snapshot
from medillus_pipeline.generation.prior import build_prior
from medillus_pipeline.generation.sampling import Generator
from medillus_pipeline.generation.segmenter import Segmenter, train_segmenter
from medillus_pipeline.generation.training import train_generator
from medillus_pipeline.illustration.models import ModelFacts, Models
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.generation.published import publish_phantoms

BACKGROUND, STEP = -100, 80
"""Value of background in painted pictures, and how much higher each class is than the one before it."""


def painted(labels: np.ndarray) -> np.ndarray:
    """int16 picture of class indices, a value a class."""
    return (BACKGROUND + STEP * labels.astype(np.int16)).astype(np.int16)


@dataclass(frozen=True)
class Painter(Generator):
    """A generator that paints what is asked, a value a class; a class index in `blind` as background, not to be seen.

    It takes and gives what the real one does; the seed adds a little noise.
    """

    blind: int = 0

    def sample(self, class_maps: np.ndarray, levels: Any = None, *, seed: int, **told: Any) -> np.ndarray:
        """(n, h, w) int16."""
        assert told["drawn"].shape == (len(class_maps), len(self.classes))
        values = painted(np.where(class_maps == self.blind, 0, class_maps))
        return np.rint(values + np.random.default_rng(seed).normal(0, 3, values.shape)).astype(np.int16)


class Reader(Segmenter):
    """A segmenter that knows the painter's values."""

    def predict(self, values: np.ndarray) -> np.ndarray:
        """(n, classes + 1, h, w) float32."""
        nearest = np.clip(np.rint((values.astype(np.float32) - BACKGROUND) / STEP), 0, len(self.classes))
        found = nearest[:, None] == np.arange(len(self.classes) + 1)[None, :, None, None]
        return np.where(found, 0.95, 0.05 / len(self.classes)).astype(np.float32)


@cache
def scene() -> tuple[Dataset, Models]:
    """The snapshot of eight patients of eight slices, 32 × 32 pixels, and the models made of it."""
    words, tiny = vocabulary.load(), preset("tiny")
    folder = Path(tempfile.mkdtemp(prefix="medillus-illustrate-"))
    published = publish_phantoms(Zone(f"file://{folder}"), 8)
    snapshot = build_snapshot(
        published.slices,
        published.masks,
        published.instances,
        published.splits,
        published.clean,
        words,
        tiny.dataset,
        partitions={},
    )
    dataset = load_snapshot(published.clean, snapshot.path)
    prior = build_prior(dataset, tiny.prior)
    train = dataset.split("train")
    segmenter = train_segmenter(
        train.values,
        train.labels,
        dataset.classes,
        config=tiny.organ_segmenter.model_copy(update={"steps": 2}),
        seed=1,
    )
    generator = train_generator(dataset, prior, tiny.generator.model_copy(update={"steps": 2}), seed=3)
    models = Models(
        generator=generator,
        prior=prior,
        organ_segmenter=segmenter,
        vocabulary=words,
        facts=ModelFacts("medillus-generator", "1", dataset.fingerprint, "0", words.version, profile="demo"),
        dataset=dataset,
    )
    return dataset, models


def painting(blind: int = 0) -> Models:
    """The models of the scene with painter and reader in place of generator and segmenter."""
    models = scene()[1]
    own = {name: getattr(models.generator, name) for name in Generator.__dataclass_fields__}
    seen = {name: getattr(models.organ_segmenter, name) for name in Segmenter.__dataclass_fields__}
    return replace(models, generator=Painter(**own, blind=blind), organ_segmenter=Reader(**seen))


def richest(dataset: Dataset) -> np.ndarray:
    """(h, w) uint8 ids: the mask of the validation slice with most structures."""
    held_out = dataset.split("validation")
    counts = [len(np.unique(labels)) for labels in held_out.labels]
    return np.array([0, *dataset.classes], np.uint8)[held_out.labels[int(np.argmax(counts))]]
