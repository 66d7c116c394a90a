"""Where labels go: leader lines from anchors inside the organs to two columns, never crossing, never overlapping.

Ports stand on two vertical lines beside the image. `scipy.optimize.linear_sum_assignment` on the Euclidean length of
the leaders, over both sides jointly, gives a matching of least total length; in such a matching no two straight
leaders cross (if two did, exchanging their ports would be shorter by the triangle inequality). Squared length does not
have that property. Ports are then spread by isotonic regression towards the height of their anchors and matched
again, so that the last word always has the assignment.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import isotonic_regression, linear_sum_assignment

from medillus_pipeline.errors import InputError

Side = Literal["left", "right"]

LABELS_PER_SIDE = 17
_ROUNDS = 8


@dataclass(frozen=True)
class Placement:
    """One label: its anchor in the organ, its port at the column's inner edge (the label's middle), and its side."""

    anchor: tuple[float, float]
    port: tuple[float, float]
    side: Side


@dataclass(frozen=True)
class Columns:
    """The two label columns: x of their ports and the heights (top, bottom) within which labels must stay."""

    left: float
    right: float
    top: float
    bottom: float


def place_labels(anchors: np.ndarray, columns: Columns, pitch: float) -> list[Placement]:
    """Give each anchor a port so that leaders neither cross nor labels overlap.

    Args:
        anchors: (n, 2) x, y of the points that labels refer to, in canvas units, all distinct.
        columns: where ports may stand.
        pitch: height of a label with its gap; neighbouring ports of a side are at least this far apart.

    Returns:
        n placements, in the order of the anchors.

    Raises:
        InputError: the columns are too low for so many labels at this pitch.
    """
    count = len(anchors)
    if count == 0:
        return []
    room = int((columns.bottom - columns.top + 1e-9) // pitch)
    if count > 2 * room:
        raise InputError(f"{count} labels do not fit beside the image: there is room for {2 * room}")
    each = min(room, max(2, int(np.ceil(0.6 * count))))
    while 2 * each < count:
        each += 1
    spread = columns.top + (np.arange(each) + 0.5) * (columns.bottom - columns.top) / each
    ports = np.array([(x, y) for x in (columns.left, columns.right) for y in spread])
    chosen = _assign(anchors, ports)
    ports = ports[chosen]
    for _ in range(_ROUNDS):
        ports = _spread(anchors, ports, columns, pitch)
        chosen = _assign(anchors, ports)
        ports = ports[chosen]
        if np.array_equal(chosen, np.arange(count)):
            break
    return [
        Placement(
            (float(anchor[0]), float(anchor[1])),
            (float(port[0]), float(port[1])),
            "left" if port[0] == columns.left else "right",
        )
        for anchor, port in zip(anchors, ports, strict=True)
    ]


def crossings(placements: Sequence[Placement]) -> int:
    """Pairs of leaders that meet."""
    return sum(_meet(a.anchor, a.port, b.anchor, b.port) for i, a in enumerate(placements) for b in placements[i + 1 :])


def overlaps(placements: Sequence[Placement], pitch: float) -> int:
    """Pairs of labels of one side that are closer than the pitch."""
    return sum(
        a.side == b.side and abs(a.port[1] - b.port[1]) < pitch - 1e-6
        for i, a in enumerate(placements)
        for b in placements[i + 1 :]
    )


def _assign(anchors: np.ndarray, ports: np.ndarray) -> np.ndarray:
    """Index of the port of each anchor, least total Euclidean length."""
    lengths = np.hypot(anchors[:, None, 0] - ports[None, :, 0], anchors[:, None, 1] - ports[None, :, 1])
    return linear_sum_assignment(lengths)[1]


def _spread(anchors: np.ndarray, ports: np.ndarray, columns: Columns, pitch: float) -> np.ndarray:
    """Move ports towards the height of their anchors, in their order, a pitch apart and within the column."""
    moved = ports.copy()
    for x in (columns.left, columns.right):
        side = np.flatnonzero(ports[:, 0] == x)
        if not len(side):
            continue
        order = side[np.argsort(ports[side, 1], kind="stable")]
        steps = np.arange(len(order)) * pitch
        fitted = isotonic_regression(anchors[order, 1] - steps).x
        low, high = columns.top + pitch / 2, columns.bottom - pitch / 2 - steps[-1]
        moved[order, 1] = np.clip(fitted, low, max(low, high)) + steps
    return moved


def _meet(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float], d: tuple[float, float]) -> bool:
    """Whether the segments ab and cd have a point in common."""

    def turn(p: tuple[float, float], q: tuple[float, float], r: tuple[float, float]) -> float:
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    first, second, third, fourth = turn(a, b, c), turn(a, b, d), turn(c, d, a), turn(c, d, b)
    if first * second < 0 and third * fourth < 0:
        return True
    return any(
        value == 0 and min(p[0], q[0]) <= r[0] <= max(p[0], q[0]) and min(p[1], q[1]) <= r[1] <= max(p[1], q[1])
        for value, p, q, r in ((first, a, b, c), (second, a, b, d), (third, c, d, a), (fourth, c, d, b))
    )
