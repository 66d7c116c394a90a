"""Contours meet slices by their planes: what is drawn twice, between slices, at an angle or off the picture is said."""

import numpy as np
import pytest

from medillus_pipeline.annotation.drawing import Drawing
from medillus_pipeline.annotation.formats import rtstruct
from medillus_pipeline.annotation.formats.contour_planes import Crossing, crossing, distinct
from medillus_pipeline.annotation.references import References
from medillus_pipeline.annotation.slice_index import SliceIndex
from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline_tests.annotation.published import SERIES, Desk, reasons, square_mm, stack, structure_set

LIVER = load().by_key("liver").id
CLOSED = "CLOSED_PLANAR"
Ring = list[list[float]]


def drawing(desk: Desk, *contours: tuple[str, str, Ring], name: str = "Liver", **changes: str) -> Drawing:
    index = SliceIndex(desk.slices)
    return rtstruct.read(
        structure_set({name: list(contours)}, **changes), References(index, desk.pseudonymiser), index, load()
    )


def areas(drawn: Drawing, desk: Desk) -> list[int]:
    """Pixels of the liver on each slice of the desk, in order."""
    regions = [drawn.regions.get(one["slice_name"], {}).get(LIVER) for one in desk.slices]
    return [region.area if region else 0 for region in regions]


def circle(
    radius: float, corners: int = 60, centre: tuple[float, float] = (0.0, 0.0), phase: float = 0.0
) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) + phase
    return np.stack([centre[0] + radius * np.cos(angles), centre[1] + radius * np.sin(angles)], axis=1)


ONCE = square_mm(0.0, -0.5, 9.5)


@pytest.mark.parametrize(
    "again",
    [
        ONCE,
        ONCE[::-1],
        ONCE[2:] + ONCE[:2],
        [*ONCE, ONCE[0]],
        [ONCE[0], ONCE[0], *ONCE[1:]],
        [[x + 0.004, y - 0.004, z] for x, y, z in ONCE[1:] + ONCE[:1]],
    ],
    ids=["the same", "backwards", "another start", "closed", "a point twice", "rounded"],
)
def test_a_contour_exported_twice_counts_once(desk: Desk, again: Ring) -> None:
    drawn = drawing(desk, (CLOSED, f"{SERIES}.0", ONCE), (CLOSED, f"{SERIES}.0", again))
    assert areas(drawn, desk) == [50, 0, 0]
    assert drawn.remarks == {"liver: contours drawn twice were counted once"}


def test_a_hole_exported_twice_is_still_a_hole(desk: Desk) -> None:
    rings = [square_mm(0.0, -10.5, 19.5), ONCE, ONCE[::-1], square_mm(0.0, -10.5, 19.5)]
    assert areas(drawing(desk, *[(CLOSED, f"{SERIES}.0", ring) for ring in rings]), desk)[0] == 30 * 15 - 50


def test_the_same_outline_on_two_slices_is_no_repetition(desk: Desk) -> None:
    drawn = drawing(desk, (CLOSED, f"{SERIES}.0", ONCE), (CLOSED, f"{SERIES}.1", square_mm(5.0, -0.5, 9.5)))
    assert areas(drawn, desk) == [50, 50, 0] and not drawn.remarks


def test_repetitions_are_found_among_many_contours_of_any_form() -> None:
    rng = np.random.default_rng(5)
    rings = [np.pad(rng.uniform(0, 90, (int(rng.integers(3, 9)), 2)), ((0, 0), (0, 1))) for _ in range(40)]
    again = [np.roll(ring, int(rng.integers(9)), axis=0)[:: int(rng.choice([-1, 1]))] for ring in rings]
    assert sorted(i % 40 for i in distinct([*rings, *again])) == list(range(40))
    levels = [np.array([0.0, 0.0, z]) for z in (0.0, 0.5, 1.0)]
    assert distinct([ring + level for level in levels for ring in rings]) == list(range(120))


def test_two_outlines_that_all_but_coincide_are_refused_and_a_thin_wall_is_not(desk: Desk) -> None:
    rng = np.random.default_rng(1)
    outline = circle(9.0)
    assert (
        crossing([outline + 20, circle(9.0, phase=0.02) + rng.normal(0, 0.3, (60, 2)) + 20], 40, 50) is Crossing.ALIKE
    )
    assert crossing([circle(15.0) + 20, circle(14.0) + 20], 40, 50) is Crossing.NONE
    shifted = [[x + 1.2, y + 1.2, z] for x, y, z in square_mm(0.0, -10.5, 19.5)]
    drawn = drawing(
        desk,
        (CLOSED, f"{SERIES}.0", square_mm(0.0, -10.5, 19.5)),
        (CLOSED, f"{SERIES}.0", shifted),
        (CLOSED, f"{SERIES}.1", square_mm(5.0, -0.5, 9.5)),
    )
    assert areas(drawn, desk) == [0, 50, 0]
    assert {(key, str(reason)) for key, _, reason in drawn.notes} == {("liver", "crossing_contours")}


def test_contours_that_cross_follow_the_standard_and_are_remarked_on(desk: Desk) -> None:
    other = [[x + 6, y, z] for x, y, z in ONCE]
    drawn = drawing(desk, (CLOSED, f"{SERIES}.0", ONCE), (CLOSED, f"{SERIES}.0", other))
    assert areas(drawn, desk)[0] == 2 * (50 - 20)
    assert drawn.remarks == {"liver: contours cross; what lies in both was left out"}


def test_a_crescent_cut_out_by_a_touching_contour_is_no_crossing() -> None:
    assert crossing([circle(15.0) + 20, circle(12.0, centre=(3.1, 0.0)) + 20], 40, 50) is Crossing.NONE


def test_a_keyhole_leaves_its_hole_open(desk: Desk) -> None:
    outer, inner = square_mm(0.0, -10.5, 19.5), square_mm(0.0, -0.5, 9.5)[::-1]
    keyhole = [*outer, outer[0], *inner, inner[0]]
    assert areas(drawing(desk, (CLOSED, f"{SERIES}.0", keyhole)), desk)[0] == 30 * 15 - 50


@pytest.mark.parametrize(
    ("spacing", "filled", "passed"), [(10.0, [0, 2, 4, 6, 8], 4), (15.0, [0, 3, 6, 9], 6), (5.0, list(range(10)), 0)]
)
def test_slices_between_coarser_contours_stay_empty_and_are_counted(
    desk: Desk, spacing: float, filled: list[int], passed: int
) -> None:
    desk.slices = stack(desk.pseudonymiser, 10)
    rings = [square_mm(z, -0.5, 9.5) for z in np.arange(0, 45.1, spacing).tolist()]
    drawn = drawing(desk, *[(CLOSED, "", ring) for ring in rings])
    assert [k for k, area in enumerate(areas(drawn, desk)) if area] == filled
    expected = {f"liver: {passed} slices between contour planes were left empty"} if passed else set()
    assert drawn.remarks == expected


def test_of_finer_contours_the_nearest_to_each_slice_is_drawn_and_the_others_are_named(desk: Desk) -> None:
    rings = [square_mm(float(z), -0.5, 9.5 + 2 * (z % 5 == 0)) for z in range(0, 11, 1)]
    drawn = drawing(desk, *[(CLOSED, "", ring) for ring in rings])
    assert areas(drawn, desk) == [72, 72, 72]
    assert {(str(reason), len(places)) for (_, _, reason), places in drawn.notes.items()} == {("other_geometry", 3)}


def test_contours_of_three_mm_on_slices_of_five_draw_every_slice_and_say_so(desk: Desk) -> None:
    drawn = drawing(desk, *[(CLOSED, "", square_mm(z, -0.5, 9.5)) for z in (0.0, 3.0, 6.0, 9.0)])
    assert areas(drawn, desk) == [50, 50, 50]
    assert drawn.remarks == {"liver: contours between slices were drawn on the nearest one"}


SAGITTAL = [[0.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 9.0, 10.0], [0.0, 0.0, 10.0]]
TILTED = [[0.0, 0.0, 4.0], [20.0, 0.0, 6.0], [20.0, 9.0, 6.0], [0.0, 9.0, 4.0]]


@pytest.mark.parametrize("points", [SAGITTAL, TILTED], ids=["sagittal", "tilted"])
@pytest.mark.parametrize("reference", ["", f"{SERIES}.1"])
def test_contours_at_an_angle_to_the_slices_are_refused(desk: Desk, points: Ring, reference: str) -> None:
    desk.drop("RS.dcm", structure_set({"Liver": [(CLOSED, reference, points)]}))
    assert reasons(desk.read()) == {("liver", "refused", "other_geometry", 1)}


def test_a_stack_of_tilted_slices_takes_contours_of_its_own_tilt_only(desk: Desk) -> None:
    tilt = 0.4
    down = [0.0, float(np.cos(tilt)), float(np.sin(tilt))]
    normal = np.array([0.0, -np.sin(tilt), np.cos(tilt)])
    for k, one in enumerate(desk.slices):
        one |= {"orientation": [1.0, 0.0, 0.0, *down], "position": (5.0 * k * normal).tolist()}
    corners = [(9.5, 4.5), (19.5, 4.5), (19.5, 14.5), (9.5, 14.5)]
    rings = [
        [(np.array([c, 0, 0]) + 2 * r * np.array(down) + 5.0 * k * normal).tolist() for c, r in corners]
        for k in range(3)
    ]
    drawn = drawing(desk, *[(CLOSED, "", ring) for ring in rings])
    assert areas(drawn, desk) == [100, 100, 100] and not drawn.notes and not drawn.remarks
    flat = drawing(desk, (CLOSED, "", [[x, y, 3.0] for x, y, _ in rings[0]]))
    assert not flat.regions and {str(reason) for _, _, reason in flat.notes} == {"other_geometry"}


def test_direction_cosines_of_three_decimals_are_no_angle(desk: Desk) -> None:
    for one in desk.slices:
        one["orientation"] = [1.0, 0.0, 0.003, 0.0, 1.0, -0.002]
    drawn = drawing(desk, (CLOSED, f"{SERIES}.1", square_mm(5.0, -0.5, 9.5)))
    assert areas(drawn, desk) == [0, 50, 0] and not drawn.notes


def test_a_contour_of_another_grid_lies_off_the_picture(desk: Desk) -> None:
    drawn = drawing(desk, (CLOSED, f"{SERIES}.0", square_mm(0.0, 200, 240)))
    assert not drawn.regions and {str(reason) for _, _, reason in drawn.notes} == {"other_geometry"}


def test_a_contour_over_the_edge_of_the_picture_is_cut_there_and_remarked_on(desk: Desk) -> None:
    drawn = drawing(desk, (CLOSED, f"{SERIES}.0", square_mm(0.0, -60, 9.5)))
    assert areas(drawn, desk)[0] == 30 * 20
    assert drawn.remarks == {"liver: contours beyond the picture were cut at its edge"}
