import numpy as np
import pytest

from medillus_pipeline.generation.intensity import CT, LINEAR, IntensityMap, intensity_map


def test_every_ct_value_survives_the_way_there_and_back():
    values = np.arange(-1024, 3072, dtype=np.int16)
    mapped = CT.forward(values)
    assert mapped.min() == -1 and mapped.max() == 1 and mapped.dtype == np.float32
    np.testing.assert_array_equal(CT.inverse(mapped), values)


def test_values_beyond_the_range_are_clipped():
    np.testing.assert_array_equal(CT.inverse(CT.forward(np.array([-5000, 9000]))), [-1024, 3071])
    np.testing.assert_array_equal(CT.inverse(np.array([-3.0, 3.0])), [-1024, 3071])


def test_soft_tissue_gets_most_of_the_interval():
    low, high = CT.forward(np.array([-150, 250]))
    assert high - low > 0.8


def test_a_map_that_does_not_rise_or_span_the_interval_is_refused():
    for values, mapped in (((0.0, 1.0), (-1.0, 0.5)), ((1.0, 0.0), (-1.0, 1.0)), ((0.0, 1.0, 2.0), (-1.0, 1.0))):
        with pytest.raises(ValueError, match="increasing knots"):
            IntensityMap(values, mapped)


def test_modalities_without_a_unit_use_the_normalised_range_and_with_ct_the_map_of_ct():
    assert intensity_map(("MR",)) is intensity_map(("MR", "PT")) is LINEAR
    assert intensity_map(("CT",)) is intensity_map(("CT", "MR")) is CT
    normalised = np.arange(-1000, 1001)
    np.testing.assert_array_equal(CT.inverse(CT.forward(normalised)), normalised)
    assert IntensityMap.from_description(CT.describe()) == CT
