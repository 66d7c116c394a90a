"""Slices are shown as a radiologist would: lung where it fills the body, percentiles where there is no HU."""

import numpy as np
import pytest

from medillus_pipeline.validation.windows import LUNG, SOFT_TISSUE, window_for

ROW, COLUMN = (np.mgrid[:64, :64] - 31.5) / 32


def body(air: float) -> np.ndarray:
    """A round body with a rim of tissue and air of that radius within."""
    radius = np.hypot(ROW, COLUMN)
    return np.where(radius < air, -850, np.where(radius < 0.8, 40, -1000)).astype(np.int16)


@pytest.mark.parametrize(("air", "window"), [(0.0, SOFT_TISSUE), (0.2, SOFT_TISSUE), (0.5, LUNG)])
def test_the_share_of_air_within_the_body_decides(air: float, window: object) -> None:
    assert window_for(body(air), "CT") == window


def test_the_lung_window_shows_what_the_soft_tissue_window_hides() -> None:
    vessels = np.array([-900, -700])
    assert np.ptp(SOFT_TISSUE.grey(vessels)) == 0 < np.ptp(LUNG.grey(vessels).astype(int))


@pytest.mark.parametrize("modality", ["MR", "DX", "CR"])
def test_without_hu_the_grey_levels_span_the_image(modality: str) -> None:
    image = np.random.default_rng(0).integers(-300, 200, (64, 64)).astype(np.int16)
    shown = window_for(image, modality).grey(image)
    assert shown.min() == 0 and shown.max() == 255 and 100 < shown.mean() < 155


def test_an_empty_slice_is_shown_too() -> None:
    for modality in ("CT", "MR"):
        assert window_for(np.full((8, 8), -1000, np.int16), modality).grey(np.zeros((8, 8))).shape == (8, 8)
