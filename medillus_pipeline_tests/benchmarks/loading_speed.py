"""What loading a training batch costs, as a share of the training step that follows it.

    python -m medillus_pipeline_tests.benchmarks.loading_speed [--rounds 20]

A snapshot of synthetic patients is packed at each size in a scratch folder and read through its memory map. Loading
(everything that `Batches` does) and the step of the demo generator (condition, forward, backward, AdamW) are medians of
CPU seconds of one thread, so that other work on the machine counts little. Every augmentation is measured alone on all
samples of a batch, then none, all of them on all samples, and the default shares. At the end wall seconds with and
without a thread that prepares the next batch, where an accelerator computes the step (a wait stands for it): that is
what the thread is for. They need an idle machine to mean much.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import torch
from lightning_fabric import Fabric

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.generation.augmentation_config import AugmentationConfig
from medillus_pipeline.generation.batches import Batch, Batches, ahead
from medillus_pipeline.generation.conditions import TISSUES, conditions
from medillus_pipeline.generation.config import preset
from medillus_pipeline.generation.dataset import Dataset, build_snapshot, load_snapshot
from medillus_pipeline.generation.flow_training import FlowRecipe
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.generation.published import publish_phantoms

SIZES, BATCH, PATIENTS, LEVELS = (64, 256), 8, 12, 24
GOAL = 0.10
"""Greatest share of a step that loading may take."""
DEVICE_MS = (20, 60)
"""Wall milliseconds of a step on an accelerator that are waited for."""
NONE = AugmentationConfig(
    rare_structures=0,
    shift_pixels=0,
    resampled=0,
    mirrored=0,
    gain=0,
    offset=0,
    grain=0,
    partial_masks=0,
    no_mask=0,
    attribute_dropout=0,
    no_attributes=0,
    context_dropout=0,
)
EACH: dict[str, dict[str, object]] = {
    "balance": {"rare_structures": 1},
    "shift": {"shift_pixels": 2},
    "turned, sized, bent": {"resampled": 1},
    "the same, bilinear": {"resampled": 1, "interpolation": "bilinear"},
    "intensity": {"gain": 0.05, "offset": 0.03, "calibrated_too": True},
    "grain": {"grain": 0.01, "calibrated_too": True},
    "mirrored": {"mirrored": 1},
    "partial masks": {"partial_masks": 1},
    "dropouts": {"no_mask": 0.5, "attribute_dropout": 0.5, "no_attributes": 0.5, "context_dropout": 0.5},
}


def snapshot(size: int, folder: Path) -> Dataset:
    """The train split of a snapshot of synthetic torsos."""
    published = publish_phantoms(
        Zone(folder.as_uri()), PATIENTS, shape=(8, size, size), spacing=(30.0, 409.6 / size, 409.6 / size)
    )
    snapshot = build_snapshot(
        published.slices,
        published.masks,
        published.instances,
        published.splits,
        published.clean,
        vocabulary.load(),
        preset("demo").dataset.model_copy(update={"size": size}),
        partitions={},
    )
    return load_snapshot(published.clean, snapshot.path).split("train")


def loading(train: Dataset, config: AugmentationConfig) -> Batches:
    """Batches of the split under that configuration."""
    batches = Batches(train, train.known_attributes, config, batch_size=BATCH, seed=0)
    if config.mirrored == 1:
        # Torsos are never mirrored; the work of it is measured on them all the same.
        same = torch.arange(len(train.classes) + 1, dtype=torch.uint8).numpy()
        batches.exchanged = [same] * len(train)
    return batches


def step_of(train: Dataset) -> Callable[[Batch], object]:
    """A training step of the demo generator, as `training.py` takes it; the prior's maps have its size but no content,
    on which no time depends.
    """
    config = preset("demo").generator
    fabric = Fabric(accelerator="cpu", devices=1, precision=config.precision)
    recipe = FlowRecipe(fabric, train, config, None)
    classes, size = len(train.classes), train.values.shape[-1]
    occupancy, tissue = (torch.zeros(LEVELS, channels, size, size) for channels in (classes, TISSUES))

    def act(batch: Batch) -> object:
        condition = conditions(batch.given, batch.drawn, batch.level, batch.context, occupancy, tissue)
        return recipe.step(batch, condition, 1)

    return act


def measure(size: int, rounds: int) -> None:
    """Prints the tables of one size."""
    with tempfile.TemporaryDirectory() as folder:
        train = snapshot(size, Path(folder))
        default = AugmentationConfig()
        everything = default.model_copy(update={"resampled": 1.0, "mirrored": 1.0, "calibrated_too": True})
        three = replace(train, neighbours=torch.zeros((len(train), 2, size, size), dtype=torch.int16).numpy())
        act, batch = step_of(train), loading(train, default)(0)
        step = _median([lambda: act(batch)] * max(3, rounds // (size // 16)))
        print(f"{size} × {size}, batch of {BATCH}, one thread: a training step takes {1000 * step:.0f} ms of CPU")
        print(f"{'loading with':<28}{'ms a batch':>12}{'share of a step':>18}   (goal: at most {GOAL:.0%})")
        made = {
            "nothing": (train, NONE),
            **{name: (train, NONE.model_copy(update=changes)) for name, changes in EACH.items()},
            "all, on every sample": (train, everything),
            "all, three channels": (three, everything),
            "default shares": (train, default),
        }
        for name, (split, config) in made.items():
            batches = loading(split, config)
            batches(0)
            spent = _median([lambda number=number, drawn=batches: drawn(number) for number in range(rounds)])
            print(f"{name:<28}{1000 * spent:>12.2f}{spent / step:>17.1%}", flush=True)

        batches, steps = loading(train, default), range(4 * rounds)
        for device in DEVICE_MS:
            away = _Away(device / 1000)
            walls = [min(_wall(away, source(batches, steps)) for _ in range(3)) / len(steps) for source in (map, ahead)]
            alone, hidden = (1000 * wall - device for wall in walls)
            told = f"{alone:.1f} ms longer with loading in turn, {hidden:.1f} ms with a thread ahead (best of 3)"
            print(f"a step of {device} ms on a device takes {told}")


class _Away:
    """A step that an accelerator computes: the processor only waits for it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, _: Batch) -> None:
        time.sleep(self.seconds)


def _wall(act: Callable[[Batch], object], batches: Iterable[Batch]) -> float:
    began = time.perf_counter()
    for batch in batches:
        act(batch)
    return time.perf_counter() - began


def _median(acts: list[Callable[[], object]]) -> float:
    spent = []
    for act in acts:
        began = time.process_time()
        act()
        spent.append(time.process_time() - began)
    return statistics.median(spent)


def main() -> None:
    """Measure both sizes, print."""
    parser = argparse.ArgumentParser(description="loading of training batches as a share of a step")
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for size in SIZES:
        measure(size, arguments.rounds)
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
