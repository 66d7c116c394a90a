"""The canonical frame: axial slices in LPS, resampled to a fixed field of view in mm, centred on the body.

Column runs to the patient's left (+x), row to posterior (+y), as in axial display; position and field of view are
those of the series, so proportions hold along it. What is not here: which slices are taken, and where arrays are kept
(`snapshot.py`).
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

AIR = -1024
"""Value of CT outside the scanned area and outside the body, in HU."""

NORMALISED_RANGE = (-1000.0, 1000.0)
"""Range of series-normalised values (modalities without a unit); the least also stands outside the body."""

BODY_THRESHOLD_HU = -300.0
NORMALISED_BODY_THRESHOLD = -800.0
BODY_GRID_MM = 3.0
TABLE_THICKNESS_MM = 9.0


@dataclass(frozen=True)
class Frame:
    """A square of `size` × `size` pixels, `field_of_view` mm wide, centred at (`x`, `y`) in LPS mm."""

    size: int
    field_of_view: float
    x: float
    y: float

    @property
    def pitch(self) -> float:
        """Distance between pixel centres in mm."""
        return self.field_of_view / self.size

    def affine(self, z: float) -> np.ndarray:
        """(4, 4) float64, (column, row, 0, 1) of a canonical slice at height `z` to LPS mm."""
        affine = np.eye(4)
        affine[0, 0] = affine[1, 1] = self.pitch
        affine[:3, 3] = (
            self.x - self.field_of_view / 2 + self.pitch / 2,
            self.y - self.field_of_view / 2 + self.pitch / 2,
            z,
        )
        return affine


def is_axial(affine: np.ndarray, tolerance_degrees: float) -> bool:
    """Whether the slice's normal is within the tolerance of the body axis. `affine`: (column, row, 0, 1) → LPS."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    length = float(np.linalg.norm(normal))
    return length > 0 and abs(float(normal[2])) / length >= math.cos(math.radians(tolerance_degrees))


def body_mask(values: np.ndarray, spacing: tuple[float, float], threshold: float = BODY_THRESHOLD_HU) -> np.ndarray:
    """Where the body is in a slice: (rows, columns) bool. `values` in HU, `spacing` row and column pitch in mm.

    Found on a grid of about 3 mm: over the threshold, thin things (table, mattress cover) opened away, components of
    at least a third of the largest (so legs count), holes filled, one grid step of margin for the skin.
    """
    steps = [max(1, round(BODY_GRID_MM / pitch)) for pitch in spacing]
    height, width = values.shape
    padded = np.pad(values, ((0, -height % steps[0]), (0, -width % steps[1])), mode="edge")
    blocks = padded.reshape(padded.shape[0] // steps[0], steps[0], padded.shape[1] // steps[1], steps[1])
    over = np.pad(blocks.mean((1, 3)) > threshold, 1)
    reach = [max(1, round(TABLE_THICKNESS_MM / 2 / (pitch * step))) for pitch, step in zip(spacing, steps, strict=True)]
    rows, columns = np.ogrid[-reach[0] : reach[0] + 1, -reach[1] : reach[1] + 1]
    disc = (rows / reach[0]) ** 2 + (columns / reach[1]) ** 2 <= 1
    components = np.zeros(over.shape, np.int32)
    ndimage.label(ndimage.binary_opening(over, disc), output=components)
    areas = np.bincount(components.ravel())[1:]
    if not len(areas):
        return np.zeros(values.shape, bool)
    kept = np.concatenate([[False], areas >= areas.max() / 3])[components]
    filled = ndimage.binary_dilation(ndimage.binary_fill_holes(kept), iterations=1)[1:-1, 1:-1]
    return np.repeat(np.repeat(filled, steps[0], 0), steps[1], 1)[:height, :width]


def body_box(mask: np.ndarray, affine: np.ndarray) -> tuple[float, float, float, float] | None:
    """The box around a body mask in LPS mm (least x, greatest x, least y, greatest y); None for an empty mask."""
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    if not len(rows):
        return None
    corners = np.array([(c, r, 0, 1) for c in columns[[0, -1]] for r in rows[[0, -1]]], float) @ affine.T
    return corners[:, 0].min(), corners[:, 0].max(), corners[:, 1].min(), corners[:, 1].max()


def series_scale(samples: np.ndarray) -> tuple[float, float]:
    """The 1st and 99th percentile of a series' values, which map to -1000 and 1000 where there is no unit."""
    low, high = np.percentile(samples, (1, 99))
    return float(low), float(high if high > low else low + 1)


def normalised(values: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """Values of a modality without a unit, mapped by `series_scale` to -1000 … 1000 and clipped."""
    low, high = NORMALISED_RANGE
    return np.clip(low + (values - scale[0]) / (scale[1] - scale[0]) * (high - low), low, high)


def source_grid(affine: np.ndarray, frame: Frame) -> tuple[np.ndarray, int]:
    """Where each canonical pixel looks in the source slice: coordinates (2, size·k, size·k), row then column, and k.

    Each pixel holds k × k points, so that averaging over them is area averaging (no aliasing when the source is
    finer). x and y alone are matched: a tilted gantry's slice is taken as the nearest axial one.
    """
    plane = affine[:2, :2]
    pitches = np.linalg.norm(affine[:3, :2], axis=0)
    k = max(1, math.ceil(frame.pitch / float(pitches.min())))
    offsets = (np.arange(frame.size * k) + 0.5) * (frame.pitch / k) - frame.field_of_view / 2
    x, y = np.meshgrid(frame.x + offsets, frame.y + offsets)
    to_source = np.linalg.inv(plane)
    dx, dy = x - affine[0, 3], y - affine[1, 3]
    columns = to_source[0, 0] * dx + to_source[0, 1] * dy
    rows = to_source[1, 0] * dx + to_source[1, 1] * dy
    return np.stack([rows, columns]), k


def resample_values(values: np.ndarray, grid: np.ndarray, k: int, outside: float) -> np.ndarray:
    """Area-averaged (size, size) float32; what lies outside the scanned area counts as `outside`."""
    sampled = ndimage.map_coordinates(values.astype(np.float32), grid, order=1, mode="constant", cval=outside)
    return _blocks(sampled, k).mean((1, 3))


def resample_labels(labels: np.ndarray, grid: np.ndarray, k: int) -> np.ndarray:
    """(size, size) uint8: the label with the largest area in each pixel; ties go to the smaller number."""
    rows, columns = np.rint(grid).astype(np.int64)
    inside = (rows >= 0) & (rows < labels.shape[0]) & (columns >= 0) & (columns < labels.shape[1])
    sampled = np.where(inside, labels[np.where(inside, rows, 0), np.where(inside, columns, 0)], 0)
    present = np.unique(sampled)
    areas = np.stack([_blocks(sampled == label, k).sum((1, 3)) for label in present])
    return present[areas.argmax(0)].astype(np.uint8)


def _blocks(array: np.ndarray, k: int) -> np.ndarray:
    size = array.shape[0] // k
    return array.reshape(size, k, size, k)
