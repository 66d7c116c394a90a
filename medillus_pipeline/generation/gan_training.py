"""A training step of the family `gan`: discriminator, then generator, each with its own optimiser.

The losses are in `gan_losses.py`.
"""

import copy
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from medillus_pipeline.generation import checkpoints, gan_losses
from medillus_pipeline.generation.batches import Batch
from medillus_pipeline.generation.config import GanConfig
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.families import build_network
from medillus_pipeline.generation.gan_networks import MultiTaskDiscriminator
from medillus_pipeline.generation.gan_perceptual import feature_network
from medillus_pipeline.generation.training import cosine, finite, follow, total
from medillus_pipeline.generation.transfer import transferred


class GanRecipe:
    """Both networks, the generator's moving average, both optimisers.

    Raises InputError for a `start` of which nothing fits, FeatureWeightsError for weights of the perceptual loss that
    are not those of the configuration.
    """

    def __init__(
        self, fabric: Fabric, dataset: Dataset, config: GanConfig, start: bytes | None, perceptual_weights: Path | None
    ) -> None:
        self.fabric, self.config = fabric, config
        images = 1 if dataset.neighbours is None else 3
        known, classes = dataset.known_attributes, len(dataset.classes)
        self.generator = build_network("gan", classes, len(known), images, config.model_dump())
        if start is not None:
            self.generator.load_state_dict(transferred(self.generator, dataset.classes, known, config, start).state)
        self.discriminator = MultiTaskDiscriminator(
            classes,
            len(known),
            config.discriminator_channels,
            images=images,
            patch=config.patch,
            spectral=config.adversarial == "hinge",
        )
        self.average = copy.deepcopy(self.generator).requires_grad_(False).eval().to(fabric.device)
        self.optimisers = {
            "g_optimiser": torch.optim.Adam(self.generator.parameters(), config.learning_rate, betas=config.betas),
            "d_optimiser": torch.optim.Adam(
                self.discriminator.parameters(), config.discriminator_learning_rate, betas=config.betas
            ),
        }
        perceive = feature_network(perceptual_weights, config)
        self.perceive = perceive and perceive.to(fabric.device)
        self.g_module, self.g_stepper = fabric.setup(self.generator, self.optimisers["g_optimiser"])
        self.d_module, self.d_stepper = fabric.setup(self.discriminator, self.optimisers["d_optimiser"])

    def step(self, batch: Batch, condition: Tensor, number: int) -> Mapping[str, Tensor | float]:
        config, n, p = self.config, len(batch.image), self.config.samples
        of_all = partial(total, self.fabric)
        self._set_rates(number)
        drawn = batch.drawn.to(condition.dtype)
        image, said = batch.image, batch.attributes
        many = condition.repeat(p, 1, 1, 1), said.repeat(p, 1), drawn.repeat(p, 1)
        samples = self.g_module(many[0], batch.noise.flatten(0, 1), many[1], many[2])

        # Discriminator: real against one sample of each mask; its segmentation head learns from real images only.
        real, made = (self.d_module(x, condition, said, drawn) for x in (image, samples[:n].detach()))
        d_losses = {
            "d_adversarial": gan_losses.discriminator_loss(config.adversarial, real.score, made.score),
            "d_segmentation": gan_losses.segmentation_loss(
                real.segmentation, gan_losses.target(batch.label, batch.claimed), of_all
            ),
        }
        d_loss = d_losses["d_adversarial"] + d_losses["d_segmentation"]
        if config.adversarial == "wgan-gp":
            with self.fabric.autocast():  # the wrapped module allows one backward pass only, the penalty needs two
                d_losses["d_penalty"] = gan_losses.gradient_penalty(
                    lambda x: self.discriminator(x, condition, said, drawn).score,
                    image,
                    samples[:n],
                    torch.special.ndtr(batch.time),
                )
            d_loss = d_loss + config.gradient_penalty * d_losses["d_penalty"]
        self.d_stepper.zero_grad()
        self.fabric.backward(d_loss)
        d_norm = self._clipped(self.d_module, self.d_stepper)
        d_figures = finite(self.fabric, {**d_losses, "d_gradient_norm": d_norm})
        self.d_stepper.step()

        # Generator: against the discriminator that has just learned. Its weights are frozen, not its path.
        self.discriminator.requires_grad_(False)
        with torch.no_grad():
            real = self.d_module(image, condition, said, drawn)
        made = self.d_module(samples, *many)
        wanted = gan_losses.target(batch.given, batch.drawn).repeat(p, 1, 1)
        masks = condition[:, : drawn.shape[1]]
        expected = gan_losses.anatomical_reference(masks, batch.given).repeat(p, 1, 1, 1)
        g_losses = {
            "adversarial": gan_losses.generator_loss(made.score),
            "segmentation": gan_losses.segmentation_loss(made.segmentation, wanted, of_all),
            "anatomy": gan_losses.anatomical_loss(made.segmentation, expected, of_all),
            "l1": gan_losses.pyramid_loss(
                image, samples.unflatten(0, (p, n)), config.diversity, config.l1_levels, config.diversity_level
            ),
            "features": gan_losses.feature_loss(real.features, made.features),
        }
        if self.perceive is not None:
            g_losses["perceptual"] = gan_losses.feature_loss(self.perceive(image), self.perceive(samples))
        g_loss = torch.stack(
            [weight * g_losses[name] for name, weight in loss_weights(number, config).items() if weight]
        ).sum()
        self.g_stepper.zero_grad()
        self.fabric.backward(g_loss)
        self.discriminator.requires_grad_(True)
        g_norm = self._clipped(self.g_module, self.g_stepper)
        g_figures = finite(self.fabric, {**g_losses, "loss": g_loss, "gradient_norm": g_norm})
        self.g_stepper.step()
        follow(self.average, self.generator, config.ema_decay, number)
        return {**g_figures, **d_figures}

    def tensors(self) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for name, network in self._networks().items():
            tensors |= {f"{name}.{key}": tensor for key, tensor in network.state_dict().items()}
        for name, optimiser in self.optimisers.items():
            tensors |= {f"{name}.{key}": t for key, t in checkpoints.optimiser_tensors(optimiser).items()}
        return tensors

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        for name, network in self._networks().items():
            network.load_state_dict(checkpoints.part(tensors, f"{name}."))
        for name, optimiser in self.optimisers.items():
            checkpoints.load_optimiser(optimiser, checkpoints.part(tensors, f"{name}."))

    def _networks(self) -> dict[str, torch.nn.Module]:
        return {"generator": self.generator, "discriminator": self.discriminator, "average": self.average}

    def _set_rates(self, step: int) -> None:
        share = cosine(step / self.config.steps, self.config.final_learning_rate)
        rates = {
            "g_optimiser": self.config.learning_rate,
            "d_optimiser": self.config.discriminator_learning_rate,
        }
        for name, rate in rates.items():
            for own in self.optimisers[name].param_groups:
                own["lr"] = rate * share

    def _clipped(self, module: Any, optimiser: Any) -> Tensor:
        """The gradient's norm before it was cut to `gradient_clip`."""
        norm = self.fabric.clip_gradients(
            module, optimiser, max_norm=self.config.gradient_clip, error_if_nonfinite=False
        )
        return torch.tensor(math.nan) if norm is None else norm


def loss_weights(step: int, config: GanConfig) -> dict[str, float]:
    """The weight of each of the generator's losses at a step: L_seg's alpha and L_anat's beta rise, the others stay."""
    share = gan_losses.ramp(step, config.ramp_start, config.ramp_steps)
    return {
        "adversarial": config.adversarial_weight,
        "segmentation": config.alpha * share,
        "anatomy": config.beta * share,
        "l1": config.l1,
        "features": config.feature_matching,
        "perceptual": config.perceptual,
    }
