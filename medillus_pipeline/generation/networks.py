"""The generator's network and flow, readable top to bottom: U-Net, condition, sampling.

Self-contained on purpose (torch and the standard library only): its text is also the first half of the model file that
travels in the registry, so that a model can be used without this package. Training is not here, see `training.py`.
"""

import math
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

LEAST_REST = 0.05
"""Least time left (1 - time) that the velocity is divided by: bounds the weight of nearly finished images."""


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
        self.heads = max(1, channels // 32)
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
    """Velocity of the flow: (n, 1, h, w) noisy image, (n, conditions, h, w) condition, (n,) time → (n, 1, h, w).

    The layers predict the clean image and the velocity follows from it (Li and He 2025, "Back to Basics: Let Denoising
    Generative Models Denoise"): a small network need not carry the noise through, and the last step leaves no grain.
    Most of the work is done on patches of `patch` × `patch` pixels, where wide layers are cheap; `detail` features at
    full resolution draw the edges. `channels` lists the features of each resolution, finest first: h and w are
    multiples of patch · 2^(len(channels) - 1).
    """

    def __init__(self, conditions: int, channels: tuple[int, ...], *, patch: int, detail: int, embedding: int) -> None:
        super().__init__()
        self.patch = patch
        self.frequencies = embedding // 2
        self.embed = nn.Sequential(
            nn.Linear(2 * self.frequencies, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )
        self.enter = nn.Conv2d(patch**2 * (1 + conditions), channels[0], 3, padding=1)
        self.down = nn.ModuleList()
        self.shrink = nn.ModuleList()
        for fine, coarse in pairwise(channels):
            self.down.append(Block(fine, fine, embedding))
            self.shrink.append(nn.Conv2d(fine, coarse, 3, stride=2, padding=1))
        self.middle = nn.ModuleList([Block(channels[-1], channels[-1], embedding) for _ in range(2)])
        self.attention = Attention(channels[-1])
        self.grow = nn.ModuleList()
        self.up = nn.ModuleList()
        for fine, coarse in zip(channels[-2::-1], channels[:0:-1], strict=True):
            self.grow.append(nn.Conv2d(coarse, fine, 1))
            self.up.append(Block(2 * fine, fine, embedding))
        self.unpatch = nn.Conv2d(channels[0], patch**2 * detail, 1)
        self.detail = nn.Conv2d(detail + 1 + conditions, detail, 3, padding=1)
        self.leave = nn.GroupNorm(groups(detail), detail)
        self.image = _silent(nn.Conv2d(detail, 1, 3, padding=1))

    def forward(self, noisy: Tensor, condition: Tensor, time: Tensor) -> Tensor:
        angles = time[:, None] * torch.exp(torch.linspace(0, math.log(1000), self.frequencies, device=time.device))
        embedding = functional.silu(self.embed(torch.cat([angles.sin(), angles.cos()], 1)))
        given = torch.cat([noisy, condition], 1)
        x = self.enter(functional.pixel_unshuffle(given, self.patch))
        kept = []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            x = block(x, embedding)
            kept.append(x)
            x = shrink(x)
        x = self.middle[1](self.attention(self.middle[0](x, embedding)), embedding)
        for grow, block in zip(self.grow, self.up, strict=True):
            x = functional.interpolate(grow(x), scale_factor=2, mode="nearest")
            x = block(torch.cat([x, kept.pop()], 1), embedding)
        x = functional.pixel_shuffle(self.unpatch(x), self.patch)
        x = self.detail(torch.cat([x, given], 1))
        image = self.image(functional.silu(self.leave(x))).float()
        return (image - noisy) / (1 - time).clamp(min=LEAST_REST)[:, None, None, None]


def _silent(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with weights of zero: what it adds starts from nothing."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def prior_channels(tissue: Tensor, levels: Tensor) -> Tensor:
    """(n, tissues + 3, h, w): tissue probabilities at each level, then column, row and level in [-1, 1].

    `tissue` is (positions, tissues, h, w) for evenly spaced levels 0 to 1; between them it is interpolated.
    """
    positions, _, height, width = tissue.shape
    place = levels.clamp(0, 1) * (positions - 1)
    below = place.floor().long().clamp(max=positions - 2)
    share = (place - below)[:, None, None, None]
    probability = tissue[below] * (1 - share) + tissue[below + 1] * share
    rows, columns = torch.meshgrid(
        torch.linspace(-1, 1, height, device=tissue.device),
        torch.linspace(-1, 1, width, device=tissue.device),
        indexing="ij",
    )
    plane = torch.stack([columns, rows]).expand(len(levels), 2, height, width)
    along = (2 * levels - 1)[:, None, None, None].expand(len(levels), 1, height, width)
    return torch.cat([probability, plane, along], 1)


def conditions(labels: Tensor, classes: int, channels: Tensor) -> Tensor:
    """(n, classes + c, h, w): one channel for each class (labels 1 … classes), then the prior's channels."""
    masks = functional.one_hot(labels.long(), classes + 1).permute(0, 3, 1, 2)[:, 1:]
    return torch.cat([masks.to(channels.dtype), channels], 1)


def likely_levels(occupancy: Tensor, labels: Tensor) -> Tensor:
    """(n,) levels at which label maps (n, h, w) are likeliest, given the occupancy (positions, classes, h, w)."""
    positions, classes = occupancy.shape[:2]
    probable = occupancy.clamp(1e-3, 1 - 1e-3).flatten(1)
    masks = functional.one_hot(labels.long(), classes + 1).permute(0, 3, 1, 2)[:, 1:].flatten(1).to(probable.dtype)
    likelihood = masks @ probable.log().T + (1 - masks) @ (1 - probable).log().T
    return likelihood.argmax(1) / (positions - 1)


@torch.inference_mode()
def integrate(
    network: nn.Module, condition: Tensor, noise: Tensor, steps: int, method: Literal["euler", "heun"] = "euler"
) -> Tensor:
    """Rectified flow from noise (time 0) to image (time 1) in `steps` equal steps (Liu et al. 2023, eq. 1).

    Euler is of first order and costs one evaluation of the network a step. Heun is of second order: it takes the mean
    of the velocities at both ends of a step (2 · steps - 1 evaluations); its last step is Euler's, since at time 1 no
    noise is left to tell a velocity from (Karras et al. 2022, algorithm 1). (n, 1, h, w), about -1 to 1. Raises
    ValueError for another method.
    """
    if method not in ("euler", "heun"):
        raise ValueError(f"the method is euler or heun, not {method!r}")
    x = noise
    for step in range(steps):
        time = torch.full((len(x),), step / steps, device=x.device)
        velocity = network(x, condition, time).float()
        moved = x + velocity / steps
        if method == "heun" and step + 1 < steps:
            time = torch.full((len(x),), (step + 1) / steps, device=x.device)
            moved = x + (velocity + network(moved, condition, time).float()) / (2 * steps)
        x = moved
    return x


def noise_for(count: int, size: tuple[int, int], seed: int) -> Tensor:
    """(count, 1, h, w) standard normal on the CPU; image i gets the same noise whatever the count."""
    generator = torch.Generator().manual_seed(seed)
    images = [torch.randn((1, 1, *size), generator=generator) for _ in range(count)]
    return torch.cat([torch.zeros((0, 1, *size)), *images])
