"""LabelMe JSON (releases 3 to 6): one file per slice, matched by the slice's name.

LabelMe measures from the outer corner of the first pixel, whose centre is therefore at (0.5, 0.5). The file's own copy
of the picture (`imageData`) and its path are never copied on; flags, group ids and descriptions are free text and are
left behind too, but for one: a shape with the flag `proposal` was drawn by a model, and until somebody takes the flag
off it is no annotation. Shapes of one label are united, whether they share a group or not; LabelMe has no holes.

A polygon that crosses or retraces itself is filled by even-odd, as LabelMe shows it (Qt's path fill) and exports it
(Pillow's polygon): the middle of a five-pointed star is empty, a keyhole is a ring. LabelMe's own export also paints
the outline, which makes every shape half a pixel wider all around; here a pixel counts by its centre alone, so two
shapes that share an edge never share a pixel. What is not here: writing (`labelme_writing.py`).
"""

import base64
import binascii
import json
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from medillus_pipeline.annotation.drawing import WHOLE_ITEM, Drawing
from medillus_pipeline.annotation.formats.labelme_writing import PROPOSAL
from medillus_pipeline.annotation.label_map import GRAIN, Region, fill, trimmed
from medillus_pipeline.annotation.outcomes import Outcome, Reason, Refused
from medillus_pipeline.annotation.slice_index import SliceIndex, Target
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.dicom.png import SIGNATURE, decode_png

FORMAT = "labelme"
MAXIMUM_BYTES = 128 * 2**20
MAXIMUM_SHAPES = 20_000
MAXIMUM_POINTS = 2_000_000
BEYOND_EDGE = 1.0
"""Pixels by which a point may lie outside its slice: a hand slips, a drawing on another picture does not fit."""
WITHOUT_AREA = ("line", "linestrip", "point", "points")
FOUR_CORNERS = ("rectangle", "oriented_rectangle", "rotation")
"""Kinds given by four corners: upright, turned as of LabelMe 6, and turned as X-AnyLabeling writes them."""


def parse(data: bytes) -> Any:
    """JSON from an untrusted file. Raises Refused when it is too large, nested too deeply, or no JSON."""
    if len(data) > MAXIMUM_BYTES:
        raise Refused(Reason.TOO_LARGE)
    try:
        return json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise Refused(Reason.BROKEN_FILE) from error


def read(data: bytes, path: str, index: SliceIndex, vocabulary: Vocabulary) -> Drawing:
    """What a LabelMe file draws. `path` is the file's path in the batch; its stem, or that of the file's `imagePath`,
    is the slice's name.

    Raises Refused for a file that is broken, of another format, on an unknown slice (pending) or on two different ones,
    or made on a picture of another size; single shapes that cannot be taken become notes.
    """
    document = parse(data)
    if not isinstance(document, dict) or not isinstance(document.get("shapes"), list):
        raise Refused(Reason.UNSUPPORTED_FORMAT)
    shapes = document["shapes"]
    if len(shapes) > MAXIMUM_SHAPES or sum(len(_points(s)) for s in shapes if _is_shape(s)) > MAXIMUM_POINTS:
        raise Refused(Reason.TOO_LARGE)
    by_file, by_image = index.by_name.get(PurePosixPath(path).stem), index.by_name.get(_image_stem(document))
    if by_file and by_image and by_file is not by_image:
        raise Refused(Reason.TWO_SLICES)
    target = by_file or by_image
    if target is None:
        raise Refused(Reason.UNKNOWN_SLICE, Outcome.PENDING)
    for key, size in (("imageHeight", target.rows), ("imageWidth", target.columns)):
        if document.get(key) is not None and document[key] != size:
            raise Refused(Reason.MASK_SIZE_DIFFERS)
    if not shapes:
        raise Refused(Reason.EMPTY)
    drawing = Drawing(FORMAT)
    for shape in shapes:
        if not _is_shape(shape):
            drawing.note(WHOLE_ITEM, Reason.BROKEN_FILE, target.slice_name)
            continue
        structure = vocabulary.resolve(shape["label"])
        if structure is None:
            drawing.unknown(shape["label"], target.slice_name)
        else:
            try:
                if _unconfirmed(shape):
                    raise Refused(Reason.PROPOSAL_UNCONFIRMED)
                drawing.add(target.slice_name, structure, _region(shape, target))
            except Refused as refused:
                drawing.note(structure.key, refused.reason, target.slice_name)
    return drawing


def _image_stem(document: dict[str, Any]) -> str:
    path = document.get("imagePath")
    return PurePosixPath(path.replace("\\", "/")).stem if isinstance(path, str) else ""


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, dict) and isinstance(shape.get("label"), str) and isinstance(shape.get("points"), list)


def _unconfirmed(shape: dict[str, Any]) -> bool:
    flags = shape.get("flags")
    return isinstance(flags, dict) and bool(flags.get(PROPOSAL))


def _points(shape: dict[str, Any]) -> list[Any]:
    return shape["points"]


def _region(shape: dict[str, Any], target: Target) -> Region:
    kind = shape.get("shape_type") or "polygon"
    if kind in WITHOUT_AREA:
        raise Refused(Reason.NO_AREA)
    points = _coordinates(shape, target)
    if kind == "mask":
        region = _mask(shape.get("mask"), points, target)
    elif kind == "circle":
        region = _circle(points, target)
    elif kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        region = fill([np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]) - 0.5], target.rows, target.columns)
    elif kind in FOUR_CORNERS and len(points) == 4:
        across, down = (points - points.mean(axis=0)).T
        around = points[np.argsort(np.arctan2(down, across), kind="stable")]
        region = fill([around - 0.5], target.rows, target.columns)
    elif kind == "polygon":
        region = fill([points - 0.5], target.rows, target.columns) if len(points) >= 3 else None
    else:
        raise Refused(Reason.BROKEN_FILE if kind in FOUR_CORNERS else Reason.UNSUPPORTED_SHAPE)
    if region is None:
        raise Refused(Reason.NO_AREA)
    return region


def _coordinates(shape: dict[str, Any], target: Target) -> np.ndarray:
    try:
        points = np.array(_points(shape), np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise Refused(Reason.BROKEN_FILE) from error
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise Refused(Reason.BROKEN_FILE)
    size = np.array([target.columns, target.rows])
    beyond = np.full((len(points), 1), BEYOND_EDGE)
    if shape.get("shape_type") == "circle":
        beyond[1:] = max(size)  # its centre lies on the slice, its edge need not
    if (points < -beyond).any() or (points > size + beyond).any():
        raise Refused(Reason.MASK_SIZE_DIFFERS)
    return points


def _circle(points: np.ndarray, target: Target) -> Region | None:
    if len(points) != 2:
        raise Refused(Reason.BROKEN_FILE)
    centre, radius = points[0] - 0.5, float(np.hypot(*(points[1] - points[0])))
    if radius > max(target.rows, target.columns):
        raise Refused(Reason.MASK_SIZE_DIFFERS)
    size = np.array([target.columns, target.rows])
    left, top = np.clip(np.floor(centre - radius), 0, size).astype(int)
    right, bottom = np.clip(np.ceil(centre + radius) + 1, 0, size).astype(int)
    columns, rows = np.arange(left, right) - centre[0], np.arange(top, bottom)[:, None] - centre[1]
    inside = np.round(np.hypot(columns, rows), GRAIN) <= round(radius, GRAIN)
    return trimmed(inside, int(top), int(left))


def _mask(encoded: Any, points: np.ndarray, target: Target) -> Region | None:
    """A base64 PNG whose first pixel is at points[0]; points[1], its last pixel, has to agree."""
    if not isinstance(encoded, str) or len(points) != 2:
        raise Refused(Reason.BROKEN_FILE)
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(Reason.BROKEN_FILE) from error
    if not data.startswith(SIGNATURE) or len(data) < 24:
        raise Refused(Reason.BROKEN_FILE)
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    left, top = (round(float(v)) for v in points[0])
    right, bottom = (round(float(v)) for v in points[1])
    inside = left >= 0 and top >= 0 and left + width <= target.columns and top + height <= target.rows
    if not inside or (width, height) != (right - left + 1, bottom - top + 1):
        raise Refused(Reason.MASK_SIZE_DIFFERS)
    try:
        pixels = decode_png(data)
    except ValueError as error:
        raise Refused(Reason.BROKEN_FILE) from error
    return trimmed(np.asarray(np.atleast_3d(pixels).any(axis=2)), top, left)
