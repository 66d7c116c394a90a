import numpy as np
import pytest

from medillus_pipeline.generation.prior_moments import level_kernel, moments_by_level, shape_moments


def ellipse(long: float, short: float, degrees: float) -> np.ndarray:
    """(1, 1, 64, 64) bool with the long axis turned from +x towards +y."""
    y, x = np.mgrid[:64, :64] - 31.5
    turn = np.radians(degrees)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    return ((along / long) ** 2 + (across / short) ** 2 <= 1)[None, None]


@pytest.mark.parametrize("degrees", [-60.0, 0.0, 35.0])
def test_an_ellipse_has_its_axes_its_angle_and_is_compact(degrees: float):
    elongation, orientation, compactness = shape_moments(ellipse(24, 12, degrees))[0, 0]
    assert elongation == pytest.approx(2, rel=0.03)
    assert orientation == pytest.approx(degrees, abs=1.5)
    assert compactness == pytest.approx(1, abs=0.02)


def test_a_structure_in_two_parts_is_less_compact_than_one():
    one, two = np.zeros((2, 1, 1, 32, 32), bool)
    one[0, 0, 8:16, 8:24] = True
    two[0, 0, 8:16, 2:10] = two[0, 0, 8:16, 22:30] = True
    assert shape_moments(two)[0, 0, 2] < 0.6 < 0.9 < shape_moments(one)[0, 0, 2]


def test_one_pixel_is_a_square_and_an_absent_structure_says_nothing():
    masks = np.zeros((1, 2, 8, 8), bool)
    masks[0, 0, 3, 3] = True
    moments = shape_moments(masks)[0]
    assert moments[0, 0] == 1
    assert np.isnan(moments[1]).all()


def test_orientations_are_averaged_as_axes_not_as_numbers():
    masks = np.concatenate([ellipse(24, 8, 88), ellipse(24, 8, -88)])
    mean, deviation = moments_by_level(shape_moments(masks), np.zeros(2), 2)[0, 0, 1]
    assert abs(mean) == pytest.approx(90, abs=1)
    assert deviation < 4


def test_a_patient_with_many_slices_weighs_no_more_than_one_with_few():
    kernel = level_kernel(np.array([0.5, 0.5, 0.5, 0.5]), ["a", "a", "a", "b"], 3, 1.0)
    np.testing.assert_allclose(kernel.sum(1), 1)
    np.testing.assert_allclose(kernel[:, :3].sum(1), kernel[:, 3])
