import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.generation import shape_model
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.prior import Prior, tissues
from medillus_pipeline.generation.shape_model import ShapeModel, level_sets, likely_levels


@pytest.fixture(scope="module")
def model(prior: Prior) -> ShapeModel:
    return prior.shape_model


@pytest.fixture(scope="module")
def seen(dataset: Dataset) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Label maps, levels and true tissue of patients that the prior does not know."""
    held_out = dataset.split("validation")
    labels = torch.from_numpy(np.asarray(held_out.labels).astype(np.int64))
    return labels, torch.from_numpy(held_out.levels), tissues(np.asarray(held_out.values))


def index_of(prior: Prior, key: str) -> int:
    return prior.classes.index(vocabulary.load().by_key(key).id)


def everything(labels: torch.Tensor, model: ShapeModel) -> torch.Tensor:
    return torch.ones((len(labels), model.classes), dtype=torch.bool)


def noise(count: int, model: ShapeModel, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, model.latents, generator=torch.Generator().manual_seed(seed))


def test_its_text_needs_torch_and_the_standard_library_only():
    tree = ast.parse(Path(shape_model.__file__).read_text())
    found = {name.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    found |= {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert found == {"math", "collections", "dataclasses", "torch"}


def test_level_sets_are_distances_to_the_border():
    mask = torch.zeros(1, 2, 16, 16)
    mask[0, 0, :, :8] = 1
    field = level_sets(mask, 16, 4.0)
    expected = torch.tensor([4, 4, 4, 4, 3.5, 2.5, 1.5, 0.5, -0.5, -1.5, -2.5, -3.5, -4, -4, -4, -4])
    torch.testing.assert_close(field[0, 0], expected.expand(16, 16))
    assert (field[0, 1] == -4).all()
    coarse = level_sets(mask, 8, 2.0)
    torch.testing.assert_close(coarse[0, 0, 0], torch.tensor([1.9375 + 0.0625, 2, 1.5, 0.5, -0.5, -1.5, -2, -2]))


def test_level_sets_are_euclidean_as_scipy_measures_them():
    from scipy import ndimage

    mask = np.random.default_rng(0).random((20, 20)) > 0.9
    inwards, outwards = (np.asarray(ndimage.distance_transform_edt(part)) for part in (mask, ~mask))
    expected = np.where(mask, inwards - 0.5, 0.5 - outwards)
    field = level_sets(torch.from_numpy(mask)[None, None], 20, 3.0)[0, 0].numpy()
    np.testing.assert_allclose(field, np.clip(expected, -3, 3), atol=1e-5)


def test_a_proposed_context_is_one_tissue_a_pixel_and_nearer_the_truth_than_the_mean(
    prior: Prior, model: ShapeModel, seen
):
    labels, levels, truth = seen
    proposed = model.propose_context(labels, everything(labels, model), levels, torch.zeros(len(labels), model.latents))
    assert (proposed.sum(1) == 1).all() and proposed.shape == truth.shape
    mean = prior.tissue[np.rint(levels.numpy() * (len(prior.tissue) - 1)).astype(int)].argmax(1)
    right = (proposed.numpy().argmax(1) == truth.argmax(1)).mean()
    assert right > (mean == truth.argmax(1)).mean()


def test_noise_changes_the_context_outside_what_is_drawn_and_little_inside(prior: Prior, model: ShapeModel, seen):
    labels, levels, _ = seen
    drawn = everything(labels, model)
    one, other = (model.propose_context(labels, drawn, levels, noise(len(labels), model, seed)) for seed in (1, 2))
    differs = (one != other).any(1)
    assert differs.any(-1).any(-1).all()
    lungs = (labels == index_of(prior, "lung_left") + 1) | (labels == index_of(prior, "lung_right") + 1)
    assert differs[lungs].float().mean() < 0.05
    assert one.argmax(1)[lungs].float().mean() < 0.2


def test_the_same_noise_gives_the_same_context_alone_and_in_a_batch(model: ShapeModel, seen):
    labels, levels, _ = seen
    drawn, random = everything(labels, model), noise(len(labels), model)
    batch = model.propose_context(labels, drawn, levels, random)
    alone = model.propose_context(labels[3:4], drawn[3:4], levels[3:4], random[3:4])
    assert torch.equal(batch[3:4], alone)


def test_a_mask_with_one_organ_is_completed_with_the_others(prior: Prior, model: ShapeModel, seen):
    labels, levels, _ = seen
    left, right = index_of(prior, "lung_left"), index_of(prior, "lung_right")
    both = ((labels == left + 1) & (labels == right + 1).any(-1, keepdim=True).any(-2, keepdim=True)).flatten(1).sum(1)
    chosen = both > 20
    truth, at = labels[chosen], levels[chosen]
    only = torch.where(truth == left + 1, truth, 0)
    drawn = torch.zeros(len(only), model.classes, dtype=torch.bool)
    drawn[:, left] = True
    occupancy, completed = model.complete(only, drawn, at, torch.zeros(len(only), model.latents))
    assert occupancy.min() >= 0 and occupancy.max() <= 1
    assert torch.equal(occupancy[:, left], (only == left + 1).float())
    assert torch.equal(completed == left + 1, only == left + 1)
    found, real = completed == right + 1, truth == right + 1
    assert 2 * (found & real).sum() / (found.sum() + real.sum()) > 0.6
    assert occupancy[:, right][real].mean() > 0.6 > 0.1 > occupancy[:, right][~real].mean()


def test_sampled_masks_have_the_usual_structures_each_in_its_place(prior: Prior, model: ShapeModel):
    levels = torch.full((16,), 0.9)
    masks = model.sample_masks(levels, noise(16, model), 32)
    assert masks.shape == (16, 32, 32) and int(masks.max()) <= model.classes
    for key in ("lung_left", "lung_right", "spine", "spinal_cord"):
        assert (masks == index_of(prior, key) + 1).flatten(1).any(1).all(), key
    column = torch.arange(32.0)
    left, right = (
        ((masks == index_of(prior, key) + 1).float().sum(1) @ column / (masks == index_of(prior, key) + 1).sum((1, 2)))
        for key in ("lung_left", "lung_right")
    )
    assert (left > right).all()
    assert len({mask.numpy().tobytes() for mask in masks}) == 16


def test_what_is_wanted_is_there_although_the_level_rarely_shows_it(prior: Prior, model: ShapeModel):
    heart = index_of(prior, "heart")
    level = float(np.nanargmin(np.where(prior.occupancy[:, heart].max((1, 2)) > 0.05, np.arange(8), np.nan)) / 7)
    wanted = torch.zeros(8, model.classes, dtype=torch.bool)
    wanted[:, heart] = True
    masks = model.sample_masks(torch.full((8,), level), noise(8, model), 32, wanted)
    assert (masks == heart + 1).flatten(1).any(1).all()


def test_levels_of_partial_masks_are_found_from_what_is_drawn(prior: Prior, seen):
    labels, levels, _ = seen
    kept = [index_of(prior, key) for key in ("lung_left", "liver", "spine", "kidney_left", "heart")]
    drawn = torch.zeros(len(labels), len(prior.classes), dtype=torch.bool)
    drawn[:, kept] = True
    partial = torch.where(torch.isin(labels, torch.tensor(kept) + 1), labels, 0)
    occupancy = torch.from_numpy(prior.occupancy)
    off = (likely_levels(occupancy, partial, drawn) - levels).abs().mean()
    as_complete = (likely_levels(occupancy, partial, torch.ones_like(drawn)) - levels).abs().mean()
    assert off < 0.15 and off < as_complete + 1e-6


def test_a_class_that_nothing_is_known_of_says_nothing_of_the_level(prior: Prior, seen):
    labels, _, _ = seen
    liver = index_of(prior, "liver")
    occupancy = torch.from_numpy(prior.occupancy.copy())
    occupancy[:, liver] = torch.nan
    drawn = torch.ones(len(labels), len(prior.classes), dtype=torch.bool)
    without = torch.where(labels == liver + 1, 0, labels)
    assert torch.equal(likely_levels(occupancy, labels, drawn), likely_levels(occupancy, without, drawn))


def test_it_survives_as_tensors_and_holds_no_slice(dataset: Dataset, model: ShapeModel):
    again = ShapeModel.from_tensors(model.to_tensors())
    assert torch.equal(again.modes, model.modes)
    train = dataset.split("train")
    masks = functional.one_hot(torch.from_numpy(np.asarray(train.labels).astype(np.int64)), model.classes + 1)
    own = level_sets(masks.permute(0, 3, 1, 2)[:, 1:], model.mean.shape[-1], float(model.settings[0])).half()
    busy = own[(own > -2).flatten(2).sum(2) > 100][::4]
    stored = torch.cat([model.mean, model.modes.flatten(0, 1)])
    assert len(busy) > 5
    assert not (busy[:, None] == stored[None]).flatten(2).all(2).any()
