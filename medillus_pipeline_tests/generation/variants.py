"""Datasets and networks that tests of several modules need: with attributes, with neighbours, with moved weights."""

import copy
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import nn

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.generation.config import GanConfig, GeneratorConfig, preset
from medillus_pipeline.generation.dataset import Dataset, build_snapshot, load_snapshot
from medillus_pipeline.generation.slice_attributes import known_attributes
from medillus_pipeline_tests.generation.published import Published

TINY: dict[str, GeneratorConfig | GanConfig] = {"flow": preset("tiny").generator, "gan": preset("tiny").gan}
"""The smallest configuration of each family."""

N = TypeVar("N", bound=nn.Module)


def told(dataset: Dataset) -> Dataset:
    """The dataset with a stage for each half of the body, and a pathology or two near the head."""

    def labelled(row: dict[str, Any]) -> dict[str, Any]:
        high = row["level"] > 0.5
        found = ["pleural_effusion", "liver_lesion"] if row["level"] > 0.8 else ["liver_lesion"] if high else []
        return row | {"pathology": found, "stage": "late" if high else "early"}

    rows = [labelled(row) for row in dataset.rows]
    manifest = dataset.manifest | {"known_attributes": list(known_attributes(rows))}
    return replace(dataset, rows=rows, manifest=manifest, fingerprint=dataset.fingerprint[::-1])


def of_two_modalities(dataset: Dataset) -> Dataset:
    """The dataset with every second slice told to be MR."""
    rows = [row | {"modality": "MR" if number % 2 else "CT"} for number, row in enumerate(dataset.rows)]
    config = dataset.manifest["config"] | {"modalities": ["CT", "MR"]}
    manifest = dataset.manifest | {"config": config, "known_attributes": list(known_attributes(rows))}
    return replace(dataset, rows=rows, manifest=manifest, fingerprint=dataset.fingerprint[::-1])


def with_neighbours(published: Published) -> Dataset:
    """A snapshot of three channels: each slice between those below and above it."""
    snapshot = build_snapshot(
        published.slices,
        published.masks,
        published.instances,
        published.splits,
        published.clean,
        vocabulary.load(),
        preset("tiny").dataset.model_copy(update={"channels": 3}),
        partitions={},
    )
    return load_snapshot(published.clean, snapshot.path)


def shaken(network: N, seed: int = 0) -> N:
    """A copy whose weights are all in motion: what a fresh layer of zeros would hide is seen."""
    result, random = copy.deepcopy(network).eval(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in result.parameters():
            weight.add_(torch.randn(weight.shape, generator=random), alpha=0.1)
    return result
