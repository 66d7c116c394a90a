"""Layers: a structure cut to its box and run-length encoded comes back as it was drawn."""

import numpy as np
import pytest

from medillus_pipeline.annotation.label_map import Region, trimmed
from medillus_pipeline.annotation.layers import layer_of, mask_of, region_of, run_lengths


@pytest.mark.parametrize("seed", range(20))
def test_a_layer_gives_the_region_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    region = trimmed(rng.random((rng.integers(1, 30), rng.integers(1, 30))) < rng.random() + 0.05, 7, 11)
    if region is None:
        region = Region(7, 11, np.ones((1, 1), bool))
    back = region_of(layer_of(region))
    assert (back.top, back.left) == (region.top, region.left) and np.array_equal(back.mask, region.mask)


def test_the_first_run_is_outside() -> None:
    assert run_lengths(np.array([[True, False], [False, True]])) == [0, 1, 2, 1]
    assert run_lengths(np.array([[False, True]])) == [1, 1]


def test_runs_that_do_not_fill_the_box_are_an_error() -> None:
    with pytest.raises(ValueError):
        mask_of([1, 2], 2, 2)
