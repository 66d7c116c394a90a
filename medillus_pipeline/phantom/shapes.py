"""Implicit shapes on a voxel grid: a canvas to paint them on, ellipsoids, tubes, and smooth noise.

A field is an array of approximate signed distances to a surface in mm, positive inside. What is not here: anatomy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Field = NDArray[np.floating[Any]]
"""Values or distances; float32 wherever it is large."""
Box = tuple[slice, slice, slice]
Point = tuple[float, float, float]
"""x, y, z in mm: x to the patient's left, y to the back, z to the head (DICOM's LPS)."""
FAR_OUTSIDE = -99.0
"""A distance in mm that stands for nowhere near."""


def smoothstep(value: Field, low: float, high: float) -> Field:
    """0 below `low`, 1 above `high`, a cubic between (float32)."""
    t = np.clip((value - low) / (high - low), 0, 1).astype(np.float32)
    return t * t * (3 - 2 * t)


def _spline_basis(positions: Field, cell: float) -> tuple[sparse.csr_array, int]:
    """Quadratic B-spline weights (positions, controls) for control points every `cell` mm, and how many those are.

    Sparse, and so free of BLAS: threads would fight over the cores that the patients share, and round differently.
    """
    u = (positions - positions.min()) / cell
    first = np.floor(u).astype(np.int64)
    t = (u - first).astype(np.float32)
    weights = np.stack(((1 - t) ** 2 / 2, 0.5 + t - t * t, t * t / 2), axis=1).ravel()
    columns = (first[:, None] + np.arange(3)).ravel()
    starts = np.arange(0, 3 * len(positions) + 1, 3)
    controls = int(first.max()) + 3
    return sparse.csr_array((weights, columns, starts), shape=(len(positions), controls)), controls


def smooth_noise(rng: np.random.Generator, axes: Sequence[Field], cell: float | Sequence[float]) -> Field:
    """Noise of mean 0 and standard deviation about 1 over a grid, with a correlation length of about `cell` mm.

    `axes` are the grid's coordinates in mm, one ascending array per dimension (1 to 3); `cell` may differ by axis.
    """
    cells = [cell] * len(axes) if isinstance(cell, int | float) else list(cell)
    bases = [_spline_basis(axis, size) for axis, size in zip(axes, cells, strict=True)]
    values = rng.standard_normal([controls for _, controls in bases], dtype=np.float32)
    for dimension in reversed(range(len(axes))):
        first = np.moveaxis(values, dimension, 0)
        spread = bases[dimension][0] @ first.reshape(len(first), -1)
        values = np.moveaxis(spread.reshape(-1, *first.shape[1:]), 0, dimension)
    return np.ascontiguousarray(values) * np.float32(1.35 ** len(axes))


def smooth_union(first: Field, second: Field, blend: float) -> Field:
    """The union of two fields with the crease filled over `blend` mm (polynomial smooth maximum)."""
    h = np.clip(0.5 + (first - second) / (2 * blend), 0, 1)
    return second + (first - second) * h + blend * h * (1 - h)


def rotation(about_x: float = 0.0, about_y: float = 0.0, about_z: float = 0.0) -> NDArray[np.float32]:
    """Rotation matrix (3, 3) for column vectors x, y, z; angles in degrees, applied about x, then y, then z."""
    cx, cy, cz = np.cos(np.radians([about_x, about_y, about_z]))
    sx, sy, sz = np.sin(np.radians([about_x, about_y, about_z]))
    rx = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return (rz @ ry @ rx).astype(np.float32)


@dataclass
class Canvas:
    """HU values and labels (slices, rows, columns) under construction, with the axes' coordinates in mm."""

    x: Field
    y: Field
    z: Field
    hu: Field = field(init=False)
    labels: NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        shape = (len(self.z), len(self.y), len(self.x))
        self.hu = np.full(shape, -1000, np.float32)
        self.labels = np.zeros(shape, np.uint8)

    @property
    def edge(self) -> float:
        """Width in mm over which one tissue passes into the next."""
        return 1.25 * float(self.x[1] - self.x[0])

    @property
    def whole(self) -> Box:
        """The box of everything."""
        return (slice(None), slice(None), slice(None))

    def box(self, low: Point, high: Point) -> Box:
        """The grid's part between two corners, never empty (at least one voxel, at the border)."""
        spans = []
        for axis, start, stop in zip((self.z, self.y, self.x), low[::-1], high[::-1], strict=True):
            first = min(int(np.searchsorted(axis, start)), len(axis) - 1)
            spans.append(slice(first, max(int(np.searchsorted(axis, stop)), first + 1)))
        return (spans[0], spans[1], spans[2])

    def axes(self, box: Box) -> tuple[Field, Field, Field]:
        """Coordinates x, y, z of a box, shaped to broadcast over (slices, rows, columns)."""
        return self.x[box[2]][None, None, :], self.y[box[1]][None, :, None], self.z[box[0]][:, None, None]

    def seen_from(self, box: Box, part: Box, inside: Field) -> Field:
        """A field that was made over `part`, over `box` instead; far outside where `part` does not reach."""
        whole = np.full(self.hu.shape, FAR_OUTSIDE, np.float32)
        whole[part] = inside
        return whole[box]

    def noise(self, rng: np.random.Generator, box: Box, cell: float | Sequence[float]) -> Field:
        """Smooth noise over a box (see `smooth_noise`); `cell` in mm, or one per z, y, x."""
        return smooth_noise(rng, (self.z[box[0]], self.y[box[1]], self.x[box[2]]), cell)

    def ellipsoid(
        self,
        rng: np.random.Generator,
        centre: Point,
        radii: Point,
        *,
        turn: NDArray[np.float32] | None = None,
        bumps: float = 0.07,
        bend: float = 0.0,
    ) -> tuple[Box, Field]:
        """An ellipsoid whose surface is deformed by smooth noise of `bumps` times its size.

        `turn` rotates it; `bend` in mm moves its ends (along its own z axis) to the left of its middle.
        """
        matrix = rotation() if turn is None else turn
        reach = np.abs(matrix) @ np.asarray(radii) * (1 + 2.6 * bumps) + abs(bend) + 2 * self.edge
        box = self.box(*((tuple(centre + sign * reach)) for sign in (-1, 1)))  # type: ignore[arg-type]
        offsets = [axis - np.float32(c) for axis, c in zip(self.axes(box), centre, strict=True)]
        own: list[Any] = [sum(np.float32(m) * o for m, o in zip(row, offsets, strict=True)) for row in matrix.T]
        if bend:
            own[0] = own[0] - np.float32(bend) * ((own[2] / np.float32(radii[2])) ** 2 - np.float32(0.4))
        level = np.sqrt(sum((o / np.float32(r)) ** 2 for o, r in zip(own, radii, strict=True)))
        size = float(np.cbrt(np.prod(radii)))
        uneven = self.noise(rng, box, max(0.75 * size, 12.0)) * np.float32(bumps) if bumps else np.float32(0)
        return box, ((1 + uneven - level) * np.float32(size)).astype(np.float32)

    def tube(
        self, rng: np.random.Generator, points: Sequence[Point], radii: Sequence[float], *, bumps: float = 0.05
    ) -> tuple[Box, Field]:
        """A tube along a polyline with a radius at each point, deformed by noise of `bumps` times that radius."""
        line, size = np.asarray(points, np.float32), np.asarray(radii, np.float32)
        reach = size.max() * (1 + 3 * bumps) + 2 * self.edge
        box = self.box(tuple(line.min(0) - reach), tuple(line.max(0) + reach))  # type: ignore[arg-type]
        x, y, z = self.axes(box)
        result: Field | None = None
        for start, stop, r0, r1 in zip(line[:-1], line[1:], size[:-1], size[1:], strict=True):
            along = stop - start
            t = ((x - start[0]) * along[0] + (y - start[1]) * along[1] + (z - start[2]) * along[2]) / (along @ along)
            t = np.clip(t, 0, 1)
            square = sum((a - (s + t * d)) ** 2 for a, s, d in zip((x, y, z), start, along, strict=True))
            piece = (r0 + (r1 - r0) * t) - np.sqrt(square)
            result = piece if result is None else np.maximum(result, piece)
        assert result is not None
        if bumps:
            result = result + self.noise(rng, box, 0.9 * float(size.mean())) * np.float32(bumps * float(size.mean()))
        return box, result.astype(np.float32)

    def paint(self, box: Box, inside: Field, value: Field | float, label: int | None = None) -> None:
        """Blend `value` (HU) over the box where the field is positive, with a partial-volume edge; set the label.

        `label` None leaves the labels as they are; 0 clears them.
        """
        weight = np.clip(inside * np.float32(1 / self.edge) + np.float32(0.5), 0, 1)
        view = self.hu[box]
        view += weight * (value - view)
        if label is not None:
            self.labels[box][inside > 0] = label
