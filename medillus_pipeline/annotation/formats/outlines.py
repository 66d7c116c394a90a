"""The outlines of a mask as few straight lines, with the guarantee that the same pixels lie inside.

A pixel lies inside a shape by its centre. Along the border every inside centre faces an outside one; the line between
two such centres is a gate. An outline that goes through all gates in their order, and through nothing else, has the
same centres inside, whatever its shape: between one gate and the next it stays within four neighbouring centres. So
the outline starts as the row of gates, and a vertex is set only where no straight line goes through the next gate.
What is not here: filling (`label_map.fill`), files (`labelme_writing.py`).

Coordinates are (column, row) from the outer corner of the first pixel, whose centre is at (0.5, 0.5).
"""

import numpy as np

MARGIN = 0.1
"""Distance that a line keeps from the two pixel centres of a gate, in pixels; below a half."""
STEPS = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
"""Directions (column, row) of a border's edges, with the inside on the right hand: along a top side, down a right one,
back along a bottom, up a left.
"""


def outlines(mask: np.ndarray) -> list[tuple[np.ndarray, list[np.ndarray]]]:
    """The pieces of a bool mask (rows, columns): outline and holes, each (points, 2), by first pixel.

    Pixels that only touch at a corner belong to different pieces. Vertices lie half-way between two pixel centres.
    """
    from scipy.ndimage import label

    pieces = np.empty(mask.shape, np.int32)
    count = int(label(mask, output=pieces))  # type: ignore[arg-type]
    found: list[tuple[np.ndarray, list[np.ndarray]]] = [(np.empty((0, 2)), []) for _ in range(count)]
    for piece, edges, directions in _borders(pieces):
        outer = int((STEPS[directions][:, 0] * edges[:, 1]).sum()) < 0
        ring = _straightened(edges, directions)
        if outer:
            found[piece - 1] = (ring, found[piece - 1][1])
        else:
            found[piece - 1][1].append(ring)
    return found


def keyholed(outer: np.ndarray, holes: list[np.ndarray]) -> np.ndarray:
    """One ring (points, 2) for an outline and its holes, each (points, 2): a slit, passed once each way, leads from the
    nearest vertex of what is already joined to every hole. Even-odd takes slits for nothing.
    """
    ring, waiting = outer, list(holes)
    while waiting:
        gaps = [np.linalg.norm(ring[:, None] - hole[None], axis=2) for hole in waiting]
        nearest = int(np.argmin([gap.min() for gap in gaps]))
        hole, gap = waiting.pop(nearest), gaps[nearest]
        here, there = np.unravel_index(int(gap.argmin()), gap.shape)
        around = np.roll(hole, -int(there), axis=0)
        ring = np.concatenate([ring[: here + 1], around, around[:1], ring[here:]])
    return ring


def _borders(pieces: np.ndarray) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """The closed borders of numbered pieces: number, corner (column, row) where each edge starts, its direction."""
    padded = np.pad(pieces, 1)
    width = padded.shape[1]
    starts: list[np.ndarray] = []
    for direction, (row, column) in enumerate(((-1, 0), (0, 1), (1, 0), (0, -1))):
        inside = np.flatnonzero((padded > 0) & (np.roll(padded, (-row, -column), (0, 1)) != padded))
        corner = {0: 0, 1: 1, 2: width + 1, 3: width}[direction]  # of the pixel, from which its side is walked
        starts.append((inside + corner) * 4 + direction)
    edges = np.sort(np.concatenate(starts))
    corners, directions = edges // 4, edges % 4
    ahead = corners + np.array([1, width, -1, -width])[directions]
    following = np.full(len(edges), -1)
    for turn in (3, 0, 1):  # the right turn, set last, wins where pieces touch at a corner
        wanted = ahead * 4 + (directions + turn) % 4
        at = np.searchsorted(edges, wanted).clip(max=len(edges) - 1)
        met = edges[at] == wanted
        following[met] = at[met]
    beside = np.array([0, -1, -width - 1, -width])  # from an edge's first corner to the pixel on its right hand
    owners = padded.ravel()[corners + beside[directions]]
    order, seen = following.tolist(), np.zeros(len(edges), bool)
    found = []
    for first in range(len(edges)):
        if seen[first]:
            continue
        loop, at = [first], order[first]
        while at != first:
            loop.append(at)
            at = order[at]
        seen[loop] = True
        where = corners[loop]
        found.append((int(owners[first]), np.stack([where % width - 1, where // width - 1], 1), directions[loop]))
    return found


def _straightened(corners: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """The ring (points, 2) of gate middles that are needed, for edges by first corner and direction."""
    steps = STEPS[directions]
    middles = corners + steps / 2
    inward = np.stack([-steps[:, 1], steps[:, 0]], axis=1)
    reach = inward * (0.5 - MARGIN)
    rights, lefts = (middles + reach).tolist(), (middles - reach).tolist()
    points = middles.tolist()
    count = len(points)
    kept = [0]
    while True:
        at = kept[-1]
        further = _furthest(points, rights, lefts, at, count)
        if at + further >= count:
            break
        kept.append(at + further)
    return middles[kept]


def _furthest(points: list[list[float]], rights: list[list[float]], lefts: list[list[float]], at: int, end: int) -> int:
    """How many gates on from the gate `at` a straight line reaches the middle of one through all gates between."""
    x, y = points[at]
    reached = 1
    right = left = None
    for step in range(1, end - at + 1):
        k = (at + step) % end
        px, py = points[k][0] - x, points[k][1] - y
        if right is None or left is None:
            visible = True
        else:
            visible = left[0] * py - left[1] * px >= 0 and right[0] * py - right[1] * px <= 0
        if visible:
            reached = step
        rx, ry = rights[k][0] - x, rights[k][1] - y
        lx, ly = lefts[k][0] - x, lefts[k][1] - y
        if right is None or left is None:
            right, left = (rx, ry), (lx, ly)
            continue
        if right[0] * ry - right[1] * rx < 0:
            right = (rx, ry)
        if left[0] * ly - left[1] * lx > 0:
            left = (lx, ly)
        if left[0] * right[1] - left[1] * right[0] < 0:
            break
    return reached
