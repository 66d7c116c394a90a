"""Agreement of two readers: exact on shapes whose figures are known, silent where there is nothing to compare."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medillus_pipeline.annotation.review.agreement import WHOLE_SERIES, agreement_rows, compare, in_force, together
from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.annotation.published import Desk, rows_of_files
from medillus_pipeline_tests.annotation.review.readers import A, B, mask_row, square


def rows(desk: Desk, masks: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Agreement rows by (structure, slice name)."""
    found = agreement_rows(masks, desk.slices, desk.clean.read, load())
    assert len({(r["structure"], r["slice_name"]) for r in found}) == len(found)
    return {(r["structure"], r["slice_name"]): r for r in found}


def test_a_shift_is_measured_in_millimetres_of_its_own_direction() -> None:
    first = square(10, 10) > 0
    beside = compare(first, square(10, 12) > 0, (2.0, 1.0))
    below = compare(first, square(12, 10) > 0, (2.0, 1.0))
    assert beside.dice == below.dice == pytest.approx(0.8)
    assert beside.hausdorff_95 == 2.0 and below.hausdorff_95 == 4.0
    assert beside.mean_distance is not None and below.mean_distance is not None
    assert 0 < beside.mean_distance < below.mean_distance


def test_distances_are_those_of_a_search_through_all_pairs() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        a, b = (rng.random((9, 11)) > 0.6 for _ in range(2))
        edges = []
        for mask in (a, b):
            padded = np.pad(mask, 1)
            edges.append(
                np.array([
                    (r * 1.5, c * 0.7)
                    for r, c in np.argwhere(mask)
                    if not (padded[r, c + 1] and padded[r + 2, c + 1] and padded[r + 1, c] and padded[r + 1, c + 2])
                ])
            )  # fmt: skip
        apart = np.linalg.norm(edges[0][:, None] - edges[1][None], axis=2)
        found = compare(a, b, (1.5, 0.7))
        assert np.allclose(np.sort(found.from_a), np.sort(apart.min(axis=1)))
        assert np.allclose(np.sort(found.from_b), np.sort(apart.min(axis=0)))


def test_surface_distances_are_those_of_simpleitk() -> None:
    sitk = pytest.importorskip("SimpleITK")
    first, second = square(5, 5, 20) > 0, square(8, 9, 22) > 0
    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in (first, second)]
    for image in images:
        image.SetSpacing((0.5, 2.0))
    gauge = sitk.HausdorffDistanceImageFilter()
    gauge.Execute(*images)
    found = compare(first, second, (2.0, 0.5))
    assert max(found.from_a.max(), found.from_b.max()) == pytest.approx(gauge.GetHausdorffDistance())


def test_equal_drawings_agree_in_full_and_stay_apart_by_nothing() -> None:
    found = compare(square(3, 3) > 0, square(3, 3) > 0, (1.0, 1.0))
    assert (found.dice, found.mean_distance, found.hausdorff_95) == (1.0, 0.0, 0.0)


def test_the_hausdorff_distance_is_that_of_the_reader_who_strays() -> None:
    first = square(10, 10) > 0
    stray = first | (square(30, 40, 4) > 0)
    for found in (compare(first, stray, (1.0, 1.0)), compare(stray, first, (1.0, 1.0))):
        assert found.hausdorff_95 is not None and found.hausdorff_95 > 20
        assert min(np.percentile(d, 95) for d in (found.from_a, found.from_b)) == 0


def test_without_a_pixel_spacing_there_is_a_dice_and_no_distance() -> None:
    found = compare(square(3, 3) > 0, square(3, 5) > 0, None)
    assert found.dice == pytest.approx(0.8) and found.mean_distance is None and found.hausdorff_95 is None


def test_drawings_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="size"):
        compare(np.ones((2, 3), bool), np.ones((3, 2), bool), (1, 1))


def test_slices_together_weigh_by_their_pixels() -> None:
    large = compare(square(0, 0, 20) > 0, square(0, 0, 20) > 0, (1, 1))
    small = compare(square(0, 0, 2) > 0, square(20, 20, 2) > 0, (1, 1))
    assert together([large, small]).dice == pytest.approx(400 / 404)


def test_both_readers_of_a_series_are_compared_slice_by_slice_and_as_a_whole(desk: Desk) -> None:
    masks = [mask_row(desk.clean, desk.slices[k], square(10, 10), A) for k in range(3)]
    masks += [mask_row(desk.clean, desk.slices[k], square(10, 10 + 2 * k), B) for k in range(3)]
    found = rows(desk, masks)
    names = [row["slice_name"] for row in desk.slices]
    assert [found["liver", name]["dice"] for name in names] == pytest.approx([1.0, 0.8, 0.6])
    whole = found["liver", WHOLE_SERIES]
    assert whole["dice"] == pytest.approx(0.8) and whole["slices"] == 3 and whole["hausdorff_95_mm"] == 4.0
    assert (whole["annotator_a"], whole["annotator_b"]) == (A, B)
    assert whole["area_a_mm2"] == whole["area_b_mm2"] == 3 * 100 * 2.0 and whole["area_difference_percent"] == 0


def test_a_structure_of_one_reader_only_is_listed_without_figures(desk: Desk) -> None:
    both = square(10, 10) + square(25, 25, 5, "spleen")
    masks = [
        mask_row(desk.clean, desk.slices[0], both, A),
        mask_row(desk.clean, desk.slices[0], square(10, 10), B),
    ]
    found = rows(desk, masks)["spleen", WHOLE_SERIES]
    assert found["drawn_by"] == "only_a" and found["slices_only_a"] == 1
    assert [found[k] for k in ("dice", "mean_surface_distance_mm", "hausdorff_95_mm", "area_difference_percent")] == [
        None, None, None, None,
    ]  # fmt: skip


def test_a_slice_without_a_file_was_not_read_where_files_are_slices(desk: Desk) -> None:
    masks = [mask_row(desk.clean, desk.slices[k], square(10, 10), A) for k in range(3)]
    masks.append(mask_row(desk.clean, desk.slices[0], square(10, 10), B))
    assert rows(desk, masks)["liver", WHOLE_SERIES]["slices"] == 1


def test_a_slice_left_empty_counts_against_agreement_where_a_file_is_a_series(desk: Desk) -> None:
    masks = [mask_row(desk.clean, desk.slices[k], square(10, 10), A, source_format="rtstruct") for k in range(3)]
    masks.append(mask_row(desk.clean, desk.slices[0], square(10, 10), B, source_format="rtstruct"))
    found = rows(desk, masks)
    whole = found["liver", WHOLE_SERIES]
    assert (whole["slices"], whole["slices_only_a"], whole["slices_only_b"]) == (3, 2, 0)
    assert whole["dice"] == pytest.approx(0.5)
    assert found["liver", desk.slices[1]["slice_name"]]["dice"] == 0


def test_only_the_newest_revision_of_a_reader_counts(desk: Desk) -> None:
    old = mask_row(desk.clean, desk.slices[0], square(25, 25), A)
    new = mask_row(desk.clean, desk.slices[0], square(10, 10), A, revision=2)
    other = mask_row(desk.clean, desk.slices[0], square(10, 10), B)
    assert rows(desk, [new, old, other])["liver", WHOLE_SERIES]["dice"] == 1
    assert len(in_force([new, old, other])) == 2


def test_one_reader_has_nobody_to_agree_with(desk: Desk) -> None:
    assert not rows(desk, [mask_row(desk.clean, desk.slices[0], square(1, 1), A)])


def test_a_clinics_contours_agree_with_themselves(
    shared_data: Path, landing: Zone, clean: Zone, pseudonymiser: Pseudonymiser
) -> None:
    slices, _ = rows_of_files(shared_data / "ct_thorax_rt" / "ct", pseudonymiser)
    desk = Desk(landing, clean, pseudonymiser, slices)
    desk.drop("RS.dcm", (shared_data / "ct_thorax_rt" / "RS.dcm").read_bytes())
    masks = [m for m in desk.read().masks if m["slice_name"] in {row["slice_name"] for row in slices[::5]}]
    found = rows(desk, masks + [mask | {"annotator": B} for mask in masks])
    figures = {(r["dice"], r["mean_surface_distance_mm"], r["hausdorff_95_mm"]) for r in found.values()}
    assert figures == {(1.0, 0.0, 0.0)}
