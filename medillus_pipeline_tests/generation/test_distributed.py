"""Two processes, started by torchrun and joined by gloo, train what one process trains on the same global batch."""

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from medillus_pipeline.errors import ConfigurationError
from medillus_pipeline.generation.config import GanConfig, GeneratorConfig, preset
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.generation.training import train_generator
from medillus_pipeline.train_process import WEIGHTS, Plan
from medillus_pipeline_tests.conftest import REPOSITORY
from medillus_pipeline_tests.generation.published import Published

SEED = 3
SHORT = {"threads": 1, "steps": 12, "checkpoint_every": 4, "log_every": 4, "preview_every": 6, "precision": "32-true"}
FLOW, GAN = preset("tiny").generator.model_copy(update=SHORT), preset("tiny").gan.model_copy(update=SHORT)
CONFIGS: dict[str, GeneratorConfig | GanConfig] = {
    "flow": FLOW,
    "hinge": GAN,
    "wgan-gp": GAN.model_copy(update={"adversarial": "wgan-gp"}),
}
KINDS = pytest.mark.parametrize("kind", CONFIGS)
IDLE = {"detail.bias", "down.0.conv1.bias", "up.0.conv1.bias"}
"""Biases just before a normalisation of each channel, which takes them out again: their gradient is rounding alone,
Adam makes steps of full size of it, and no image depends on them.
"""

TWO = """
import hashlib, json, os, sys
from pathlib import Path
from medillus_pipeline.errors import PermanentError
from medillus_pipeline.generation import batches, training
from medillus_pipeline.generation.dataset import load_snapshot
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.train_process import Plan
from medillus_pipeline.zones import Zone

recipes, made = [], training._recipe
training._recipe = lambda *given: recipes.append(made(*given)) or recipes[-1]
folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
said = {}
for file in sorted(folder.glob("*.plan")):
    plan = Plan.model_validate_json(file.read_bytes())
    dataset, prior = (Zone(plan.clean_url), plan.manifest), Zone(plan.clean_url).read(plan.prior)
    figures = {}
    generator = training.train_generator(
        load_snapshot(*dataset), Prior.from_bytes(prior), plan.config, seed=plan.seed, log=figures.__setitem__
    )
    state = recipes[-1].tensors()
    said[file.stem] = {
        "figures": figures,
        "state": {name: hashlib.sha256(t.contiguous().numpy().tobytes()).hexdigest() for name, t in state.items()},
    }
    if rank == 0:
        (folder / f"{file.stem}.safetensors").write_bytes(generator.to_bytes())

whole = batches.Batches.__call__
def broken(self, step):
    batch = whole(self, step)
    if rank == 1 and step == 5:
        batch.image.fill_(float("nan"))
    return batch
batches.Batches.__call__ = broken
for file in sorted(folder.glob("*.plan")):
    plan = Plan.model_validate_json(file.read_bytes())
    try:
        training.train_generator(load_snapshot(*dataset), Prior.from_bytes(prior), plan.config, seed=plan.seed)
    except training.DivergedError as error:
        said[file.stem]["diverged"] = str(error)
(folder / f"{rank}.json").write_text(json.dumps(said))
"""

DYING = """
import os, signal, sys
from medillus_pipeline import train_process
from medillus_pipeline.generation import checkpoints
save, saves = checkpoints.save, []
def die(*given):
    save(*given)
    saves.append(given)
    if len(saves) == 2:  # the first process and its torchrun go without a word to the second process
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
checkpoints.save = die
sys.exit(train_process.main())
"""


def plan(published: Published, dataset: Dataset, prior: Prior, config: GeneratorConfig | GanConfig) -> Plan:
    """Training of that configuration by two processes."""
    clean = published.clean
    manifest = json.dumps(dataset.manifest, indent=1, sort_keys=True).encode()
    return Plan(
        clean_url=f"file://{clean.full('')}",
        cache=None,
        manifest=clean.put("datasets", manifest, ".json").path,
        prior=clean.put("priors", prior.to_bytes(), ".safetensors").path,
        start=None,
        perceptual_weights=None,
        seed=SEED,
        config=config.model_copy(update={"devices": 2}),
    )


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run to the end of torchrun and of both processes: they hold the pipe that is read."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=300)


@dataclass(frozen=True)
class Two:
    """What two processes made of every configuration: the folder of the weights, and what each process said."""

    folder: Path
    said: list[dict]

    def weights(self, kind: str) -> dict[str, torch.Tensor]:
        return load_file(self.folder / f"{kind}.safetensors")


@pytest.fixture(scope="module")
def two(published: Published, dataset: Dataset, prior: Prior, tmp_path_factory: pytest.TempPathFactory) -> Two:
    folder = tmp_path_factory.mktemp("two")
    for kind, config in CONFIGS.items():
        (folder / f"{kind}.plan").write_text(plan(published, dataset, prior, config).model_dump_json())
    (folder / "two.py").write_text(TWO)
    ended = torchrun(str(folder / "two.py"), str(folder))
    assert ended.returncode == 0, ended.stderr
    return Two(folder, [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)])


@KINDS
def test_two_processes_end_at_the_weights_of_one_and_log_the_losses_of_the_whole_batch(
    dataset: Dataset, prior: Prior, two: Two, kind: str
) -> None:
    figures: dict[int, dict[str, float]] = {}
    one = train_generator(dataset, prior, CONFIGS[kind], seed=SEED, log=figures.__setitem__)
    expected, weights = one.network.state_dict(), two.weights(kind)
    assert weights.keys() == expected.keys()
    differences = {name: float((weights[name] - expected[name]).abs().max()) for name in expected}
    assert max(gap for name, gap in differences.items() if name not in IDLE) < 1e-5
    labels = np.asarray(dataset.split("validation").labels[:4])
    drawn = one.sample(labels, seed=1).astype(int)
    one.network.load_state_dict(weights)
    assert np.abs(one.sample(labels, seed=1) - drawn).max() <= 1
    told = two.said[0][kind]["figures"]
    assert set(told) == {str(step) for step in figures} and two.said[1][kind]["figures"] == {}
    for step, single in figures.items():
        for name in single.keys() - {"images_per_second", "peak_memory_mb"}:
            assert told[str(step)][name] == pytest.approx(single[name], rel=1e-4, abs=1e-5), (step, name)


@KINDS
def test_both_processes_hold_the_same_state_to_the_last_bit(two: Two, kind: str) -> None:
    first, second = (said[kind]["state"] for said in two.said)
    assert first == second
    parts = {"network", "average", "optimiser"}
    if kind != "flow":
        parts = {"generator", "discriminator", "average", "g_optimiser", "d_optimiser"}
    assert {name.partition(".")[0] for name in first} == parts
    assert any(name.endswith("._u") for name in first) == (kind == "hinge")


@KINDS
def test_what_is_no_number_in_one_process_ends_both_with_one_message(two: Two, kind: str) -> None:
    first, second = (said[kind]["diverged"] for said in two.said)
    assert first == second and "diverged at step 5 of 12" in first


def test_killed_processes_go_on_from_the_last_checkpoint_to_the_weights_of_an_uninterrupted_run(
    published: Published, dataset: Dataset, prior: Prior, two: Two, tmp_path: Path
) -> None:
    (tmp_path / "plan.json").write_text(plan(published, dataset, prior, FLOW).model_dump_json())
    (tmp_path / "dying.py").write_text(DYING)
    died = torchrun(str(tmp_path / "dying.py"), str(tmp_path / "plan.json"))
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert max(tmp_path.rglob("step-*.safetensors")).stem == "step-00000008"
    assert not (tmp_path / WEIGHTS).exists()
    resumed = torchrun("-m", "medillus_pipeline.train_process", str(tmp_path / "plan.json"))
    assert resumed.returncode == 0, resumed.stderr
    assert (tmp_path / WEIGHTS).read_bytes() == (two.folder / "flow.safetensors").read_bytes()
    assert [path.stem for path in sorted((tmp_path / "samples").iterdir())] == ["step-000006", "step-000012"]


def test_other_processes_than_the_configuration_says_are_refused(dataset: Dataset, prior: Prior) -> None:
    with pytest.raises(ConfigurationError, match="2 processes on each of 1 machines, and 1 run"):
        train_generator(dataset, prior, FLOW.model_copy(update={"devices": 2}))
