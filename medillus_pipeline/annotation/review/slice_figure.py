"""A slice with its mask for a page: two pictures to lay over each other, with numbers, sides and a scale.

Two pictures, so that a reader can take the colours away and see the anatomy. Numbers stand beside colours because
colours of structures are not all told apart by everyone. What is not here: the page (`batch_report.py`), and pictures
for elsewhere (`overlay.py`).
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medillus_pipeline.annotation.review.overlay import fitted, outline, shown_box

LONGEST, LONGEST_GREY = 640, 768
FILL = 0.3
SCALE_MM = 50.0
ROOM = 16
"""A structure is numbered inside when a circle of this radius, in pixels of the coloured picture, fits into it."""
SIDES = (("L", "R"), ("P", "A"), ("H", "F"))
"""What increasing x, y and z of the patient (LPS) lead to, and decreasing: PS3.3 C.7.6.1.1.1."""


@dataclass(frozen=True)
class Tag:
    """A structure's number on the page, and where it stands: percent from the left and from the top."""

    number: int
    left: float
    top: float


@dataclass(frozen=True)
class SliceFigure:
    """`grey` and `colours` are `data:` addresses of pictures of equal extent, `aspect` their width over their height;
    `sides` are the letters at the left, right, top and bottom edge, empty without geometry; `scale` is the length of
    `SCALE_MM` in percent of the width, None without a pixel spacing.
    """

    grey: str
    colours: str
    aspect: float
    tags: tuple[Tag, ...]
    sides: tuple[str, ...]
    scale: float | None


def slice_figure(
    picture: np.ndarray, labels: np.ndarray, row: Mapping[str, Any], palette: bytes, numbers: Mapping[int, int]
) -> SliceFigure:
    """`picture` uint8 grey (rows, columns) or RGB, `labels` (rows, columns) uint8 vocabulary ids, `row` of SLICES,
    `palette` 768 bytes of RGB by id, `numbers` of the structures on the page by id.
    """
    from PIL import Image

    box = shown_box(picture, labels > 0)
    width, height = fitted(box, row["pixel_spacing"], LONGEST)
    drawn = np.asarray(Image.fromarray(labels).crop(box).resize((width, height), Image.Resampling.NEAREST))
    rgba = np.zeros((height, width, 4), np.uint8)
    rgba[..., :3] = np.frombuffer(palette, np.uint8).reshape(256, 3)[drawn]
    rgba[..., 3] = np.where(drawn > 0, np.where(_thick(outline(drawn)), 255, round(255 * FILL)), 0)
    rgba[drawn == 0] = 0
    grey = Image.fromarray(picture).crop(box)
    grey.thumbnail((LONGEST_GREY, LONGEST_GREY), Image.Resampling.LANCZOS)
    spacing = row["pixel_spacing"]
    return SliceFigure(
        grey=_png(grey),
        colours=_png(Image.fromarray(rgba)),
        aspect=width / height,
        tags=tuple(_tag(drawn == i, numbers[i]) for i in numbers if (drawn == i).any()),
        sides=edge_letters(row["orientation"]),
        scale=100 * SCALE_MM / ((box[2] - box[0]) * spacing[1]) if spacing else None,
    )


def edge_letters(orientation: Sequence[float] | None) -> tuple[str, ...]:
    """Which side of the patient lies at the left, right, top and bottom edge: L, R, A, P, H (head) or F (feet), by the
    axis that prevails. Empty without an orientation.
    """
    if not orientation:
        return ()
    letters = []
    for direction in (orientation[:3], orientation[3:]):
        axis = int(np.argmax(np.abs(direction)))
        ahead, behind = SIDES[axis] if direction[axis] > 0 else SIDES[axis][::-1]
        letters += [behind, ahead]
    return tuple(letters)


def address(data: bytes, kind: str = "image/png") -> str:
    """Bytes as a `data:` address."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _thick(edge: np.ndarray) -> np.ndarray:
    """A line of one pixel made two wide on each side of it, to be seen on a small screen too."""
    from scipy.ndimage import binary_dilation

    return binary_dilation(edge)


def _tag(inside: np.ndarray, number: int) -> Tag:
    """In the middle of the widest place, or, where there is no room, just right of the structure."""
    from scipy.ndimage import distance_transform_edt

    depth = np.asarray(distance_transform_edt(np.pad(inside, 1)))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    height, width = inside.shape
    if depth.max() < ROOM:
        column = min(width - ROOM, int(np.flatnonzero(inside[row])[-1]) + ROOM)
    return Tag(number, round(100 * (float(column) + 0.5) / width, 2), round(100 * (float(row) + 0.5) / height, 2))


def _png(picture: Any) -> str:
    sink = io.BytesIO()
    picture.save(sink, "PNG", optimize=True)
    return address(sink.getvalue())
