"""DICOM RT Structure Sets (PS3.3 A.19): contours in mm become pixels of the slices that they were drawn on.

The object arrives identified. Its references (SOP instance, series, frame of reference, patient) are compared with the
slices' as `references.py` says; nothing else of it is kept, above all not the ROI names.

Contours of a ROI in one plane are combined by even-odd, the "XOR" of PS3.3 C.8.8.6.3, which leaves keyholes as they
are; planning systems mean the same by several CLOSED_PLANAR contours. A contour off the planes of the slices goes to
the nearest slice within half the slice spacing; where two planes share a slice the nearer one is drawn. Nothing is
interpolated: a slice between contour planes stays empty, and the drawing's remarks say how many did.
"""

import io
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from medillus_pipeline.annotation.drawing import WHOLE_ITEM, Drawing
from medillus_pipeline.annotation.formats.contour_planes import Crossing, crossing, distinct
from medillus_pipeline.annotation.formats.slice_stack import SAME_PLANE, Stack, passed_over
from medillus_pipeline.annotation.formats.unpacking import check_inflation
from medillus_pipeline.annotation.label_map import fill
from medillus_pipeline.annotation.outcomes import Outcome, Reason, Refused
from medillus_pipeline.annotation.references import References
from medillus_pipeline.annotation.slice_index import SliceIndex, Target
from medillus_pipeline.annotation.vocabulary import Structure, Vocabulary
from medillus_pipeline.dicom.reading import silenced

FORMAT = "rtstruct"
SOP_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "CLOSED_PLANAR_XOR")
MAXIMUM_CONTOURS = 200_000
MAXIMUM_POINTS = 20_000_000
BEYOND_EDGE = 1.0
"""Pixels by which a contour may lie outside its slice before it is worth a remark."""
UNDEFINED_LENGTH = 0xFFFFFFFF
CONTOUR_DATA = Tag(0x3006, 0x0050)


def read(data: bytes, references: References, index: SliceIndex, vocabulary: Vocabulary) -> Drawing:
    """What an RT Structure Set draws on the slices of `index`.

    Raises Refused when the object is broken, names another patient than its slices, or holds no contour. Elements are
    parsed as they are met, and damaged ones fail in more ways than pydicom documents: any of them is a broken file.
    """
    try:
        with silenced():
            check_inflation(data)
            dataset = dcmread(io.BytesIO(data), force=True)
            _check_complete(dataset)
            return _Reader(dataset, references, index, vocabulary).drawing()
    except Refused:
        raise
    except Exception as error:
        raise Refused(Reason.BROKEN_FILE) from error


@dataclass(frozen=True)
class _Placed:
    """A contour on the slice that it belongs to: `points` (points, 3) in mm LPS, `pixels` (points, 2) as column and
    row, and how far it lies `above` the slice in mm.
    """

    points: np.ndarray
    pixels: np.ndarray
    above: float


def _placed(points: np.ndarray, target: Target) -> _Placed:
    inverse = target.inverse
    there = points @ inverse[:3, :3].T + inverse[:3, 3]
    return _Placed(points, there[:, :2], float(there[:, 2].mean()))


class _Reader:
    def __init__(self, dataset: Dataset, references: References, index: SliceIndex, vocabulary: Vocabulary) -> None:
        self.dataset = dataset
        self.references = references
        self.index = index
        self.vocabulary = vocabulary
        self._points = 0
        self._contours = 0
        self._stacks: dict[str, Stack] = {}
        self.patient = references.patient(str(dataset.get("PatientID", "") or ""))
        self.series = {references.series(uid) for uid in _referenced_series(dataset)}

    def drawing(self) -> Drawing:
        drawing = Drawing(FORMAT)
        rois = {int(roi.ROINumber): roi for roi in self.dataset.get("StructureSetROISequence") or []}
        codes = _codes(self.dataset)
        drawn: Counter[str] = Counter()
        for item in self.dataset.get("ROIContourSequence") or []:
            number = int(item.ReferencedROINumber)
            roi = rois.get(number)
            contours = item.get("ContourSequence") or []
            self._contours += len(contours)
            if self._contours > MAXIMUM_CONTOURS:
                raise Refused(Reason.TOO_LARGE)
            if roi is None or not contours:
                continue
            name = str(roi.get("ROIName", "") or "")
            structure = self._structure(name, codes.get(number, []))
            if structure is Reason.CODE_AND_LABEL_DIFFER:
                drawing.note(WHOLE_ITEM, structure, f"region of interest {number}")
            elif isinstance(structure, Reason):
                for contour in contours:
                    drawing.unknown(name, _reference(contour)[0] or "?")
            else:
                space = self.references.space(str(roi.get("ReferencedFrameOfReferenceUID", "") or ""))
                self._draw(drawing, structure, space, contours)
                drawn[structure.key] += 1
        drawing.remarks.update(f"{key}: {n} regions of interest were united" for key, n in drawn.items() if n > 1)
        if not drawing.regions and not drawing.notes:
            raise Refused(Reason.EMPTY)
        return drawing

    def _structure(self, name: str, codes: list[Dataset]) -> Structure | Reason:
        """What a ROI is, by its name, or by its code where the vocabulary does not know the name; else UNKNOWN_LABEL,
        or CODE_AND_LABEL_DIFFER.

        A code may be wider than the name (lung, for a left lung). The interpreted type (ORGAN, PTV, ...) says nothing
        here: in planning systems it often stands at whatever it was before.
        """
        named = self.vocabulary.resolve(name)
        coded = {s.key: s for code in codes if (s := _by_code(self.vocabulary, code)) is not None}
        if named is None:
            return next(iter(coded.values())) if len(coded) == 1 else Reason.UNKNOWN_LABEL
        agreed = all(named.key == key or named.key in wider.parts for key, wider in coded.items())
        return named if agreed else Reason.CODE_AND_LABEL_DIFFER

    def _draw(self, drawing: Drawing, structure: Structure, space: str, contours: list[Dataset]) -> None:
        """Rasterise the contours of one ROI, all those in one plane of a slice together."""
        on_slice: dict[str, list[_Placed]] = defaultdict(list)
        for number, contour in enumerate(contours):
            reference, frame = _reference(contour)
            place = reference or f"contour {number}"
            if str(contour.get("ContourGeometricType", "")) not in CLOSED:
                drawing.note(structure.key, Reason.OPEN_CONTOUR, place)
                continue
            points = self._coordinates(contour)
            if len(points) < 3:
                drawing.note(structure.key, Reason.OPEN_CONTOUR, place)
                continue
            found = self._slice(points, reference, frame, space)
            if isinstance(found, Reason):
                pending = found is Reason.UNKNOWN_SLICE
                drawing.note(structure.key, found, place, Outcome.PENDING if pending else Outcome.REFUSED)
                continue
            if self.patient is not None and found.patient != self.patient:
                raise Refused(Reason.OTHER_PATIENT)
            on_slice[found.slice_name].append(_placed(points, found))
        for name, placed in on_slice.items():
            self._fill(drawing, structure, self.index.by_name[name], placed)
        if missed := passed_over([self.index.by_name[name] for name in on_slice], self.index):
            drawing.remarks.add(f"{structure.key}: {missed} slices between contour planes were left empty")

    def _fill(self, drawing: Drawing, structure: Structure, target: Target, placed: list[_Placed]) -> None:
        """Draw the contours of the plane that is nearest to a slice."""
        nearest = min(abs(one.above) for one in placed)
        plane = [one for one in placed if abs(one.above) <= nearest + SAME_PLANE]
        if len(plane) < len(placed):
            drawing.note(structure.key, Reason.OTHER_GEOMETRY, target.slice_name)
        kept = [plane[i] for i in distinct([one.points for one in plane])]
        if len(kept) < len(plane):
            drawing.remarks.add(f"{structure.key}: contours drawn twice were counted once")
        if nearest > SAME_PLANE:
            drawing.remarks.add(f"{structure.key}: contours between slices were drawn on the nearest one")
        shapes = [one.pixels for one in kept]
        corners = np.concatenate(shapes)
        low, high = corners.min(axis=0), corners.max(axis=0)
        size = np.array([target.columns, target.rows])
        if (high < -0.5).any() or (low > size - 0.5).any():
            drawing.note(structure.key, Reason.OTHER_GEOMETRY, target.slice_name)
            return
        if (low < -0.5 - BEYOND_EDGE).any() or (high > size - 0.5 + BEYOND_EDGE).any():
            drawing.remarks.add(f"{structure.key}: contours beyond the picture were cut at its edge")
        met = crossing(shapes, target.rows, target.columns)
        if met is Crossing.ALIKE:
            drawing.note(structure.key, Reason.CROSSING_CONTOURS, target.slice_name)
            return
        if met is Crossing.PARTLY:
            drawing.remarks.add(f"{structure.key}: contours cross; what lies in both was left out")
        region = fill(shapes, target.rows, target.columns)
        if region is None:
            drawing.note(structure.key, Reason.NO_AREA, target.slice_name)
        else:
            drawing.add(target.slice_name, structure, region)

    def _slice(self, points: np.ndarray, reference: str, frame: int | None, space: str) -> Target | Reason:
        """The slice that a contour was drawn on: the referenced one, else the one whose plane holds it.

        A reference that names a slice has to agree with all else that the object says: its series, its frame of
        reference and its plane.
        """
        candidates = self.index.by_instance.get(self.references.instance(reference), []) if reference else []
        if frame is not None and len(candidates) > 1:
            candidates = [target for target in candidates if target.frame == frame]
        if candidates:
            if self.series and candidates[0].series_instance_uid not in self.series:
                return Reason.OTHER_SERIES
            if space and candidates[0].frame_of_reference_uid not in (None, "", space):
                return Reason.OTHER_SPACE
            key = candidates[0].slice_name if len(candidates) == 1 else f"{candidates[0].sop_instance_uid} {frame}"
            return self._stack(key, candidates).nearest(points) or Reason.OTHER_GEOMETRY
        if reference and not self.series:
            return Reason.UNKNOWN_SLICE  # it says which image, and its plane alone would fit any phase of the patient
        candidates = self.index.by_space.get(space, []) if space else []
        if self.series:
            candidates = [target for target in candidates if target.series_instance_uid in self.series]
        elif len({target.series_instance_uid for target in candidates}) > 1:
            return Reason.AMBIGUOUS_SERIES
        stack = self._stack(space, candidates)
        return stack.nearest(points) or (Reason.OTHER_GEOMETRY if stack.crossed_by(points) else Reason.UNKNOWN_SLICE)

    def _stack(self, key: str, targets: list[Target]) -> Stack:
        if key not in self._stacks:
            self._stacks[key] = Stack(targets)
        return self._stacks[key]

    def _coordinates(self, contour: Dataset) -> np.ndarray:
        """(points, 3) in mm LPS, read straight from the encoded decimal strings."""
        element = contour.get_item(CONTOUR_DATA)
        raw = element.value if isinstance(element, RawDataElement) else None
        if isinstance(raw, bytes):
            values = np.array(raw.strip(b" \x00").split(b"\\"), np.float64)
        else:
            values = np.array(contour.ContourData, np.float64)
        self._points += len(values) // 3
        if self._points > MAXIMUM_POINTS:
            raise Refused(Reason.TOO_LARGE)
        if len(values) % 3 or not np.isfinite(values).all():
            raise ValueError("contour data are not triplets of finite numbers")
        return values.reshape(-1, 3)


def _check_complete(dataset: Dataset) -> None:
    """Raises Refused for an object that ends early: pydicom hands over what there is of a shortened sequence."""
    raw = [element for element in dataset.values() if isinstance(element, RawDataElement)]
    if any(len(e.value or b"") < e.length for e in raw if e.length != UNDEFINED_LENGTH):
        raise Refused(Reason.BROKEN_FILE)
    if "ROIContourSequence" not in dataset or "StructureSetROISequence" not in dataset:
        raise Refused(Reason.BROKEN_FILE)


def _codes(dataset: Dataset) -> dict[int, list[Dataset]]:
    """The codes that identify each ROI (PS3.3 C.8.8.8), by its number."""
    found: dict[int, list[Dataset]] = defaultdict(list)
    for observation in dataset.get("RTROIObservationsSequence") or []:
        for code in observation.get("RTROIIdentificationCodeSequence") or []:
            found[int(observation.ReferencedROINumber)].append(code)
    return found


def _by_code(vocabulary: Vocabulary, code: Dataset) -> Structure | None:
    modifier = next(iter(code.get("SegmentedPropertyTypeModifierCodeSequence") or []), Dataset())
    scheme, value = (str(code.get(key, "") or "") for key in ("CodingSchemeDesignator", "CodeValue"))
    return vocabulary.by_code(scheme, value, str(modifier.get("CodeValue", "") or ""))


def _reference(contour: Dataset) -> tuple[str, int | None]:
    for image in contour.get("ContourImageSequence") or []:
        uid, frame = image.get("ReferencedSOPInstanceUID"), image.get("ReferencedFrameNumber")
        return str(uid or ""), int(frame) if isinstance(frame, int) else None
    return "", None


def _referenced_series(dataset: Dataset) -> Iterator[str]:
    for space in dataset.get("ReferencedFrameOfReferenceSequence") or []:
        for study in space.get("RTReferencedStudySequence") or []:
            for series in study.get("RTReferencedSeriesSequence") or []:
                if uid := series.get("SeriesInstanceUID"):
                    yield str(uid)
