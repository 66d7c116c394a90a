"""Edits of one organ in a label map: moved, grown, removed. Pure functions; what an edit does to an image is elsewhere.

An edit stays plausible: the organ stays inside the body, no neighbour loses more than a fifth of its area to it, and
what it leaves becomes what surrounds it. Where that cannot be, there is no edit (None).
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Edit = Literal["move", "grow", "remove"]
Mask = NDArray[np.bool_]
ClassMap = NDArray[np.uint8]

MOVED_SHARE = 0.1
"""How far an organ is moved, as a share of its larger extent; a pixel at least."""

GROWN_SHARE = 2 / 64
"""How far an organ grows on every side, as a share of the frame."""

GREATEST_LOSS = 0.2
"""Greatest share of its area that a neighbour may lose."""

DIRECTIONS = ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))


def move(class_map: ClassMap, organ: int, body: Mask, rng: np.random.Generator) -> ClassMap | None:
    """The organ shifted by a tenth of its larger extent in a random direction that stays plausible."""
    own = class_map == organ
    rows, columns = np.nonzero(own)
    if not len(rows):
        return None
    step = max(1, round(MOVED_SHARE * max(np.ptp(rows) + 1, np.ptp(columns) + 1)))
    for number in rng.permutation(len(DIRECTIONS)):
        down, right = (step * part for part in DIRECTIONS[number])
        at = rows + down, columns + right
        inside = (at[0] >= 0) & (at[0] < own.shape[0]) & (at[1] >= 0) & (at[1] < own.shape[1])
        if not inside.all():
            continue
        moved = np.zeros_like(own)
        moved[at] = True
        edited = _painted(class_map, organ, moved, body)
        if edited is not None:
            return edited
    return None


def grow(class_map: ClassMap, organ: int, body: Mask, rng: np.random.Generator) -> ClassMap | None:
    """The organ with a rim of two pixels of 64 added, clipped to the body."""
    own = class_map == organ
    if not own.any():
        return None
    rounds = max(1, round(GROWN_SHARE * class_map.shape[0]))
    cross = ndimage.generate_binary_structure(2, 1)
    return _painted(class_map, organ, np.asarray(ndimage.binary_dilation(own, cross, rounds)) & (body | own), body)


def remove(class_map: ClassMap, organ: int, body: Mask, rng: np.random.Generator) -> ClassMap | None:
    """The organ replaced by what surrounds it."""
    own = class_map == organ
    return _without(class_map, own) if own.any() and not own.all() else None


EDITS: dict[Edit, Callable[[ClassMap, int, Mask, np.random.Generator], ClassMap | None]] = {
    "move": move,
    "grow": grow,
    "remove": remove,
}


def _painted(class_map: ClassMap, organ: int, place: Mask, body: Mask) -> ClassMap | None:
    """The map with the organ at `place` alone; None where that leaves the body or takes too much of a neighbour."""
    own = class_map == organ
    if (place & ~body & ~own).any() or (place == own).all():
        return None
    taken = np.bincount(class_map[place & ~own], minlength=256)
    areas = np.bincount(class_map.ravel(), minlength=256)
    if (taken[1:] > GREATEST_LOSS * areas[1:]).any():
        return None
    edited = _without(class_map, own)
    edited[place] = organ
    return edited


def _without(class_map: ClassMap, own: Mask) -> ClassMap:
    """Each of the organ's pixels gets the label of the nearest pixel outside it."""
    nearest = ndimage.distance_transform_edt(own, return_distances=False, return_indices=True)
    return class_map[tuple(np.asarray(nearest))]
