"""The default family, `flow`, readable top to bottom: the U-Net and the flow from noise to image.

Self-contained on purpose (torch, the standard library and `conditions.py` only): its text is part of the model file
that travels in the registry, so that a model can be used without this package. Training is not here, see `training.py`.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from medillus_pipeline.generation.conditions import TISSUES, condition_channels

LEAST_REST = 0.05
"""Least time left (1 - time) that the velocity is divided by: bounds the weight of nearly finished images."""

LEAST_REST_SAMPLED = 1e-3
"""The same when sampling: the last of up to 1000 steps ends at the predicted image, and no noise is left over."""


def groups(channels: int) -> int:
    """Groups of a GroupNorm: the greatest of 8, 4, 2, 1 that divides the channels."""
    return next(count for count in (8, 4, 2, 1) if channels % count == 0)


class Block(nn.Module):
    """Residual block of two 3×3 convolutions with GroupNorm and SiLU; the embedding scales and shifts (FiLM)."""

    def __init__(self, inputs: int, outputs: int, embedding: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups(inputs), inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.film = nn.Linear(embedding, 2 * outputs)
        self.norm2 = nn.GroupNorm(groups(outputs), outputs)
        self.conv2 = _silent(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        hidden = self.conv1(functional.silu(self.norm1(x)))
        scale, shift = self.film(embedding)[:, :, None, None].chunk(2, dim=1)
        hidden = self.norm2(hidden) * (1 + scale) + shift
        return self.skip(x) + self.conv2(functional.silu(hidden))


class Attention(nn.Module):
    """Self-attention over all positions of a coarse map: the long range that the body's outline needs."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = next(heads for heads in range(max(1, channels // 32), 0, -1) if channels % heads == 0)
        self.norm = nn.GroupNorm(groups(channels), channels)
        self.project = nn.Conv2d(channels, 3 * channels, 1)
        self.leave = _silent(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        split = self.project(self.norm(x)).reshape(n, 3, self.heads, channels // self.heads, height * width)
        query, key, value = split.transpose(-1, -2).unbind(1)
        seen = functional.scaled_dot_product_attention(query, key, value)
        return x + self.leave(seen.transpose(-1, -2).reshape(n, channels, height, width))


class FlowUNet(nn.Module):
    """Velocity of the flow: (n, images, h, w) noisy image, (n, conditions, h, w) condition, (n,) time, (n, attributes)
    what is said of the image, (n, classes) what the mask is complete for → (n, images, h, w).

    The condition is that of `conditions`: `classes` masks and the tissue context first. The layers predict the clean
    image and the velocity follows from it (Li and He 2025, "Back to Basics: Let Denoising Generative Models Denoise"):
    a small network need not carry the noise through, and the last step leaves no grain. Most of the work is done on
    patches of `patch` × `patch` pixels, where wide layers are cheap; `detail` features at full resolution draw the
    edges. `channels` lists the features of each resolution, finest first, of which the coarsest `attention` get
    self-attention: h and w are multiples of patch · 2^(len(channels) - 1).
    """

    def __init__(
        self,
        classes: int,
        attributes: int,
        channels: tuple[int, ...],
        *,
        images: int = 1,
        patch: int,
        detail: int,
        embedding: int,
        attention: int = 1,
    ) -> None:
        super().__init__()
        self.patch, self.images, self.sharp = patch, images, images + classes + TISSUES
        self.frequencies = embedding // 2
        self.embed = nn.Sequential(
            nn.Linear(2 * self.frequencies, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )
        self.said = nn.Linear(attributes, embedding, bias=False)
        self.drawn = nn.Linear(classes, embedding, bias=False)
        self.enter = nn.Conv2d(patch**2 * (images + condition_channels(classes)), channels[0], 3, padding=1)
        far = [len(channels) - level <= attention for level in range(len(channels))]
        self.down = nn.ModuleList()
        self.look_down = nn.ModuleList()
        self.shrink = nn.ModuleList()
        for level, (fine, coarse) in enumerate(pairwise(channels)):
            self.down.append(Block(fine, fine, embedding))
            self.look_down.append(Attention(fine) if far[level] else nn.Identity())
            self.shrink.append(nn.Conv2d(fine, coarse, 3, stride=2, padding=1))
        self.middle = nn.ModuleList([Block(channels[-1], channels[-1], embedding) for _ in range(2)])
        self.attention = Attention(channels[-1]) if attention else nn.Identity()
        self.grow = nn.ModuleList()
        self.up = nn.ModuleList()
        self.look_up = nn.ModuleList()
        for level in reversed(range(len(channels) - 1)):
            self.grow.append(nn.Conv2d(channels[level + 1], channels[level], 1))
            self.up.append(Block(2 * channels[level], channels[level], embedding))
            self.look_up.append(Attention(channels[level]) if far[level] else nn.Identity())
        self.unpatch = nn.Conv2d(channels[0], patch**2 * detail, 1)
        self.detail = nn.Conv2d(detail + self.sharp, detail, 3, padding=1)
        self.leave = nn.GroupNorm(groups(detail), detail)
        self.image = _silent(nn.Conv2d(detail, images, 3, padding=1))

    def forward(self, noisy: Tensor, condition: Tensor, time: Tensor, said: Tensor, drawn: Tensor) -> Tensor:
        angles = time[:, None] * torch.exp(torch.linspace(0, math.log(1000), self.frequencies, device=time.device))
        embedding = self.embed(torch.cat([angles.sin(), angles.cos()], 1)) + self.said(said) + self.drawn(drawn)
        embedding = functional.silu(embedding)
        given = torch.cat([noisy, condition], 1)
        x = self.enter(functional.pixel_unshuffle(given, self.patch))
        kept = []
        for block, look, shrink in zip(self.down, self.look_down, self.shrink, strict=True):
            x = look(block(x, embedding))
            kept.append(x)
            x = shrink(x)
        x = self.middle[1](self.attention(self.middle[0](x, embedding)), embedding)
        for grow, block, look in zip(self.grow, self.up, self.look_up, strict=True):
            x = functional.interpolate(grow(x), scale_factor=2, mode="nearest")
            x = look(block(torch.cat([x, kept.pop()], 1), embedding))
        x = functional.pixel_shuffle(self.unpatch(x), self.patch)
        x = self.detail(torch.cat([x, given[:, : self.sharp]], 1))
        image = self.image(functional.silu(self.leave(x))).float()
        least = LEAST_REST if self.training else LEAST_REST_SAMPLED
        return (image - noisy) / (1 - time).clamp(min=least)[:, None, None, None]


def _silent(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with weights of zero: what it adds starts from nothing."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


@torch.inference_mode()
def integrate(
    velocity: Callable[[Tensor, Tensor], Tensor],
    noise: Tensor,
    steps: int,
    method: Literal["euler", "heun"] = "euler",
) -> Tensor:
    """Rectified flow from noise (time 0) to image (time 1) in `steps` equal steps (Liu et al. 2023, eq. 1).

    `velocity` is a function of the moving image (n, c, h, w) and its time (n,). Euler is of first order and costs one
    evaluation a step. Heun is of second order: it takes the mean of the velocities at both ends of a step
    (2 · steps - 1 evaluations); its last step is Euler's, since at time 1 no noise is left to tell a velocity from
    (Karras et al. 2022, algorithm 1). The image is about -1 to 1. Raises ValueError for another method.
    """
    if method not in ("euler", "heun"):
        raise ValueError(f"the method is euler or heun, not {method!r}")
    x = noise
    for step in range(steps):
        slope = velocity(x, torch.full((len(x),), step / steps, device=x.device))
        moved = x + slope / steps
        if method == "heun" and step + 1 < steps:
            ahead = velocity(moved, torch.full((len(x),), (step + 1) / steps, device=x.device))
            moved = x + (slope + ahead) / (2 * steps)
        x = moved
    return x


def guided(
    network: nn.Module, condition: Tensor, said: Tensor, drawn: Tensor, guidance: float = 1.0
) -> Callable[[Tensor, Tensor], Tensor]:
    """The network's velocity of image and time. With a `guidance` other than 1, what the attributes `said` change is
    taken that many times (Ho and Salimans 2022, "Classifier-Free Diffusion Guidance"), at twice the cost.
    """

    def velocity(x: Tensor, time: Tensor) -> Tensor:
        told = network(x, condition, time, said, drawn).float()
        if guidance == 1.0:
            return told
        untold = network(x, condition, time, torch.zeros_like(said), drawn).float()
        return untold + guidance * (told - untold)

    return velocity
