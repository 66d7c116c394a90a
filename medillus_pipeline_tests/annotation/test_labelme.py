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
        (shape("PTV", SQUARE), "planning_target"),
    ],
)
def test_a_shape_that_cannot_be_taken_costs_no_other_its_place(desk: Desk, bad: dict[str, Any], reason: str) -> None:
    submit(desk, bad, shape("heart", SQUARE))
    batch = desk.read()
    assert [mask["labels"] for mask in batch.masks] == [[load().by_key("heart").id]]
    structure = "ptv" if bad["label"] == "PTV" else "liver"
    assert reasons(batch) == {("heart", "accepted", "", 1), (structure, "refused", reason, 1)}


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
