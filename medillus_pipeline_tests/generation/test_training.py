"""The training loop, which both model families share: killed and resumed, logged, previewed, diverging."""

import hashlib
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.dicom.png import decode_png
from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.generation.config import GanConfig, GeneratorConfig
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.flow_training import learning_rate
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.generation.sampling import Generator, sample_sheet
from medillus_pipeline.generation.training import DivergedError, train_generator
from medillus_pipeline_tests.generation.published import Published
from medillus_pipeline_tests.generation.variants import TINY, of_two_modalities, told, with_neighbours

Config = GeneratorConfig | GanConfig


class Killed(Exception):
    """Stands for the process's end."""


def killed_at(step: int):
    def progress(done: int, total: int) -> None:
        if done == step:
            raise Killed

    return progress


@pytest.fixture(scope="module", params=["flow", "gan"])
def config(request: pytest.FixtureRequest) -> Config:
    return TINY[request.param]


@pytest.fixture(scope="module")
def generator(dataset: Dataset, prior: Prior, config: Config) -> Generator:
    return train_generator(dataset, prior, config, seed=3)


@pytest.mark.parametrize("step", [3, 8, 13, 19])
def test_a_killed_run_resumes_to_identical_weights(
    dataset: Dataset, prior: Prior, config: Config, generator: Generator, tmp_path: Path, step: int
):
    with pytest.raises(Killed):
        train_generator(dataset, prior, config, seed=3, checkpoint_dir=tmp_path, progress=killed_at(step))
    steps: list[int] = []
    resumed = train_generator(
        dataset, prior, config, seed=3, checkpoint_dir=tmp_path, progress=lambda done, total: steps.append(done)
    )
    assert steps[0] == step // config.checkpoint_every * config.checkpoint_every + 1
    assert resumed.to_bytes() == generator.to_bytes()


def test_a_half_written_checkpoint_is_passed_over(
    dataset: Dataset, prior: Prior, config: Config, generator: Generator, tmp_path: Path
):
    with pytest.raises(Killed):
        train_generator(dataset, prior, config, seed=3, checkpoint_dir=tmp_path, progress=killed_at(17))
    newest = max(tmp_path.rglob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:1000])
    steps: list[int] = []
    resumed = train_generator(
        dataset, prior, config, seed=3, checkpoint_dir=tmp_path, progress=lambda done, total: steps.append(done)
    )
    assert steps[0] == config.checkpoint_every + 1
    assert resumed.to_bytes() == generator.to_bytes()


def test_a_finished_run_trains_no_further(
    dataset: Dataset, prior: Prior, config: Config, generator: Generator, tmp_path: Path
):
    train_generator(dataset, prior, config, seed=3, checkpoint_dir=tmp_path)
    steps: list[int] = []
    again = train_generator(
        dataset, prior, config, seed=3, checkpoint_dir=tmp_path, progress=lambda done, total: steps.append(done)
    )
    assert not steps
    assert again.to_bytes() == generator.to_bytes()
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2


def test_what_changes_a_weight_starts_afresh_and_what_does_not_goes_on(
    dataset: Dataset, prior: Prior, config: Config, tmp_path: Path
):
    def runs(data: Dataset = dataset, by: Prior = prior, seed: int = 3, **changed: object) -> int:
        chosen = config.model_copy(update={"steps": 1, **changed})
        train_generator(data, by, chosen, seed=seed, checkpoint_dir=tmp_path)
        return len(list(tmp_path.iterdir()))

    assert runs() == runs(checkpoint_every=5) == runs(log_every=2, preview_every=7, threads=2) == 1
    assert runs(learning_rate=5e-4) == 2
    assert runs(augmentation=config.augmentation.model_copy(update={"mirrored": 0.0})) == 3
    assert runs(seed=4) == 4
    assert runs(by=replace(prior, occupancy=prior.occupancy / 2)) == 5
    assert runs(data=told(dataset)) == 6


def test_figures_and_previews_arrive_at_their_steps(dataset: Dataset, prior: Prior, config: Config):
    logged: dict[int, dict[str, float]] = {}
    previews: list[int] = []

    def preview(step: int, current: Generator) -> None:
        held_out = dataset.split("validation")
        sheet = decode_png(sample_sheet(current, held_out, [0, 5], vocabulary.load().palette(), samples=2, steps=2))
        assert sheet.shape == (2 * 64, 4 * 64, 3)
        previews.append(step)

    train_generator(
        dataset, prior, config, seed=3, log=lambda step, figures: logged.update({step: figures}), preview=preview
    )
    assert list(logged) == [5, 10, 15, 20]
    assert {"loss", "gradient_norm", "images_per_second", "peak_memory_mb"} <= set(logged[5])
    assert all(type(value) is float for value in logged[5].values())
    assert previews == [10, 20]
    nearer = "l1" if config.family == "gan" else "loss"
    assert logged[20][nearer] < logged[5][nearer]


def test_peak_memory_is_that_of_the_process_in_megabytes(dataset: Dataset, prior: Prior, config: Config):
    logged: list[float] = []
    train_generator(
        dataset,
        prior,
        config.model_copy(update={"steps": 1}),
        log=lambda _, told: logged.append(told["peak_memory_mb"]),
    )
    (resident,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    assert logged == [pytest.approx(int(resident.split()[1]) / 1e3, rel=0.2)]


def test_looking_at_samples_does_not_change_the_training(
    dataset: Dataset, prior: Prior, config: Config, generator: Generator
):
    labels = np.asarray(dataset.split("validation").labels[:2])

    def look(step: int, now: Generator) -> None:
        now.sample(labels, seed=step, steps=1)

    looked = train_generator(dataset, prior, config, seed=3, preview=look)
    assert looked.to_bytes() == generator.to_bytes()


def test_divergence_is_a_clear_failure_with_the_last_good_checkpoint(
    dataset: Dataset, prior: Prior, config: Config, tmp_path: Path
):
    broken = replace(prior, tissue=np.full_like(prior.tissue, np.nan))
    with pytest.raises(DivergedError, match=r"step 1 of 20.*checkpoint of step 0.*Lower the learning rate") as caught:
        train_generator(dataset, broken, config, seed=3, checkpoint_dir=tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_run_that_diverges_later_keeps_its_checkpoint(dataset: Dataset, prior: Prior, config: Config, tmp_path: Path):
    changed = {"learning_rate": 1e20 if config.family == "flow" else 1e30, "checkpoint_every": 1, "warmup_steps": 0}
    wild = config.model_copy(update={name: value for name, value in changed.items() if hasattr(config, name)})
    with pytest.raises(DivergedError, match=r"the checkpoint of step [1-9]"):
        train_generator(dataset, prior, wild, seed=3, checkpoint_dir=tmp_path)
    assert list(tmp_path.rglob("*.safetensors"))


def test_training_leaves_the_global_random_state_alone(dataset: Dataset, prior: Prior, config: Config):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_generator(dataset, prior, config.model_copy(update={"steps": 1}), seed=3)
    assert torch.equal(torch.rand(3), expected)


def test_without_training_patients_the_error_says_so(dataset: Dataset, prior: Prior, config: Config):
    with pytest.raises(NotEnoughDataError, match="training patient"):
        train_generator(dataset.split("judge"), prior, config)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_both_precisions_train(dataset: Dataset, prior: Prior, config: Config, precision: str):
    short = config.model_copy(update={"steps": 2, "precision": precision})
    images = train_generator(dataset, prior, short, seed=3).sample(np.asarray(dataset.labels[:2]), seed=1)
    assert images.std() > 0


def test_three_channels_are_learned_and_drawn(published: Published, prior: Prior, config: Config, tmp_path: Path):
    three = with_neighbours(published)
    short = config.model_copy(update={"steps": 4, "checkpoint_every": 2})
    whole = train_generator(three, prior, short, seed=3)
    labels, levels = np.asarray(three.labels[:2]), three.levels[:2]
    assert whole.images == 3
    channels = whole.sample(labels, levels, seed=1, every_channel=True)
    assert channels.shape == (2, 3, 32, 32)
    np.testing.assert_array_equal(whole.sample(labels, levels, seed=1), channels[:, 1])
    with pytest.raises(Killed):
        train_generator(three, prior, short, seed=3, checkpoint_dir=tmp_path, progress=killed_at(3))
    assert train_generator(three, prior, short, seed=3, checkpoint_dir=tmp_path).to_bytes() == whole.to_bytes()


def test_what_is_said_of_slices_is_learned(dataset: Dataset, prior: Prior, config: Config):
    short = config.model_copy(update={"steps": 8})
    made = train_generator(told(dataset), prior, short, seed=3)
    assert made.attributes == (
        "modality=CT", "body_part=CHESTABDOMEN", "pathology=liver_lesion", "pathology=pleural_effusion",
        "stage=early", "stage=late",
    )  # fmt: skip
    fresh = train_generator(told(dataset), prior, config.model_copy(update={"steps": 1}), seed=3)
    now, before = (each.network.state_dict()["said.weight"] for each in (made, fresh))
    assert (now != before).any(0).all()


def test_several_modalities_are_told_apart(dataset: Dataset, prior: Prior, config: Config):
    made = train_generator(of_two_modalities(dataset), prior, config.model_copy(update={"steps": 2}), seed=3)
    assert made.modalities == ("CT", "MR")
    assert {"modality=CT", "modality=MR"} <= set(made.attributes)


def test_the_learning_rate_rises_then_falls_to_its_share():
    config = GeneratorConfig(steps=1000)
    rates = [learning_rate(step, config) for step in range(1, 1001)]
    assert rates[0] == pytest.approx(2e-5) and rates[49] == pytest.approx(1e-3) == max(rates)
    assert rates[-1] == pytest.approx(1e-4)
    assert all(before >= after for before, after in pairwise(rates[49:]))


def test_the_folder_of_a_run_is_named_by_what_decides_its_weights(
    dataset: Dataset, prior: Prior, config: Config, tmp_path: Path
):
    train_generator(dataset, prior, config.model_copy(update={"steps": 1}), seed=3, checkpoint_dir=tmp_path)
    free = {"threads", "checkpoint_every", "log_every", "preview_every", "preview_steps", "release_steps"}
    described = [
        config.family,
        dataset.fingerprint,
        hashlib.sha256(prior.to_bytes()).hexdigest(),
        config.model_copy(update={"steps": 1}).model_dump(mode="json", exclude=free),
        3,
        torch.__version__,
    ]
    name = hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]
    assert [path.name for path in tmp_path.iterdir()] == [name]
