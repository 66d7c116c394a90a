"""The overlay sheet shows every structure in its colour, at true aspect, and the same each time."""

from typing import Any

import numpy as np
import pytest

from medillus_pipeline.annotation.review.disagreement import (
    AGREED,
    COLOURS,
    ONLY_A,
    ONLY_B,
    OTHER_NAME,
    difference,
    disagreement_map,
    swatch,
)
from medillus_pipeline.annotation.review.overlay import FILL, TILE, overlay_sheet
from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline.dicom.png import decode_png, encode_png
from medillus_pipeline_tests.annotation.published import SQUARE, Desk, labelme, shape


def published(desk: Desk) -> list[dict[str, Any]]:
    grey = np.full((40, 50), 100, np.uint8)
    return [one | {"path": desk.clean.put("slices", encode_png(grey), ".png").path} for one in desk.slices]


def test_fill_is_translucent_and_the_outline_is_solid(desk: Desk) -> None:
    for one in desk.slices:
        desk.drop(f"{one['slice_name']}.json", labelme(shape("liver", SQUARE)))
    sheet = decode_png(overlay_sheet(desk.read().masks, published(desk), desk.clean, load()))
    colours = {tuple(int(v) for v in colour) for colour in np.unique(sheet.reshape(-1, 3), axis=0)}
    rgb = np.array(load().by_key("liver").rgb)
    assert tuple(int(v) for v in rgb) in colours
    assert tuple(int(v) for v in np.round(100 * (1 - FILL) + rgb * FILL)) in colours


def test_at_most_the_maximum_is_shown_and_the_sheet_does_not_change(desk: Desk) -> None:
    for one in desk.slices:
        desk.drop(f"{one['slice_name']}.json", labelme(shape("liver", SQUARE)))
    masks, slices = desk.read().masks, published(desk)
    few = overlay_sheet(masks, slices, desk.clean, load(), maximum=1)
    assert few == overlay_sheet(masks[::-1], slices[::-1], desk.clean, load(), maximum=1)
    assert decode_png(few).shape[0] < decode_png(overlay_sheet(masks, slices, desk.clean, load())).shape[0]


def test_without_masks_the_sheet_says_so(desk: Desk) -> None:
    assert decode_png(overlay_sheet([], [], desk.clean, load())).ndim == 3


def test_the_sheet_shows_the_worst_slices_first(desk: Desk) -> None:
    for number, one in enumerate(desk.slices):
        desk.drop(f"{one['slice_name']}.json", labelme(shape("liver", [[c + number for c in p] for p in SQUARE])))
    masks, slices = desk.read().masks, published(desk)
    one_only = [overlay_sheet([mask | {"overlap_pixels": 9}], slices, desk.clean, load()) for mask in masks]
    bad = [mask | {"overlap_pixels": 9 if number == 1 else 0} for number, mask in enumerate(masks)]
    sheet, alone = decode_png(overlay_sheet(bad, slices, desk.clean, load(), maximum=2)), decode_png(one_only[1])
    assert np.array_equal(sheet[: TILE // 2, : TILE // 2], alone[: TILE // 2, : TILE // 2])
    assert not np.array_equal(decode_png(one_only[0])[: TILE // 2], alone[: TILE // 2])


def test_the_four_cases_of_two_readers_are_told_apart() -> None:
    first = np.array([[0, 5, 5, 5, 0]], np.uint8)
    second = np.array([[0, 5, 0, 6, 6]], np.uint8)
    assert difference(first, second).tolist() == [[0, AGREED, ONLY_A, OTHER_NAME, ONLY_B]]
    with pytest.raises(ValueError, match="size"):
        difference(first, second[:, 1:])


def test_colours_of_a_disagreement_differ_also_in_grey_and_to_the_colour_blind() -> None:
    # Brettel 1997 as simplified by Viénot 1999 for red and green blindness: matrices on linear RGB.
    blind = {
        "protan": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
        "deutan": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
    }
    linear = (COLOURS[AGREED:] / 255.0) ** 2.2
    for matrix in blind.values():
        seen = np.clip(linear @ np.array(matrix).T, 0, 1) ** (1 / 2.2)
        apart = np.linalg.norm(seen[:, None] - seen[None], axis=2)
        assert apart[~np.eye(4, dtype=bool)].min() > 0.2
    only_a, only_b = (swatch(case).sum(axis=2) for case in (ONLY_A, ONLY_B))
    assert not np.array_equal(only_a > only_a.mean(), only_b > only_b.mean())


def test_a_disagreement_map_has_its_legend_below_and_true_aspect(desk: Desk) -> None:
    grey, row = np.full((40, 50), 100, np.uint8), desk.slices[0]
    first, second = np.zeros((40, 50), np.uint8), np.zeros((40, 50), np.uint8)
    first[10:20, 10:20], second[10:20, 14:24] = 5, 5
    bare = decode_png(disagreement_map(grey, first, second, row, legend=False))
    with_legend = decode_png(disagreement_map(grey, first, second, row))
    assert bare.shape == (640, 400, 3) and with_legend.shape[0] > 640
    assert np.array_equal(with_legend[:640], bare)
    for case in (ONLY_A, ONLY_B):
        assert (bare == COLOURS[case]).all(axis=2).any()
    assert np.array_equal(bare[620], np.full((400, 3), 100))
