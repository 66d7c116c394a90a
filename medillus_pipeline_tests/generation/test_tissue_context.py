"""The tissue of mapped images is that which the prior finds in the values."""

import numpy as np
import pytest

from medillus_pipeline.generation.intensity import CT, LINEAR, IntensityMap
from medillus_pipeline.generation.prior import tissues
from medillus_pipeline.generation.tissue_context import coarsened, mapped_thresholds, tissue_context


@pytest.mark.parametrize(("modality", "intensity"), [("CT", CT), ("MR", LINEAR), ("MR", CT)])
def test_it_equals_the_prior_s_on_noise_up_to_the_edges(modality: str, intensity: IntensityMap) -> None:
    values = np.random.default_rng(0).integers(-1000, 1000, (4, 40, 48)).astype(np.int16)
    values[:, 10:20] = np.random.default_rng(1).choice([-301, -300, -299, -21, -20, 199, 200, 500, -500], (4, 10, 48))
    thresholds = np.repeat(mapped_thresholds(modality, intensity)[None], 4, 0)
    found = tissue_context(intensity.forward(values), thresholds)
    assert found.dtype == np.float32
    assert np.array_equal(found, tissues(values, modality))


def test_a_coarse_context_is_one_hot_keeps_large_areas_and_loses_a_speck() -> None:
    kind = np.zeros((32, 32), int)
    kind[:, 16:] = 2
    kind[5, 5] = 3
    fine = np.eye(4, dtype=np.float32)[kind].transpose(2, 0, 1)
    coarse = coarsened(fine, 4)
    assert coarse.dtype == np.float32 and (coarse.sum(0) == 1).all() and set(np.unique(coarse)) == {0, 1}
    assert not coarse[3].any()
    assert (coarse[2][:, 18:] == 1).all() and (coarse[0][:, :14] == 1).all()
    assert np.array_equal(coarsened(fine, 1), fine)
