"""From the grey values of a sheet to how much ink lies where: polarity, light, noise, strength.

The network sees drawings only through here, in training as in use. Where the grey values come from is in
`picture_file.py` and `svg_file.py`; which part of the sheet is the drawing is in `placing.py`.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Ink = NDArray[np.float32]

LIGHT_REACH = 0.09
"""Deviation of the blur that light is taken from, as a share of the longer side: wider than strokes and their gaps."""

LIGHT_CELLS = 32
"""Cells along the longer side on which light is found: it changes slowly, and a fine grid only costs time."""

NOISE_SPREADS = 3.0
"""Deviations of the paper's noise below which a pixel is paper."""

LEAST_CONTRAST = 0.02
"""Ink fainter than this share of the paper's brightness cannot be told from an encoder's noise."""


def dark_on_light(grey: NDArray[np.floating]) -> bool:
    """Whether the strokes of (h, w) are darker than their surroundings; strokes are the sparse side of the two."""
    values = np.asarray(grey, np.float32)
    difference = _spread_out(_blurred(_cells(values)), values.shape) - values
    return bool((difference**3).mean() >= 0)


def paper_light(grey: NDArray[np.floating], *, dark: bool) -> NDArray[np.float32]:
    """(h, w): the brightness that the bare sheet would have everywhere, strokes left out of the mean."""
    values = np.asarray(grey, np.float32)
    light = _spread_out(_blurred(_cells(values)), values.shape)
    for _ in range(2):
        difference = (light - values) if dark else (values - light)
        spread = 1.4826 * np.median(np.abs(difference - np.median(difference)))
        paper = (difference < 2 * spread + 0.01).astype(np.float32)
        share = _blurred(_cells(paper))
        light = _spread_out(
            np.asarray(_blurred(_cells(values * paper)) / np.maximum(share, 1e-4), np.float32), values.shape
        )
    return light


def _cells(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means over square cells; what is left at the far edges is repeated into the last cell."""
    cell = max(1, max(values.shape) // LIGHT_CELLS)
    height, width = (-(-length // cell) for length in values.shape)
    whole = np.pad(
        values, ((0, height * cell - values.shape[0]), (0, width * cell - values.shape[1])), mode="symmetric"
    )
    return whole.reshape(height, cell, width, cell).mean((1, 3), dtype=np.float32)


def _blurred(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    blurred = ndimage.gaussian_filter(cells, LIGHT_REACH * max(cells.shape), mode="nearest", truncate=3)
    return np.asarray(blurred, np.float32)


def _spread_out(cells: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Cells interpolated to (h, w), separably: linear between their middles."""
    cell = max(1, max(shape) // LIGHT_CELLS)
    for axis in (0, 1):
        place = np.clip((np.arange(shape[axis]) + 0.5) / cell - 0.5, 0, cells.shape[axis] - 1)
        low = np.minimum(place.astype(int), max(cells.shape[axis] - 2, 0))
        share = (place - low).astype(np.float32)
        share = share[:, None] if axis == 0 else share[None, :]
        high = np.minimum(low + 1, cells.shape[axis] - 1)
        mixed = np.take(cells, low, axis) * (1 - share) + np.take(cells, high, axis) * share
        cells = np.asarray(mixed, np.float32)
    return cells


def ink_of(grey: NDArray[np.floating], *, dark: bool | None = None) -> Ink:
    """(h, w) float32 in 0 … 1, 0 the sheet and 1 a full stroke, of grey values (h, w) in 0 … 1.

    `dark` says whether strokes are darker than the sheet; it is found out when not given. A blank sheet gives zeros.
    """
    values = np.asarray(grey, np.float32)
    dark = dark_on_light(values) if dark is None else dark
    light = paper_light(values, dark=dark)
    # Where ink takes light away the share counts; a light stroke on a dark ground adds what the ground lacks.
    ink = 1 - values / np.maximum(light, 0.02) if dark else (values - light) / np.maximum(1 - light, 0.02)
    middle = np.median(ink)
    spread = 1.4826 * float(np.median(np.abs(ink - middle)))
    floor = max(float(middle) + NOISE_SPREADS * spread, LEAST_CONTRAST)
    strokes = ink[ink > floor]
    if len(strokes) < 4:
        return np.zeros(values.shape, np.float32)
    full = max(float(np.quantile(strokes, 0.75)), floor + LEAST_CONTRAST)
    return np.clip((ink - floor) / (full - floor), 0, 1).astype(np.float32)


def unshuffled(ink: NDArray[np.floating]) -> NDArray[np.float32]:
    """(..., 4, h, w) of ink (..., 2h, 2w): each 2 × 2 pixels become four channels, row by row."""
    *lead, height, width = ink.shape
    parts = np.asarray(ink, np.float32).reshape(*lead, height // 2, 2, width // 2, 2)
    return np.moveaxis(parts, (-3, -1), (-4, -3)).reshape(*lead, 4, height // 2, width // 2)
