"""Geometry of slices: where a frame lies in the patient (LPS, mm), how the frames of a series stack up, and whether a
stack is a volume.

Follows PS3.3 C.7.6.2.1.1 (image position and orientation) and 10.7.1.3 (pixel spacing: row spacing first). What is
not here: where the numbers come from in a dataset (`pixels.py` reads them), and pixels themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

SAME_DIRECTION = 1e-3
"""Greatest difference of a direction cosine within one stack (0.06 degrees); files round them to six digits."""
SAME_POSITION = 0.01
"""Distance along the normal, in mm, under which two slices lie at the same place."""
UNEVEN = 0.02
"""Share of the median distance by which a distance between neighbours may differ before it counts as uneven."""
STRAY = 0.1
"""Share of the median distance by which a slice of a volume may lie off the even line from first to last slice."""
TILT = 2e-3
"""Sideways drift per mm along the normal (0.11 degrees) from which a stack counts as tilted. Above SAME_DIRECTION:
cosines that were rounded make a stack look tilted by as much."""
SAME_SPACING = 1e-3
"""Relative difference under which two pixel spacings are one."""
MINIMUM_SLICES = 3
"""Slices from which a stack can be a volume: two have one distance, and nothing to compare it with."""


class SeriesNote(StrEnum):
    """What is unusual about a stack of slices."""

    NO_GEOMETRY = "no_geometry"
    MIXED_ORIENTATION = "mixed_orientation"
    MIXED_SIZE = "mixed_size"
    DUPLICATE_POSITIONS = "duplicate_positions"
    GAPS = "gaps"
    UNEVEN_SPACING = "uneven_spacing"
    STRAYING_POSITIONS = "straying_positions"
    """Each step is even enough, and yet some slice lies well off the line of equal steps from first to last."""
    TILTED_STACK = "tilted_stack"
    """The stack drifts sideways along its normal, as with a tilted gantry: its grid is sheared."""
    MIXED_PIXEL_SPACING = "mixed_pixel_spacing"
    ANISOTROPIC_PIXELS = "anisotropic_pixels"
    """Pixels are not square. A volume all the same."""


class Verdict(StrEnum):
    """Whether a stack of slices is a volume, or why it is none. The notes of the stack say what else is odd."""

    VOLUME = "volume"
    COLOUR = "colour"
    NO_GEOMETRY = "no_geometry"
    """Position, orientation or pixel spacing is not stated."""
    LOCALIZER = "localizer"
    """Planning images by their ImageType (PS3.3 C.8.2.1.1.1)."""
    TOO_FEW_SLICES = "too_few_slices"
    MIXED_PIXEL_SPACING = "mixed_pixel_spacing"
    DUPLICATE_POSITIONS = "duplicate_positions"
    TILTED_STACK = "tilted_stack"
    """A sheared grid: no rigid affine describes it without resampling."""
    GAPS = "gaps"
    UNEVEN_SPACING = "uneven_spacing"
    TOO_LARGE = "too_large"
    UNDECODABLE = "undecodable"


@dataclass(frozen=True)
class Plane:
    """Where a frame lies: position (x, y, z) in mm LPS of the centre of its first pixel, six direction cosines,
    (row spacing, column spacing) in mm, and its size in pixels. None where the file does not say.
    """

    rows: int
    columns: int
    position: tuple[float, ...] | None = None
    orientation: tuple[float, ...] | None = None
    pixel_spacing: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Stack:
    """Frames of one series with one orientation and size, in order along the normal.

    `members` are indices into the sequence given; `spacing` is the median distance between neighbours in mm, None for
    a single place or without geometry; `even` says that the stack is a regular grid: equal steps, no tilt, one pixel
    spacing. Whether it is a volume is for `verdict` to say.
    """

    members: tuple[int, ...]
    spacing: float | None
    even: bool
    notes: frozenset[SeriesNote]


def normal(orientation: Sequence[float]) -> np.ndarray:
    """Unit normal (3,) of a slice: the cross product of its row and column directions."""
    vector = np.cross(np.asarray(orientation[:3], float), np.asarray(orientation[3:], float))
    return vector / np.linalg.norm(vector)


def slice_to_lps_affine(
    position: Sequence[float], orientation: Sequence[float], pixel_spacing: Sequence[float]
) -> np.ndarray:
    """The (4, 4) float64 matrix that takes (column, row, 0, 1), counted from the centre of the first pixel, to LPS mm.

    PS3.3 equation C.7.6.2.1-1. Its third column, which that equation leaves zero, is the unit normal: the matrix has
    an inverse, and (column, row, d, 1) lies d mm above the slice. Raises ValueError for an orientation that does not
    span a plane.
    """
    if not is_orientation(orientation):
        raise ValueError("the orientation is not two perpendicular unit vectors")
    affine = np.eye(4)
    affine[:3, 0] = np.asarray(orientation[:3], float) * pixel_spacing[1]
    affine[:3, 1] = np.asarray(orientation[3:], float) * pixel_spacing[0]
    affine[:3, 2] = normal(orientation)
    affine[:3, 3] = position
    return affine


def volume_affine(first: Sequence[float], last: Sequence[float], slices: int, plane: Plane) -> np.ndarray:
    """The (4, 4) matrix from (column, row, slice, 1) to LPS mm for an even stack between two positions (mm).

    Raises ValueError when the plane has no orientation or spacing.
    """
    if plane.orientation is None or plane.pixel_spacing is None:
        raise ValueError("a volume needs the orientation and the pixel spacing of its slices")
    affine = slice_to_lps_affine(first, plane.orientation, plane.pixel_spacing)
    if slices > 1:
        affine[:3, 2] = (np.asarray(last, float) - np.asarray(first, float)) / (slices - 1)
    return affine


def is_orientation(orientation: Sequence[float]) -> bool:
    """Whether the six numbers are two unit vectors at right angles, to one part in a hundred."""
    if len(orientation) != 6 or not np.all(np.isfinite(orientation)):
        return False
    row, column = np.asarray(orientation[:3], float), np.asarray(orientation[3:], float)
    return bool(
        abs(np.linalg.norm(row) - 1) < 0.01 and abs(np.linalg.norm(column) - 1) < 0.01 and abs(row @ column) < 0.01
    )


def stack_series(planes: Sequence[Plane], identities: Sequence[str]) -> list[Stack]:
    """Split the frames of one series into stacks of one orientation and size, each ordered along its normal.

    InstanceNumber plays no part. `identities` (unique, one per frame) decide between frames at the same place and
    order frames without geometry, so the result does not depend on the order of the input. The stacks come largest
    first.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(planes)), key=lambda i: identities[i]):
        for group in groups:
            if _together(planes[group[0]], planes[index]):
                group.append(index)
                break
        else:
            groups.append([index])
    heads = [planes[group[0]] for group in groups]
    shared = set()
    if len({_size(head) for head in heads}) > 1:
        shared.add(SeriesNote.MIXED_SIZE)
    directions = [head.orientation for head in heads if head.orientation is not None]
    if any(not _parallel(directions[0], other) for other in directions[1:]):
        shared.add(SeriesNote.MIXED_ORIENTATION)
    stacks = [_ordered(group, planes, identities, shared) for group in groups]
    return sorted(stacks, key=lambda stack: (-len(stack.members), identities[stack.members[0]]))


def _size(plane: Plane) -> tuple[int, int]:
    return plane.rows, plane.columns


def _together(one: Plane, other: Plane) -> bool:
    if _size(one) != _size(other) or (one.orientation is None) != (other.orientation is None):
        return False
    if one.orientation is None or other.orientation is None:
        return True
    return _parallel(one.orientation, other.orientation)


def _parallel(one: Sequence[float], other: Sequence[float]) -> bool:
    return bool(np.max(np.abs(np.subtract(one, other))) < SAME_DIRECTION)


def _ordered(group: list[int], planes: Sequence[Plane], identities: Sequence[str], shared: set[SeriesNote]) -> Stack:
    orientation = planes[group[0]].orientation
    if orientation is None:
        members = tuple(sorted(group, key=lambda i: identities[i]))
        return Stack(members, None, False, frozenset(shared | {SeriesNote.NO_GEOMETRY}))
    notes = shared | _pixel_notes([planes[i] for i in group])
    along = normal(orientation)
    places = np.array([planes[i].position for i in group], float)
    heights = places @ along
    order = sorted(range(len(group)), key=lambda k: (round(heights[k] / SAME_POSITION), identities[group[k]]))
    members = tuple(group[k] for k in order)
    steps = np.diff(heights[order])
    apart = steps[steps > SAME_POSITION]
    if len(apart) < len(steps):
        notes.add(SeriesNote.DUPLICATE_POSITIONS)
    if not len(apart):
        return Stack(members, None, False, frozenset(notes))
    spacing = float(np.median(apart))
    if np.any(apart > 1.5 * spacing):
        notes.add(SeriesNote.GAPS)
    if np.any(np.abs(apart - spacing) > max(UNEVEN * spacing, SAME_POSITION)):
        notes.add(SeriesNote.UNEVEN_SPACING)
    drift = places[order] - places[order[0]]
    across = drift - np.outer(drift @ along, along)
    if np.max(np.linalg.norm(across, axis=1)) > max(TILT * float(drift[-1] @ along), SAME_POSITION):
        notes.add(SeriesNote.TILTED_STACK)
    line = np.outer(np.arange(len(order)) / max(1, len(steps)), drift[-1])
    strays = np.max(np.linalg.norm(drift - line, axis=1)) > max(STRAY * spacing, SAME_POSITION)
    if strays and not notes & {SeriesNote.DUPLICATE_POSITIONS, SeriesNote.GAPS, SeriesNote.UNEVEN_SPACING}:
        notes.add(SeriesNote.STRAYING_POSITIONS)
    return Stack(members, spacing, not notes - _HARMLESS, frozenset(notes))


def _pixel_notes(planes: list[Plane]) -> set[SeriesNote]:
    spacings = np.array([plane.pixel_spacing for plane in planes if plane.pixel_spacing is not None], float)
    if not len(spacings):
        return set()
    low, high = spacings.min(axis=0), spacings.max(axis=0)
    notes = set()
    if len(spacings) < len(planes) or np.any(high - low > SAME_SPACING * low):
        notes.add(SeriesNote.MIXED_PIXEL_SPACING)
    if np.any(np.abs(spacings[:, 0] - spacings[:, 1]) > SAME_SPACING * spacings[:, 0]):
        notes.add(SeriesNote.ANISOTROPIC_PIXELS)
    return notes


_HARMLESS = {SeriesNote.MIXED_ORIENTATION, SeriesNote.MIXED_SIZE, SeriesNote.ANISOTROPIC_PIXELS}
"""What is unusual about the series, or about each slice, and leaves the stack a regular grid."""

_IN_THE_WAY = {
    SeriesNote.MIXED_PIXEL_SPACING: Verdict.MIXED_PIXEL_SPACING,
    SeriesNote.DUPLICATE_POSITIONS: Verdict.DUPLICATE_POSITIONS,
    SeriesNote.TILTED_STACK: Verdict.TILTED_STACK,
    SeriesNote.GAPS: Verdict.GAPS,
    SeriesNote.UNEVEN_SPACING: Verdict.UNEVEN_SPACING,
    SeriesNote.STRAYING_POSITIONS: Verdict.UNEVEN_SPACING,
}
"""Notes that keep a stack from being a volume, the one to name first at the top."""


def verdict(stack: Stack, planes: Sequence[Plane], *, minimum_slices: int = MINIMUM_SLICES) -> Verdict:
    """Whether a stack of the frames `planes` (as given to `stack_series`) is a volume by its geometry, or why not.

    A volume is a regular grid: at least `minimum_slices` (2 or more) parallel slices of one size and pixel spacing, at
    equal steps along their normal. What pixels and headers say (colour, localizer) is for the caller to look at.
    """
    if SeriesNote.NO_GEOMETRY in stack.notes or any(planes[i].pixel_spacing is None for i in stack.members):
        return Verdict.NO_GEOMETRY
    if len(stack.members) < minimum_slices:
        return Verdict.TOO_FEW_SLICES
    return next((verdict for note, verdict in _IN_THE_WAY.items() if note in stack.notes), Verdict.VOLUME)


def edge_letters(orientation: Sequence[float]) -> tuple[str, str, str, str]:
    """Patient directions at the left, right, top and bottom edge of an image, each one of R L A P H F.

    `orientation` is ImageOrientationPatient: the cosines of a row (columns rising), then of a column (rows rising), in
    LPS (PS3.3 C.7.6.2.1.1). The letter is the main direction; oblique planes keep their nearest one.
    """
    positive, negative = "LPH", "RAF"

    def ends(cosines: Sequence[float]) -> tuple[str, str]:
        axis = max(range(3), key=lambda i: abs(cosines[i]))
        low, high = negative[axis], positive[axis]
        return (low, high) if cosines[axis] > 0 else (high, low)

    return (*ends(orientation[:3]), *ends(orientation[3:]))
