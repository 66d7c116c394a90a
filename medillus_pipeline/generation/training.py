"""Training of the generator under Lightning Fabric, readable top to bottom: data, network, step, log, save.

Every random draw of step k comes from a generator seeded by (seed, k), so a run resumed from its last checkpoint does
bit for bit what an uninterrupted one does on the same CPU; no random state has to be stored.
"""

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional

from medillus_pipeline.errors import NotEnoughDataError, PermanentError
from medillus_pipeline.generation import checkpoints
from medillus_pipeline.generation.compute import cpu_threads
from medillus_pipeline.generation.config import GeneratorConfig
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.networks import LEAST_REST, FlowUNet, conditions, prior_channels
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.generation.sampling import Generator, build_network
from medillus_pipeline.generation.transfer import transferred


class DivergedError(PermanentError):
    """The loss is no longer a number. The last good checkpoint is kept."""


@dataclass
class TrainingState:
    """What a checkpoint holds: network, moving average, optimiser, and the number of steps done."""

    network: FlowUNet
    average: FlowUNet
    optimiser: torch.optim.AdamW
    step: int = 0


def train_generator(
    dataset: Dataset,
    prior: Prior,
    config: GeneratorConfig,
    *,
    seed: int = 0,
    start: bytes | None = None,
    checkpoint_dir: Path | None = None,
    log: Callable[[int, dict[str, float]], None] | None = None,
    preview: Callable[[int, Generator], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Generator:
    """Train on the dataset's train split and return the generator with averaged weights.

    `start` is a generator's weights file to begin from instead of fresh weights (see `transfer.py`).
    With `checkpoint_dir` (a folder of this machine) the run saves its state every `checkpoint_every` steps and resumes
    from there, as long as dataset, prior, configuration, seed and start are the same. `log(step, figures)` gets loss,
    learning rate, gradient norm and images per second; `preview(step, generator)` is called every `preview_every`
    steps.

    Raises NotEnoughDataError without training slices or classes, DivergedError when the loss becomes NaN or infinite,
    InputError for a start of which nothing fits.
    """
    train = dataset.split("train")
    if not len(train) or not dataset.classes:
        raise NotEnoughDataError("no labelled slice belongs to a training patient, so no generator can be trained")
    fabric = Fabric(accelerator=config.accelerator, devices=config.devices, precision=config.precision)
    fabric.launch()
    images = torch.from_numpy(dataset.intensity.forward(np.asarray(train.values)))[:, None]
    labels = torch.from_numpy(np.array(train.labels))
    levels = torch.from_numpy(train.levels)
    tissue = torch.from_numpy(prior.tissue).to(fabric.device)
    draw = _Draw(train.patients, config, seed)

    with cpu_threads(config.threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(len(dataset.classes), config)
        if start is not None:
            network.load_state_dict(transferred(network, dataset.classes, config, start).state)
        average = copy.deepcopy(network).requires_grad_(False).eval().to(fabric.device)
        optimiser = torch.optim.AdamW(
            network.parameters(), config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
        )
        state = TrainingState(network, average, optimiser)
        folder = checkpoint_dir and checkpoint_dir / _identity(dataset, prior, config, seed, start)
        module, stepper = fabric.setup(network, optimiser)
        if folder:
            resume(state, folder)

        def generator() -> Generator:
            weights = copy.deepcopy(average).cpu()
            return Generator(
                network=weights,
                prior=prior,
                classes=dataset.classes,
                modality=dataset.manifest["config"]["modality"],
                intensity=dataset.intensity,
                size=int(images.shape[-1]),
                config=config,
                seed=seed,
                dataset_fingerprint=dataset.fingerprint,
            )

        began, images_before = time.perf_counter(), state.step
        while state.step < config.steps:
            step = state.step + 1
            batch = draw(step, images, labels, levels)
            image, label, level, noise, moment = (fabric.to_device(part) for part in batch)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, config)
            at = moment[:, None, None, None]
            condition = conditions(label, len(dataset.classes), prior_channels(tissue, level))
            noisy = at * image + (1 - at) * noise
            velocity = module(noisy, condition, moment)
            loss = functional.mse_loss(velocity, (image - noisy) / (1 - at).clamp(min=LEAST_REST))
            stepper.zero_grad()
            fabric.backward(loss)
            clipped = fabric.clip_gradients(module, stepper, max_norm=config.gradient_clip, error_if_nonfinite=False)
            norm = math.nan if clipped is None else clipped.item()
            if not math.isfinite(loss.item()) or not math.isfinite(norm):
                raise DivergedError(
                    f"training diverged at step {step} of {config.steps}: the loss is {loss.item()}; the checkpoint of "
                    f"step {checkpoints.last_step(folder)} is kept. Lower learning_rate (now {config.learning_rate}) "
                    "or use precision 32-true, then materialize again"
                )
            stepper.step()
            _follow(average, network, min(config.ema_decay, step / (step + 10)))
            state.step = step

            if log is not None and (step % config.log_every == 0 or step == config.steps):
                seconds = max(time.perf_counter() - began, 1e-9)
                log(
                    step,
                    {
                        "loss": loss.item(),
                        "learning_rate": learning_rate(step, config),
                        "gradient_norm": norm,
                        "images_per_second": (step - images_before) * config.batch_size / seconds,
                    },
                )
            if folder and fabric.is_global_zero and (step % config.checkpoint_every == 0 or step == config.steps):
                save(state, folder)
            if preview is not None and (step % config.preview_every == 0 or step == config.steps):
                preview(step, generator())
            if progress is not None:
                progress(step, config.steps)
        return generator()


class _Draw:
    """The batch of a step: slices balanced over patients, shifted by whole pixels (no interpolation, no blur)."""

    def __init__(self, patients: list[str], config: GeneratorConfig, seed: int) -> None:
        names = sorted(set(patients))
        self.own = [torch.tensor([i for i, patient in enumerate(patients) if patient == name]) for name in names]
        self.config = config
        self.seed = seed

    def __call__(self, step: int, images: Tensor, labels: Tensor, levels: Tensor) -> tuple[Tensor, ...]:
        """Image, labels, level, noise and flow time of the batch."""
        config = self.config
        random = torch.Generator().manual_seed(int(np.random.SeedSequence([self.seed, step]).generate_state(1)[0]))
        who = torch.randint(len(self.own), (config.batch_size,), generator=random).tolist()
        where = torch.rand(config.batch_size, generator=random).tolist()
        chosen = torch.stack([self.own[w][int(share * len(self.own[w]))] for w, share in zip(who, where, strict=True)])
        reach = config.shift_pixels
        moves = torch.randint(-reach, reach + 1, (config.batch_size, 2), generator=random).tolist()
        image = torch.stack([_shifted(images[i], move, -1.0) for i, move in zip(chosen, moves, strict=True)])
        label = torch.stack([_shifted(labels[i], move, 0) for i, move in zip(chosen, moves, strict=True)])
        noise = torch.randn(image.shape, generator=random)
        normal = torch.randn(config.batch_size, generator=random)
        return image, label, levels[chosen], noise, torch.sigmoid(config.time_mean + config.time_deviation * normal)


def _shifted(array: Tensor, move: list[int], fill: float) -> Tensor:
    """The last two axes moved by whole pixels; what enters is `fill`."""
    down, right = move
    height, width = array.shape[-2:]
    moved = torch.full_like(array, fill)
    moved[..., max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = array[
        ..., max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
    ]
    return moved


def learning_rate(step: int, config: GeneratorConfig) -> float:
    """Linear warm-up, then a cosine down to `final_learning_rate` times the rate. Steps count from 1."""
    if step <= config.warmup_steps:
        return config.learning_rate * step / config.warmup_steps
    share = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    low = config.final_learning_rate
    return config.learning_rate * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * share)))


@torch.no_grad()
def _follow(average: FlowUNet, network: FlowUNet, decay: float) -> None:
    for mean, weight in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(weight, 1 - decay)


def save(state: TrainingState, folder: Path) -> Path:
    """Write the state as one safetensors file, complete or not at all; older ones but the last two are removed."""
    tensors = {f"network.{name}": tensor for name, tensor in state.network.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in state.average.state_dict().items()}
    tensors |= {f"optimiser.{name}": t for name, t in checkpoints.optimiser_tensors(state.optimiser).items()}
    return checkpoints.save(tensors, state.step, folder)


def resume(state: TrainingState, folder: Path) -> int:
    """Load the newest readable checkpoint into `state`; returns the steps done, 0 when there is none."""
    found = checkpoints.newest(folder)
    if found is None:
        return 0
    tensors, state.step = found
    state.network.load_state_dict(checkpoints.part(tensors, "network."))
    state.average.load_state_dict(checkpoints.part(tensors, "average."))
    checkpoints.load_optimiser(state.optimiser, checkpoints.part(tensors, "optimiser."))
    return state.step


def _identity(dataset: Dataset, prior: Prior, config: GeneratorConfig, seed: int, start: bytes | None) -> str:
    """Name of the folder whose checkpoints continue this very run. Threads and previews change nothing."""
    free = {"threads", "checkpoint_every", "log_every", "preview_every", "preview_steps", "release_steps"}
    described = [
        dataset.fingerprint,
        hashlib.sha256(prior.to_bytes()).hexdigest(),
        config.model_dump(mode="json", exclude=free),
        seed,
        torch.__version__,
        *([] if start is None else [hashlib.sha256(start).hexdigest()]),
    ]
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]
