"""What is a gan's own in training: two kinds of adversarial loss, two networks in a checkpoint, partial masks."""

from pathlib import Path

import pytest
import torch

from medillus_pipeline.generation import checkpoints
from medillus_pipeline.generation.config import GanConfig, preset
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.generation.training import train_generator

TINY = preset("tiny").gan
CRITIC = TINY.model_copy(update={"adversarial": "wgan-gp", "steps": 10, "checkpoint_every": 4})
KINDS = pytest.mark.parametrize("config", [TINY, CRITIC], ids=["hinge", "wgan-gp"])


class Killed(Exception):
    """Stands for the process's end."""


def killed_at(step: int):
    def progress(done: int, total: int) -> None:
        if done == step:
            raise Killed

    return progress


@KINDS
def test_a_run_killed_again_and_again_ends_at_the_same_weights(
    dataset: Dataset, prior: Prior, config: GanConfig, tmp_path: Path
):
    config = config.model_copy(update={"steps": 10, "checkpoint_every": 4})
    whole = train_generator(dataset, prior, config, seed=4)
    for step in (5, 7, 9):
        with pytest.raises(Killed):
            train_generator(dataset, prior, config, seed=4, checkpoint_dir=tmp_path, progress=killed_at(step))
    newest = max(tmp_path.rglob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:1000])  # and the machine cut off the last one
    assert train_generator(dataset, prior, config, seed=4, checkpoint_dir=tmp_path).to_bytes() == whole.to_bytes()


def test_a_checkpoint_holds_both_networks_the_average_and_both_optimisers(
    dataset: Dataset, prior: Prior, tmp_path: Path
):
    train_generator(dataset, prior, TINY.model_copy(update={"steps": 2}), seed=4, checkpoint_dir=tmp_path)
    (folder,) = tmp_path.iterdir()
    found = checkpoints.newest(folder)
    assert found is not None and found[1] == 2
    owners = {"generator", "discriminator", "average", "g_optimiser", "d_optimiser"}
    assert {name.partition(".")[0] for name in found[0]} == owners


@KINDS
def test_both_kinds_train_in_either_precision(dataset: Dataset, prior: Prior, config: GanConfig):
    for precision in ("bf16-mixed", "32-true"):
        changed = config.model_copy(update={"steps": 2, "precision": precision})
        images = train_generator(dataset, prior, changed, seed=3).sample(dataset.labels[:2], seed=1)
        assert images.std() > 0


@KINDS
def test_both_kinds_log_their_losses_and_draw_nearer_to_the_real_images(
    dataset: Dataset, prior: Prior, config: GanConfig
):
    logged: dict[int, dict[str, float]] = {}
    longer = config.model_copy(update={"steps": 20})
    train_generator(dataset, prior, longer, seed=3, log=lambda step, figures: logged.update({step: figures}))
    assert set(logged[5]) - {"d_penalty"} == {
        "adversarial", "segmentation", "anatomy", "l1", "features", "loss", "gradient_norm", "d_adversarial",
        "d_segmentation", "d_gradient_norm", "images_per_second", "peak_memory_mb",
    }  # fmt: skip
    assert ("d_penalty" in logged[5]) == (config.adversarial == "wgan-gp")
    assert logged[20]["l1"] < logged[5]["l1"]
    assert logged[20]["d_segmentation"] < logged[5]["d_segmentation"]


def test_what_a_partial_mask_leaves_out_is_asked_of_the_generator_as_the_prior_has_it(dataset: Dataset, prior: Prior):
    """Without any mask no pixel is labelled, so that L_seg has nothing to ask for; L_anat has the prior's occupancy."""
    losses: dict[float, list[tuple[float, float]]] = {}
    for share in (0.0, 1.0):
        none = TINY.augmentation.model_copy(update={"no_mask": share, "partial_masks": 0.0})
        config = TINY.model_copy(update={"steps": 2, "log_every": 1, "augmentation": none})
        told: list[dict[str, float]] = []
        train_generator(dataset, prior, config, seed=3, log=lambda _, figures, told=told: told.append(figures))
        losses[share] = [(figures["segmentation"], figures["anatomy"]) for figures in told]
        assert all(figures["d_segmentation"] > 0 for figures in told)  # the head learns from all that is drawn
    assert all(labelled > 0 and anatomy > 0 for labelled, anatomy in losses[0.0])
    assert all(labelled == 0 and anatomy > 0 for labelled, anatomy in losses[1.0])


def test_the_released_weights_are_the_moving_average(dataset: Dataset, prior: Prior, tmp_path: Path):
    config = TINY.model_copy(update={"steps": 3})
    made = train_generator(dataset, prior, config, seed=4, checkpoint_dir=tmp_path)
    (folder,) = tmp_path.iterdir()
    found = checkpoints.newest(folder)
    assert found is not None
    average, now = (checkpoints.part(found[0], prefix) for prefix in ("average.", "generator."))
    for name, weight in made.network.state_dict().items():
        assert torch.equal(weight, average[name])
    assert any(not torch.equal(average[name], now[name]) for name in now)
