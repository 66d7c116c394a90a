"""Polygons become pixels by their centres, and overlaps are decided by priority, then size."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from medillus_pipeline.annotation.label_map import Region, compose, fill, trimmed, united
from medillus_pipeline.annotation.vocabulary import load

WORDS = load()
ROWS, COLUMNS = 60, 70


def canvas(region: Region | None) -> np.ndarray:
    whole = np.zeros((ROWS, COLUMNS), bool)
    if region is not None:
        whole[region.window] = region.mask
    return whole


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], float)


@given(st.integers(0, 2**32 - 1), st.integers(3, 12))
@settings(max_examples=60, deadline=None)
def test_a_pixel_is_inside_when_its_centre_is(seed: int, corners: int) -> None:
    rng = np.random.default_rng(seed)
    outer = rng.uniform([-8, -8], [COLUMNS + 8, ROWS + 8], (corners, 2))
    hole = rng.uniform([10, 10], [50, 50], (3, 2))
    columns, rows = np.meshgrid(np.arange(COLUMNS), np.arange(ROWS))
    centres = shapely.points(columns.ravel(), rows.ravel())
    odd = np.zeros(ROWS * COLUMNS, bool)
    for ring in (outer, hole):
        odd ^= _even_odd(ring, columns.ravel(), rows.ravel())
    close = shapely.distance(shapely.MultiLineString([_closed(outer), _closed(hole)]), centres) < 1e-5
    drawn = canvas(fill([outer, hole], ROWS, COLUMNS)).ravel()
    assert np.array_equal(drawn[~close], odd[~close])


def _closed(ring: np.ndarray) -> np.ndarray:
    return np.vstack([ring, ring[:1]])


def _even_odd(ring: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The textbook crossing test, one point and edge at a time."""
    odd = np.zeros(len(x), bool)
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if y0 != y1:
            crosses = (y0 > y) != (y1 > y)
            odd ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return odd


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_the_area_differs_from_the_exact_one_by_less_than_half_a_pixel_of_perimeter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 14))
    radii = rng.uniform(6, 24, 14)
    outer = np.stack([35 + radii * np.cos(angles), 30 + radii * np.sin(angles)], axis=1)
    polygon = shapely.Polygon(outer)
    inner = shapely.affinity.scale(polygon, 0.3, 0.3, origin=(35, 30))
    exact = polygon.symmetric_difference(inner) if polygon.is_valid else None
    if exact is None:
        return
    drawn = fill([outer, np.array(inner.exterior.coords)[:-1]], ROWS, COLUMNS)
    area = drawn.area if drawn else 0
    assert abs(area - exact.area) <= 0.5 * exact.length + 1


def test_shapes_that_share_an_edge_share_no_pixel_and_leave_no_gap() -> None:
    left, right = canvas(fill([box(5, 5, 20, 30)], ROWS, COLUMNS)), canvas(fill([box(20, 5, 41, 30)], ROWS, COLUMNS))
    assert not (left & right).any()
    assert np.array_equal(left | right, canvas(fill([box(5, 5, 41, 30)], ROWS, COLUMNS)))


def test_an_inner_contour_is_a_hole_and_one_inside_it_an_island() -> None:
    drawn = canvas(fill([box(5, 5, 45, 45), box(15, 15, 35, 35), box(22, 22, 28, 28)], ROWS, COLUMNS))
    assert drawn[10, 10] and not drawn[18, 18] and drawn[25, 25]
    assert drawn.sum() == 40 * 40 - 20 * 20 + 6 * 6


def test_a_keyhole_is_a_ring() -> None:
    outer, inner = box(5, 5, 45, 45), box(15, 15, 35, 35)[::-1]
    keyhole = np.vstack([outer, outer[:1], inner, inner[:1]])
    assert np.array_equal(canvas(fill([keyhole], ROWS, COLUMNS)), canvas(fill([outer, inner], ROWS, COLUMNS)))


def test_what_lies_beyond_the_slice_is_cut_off() -> None:
    assert canvas(fill([box(-100, -100, 1000, 1000)], ROWS, COLUMNS)).all()
    assert fill([box(80, 5, 90, 10)], ROWS, COLUMNS) is None
    assert fill([box(-30, 5, -20, 10)], ROWS, COLUMNS) is None
    assert fill([box(5, -30, 10, -20)], ROWS, COLUMNS) is None


@pytest.mark.parametrize("points", [[], [[3, 3]], [[3, 3], [9, 9]], [[1, 1], [5, 1], [9, 1]]])
def test_what_has_no_area_draws_nothing(points: list[list[float]]) -> None:
    assert fill([np.array(points, float).reshape(-1, 2)], ROWS, COLUMNS) is None


def test_rounding_noise_does_not_decide_about_a_pixel() -> None:
    exact = canvas(fill([box(5, 5, 20, 30)], ROWS, COLUMNS))
    for noise in (1e-9, -1e-9):
        assert np.array_equal(canvas(fill([box(5, 5, 20, 30) + noise], ROWS, COLUMNS)), exact)


def test_a_lesion_wins_over_its_organ_and_an_organ_over_its_region() -> None:
    lungs, lung, lesion = (WORDS.by_key(key).id for key in ("lungs", "lung_left", "nodule"))
    regions = {lesion: Region(12, 12, np.ones((4, 4), bool)), lung: Region(10, 10, np.ones((20, 10), bool))}
    regions[lungs] = Region(5, 5, np.ones((30, 40), bool))
    composed = compose(regions, ROWS, COLUMNS, WORDS)
    assert composed.areas == {lung: 184, lungs: 1000, lesion: 16}
    assert list(composed.areas) == sorted(composed.areas)
    assert composed.overlap_pixels == 200
    assert composed.values[13, 13] == lesion and composed.values[25, 12] == lung and composed.values[6, 6] == lungs


def test_at_equal_priority_the_smaller_structure_wins() -> None:
    left, right = WORDS.by_key("kidney_left").id, WORDS.by_key("kidney_right").id
    for small, large in ((left, right), (right, left)):
        regions = {large: Region(0, 0, np.ones((20, 20), bool)), small: Region(5, 5, np.ones((5, 5), bool))}
        assert compose(regions, ROWS, COLUMNS, WORDS).areas == {large: 375, small: 25}


def test_a_union_holds_the_pixels_of_both() -> None:
    one, other = Region(2, 3, np.ones((2, 2), bool)), Region(10, 1, np.ones((1, 5), bool))
    assert np.array_equal(canvas(united(one, other)), canvas(one) | canvas(other))


def test_an_empty_mask_is_no_region() -> None:
    assert trimmed(np.zeros((4, 4), bool)) is None
