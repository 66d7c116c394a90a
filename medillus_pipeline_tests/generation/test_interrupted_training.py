"""A training that is killed anywhere, between steps or while a checkpoint is written, ends as if it had not been."""

import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from medillus_pipeline.generation import batches, checkpoints, flow_training, gan_training, training
from medillus_pipeline.generation.config import GanConfig, GeneratorConfig
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.generation.training import train_generator
from medillus_pipeline_tests.conftest import REPOSITORY
from medillus_pipeline_tests.generation.published import Published
from medillus_pipeline_tests.generation.variants import TINY

LINES = frozenset({training.train_generator.__name__, checkpoints.save.__name__, "follow", "step", "__call__"})
FILES = frozenset(module.__file__ for module in (training, checkpoints, batches, flow_training, gan_training))
KILLS = 20

Config = GeneratorConfig | GanConfig
Whole = tuple[list[str], dict[str, bytes], bytes]

DYING = """
import os, signal, sys
from medillus_pipeline.generation import training
from medillus_pipeline.generation.config import preset
from medillus_pipeline.generation.dataset import load_snapshot
from medillus_pipeline.generation.prior import build_prior
from medillus_pipeline.zones import Zone
steps = []
def die(descriptor):
    steps.append(descriptor)
    if len(steps) == 3:  # the third checkpoint is written, and neither on disk for sure nor in its place
        os.kill(os.getpid(), signal.SIGKILL)
os.fsync = die
dataset = load_snapshot(Zone(sys.argv[1]), sys.argv[2])
tiny = preset("tiny")
config = tiny.gan if sys.argv[4] == "gan" else tiny.generator
config = config.model_copy(update={"steps": 12, "checkpoint_every": 3})
prior = build_prior(dataset, tiny.prior)
training.train_generator(dataset, prior, config, seed=3, checkpoint_dir=training.Path(sys.argv[3]))
"""


class Killed(BaseException):
    """Stands for the process's end: no `except Exception` holds it."""


def tracing(at: int | None) -> tuple[Callable[..., Any], list[str]]:
    """A trace function that raises Killed at that line of the training's own code, counted from the start; without
    `at` it only counts, the list holding the function of every line.
    """
    lines: list[str] = []

    def line(frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            lines.append(frame.f_code.co_name)
            if len(lines) - 1 == at:
                raise Killed
        return line

    def call(frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        return line if code.co_filename in FILES and code.co_name in LINES else None

    return call, lines


def traced(at: int | None, dataset: Dataset, prior: Prior, config: Config, folder: Path) -> list[str]:
    call, lines = tracing(at)
    before = sys.gettrace()
    sys.settrace(call)
    try:
        train_generator(dataset, prior, config, seed=3, checkpoint_dir=folder)
    except Killed:
        assert at is not None
    finally:
        sys.settrace(before)
    return lines


def states(folder: Path) -> dict[str, bytes]:
    """The last two checkpoints: weights, moving average, moments of the optimisers, steps done."""
    return {path.name: path.read_bytes() for path in folder.rglob("*.safetensors")}


@pytest.fixture(scope="module", params=["flow", "gan"])
def config(request: pytest.FixtureRequest) -> Config:
    return TINY[request.param].model_copy(update={"steps": 12, "checkpoint_every": 3})


@pytest.fixture(scope="module")
def whole(dataset: Dataset, prior: Prior, config: Config, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """An undisturbed run: functions of its lines, its last checkpoints, its generator."""
    folder = tmp_path_factory.mktemp("whole")
    lines = traced(None, dataset, prior, config, folder)
    return lines, states(folder), train_generator(dataset, prior, config, seed=3).to_bytes()


@pytest.mark.parametrize("kills", [KILLS // 2, pytest.param(KILLS, marks=pytest.mark.slow)])
def test_kills_at_random_lines_change_no_bit_of_weights_average_or_optimiser(
    dataset: Dataset, prior: Prior, whole: Whole, config: Config, tmp_path: Path, kills: int
) -> None:
    lines, kept, released = whole
    draw = random.Random(6)
    everywhere = range(len(lines))
    places = [
        place
        for part in ("save", "step", "train_generator")
        for place in draw.sample([number for number in everywhere if lines[number] == part], kills // 4)
    ]
    places += draw.sample(everywhere, kills - len(places))
    hit = set()
    for number, place in enumerate(places):
        folder = tmp_path / str(number)
        hit.add(traced(place, dataset, prior, config, folder)[place])
        again = train_generator(dataset, prior, config, seed=3, checkpoint_dir=folder)
        assert again.to_bytes() == released, f"killed at line {place} of {len(lines)}"
        assert states(folder) == kept, f"killed at line {place} of {len(lines)}"
    assert {"save", "step", "train_generator"} <= hit


def test_one_run_killed_twenty_times_in_a_row_still_ends_the_same(
    dataset: Dataset, prior: Prior, whole: Whole, config: Config, tmp_path: Path
) -> None:
    lines, kept, released = whole
    draw = random.Random(7)
    for _ in range(KILLS):
        traced(draw.randrange(len(lines)), dataset, prior, config, tmp_path)
    assert train_generator(dataset, prior, config, seed=3, checkpoint_dir=tmp_path).to_bytes() == released
    assert states(tmp_path) == kept


def test_a_process_killed_while_it_writes_a_checkpoint_goes_on_from_the_one_before(
    dataset: Dataset, published: Published, whole: Whole, prior: Prior, config: Config, tmp_path: Path
) -> None:
    documents = [path for path in published.clean.files("datasets") if path.endswith(".json")]
    manifest = next(path for path in documents if json.loads(published.clean.read(path)) == dataset.manifest)
    died = subprocess.run(
        [sys.executable, "-c", DYING, f"file://{published.clean.full('')}", manifest, str(tmp_path), config.family],
        cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert len(list(tmp_path.rglob("*.tmp"))) == 1
    steps: list[int] = []
    resumed = train_generator(
        dataset, prior, config, seed=3, checkpoint_dir=tmp_path, progress=lambda done, total: steps.append(done)
    )
    assert steps[0] == 7
    assert resumed.to_bytes() == whole[2]
    assert states(tmp_path) == whole[1]
