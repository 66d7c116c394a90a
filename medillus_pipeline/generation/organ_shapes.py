"""What each structure of a label map measures: area, centroid, separate parts, neighbours.

Plain geometry of given masks, drawn by people or found by a judge. What is plausible is not decided here: see
`plausible_anatomy.py`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

PARTS = 4
"""Largest separate parts of a structure in a slice that are kept."""

EIGHT_NEIGHBOURS = np.ones((3, 3), bool)


@dataclass(frozen=True)
class Shapes:
    """Measures of n label maps with C classes.

    * `pixels` (n, C) int64, `area` (n, C) in mm²;
    * `x`, `y` (n, C): centroid in mm from the middle of the frame, to the patient's left and to posterior, NaN where
      the class is absent;
    * `parts` (n, C, 4): areas in mm² of the largest 8-connected parts, largest first, 0 for none;
    * `borders` (n, C, C + 1): share of the class's border pixel edges that touch each other label, background first.
    """

    pixels: NDArray[np.int64]
    area: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    parts: NDArray[np.float64]
    borders: NDArray[np.float64]
    pixel_mm: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.pixels)


def measure(labels: NDArray[np.integer], classes: int, pixel_mm: float | NDArray[np.floating]) -> Shapes:
    """Measures of label maps (n, h, w), 0 background and i for the i-th class; `pixel_mm` for all or for each, (n,).

    Raises ValueError for a label above `classes`.
    """
    count = len(labels)
    pitch = np.broadcast_to(np.asarray(pixel_mm, np.float64), (count,))
    pixels = np.zeros((count, classes), np.int64)
    column, row = np.full((count, classes), np.nan), np.full((count, classes), np.nan)
    parts, borders = np.zeros((count, classes, PARTS)), np.zeros((count, classes, classes + 1))
    for i, one in enumerate(np.asarray(labels)):
        if one.max(initial=0) > classes:
            raise ValueError(f"a label map holds {int(one.max())}, and there are {classes} classes")
        borders[i] = _borders(one, classes)
        for index, box in enumerate(ndimage.find_objects(one, classes)):
            if box is None:
                continue
            inside = one[box] == index + 1
            rows, columns = np.nonzero(inside)
            pixels[i, index] = len(rows)
            row[i, index] = rows.mean() + box[0].start - (one.shape[0] - 1) / 2
            column[i, index] = columns.mean() + box[1].start - (one.shape[1] - 1) / 2
            sizes = _part_sizes(inside)[:PARTS]
            parts[i, index, : len(sizes)] = sizes
    per_pixel = (pitch**2)[:, None]
    return Shapes(
        pixels=pixels,
        area=pixels * per_pixel,
        x=column * pitch[:, None],
        y=row * pitch[:, None],
        parts=parts * per_pixel[..., None],
        borders=borders,
        pixel_mm=pitch,
    )


def _part_sizes(inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    numbered = np.zeros(inside.shape, np.int32)
    ndimage.label(inside, EIGHT_NEIGHBOURS, output=numbered)
    return np.sort(np.bincount(numbered.ravel())[1:])[::-1]


def _borders(labels: NDArray[np.integer], classes: int) -> NDArray[np.float64]:
    touches = np.zeros((classes + 1, classes + 1))
    for first, second in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        differs = first != second
        pairs = np.bincount(
            first[differs].astype(np.int64) * (classes + 1) + second[differs], minlength=(classes + 1) ** 2
        ).reshape(classes + 1, classes + 1)
        touches += pairs + pairs.T
    own = touches[1:]
    return own / np.maximum(own.sum(1, keepdims=True), 1)
