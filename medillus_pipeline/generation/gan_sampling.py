"""A trained generator of the `gan` family: images in HU from label maps, one pass of the network each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from medillus_pipeline.generation.compute import cpu_threads, weights_from_bytes, weights_to_bytes
from medillus_pipeline.generation.config import GanConfig
from medillus_pipeline.generation.gan_networks import AnatomicalGenerator
from medillus_pipeline.generation.intensity import IntensityMap
from medillus_pipeline.generation.networks import conditions, noise_for, prior_channels
from medillus_pipeline.generation.prior import TISSUES, Prior

FORMAT = 1
SAMPLE_BATCH = 32
POSITION_CHANNELS = 3


def condition_channels(classes: int) -> int:
    """Channels of the condition: the classes' masks, the prior's tissues, column, row and level."""
    return classes + len(TISSUES) + POSITION_CHANNELS


def build_generator(classes: int, groups: int, config: GanConfig) -> AnatomicalGenerator:
    """A fresh network for that many classes and study groups; weights from torch's global random state."""
    return AnatomicalGenerator(
        condition_channels(classes),
        config.channels,
        groups=groups,
        patch=config.patch,
        detail=config.detail,
        embedding=config.embedding,
    )


@dataclass(frozen=True)
class GanGenerator:
    """The released weights (moving average) with what gives them meaning; samples as `sampling.Generator` does.

    `groups` are the study groups that the model knows (phase, pathology …), in the order of their embeddings.
    """

    network: AnatomicalGenerator
    prior: Prior
    classes: tuple[int, ...]
    groups: tuple[str, ...]
    modality: str
    intensity: IntensityMap
    size: int
    config: GanConfig
    seed: int
    dataset_fingerprint: str

    @torch.inference_mode()
    def sample(
        self,
        class_maps: np.ndarray,
        levels: np.ndarray | None = None,
        *,
        seed: int,
        steps: int | None = None,
        groups: Sequence[str | None] | None = None,
    ) -> np.ndarray:
        """(n, h, w) int16 calibrated values (HU for CT) for label maps (n, h, w) of class indices.

        `levels` (n,) are positions along the body, 0 feet to 1 head; without them the prior proposes the likeliest.
        `groups` names each image's study group, None for no matter which. Image i depends on its own mask, level,
        group, the seed and i only. `steps` is taken, and changes nothing: there is one. Raises ValueError for maps of
        another size than the model's, labels that it has no class for, or groups that it does not know.
        """
        class_maps = np.asarray(class_maps)
        if class_maps.ndim != 3 or class_maps.shape[1:] != (self.size, self.size):
            raise ValueError(f"label maps are (n, {self.size}, {self.size}), not {class_maps.shape}")
        if class_maps.size and int(class_maps.max()) > len(self.classes):
            raise ValueError(f"the model has {len(self.classes)} classes; a label map holds {int(class_maps.max())}")
        if levels is None:
            levels = self.prior.likely_levels(class_maps)
        told = self._groups(groups, len(class_maps))
        noise = noise_for(len(class_maps), (self.size, self.size), seed)
        tissue = torch.from_numpy(self.prior.tissue)
        parts = [np.zeros((0, self.size, self.size), np.int16)]
        with cpu_threads(self.config.threads):
            for start in range(0, len(class_maps), SAMPLE_BATCH):
                part = slice(start, start + SAMPLE_BATCH)
                channels = prior_channels(tissue, torch.as_tensor(levels[part], dtype=torch.float32))
                condition = conditions(torch.from_numpy(class_maps[part].astype(np.int64)), len(self.classes), channels)
                image = self.network(condition, noise[part], told[part])
                parts.append(self.intensity.inverse(image[:, 0].numpy()))
        return np.concatenate(parts)

    def _groups(self, names: Sequence[str | None] | None, count: int) -> torch.Tensor:
        names = names if names is not None else [None] * count
        unknown = {name for name in names if name is not None} - set(self.groups)
        if unknown or len(names) != count:
            known = ", ".join(self.groups) or "none"
            raise ValueError(f"give one study group (or None) for each of {count} masks; the model knows: {known}")
        return torch.tensor([0 if name is None else 1 + self.groups.index(name) for name in names], dtype=torch.long)

    def describe(self) -> dict[str, Any]:
        """The configuration that goes with the weights."""
        return {
            "format": FORMAT,
            "family": "gan",
            "classes": list(self.classes),
            "groups": list(self.groups),
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
    def from_bytes(cls, data: bytes, prior: Prior) -> "GanGenerator":
        """The inverse of `to_bytes`. Raises ValueError for a prior of other classes, or weights of another family."""
        weights, described = weights_from_bytes(data)
        if described.get("family") != "gan":
            raise ValueError("these weights are of another model family than gan")
        config = GanConfig.model_validate(described["config"])
        if tuple(described["classes"]) != prior.classes:
            raise ValueError("the prior was built for other classes than the generator")
        network = build_generator(len(described["classes"]), len(described["groups"]), config)
        network.load_state_dict(weights)
        return cls(
            network=network.eval(),
            prior=prior,
            classes=prior.classes,
            groups=tuple(described["groups"]),
            modality=described["modality"],
            intensity=IntensityMap.from_description(described["intensity"]),
            size=described["size"],
            config=config,
            seed=described["seed"],
            dataset_fingerprint=described["dataset_fingerprint"],
        )
