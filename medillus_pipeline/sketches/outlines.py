"""The outlines of a label map's organs, and of the body around them: what a hand would follow.

Plain geometry, nothing random. How a hand departs from it is in `drawing.py`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import find_contours

POINTS = 64
"""Points of an outline, evenly spaced."""

BODY = -1
"""The label of the body's own outline, which is drawn and is no organ."""

BODY_HU = -300.0
EIGHT_NEIGHBOURS = np.ones((3, 3), bool)
SECOND_PART = 0.15
"""Share of an organ's largest part below which a further part is a speck that nobody draws."""


@dataclass(frozen=True)
class Outline:
    """A closed curve: `points` (64, 2) are column and row in pixels of the label map, (0, 0) its upper left corner.

    `label` is a class index from 1, or `BODY`; `area` is in pixels.
    """

    label: int
    points: NDArray[np.float64]
    area: float

    @property
    def centre(self) -> NDArray[np.float64]:
        """(2,) column and row of the middle of its points."""
        return self.points.mean(0)


def organ_outlines(labels: NDArray[np.integer], *, least_pixels: int = 2) -> list[Outline]:
    """The outer outlines of all parts of all organs of a label map (h, w), the largest part first.

    Holes are filled: what lies in them is drawn on top. Parts below `least_pixels`, and specks beside a larger part,
    are left out.
    """
    found = []
    for index, box in enumerate(ndimage.find_objects(np.asarray(labels, np.int32))):
        if box is None:
            continue
        numbered = np.zeros(tuple(side.stop - side.start for side in box), np.int32)
        ndimage.label(labels[box] == index + 1, EIGHT_NEIGHBOURS, output=numbered)
        sizes = np.bincount(numbered.ravel())[1:]
        for part, pixels in enumerate(sizes, start=1):
            if pixels >= max(least_pixels, SECOND_PART * sizes.max()):
                found.append(outline(numbered == part, index + 1, (box[0].start, box[1].start)))
    return sorted(found, key=lambda each: -each.area)


def body_outline(values: NDArray[np.number]) -> Outline | None:
    """The outline of the body in a CT slice (h, w) in HU; None where there is next to none."""
    dense = ndimage.binary_fill_holes(ndimage.binary_opening(np.asarray(values) > BODY_HU))
    numbered, count = ndimage.label(dense)  # pyright: ignore[reportGeneralTypeIssues]
    if not count:
        return None
    sizes = np.bincount(numbered.ravel())[1:]
    if sizes.max() < values.size / 50:
        return None
    return outline(numbered == sizes.argmax() + 1, BODY)


def outline(mask: NDArray[np.bool_], label: int, corner: tuple[int, int] = (0, 0)) -> Outline:
    """The outer outline of one connected part, smoothed, with the part's own area; `corner` is its row and column."""
    filled = np.pad(np.asarray(ndimage.binary_fill_holes(mask), bool), 1)
    curve = max(find_contours(filled.astype(np.float64), 0.5, fully_connected="high"), key=len)
    # find_contours gives pixel centres of the padded crop: the pixel (0, 0) lies at (1, 1), its middle at 0.5.
    points = evenly(curve[:-1, ::-1] - 0.5 + np.array([corner[1], corner[0]]), POINTS)
    points = ndimage.gaussian_filter1d(points, 1.0, axis=0, mode="wrap")
    area, wanted = enclosed_area(points), float(filled.sum())
    middle = points.mean(0)
    return Outline(label, middle + (points - middle) * np.sqrt(wanted / max(area, 1e-6)), wanted)


def evenly(points: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """(count, 2): the closed curve through `points`, in even steps of its length."""
    closed = np.concatenate([points, points[:1]])
    length = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    wanted = np.linspace(0, length[-1], count, endpoint=False)
    return np.stack([np.interp(wanted, length, closed[:, axis]) for axis in range(2)], 1)


def enclosed_area(points: NDArray[np.float64]) -> float:
    """Area within a closed curve (k, 2), by the shoelace formula."""
    x, y = points.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)
