"""Which slice a frame of a segmentation belongs to, and how its pixels lie on it.

A frame belongs to the slice that it names as its source, provided that it lies there where both say where they lie; one
that names none belongs to the slice in whose plane it lies. Nothing is interpolated: the centres of its pixels have to
meet those of the slice's, with any exact turn, flip or cut. What is not here: what the pixels mean (`segmentation.py`).
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from pydicom import Dataset

from medillus_pipeline.annotation.label_map import Region, trimmed
from medillus_pipeline.annotation.outcomes import Reason
from medillus_pipeline.annotation.references import References
from medillus_pipeline.annotation.slice_index import SliceIndex, Target
from medillus_pipeline.dicom.attributes import functional_group
from medillus_pipeline.dicom.geometry import SAME_SPACING, Plane, slice_to_lps_affine

FIT_TOLERANCE = 0.25
"""Greatest distance, in pixels along rows and columns, between a frame's pixel centre and the slice's."""
PLANE_TOLERANCE = 0.2
"""Greatest distance of a frame from the slice's plane: this share of the distance between slices, at least
`SAME_PLANE`.
"""
LONE_PLANE_TOLERANCE = 0.5
"""The same, in mm, for a slice without neighbours."""
SAME_PLANE = 0.1
"""Distance in mm within which frames of a segment lie in one plane; of others, only the nearest belong to a slice."""


class Fit(NamedTuple):
    """How a frame lies on a slice: (column, row) there = `steps` @ (column, row) in the frame + `first`.

    `distance` is that of the two planes in mm.
    """

    target: Target
    steps: tuple[tuple[int, int], tuple[int, int]]
    first: tuple[int, int]
    distance: float

    def region(self, mask: np.ndarray, top: int = 0, left: int = 0) -> Region | None:
        """What a bool mask, whose first pixel is (top, left) of the frame, covers of the slice."""
        cut = trimmed(mask, top, left)
        if cut is None:
            return None
        corners = np.array([[cut.left, cut.top], [cut.left + cut.mask.shape[1] - 1, cut.top + cut.mask.shape[0] - 1]])
        left_on_slice, top_on_slice = (corners @ np.array(self.steps).T + self.first).min(axis=0)
        turned = cut.mask if self.steps[0][0] else cut.mask.T
        turned = turned[:: sum(self.steps[1]), :: sum(self.steps[0])]
        return Region(int(top_on_slice), int(left_on_slice), np.ascontiguousarray(turned))


IN_PLACE = ((1, 0), (0, 1))


class Source(NamedTuple):
    """What a frame says it was drawn on: (SOP Instance UID, frame or None), and that its pixels were moved."""

    instances: tuple[tuple[str, int | None], ...]
    moved: bool


class Placing:
    """Finds the slices of the frames of one segmentation; what was found before is remembered.

    `space` (Frame of Reference UID, or empty) and `series` (Series Instance UIDs that the segmentation refers to) are
    those that the slices know them by.
    """

    def __init__(self, index: SliceIndex, references: References, space: str, series: Iterable[str]) -> None:
        self.index = index
        self.references = references
        self.space = space
        self.series = frozenset(series)
        self._fits: dict[tuple[Plane, Source], Fit | Reason] = {}

    def fit(self, frame: Plane, source: Source) -> Fit | Reason:
        """The slice that a frame was drawn on, else OTHER_SERIES, OTHER_GEOMETRY, AMBIGUOUS_SERIES, or (pending)
        UNKNOWN_SLICE.
        """
        key = frame, source
        if key not in self._fits:
            named = [t for uid_, n in source.instances for t in self._instance(uid_, n)]
            if self.series and any(target.series_instance_uid not in self.series for target in named):
                self._fits[key] = Reason.OTHER_SERIES
            else:
                self._fits[key] = self._among(frame, named, source.moved) if named else self._by_place(frame, source)
        return self._fits[key]

    def _instance(self, instance: str, frame: int | None) -> list[Target]:
        targets = self.index.by_instance.get(self.references.instance(instance), [])
        return targets if frame is None else [target for target in targets if target.frame == frame]

    def _among(self, frame: Plane, named: list[Target], moved: bool) -> Fit | Reason:
        if frame.position is None or not any(target.has_geometry for target in named):
            same = [t for t in named if (t.rows, t.columns) == (frame.rows, frame.columns) and _same_spacing(t, frame)]
            if len(named) > 1 or moved or not same:
                return Reason.OTHER_GEOMETRY
            return Fit(same[0], IN_PLACE, (0, 0), 0.0)
        fits = [fit for target in named if (fit := fit_of(frame, target)) is not None]
        return min(fits, key=lambda fit: (fit.distance, fit.target.slice_name)) if fits else Reason.OTHER_GEOMETRY

    def _by_place(self, frame: Plane, source: Source) -> Fit | Reason:
        # A frame that names its source and no series belongs to no other series that happens to lie there.
        if frame.position is None or not self.space or (source.instances and not self.series):
            return Reason.UNKNOWN_SLICE
        there = [
            target
            for target in self.index.by_space.get(self.space, [])
            if (not self.series or target.series_instance_uid in self.series) and _near(frame, target)
        ]
        fits = [fit for target in there if (fit := fit_of(frame, target)) is not None]
        if len({fit.target.series_instance_uid for fit in fits}) > 1:
            return Reason.AMBIGUOUS_SERIES
        if fits:
            return min(fits, key=lambda fit: (fit.distance, fit.target.slice_name))
        return Reason.OTHER_GEOMETRY if there else Reason.UNKNOWN_SLICE


def source_of(dataset: Dataset, number: int) -> Source:
    """What frame `number` (from 1) names as its source (PS3.3 C.7.6.16.2.6)."""
    derivation = functional_group(dataset, number, "DerivationImageSequence")
    instances: list[tuple[str, int | None]] = []
    moved = False
    for image in (derivation.get("SourceImageSequence") or []) if derivation else []:
        instance = str(image.get("ReferencedSOPInstanceUID", "") or "")
        stated = image.get("ReferencedFrameNumber")
        frames = [] if stated is None else [int(n) for n in (stated if hasattr(stated, "__iter__") else [stated])]
        if instance:
            instances += [(instance, frame) for frame in frames or [None]]
        moved |= str(image.get("SpatialLocationsPreserved", "") or "YES") != "YES"
    return Source(tuple(instances), moved)


def fit_of(frame: Plane, target: Target) -> Fit | None:
    """How a frame lies on a slice; None where its pixels are not pixels of the slice, or it lies in another plane."""
    if not (frame.position and frame.orientation and frame.pixel_spacing and target.has_geometry):
        return None
    onto = target.inverse @ slice_to_lps_affine(frame.position, frame.orientation, frame.pixel_spacing)
    steps = np.round(onto[:2, :2]).astype(np.int64)
    first = np.round(onto[:2, 3]).astype(np.int64)
    if not ((np.abs(steps).sum(axis=0) == 1).all() and (np.abs(steps).sum(axis=1) == 1).all()):
        return None
    corners = np.array([[c, r] for c in (0, frame.columns - 1) for r in (0, frame.rows - 1)], np.float64)
    there = corners @ steps.T + first
    if np.abs(corners @ onto[:2, :2].T + onto[:2, 3] - there).max() > FIT_TOLERANCE:
        return None
    if there.min() < 0 or there[:, 0].max() >= target.columns or there[:, 1].max() >= target.rows:
        return None
    distance = float(np.abs(corners @ onto[2, :2] + onto[2, 3]).max())
    spacing = target.slice_spacing
    if distance > (max(SAME_PLANE, PLANE_TOLERANCE * spacing) if spacing else LONE_PLANE_TOLERANCE):
        return None
    (a, b), (c, d) = steps.tolist()
    return Fit(target, ((a, b), (c, d)), (int(first[0]), int(first[1])), distance)


def _near(frame: Plane, target: Target) -> bool:
    """Whether the frame begins within reach of the slice's plane."""
    if not target.has_geometry or frame.position is None:
        return False
    return abs(float(target.inverse[2, :3] @ np.asarray(frame.position) + target.inverse[2, 3])) <= target.reach


def _same_spacing(target: Target, frame: Plane) -> bool:
    if not target.pixel_spacing or not frame.pixel_spacing:
        return True
    return bool(np.allclose(target.pixel_spacing, frame.pixel_spacing, rtol=SAME_SPACING))
