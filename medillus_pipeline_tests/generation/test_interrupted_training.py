"""A training that is killed anywhere, between steps or while a checkpoint is written, ends as if it had not been."""

import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from medillus_pipeline.generation import checkpoints, training
from medillus_pipeline.generation.config import preset
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.generation.training import train_generator
from medillus_pipeline_tests.conftest import REPOSITORY
from medillus_pipeline_tests.generation.published import Published

TINY = preset("tiny").generator.model_copy(update={"threads": 1, "steps": 12, "checkpoint_every": 3})
LINES = frozenset({training.train_generator.__name__, training.save.__name__, "_follow", "__call__"})
FILES = frozenset({training.__file__, checkpoints.__file__})
KILLS = 20

DYING = """
import os, signal, sys
from medillus_pipeline.generation import checkpoints, training
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
config = preset("tiny").generator.model_copy(update={"threads": 1, "steps": 12, "checkpoint_every": 3})
prior = build_prior(dataset, preset("tiny").prior)
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


def traced(at: int | None, dataset: Dataset, prior: Prior, folder: Path) -> list[str]:
    call, lines = tracing(at)
    before = sys.gettrace()
    sys.settrace(call)
    try:
        train_generator(dataset, prior, TINY, seed=3, checkpoint_dir=folder)
    except Killed:
        assert at is not None
    finally:
        sys.settrace(before)
    return lines


def states(folder: Path) -> dict[str, bytes]:
    """The last two checkpoints: weights, moving average, moments of the optimiser, steps done."""
    return {path.name: path.read_bytes() for path in folder.rglob("*.safetensors")}


@pytest.fixture(scope="module")
def whole(dataset: Dataset, prior: Prior, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], dict, bytes]:
    """An undisturbed run: functions of its lines, its last checkpoints, its generator."""
    folder = tmp_path_factory.mktemp("whole")
    lines = traced(None, dataset, prior, folder)
    return lines, states(folder), train_generator(dataset, prior, TINY, seed=3).to_bytes()


def test_twenty_kills_at_random_lines_change_no_bit_of_weights_average_or_optimiser(
    dataset: Dataset, prior: Prior, whole: tuple[list[str], dict, bytes], tmp_path: Path
) -> None:
    lines, kept, released = whole
    saving = [number for number, name in enumerate(lines) if name == "save"]
    draw = random.Random(6)
    places = draw.sample(saving, KILLS // 4) + draw.sample(range(len(lines)), KILLS - KILLS // 4)
    hit = set()
    for number, place in enumerate(places):
        folder = tmp_path / str(number)
        hit.add(traced(place, dataset, prior, folder)[place])
        again = train_generator(dataset, prior, TINY, seed=3, checkpoint_dir=folder)
        assert again.to_bytes() == released, f"killed at line {place} of {len(lines)}"
        assert states(folder) == kept, f"killed at line {place} of {len(lines)}"
    assert {"save", "train_generator"} <= hit


def test_one_run_killed_twenty_times_in_a_row_still_ends_the_same(
    dataset: Dataset, prior: Prior, whole: tuple[list[str], dict, bytes], tmp_path: Path
) -> None:
    lines, kept, released = whole
    draw = random.Random(7)
    for _ in range(KILLS):
        traced(draw.randrange(len(lines)), dataset, prior, tmp_path)
    assert train_generator(dataset, prior, TINY, seed=3, checkpoint_dir=tmp_path).to_bytes() == released
    assert states(tmp_path) == kept


def test_a_process_killed_while_it_writes_a_checkpoint_goes_on_from_the_one_before(
    dataset: Dataset, published: Published, whole: tuple[list[str], dict, bytes], prior: Prior, tmp_path: Path
) -> None:
    documents = [path for path in published.clean.files("datasets") if path.endswith(".json")]
    (manifest,) = [path for path in documents if dataset.fingerprint.encode() in published.clean.read(path)]
    died = subprocess.run(
        [sys.executable, "-c", DYING, f"file://{published.clean.full('')}", manifest, str(tmp_path)],
        cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert len(list(tmp_path.rglob("*.tmp"))) == 1
    steps: list[int] = []
    resumed = train_generator(
        dataset, prior, TINY, seed=3, checkpoint_dir=tmp_path, progress=lambda done, total: steps.append(done)
    )
    assert steps[0] == 7
    assert resumed.to_bytes() == whole[2]
    assert states(tmp_path) == whole[1]
