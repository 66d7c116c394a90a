"""Each block of channels that a network is given, against what it has to be by its definition."""

import numpy as np
import pytest
import torch
from torch import Tensor

from medillus_pipeline.generation.conditions import (
    TISSUES,
    at_levels,
    border_distance,
    condition_channels,
    conditions,
    default_attributes,
    noise_for,
    with_context,
)
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.prior import Prior

N, CLASSES, LEVELS, SIDE = 4, 3, 5, 16
MASKS, CONTEXT = slice(0, CLASSES), slice(CLASSES, CLASSES + TISSUES)
DISTANCE, TISSUE = CLASSES + TISSUES, slice(CLASSES + TISSUES + 1, CLASSES + 2 * TISSUES + 1)


@pytest.fixture
def given() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    return {
        "labels": torch.randint(0, CLASSES + 1, (N, SIDE, SIDE), generator=random),
        "drawn": torch.tensor([[True, True, True], [True, False, True], [False, False, False], [False, True, True]]),
        "levels": torch.tensor([0.0, 0.25, 0.6, 1.0]),
        "context": torch.rand(N, TISSUES, SIDE, SIDE, generator=random),
        "occupancy": torch.rand(LEVELS, CLASSES, SIDE, SIDE, generator=random),
        "tissue": torch.rand(LEVELS, TISSUES, SIDE, SIDE, generator=random),
    }


def test_a_drawn_class_is_its_mask_and_another_what_the_prior_has_there(given: dict[str, Tensor]) -> None:
    found = conditions(**given)[:, MASKS]
    usual = at_levels(given["occupancy"], given["levels"])
    for image in range(N):
        for place in range(CLASSES):
            mask = (given["labels"][image] == place + 1).float()
            expected = mask if given["drawn"][image, place] else usual[image, place]
            assert torch.equal(found[image, place], expected), (image, place)


def test_a_class_that_the_prior_knows_nothing_of_is_empty_where_it_is_not_drawn(given: dict[str, Tensor]) -> None:
    given["occupancy"][:, 1] = torch.nan
    found = conditions(**given)
    assert found.isfinite().all()
    assert (found[1, 1] == 0).all() and (found[2, 1] == 0).all()
    assert torch.equal(found[0, 1], (given["labels"][0] == 2).float())


def test_the_other_blocks_are_context_distance_tissue_and_place(given: dict[str, Tensor]) -> None:
    found = conditions(**given)
    assert found.shape == (N, condition_channels(CLASSES), SIDE, SIDE)
    between = (given["labels"] == 0)[:, None]  # within a drawn structure the context is not told
    assert torch.equal(found[:, CONTEXT], given["context"] * between)
    assert torch.equal(found[:, DISTANCE], border_distance(given["labels"])[:, 0])
    assert torch.equal(found[:, TISSUE], at_levels(given["tissue"], given["levels"]))
    column, row, level = found[:, -3:].unbind(1)
    ramp = torch.linspace(-1, 1, SIDE)
    assert torch.equal(column, ramp[None, None].expand(N, SIDE, SIDE))
    assert torch.equal(row, ramp[None, :, None].expand(N, SIDE, SIDE))
    assert torch.equal(level, (2 * given["levels"] - 1)[:, None, None].expand(N, SIDE, SIDE))


def test_conditions_of_a_real_snapshot_are_bounded_and_its_own(dataset: Dataset, prior: Prior) -> None:
    labels = torch.from_numpy(np.array(dataset.labels[:3])).long()
    drawn = torch.ones(3, len(dataset.classes), dtype=torch.bool)
    maps = torch.from_numpy(prior.occupancy), torch.from_numpy(prior.tissue)
    levels, context = torch.from_numpy(dataset.levels[:3]), torch.zeros(3, TISSUES, 32, 32)
    found = conditions(labels, drawn, levels, context, *maps)
    assert found.isfinite().all() and found.min() >= -1 and found.max() <= 1
    alone = conditions(labels[1:2], drawn[1:2], levels[1:2], context[1:2], *maps)
    assert torch.equal(found[1:2], alone)


def octagonal(labels: Tensor) -> Tensor:
    """Distance of every pixel of (h, w) to the next border, by its definition: t steps, of 4 and 8 neighbours in turn,
    go dx and dy where max(dx, dy) ≤ t and dx + dy ≤ t + ⌊t / 2⌋. 99 without a border.
    """
    height, width = labels.shape
    border = [
        (r, c)
        for r in range(height)
        for c in range(width)
        if any(
            0 <= r + dr < height and 0 <= c + dc < width and labels[r + dr, c + dc] != labels[r, c]
            for dr, dc in ((0, 1), (1, 0), (0, -1), (-1, 0))
        )
    ]
    result = torch.full((height, width), 99.0)
    for r in range(height):
        for c in range(width):
            for br, bc in border:
                dr, dc = abs(r - br), abs(c - bc)
                steps = next(t for t in range(99) if max(dr, dc) <= t and dr + dc <= t + t // 2)
                result[r, c] = min(result[r, c], steps)
    return result


def test_the_distance_to_the_next_border_is_octagonal_and_ends_at_an_eighth_of_the_width() -> None:
    side = 48
    labels = torch.zeros(3, side, side, dtype=torch.long)
    labels[0, 20, 22] = 1
    labels[1, 5:20, 30:] = 2
    labels[1, 40:, :9] = 1
    for image in range(2):
        expected = octagonal(labels[image]).clamp(max=side // 8) / (side // 8)
        torch.testing.assert_close(border_distance(labels)[image, 0], expected)
    assert (border_distance(labels)[2] == 1).all()  # nothing is drawn: every border is far


def test_the_smallest_picture_has_a_distance() -> None:
    labels = torch.tensor([[[0, 1], [0, 0]]])
    assert border_distance(labels).shape == (1, 1, 2, 2) and (border_distance(labels) <= 1).all()


def test_maps_between_levels_are_interpolated_and_beyond_the_body_they_stay() -> None:
    maps = torch.arange(5.0)[:, None, None, None].expand(5, 2, 3, 3)
    found = at_levels(maps, torch.tensor([0.0, 0.25, 0.3, 0.99, 1.0, -2.0, 7.0]))
    assert found.shape == (7, 2, 3, 3)
    torch.testing.assert_close(found[:, 0, 0, 0], torch.tensor([0.0, 1.0, 1.2, 3.96, 4.0, 0.0, 4.0]))


def test_the_noise_of_an_image_depends_on_seed_and_place_only() -> None:
    three = noise_for(3, (1, 8, 8), 5)
    assert three.shape == (3, 1, 8, 8) and noise_for(0, (1, 8, 8), 5).shape == (0, 1, 8, 8)
    assert torch.equal(noise_for(2, (1, 8, 8), 5), three[:2])
    assert not torch.equal(noise_for(3, (1, 8, 8), 6), three) and not torch.equal(three[0], three[1])


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (["modality=CT", "stage=late"], ["modality=CT"]),
        (["modality=CT", "modality=MR"], []),
        (["stage=late"], []),
        ([], []),
    ],
)
def test_the_only_modality_is_said_where_nothing_else_is(known: list[str], expected: list[str]) -> None:
    assert default_attributes(known) == expected


def test_a_context_is_proposed_for_ct_alone() -> None:
    said = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    both = with_context(("CT", "MR"), ("modality=CT", "modality=MR"), said).flatten().tolist()
    assert both == [1, 0, 0]
    assert with_context(("CT",), ("body_part=CHEST", "modality=CT"), said).flatten().tolist() == [1, 1, 1]
    assert with_context(("MR",), ("body_part=HEAD", "modality=MR"), said).flatten().tolist() == [0, 0, 0]
