"""Noise of a stack: each slice as the model knows it, neighbours alike, at any spacing."""

import math

import numpy as np
import pytest
import torch

from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration.volumes.stack_noise import Coherence, correlation, stack_noise

SHAPE = (1, 32, 32)


def drawn(coherence: Coherence, slices: int = 60, *, apart: float = 2.75, seed: int = 1, batch: int = 16):
    parts = stack_noise(slices, SHAPE, seed=seed, spacing=(apart, 6.0, 6.0), batch=batch, coherence=coherence)
    return torch.cat(list(parts))


def lag(noise: torch.Tensor, slices: int) -> float:
    return float((noise[slices:] * noise[:-slices]).mean())


@pytest.mark.parametrize("coherence", ["by_scale", "autoregressive", "independent", "shared"])
def test_every_slice_is_white_and_standard_normal_by_itself(coherence: Coherence):
    noise = torch.cat([drawn(coherence, 2, seed=seed)[-1:] for seed in range(200)])
    assert abs(float(noise.mean())) < 0.01 and abs(float(noise.std()) - 1) < 0.01
    for axis in (2, 3):
        assert abs(float((noise * noise.roll(1, axis)).mean())) < 0.01
    power = torch.fft.rfft2(noise, norm="ortho").abs().square().mean((0, 1))
    assert float(power[0, 1:5].mean()) == pytest.approx(1, abs=0.15)


def test_the_correlation_of_neighbours_falls_off_as_it_should():
    noise = drawn("autoregressive", 200)
    assert lag(noise, 1) == pytest.approx(0.9, abs=0.02)
    assert lag(noise, 3) == pytest.approx(0.9**3, abs=0.04)


def test_the_correlation_is_rescaled_by_the_spacing():
    assert correlation(2.75) == pytest.approx(0.9)
    assert correlation(5.5) == pytest.approx(0.81)
    assert correlation(1.0) ** 2.75 == pytest.approx(0.9)
    thick, thin = drawn("autoregressive", 120, apart=5.5), drawn("autoregressive", 240)
    assert lag(thick, 1) == pytest.approx(lag(thin, 2), abs=0.03)


def test_what_is_large_within_a_slice_lasts_longer_along_z():
    noise = torch.fft.rfft2(drawn("by_scale", 400)[:, 0], norm="ortho")

    def lasting(frequency: int) -> float:
        mode = noise[:, [0, frequency, -frequency], frequency] if frequency > 8 else noise[:, :1, frequency]
        return float((mode[1:] * mode[:-1].conj()).real.mean() / mode.abs().square().mean())

    # 32 pixels of 6 mm: frequency 1 is a wavelength of 192 mm, frequency 15 one of 13 mm.
    assert lasting(1) > 0.99
    assert lasting(15) == pytest.approx(0.9, abs=0.04)
    assert lag(drawn("by_scale", 200), 1) == pytest.approx(0.9, abs=0.03)


def test_a_slice_is_the_same_whatever_the_length_and_the_batch():
    whole = drawn("by_scale", 20, batch=20)
    np.testing.assert_array_equal(whole[:7], drawn("by_scale", 7, batch=3))
    assert not torch.equal(whole, drawn("by_scale", 20, batch=20, seed=2))


def test_the_kinds_to_compare_with_are_what_they_say():
    assert abs(lag(drawn("independent"), 1)) < 0.02
    shared = drawn("shared")
    torch.testing.assert_close(shared[0], shared[-1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("spacing", [0.0, -1.0, math.nan])
def test_a_stack_without_spacing_is_refused(spacing: float):
    with pytest.raises(InputError, match="distance between slices"):
        correlation(spacing)


def test_an_unknown_kind_is_refused():
    with pytest.raises(InputError, match="by_scale"):
        drawn("previous")  # type: ignore[arg-type]
