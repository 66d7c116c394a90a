"""A training step of the family `flow`: rectified flow on the velocity, AdamW, moving average."""

import copy
import math
from collections.abc import Mapping

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from medillus_pipeline.generation import checkpoints
from medillus_pipeline.generation.batches import Batch
from medillus_pipeline.generation.conditions import border_distance
from medillus_pipeline.generation.config import GeneratorConfig
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.families import build_network
from medillus_pipeline.generation.networks import LEAST_REST
from medillus_pipeline.generation.training import cosine, finite, follow
from medillus_pipeline.generation.transfer import transferred

BORDER_REACH = 0.26
"""How near to a border counts, in units of `border_distance`: two pixels of 64, and a little for rounding."""


class FlowRecipe:
    """Network, moving average and optimiser. Raises InputError for a `start` of which nothing fits."""

    def __init__(self, fabric: Fabric, dataset: Dataset, config: GeneratorConfig, start: bytes | None) -> None:
        self.fabric, self.config = fabric, config
        images = 1 if dataset.neighbours is None else 3
        known = dataset.known_attributes
        self.network = build_network("flow", len(dataset.classes), len(known), images, config.model_dump())
        if start is not None:
            state = transferred(self.network, dataset.classes, known, config, start).state
            self.network.load_state_dict(state)
        self.average = copy.deepcopy(self.network).requires_grad_(False).eval().to(fabric.device)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
        )
        module: nn.Module = self.network
        if config.channels_last:
            module = module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if config.compile:
            module.compile()
        self.module, self.stepper = fabric.setup(module, self.optimiser)

    def step(self, batch: Batch, condition: Tensor, number: int) -> Mapping[str, Tensor | float]:
        config = self.config
        rate = learning_rate(number, config)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        moment = torch.sigmoid(config.time_mean + config.time_deviation * batch.time)
        at = moment[:, None, None, None]
        noisy = at * batch.image + (1 - at) * batch.noise[0]
        velocity = self.module(noisy, condition, moment, batch.attributes, batch.drawn.to(noisy.dtype))
        error = (velocity - (batch.image - noisy) / (1 - at).clamp(min=LEAST_REST)) ** 2
        loss = (error * border_weights(batch.given, config.border_weight)).mean()
        self.stepper.zero_grad()
        self.fabric.backward(loss)
        norm = self.fabric.clip_gradients(
            self.module, self.stepper, max_norm=config.gradient_clip, error_if_nonfinite=False
        )
        norm = torch.tensor(math.nan) if norm is None else norm
        told = finite(self.fabric, {"loss": loss, "gradient_norm": norm})
        self.stepper.step()
        follow(self.average, self.network, config.ema_decay, number)
        return {**told, "learning_rate": rate}

    def tensors(self) -> dict[str, Tensor]:
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        return tensors | {f"optimiser.{name}": t for name, t in checkpoints.optimiser_tensors(self.optimiser).items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self.network.load_state_dict(checkpoints.part(tensors, "network."))
        self.average.load_state_dict(checkpoints.part(tensors, "average."))
        checkpoints.load_optimiser(self.optimiser, checkpoints.part(tensors, "optimiser."))


def border_weights(labels: Tensor, weight: float) -> Tensor:
    """(n, 1, h, w), of mean 1 in each image: 1 + `weight` within two pixels of 64 of a border between labels (n, h, w),
    1 elsewhere, divided by their mean. An outline is a small share of the pixels, and what a figure is judged by.
    """
    weights = 1 + weight * (border_distance(labels) <= BORDER_REACH)
    return weights / weights.mean((1, 2, 3), keepdim=True)


def learning_rate(step: int, config: GeneratorConfig) -> float:
    """Linear warm-up, then a cosine down to `final_learning_rate` times the rate. Steps count from 1."""
    if step <= config.warmup_steps:
        return config.learning_rate * step / config.warmup_steps
    share = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    return config.learning_rate * cosine(share, config.final_learning_rate)
