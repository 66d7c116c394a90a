import numpy as np
import pytest

from medillus_pipeline.dicom.geometry import (
    Plane,
    SeriesNote,
    Verdict,
    normal,
    slice_to_lps_affine,
    stack_series,
    verdict,
    volume_affine,
)

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def axial(z: float, *, x: float = 0.0, rows: int = 4) -> Plane:
    return Plane(rows, 4, (x, 0.0, z), AXIAL, (1.0, 1.0))


def names(planes: list[Plane]) -> list[str]:
    return [f"uid{i:03d}" for i in range(len(planes))]


def test_columns_step_by_the_second_spacing_along_the_first_direction() -> None:
    affine = slice_to_lps_affine((-10.0, -20.0, 30.0), AXIAL, (2.0, 0.5))
    assert np.allclose(affine @ [4, 3, 0, 1], [-8.0, -14.0, 30.0, 1.0])


def test_the_affine_is_that_of_the_standard_for_an_oblique_slice() -> None:
    turn, tilt = np.deg2rad(20), np.deg2rad(-35)
    row = np.array([np.cos(turn), np.sin(turn), 0])
    column = np.array([-np.sin(turn) * np.cos(tilt), np.cos(turn) * np.cos(tilt), np.sin(tilt)])
    position, spacing = np.array([1.0, 2.0, 3.0]), (0.7, 0.9)
    affine = slice_to_lps_affine(position, (*row, *column), spacing)
    expected = position + 11 * row * spacing[1] + 5 * column * spacing[0]
    assert np.allclose(affine @ [11, 5, 0, 1], [*expected, 1])
    assert np.allclose(np.linalg.inv(affine) @ [*expected, 1], [11, 5, 0, 1])
    assert np.isclose(np.linalg.det(affine[:3, :3]), 0.63)


def test_vectors_that_span_no_plane_are_refused() -> None:
    with pytest.raises(ValueError, match="orientation"):
        slice_to_lps_affine((0, 0, 0), (1, 0, 0, 1, 0, 0), (1, 1))


def test_slices_are_ordered_by_position_and_not_by_the_order_they_came_in() -> None:
    heights = [9.0, -3.0, 0.0, 6.0, 3.0]
    planes = [axial(z) for z in heights]
    (stack,) = stack_series(planes, names(planes))
    assert [heights[i] for i in stack.members] == sorted(heights)
    assert stack.spacing == 3.0
    assert stack.even
    assert not stack.notes


def test_the_order_of_the_input_changes_nothing() -> None:
    planes = [axial(z) for z in (0.0, 0.0, 5.0, 10.0)] + [Plane(4, 4, (0.0, 0.0, 0.0), SAGITTAL, (1.0, 1.0))]
    uids = names(planes)
    once = [[uids[i] for i in s.members] for s in stack_series(planes, uids)]
    again = [[uids[::-1][i] for i in s.members] for s in stack_series(planes[::-1], uids[::-1])]
    assert once == again


def test_a_series_is_split_by_orientation_and_by_size() -> None:
    planes = [axial(z) for z in (0.0, 1.0, 2.0)]
    planes += [Plane(4, 4, (0.0, 0.0, 0.0), SAGITTAL, (1.0, 1.0)), axial(9.0, rows=8)]
    stacks = stack_series(planes, names(planes))
    assert [len(stack.members) for stack in stacks] == [3, 1, 1]
    assert all({SeriesNote.MIXED_ORIENTATION, SeriesNote.MIXED_SIZE} <= stack.notes for stack in stacks)
    assert stacks[0].even


@pytest.mark.parametrize(
    ("heights", "note"),
    [
        ((0.0, 3.0, 6.0, 12.0, 15.0), SeriesNote.GAPS),
        ((0.0, 3.0, 3.0, 6.0), SeriesNote.DUPLICATE_POSITIONS),
        ((0.0, 3.0, 6.4, 9.0), SeriesNote.UNEVEN_SPACING),
    ],
)
def test_a_defect_of_a_stack_is_noted_and_its_spacing_stays_the_median(
    heights: tuple[float, ...], note: SeriesNote
) -> None:
    planes = [axial(z) for z in heights]
    (stack,) = stack_series(planes, names(planes))
    assert note in stack.notes
    assert stack.spacing == pytest.approx(3.0)
    assert not stack.even


def test_a_stack_that_drifts_sideways_is_noted_as_tilted() -> None:
    planes = [axial(z, x=z * 0.2) for z in (0.0, 3.0, 6.0, 9.0)]
    (stack,) = stack_series(planes, names(planes))
    assert stack.notes == {SeriesNote.TILTED_STACK}


def test_frames_without_geometry_form_a_stack_without_spacing() -> None:
    planes = [Plane(4, 4), Plane(4, 4)]
    (stack,) = stack_series(planes, ["b", "a"])
    assert stack.members == (1, 0)
    assert stack.spacing is None
    assert stack.notes == {SeriesNote.NO_GEOMETRY}


def test_a_single_slice_has_no_spacing() -> None:
    (stack,) = stack_series([axial(4.0)], ["a"])
    assert (stack.spacing, stack.even) == (None, False)


def test_a_volume_affine_reaches_the_last_slice() -> None:
    plane = axial(0.0)
    affine = volume_affine((0, 0, 0), (0, 0, 12), 5, plane)
    assert np.allclose(affine @ [1, 2, 4, 1], [1, 2, 12, 1])
    assert np.allclose(normal(AXIAL), [0, 0, 1])


@pytest.mark.parametrize(("sideways", "tilted"), [(0.001, False), (0.005, True), (0.4, True)])
def test_a_tilt_counts_from_a_tenth_of_a_degree_and_rounded_cosines_are_none(sideways: float, tilted: bool) -> None:
    planes = [axial(2.0 * k, x=2.0 * k * sideways) for k in range(60)]
    (stack,) = stack_series(planes, names(planes))
    assert (SeriesNote.TILTED_STACK in stack.notes) == tilted
    assert verdict(stack, planes) == (Verdict.TILTED_STACK if tilted else Verdict.VOLUME)


def test_slices_that_stray_from_the_even_line_are_noted_though_every_step_is_even_enough() -> None:
    heights = np.cumsum([0.0, *[3.04] * 20, *[2.96] * 20])
    planes = [axial(z) for z in heights]
    (stack,) = stack_series(planes, names(planes))
    assert stack.notes == {SeriesNote.STRAYING_POSITIONS}
    assert verdict(stack, planes) is Verdict.UNEVEN_SPACING


def test_pixels_that_are_not_square_are_noted_and_the_stack_stays_a_volume() -> None:
    planes = [Plane(4, 4, (0.0, 0.0, 2.0 * k), AXIAL, (0.9, 0.6)) for k in range(4)]
    (stack,) = stack_series(planes, names(planes))
    assert stack.notes == {SeriesNote.ANISOTROPIC_PIXELS}
    assert stack.even
    assert verdict(stack, planes) is Verdict.VOLUME


@pytest.mark.parametrize(("odd", "judged"), [((0.7, 0.7), Verdict.MIXED_PIXEL_SPACING), (None, Verdict.NO_GEOMETRY)])
def test_one_slice_of_another_pixel_spacing_spoils_the_grid(odd: tuple[float, float] | None, judged: Verdict) -> None:
    planes = [Plane(4, 4, (0.0, 0.0, float(k)), AXIAL, (0.8, 0.8) if k else odd) for k in range(5)]
    (stack,) = stack_series(planes, names(planes))
    assert SeriesNote.MIXED_PIXEL_SPACING in stack.notes
    assert not stack.even
    assert verdict(stack, planes) is judged


@pytest.mark.parametrize(
    ("heights", "judged"),
    [
        ((0.0, 3.0, 6.0), Verdict.VOLUME),
        ((0.0, 3.0), Verdict.TOO_FEW_SLICES),
        ((0.0, 3.0, 6.0, 12.0, 15.0), Verdict.GAPS),
        ((0.0, 3.0, 3.0, 6.0), Verdict.DUPLICATE_POSITIONS),
        ((0.0, 0.0, 0.0), Verdict.DUPLICATE_POSITIONS),
        ((0.0, 3.0, 6.4, 9.0), Verdict.UNEVEN_SPACING),
    ],
)
def test_the_verdict_names_what_keeps_a_stack_from_being_a_volume(heights: tuple[float, ...], judged: Verdict) -> None:
    planes = [axial(z) for z in heights]
    (stack,) = stack_series(planes, names(planes))
    assert verdict(stack, planes) is judged
    assert stack.even == (judged is Verdict.VOLUME or judged is Verdict.TOO_FEW_SLICES)
    if judged is Verdict.VOLUME:
        assert verdict(stack, planes, minimum_slices=4) is Verdict.TOO_FEW_SLICES
