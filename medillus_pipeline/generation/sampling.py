"""A trained generator of either family: calibrated images from label maps, and sheets of samples to look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from medillus_pipeline.generation.compute import cpu_threads, device_for, weights_from_bytes, weights_to_bytes
from medillus_pipeline.generation.conditions import TISSUES, conditions, default_attributes, noise_for, with_context
from medillus_pipeline.generation.config import GanConfig, GeneratorConfig
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.families import Family, Network, build_network, draw_images
from medillus_pipeline.generation.intensity import IntensityMap
from medillus_pipeline.generation.pictures import class_colours, grey, sheet
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.generation.shape_model import likely_levels

FORMAT = 2
SAMPLE_BATCH = 32
SHAPE_SEED = 0x9E3779B9
"""Added to a seed for the noise of proposed shapes, which must not be that of the pixels. Below 2**32: torch's
generator on the CPU takes the lowest 32 bits of a seed alone."""

CONFIGS = {"flow": GeneratorConfig, "gan": GanConfig}
Context = Literal["proposed", "none"]


@dataclass(frozen=True)
class Generator:
    """The released weights (moving average) with what gives them meaning: prior, classes, attributes, configuration.

    `images` is the number of channels: 1, or 3 for a slice between those below and above it.
    """

    network: Network
    family: Family
    prior: Prior
    classes: tuple[int, ...]
    attributes: tuple[str, ...]
    modalities: tuple[str, ...]
    intensity: IntensityMap
    size: int
    images: int
    config: GeneratorConfig | GanConfig
    seed: int
    dataset_fingerprint: str

    def sample(
        self,
        class_maps: np.ndarray,
        levels: np.ndarray | None = None,
        *,
        seed: int,
        drawn: np.ndarray | None = None,
        context: Context | np.ndarray = "proposed",
        said: Sequence[Sequence[str]] | None = None,
        steps: int | None = None,
        method: Literal["euler", "heun"] = "euler",
        guidance: float = 1.0,
        every_channel: bool = False,
        noise: Tensor | None = None,
    ) -> np.ndarray:
        """(n, h, w) int16 calibrated values (HU for CT) for label maps (n, h, w) of class indices.

        `levels` (n,) are positions along the body, 0 feet to 1 head; without them the prior proposes the likeliest.
        `drawn` (n, classes) bool says which classes the maps are complete for (default: all). The tissue `context` is
        proposed by the prior, left out, or given as (n, 4, h, w). `said` are the attributes of each image, such as
        "pathology=…" (default: the modality, where the model has but one); those that the model does not know are
        refused. Image i depends on its own mask, level, attributes, the seed and i only. `steps`, `method` (see
        `integrate` in `networks.py`) and `guidance` are the flow's. With `every_channel` the neighbours
        come too, (n, images, h, w). `noise` (n, images, h, w), standard normal, takes the place of the seed's. Raises
        ValueError for maps of another size than the model's, labels that it has no class for, noise of another shape,
        unknown attributes, levels outside 0 to 1, and another context or number of steps than these.
        """
        labels = self._labels(class_maps)
        count = len(labels)
        if isinstance(context, str) and context not in ("proposed", "none"):
            raise ValueError(f"the context is proposed or none, not {context!r}")
        if steps is not None and steps < 1:
            raise ValueError(f"steps are 1 or more, not {steps}")
        told = torch.ones((count, len(self.classes)), dtype=torch.bool)
        if drawn is not None:
            told = torch.from_numpy(np.asarray(drawn, bool))
        shapes = self.prior.shape_model
        occupancy, tissue = torch.from_numpy(self.prior.occupancy), torch.from_numpy(self.prior.tissue)
        if levels is None:
            height = likely_levels(occupancy, labels, told)
        else:
            height = torch.as_tensor(np.asarray(levels), dtype=torch.float32)
            if height.shape != (count,) or not ((height >= 0) & (height <= 1)).all():
                raise ValueError(f"give {count} levels, 0 (feet) to 1 (head)")
        multi_hot = self._said(said, count)
        device = self.device
        network = self.network.to(device)
        shape = (self.images, self.size, self.size)
        if noise is None:
            noise = noise_for(count, shape, seed)
        elif noise.shape != (count, *shape):
            raise ValueError(f"the noise is {(count, *shape)}, not {tuple(noise.shape)}")
        latent = noise_for(count, (shapes.latents,), seed + SHAPE_SEED)
        steps = steps or self.release_steps
        parts = [np.zeros((0, self.images, self.size, self.size), np.int16)]
        with cpu_threads(self.config.threads):
            for start in range(0, count, SAMPLE_BATCH):
                part = slice(start, start + SAMPLE_BATCH)
                known = (labels[part], told[part], height[part])
                if not isinstance(context, str):
                    tissues = torch.as_tensor(np.asarray(context[part]), dtype=torch.float32)
                elif context == "proposed":
                    tissues = shapes.propose_context(*known, latent[part])
                    tissues = tissues * with_context(self.modalities, self.attributes, multi_hot[part])
                else:
                    tissues = torch.zeros((len(labels[part]), TISSUES, self.size, self.size))
                drawn_images = draw_images(
                    network,
                    conditions(*known, tissues, occupancy, tissue).to(device),
                    noise[part].to(device),
                    multi_hot[part].to(device),
                    told[part].to(device),
                    steps=steps,
                    method=method,
                    guidance=guidance,
                )
                parts.append(self.intensity.inverse(drawn_images.cpu().numpy()))
        images = np.concatenate(parts)
        return images if every_channel else images[:, self.images // 2]

    @property
    def device(self) -> torch.device:
        """Where images are drawn: on a GPU, where one is here and the model was configured for one. Noise is made on
        the CPU, so that a seed asks for the same picture on both; the last bits differ.
        """
        return device_for(self.config.accelerator)

    @property
    def release_steps(self) -> int:
        """Steps of the flow for released images; 1 for a gan."""
        return self.config.release_steps if isinstance(self.config, GeneratorConfig) else 1

    def _labels(self, class_maps: np.ndarray) -> Tensor:
        class_maps = np.asarray(class_maps)
        if class_maps.ndim != 3 or class_maps.shape[1:] != (self.size, self.size):
            raise ValueError(f"label maps are (n, {self.size}, {self.size}), not {class_maps.shape}")
        if class_maps.size and int(class_maps.max()) > len(self.classes):
            raise ValueError(f"the model has {len(self.classes)} classes; a label map holds {int(class_maps.max())}")
        return torch.from_numpy(class_maps.astype(np.int64))

    def _said(self, said: Sequence[Sequence[str]] | None, count: int) -> Tensor:
        """(count, attributes) multi-hot."""
        if said is None:
            said = [default_attributes(self.attributes)] * count
        unknown = sorted({name for names in said for name in names} - set(self.attributes))
        if unknown or len(said) != count:
            raise ValueError(
                f"give the attributes of each of {count} masks; not known: {', '.join(unknown) or 'none'}; the model "
                f"knows {', '.join(self.attributes)}"
            )
        known = [[float(name in names) for name in self.attributes] for names in said]
        return torch.tensor(known).reshape(count, len(self.attributes))

    def describe(self) -> dict[str, Any]:
        """The configuration that goes with the weights."""
        return {
            "format": FORMAT,
            "family": self.family,
            "classes": list(self.classes),
            "attributes": list(self.attributes),
            "modalities": list(self.modalities),
            "intensity": self.intensity.describe(),
            "size": self.size,
            "images": self.images,
            "seed": self.seed,
            "dataset_fingerprint": self.dataset_fingerprint,
            "config": self.config.model_dump(mode="json"),
        }

    def to_bytes(self) -> bytes:
        """Safetensors of the weights, with `describe()` in the metadata. The prior is kept beside it."""
        return weights_to_bytes(self.network.state_dict(), self.describe())

    @classmethod
    def from_bytes(cls, data: bytes, prior: Prior) -> "Generator":
        """The inverse of `to_bytes`. Raises ValueError for a prior of other classes, and for another format."""
        weights, described = weights_from_bytes(data)
        if described.get("format") != FORMAT:
            raise ValueError(
                f"these weights have format {described.get('format')} and this package reads {FORMAT}: train the "
                "generator again (materialize generator_checkpoint)"
            )
        config = CONFIGS[described["family"]].model_validate(described["config"])
        if tuple(described["classes"]) != prior.classes:
            raise ValueError("the prior was built for other classes than the generator")
        attributes, images = tuple(described["attributes"]), described["images"]
        network = build_network(described["family"], len(prior.classes), len(attributes), images, config.model_dump())
        network.load_state_dict(weights)
        return cls(
            network=network.eval(),
            family=described["family"],
            prior=prior,
            classes=prior.classes,
            attributes=attributes,
            modalities=tuple(described["modalities"]),
            intensity=IntensityMap.from_description(described["intensity"]),
            size=described["size"],
            images=images,
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

    The images are told what is said of their slice. `palette` holds three bytes for each vocabulary id. CT is shown in
    a 50/350 HU window.
    """
    labels = np.asarray(dataset.labels[rows])
    many = [row for row in rows for _ in range(samples)]
    told = dataset.told(many, generator.attributes)
    generated = generator.sample(
        np.repeat(labels, samples, 0), dataset.levels[many], seed=seed, steps=steps, **told
    ).reshape(len(rows), samples, *labels.shape[1:])
    colours = class_colours(dataset.classes, palette)
    lines = []
    for label, row, images in zip(labels, rows, generated, strict=True):
        real, modality = np.asarray(dataset.values[row]), dataset.rows[row]["modality"]
        lines.append([colours[label], *(grey(image, modality) for image in (real, *images))])
    return sheet(lines, enlarge=enlarge)
