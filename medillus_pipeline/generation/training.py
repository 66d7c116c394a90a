"""Training of a generator of either family under Lightning Fabric, readable top to bottom: data, steps, log, save.

Every random draw of step k comes from generators seeded by (seed, k, place in the batch), so a run resumed from its
last checkpoint does bit for bit what an uninterrupted one does on the same CPU, and several processes that share a
batch draw what one would; no random state has to be stored. What a step is differs by family: `flow_training.py` and
`gan_training.py`. Several processes are started by torchrun (`train_process.py`), not here.
"""

import copy
import hashlib
import json
import math
import os
import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from medillus_pipeline.errors import ConfigurationError, NotEnoughDataError, PermanentError
from medillus_pipeline.generation import checkpoints
from medillus_pipeline.generation.batches import Batch, Batches, ahead
from medillus_pipeline.generation.compute import cpu_threads
from medillus_pipeline.generation.conditions import conditions
from medillus_pipeline.generation.config import GanConfig, GeneratorConfig
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.families import Network
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.generation.sampling import Generator

FREE = {"threads", "checkpoint_every", "log_every", "preview_every", "preview_steps", "release_steps"}
"""Settings under which a run goes on from its checkpoints. Threads change the last bits of sums, and nothing else."""

LOADERS = 4
"""Threads that prepare batches for a GPU: at 256² one prepares fewer images a second than it trains on."""


class DivergedError(PermanentError):
    """A loss is no longer a number. The last good checkpoint is kept."""


class NotFinite(Exception):
    """What a recipe raises in place of a step whose loss or gradient is no number; the text names it."""


class Recipe(Protocol):
    """What one family does in a step. `average` are the weights that are released."""

    average: Network

    def step(self, batch: Batch, condition: Tensor, number: int) -> Mapping[str, Tensor | float]:
        """One step, counted from 1, on this process's share of the batch; its figures. Raises NotFinite where a
        loss or gradient is no number; no checkpoint is written of such a step, since a gan may have moved its
        discriminator by then.
        """
        ...

    def tensors(self) -> dict[str, Tensor]:
        """All that a checkpoint must hold."""
        ...

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        ...


def train_generator(
    dataset: Dataset,
    prior: Prior,
    config: GeneratorConfig | GanConfig,
    *,
    seed: int = 0,
    start: bytes | None = None,
    perceptual_weights: Path | None = None,
    checkpoint_dir: Path | None = None,
    log: Callable[[int, dict[str, float]], None] | None = None,
    preview: Callable[[int, Generator], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Generator:
    """Train the family of `config` on the dataset's train split; the generator with averaged weights.

    `start` is a generator's weights file to begin from instead of fresh weights (see `transfer.py`),
    `perceptual_weights` the file of a gan's perceptual loss (see `gan_perceptual.py`). With `checkpoint_dir` (a folder
    of this machine) the run saves its state every `checkpoint_every` steps and resumes from there, as long as dataset,
    prior, configuration, seed and start are the same. `log(step, figures)` gets losses, gradient norms, images per
    second and peak memory; `preview(step, generator)` is called every `preview_every` steps. Under torchrun each of
    `devices` × `nodes` processes works on its share of every batch; the first one alone saves, logs and previews, and
    the losses that it logs are those of the whole batch. All of them need the same `checkpoint_dir`.

    Raises NotEnoughDataError without training slices or classes, DivergedError when a loss becomes NaN or infinite,
    InputError for a start of which nothing fits, FeatureWeightsError for perceptual weights that are not those of the
    configuration, ConfigurationError when the batch cannot be shared equally, when other processes run than the
    configuration says, and when they see different checkpoints.
    """
    train = dataset.split("train")
    if not len(train) or not dataset.classes:
        raise NotEnoughDataError("no labelled slice belongs to a training patient, so no generator can be trained")
    if prior.classes != dataset.classes or prior.tissue.shape[-1] != dataset.values.shape[-1]:
        raise ConfigurationError(
            "the prior is of other classes, or another size, than the dataset: materialize anatomical_prior again"
        )
    _require_processes(config)
    fabric = Fabric(
        accelerator=config.accelerator, devices=config.devices, num_nodes=config.nodes, precision=config.precision
    )
    fabric.launch()
    known = dataset.known_attributes
    batches = Batches(
        train,
        known,
        config.augmentation,
        batch_size=config.batch_size,
        seed=seed,
        rank=fabric.global_rank,
        world=fabric.world_size,
        noises=config.samples if isinstance(config, GanConfig) else 1,
    )
    occupancy = torch.from_numpy(prior.occupancy).to(fabric.device)
    tissue = torch.from_numpy(prior.tissue).to(fabric.device)
    with cpu_threads(config.threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        recipe = _recipe(fabric, dataset, config, start, perceptual_weights)
        folder = checkpoint_dir and checkpoint_dir / _identity(dataset, prior, config, seed, start)
        done = 0
        if folder and (found := checkpoints.newest(folder)) is not None:
            tensors, done = found
            recipe.load(tensors)
        _require_same(fabric, done)

        def generator() -> Generator:
            return Generator(
                network=copy.deepcopy(recipe.average).cpu().eval(),
                family=config.family,
                prior=prior,
                classes=dataset.classes,
                attributes=known,
                modalities=dataset.modalities,
                intensity=dataset.intensity,
                size=int(dataset.values.shape[-1]),
                images=1 if dataset.neighbours is None else 3,
                config=config,
                seed=seed,
                dataset_fingerprint=dataset.fingerprint,
            )

        began, before = time.perf_counter(), done
        steps = range(done + 1, config.steps + 1)
        made = map(batches, steps) if fabric.device.type == "cpu" else ahead(batches, steps, LOADERS)
        for step, prepared in zip(steps, made, strict=True):
            batch = prepared.to(fabric.device)
            condition = conditions(batch.given, batch.drawn, batch.level, batch.context, occupancy, tissue)
            try:
                figures = recipe.step(batch, condition, step)
            except NotFinite as broken:
                raise DivergedError(
                    f"training diverged at step {step} of {config.steps}: no number any more: {broken}; the checkpoint "
                    f"of step {checkpoints.last_step(folder)} is kept. Lower the learning rate (now "
                    f"{config.learning_rate}) or use precision 32-true, then materialize again"
                ) from None
            last = step == config.steps
            if log is not None and fabric.is_global_zero and (step % config.log_every == 0 or last):
                seconds = max(time.perf_counter() - began, 1e-9)
                told = {name: float(value) for name, value in figures.items()}
                told["images_per_second"] = (step - before) * config.batch_size / seconds
                log(step, told | {"peak_memory_mb": _peak_memory(fabric.device)})
            if folder and fabric.is_global_zero and (step % config.checkpoint_every == 0 or last):
                checkpoints.save(recipe.tensors(), step, folder)
            if preview is not None and fabric.is_global_zero and (step % config.preview_every == 0 or last):
                preview(step, generator())
            if progress is not None and fabric.is_global_zero:
                progress(step, config.steps)
        fabric.barrier()
        return generator()


def total(fabric: Fabric, own: Tensor) -> Tensor:
    """The sum over all processes of a tensor of sums over their own samples.

    Its gradient is `world` times that of the own sum: DDP takes the mean of the gradients of `world` processes, and
    that of their sum is wanted.
    """
    if fabric.world_size == 1:
        return own
    everyone = fabric.all_reduce(own.detach().clone(), reduce_op="sum")
    assert isinstance(everyone, Tensor)
    return everyone + fabric.world_size * (own - own.detach()) if own.requires_grad else everyone


def finite(fabric: Fabric, figures: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The figures of the whole batch: their means over the processes. Raises NotFinite, in every process alike, when
    one of them is no number in any.
    """
    names, own = list(figures), torch.stack([value.detach().float().to(fabric.device) for value in figures.values()])
    everyone = fabric.all_reduce(own, reduce_op="mean")
    assert isinstance(everyone, Tensor)
    if broken := [name for name, value in zip(names, everyone.tolist(), strict=True) if not math.isfinite(value)]:
        raise NotFinite(", ".join(broken))
    return dict(zip(names, everyone, strict=True))


def _require_processes(config: GeneratorConfig | GanConfig) -> None:
    """Refuse other processes than the configuration says: each would train a model of its own."""
    wanted = config.devices * config.nodes
    running = int(os.environ["WORLD_SIZE"]) if torch.distributed.is_torchelastic_launched() else 1
    if running != wanted:
        raise ConfigurationError(
            f"the configuration asks for {config.devices} processes on each of {config.nodes} machines, and {running} "
            "run in all: start as many by torchrun, as generator_checkpoint does"
        )
    if config.batch_size % wanted:
        raise ConfigurationError(
            f"a batch of {config.batch_size} cannot be shared equally by {wanted} processes: set batch_size to a "
            f"multiple of {wanted}"
        )


def _require_same(fabric: Fabric, done: int) -> None:
    """Refuse to go on from different checkpoints."""
    most = fabric.all_reduce(torch.tensor(float(done), device=fabric.device), reduce_op="max")
    least = fabric.all_reduce(torch.tensor(float(done), device=fabric.device), reduce_op="min")
    if most != least:
        raise ConfigurationError(
            "the processes do not see the same checkpoints: MEDILLUS_HOME must be a folder that all machines share"
        )


def _recipe(
    fabric: Fabric,
    dataset: Dataset,
    config: GeneratorConfig | GanConfig,
    start: bytes | None,
    perceptual_weights: Path | None,
) -> Recipe:
    if isinstance(config, GeneratorConfig):
        from medillus_pipeline.generation.flow_training import FlowRecipe

        return FlowRecipe(fabric, dataset, config, start)
    from medillus_pipeline.generation.gan_training import GanRecipe

    return GanRecipe(fabric, dataset, config, start, perceptual_weights)


def cosine(share: float, low: float) -> float:
    """1 at share 0, `low` at share 1, and half a cosine between."""
    return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * share))


@torch.no_grad()
def follow(average: torch.nn.Module, network: torch.nn.Module, decay: float, step: int) -> None:
    """Move the average towards the network; the first steps count more, or the start would linger."""
    move = get_ema_multi_avg_fn(min(decay, step / (step + 10)))
    move(list(average.parameters()), list(network.parameters()), step)


def _peak_memory(device: torch.device) -> float:
    """MB: of the device where it is a GPU, of this process otherwise."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def _identity(
    dataset: Dataset, prior: Prior, config: GeneratorConfig | GanConfig, seed: int, start: bytes | None
) -> str:
    """Name of the folder whose checkpoints continue this very run. Previews change nothing, threads the last bits."""
    described = [
        config.family,
        dataset.fingerprint,
        hashlib.sha256(prior.to_bytes()).hexdigest(),
        config.model_dump(mode="json", exclude=FREE),
        seed,
        torch.__version__,
        *([] if start is None else [hashlib.sha256(start).hexdigest()]),
    ]
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]
