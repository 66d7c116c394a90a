"""Each loss of the gan family against values worked out by hand."""

import math

import pytest
import torch
from torch.nn import functional

from medillus_pipeline.generation.config import GanConfig
from medillus_pipeline.generation.gan_losses import (
    UNKNOWN,
    anatomical_loss,
    anatomical_reference,
    discriminator_loss,
    feature_loss,
    generator_loss,
    gradient_penalty,
    pyramid_loss,
    ramp,
    reconstruction_loss,
    segmentation_loss,
    target,
)
from medillus_pipeline.generation.gan_training import loss_weights


def logits_of(probabilities: list[list[float]]) -> torch.Tensor:
    """(1, c, 1, pixels) logits whose softmax is the given probabilities, one list of classes for each pixel."""
    return torch.tensor(probabilities).log().T[None, :, None, :]


def test_the_hinge_counts_scores_within_the_margin_only():
    loss = discriminator_loss("hinge", torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.25]))
    assert loss.item() == pytest.approx((0 + 0.5) / 2 + (0 + 1.25) / 2)
    assert generator_loss(torch.tensor([-3.0, 0.25])).item() == pytest.approx(1.375)


def test_the_critic_s_loss_is_a_difference_of_means():
    assert discriminator_loss("wgan-gp", torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.25])).item() == -1.375 - 1.25


def test_the_penalty_is_the_squared_distance_of_the_slope_from_one():
    real, made = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2)
    share = torch.tensor([0.0, 1.0])
    linear = gradient_penalty(lambda x: 3 * x[:, :, :1, :1], real, made, share)
    assert linear.item() == pytest.approx((3 - 1) ** 2)
    # Half the sum of squares has the image as its slope: of norm 2 at the generated end, and 0 at the real one.
    square = gradient_penalty(lambda x: 0.5 * (x**2).sum((1, 2, 3), keepdim=True), real, made, share)
    assert square.item() == pytest.approx(((2 - 1) ** 2 + (0 - 1) ** 2) / 2)


def test_the_penalty_reaches_the_discriminator_s_weights():
    weight = torch.tensor(3.0, requires_grad=True)
    gradient_penalty(lambda x: weight * x, torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1), torch.ones(1)).backward()
    assert weight.grad is not None and weight.grad.item() == pytest.approx(2 * (3 - 1))


def test_cross_entropy_leaves_unknown_pixels_out():
    logits = logits_of([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.9, 0.05, 0.05]])
    target = torch.tensor([[[0, 1, UNKNOWN]]])
    assert segmentation_loss(logits, target).item() == pytest.approx(-(math.log(0.5) + math.log(0.8)) / 2)
    assert segmentation_loss(logits, torch.full((1, 1, 3), UNKNOWN)).item() == 0


def test_the_anatomical_loss_is_one_less_dice_with_squared_denominators():
    logits = logits_of([[0.2, 0.8], [0.4, 0.6], [0.9, 0.1], [0.5, 0.5]])
    expected = 1 - 2 * (0.8 + 0.6) / (1 + 1 + 0.64 + 0.36 + 0.01 + 0.25)
    assert anatomical_loss(logits, torch.tensor([[[[1.0, 1, 0, 0]]]])).item() == pytest.approx(expected)


def test_the_anatomical_loss_counts_the_structures_that_its_reference_holds():
    logits = logits_of([[0.1, 0.8, 0.1], [0.2, 0.5, 0.3]])
    first_only = torch.tensor([[[[1.0, 0]], [[0, 0]]]])
    assert anatomical_loss(logits, first_only).item() == pytest.approx(1 - 2 * 0.8 / (1 + 0.64 + 0.25), rel=1e-4)
    assert anatomical_loss(logits, torch.zeros(1, 2, 1, 2)).item() == 0


def test_what_nobody_drew_is_expected_where_the_prior_has_it_but_for_what_is_drawn():
    given = torch.tensor([[[1, 0, 0]]])  # the first class is drawn, of the second nothing is told
    masks = torch.tensor([[[[1.0, 0, 0]], [[0.5, 0.75, 0]]]])
    assert anatomical_reference(masks, given).tolist() == [[[[1, 0, 0]], [[0, 0.75, 0]]]]


def test_a_perfect_segmentation_has_no_anatomical_loss():
    target = torch.randint(0, 4, (2, 8, 8), generator=torch.Generator().manual_seed(0))
    drawn = functional.one_hot(target, 4).permute(0, 3, 1, 2).float()
    assert anatomical_loss(50 * drawn, drawn[:, 1:]).item() == pytest.approx(0, abs=1e-6)


def test_without_a_reward_the_reconstruction_is_l1_of_the_mean_sample():
    samples = torch.tensor([[[1.0, 4.0]], [[3.0, 0.0]]])
    assert reconstruction_loss(torch.tensor([[0.0, 2.0]]), samples, 0).item() == pytest.approx((2 + 0) / 2)


def test_the_reward_of_two_samples_by_hand():
    samples = torch.tensor([[[1.0]], [[3.0]]])  # mean 2; spread √(π/4) · (1 + 1); reward √(2 / 6π)
    spread, reward = math.sqrt(math.pi / 4) * 2, math.sqrt(2 / (6 * math.pi))
    assert reconstruction_loss(torch.zeros(1, 1), samples, 1).item() == pytest.approx(2 - reward * spread)


@pytest.mark.parametrize("count", [2, 4])
def test_samples_of_the_real_spread_are_the_best(count: int):
    random = torch.Generator().manual_seed(1)
    real = torch.randn(200_000, generator=random)
    unit = torch.randn(count, 200_000, generator=random)
    loss = {sd: reconstruction_loss(real, sd * unit, 1).item() for sd in (0.0, 0.5, 0.8, 1.0, 1.2, 1.5, 2.0)}
    assert min(loss, key=lambda sd: loss[sd]) == 1.0
    plain = {sd: reconstruction_loss(real, sd * unit, 0).item() for sd in loss}
    assert min(plain, key=lambda sd: plain[sd]) == 0.0


def test_one_resolution_pays_for_grain_and_several_do_not():
    random = torch.Generator().manual_seed(2)
    smooth = torch.randn(3, 2000, 1, 1, 1, generator=random).expand(3, 2000, 1, 8, 8)  # what real images vary by
    grain = torch.randn(2, 2000, 1, 8, 8, generator=random)
    by_levels = [
        [pyramid_loss(smooth[0], samples, 1, levels).item() for samples in (smooth[1:], grain)] for levels in (1, 3)
    ]
    assert by_levels[0][0] == pytest.approx(by_levels[0][1], abs=0.02)
    assert by_levels[1][0] < by_levels[1][1] - 0.02
    assert pyramid_loss(smooth[0], grain, 1, 1) == reconstruction_loss(smooth[0], grain, 1)


def test_spread_is_rewarded_from_the_first_rewarded_resolution_on():
    random = torch.Generator().manual_seed(2)
    real, samples = torch.randn(4, 1, 8, 8, generator=random), torch.randn(2, 4, 1, 8, 8, generator=random)
    coarse = functional.avg_pool2d(real, 2), functional.avg_pool2d(samples.flatten(0, 1), 2)
    expected = (
        reconstruction_loss(real, samples, 0) + reconstruction_loss(coarse[0], coarse[1].unflatten(0, (2, 4)), 1)
    ) / 2
    torch.testing.assert_close(pyramid_loss(real, samples, 1, 2, first=1), expected)


def test_features_are_matched_by_the_mean_of_the_samples():
    real = [torch.zeros(1, 2), torch.ones(1, 1)]
    made = [torch.tensor([[1.0, 4.0], [3.0, 0.0]]), torch.tensor([[4.0], [0.0]])]
    assert feature_loss(real, made).item() == pytest.approx((2 + 1) / 2)


def test_alpha_and_beta_rise_and_the_other_weights_stay():
    config = GanConfig(alpha=2.0, beta=4.0, ramp_start=10, ramp_steps=20)
    assert [ramp(step, 10, 20) for step in (1, 10, 20, 30, 31)] == [0, 0, 0.5, 1, 1]
    assert [ramp(step, 10, 0) for step in (10, 11)] == [0, 1]
    early, half, late = (loss_weights(step, config) for step in (5, 20, 500))
    assert [w["segmentation"] for w in (early, half, late)] == [0, 1, 2]
    assert [w["anatomy"] for w in (early, half, late)] == [0, 2, 4]
    assert all(early[name] == late[name] > 0 for name in ("adversarial", "l1", "features"))


def test_a_partial_mask_says_nothing_where_it_holds_nothing():
    given = torch.tensor([[[0, 0, 2]], [[0, 1, 2]], [[0, 0, 0]]])
    drawn = torch.tensor([[False, True], [True, True], [False, False]])
    assert target(given, drawn).tolist() == [[[UNKNOWN, UNKNOWN, 2]], [[0, 1, 2]], [[UNKNOWN, UNKNOWN, UNKNOWN]]]
