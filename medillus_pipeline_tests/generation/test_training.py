from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.dicom.png import decode_png
from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.generation.config import GeneratorConfig, preset
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.generation.sampling import Generator, sample_sheet
from medillus_pipeline.generation.training import DivergedError, learning_rate, train_generator

TINY = preset("tiny").generator.model_copy(update={"threads": 1})


class Killed(Exception):
    """Stands for the process's end."""


def killed_at(step: int):
    def progress(done: int, total: int) -> None:
        if done == step:
            raise Killed

    return progress


@pytest.fixture(scope="module")
def generator(dataset: Dataset, prior: Prior) -> Generator:
    return train_generator(dataset, prior, TINY, seed=3)


@pytest.mark.parametrize("step", [3, 8, 13, 19])
def test_a_killed_run_resumes_to_identical_weights(
    dataset: Dataset, prior: Prior, generator: Generator, tmp_path: Path, step: int
):
    with pytest.raises(Killed):
        train_generator(dataset, prior, TINY, seed=3, checkpoint_dir=tmp_path, progress=killed_at(step))
    steps: list[int] = []
    resumed = train_generator(
        dataset, prior, TINY, seed=3, checkpoint_dir=tmp_path, progress=lambda done, total: steps.append(done)
    )
    assert steps[0] == step // TINY.checkpoint_every * TINY.checkpoint_every + 1
    assert resumed.to_bytes() == generator.to_bytes()


def test_a_half_written_checkpoint_is_passed_over(dataset: Dataset, prior: Prior, generator: Generator, tmp_path: Path):
    with pytest.raises(Killed):
        train_generator(dataset, prior, TINY, seed=3, checkpoint_dir=tmp_path, progress=killed_at(17))
    newest = max(tmp_path.rglob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:1000])
    steps: list[int] = []
    resumed = train_generator(
        dataset, prior, TINY, seed=3, checkpoint_dir=tmp_path, progress=lambda done, total: steps.append(done)
    )
    assert steps[0] == TINY.checkpoint_every + 1
    assert resumed.to_bytes() == generator.to_bytes()


def test_a_finished_run_trains_no_further(dataset: Dataset, prior: Prior, generator: Generator, tmp_path: Path):
    train_generator(dataset, prior, TINY, seed=3, checkpoint_dir=tmp_path)
    steps: list[int] = []
    again = train_generator(
        dataset, prior, TINY, seed=3, checkpoint_dir=tmp_path, progress=lambda done, total: steps.append(done)
    )
    assert not steps
    assert again.to_bytes() == generator.to_bytes()
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2


def test_another_configuration_starts_afresh(dataset: Dataset, prior: Prior, tmp_path: Path):
    train_generator(dataset, prior, TINY, seed=3, checkpoint_dir=tmp_path)
    steps: list[int] = []
    train_generator(
        dataset, prior, TINY.model_copy(update={"learning_rate": 5e-4, "steps": 2}), seed=3, checkpoint_dir=tmp_path,
        progress=lambda done, total: steps.append(done),
    )  # fmt: skip
    assert steps == [1, 2]


def test_figures_and_previews_arrive_at_their_steps(dataset: Dataset, prior: Prior):
    logged: dict[int, dict[str, float]] = {}
    previews: list[int] = []

    def preview(step: int, current: Generator) -> None:
        held_out = dataset.split("validation")
        sheet = decode_png(sample_sheet(current, held_out, [0, 5], vocabulary.load().palette(), samples=2, steps=2))
        assert sheet.shape == (2 * 64, 4 * 64, 3)
        previews.append(step)

    train_generator(
        dataset, prior, TINY, seed=3, log=lambda step, figures: logged.update({step: figures}), preview=preview
    )
    assert list(logged) == [5, 10, 15, 20]
    assert set(logged[5]) == {"loss", "learning_rate", "gradient_norm", "images_per_second"}
    assert previews == [10, 20]
    assert logged[20]["loss"] < logged[5]["loss"]


def test_looking_at_samples_does_not_change_the_training(dataset: Dataset, prior: Prior, generator: Generator):
    held_out = dataset.split("validation")
    looked = train_generator(
        dataset, prior, TINY, seed=3, preview=lambda step, now: now.sample(held_out.labels, seed=step, steps=1)
    )  # fmt: skip
    assert looked.to_bytes() == generator.to_bytes()


def test_divergence_is_a_clear_failure_with_the_last_good_checkpoint(dataset: Dataset, prior: Prior, tmp_path: Path):
    broken = Prior(**{**vars(prior), "tissue": np.full_like(prior.tissue, np.nan)})
    with pytest.raises(DivergedError, match=r"step 1 of 20.*Lower learning_rate"):
        train_generator(dataset, broken, TINY, seed=3, checkpoint_dir=tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_run_that_diverges_later_keeps_its_checkpoint(dataset: Dataset, prior: Prior, tmp_path: Path):
    wild = TINY.model_copy(update={"learning_rate": 1e20, "checkpoint_every": 1, "warmup_steps": 0})
    with pytest.raises(DivergedError, match=r"the checkpoint of step [1-9]"):
        train_generator(dataset, prior, wild, seed=3, checkpoint_dir=tmp_path)
    assert list(tmp_path.rglob("*.safetensors"))


def test_the_learning_rate_rises_then_falls_to_its_share():
    config = GeneratorConfig(steps=1000)
    rates = [learning_rate(step, config) for step in range(1, 1001)]
    assert rates[0] == pytest.approx(2e-5) and rates[49] == pytest.approx(1e-3) == max(rates)
    assert rates[-1] == pytest.approx(1e-4)
    assert all(before >= after for before, after in pairwise(rates[49:]))


def test_samples_depend_on_their_own_mask_and_seed_only(dataset: Dataset, generator: Generator):
    held_out = dataset.split("validation")
    labels, levels = np.asarray(held_out.labels), held_out.levels
    images = generator.sample(labels[:4], levels[:4], seed=1)
    assert images.shape == (4, 32, 32) and images.dtype == np.int16
    assert images.min() >= -1024 and images.max() <= 3071
    np.testing.assert_array_equal(images, generator.sample(labels[:4], levels[:4], seed=1))
    assert np.abs(images[:2].astype(int) - generator.sample(labels[:2], levels[:2], seed=1)).max() <= 1
    assert not np.array_equal(images, generator.sample(labels[:4], levels[:4], seed=2))
    assert not np.array_equal(images[0], generator.sample(labels[1:2], levels[:1], seed=1)[0])
    assert generator.sample(labels[:0], levels[:0], seed=1).shape == (0, 32, 32)


def test_masks_that_do_not_fit_the_model_are_refused(dataset: Dataset, generator: Generator):
    with pytest.raises(ValueError, match=r"\(n, 32, 32\)"):
        generator.sample(np.zeros((1, 16, 16), np.uint8), seed=0)
    with pytest.raises(ValueError, match="classes"):
        generator.sample(np.full((1, 32, 32), 99, np.uint8), seed=0)


def test_the_generator_survives_storage(dataset: Dataset, prior: Prior, generator: Generator):
    again = Generator.from_bytes(generator.to_bytes(), prior)
    labels = np.asarray(dataset.labels[:2])
    np.testing.assert_array_equal(again.sample(labels, seed=4, steps=2), generator.sample(labels, seed=4, steps=2))
    assert again.to_bytes() == generator.to_bytes()


def test_training_leaves_the_global_random_state_alone(dataset: Dataset, prior: Prior):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_generator(dataset, prior, TINY.model_copy(update={"steps": 1}), seed=3)
    assert torch.equal(torch.rand(3), expected)


def test_without_training_patients_the_error_says_so(dataset: Dataset, prior: Prior):
    with pytest.raises(NotEnoughDataError, match="training patient"):
        train_generator(dataset.split("judge"), prior, TINY)
