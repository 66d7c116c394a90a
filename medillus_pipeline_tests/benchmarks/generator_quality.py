"""One table of what generators are worth on patients that they never saw, each trained within the same CPU seconds.

    python -m medillus_pipeline_tests.benchmarks.generator_quality --work FOLDER --models flow gan [--budget 180]

The folder keeps snapshot, judge and students of real images, so that a second run trains the named models only
(`quality_scene.py`). Training is measured in CPU seconds of this process, one thread unless told otherwise; the number
of steps comes from short runs that are not counted. Every figure has its bootstrap 95% interval over patients
(FID: the range over ways to halve the patients). `--more` measures on further synthetic patients too, `--data openkbp
--source FOLDER` on research volumes of the head and neck, `--peers FOLDER` (what `pip install --no-deps --target` put
monai and einops in) adds MONAI's networks and a plain U-Net with L1 (`peer_generators.py`).
"""

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.generation.config import preset
from medillus_pipeline.generation.sampling import Generator
from medillus_pipeline.generation.training import train_generator
from medillus_pipeline.validation.controls import label_statistics
from medillus_pipeline.validation.counterfactual import CounterfactualConfig, counterfactual
from medillus_pipeline.validation.evaluate import EvaluationConfig, Sample, evaluate
from medillus_pipeline.validation.figures import figures_json
from medillus_pipeline.validation.synthetic_training import SyntheticTrainingConfig, compared, students
from medillus_pipeline_tests.benchmarks.peer_generators import PEERS, train_peer
from medillus_pipeline_tests.benchmarks.quality_scene import QualityScene, scene

SHOWN = {
    "dice_recovery": ("recovery", 3, "≥ 0.95"),
    "tstr_ratio": ("TSTR ratio", 3, "≥ 0.97"),
    "diversity": ("diversity", 2, "0.7–1.2"),
    "fid_ratio": ("FID ÷ floor", 2, "≤ 10"),
    "counterfactual_iou": ("counterfactual IoU", 3, "≥ 0.7"),
    "counterfactual_raw_iou": ("  not normalised", 3, ""),
    "organ_hu_error": ("organ HU error", 1, ""),
    "kid": ("KID", 4, ""),
    "kid_floor": ("KID floor", 4, ""),
    "organ_hu_sd_ratio": ("organ HU sd ratio", 2, ""),
    "sharpness_ratio": ("sharpness", 2, ""),
    "grain_ratio": ("grain", 2, ""),
    "mae": ("MAE, HU", 1, ""),
    "judge_dice_generated": ("judge Dice", 3, ""),
    "judge_dice_real": ("judge Dice, real", 3, ""),
}
"""Figure → its line in the table: name, digits, the goal."""

PILOT_STEPS = (8, 32)
MARGIN = 0.97
"""Share of the budget that is planned, since a step's time varies with the load of the machine."""

SAMPLE_BATCH = 32


@dataclass(frozen=True)
class Trained:
    """A model by name: how it samples, the CPU seconds and steps of its training (NaN and 0 where not trained here)."""

    name: str
    sample: Sample
    seconds: float
    steps: int


def measured(
    sample: Sample, shown: QualityScene, *, seed: int = 7, more: bool = False, quick: bool = False, tstr: bool = True
) -> dict[str, float]:
    """Every figure of a generator on the scene's validation patients, train-on-synthetic among them.

    `sample` maps (class maps (n, h, w), levels (n,), seed) to images (n, h, w) in HU. `quick` takes one student and 80
    slices instead of three and all. `sampling_seconds` is CPU seconds an image.
    """
    dataset, train, held_out = shown.dataset, shown.dataset.split("train"), shown.held_out(more=more)
    words = vocabulary.load()
    config = EvaluationConfig(slices=80 if quick else 2000, diversity_masks=12 if quick else 40)
    figures = dict(
        evaluate(
            np.asarray(held_out.values),
            np.asarray(held_out.labels),
            held_out.patients,
            held_out.levels.tolist(),
            [words.by_id(label) for label in dataset.classes],
            sample=sample,
            judge=shown.judge,
            texture=label_statistics(train.values, train.labels, len(dataset.classes)),
            seed=seed,
            config=config,
        ).figures
    )
    figures |= counterfactual(
        np.asarray(held_out.values),
        np.asarray(held_out.labels),
        held_out.patients,
        held_out.levels,
        sample=sample,
        judge=shown.judge,
        seed=seed,
        config=CounterfactualConfig(masks=20 if quick else 60),
    ).figures
    if not tstr:
        return figures
    began = time.process_time()
    labels, levels = np.asarray(train.labels), train.levels
    made = np.concatenate(
        [
            np.asarray(sample(labels[start : start + SAMPLE_BATCH], levels[start : start + SAMPLE_BATCH], seed + start))
            for start in range(0, len(labels), SAMPLE_BATCH)
        ]
    )
    figures["sampling_seconds"] = (time.process_time() - began) / len(labels)
    taught = SyntheticTrainingConfig()
    if quick:
        taught = taught.model_copy(update={"seeds": taught.seeds[:1]})
    learned = students(made, labels, dataset.classes, config=taught, intensity=dataset.intensity)
    from_real = shown.from_real[: len(learned)]
    return figures | compared(learned, from_real, shown.tested(more=more), seed=seed, config=taught)


def within(budget: float, train: Callable[[int], Sample], name: str) -> Trained:
    """What `train(steps)` returns for as many steps as fit into `budget` CPU seconds."""
    train(2)  # imports and first allocations would be taken for the start's cost
    spent = []
    for steps in PILOT_STEPS:
        began = time.process_time()
        train(steps)
        spent.append(time.process_time() - began)
    step = (spent[1] - spent[0]) / (PILOT_STEPS[1] - PILOT_STEPS[0])
    start = spent[0] - PILOT_STEPS[0] * step
    if step <= 0 or start < 0:  # the two runs met different loads: charge all to the steps
        step, start = spent[1] / PILOT_STEPS[1], 0.0
    steps = max(int((MARGIN * budget - start) / step), 1)
    began = time.process_time()
    sample = train(steps)
    return Trained(name, sample, time.process_time() - began, steps)


def flow(shown: QualityScene, steps: int, *, seed: int, threads: int) -> Sample:
    """The default family with its preset's configuration, in that many steps."""
    config = preset("demo").generator.model_copy(update={"steps": steps, "threads": threads})
    return sampler(train_generator(shown.dataset, shown.prior, config, seed=seed))


def gan(shown: QualityScene, steps: int, *, seed: int, threads: int) -> Sample:
    """The second family, likewise."""
    config = preset("demo").gan.model_copy(update={"steps": steps, "threads": threads})
    return sampler(train_generator(shown.dataset, shown.prior, config, seed=seed))


def from_file(path: Path, shown: QualityScene) -> Sample:
    """A trained generator of either family from its weights file; the prior is the scene's."""
    data = path.read_bytes()
    return sampler(Generator.from_bytes(data, shown.prior))


def sampler(generator: Any) -> Sample:
    """How the measures call a generator."""
    return lambda maps, levels, seed: generator.sample(maps, levels, seed=seed)


FAMILIES: dict[str, Callable[..., Sample]] = {"flow": flow, "gan": gan}


def table(rows: Sequence[tuple[Trained, Mapping[str, float]]]) -> str:
    """Figures down, models across; only what was measured."""
    width = 24
    lines = [f"{'':<20}{'goal':<10}" + "".join(f"{model.name:>{width}}" for model, _ in rows)]
    lines.append(f"{'training CPU s':<30}" + "".join(f"{_number(model.seconds, 1):>{width}}" for model, _ in rows))
    lines.append(f"{'training steps':<30}" + "".join(f"{model.steps or '–':>{width}}" for model, _ in rows))
    for key, (name, digits, goal) in SHOWN.items():
        cells = [_cell(figures, key, digits) for _, figures in rows]
        lines.append(f"{name:<20}{goal:<10}" + "".join(f"{cell:>{width}}" for cell in cells))
    return "\n".join(lines)


def _cell(figures: Mapping[str, float], key: str, digits: int) -> str:
    value, low, high = (figures.get(f"{key}{end}", math.nan) for end in ("", "_low", "_high"))
    bounds = f" [{low:.{digits}f}, {high:.{digits}f}]" if math.isfinite(low) and math.isfinite(high) else ""
    return f"{_number(value, digits)}{bounds}"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def main() -> None:
    """Train what is named, measure it, print the table."""
    parser = argparse.ArgumentParser(description="quality of generators at equal compute")
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps snapshot, judge and students")
    parser.add_argument("--data", choices=("phantom", "openkbp"), default="phantom")
    parser.add_argument("--source", type=Path, help="folder of the set openkbp")
    parser.add_argument("--models", nargs="*", choices=sorted(FAMILIES), default=[])
    parser.add_argument("--weights", nargs="*", type=Path, default=[], help="weights files of trained generators")
    parser.add_argument("--peers", type=Path, help="folder that pip install --no-deps --target put monai and einops in")
    parser.add_argument("--only-peers", nargs="*", choices=sorted(PEERS), help="these peers only")
    parser.add_argument("--budget", type=float, default=180.0, help="CPU seconds of each training")
    parser.add_argument("--more", action="store_true", help="further synthetic patients in the validation split")
    parser.add_argument("--quick", action="store_true", help="one student, 80 slices")
    parser.add_argument("--no-tstr", action="store_true", help="leave out training on synthetic images")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write all figures there")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    shown = scene(arguments.work, data=arguments.data, source=arguments.source, threads=arguments.threads)
    told = {"seed": arguments.seed, "threads": arguments.threads}
    rows: list[tuple[Trained, dict[str, float]]] = []

    def measure(model: Trained) -> None:
        figures = measured(model.sample, shown, more=arguments.more, quick=arguments.quick, tstr=not arguments.no_tstr)
        rows.append((model, figures))

    for name in arguments.models:
        measure(within(arguments.budget, partial(FAMILIES[name], shown, **told), name))
    for name in PEERS if arguments.peers else ():
        if arguments.only_peers and name not in arguments.only_peers:
            continue
        measure(within(arguments.budget, partial(train_peer, name, shown, peers=arguments.peers, **told), name))
    for path in arguments.weights:
        measure(Trained(path.stem, from_file(path, shown), math.nan, 0))
    if not rows:
        parser.error("name what to measure: --models, --weights or --peers")
    held_out = shown.held_out(more=arguments.more)
    print(f"{arguments.data}, {shown.dataset.values.shape[-1]}², judge {shown.judge.sha256[:12]}, measured on")
    print(f"{len(set(held_out.patients))} patients, {int(rows[0][1]['slices'])} slices; 95% intervals over patients")
    print(table(rows))
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if arguments.json:
        document = [
            {"model": model.name, "seconds": model.seconds, "steps": model.steps, "figures": figures_json(figures)}
            for model, figures in rows
        ]
        arguments.json.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
