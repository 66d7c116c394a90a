"""Noise for the slices of one volume: autoregressive along z, so that texture flows and what is large stays in place.

What is not here: what a generator makes of the noise (`generated_volume.py`), and how coherent that is
(`coherence.py`).
"""

import math
from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Tensor

from medillus_pipeline.errors import InputError

Coherence = Literal["by_scale", "autoregressive", "independent", "shared"]
"""`autoregressive`: every wavelength within a slice lasts equally long along z; `by_scale`: long ones last longer. The
other two are for comparison: each slice on its own, and one noise for all slices.
"""

REFERENCE_CORRELATION, REFERENCE_SPACING = 0.9, 2.75
"""Correlation of neighbouring slices' noise at a distance in mm: measured to flicker as CT of 2.5 to 3 mm does."""

COARSE_MM = 16.0
"""Wavelength within the slice above which noise lasts longer along z: what is large in the plane is so across it."""


def correlation(spacing: float) -> float:
    """Correlation of the noise of slices `spacing` mm apart: that of the reference distance, to the power of how many
    such distances lie between. Raises InputError for a spacing that is not positive.
    """
    if not (math.isfinite(spacing) and spacing > 0):
        raise InputError(f"the distance between slices must be positive, in mm, not {spacing}")
    return REFERENCE_CORRELATION ** (spacing / REFERENCE_SPACING)


def correlations(shape: tuple[int, int], spacing: tuple[float, float, float], coherence: Coherence) -> Tensor:
    """(h, w // 2 + 1): the correlation of neighbouring slices' noise for each frequency of `torch.fft.rfft2`.

    `by_scale` it is `correlation` to the power (COARSE_MM ÷ wavelength)², at most 1: the constant never changes.
    `spacing` (slice, row, column) in mm. Raises InputError for an unknown coherence.
    """
    frequencies = (shape[0], shape[1] // 2 + 1)
    if coherence == "independent":
        return torch.zeros(frequencies)
    if coherence == "shared":
        return torch.ones(frequencies)
    rho = correlation(spacing[0])
    if coherence == "autoregressive":
        return torch.full(frequencies, rho)
    if coherence != "by_scale":
        raise InputError(f"the noise of a stack is {', '.join(get_args(Coherence))}, not {coherence}")
    down = torch.fft.fftfreq(shape[0], spacing[1])[:, None]
    across = torch.fft.rfftfreq(shape[1], spacing[2])[None]
    return rho ** ((down**2 + across**2) * COARSE_MM**2).clamp(max=1)


def stack_noise(
    slices: int,
    shape: tuple[int, int, int],
    *,
    seed: int,
    spacing: tuple[float, float, float],
    batch: int,
    coherence: Coherence = "by_scale",
) -> Iterator[Tensor]:
    """Standard normal noise for a stack from its first slice on, in parts (at most `batch`, c, h, w), float32.

    Each frequency of a slice is ρ times that of the slice before plus √(1 - ρ²) fresh noise, ρ by `correlations` for
    `spacing` (slice, row, column) in mm. Every slice is white and standard normal by itself, so the generator sees what
    it was trained on. Slice i is the same whatever `slices` and `batch`.
    """
    size = (shape[1], shape[2])
    rho = correlations(size, spacing, coherence)
    fresh = (1 - rho**2).sqrt()
    random = torch.Generator().manual_seed(seed)
    current: Tensor | None = None
    for start in range(0, slices, batch):
        part = []
        for _ in range(start, min(start + batch, slices)):
            drawn = torch.fft.rfft2(torch.randn(shape, generator=random), norm="ortho")
            current = drawn if current is None else rho * current + fresh * drawn
            part.append(torch.fft.irfft2(current, s=size, norm="ortho"))
        yield torch.stack(part)
