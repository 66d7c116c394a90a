"""The overlay sheet shows every structure in its colour, at true aspect, and the same each time."""

from typing import Any

import numpy as np

from medillus_pipeline.annotation.overlay import FILL, overlay_sheet
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
