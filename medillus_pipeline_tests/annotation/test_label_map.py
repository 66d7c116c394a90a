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


def random_area(rng: np.random.Generator, grain: float) -> shapely.Geometry:
    """Triangles, boxes and stars joined, cut out and combined by XOR: pieces with holes and islands. Corners lie on
    multiples of `grain` pixels, so with a coarse one many edges run through pixel centres.
    """
    area: shapely.Geometry = shapely.Polygon()
    for _ in range(int(rng.integers(1, 7))):
        corners = int(rng.choice([3, 4, 9]))
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
        radii = rng.uniform(4, 24, corners)
        ring = rng.uniform([12, 12], [58, 48]) + np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
        one = shapely.Polygon(np.round(ring / grain) * grain).buffer(0)
        area = [area.union, area.difference, area.symmetric_difference][int(rng.integers(3))](one).buffer(0)
    return area


def rings(area: shapely.Geometry) -> list[np.ndarray]:
    """Outlines and holes of all pieces, each (points, 2)."""
    pieces = [piece for piece in shapely.get_parts(area) if piece.geom_type == "Polygon"]
    return [np.array(ring.coords)[:-1] for piece in pieces for ring in (piece.exterior, *piece.interiors)]


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-6, 0.25, 0.5, 1.0]))
@settings(max_examples=150, deadline=None)
def test_the_area_differs_from_the_exact_one_by_less_than_half_a_pixel_of_perimeter(seed: int, grain: float) -> None:
    exact = random_area(np.random.default_rng(seed), grain)
    if exact.length < 20:
        return  # a speck round a pixel's centre is a whole pixel
    drawn = fill([ring + 60.0 for ring in rings(exact)], 200, 200)
    assert abs((drawn.area if drawn else 0) - exact.area) < 0.5 * exact.length


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-6, 0.25, 0.5, 1.0]))
@settings(max_examples=60, deadline=None)
def test_an_area_moved_by_whole_pixels_is_the_same_pixels_moved(seed: int, grain: float) -> None:
    rng = np.random.default_rng(seed)
    area = rings(random_area(rng, grain))
    right, down = (int(n) for n in rng.integers(0, 40, 2))
    one = fill([ring + 40.0 for ring in area], 200, 200)
    other = fill([ring + np.array([40.0 + right, 40.0 + down]) for ring in area], 200, 200)
    assert (one is None) == (other is None)
    if one and other:
        assert (other.left - one.left, other.top - one.top) == (right, down)
        assert np.array_equal(one.mask, other.mask)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-6, 0.5, 1.0]))
@settings(max_examples=40, deadline=None)
def test_pieces_of_a_cut_up_area_take_every_pixel_exactly_once(seed: int, grain: float) -> None:
    from scipy.spatial import Delaunay

    rng = np.random.default_rng(seed)
    corners = np.array([[-1, -1], [COLUMNS, -1], [COLUMNS, ROWS], [-1, ROWS]], float)
    inner = np.round(rng.uniform([0, 0], [COLUMNS, ROWS], (25, 2)) / grain) * grain
    points = np.vstack([corners, np.unique(inner, axis=0)])
    taken = np.zeros((ROWS, COLUMNS), int)
    for triangle in Delaunay(points).simplices:
        taken += canvas(fill([points[triangle]], ROWS, COLUMNS))
    assert (taken == 1).all()


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-6, 0.5, 1.0]))
@settings(max_examples=60, deadline=None)
def test_a_slit_to_a_hole_makes_no_difference(seed: int, grain: float) -> None:
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, (2, 11)), axis=1)
    radii = np.stack([rng.uniform(16, 27, 11), rng.uniform(2, 12, 11)])
    around = 32 + radii[..., None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    outer, inner = np.round(around / grain) * grain
    start = int(rng.integers(11))
    hole = np.roll(inner, -int(rng.integers(11)), axis=0)
    keyhole = np.concatenate([outer[: start + 1], hole, hole[:1], outer[start:]])
    assert np.array_equal(canvas(fill([keyhole], ROWS, COLUMNS)), canvas(fill([outer, inner], ROWS, COLUMNS)))


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
