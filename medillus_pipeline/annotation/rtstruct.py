"""DICOM RT Structure Sets (PS3.3 A.19): contours in mm become pixels of the slices that they were drawn on.

The object arrives identified. Its references (SOP instance, series, frame of reference, patient) are compared with the
slices' as `references.py` says; nothing else of it is kept, above all not the ROI names.
"""

import io
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from medillus_pipeline.annotation.drawing import Drawing
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
SAME_PLANE = 0.1
"""Distance in mm within which contours of a structure lie in one plane, so that holes are cut by even-odd."""
UNDEFINED_LENGTH = 0xFFFFFFFF
CONTOUR_DATA = Tag(0x3006, 0x0050)


def read(data: bytes, references: References, index: SliceIndex, vocabulary: Vocabulary) -> Drawing:
    """What an RT Structure Set draws on the slices of `index`.

    Raises Refused when the object is broken, names another patient than its slices, or holds no contour. Elements are
    parsed as they are met, and damaged ones fail in more ways than pydicom documents: any of them is a broken file.
    """
    try:
        with silenced():
            dataset = dcmread(io.BytesIO(data), force=True)
            _check_complete(dataset)
            return _Reader(dataset, references, index, vocabulary).drawing()
    except Refused:
        raise
    except Exception as error:
        raise Refused(Reason.BROKEN_FILE) from error


class _Reader:
    def __init__(self, dataset: Dataset, references: References, index: SliceIndex, vocabulary: Vocabulary) -> None:
        self.dataset = dataset
        self.references = references
        self.index = index
        self.vocabulary = vocabulary
        self._points = 0
        self._contours = 0
        self.patient = references.patient(str(dataset.get("PatientID", "") or ""))
        self.series = {references.series(uid) for uid in _referenced_series(dataset)}

    def drawing(self) -> Drawing:
        drawing = Drawing(FORMAT)
        rois = {int(roi.ROINumber): roi for roi in self.dataset.get("StructureSetROISequence") or []}
        for item in self.dataset.get("ROIContourSequence") or []:
            roi = rois.get(int(item.ReferencedROINumber))
            contours = item.get("ContourSequence") or []
            self._contours += len(contours)
            if self._contours > MAXIMUM_CONTOURS:
                raise Refused(Reason.TOO_LARGE)
            if roi is None or not contours:
                continue
            name = str(roi.get("ROIName", "") or "")
            structure = self.vocabulary.resolve(name)
            if structure is None:
                for contour in contours:
                    drawing.unknown(name, _reference(contour)[0] or "?")
            else:
                space = self.references.space(str(roi.get("ReferencedFrameOfReferenceUID", "") or ""))
                self._draw(drawing, structure, space, contours)
        if not drawing.regions and not drawing.notes:
            raise Refused(Reason.EMPTY)
        return drawing

    def _draw(self, drawing: Drawing, structure: Structure, space: str, contours: list[Dataset]) -> None:
        """Rasterise the contours of one ROI, all those in one plane of a slice together."""
        on_slice: dict[str, list[tuple[float, np.ndarray]]] = defaultdict(list)
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
            pixels = _to_pixels(points, found)
            on_slice[found.slice_name].append((float(pixels[:, 2].mean()), pixels[:, :2]))
        for name, drawn in on_slice.items():
            target = self.index.by_name[name]
            nearest = min(abs(above) for above, _ in drawn)
            plane = [pixels for above, pixels in drawn if abs(above) <= nearest + SAME_PLANE]
            if len(plane) < len(drawn):
                drawing.note(structure.key, Reason.OTHER_GEOMETRY, name)
            region = fill(plane, target.rows, target.columns)
            if region is None:
                drawing.note(structure.key, Reason.NO_AREA, name)
            else:
                drawing.add(name, structure, region)

    def _slice(self, points: np.ndarray, reference: str, frame: int | None, space: str) -> Target | Reason:
        """The slice that a contour was drawn on: the referenced one, else the one whose plane holds it."""
        candidates = self.index.by_instance.get(self.references.instance(reference), []) if reference else []
        if frame is not None and len(candidates) > 1:
            candidates = [target for target in candidates if target.frame == frame]
        referenced = bool(candidates)
        if not referenced:
            candidates = self.index.by_space.get(space, []) if space else []
            if self.series:
                candidates = [target for target in candidates if target.series_instance_uid in self.series]
            elif len({target.series_instance_uid for target in candidates}) > 1:
                return Reason.AMBIGUOUS_SERIES
        near = [(_distance(points, target), target) for target in candidates if target.has_geometry]
        near = [(distance, target) for distance, target in near if distance <= target.reach]
        if near:
            return min(near, key=lambda pair: (pair[0], pair[1].slice_name))[1]
        return Reason.OTHER_GEOMETRY if referenced else Reason.UNKNOWN_SLICE

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


def _to_pixels(points: np.ndarray, target: Target) -> np.ndarray:
    """(points, 3): column, row, and mm above the slice's plane."""
    inverse = target.inverse
    return points @ inverse[:3, :3].T + inverse[:3, 3]


def _distance(points: np.ndarray, target: Target) -> float:
    """Greatest distance in mm of any point from the slice's plane."""
    inverse = target.inverse
    return float(np.abs(points @ inverse[2, :3] + inverse[2, 3]).max())


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
