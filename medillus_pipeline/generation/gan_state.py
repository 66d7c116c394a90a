"""What a training run of the `gan` family carries from step to step, and its way into a checkpoint and back."""

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from medillus_pipeline.generation import checkpoints
from medillus_pipeline.generation.config import GanConfig
from medillus_pipeline.generation.gan_networks import AnatomicalGenerator, MultiTaskDiscriminator
from medillus_pipeline.generation.gan_sampling import build_generator, condition_channels


@dataclass
class GanState:
    """What a checkpoint holds: both networks, the generator's moving average, both optimisers, the steps done."""

    generator: AnatomicalGenerator
    discriminator: MultiTaskDiscriminator
    average: AnatomicalGenerator
    generator_optimiser: torch.optim.Adam
    discriminator_optimiser: torch.optim.Adam
    step: int = 0

    def save(self, folder: Path) -> Path:
        """Write the state as one safetensors file."""
        tensors: dict[str, Tensor] = {}
        for name, network in self._networks().items():
            tensors |= {f"{name}.{key}": tensor for key, tensor in network.state_dict().items()}
        for name, optimiser in self._optimisers().items():
            tensors |= {f"{name}.{key}": t for key, t in checkpoints.optimiser_tensors(optimiser).items()}
        return checkpoints.save(tensors, self.step, folder)

    def resume(self, folder: Path) -> int:
        """Load the newest readable checkpoint; returns the steps done, 0 when there is none."""
        found = checkpoints.newest(folder)
        if found is not None:
            tensors, self.step = found
            for name, network in self._networks().items():
                network.load_state_dict(checkpoints.part(tensors, f"{name}."))
            for name, optimiser in self._optimisers().items():
                checkpoints.load_optimiser(optimiser, checkpoints.part(tensors, f"{name}."))
        return self.step

    def _networks(self) -> dict[str, torch.nn.Module]:
        return {"generator": self.generator, "discriminator": self.discriminator, "average": self.average}

    def _optimisers(self) -> dict[str, torch.optim.Adam]:
        return {"g_optimiser": self.generator_optimiser, "d_optimiser": self.discriminator_optimiser}


def fresh_state(classes: int, groups: int, config: GanConfig) -> GanState:
    """Networks for that many classes and study groups, weights from torch's global random state."""
    generator = build_generator(classes, groups, config)
    discriminator = MultiTaskDiscriminator(
        condition_channels(classes),
        classes,
        config.discriminator_channels,
        groups=groups,
        patch=config.patch,
        spectral=config.adversarial == "hinge",
    )
    return GanState(
        generator,
        discriminator,
        copy.deepcopy(generator).requires_grad_(False).eval(),
        torch.optim.Adam(generator.parameters(), config.learning_rate, betas=config.betas),
        torch.optim.Adam(discriminator.parameters(), config.discriminator_learning_rate, betas=config.betas),
    )
