"""A gan's training: killed and resumed, diverging, with partial masks and study groups, and what comes of it."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.generation.config import GanConfig, preset
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.gan_batches import Draw
from medillus_pipeline.generation.gan_sampling import GanGenerator
from medillus_pipeline.generation.gan_training import train_gan
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.generation.training import DivergedError

TINY = preset("tiny").gan
CRITIC = TINY.model_copy(update={"adversarial": "wgan-gp", "steps": 10, "checkpoint_every": 4})


class Killed(Exception):
    """Stands for the process's end."""


def killed_at(step: int):
    def progress(done: int, total: int) -> None:
        if done == step:
            raise Killed

    return progress


@pytest.fixture(scope="module")
def generator(dataset: Dataset, prior: Prior) -> GanGenerator:
    return train_gan(dataset, prior, TINY, seed=3)


@pytest.fixture(scope="module")
def grouped(dataset: Dataset, prior: Prior) -> GanGenerator:
    """Trained with the lower half of every body as one study group, most of the upper as another."""
    return train_gan(dataset, prior, TINY, seed=3, groups=halves(dataset))


def halves(dataset: Dataset) -> list[str | None]:
    return [None if level > 0.9 else "upper" if level > 0.5 else "lower" for level in dataset.levels.tolist()]


@pytest.mark.parametrize("step", sorted(np.random.default_rng(6).choice(np.arange(1, 20), 5, replace=False).tolist()))
def test_a_run_killed_at_a_random_step_resumes_to_identical_weights(
    dataset: Dataset, prior: Prior, generator: GanGenerator, tmp_path: Path, step: int
):
    with pytest.raises(Killed):
        train_gan(dataset, prior, TINY, seed=3, checkpoint_dir=tmp_path, progress=killed_at(step))
    steps: list[int] = []
    resumed = train_gan(
        dataset, prior, TINY, seed=3, checkpoint_dir=tmp_path, progress=lambda done, total: steps.append(done)
    )
    assert steps[0] == step // TINY.checkpoint_every * TINY.checkpoint_every + 1
    assert resumed.to_bytes() == generator.to_bytes()


def test_a_run_killed_again_and_again_ends_at_the_same_weights(dataset: Dataset, prior: Prior, tmp_path: Path):
    whole = train_gan(dataset, prior, CRITIC, seed=4)
    for step in (5, 7, 9):
        with pytest.raises(Killed):
            train_gan(dataset, prior, CRITIC, seed=4, checkpoint_dir=tmp_path, progress=killed_at(step))
    newest = max(tmp_path.rglob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:1000])  # and the machine cut off the last one
    assert train_gan(dataset, prior, CRITIC, seed=4, checkpoint_dir=tmp_path).to_bytes() == whole.to_bytes()


def test_another_seed_or_group_starts_afresh(dataset: Dataset, prior: Prior, tmp_path: Path):
    short = TINY.model_copy(update={"steps": 1})
    first = train_gan(dataset, prior, short, seed=3, checkpoint_dir=tmp_path)
    assert train_gan(dataset, prior, short, seed=5, checkpoint_dir=tmp_path).to_bytes() != first.to_bytes()
    train_gan(dataset, prior, short, seed=3, checkpoint_dir=tmp_path, groups=halves(dataset))
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("config", [TINY, CRITIC], ids=["hinge", "wgan-gp"])
def test_both_kinds_train_in_mixed_precision(dataset: Dataset, prior: Prior, config: GanConfig):
    mixed = config.model_copy(update={"steps": 2, "precision": "bf16-mixed"})
    images = train_gan(dataset, prior, mixed, seed=3).sample(np.asarray(dataset.labels[:2]), seed=1)
    assert images.std() > 0


@pytest.mark.parametrize("config", [TINY, CRITIC], ids=["hinge", "wgan-gp"])
def test_both_kinds_log_their_losses_and_draw_nearer_to_the_real_images(
    dataset: Dataset, prior: Prior, config: GanConfig
):
    logged: dict[int, dict[str, float]] = {}
    previews: list[int] = []
    train_gan(
        dataset,
        prior,
        config.model_copy(update={"steps": 20}),
        seed=3,
        log=lambda step, figures: logged.update({step: figures}),
        preview=lambda step, now: previews.append(step),
    )
    assert list(logged) == [5, 10, 15, 20] and previews == [10, 20]
    assert ("d_penalty" in logged[5]) == (config.adversarial == "wgan-gp")
    assert logged[20]["l1"] < logged[5]["l1"]
    assert logged[20]["d_segmentation"] < logged[5]["d_segmentation"]


def test_divergence_is_a_clear_failure_with_the_last_good_checkpoint(dataset: Dataset, prior: Prior, tmp_path: Path):
    wild = TINY.model_copy(update={"learning_rate": 1e30, "checkpoint_every": 1})
    with pytest.raises(DivergedError, match=r"the checkpoint of step [1-9].*Lower learning_rate"):
        train_gan(dataset, prior, wild, seed=3, checkpoint_dir=tmp_path)
    assert list(tmp_path.rglob("*.safetensors"))
    broken = Prior(**{**vars(prior), "tissue": np.full_like(prior.tissue, np.nan)})
    with pytest.raises(DivergedError, match=r"step 1 of 20.*checkpoint of step 0"):
        train_gan(dataset, broken, TINY, seed=3, checkpoint_dir=tmp_path)


def test_training_leaves_the_global_random_state_alone(dataset: Dataset, prior: Prior):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_gan(dataset, prior, TINY.model_copy(update={"steps": 1}), seed=3)
    assert torch.equal(torch.rand(3), expected)


def test_without_training_patients_the_error_says_so(dataset: Dataset, prior: Prior):
    with pytest.raises(NotEnoughDataError, match="training patient"):
        train_gan(dataset.split("judge"), prior, TINY)


def test_a_step_s_batch_is_its_own_and_some_masks_are_partial(dataset: Dataset):
    train = dataset.split("train")
    draw = Draw(
        torch.from_numpy(dataset.intensity.forward(np.asarray(train.values)))[:, None],
        torch.from_numpy(np.array(train.labels)),
        torch.from_numpy(train.levels),
        torch.zeros(len(train), dtype=torch.long),
        train.patients,
        TINY.model_copy(update={"batch_size": 32, "partial_masks": 0.5}),
        seed=1,
    )
    first, again, next_one = draw(1), draw(1), draw(2)
    for one, same in zip(vars(first).values(), vars(again).values(), strict=True):
        assert torch.equal(one, same)
    assert not torch.equal(first.image, next_one.image)
    partial = (first.given != first.label).flatten(1).any(1)
    assert 4 <= partial.sum() <= 28
    assert torch.equal(first.target[~partial].clamp(min=0), first.given[~partial])
    for label, given in zip(first.label[partial], first.given[partial], strict=True):
        told = set(given.unique().tolist())
        assert all(torch.equal(given == k, label == k) for k in told - {0})


def test_samples_depend_on_their_own_mask_and_seed_only(dataset: Dataset, generator: GanGenerator):
    held_out = dataset.split("validation")
    labels, levels = np.asarray(held_out.labels), held_out.levels
    images = generator.sample(labels[:4], levels[:4], seed=1)
    assert images.shape == (4, 32, 32) and images.dtype == np.int16
    np.testing.assert_array_equal(images, generator.sample(labels[:4], levels[:4], seed=1))
    assert np.abs(images[:2].astype(int) - generator.sample(labels[:2], levels[:2], seed=1)).max() <= 1
    assert not np.array_equal(images, generator.sample(labels[:4], levels[:4], seed=2))
    assert not np.array_equal(images[0], generator.sample(labels[1:2], levels[:1], seed=1)[0])
    assert generator.sample(labels[:0], levels[:0], seed=1).shape == (0, 32, 32)


def test_any_subset_of_the_organs_makes_an_image_of_its_own(dataset: Dataset, generator: GanGenerator):
    held_out = dataset.split("validation")
    row = int(np.argmax([len(np.unique(label)) for label in held_out.labels]))
    label, level = np.asarray(held_out.labels[row]), held_out.levels[row]
    present = [k for k in np.unique(label).tolist() if k]
    masks = np.stack([label, *(np.where(label == k, 0, label) for k in present), np.zeros_like(label)])
    images = generator.sample(masks, np.repeat(level, len(masks)), seed=1).astype(int)
    same_noise = [generator.sample(mask[None], np.array([level]), seed=1)[0].astype(int) for mask in masks]
    for one, other in itertools.combinations(same_noise, 2):
        assert np.abs(one - other).max() > 0
    assert images.min() >= -1024 and images.max() <= 3071


def test_a_group_is_asked_for_by_its_name(dataset: Dataset, grouped: GanGenerator):
    labels, levels = np.asarray(dataset.labels[:1]), dataset.levels[:1]
    assert grouped.groups == ("lower", "upper")
    images = [grouped.sample(labels, levels, seed=1, groups=[name]) for name in (None, "lower", "upper")]
    assert not any(np.array_equal(one, other) for one, other in itertools.combinations(images, 2))
    np.testing.assert_array_equal(images[0], grouped.sample(labels, levels, seed=1))
    with pytest.raises(ValueError, match="knows: lower, upper"):
        grouped.sample(labels, levels, seed=1, groups=["arterial"])


def test_the_generator_survives_storage(dataset: Dataset, prior: Prior, grouped: GanGenerator):
    again = GanGenerator.from_bytes(grouped.to_bytes(), prior)
    labels = np.asarray(dataset.labels[:2])
    np.testing.assert_array_equal(again.sample(labels, seed=4), grouped.sample(labels, seed=4))
    assert again.to_bytes() == grouped.to_bytes() and again.groups == grouped.groups


def test_masks_that_do_not_fit_the_model_are_refused(generator: GanGenerator):
    with pytest.raises(ValueError, match=r"\(n, 32, 32\)"):
        generator.sample(np.zeros((1, 16, 16), np.uint8), seed=0)
    with pytest.raises(ValueError, match="classes"):
        generator.sample(np.full((1, 32, 32), 99, np.uint8), seed=0)
