"""Training of the `gan` family under Lightning Fabric, readable top to bottom: data, networks, two steps, log, save.

Every random draw of step k comes from a generator seeded by (seed, k), as in `training.py`, so that a resumed run does
bit for bit what an uninterrupted one does on the same CPU. The losses are in `gan_losses.py`, the batch of a step in
`gan_batches.py`.
"""

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.generation import checkpoints, gan_losses
from medillus_pipeline.generation.compute import cpu_threads
from medillus_pipeline.generation.config import GanConfig
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.gan_batches import Draw
from medillus_pipeline.generation.gan_networks import AnatomicalGenerator
from medillus_pipeline.generation.gan_perceptual import feature_network
from medillus_pipeline.generation.gan_sampling import GanGenerator
from medillus_pipeline.generation.gan_state import GanState, fresh_state
from medillus_pipeline.generation.networks import conditions, prior_channels
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.generation.training import DivergedError


def train_gan(
    dataset: Dataset,
    prior: Prior,
    config: GanConfig,
    *,
    seed: int = 0,
    groups: Sequence[str | None] | None = None,
    perceptual_weights: Path | None = None,
    checkpoint_dir: Path | None = None,
    log: Callable[[int, dict[str, float]], None] | None = None,
    preview: Callable[[int, GanGenerator], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> GanGenerator:
    """Train on the dataset's train split and return the generator with averaged weights.

    `groups` names the study group of each of the dataset's slices (phase, pathology …; None: not known). With
    `checkpoint_dir` (a folder of this machine) the run saves its state every `checkpoint_every` steps and resumes from
    there, as long as dataset, prior, groups, configuration and seed are the same. `log(step, figures)` gets each loss
    before its weight, gradient norms and images per second; `preview(step, generator)` comes every `preview_every`
    steps.

    `perceptual_weights` is the file of the perceptual loss's feature network (see `gan_perceptual.py`).

    Raises NotEnoughDataError without training slices or classes, FeatureWeightsError for a weights file that is not the
    one of the configuration, DivergedError when a loss becomes NaN or infinite.
    """
    train = dataset.split("train")
    if not len(train) or not dataset.classes:
        raise NotEnoughDataError("no labelled slice belongs to a training patient, so no generator can be trained")
    if groups is not None and len(groups) != len(dataset):
        raise ValueError(f"{len(groups)} study groups for {len(dataset)} slices: give one (or None) for each")
    told = [
        name for name, row in zip(groups or [None] * len(dataset), dataset.rows, strict=True) if row["split"] == "train"
    ]
    known = tuple(sorted({name for name in told if name is not None}))
    classes = len(dataset.classes)
    fabric = Fabric(accelerator=config.accelerator, devices=config.devices, precision=config.precision)
    fabric.launch()
    tissue = torch.from_numpy(prior.tissue).to(fabric.device)
    draw = Draw(
        torch.from_numpy(dataset.intensity.forward(np.asarray(train.values)))[:, None],
        torch.from_numpy(np.array(train.labels)),
        torch.from_numpy(train.levels),
        torch.tensor([0 if name is None else 1 + known.index(name) for name in told], dtype=torch.long),
        train.patients,
        config,
        seed,
    )

    with cpu_threads(config.threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = fresh_state(classes, len(known), config)
        state.average.to(fabric.device)
        perceive = feature_network(perceptual_weights, config)
        perceive = perceive and perceive.to(fabric.device)
        generator, g_optimiser = fabric.setup(state.generator, state.generator_optimiser)
        discriminator, d_optimiser = fabric.setup(state.discriminator, state.discriminator_optimiser)
        folder = checkpoint_dir and checkpoint_dir / _identity(dataset, prior, told, config, seed)
        if folder:
            state.resume(folder)

        def released() -> GanGenerator:
            return GanGenerator(
                network=copy.deepcopy(state.average).cpu(),
                prior=prior,
                classes=dataset.classes,
                groups=known,
                modality=dataset.manifest["config"]["modality"],
                intensity=dataset.intensity,
                size=int(dataset.values.shape[-1]),
                config=config,
                seed=seed,
                dataset_fingerprint=dataset.fingerprint,
            )

        began, steps_before = time.perf_counter(), state.step
        while state.step < config.steps:
            step = state.step + 1
            batch = draw(step)
            image, label, given, target, level, group, noise, share = (
                fabric.to_device(part) for part in vars(batch).values()
            )
            condition = conditions(given, classes, prior_channels(tissue, level))
            n, p = len(image), config.samples
            samples = generator(condition.repeat(p, 1, 1, 1), noise, group.repeat(p))
            _set_rates(state, step, config)

            # Discriminator: real against one sample of each mask; its segmentation head learns from real images only.
            real, made = discriminator(image, condition, group), discriminator(samples[:n].detach(), condition, group)
            d_losses = {
                "d_adversarial": gan_losses.discriminator_loss(config.adversarial, real.score, made.score),
                "d_segmentation": gan_losses.segmentation_loss(real.segmentation, label),
            }
            d_loss = d_losses["d_adversarial"] + d_losses["d_segmentation"]
            if config.adversarial == "wgan-gp":
                with fabric.autocast():  # the wrapped module allows one backward pass only, the penalty needs two
                    d_losses["d_penalty"] = gan_losses.gradient_penalty(
                        lambda x, c=condition, g=group: state.discriminator(x, c, g).score, image, samples[:n], share
                    )
                d_loss = d_loss + config.gradient_penalty * d_losses["d_penalty"]
            d_optimiser.zero_grad()
            fabric.backward(d_loss)
            d_norm = _clipped(fabric, discriminator, d_optimiser, config)
            _refuse_divergence({**d_losses, "d_gradient_norm": d_norm}, step, folder, config)
            d_optimiser.step()

            # Generator: against the discriminator that has just learned. Its weights are frozen, not its path.
            state.discriminator.requires_grad_(False)
            with torch.no_grad():
                real = discriminator(image, condition, group)
            made = discriminator(samples, condition.repeat(p, 1, 1, 1), group.repeat(p))
            wanted = target.repeat(p, 1, 1)
            g_losses = {
                "adversarial": gan_losses.generator_loss(made.score),
                "segmentation": gan_losses.segmentation_loss(made.segmentation, wanted),
                "anatomy": gan_losses.anatomical_loss(made.segmentation, wanted),
                "l1": gan_losses.pyramid_loss(
                    image, samples.unflatten(0, (p, n)), config.diversity, config.l1_levels, config.diversity_level
                ),
                "features": gan_losses.feature_loss(real.features, made.features),
            }
            if perceive is not None:
                g_losses["perceptual"] = gan_losses.feature_loss(perceive(image), perceive(samples))
            g_loss = torch.stack(
                [weight * g_losses[name] for name, weight in loss_weights(step, config).items() if weight]
            ).sum()
            g_optimiser.zero_grad()
            fabric.backward(g_loss)
            state.discriminator.requires_grad_(True)
            g_norm = _clipped(fabric, generator, g_optimiser, config)
            _refuse_divergence({**g_losses, "gradient_norm": g_norm}, step, folder, config)
            g_optimiser.step()
            _follow(state.average, state.generator, min(config.ema_decay, step / (step + 10)))
            state.step = step

            if log is not None and (step % config.log_every == 0 or step == config.steps):
                seconds = max(time.perf_counter() - began, 1e-9)
                figures = {name: value.item() for name, value in {**g_losses, **d_losses}.items()}
                figures |= {"loss": g_loss.item(), "gradient_norm": g_norm.item(), "d_gradient_norm": d_norm.item()}
                log(step, figures | {"images_per_second": (step - steps_before) * n / seconds})
            if folder and fabric.is_global_zero and (step % config.checkpoint_every == 0 or step == config.steps):
                state.save(folder)
            if preview is not None and (step % config.preview_every == 0 or step == config.steps):
                preview(step, released())
            if progress is not None:
                progress(step, config.steps)
        return released()


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


def _set_rates(state: GanState, step: int, config: GanConfig) -> None:
    """Both learning rates follow a cosine down to `final_learning_rate` times themselves."""
    low = config.final_learning_rate
    share = low + (1 - low) * 0.5 * (1 + math.cos(math.pi * step / config.steps))
    for optimiser, rate in (
        (state.generator_optimiser, config.learning_rate),
        (state.discriminator_optimiser, config.discriminator_learning_rate),
    ):
        for own in optimiser.param_groups:
            own["lr"] = rate * share


def _clipped(fabric: Fabric, module: Any, optimiser: Any, config: GanConfig) -> Tensor:
    """The gradient's norm before it was cut to `gradient_clip`."""
    norm = fabric.clip_gradients(module, optimiser, max_norm=config.gradient_clip, error_if_nonfinite=False)
    return torch.tensor(math.nan) if norm is None else norm


def _refuse_divergence(figures: dict[str, Tensor], step: int, folder: Path | None, config: GanConfig) -> None:
    broken = [name for name, value in figures.items() if not math.isfinite(value.item())]
    if broken:
        raise DivergedError(
            f"training diverged at step {step} of {config.steps}: no number any more: {', '.join(broken)}; the "
            f"checkpoint of step {checkpoints.last_step(folder)} is kept. Lower learning_rate (now "
            f"{config.learning_rate}) and discriminator_learning_rate (now {config.discriminator_learning_rate}) or "
            "use precision 32-true, then materialize again"
        )


@torch.no_grad()
def _follow(average: AnatomicalGenerator, network: AnatomicalGenerator, decay: float) -> None:
    for mean, weight in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(weight, 1 - decay)


def _identity(dataset: Dataset, prior: Prior, groups: Sequence[str | None], config: GanConfig, seed: int) -> str:
    """Name of the folder whose checkpoints continue this very run. Threads and previews change nothing."""
    free = {"threads", "checkpoint_every", "log_every", "preview_every"}
    described = [
        "gan",
        dataset.fingerprint,
        hashlib.sha256(prior.to_bytes()).hexdigest(),
        list(groups),
        config.model_dump(mode="json", exclude=free),
        seed,
        torch.__version__,
    ]
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]
