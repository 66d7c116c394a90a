"""The flow's network and its integration: what it is told changes the image, at the cost that is documented."""

import math
from typing import Literal, cast

import pytest
import torch
from torch import Tensor, nn

from medillus_pipeline.generation.conditions import condition_channels
from medillus_pipeline.generation.networks import Attention, FlowUNet, guided, integrate
from medillus_pipeline_tests.generation.variants import shaken

SIZE = (4, 1, 8, 8)
CLASSES, ATTRIBUTES = 3, 4


class Counted(nn.Module):
    """A velocity that tells what it was told: the sum of the attributes, everywhere."""

    calls = 0

    def forward(self, x: Tensor, condition: Tensor, time: Tensor, said: Tensor, drawn: Tensor) -> Tensor:
        self.calls += 1
        return said.sum(1)[:, None, None, None].expand_as(x)


class Analytic:
    """dx/dt = x · (1 + t), so x(1) = x(0) · exp(3/2)."""

    calls = 0

    def __call__(self, x: Tensor, time: Tensor) -> Tensor:
        self.calls += 1
        return x * (1 + time)[:, None, None, None]


def error(method: Literal["euler", "heun"], steps: int) -> float:
    noise = torch.linspace(-2, 2, math.prod(SIZE), dtype=torch.float32).reshape(SIZE)
    return float((integrate(Analytic(), noise, steps, method) - noise * math.exp(1.5)).abs().max())


def network(**settings: int) -> FlowUNet:
    torch.manual_seed(0)
    made = FlowUNet(CLASSES, ATTRIBUTES, (8, 16, 32), patch=2, detail=8, embedding=16, **settings)
    return shaken(made)


def inputs(images: int = 1, size: int = 32) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(2)
    return {
        "noisy": torch.randn(2, images, size, size, generator=random),
        "condition": torch.rand(2, condition_channels(CLASSES), size, size, generator=random),
        "time": torch.tensor([0.2, 0.7]),
        "said": torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 0]]),
        "drawn": torch.tensor([[1.0, 1, 0], [1, 0, 1]]),
    }


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("heun", 2)])
def test_halving_the_step_divides_the_error_by_two_to_the_order(method: Literal["euler", "heun"], order: int) -> None:
    for steps in (16, 32):
        assert math.log2(error(method, steps) / error(method, 2 * steps)) == pytest.approx(order, abs=0.25)


def test_heun_is_nearer_than_euler_for_the_same_number_of_evaluations() -> None:
    assert error("heun", 8) < error("euler", 15) / 2


@pytest.mark.parametrize(("method", "evaluations"), [("euler", 5), ("heun", 9)])
def test_evaluations_are_those_that_are_documented(method: Literal["euler", "heun"], evaluations: int) -> None:
    velocity = Analytic()
    integrate(velocity, torch.ones(SIZE), 5, method)
    assert velocity.calls == evaluations


def test_another_method_is_refused() -> None:
    with pytest.raises(ValueError, match="euler or heun, not 'rk4'"):
        integrate(Analytic(), torch.ones(SIZE), 1, cast("Literal['euler']", "rk4"))


@pytest.mark.parametrize(("guidance", "evaluations", "expected"), [(1.0, 1, 3.0), (2.0, 2, 6.0), (0.0, 2, 0.0)])
def test_guidance_takes_what_attributes_change_that_many_times_and_1_costs_nothing(
    guidance: float, evaluations: int, expected: float
) -> None:
    counted, said = Counted(), torch.full((4, 3), 1.0)
    velocity = guided(counted, torch.zeros(4, 1, 8, 8), said, torch.ones(4, 2), guidance)
    assert (velocity(torch.zeros(SIZE), torch.zeros(4)) == expected).all()
    assert counted.calls == evaluations


@pytest.mark.parametrize("changed", ["noisy", "condition", "time", "said", "drawn"])
def test_every_thing_that_the_network_is_told_changes_its_velocity(changed: str) -> None:
    given, unet = inputs(), network()
    with torch.no_grad():
        other = unet(**given | {changed: given[changed].flip(0)})
        assert not torch.allclose(unet(**given), other, atol=1e-4)


def test_every_attribute_and_every_class_that_is_not_drawn_counts() -> None:
    given, unet = inputs(), network()
    with torch.no_grad():
        for name, width in (("said", ATTRIBUTES), ("drawn", CLASSES)):
            for place in range(width):
                other = given[name].clone()
                other[:, place] = 1 - other[:, place]
                assert not torch.allclose(unet(**given), unet(**given | {name: other}), atol=1e-5), (name, place)


def test_an_image_does_not_depend_on_those_beside_it() -> None:
    given, unet = inputs(), network()
    with torch.no_grad():
        alone = unet(**{name: value[:1] for name, value in given.items()})
        torch.testing.assert_close(unet(**given)[:1], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("attention", [0, 1, 2, 3])
def test_the_coarsest_resolutions_look_far_and_no_others(attention: int) -> None:
    unet = network(attention=attention)
    assert sum(isinstance(part, Attention) for part in unet.modules()) == max(0, 2 * attention - 1)
    assert isinstance(unet.attention, Attention) is (attention >= 1)
    assert [isinstance(part, Attention) for part in unet.look_down] == [attention >= 3, attention >= 2]
    assert [isinstance(part, Attention) for part in unet.look_up] == [attention >= 2, attention >= 3]
    assert unet(**inputs()).shape == (2, 1, 32, 32)


def test_attention_sees_the_whole_map_and_convolutions_do_not() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 32, 8, 8, requires_grad=True)
    (seen,) = torch.autograd.grad(shaken(Attention(32))(x)[0, :, 0, 0].sum(), x)
    assert (seen.abs().sum(1) > 0).all()


@pytest.mark.parametrize("images", [1, 3])
def test_a_fresh_network_says_that_the_image_is_grey(images: int) -> None:
    torch.manual_seed(0)
    fresh = FlowUNet(CLASSES, ATTRIBUTES, (8, 16), images=images, patch=2, detail=8, embedding=16)
    given = inputs(images)
    expected = -given["noisy"] / (1 - given["time"])[:, None, None, None]
    torch.testing.assert_close(fresh(**given), expected)
