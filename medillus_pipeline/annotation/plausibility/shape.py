"""Structures in pieces that are one: islands far from the rest, and slices left out between others. Warnings."""

from collections.abc import Collection, Iterator
from itertools import pairwise

import numpy as np

from medillus_pipeline.annotation.label_map import Region
from medillus_pipeline.annotation.plausibility.findings import Finding, FindingKind, Severity
from medillus_pipeline.annotation.plausibility.survey import Drawn, OnSlice, Survey

NEIGHBOURS = np.ones((3, 3), bool)
SAMPLE_MM = 2.0
"""Large parts are sampled that densely when an island's distance from them is taken."""


def examine_shape(found: Survey, explained: Collection[tuple[int, str | None]] = ()) -> Iterator[Finding]:
    """Islands and slice gaps of the structures that the table calls connected; nothing without a steady stack.

    Islands on a (structure, slice name) in `explained` are passed over: one mistake is one finding.
    """
    if found.spacing is None:
        return
    for structure, drawn in found.structures.items():
        if found.expectation(structure).connected:
            yield from _gaps(found, structure, drawn)
            yield from _islands(found, structure, drawn, explained)


def _gaps(found: Survey, structure: int, drawn: Drawn) -> Iterator[Finding]:
    """Runs of missing slices. Where every n-th slice was annotated, only such are missed; where the annotated slices
    follow no rule, only annotated ones are.
    """
    for one, following in pairwise(drawn.slices):
        if found.step is None:
            missing = [k for k in found.annotated if one.order < k < following.order]
        else:
            missing = list(range(one.order + found.step, following.order - found.step + 1, found.step))
        if missing:
            name = found.targets[missing[0]].slice_name
            yield Finding(
                FindingKind.SLICE_GAP, structure, name, float(len(missing)), None, 0.0, "slices", Severity.WARN
            )


def _islands(
    found: Survey, structure: int, drawn: Drawn, explained: Collection[tuple[int, str | None]]
) -> Iterator[Finding]:
    most, name = max((_count(one.region.mask), one.target.slice_name) for one in drawn.slices)
    if most > found.limits.parts:
        yield Finding(
            FindingKind.ISLANDS, structure, name, float(most), None, float(found.limits.parts), "parts", Severity.WARN
        )
        return
    pieces = _pieces(drawn.slices)
    if len(pieces) < 2:
        return
    sizes = [sum(part.area for _, part in piece) for piece in pieces]
    least = found.limits.island_share * max(sizes)
    large = [member for piece, size in zip(pieces, sizes, strict=True) if size >= least for member in piece]
    near = np.concatenate([_places(one, part, sparse=True) for one, part in large])
    islands = []
    for piece, size in zip(pieces, sizes, strict=True):
        if size >= least or all((structure, one.target.slice_name) in explained for one, _ in piece):
            continue
        centre = np.concatenate([_places(one, part) for one, part in piece]).mean(0)
        distance = float(np.sqrt(((near - centre) ** 2).sum(1).min()))
        if distance > found.limits.island_mm:
            islands.append((distance, piece[0][0].target.slice_name))
    if islands:
        farthest, name = max(islands)
        where = name if len(islands) == 1 else None
        limit = found.limits.island_mm
        yield Finding(FindingKind.ISLANDS, structure, where, farthest, None, limit, "mm", Severity.WARN)


def _count(mask: np.ndarray) -> int:
    from scipy import ndimage

    return int(ndimage.label(mask, NEIGHBOURS)[1])  # type: ignore[index]


def _pieces(slices: list[OnSlice]) -> list[list[tuple[OnSlice, Region]]]:
    """Parts that touch, corners included, on a slice or from one drawn slice to the next (26 neighbours)."""
    from scipy import ndimage

    members: list[tuple[OnSlice, Region]] = []
    belongs: list[int] = []
    before: list[int] = []
    for one in slices:
        labels = np.zeros(one.region.mask.shape, np.int32)
        count = int(ndimage.label(one.region.mask, NEIGHBOURS, output=labels))  # type: ignore[call-overload]
        here = []
        for part in _parts(one.region, labels, count):
            number = len(members)
            members.append((one, part))
            belongs.append(number)
            here.append(number)
            for other in before:
                if _root(belongs, other) != _root(belongs, number) and _touch(members[other][1], part):
                    belongs[_root(belongs, number)] = _root(belongs, other)
        before = here
    groups: dict[int, list[tuple[OnSlice, Region]]] = {}
    for number, member in enumerate(members):
        groups.setdefault(_root(belongs, number), []).append(member)
    return list(groups.values())


def _root(belongs: list[int], number: int) -> int:
    while belongs[number] != number:
        number = belongs[number]
    return number


def _parts(region: Region, labels: np.ndarray, count: int) -> Iterator[Region]:
    from scipy import ndimage

    if count == 1:
        yield region
        return
    for value, box in enumerate(ndimage.find_objects(labels), start=1):
        yield Region(region.top + box[0].start, region.left + box[1].start, labels[box] == value)


def _touch(one: Region, other: Region) -> bool:
    """Whether two parts on successive slices overlap, or meet at an edge or a corner."""
    from scipy import ndimage

    top, left = max(one.top, other.top) - 1, max(one.left, other.left) - 1
    bottom = min(one.top + one.mask.shape[0], other.top + other.mask.shape[0]) + 1
    right = min(one.left + one.mask.shape[1], other.left + other.mask.shape[1]) + 1
    if bottom - top < 2 or right - left < 2:
        return False
    first, second = (_crop(part, top, left, bottom, right) for part in (one, other))
    return bool((first & second).any()) or bool((ndimage.binary_dilation(first, NEIGHBOURS) & second).any())


def _crop(region: Region, top: int, left: int, bottom: int, right: int) -> np.ndarray:
    """A window of the slice out of a region; what lies beyond its box is empty."""
    result = np.zeros((bottom - top, right - left), bool)
    height, width = region.mask.shape
    r0, r1 = max(top, region.top), min(bottom, region.top + height)
    c0, c1 = max(left, region.left), min(right, region.left + width)
    if r0 < r1 and c0 < c1:
        inside = region.mask[r0 - region.top : r1 - region.top, c0 - region.left : c1 - region.left]
        result[r0 - top : r1 - top, c0 - left : c1 - left] = inside
    return result


def _places(one: OnSlice, part: Region, *, sparse: bool = False) -> np.ndarray:
    """Pixel centres in LPS mm, (n, 3); `sparse` takes some of them only, and at least one."""
    step = max(1, int(SAMPLE_MM / max(one.target.pixel_spacing or (1.0,)))) if sparse else 1
    rows, columns = np.nonzero(part.mask[::step, ::step])
    if not len(rows):
        step = 1
        rows, columns = np.nonzero(part.mask)
    points = np.stack([columns * step + part.left, rows * step + part.top, np.zeros(len(rows)), np.ones(len(rows))])
    return (one.target.affine @ points)[:3].T
