"""LabelMe shapes land on the pixels that the annotator saw them on, or are refused with one reason."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline.dicom.png import encode_png
from medillus_pipeline_tests.annotation.published import SQUARE, Desk, labelme, reasons, shape

LIVER = load().by_key("liver").id


def masked(desk: Desk) -> np.ndarray:
    batch = desk.read()
    assert len(batch.masks) == 1, batch.items
    return desk.values(batch.masks[0])


def submit(desk: Desk, *shapes: dict[str, Any], **changes: Any) -> None:
    desk.drop(f"{desk.slices[0]['slice_name']}.json", labelme(*shapes, **changes))


def encoded(pixels: np.ndarray) -> str:
    return base64.b64encode(encode_png(pixels)).decode()


def test_a_polygon_covers_the_pixels_between_its_corners(desk: Desk) -> None:
    submit(desk, shape("liver", SQUARE))
    values = masked(desk)
    assert (values[10:20, 10:20] == LIVER).all() and (values > 0).sum() == 100


@pytest.mark.parametrize("points", [[[10, 10], [20, 20]], [[20, 20], [10, 10]], [[20, 10], [10, 20]], SQUARE])
def test_a_rectangle_has_its_corners_in_any_order(desk: Desk, points: list[list[float]]) -> None:
    submit(desk, shape("liver", points, "rectangle"))
    values = masked(desk)
    assert (values[10:20, 10:20] == LIVER).all() and (values > 0).sum() == 100


@pytest.mark.parametrize("kind", ["oriented_rectangle", "rotation", "rectangle"])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (0, 2, 1, 3)])
def test_a_turned_rectangle_has_four_corners_in_any_order(desk: Desk, kind: str, order: tuple[int, ...]) -> None:
    corners = [[20, 5], [30, 15], [20, 25], [10, 15]]
    submit(desk, shape("liver", [corners[i] for i in order], kind), shape("heart", [[0, 0], [2, 2]], "rectangle"))
    values = masked(desk)
    assert (values == LIVER).sum() == 200 and values[15, 20] == LIVER and values[6, 12] == 0


def test_a_polygon_that_crosses_itself_is_filled_as_labelme_fills_it(desk: Desk) -> None:
    """Pillow's polygon, which LabelMe exports with, and the path fill of its canvas are both even-odd: the middle of a
    star stays empty. Away from the outline, which Pillow paints too, both set the same pixels.
    """
    from PIL import Image, ImageDraw

    angles = np.arange(5) * 4 * np.pi / 5
    star = np.stack([25 + 19 * np.sin(angles), 20 - 19 * np.cos(angles)], axis=1).tolist()
    image = Image.new("1", (50, 40))
    ImageDraw.Draw(image).polygon([(x - 0.5, y - 0.5) for x, y in star], fill=1, outline=1)
    painted = np.array(image)
    submit(desk, shape("liver", star))
    drawn = masked(desk) == LIVER
    assert not drawn[20, 25] and not painted[20, 25]
    rim = np.zeros_like(painted)
    columns, rows = np.meshgrid(np.arange(50) + 0.5, np.arange(40) + 0.5)
    for (x0, y0), (x1, y1) in zip(star, star[1:] + star[:1], strict=True):
        across = np.hypot(x1 - x0, y1 - y0)
        rim |= np.abs((x1 - x0) * (rows - y0) - (y1 - y0) * (columns - x0)) < 1.5 * across
    assert np.array_equal(drawn[~rim], painted[~rim]) and (drawn & ~rim).any()


@pytest.mark.parametrize("centre", [[2.5, 2.5], [49.5, 20.5], [25.5, 39.5]])
def test_a_circle_over_the_edge_is_cut_there(desk: Desk, centre: list[float]) -> None:
    submit(desk, shape("liver", [centre, [centre[0] - 6, centre[1]]], "circle"))
    columns, rows = np.meshgrid(np.arange(50) + 0.5, np.arange(40) + 0.5)
    inside = (columns - centre[0]) ** 2 + (rows - centre[1]) ** 2 <= 36
    assert np.array_equal(masked(desk) == LIVER, inside)


def test_a_circle_is_given_by_centre_and_edge_point(desk: Desk) -> None:
    submit(desk, shape("liver", [[20.5, 20.5], [20.5, 28.5]], "circle"))
    values = masked(desk)
    assert values[20, 28] == LIVER and values[20, 29] == 0 and values[12, 20] == LIVER
    assert abs((values > 0).sum() - np.pi * 64) < 12


def test_a_mask_lies_at_its_first_point(desk: Desk) -> None:
    pixels = np.zeros((3, 5), np.uint8)
    pixels[1, 1:4] = 1
    submit(desk, shape("liver", [[7, 9], [11, 11]], "mask", mask=encoded(pixels)))
    values = masked(desk)
    assert (values[10, 8:11] == LIVER).all() and (values > 0).sum() == 3


def test_shapes_of_one_label_are_united(desk: Desk) -> None:
    submit(desk, shape("liver", SQUARE), shape("Liver", [[15, 15], [25, 15], [25, 25], [15, 25]]))
    assert (masked(desk) == LIVER).sum() == 175


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (shape("liver", [[1, 1], [9, 9]], "line"), "no_area"),
        (shape("liver", [[1, 1], [9, 9], [3, 4]], "linestrip"), "no_area"),
        (shape("liver", [[1, 1]], "point"), "no_area"),
        (shape("liver", [[1, 1], [9, 9]]), "no_area"),
        (shape("liver", SQUARE, "hexagram"), "unsupported_shape"),
        (shape("liver", [[1, 1], [90, 1], [90, 30]]), "mask_size_differs"),
        (shape("liver", [[45, 9], [53, 11]], "mask", mask=encoded(np.ones((3, 9), np.uint8))), "mask_size_differs"),
        (shape("liver", [[7, 9], [8, 11]], "mask", mask=encoded(np.ones((3, 5), np.uint8))), "mask_size_differs"),
        (shape("liver", [[7, 9], [11, 11]], "mask", mask="no base64!"), "broken_file"),
        (shape("liver", [[7, 9], [11, 11]], "mask", mask=encoded(np.ones((3, 5), np.uint8))[:60]), "broken_file"),
        (shape("liver", [["a", 1], [2, 3], [4, 5]]), "broken_file"),
        (shape("liver", [[10**400, 1], [2, 3], [4, 5]]), "broken_file"),
        (shape("liver", [[float("nan"), 1], [2, 3], [4, 5]]), "broken_file"),
        (shape("liver", [[1, 1], [2, 2], [3, 3]], "circle"), "broken_file"),
        (shape("liver", [[1, 1], [1e300, -1e300]], "circle"), "mask_size_differs"),
        (shape("liver", [[80, 10], [82, 10]], "circle"), "mask_size_differs"),
        (shape("liver", [[1e300, 1], [2, 3], [4, 5]]), "mask_size_differs"),
        (shape("liver", [[float("inf"), 1], [2, 3], [4, 5]]), "broken_file"),
        (shape("liver", [[1, 1], [2, 2], [3, 3]], "rectangle"), "broken_file"),
        (shape("liver", [[1, 1], [9, 9]], "oriented_rectangle"), "broken_file"),
        (shape("liver", [[3.1, 3.1], [3.3, 9], [3.2, 9]]), "no_area"),
        (shape("liver", [[7, 9], [11, 11]], "mask", mask=encoded(np.zeros((3, 5), np.uint8))), "no_area"),
    ],
)
def test_a_shape_that_cannot_be_taken_costs_no_other_its_place(desk: Desk, bad: dict[str, Any], reason: str) -> None:
    submit(desk, bad, shape("heart", SQUARE))
    batch = desk.read()
    assert [mask["labels"] for mask in batch.masks] == [[load().by_key("heart").id]]
    assert reasons(batch) == {("heart", "accepted", "", 1), ("liver", "refused", reason, 1)}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"shapes": [', "broken_file"),
        (b"\xff\xfe\x00", "broken_file"),
        (b"[" * 200_000, "broken_file"),
        (b'{"a": 1}', "unsupported_format"),
        (b"[]", "unsupported_format"),
        (b"", "broken_file"),
        (labelme(), "empty"),
        (labelme(shape("liver", SQUARE), imageHeight=512, imageWidth=512), "mask_size_differs"),
    ],
    ids=["cut", "no text", "too deep", "other JSON", "list", "no bytes", "no shape", "larger than its slice"],
)
def test_a_file_that_cannot_be_taken_is_refused_whole(desk: Desk, data: bytes, reason: str) -> None:
    desk.drop(f"{desk.slices[0]['slice_name']}.json", data)
    desk.drop(f"{desk.slices[1]['slice_name']}.json", labelme(shape("liver", SQUARE)))
    batch = desk.read()
    assert len(batch.masks) == 1
    assert reasons(batch) == {("*", "refused", reason, 0), ("liver", "accepted", "", 1)}


def test_the_slice_is_found_by_the_path_of_its_picture_too(desk: Desk) -> None:
    desk.drop("mine.json", labelme(shape("liver", SQUARE), imagePath=f"..\\{desk.slices[2]['slice_name']}.png"))
    assert [mask["slice_name"] for mask in desk.read().masks] == [desk.slices[2]["slice_name"]]


def test_a_file_that_names_two_slices_is_drawn_on_neither(desk: Desk) -> None:
    picture = f"{desk.slices[2]['slice_name']}.png"
    desk.drop(f"{desk.slices[0]['slice_name']}.json", labelme(shape("liver", SQUARE), imagePath=picture))
    batch = desk.read()
    assert not batch.masks and reasons(batch) == {("*", "refused", "two_slices", 0)}


def test_files_of_older_releases_lack_keys_and_are_read_all_the_same(desk: Desk) -> None:
    old = {"label": "liver", "points": SQUARE, "line_color": None, "fill_color": [1, 2, 3, 4]}
    document = {"shapes": [old], "lineColor": [0, 255, 0, 128], "fillColor": None, "imagePath": "x.png"}
    desk.drop(f"{desk.slices[0]['slice_name']}.json", document)
    assert (masked(desk) == LIVER).sum() == 100


def test_shapes_of_a_group_are_one_object_and_a_group_is_no_hole(desk: Desk) -> None:
    inner = [[12, 12], [15, 12], [15, 15], [12, 15]]
    submit(desk, shape("liver", SQUARE, group_id=3), shape("liver", inner, group_id=3))
    assert (masked(desk) == LIVER).sum() == 100


def test_free_text_of_a_file_reaches_nothing_that_is_handed_on(desk: Desk) -> None:
    canary = "Holloway 1931"
    one = shape("liver", SQUARE, group_id=canary, flags={canary: True}, description=canary, **{canary: canary})
    other = shape("liver", [[1, 1], [2, 2]], "line", description=canary)
    submit(
        desk,
        one,
        other,
        imagePath=f"C:\\{canary}\\{canary}.png",
        imageData=base64.b64encode(canary.encode()).decode(),
        flags={canary: True},
        version=canary,
        otherData={canary: [canary]},
    )
    batch = desk.read()
    assert batch.masks and canary not in str(batch)
    written = [desk.clean.read(path) for path in desk.clean.files("")]
    assert written and not [data for data in written if canary.encode() in data]
    assert not [data for data in written if base64.b64encode(canary.encode()) in data]


def test_a_file_for_a_slice_that_is_not_published_stays_pending(desk: Desk) -> None:
    desk.drop("s-0123456789abcdef-0001.json", labelme(shape("liver", SQUARE)))
    batch = desk.read()
    assert not batch.masks
    assert reasons(batch) == {("*", "pending", "unknown_slice", 0)}
    assert batch.ledger[0]["outcome"] == "pending"


def test_published_labelme_files_of_street_photos_are_pending_not_an_error(desk: Desk, shared_data: Path) -> None:
    for file in sorted((shared_data / "annotations" / "labelme").rglob("*.json")):
        desk.drop(file.name, file.read_bytes())
    assert {reason for _, _, reason, _ in reasons(desk.read())} == {"unknown_slice"}


def test_every_shape_type_of_a_published_file_is_drawn_or_refused_by_name(desk: Desk, shared_data: Path) -> None:
    import json

    document = json.loads((shared_data / "annotations" / "labelme" / "primitives" / "primitives.json").read_bytes())
    height, width = document["imageHeight"], document["imageWidth"]
    for one in document["shapes"]:
        one["label"] = "liver" if one["shape_type"] in ("polygon", "rectangle", "circle", "mask") else "heart"
    desk.slices[0] |= {"rows": height, "columns": width}
    desk.drop(f"{desk.slices[0]['slice_name']}.json", json.dumps(document).encode())
    found = reasons(desk.read())
    assert ("liver", "accepted", "", 1) in found
    assert {(structure, reason) for structure, _, reason, _ in found} == {("liver", ""), ("heart", "no_area")}
