"""Integration of the flow, on a flow whose end is known."""

import math
from typing import Literal, cast

import pytest
import torch
from torch import Tensor, nn

from medillus_pipeline.generation.networks import integrate

SIZE = (4, 1, 8, 8)


class Analytic(nn.Module):
    """dx/dt = x · (1 + t), so x(1) = x(0) · exp(3/2)."""

    calls = 0

    def forward(self, x: Tensor, condition: Tensor, time: Tensor) -> Tensor:
        self.calls += 1
        return x * (1 + time)[:, None, None, None]


def error(method: Literal["euler", "heun"], steps: int) -> float:
    noise = torch.linspace(-2, 2, math.prod(SIZE), dtype=torch.float32).reshape(SIZE)
    found = integrate(Analytic(), torch.zeros(SIZE), noise, steps, method)
    return float((found - noise * math.exp(1.5)).abs().max())


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("heun", 2)])
def test_halving_the_step_divides_the_error_by_two_to_the_order(method: Literal["euler", "heun"], order: int) -> None:
    for steps in (16, 32):
        assert math.log2(error(method, steps) / error(method, 2 * steps)) == pytest.approx(order, abs=0.25)


def test_heun_is_nearer_than_euler_for_the_same_number_of_evaluations() -> None:
    assert error("heun", 8) < error("euler", 15) / 2


@pytest.mark.parametrize(("method", "evaluations"), [("euler", 5), ("heun", 9)])
def test_evaluations_are_those_that_are_documented(method: Literal["euler", "heun"], evaluations: int) -> None:
    network = Analytic()
    integrate(network, torch.zeros(SIZE), torch.ones(SIZE), 5, method)
    assert network.calls == evaluations


def test_another_method_is_refused() -> None:
    with pytest.raises(ValueError, match="euler or heun, not 'rk4'"):
        integrate(Analytic(), torch.zeros(SIZE), torch.ones(SIZE), 1, cast("Literal['euler']", "rk4"))
