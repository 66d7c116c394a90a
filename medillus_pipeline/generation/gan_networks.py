"""The networks of the second model family, `gan`, readable top to bottom: latent noise, generator, discriminator.

Self-contained on purpose (torch, the standard library and `conditions.py` only): its text is part of the model file
that travels in the registry. Losses and training are not here, see `gan_losses.py` and `gan_training.py`.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from medillus_pipeline.generation.conditions import condition_channels

LATENT_SIDE = 4
"""The latent vector has LATENT_SIDE² entries: the noise field, pooled to that many cells."""

SPECTRAL_GAIN = 10.0
"""Factor of the score where layers are normalised: with slopes of at most 1 each, the scores of two images that differ
in their grain alone would be too near to each other for the hinge's margin of 1, and teach nothing."""


def latent(noise: Tensor, side: int) -> Tensor:
    """(n, 1, side, side): the noise field (n, 1, h, w) pooled to `side` × `side` cells, standard normal again.

    One field is all the randomness of an image: coarse noise is its pooled part, so that an image is repeated by
    repeating its field (`networks.noise_for`). `side` divides h and w.
    """
    height, width = noise.shape[-2] // side, noise.shape[-1] // side
    return functional.avg_pool2d(noise, (height, width)) * (height * width) ** 0.5


class NoisyBlock(nn.Module):
    """Residual block of two 3×3 convolutions; the embedding scales and shifts (FiLM), the noise is added by channel.

    How much noise each channel takes is learned (Karras et al. 2019, "A Style-Based Generator Architecture", 3.2).
    """

    def __init__(self, inputs: int, outputs: int, embedding: int, noises: int = 1) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(_groups(inputs), inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.film = nn.Linear(embedding, 2 * outputs)
        self.noise = nn.Conv2d(noises, outputs, 1, bias=False)
        self.norm2 = nn.GroupNorm(_groups(outputs), outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)
        nn.init.normal_(self.noise.weight, std=0.3 / noises**0.5)

    def forward(self, x: Tensor, embedding: Tensor, noise: Tensor) -> Tensor:
        hidden = self.conv1(functional.silu(self.norm1(x))) + self.noise(noise)
        scale, shift = self.film(embedding)[:, :, None, None].chunk(2, dim=1)
        hidden = self.norm2(hidden) * (1 + scale) + shift
        return self.skip(x) + self.conv2(functional.silu(hidden))


class AnatomicalGenerator(nn.Module):
    """Image from anatomy and noise: (n, conditions, h, w) condition, (n, images, h, w) noise, (n, attributes) what is
    said of the image, (n, classes) what the mask is complete for → (n, images, h, w), -1 to 1.

    `condition` is that of `conditions.py`, `noise` a standard normal field whose first channel is taken. A U-Net on
    patches of `patch` × `patch` pixels; each block gets noise of its own resolution, the last one the pixels of its
    patches, and all get the latent vector and the attributes through their embedding. `channels` lists the features of
    each resolution, finest first: h and w are multiples of patch · 2^(len(channels) - 1) and of LATENT_SIDE.
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
    ) -> None:
        super().__init__()
        self.patch, self.images = patch, images
        conditions = condition_channels(classes)
        self.said = nn.Linear(attributes, embedding, bias=False)
        self.drawn = nn.Linear(classes, embedding, bias=False)
        self.embed = nn.Sequential(
            nn.Linear(LATENT_SIDE**2 + embedding, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        )
        self.enter = nn.Conv2d(patch**2 * conditions, channels[0], 3, padding=1)
        self.down = nn.ModuleList()
        self.shrink = nn.ModuleList()
        for fine, coarse in pairwise(channels):
            self.down.append(NoisyBlock(fine, fine, embedding))
            self.shrink.append(nn.Conv2d(fine, coarse, 3, stride=2, padding=1))
        self.middle = nn.ModuleList([NoisyBlock(channels[-1], channels[-1], embedding) for _ in range(2)])
        self.grow = nn.ModuleList()
        self.up = nn.ModuleList()
        for level, (fine, coarse) in enumerate(zip(channels[-2::-1], channels[:0:-1], strict=True), start=2):
            self.grow.append(nn.Conv2d(coarse, fine, 1))
            last = level == len(channels)
            self.up.append(NoisyBlock(2 * fine, fine, embedding, patch**2 if last else 1))
        self.unpatch = nn.Conv2d(channels[0], patch**2 * detail, 1)
        self.detail = nn.Conv2d(detail + 1 + conditions, detail, 3, padding=1)
        self.image = nn.Conv2d(detail, images, 3, padding=1)

    def forward(self, condition: Tensor, noise: Tensor, said: Tensor, drawn: Tensor) -> Tensor:
        noise = noise[:, :1]
        told = self.said(said) + self.drawn(drawn)
        embedding = self.embed(torch.cat([latent(noise, LATENT_SIDE).flatten(1), told], 1))
        x = self.enter(functional.pixel_unshuffle(condition, self.patch))
        kept = []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            x = block(x, embedding, latent(noise, x.shape[-1]))
            kept.append(x)
            x = shrink(x)
        for block in self.middle:
            x = block(x, embedding, latent(noise, x.shape[-1]))
        for grow, block in zip(self.grow, self.up, strict=True):
            x = functional.interpolate(grow(x), scale_factor=2, mode="nearest")
            own = latent(noise, x.shape[-1]) if kept[1:] else functional.pixel_unshuffle(noise, self.patch)
            x = block(torch.cat([x, kept.pop()], 1), embedding, own)
        x = functional.pixel_shuffle(self.unpatch(x), self.patch)
        x = functional.silu(self.detail(torch.cat([x, noise, condition], 1)))
        return torch.tanh(self.image(x).float())


class Verdict(NamedTuple):
    """What the discriminator says: patch scores (n, 1, h', w'), segmentation logits (n, classes + 1, h, w), features.

    `features` are those of the image alone and of image with condition, for feature matching.
    """

    score: Tensor
    segmentation: Tensor
    features: tuple[Tensor, ...]


class MultiTaskDiscriminator(nn.Module):
    """One encoder of the image with two heads: does the image fit its condition, and which structure is each pixel?

    The encoder and the segmentation head get the image only, so the head must find the structures in the picture; the
    condition joins afterwards, in the adversarial head. With `spectral` the layers that the score depends on are
    normalised (Miyato et al. 2018), as the hinge loss wants it.
    """

    def __init__(
        self,
        classes: int,
        attributes: int,
        channels: tuple[int, ...],
        *,
        images: int = 1,
        patch: int,
        spectral: bool,
    ) -> None:
        super().__init__()
        self.patch = patch
        conditions = condition_channels(classes)
        self.gain = SPECTRAL_GAIN if spectral else 1.0
        limited = nn.utils.parametrizations.spectral_norm if spectral else _unchanged
        self.encode = nn.ModuleList()
        before = images * patch**2
        for number, width in enumerate(channels):
            stride = 1 if number == 0 else 2
            self.encode.append(limited(nn.Conv2d(before, width, 3, stride=stride, padding=1)))
            before = width
        self.condition = limited(nn.Conv2d(patch**2 * conditions, channels[1], 3, stride=2, padding=1))
        self.said = nn.Linear(attributes + classes, channels[1], bias=False)
        self.fit = limited(nn.Conv2d(2 * channels[1], channels[-1], 3, padding=1))
        self.judge = limited(nn.Conv2d(2 * channels[-1], channels[-1], 3, padding=1))
        self.score = limited(nn.Conv2d(channels[-1], 1, 1))
        self.grow = nn.ModuleList(
            nn.Sequential(nn.Conv2d(fine + coarse, fine, 3, padding=1), nn.GroupNorm(_groups(fine), fine), nn.SiLU())
            for fine, coarse in zip(channels[-2::-1], channels[:0:-1], strict=True)
        )
        self.label = nn.Conv2d(channels[0], patch**2 * (classes + 1), 3, padding=1)

    def segment(self, image: Tensor) -> Tensor:
        """(n, classes + 1, h, w) logits, background first, of images (n, images, h, w): nothing else is asked for."""
        return self._label(self._encode(image))

    def forward(self, image: Tensor, condition: Tensor, said: Tensor, drawn: Tensor) -> Verdict:
        features = self._encode(image)
        told = self.said(torch.cat([said, drawn], 1))[:, :, None, None]
        given = self.condition(functional.pixel_unshuffle(condition, self.patch)) + told
        joined = functional.leaky_relu(self.fit(torch.cat([features[1], functional.leaky_relu(given, 0.2)], 1)), 0.2)
        joined = functional.adaptive_avg_pool2d(joined, features[-1].shape[-1])
        joined = functional.leaky_relu(self.judge(torch.cat([features[-1], joined], 1)), 0.2)
        return Verdict(self.gain * self.score(joined).float(), self._label(features), (*features, joined))

    def _encode(self, image: Tensor) -> list[Tensor]:
        """Features of the image at each resolution, finest first."""
        x, features = functional.pixel_unshuffle(image, self.patch), []
        for layer in self.encode:
            x = functional.leaky_relu(layer(x), 0.2)
            features.append(x)
        return features

    def _label(self, features: list[Tensor]) -> Tensor:
        x = features[-1]
        for finer, block in zip(features[-2::-1], self.grow, strict=True):
            x = block(torch.cat([functional.interpolate(x, scale_factor=2, mode="nearest"), finer], 1))
        return functional.pixel_shuffle(self.label(x), self.patch).float()


def _groups(channels: int) -> int:
    return next(count for count in (8, 4, 2, 1) if channels % count == 0)


def _unchanged(layer: nn.Module) -> nn.Module:
    return layer
