"""A trained generator: images in HU from label maps, and sheets of samples to look at."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from medillus_pipeline.generation.compute import cpu_threads, weights_from_bytes, weights_to_bytes
from medillus_pipeline.generation.config import GeneratorConfig
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.intensity import IntensityMap
from medillus_pipeline.generation.networks import FlowUNet, conditions, integrate, noise_for, prior_channels
from medillus_pipeline.generation.pictures import class_colours, grey, sheet
from medillus_pipeline.generation.prior import TISSUES, Prior

FORMAT = 1
SAMPLE_BATCH = 32
POSITION_CHANNELS = 3


def build_network(classes: int, config: GeneratorConfig) -> FlowUNet:
    """A fresh network for that many classes; weights from torch's global random state."""
    return FlowUNet(
        classes + len(TISSUES) + POSITION_CHANNELS,
        config.channels,
        patch=config.patch,
        detail=config.detail,
        embedding=config.embedding,
    )


@dataclass(frozen=True)
class Generator:
    """The released weights (moving average) with what gives them meaning: prior, classes, configuration."""

    network: FlowUNet
    prior: Prior
    classes: tuple[int, ...]
    modality: str
    intensity: IntensityMap
    size: int
    config: GeneratorConfig
    seed: int
    dataset_fingerprint: str

    def sample(
        self,
        class_maps: np.ndarray,
        levels: np.ndarray | None = None,
        *,
        seed: int,
        steps: int | None = None,
        method: Literal["euler", "heun"] = "euler",
    ) -> np.ndarray:
        """(n, h, w) int16 calibrated values (HU for CT) for label maps (n, h, w) of class indices.

        `levels` (n,) are positions along the body, 0 feet to 1 head; without them the prior proposes the likeliest.
        Image i depends on its own mask, level, the seed and i only. `steps` of the `method` (see `integrate` in
        `networks.py`), by default those of a release. Raises ValueError for maps of another size than the model's or
        labels that it has no class for.
        """
        class_maps = np.asarray(class_maps)
        if class_maps.ndim != 3 or class_maps.shape[1:] != (self.size, self.size):
            raise ValueError(f"label maps are (n, {self.size}, {self.size}), not {class_maps.shape}")
        if class_maps.size and int(class_maps.max()) > len(self.classes):
            raise ValueError(f"the model has {len(self.classes)} classes; a label map holds {int(class_maps.max())}")
        if levels is None:
            levels = self.prior.likely_levels(class_maps)
        noise = noise_for(len(class_maps), (self.size, self.size), seed)
        tissue = torch.from_numpy(self.prior.tissue)
        parts = [np.zeros((0, self.size, self.size), np.int16)]
        with cpu_threads(self.config.threads):
            for start in range(0, len(class_maps), SAMPLE_BATCH):
                part = slice(start, start + SAMPLE_BATCH)
                channels = prior_channels(tissue, torch.as_tensor(levels[part], dtype=torch.float32))
                condition = conditions(torch.from_numpy(class_maps[part].astype(np.int64)), len(self.classes), channels)
                image = integrate(self.network, condition, noise[part], steps or self.config.release_steps, method)
                parts.append(self.intensity.inverse(image[:, 0].numpy()))
        return np.concatenate(parts)

    def describe(self) -> dict[str, Any]:
        """The configuration that goes with the weights."""
        return {
            "format": FORMAT,
            "classes": list(self.classes),
            "modality": self.modality,
            "intensity": self.intensity.describe(),
            "size": self.size,
            "seed": self.seed,
            "dataset_fingerprint": self.dataset_fingerprint,
            "config": self.config.model_dump(mode="json"),
        }

    def to_bytes(self) -> bytes:
        """Safetensors of the weights, with `describe()` in the metadata. The prior is kept beside it."""
        return weights_to_bytes(self.network.state_dict(), self.describe())

    @classmethod
    def from_bytes(cls, data: bytes, prior: Prior) -> "Generator":
        """The inverse of `to_bytes`. Raises ValueError for a prior of other classes."""
        weights, described = weights_from_bytes(data)
        config = GeneratorConfig.model_validate(described["config"])
        if tuple(described["classes"]) != prior.classes:
            raise ValueError("the prior was built for other classes than the generator")
        network = build_network(len(described["classes"]), config)
        network.load_state_dict(weights)
        return cls(
            network=network.eval(),
            prior=prior,
            classes=prior.classes,
            modality=described["modality"],
            intensity=IntensityMap.from_description(described["intensity"]),
            size=described["size"],
            config=config,
            seed=described["seed"],
            dataset_fingerprint=described["dataset_fingerprint"],
        )


def sample_sheet(
    generator: Generator,
    dataset: Dataset,
    rows: list[int],
    palette: bytes,
    *,
    samples: int = 3,
    seed: int = 0,
    steps: int | None = None,
    enlarge: int = 2,
) -> bytes:
    """A PNG: for each of the dataset's `rows` one line of mask | real | `samples` generated images.

    `palette` holds three bytes for each vocabulary id. CT is shown in a 50/350 HU window.
    """
    labels = np.asarray(dataset.labels)[rows]
    generated = generator.sample(
        np.repeat(labels, samples, 0), np.repeat(dataset.levels[rows], samples), seed=seed, steps=steps
    ).reshape(len(rows), samples, *labels.shape[1:])
    colours = class_colours(dataset.classes, palette)
    lines = []
    for label, row, images in zip(labels, rows, generated, strict=True):
        real = np.asarray(dataset.values[row])
        lines.append([colours[label], *(grey(image, generator.modality) for image in (real, *images))])
    return sheet(lines, enlarge=enlarge)
