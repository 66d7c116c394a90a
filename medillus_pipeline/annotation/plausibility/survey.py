"""One pass over the slices of a stack: for every structure and slice the figures that the examinations judge.

Values of one slice at a time are held. What is not here: any judgement.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from medillus_pipeline.annotation.label_map import Region
from medillus_pipeline.annotation.plausibility.body import Body, find_body
from medillus_pipeline.annotation.plausibility.expectations import Expectation
from medillus_pipeline.annotation.plausibility.limits import Limits
from medillus_pipeline.annotation.slice_index import Target
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.dicom.geometry import SeriesNote, Stack

FIRST_HU, LAST_HU = -1100, 3100
"""HU are counted one by one between these, and as the nearest of them beyond."""

Values = Callable[[Target], np.ndarray | None]


@dataclass(frozen=True)
class OnSlice:
    """A structure on one slice: its place in the stack, pixels, centre (x, y, z) in LPS mm (None without geometry),
    median HU (None: no values), pixels judged against the body and those of them outside, and whether its outline
    reaches the edge of the image.
    """

    order: int
    target: Target
    region: Region
    pixels: int
    centre: np.ndarray | None
    median: float | None
    judged: int
    outside: int
    at_edge: bool

    @property
    def area(self) -> float | None:
        """In cm²; None without pixel spacing."""
        spacing = self.target.pixel_spacing
        return None if spacing is None else self.pixels * spacing[0] * spacing[1] / 100


@dataclass
class Drawn:
    """A structure on all slices of the stack, in order; `counts` are its pixels by HU from FIRST_HU."""

    slices: list[OnSlice] = field(default_factory=list)
    counts: np.ndarray = field(default_factory=lambda: np.zeros(LAST_HU - FIRST_HU + 1, np.int64))

    @property
    def median(self) -> float | None:
        """Median HU over the series; None without values."""
        return median_of(self.counts)

    @property
    def centre(self) -> np.ndarray | None:
        """Centre (x, y, z) in LPS mm over the series; None without geometry."""
        known = [(s.pixels, s.centre) for s in self.slices if s.centre is not None]
        if not known:
            return None
        return sum((n * c for n, c in known), np.zeros(3)) / sum(n for n, _ in known)


@dataclass
class Survey:
    """A stack of one series as an annotator drew on it.

    `spacing` between neighbouring slices in mm, None where the stack has no steady order; `step` from one annotated
    slice to the next, in slices, None where that is irregular; `annotated` their places in order; `middles` x in LPS
    mm of the body's middle by slice name, where the body lies on the slice entire.
    """

    targets: Sequence[Target]
    spacing: float | None
    annotated: tuple[int, ...]
    step: int | None
    vocabulary: Vocabulary
    expected: Mapping[str, Expectation]
    limits: Limits
    structures: dict[int, Drawn] = field(default_factory=dict)
    middles: dict[str, float] = field(default_factory=dict)

    def expectation(self, structure: int) -> Expectation:
        """What is expected of a structure; nothing where the table has no row."""
        return self.expected.get(self.vocabulary.by_id(structure).key, Expectation())


def survey(
    stack: Stack,
    targets: Sequence[Target],
    regions: Mapping[str, Mapping[int, Region]],
    values: Values | None,
    vocabulary: Vocabulary,
    expected: Mapping[str, Expectation],
    limits: Limits,
) -> Survey:
    """Gather the figures. `targets` are the members of `stack` in its order; `values` gives HU, None for no CT.

    Raises ValueError when values do not have the size of their slice.
    """
    annotated = tuple(k for k, target in enumerate(targets) if regions.get(target.slice_name))
    steady = not stack.notes & {SeriesNote.DUPLICATE_POSITIONS, SeriesNote.NO_GEOMETRY}
    found = Survey(
        targets=targets,
        spacing=stack.spacing if steady else None,
        annotated=annotated,
        step=_usual_step(annotated, limits.regular_share),
        vocabulary=vocabulary,
        expected=expected,
        limits=limits,
    )
    for order in annotated:
        _add_slice(found, order, regions[targets[order].slice_name], values)
    return found


def median_of(counts: np.ndarray) -> float | None:
    """The lower median of HU counted from FIRST_HU; None where nothing was counted."""
    total = int(counts.sum())
    return None if not total else float(FIRST_HU + np.searchsorted(np.cumsum(counts), (total + 1) // 2))


def _usual_step(annotated: Sequence[int], share: float) -> int | None:
    steps = np.diff(annotated)
    if not len(steps):
        return 1
    usual = int(np.bincount(steps).argmax())
    return usual if np.count_nonzero(steps == usual) >= share * len(steps) else None


def _add_slice(found: Survey, order: int, regions: Mapping[int, Region], values: Values | None) -> None:
    target = found.targets[order]
    measured = None if values is None else values(target)
    body = None
    if measured is not None:
        if measured.shape != (target.rows, target.columns):
            raise ValueError(f"the values of {target.slice_name} are {measured.shape}, not of the slice's size")
        spacing = target.pixel_spacing or (1.0, 1.0)
        body = find_body(measured, (spacing[0], spacing[1]))
        if body is not None and body.middle is not None and not body.cut and target.has_geometry:
            found.middles[target.slice_name] = float((target.affine @ [*body.middle, 0, 1])[0])
    for structure, region in regions.items():
        drawn = found.structures.setdefault(structure, Drawn())
        drawn.slices.append(_measure(drawn, order, target, region, measured, body, found.expectation(structure)))


def _measure(
    drawn: Drawn,
    order: int,
    target: Target,
    region: Region,
    measured: np.ndarray | None,
    body: Body | None,
    expected: Expectation,
) -> OnSlice:
    pixels, median, judged, outside = region.area, None, 0, 0
    if measured is not None and expected.tissue is not None:
        inside = measured[region.window][region.mask]
        inside = inside[~np.isnan(inside)]
        bins = np.rint(np.clip(inside, FIRST_HU, LAST_HU)).astype(np.int64) - FIRST_HU
        counts = np.bincount(bins, minlength=len(drawn.counts))
        drawn.counts += counts
        median = median_of(counts)
    # Where the image's edge cuts the body, lung lies open to the outside, and so does all that is in it.
    if body is not None and not expected.reaches_out and not body.cut:
        judged = pixels
        outside = pixels - int(np.count_nonzero(region.mask & body.within(region.window)))
    rows, columns = region.window
    centre = None
    if target.has_geometry:
        down, across = (
            region.mask.sum(1) @ np.arange(rows.start, rows.stop),
            region.mask.sum(0) @ np.arange(columns.start, columns.stop),
        )
        centre = (target.affine @ [across / pixels, down / pixels, 0, 1])[:3]
    at_edge = rows.start == 0 or columns.start == 0 or rows.stop == target.rows or columns.stop == target.columns
    return OnSlice(order, target, region, pixels, centre, median, judged, outside, at_edge)
