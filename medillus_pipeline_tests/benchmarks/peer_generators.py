"""Published generators on the same snapshot: MONAI's SPADENet and SPADEDiffusionModelUNet, and a plain U-Net with L1.

Each gets the same condition (one-hot mask, the prior's tissues, the level), the same draw of slices (balanced over
patients, shifted by whole pixels), bfloat16, AdamW or Adam with warm-up and cosine, and averaged weights. Widths are
chosen so that a step costs about as much as one of ours; where a recipe's learning rate is meant for days of training,
it is raised to what a few minutes can use. MONAI and einops come from a folder outside the virtual environment.
"""

import copy
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medillus_pipeline.validation.evaluate import Sample
from medillus_pipeline_tests.benchmarks.quality_scene import QualityScene

BATCH, SHIFT, WARM_UP, DECAY = 8, 2, 30, 0.995
WIDTHS = (32, 64, 96)
NORMALISATION = 32
"""Hidden channels of the layers that turn the mask into scale and shift."""

LATENT = 32
TIMES, SAMPLING_STEPS = 1000, 25
L1_WEIGHT, FEATURE_WEIGHT, DIVERGENCE_WEIGHT = 10.0, 10.0, 0.05


@dataclass(frozen=True)
class Batch:
    """Images (n, 1, h, w) in [-1, 1] and their condition (n, c, h, w)."""

    image: Tensor
    condition: Tensor


def train_peer(name: str, shown: QualityScene, steps: int, *, peers: Path, seed: int, threads: int) -> Sample:
    """Train the peer `name` (see `PEERS`) for that many steps; returns how it samples."""
    if str(peers) not in sys.path:
        sys.path.append(str(peers))
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    return PEERS[name](shown, steps, seed)


def condition_of(shown: QualityScene, maps: np.ndarray, levels: np.ndarray) -> Tensor:
    """(n, channels, h, w): every label one-hot, background too, the prior's tissues at the nearest level, the level."""
    labels = torch.from_numpy(np.asarray(maps).astype(np.int64))
    hot = functional.one_hot(labels, len(shown.dataset.classes) + 1).permute(0, 3, 1, 2).float()
    tissue = np.asarray(shown.prior.tissue, np.float32)
    nearest = np.rint(np.asarray(levels) * (len(tissue) - 1)).astype(int)
    height = torch.as_tensor(np.asarray(levels, np.float32))[:, None, None, None].expand(-1, 1, *labels.shape[1:])
    return torch.cat([hot, torch.from_numpy(tissue[nearest]), height], 1)


def batches(shown: QualityScene, steps: int, seed: int) -> Iterator[Batch]:
    """The batches of a training, balanced over patients."""
    train = shown.dataset.split("train")
    names = np.array(train.patients)
    own = [np.flatnonzero(names == name) for name in np.unique(names)]
    values, labels = np.asarray(train.values), np.asarray(train.labels)
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        rows = [rng.choice(own[rng.integers(len(own))]) for _ in range(BATCH)]
        moves = rng.integers(-SHIFT, SHIFT + 1, (BATCH, 2))
        image = np.stack([np.roll(values[r], move, (0, 1)) for r, move in zip(rows, moves, strict=True)])
        mask = np.stack([np.roll(labels[r], move, (0, 1)) for r, move in zip(rows, moves, strict=True)])
        scaled = torch.from_numpy(shown.dataset.intensity.forward(image))[:, None]
        yield Batch(scaled, condition_of(shown, mask, train.levels[rows]))


def l1_unet(shown: QualityScene, steps: int, seed: int) -> Sample:
    """Regression: one image a mask, the same whatever the seed."""
    inputs = condition_of(shown, np.asarray(shown.dataset.labels[:1]), shown.dataset.levels[:1]).shape[1]
    network = import_module("monai.networks.nets").UNet(
        spatial_dims=2,
        in_channels=inputs,
        out_channels=1,
        channels=(48, 96, 128, 128),
        strides=(2, 2, 2),
        num_res_units=2,
    )
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3)
    average = copy.deepcopy(network)
    for step, batch in enumerate(batches(shown, steps, seed), start=1):
        _set_rate(optimiser, 2e-3, step, steps)
        with torch.autocast("cpu", torch.bfloat16):
            loss = functional.l1_loss(network(batch.condition).float(), batch.image)
        _update(optimiser, loss)
        _follow(average, network, step)
    return _sampler(shown, average, lambda condition, _: average(condition))


def spade_gan(shown: QualityScene, steps: int, seed: int) -> Sample:
    """SPADENet with its encoder of style, two patch discriminators, hinge loss, feature matching, L1 and divergence.

    L1 stands where Park et al. (2019) have a perceptual loss, which needs weights from elsewhere.
    """
    nets = import_module("monai.networks.nets")
    size = shown.dataset.values.shape[-1]
    inputs = condition_of(shown, np.asarray(shown.dataset.labels[:1]), shown.dataset.levels[:1]).shape[1]
    network = nets.SPADENet(
        2, 1, 1, inputs, (size, size), list(WIDTHS), z_dim=LATENT, spade_intermediate_channels=NORMALISATION,
        last_act="tanh",
    )  # fmt: skip
    critics = nn.ModuleList(
        nets.PatchDiscriminator(2, 32, 1 + inputs, num_layers_d=2, norm="INSTANCE") for _ in range(2)
    )
    average = copy.deepcopy(network)
    rates = 1e-3, 1e-3
    made_by = torch.optim.Adam(network.parameters(), rates[0], betas=(0.5, 0.99))
    judged_by = torch.optim.Adam(critics.parameters(), rates[1], betas=(0.5, 0.99))

    def judged(image: Tensor, condition: Tensor) -> list[list[Tensor]]:
        pair = torch.cat([image, condition], 1)
        return [critic(pair if scale == 0 else functional.avg_pool2d(pair, 2)) for scale, critic in enumerate(critics)]

    for step, batch in enumerate(batches(shown, steps, seed), start=1):
        _set_rate(made_by, rates[0], step, steps)
        _set_rate(judged_by, rates[1], step, steps)
        with torch.autocast("cpu", torch.bfloat16):
            made, mean, logvar = network(batch.condition, batch.image)
            real, fake = judged(batch.image, batch.condition), judged(made.detach(), batch.condition)
            loss = torch.stack(
                [
                    functional.relu(1 - r[-1].float()).mean() + functional.relu(1 + f[-1].float()).mean()
                    for r, f in zip(real, fake, strict=True)
                ]
            ).mean()
        _update(judged_by, loss)
        critics.requires_grad_(False)
        with torch.autocast("cpu", torch.bfloat16):
            real, fake = judged(batch.image, batch.condition), judged(made, batch.condition)
            adversarial = torch.stack([-f[-1].float().mean() for f in fake]).mean()
            matching = torch.stack(
                [
                    (a.float() - b.float().detach()).abs().mean()
                    for f, r in zip(fake, real, strict=True)
                    for a, b in zip(f[:-1], r[:-1], strict=True)
                ]
            ).mean()
        mean, logvar = mean.float(), logvar.float()
        divergence = -0.5 * (1 + logvar - mean**2 - logvar.exp()).mean()
        near = functional.l1_loss(made.float(), batch.image)
        _update(
            made_by,
            adversarial + FEATURE_WEIGHT * matching + L1_WEIGHT * near + DIVERGENCE_WEIGHT * divergence,
        )
        critics.requires_grad_(True)
        _follow(average, network, step)
    return _sampler(shown, average, lambda c, random: average.decode(c, torch.randn(len(c), LATENT, generator=random)))


def spade_diffusion(shown: QualityScene, steps: int, seed: int) -> Sample:
    """SPADEDiffusionModelUNet that predicts the noise (Ho et al. 2020); sampled by DDIM in as many steps as ours."""
    schedulers = import_module("monai.networks.schedulers")
    inputs = condition_of(shown, np.asarray(shown.dataset.labels[:1]), shown.dataset.levels[:1]).shape[1]
    network = import_module("monai.networks.nets").SPADEDiffusionModelUNet(
        2, 1, 1, inputs, num_res_blocks=1, channels=WIDTHS, attention_levels=(False, False, True), norm_num_groups=8,
        num_head_channels=32, spade_intermediate_channels=NORMALISATION,
    )  # fmt: skip
    noising = schedulers.DDPMScheduler(TIMES, schedule="scaled_linear_beta")
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.0)
    average = copy.deepcopy(network)
    random = torch.Generator().manual_seed(seed)
    for step, batch in enumerate(batches(shown, steps, seed), start=1):
        _set_rate(optimiser, 1e-3, step, steps)
        noise = torch.randn(batch.image.shape, generator=random)
        times = torch.randint(TIMES, (len(noise),), generator=random)
        noisy = noising.add_noise(batch.image, noise, times)
        with torch.autocast("cpu", torch.bfloat16):
            predicted = network(noisy, times, batch.condition)
        _update(optimiser, functional.mse_loss(predicted.float(), noise))
        _follow(average, network, step)
    sampling = schedulers.DDIMScheduler(TIMES, schedule="scaled_linear_beta")
    sampling.set_timesteps(SAMPLING_STEPS)

    def draw(condition: Tensor, random: torch.Generator) -> Tensor:
        image = torch.randn((len(condition), 1, *condition.shape[2:]), generator=random)
        for moment in sampling.timesteps:
            predicted = average(image, torch.full((len(image),), int(moment)), condition)
            image, _ = sampling.step(predicted.float(), int(moment), image)
        return image

    return _sampler(shown, average, draw)


PEERS: dict[str, Callable[[QualityScene, int, int], Sample]] = {
    "l1-unet": l1_unet,
    "spade-gan": spade_gan,
    "spade-diffusion": spade_diffusion,
}


def _sampler(shown: QualityScene, network: nn.Module, draw: Callable[[Tensor, torch.Generator], Tensor]) -> Sample:
    network.eval()

    @torch.inference_mode()
    def sample(maps: np.ndarray, levels: np.ndarray, seed: int) -> np.ndarray:
        random = torch.Generator().manual_seed(seed)
        image = draw(condition_of(shown, maps, levels), random)
        return shown.dataset.intensity.inverse(image[:, 0].float().clamp(-1, 1).numpy())

    return sample


def _set_rate(optimiser: torch.optim.Optimizer, rate: float, step: int, steps: int) -> None:
    """Linear warm-up, then a cosine down to a tenth."""
    share = min(step / WARM_UP, 1.0) * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / steps)))
    for group in optimiser.param_groups:
        group["lr"] = rate * share


def _update(optimiser: Any, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], 1.0)
    optimiser.step()


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, step: int) -> None:
    for mean, weight in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(weight, 1 - min(DECAY, step / (step + 10)))
    for mean, state in zip(average.buffers(), network.buffers(), strict=True):
        mean.copy_(state)
