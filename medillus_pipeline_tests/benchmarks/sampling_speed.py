"""Images a second of both model families by size, method and steps; step time against MONAI's diffusion U-Net.

    python -m medillus_pipeline_tests.benchmarks.sampling_speed [--images 8] [--rounds 5] [--peers FOLDER]

All times are CPU seconds of one thread, so that other work on the machine counts little. Weights are fresh: no time
depends on them. `--peers` is a folder outside the virtual environment that `pip install --no-deps --target` put monai
and einops in: MONAI's DiffusionModelUNet of the same channel widths (one residual block a level, attention at the
coarsest as ours has, GroupNorm of 8) then takes training steps (forward, backward, AdamW) on the same batches in the
same process and in turns with ours, in 32-bit and in bfloat16: at full resolution, as it is made, and on patches of
2 × 2 pixels as ours, which tells what the patches save from what the layers save.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from medillus_pipeline.generation.conditions import condition_channels, noise_for
from medillus_pipeline.generation.config import GanConfig, GenerationConfig, GeneratorConfig, preset
from medillus_pipeline.generation.families import Network, build_network, draw_images

CLASSES, ATTRIBUTES = 12, 8
STEPS, SIZES = (4, 10, 25, 50), (64, 96, 128)
METHODS: tuple[tuple[Literal["euler", "heun"], float], ...] = (("euler", 1.0), ("heun", 1.0), ("euler", 2.0))
"""Method and guidance."""
LONG = 10.0
"""Seconds after which a measurement is not repeated any more."""
GOAL = 0.7
"""Greatest step time as a share of MONAI's."""


def sampling(images: int, rounds: int, config: GenerationConfig) -> None:
    """Prints the table of images a second of one thread, the best of the rounds."""
    flow, gan = _network(config.generator).eval(), _network(config.gan).eval()
    print(f"Images a CPU second, {images} at a time, best of {rounds} rounds")
    print(f"channels of the flow {config.generator.channels}, of the gan {config.gan.channels}")
    print("size  method        " + "".join(f"{f'{steps} steps':>10}" for steps in STEPS))
    for size in SIZES:
        given = (
            torch.zeros(images, condition_channels(CLASSES), size, size),
            noise_for(images, (1, size, size), 0),
            torch.zeros(images, ATTRIBUTES),
            torch.ones(images, CLASSES, dtype=torch.bool),
        )
        rates = [_rate(partial(draw_images, gan, *given, steps=1), images, rounds)]
        print(f"{size:>4}  gan, one pass{rates[0]:>10.2f}", flush=True)
        for method, guidance in METHODS:
            rates = [
                _rate(partial(draw_images, flow, *given, steps=steps, method=method, guidance=guidance), images, rounds)
                for steps in STEPS
            ]
            told = f"{method}, ×{guidance:g}" if guidance != 1 else method
            print(f"{size:>4}  {told:<13}" + "".join(f"{rate:>10.2f}" for rate in rates), flush=True)


def _rate(act: Callable[[], object], images: int, rounds: int) -> float:
    act()
    times = [_seconds(act)]
    while len(times) < rounds and sum(times) < LONG:
        times.append(_seconds(act))
    return images / min(times)


def _network(config: GeneratorConfig | GanConfig) -> Network:
    return build_network(config.family, CLASSES, ATTRIBUTES, 1, config.model_dump())


def steps_against_monai(rounds: int, config: GeneratorConfig, peers: Path) -> None:
    """Prints seconds a training step of both networks and their ratio, by size and precision."""
    sys.path.append(str(peers))
    made = import_module("monai.networks.nets").DiffusionModelUNet
    inputs = 1 + condition_channels(CLASSES)
    widths = config.channels
    ours = _network(config)
    theirs, patched = (
        made(
            spatial_dims=2,
            in_channels=inputs * patch**2,
            out_channels=patch**2,
            channels=widths,
            num_res_blocks=1,
            attention_levels=tuple(width == widths[-1] for width in widths),
            norm_num_groups=8,
            num_head_channels=32,
        )
        for patch in (1, config.patch)
    )
    weights = [sum(p.numel() for p in network.parameters()) / 1e6 for network in (ours, theirs)]
    print(f"Training step, batch of {config.batch_size}, channels {widths}, median of {rounds} rounds, CPU seconds")
    print(f"millions of weights: ours {weights[0]:.2f}, MONAI's DiffusionModelUNet {weights[1]:.2f}")
    print(f"size  precision     ours    MONAI   ratio   MONAI on patches   ratio   (goal: at most {GOAL})")
    for size in SIZES[:2]:
        for precision in ("32", "bf16"):
            image = torch.randn(config.batch_size, 1, size, size)
            condition = torch.randn(config.batch_size, inputs - 1, size, size)
            moment = torch.rand(config.batch_size)
            said, drawn = torch.zeros(config.batch_size, ATTRIBUTES), torch.ones(config.batch_size, CLASSES)
            given = torch.cat([image, condition], 1)
            turns = [
                _step(ours, partial(ours, image, condition, moment, said, drawn), image, precision),
                _step(theirs, partial(theirs, given, timesteps=moment * 1000), image, precision),
                _step(patched, partial(_on_patches, patched, given, moment, config.patch), image, precision),
            ]
            spent: list[list[float]] = [[], [], []]
            for number in range(rounds + 1):
                for which in (0, 1, 2) if number % 2 else (2, 1, 0):
                    seconds = _seconds(turns[which])
                    if number:  # the first warms up
                        spent[which].append(seconds)
            first, second, third = (statistics.median(times) for times in spent)
            told = f"{size:>4}  {precision:<9}{first:>9.3f}{second:>9.3f}{first / second:>8.2f}"
            print(f"{told}{third:>19.3f}{first / third:>8.2f}", flush=True)


def _on_patches(network: nn.Module, given: Tensor, moment: Tensor, patch: int) -> Tensor:
    """MONAI's network on pixels gathered as ours gathers them."""
    return functional.pixel_shuffle(network(functional.pixel_unshuffle(given, patch), timesteps=moment * 1000), patch)


def _step(network: nn.Module, forward: Callable[[], Tensor], target: Tensor, precision: str) -> Callable[[], None]:
    optimiser = torch.optim.AdamW(network.parameters(), 1e-4)

    def act() -> None:
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = functional.mse_loss(forward().float(), target)
        loss.backward()
        optimiser.step()

    return act


def _seconds(act: Callable[[], object]) -> float:
    began = time.process_time()
    act()
    return time.process_time() - began


def main() -> None:
    """Measure what is there, print."""
    parser = argparse.ArgumentParser(description="images a second and step time of the generator")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", type=Path, help="folder that pip install --no-deps --target put monai and einops in")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = preset("demo")
    if arguments.peers is not None:
        steps_against_monai(arguments.rounds, config.generator, arguments.peers)
    sampling(arguments.images, arguments.rounds, config)
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
