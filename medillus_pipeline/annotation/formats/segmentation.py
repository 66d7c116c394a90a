"""DICOM segmentations (PS3.3 A.51 Segmentation, A.90 Label Map Segmentation): segments become regions of the slices
that they were drawn on.

The object arrives identified; its references are compared with the slices' as `references.py` says, and nothing else
of it is kept. Overlapping segments are all kept; segments of one structure are united; frames that were left out are
empty.

Memory: the file twice (as given and as parsed), some 15 KiB a frame for what is said of it, one unpacked frame, and the
regions drawn, each cut to its box (`MAXIMUM_DRAWN` in all).
What is not here: unpacking of frames (`segmentation_frames.py`), which slice a frame belongs to
(`segmentation_placing.py`), what a segment means (`segment_identity.py`).
"""

import io
from collections import defaultdict

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement

from medillus_pipeline.annotation.drawing import WHOLE_ITEM, Drawing
from medillus_pipeline.annotation.formats.segment_identity import identify, label
from medillus_pipeline.annotation.formats.segmentation_frames import StoredFrames
from medillus_pipeline.annotation.formats.segmentation_placing import IN_PLACE, SAME_PLANE, Fit, Placing, source_of
from medillus_pipeline.annotation.formats.unpacking import check_inflation
from medillus_pipeline.annotation.outcomes import Outcome, Reason, Refused
from medillus_pipeline.annotation.references import References
from medillus_pipeline.annotation.slice_index import SliceIndex
from medillus_pipeline.annotation.vocabulary import Structure, Vocabulary
from medillus_pipeline.dicom.attributes import functional_group, plane
from medillus_pipeline.dicom.reading import silenced

FORMAT = "dicom_seg"
SOP_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentation Storage, Label Map Segmentation Storage."""
THRESHOLD = 0.5
"""Share of the Maximum Fractional Value from which a pixel of a fractional segment counts as inside."""
PROPOSER = "medillus organ_segmenter"
"""Segment Algorithm Name of our own proposals. While such a segment is AUTOMATIC nobody has confirmed it."""
MAXIMUM_SEGMENTS = 65_535
MAXIMUM_DRAWN = 2**31
"""Pixels of all regions' boxes together, a byte each."""
UNDEFINED_LENGTH = 0xFFFFFFFF
END_OF_FRAMES = b"\xfe\xff\xdd\xe0\0\0\0\0"
"""Sequence Delimitation Item behind encapsulated frames (PS3.5 A.4)."""


def read(
    data: bytes, references: References, index: SliceIndex, vocabulary: Vocabulary, *, threshold: float = THRESHOLD
) -> Drawing:
    """What a segmentation draws on the slices of `index`.

    `threshold` (over 0, at most 1) is the share of the Maximum Fractional Value from which a pixel of a fractional
    segment is inside. Raises Refused when the object is broken, too large, names another patient than its slices, or
    holds nothing. Elements are parsed as they are met, and damaged ones fail in more ways than pydicom documents: any
    of them is a broken file.
    """
    try:
        with silenced():
            check_inflation(data)
            dataset = dcmread(io.BytesIO(data), force=True)
            _check_complete(dataset, data)
            return _Reader(dataset, references, index, vocabulary, threshold).drawing()
    except Refused:
        raise
    except Exception as error:
        raise Refused(Reason.BROKEN_FILE) from error


class _Reader:
    def __init__(
        self,
        dataset: Dataset,
        references: References,
        index: SliceIndex,
        vocabulary: Vocabulary,
        threshold: float,
    ) -> None:
        self.dataset = dataset
        self.threshold = threshold
        self.frames = StoredFrames(dataset)
        self.kind = str(dataset.SegmentationType).strip()
        self.patient = references.patient(str(dataset.get("PatientID", "") or ""))
        series = {
            references.series(str(item.get("SeriesInstanceUID", "") or ""))
            for item in dataset.get("ReferencedSeriesSequence") or []
        }
        space = references.space(str(dataset.get("FrameOfReferenceUID", "") or ""))
        self.placing = Placing(index, references, space, series - {""})
        self.segments: dict[int, Structure | Reason] = {}
        self.labels: dict[int, str] = {}
        for segment in dataset.SegmentSequence:
            number = int(segment.SegmentNumber)
            if number in self.segments or len(self.segments) > MAXIMUM_SEGMENTS:
                raise Refused(Reason.BROKEN_FILE)
            self.segments[number] = (
                Reason.PROPOSAL_UNCONFIRMED if _unconfirmed(segment) else identify(segment, vocabulary)
            )
            self.labels[number] = label(segment)
        self.draw = Drawing(FORMAT)
        self.drawn = 0

    def drawing(self) -> Drawing:
        if self.kind not in ("BINARY", "FRACTIONAL", "LABELMAP") or (
            self.kind == "FRACTIONAL" and self.frames.bits == 1
        ):
            raise Refused(Reason.BROKEN_FILE)
        if "TotalPixelMatrixColumns" in self.dataset:
            raise Refused(Reason.OTHER_GEOMETRY)
        if len(self.dataset.PerFrameFunctionalGroupsSequence) != self.frames.count:
            raise Refused(Reason.BROKEN_FILE)
        placed = self._placed()
        for number, values in self.frames.take(placed):
            fit, segment, place = placed[number]
            if segment is None:
                self._draw_labels(values, fit, place)
            else:
                self._add(self.segments[segment], fit, self._inside(values))
        self._remark()
        if not self.draw.regions and not self.draw.notes:
            raise Refused(Reason.EMPTY)
        return self.draw

    def _placed(self) -> dict[int, tuple[Fit, int | None, str]]:
        """Where each frame that is to be drawn lies, and of which segment it is (None: a label map)."""
        found: dict[int, tuple[Fit, int | None, str]] = {}
        nearest: dict[tuple[str, int | None], float] = defaultdict(lambda: float("inf"))
        for number in range(1, self.frames.count + 1):
            segment = self._segment(number)
            source = source_of(self.dataset, number)
            place = " ".join(str(part) for part in source.instances[0]) if source.instances else f"frame {number}"
            structure = None if segment is None else self.segments[segment]
            if isinstance(structure, Reason):
                self._unknown(segment or 0, structure, place)
                continue
            fit = self.placing.fit(plane(self.dataset, number), source)
            if isinstance(fit, Reason):
                pending = fit is Reason.UNKNOWN_SLICE
                key = WHOLE_ITEM if structure is None else structure.key
                self.draw.note(key, fit, place, Outcome.PENDING if pending else Outcome.REFUSED)
                continue
            if self.patient is not None and fit.target.patient != self.patient:
                raise Refused(Reason.OTHER_PATIENT)
            found[number] = fit, segment, place
            here = fit.target.slice_name, segment
            nearest[here] = min(nearest[here], fit.distance)
        for number, (fit, segment, place) in list(found.items()):
            if fit.distance > nearest[fit.target.slice_name, segment] + SAME_PLANE:
                structure = None if segment is None else self.segments[segment]
                key = structure.key if isinstance(structure, Structure) else WHOLE_ITEM
                self.draw.note(key, Reason.OTHER_GEOMETRY, place)
                del found[number]
        return found

    def _segment(self, number: int) -> int | None:
        if self.kind == "LABELMAP":
            return None
        group = functional_group(self.dataset, number, "SegmentIdentificationSequence")
        segment = int(group.ReferencedSegmentNumber) if group else 0
        if segment not in self.segments:
            raise Refused(Reason.BROKEN_FILE)
        return segment

    def _inside(self, values: np.ndarray) -> np.ndarray:
        if self.kind == "BINARY":
            return values != 0
        greatest = int(self.dataset.MaximumFractionalValue)
        if greatest < 1:
            raise Refused(Reason.BROKEN_FILE)
        return values >= max(1.0, self.threshold * greatest)

    def _draw_labels(self, values: np.ndarray, fit: Fit, place: str) -> None:
        from scipy.ndimage import find_objects

        present = np.flatnonzero(np.bincount(values.ravel()))
        compact = np.searchsorted(present, values).astype(np.int32) + (0 if present[0] == 0 else 1)
        for value, box in zip(present[present > 0], find_objects(compact), strict=True):
            structure = self.segments.get(int(value), Reason.UNKNOWN_LABEL)
            if isinstance(structure, Reason):
                self._unknown(int(value), structure, place)
            else:
                self._add(structure, fit, values[box] == value, box[0].start, box[1].start)

    def _add(self, structure: Structure | Reason, fit: Fit, mask: np.ndarray, top: int = 0, left: int = 0) -> None:
        region = fit.region(mask, top, left)
        if region is not None and isinstance(structure, Structure):
            self.drawn += region.mask.size
            if self.drawn > MAXIMUM_DRAWN:
                raise Refused(Reason.TOO_LARGE)
            self.draw.add(fit.target.slice_name, structure, region)
            if fit.steps != IN_PLACE or fit.first != (0, 0) or not _whole(fit, self.frames):
                self.draw.remarks.add("frames were turned, flipped or moved by whole pixels onto the slices' grid")

    def _unknown(self, segment: int, reason: Reason, place: str) -> None:
        if reason is Reason.UNKNOWN_LABEL:
            self.draw.unknown(self.labels.get(segment) or f"segment {segment}", place)
        else:
            self.draw.note(WHOLE_ITEM, reason, place)

    def _remark(self) -> None:
        if self.kind == "FRACTIONAL":
            self.draw.remarks.add(f"fractional segments: at least {self.threshold:g} of the greatest value counts")
        known = [s.id for s in self.segments.values() if isinstance(s, Structure)]
        if len(set(known) & self.draw.structures) < len([i for i in known if i in self.draw.structures]):
            self.draw.remarks.add("segments of one structure were united")


def _unconfirmed(segment: Dataset) -> bool:
    kind, name = (
        str(segment.get(keyword, "") or "").strip() for keyword in ("SegmentAlgorithmType", "SegmentAlgorithmName")
    )
    return kind == "AUTOMATIC" and name == PROPOSER


def _whole(fit: Fit, frames: StoredFrames) -> bool:
    return (frames.rows, frames.columns) == (fit.target.rows, fit.target.columns)


def _check_complete(dataset: Dataset, data: bytes) -> None:
    """Raises Refused for an object that ends early, or is no segmentation."""
    raw = [element for element in dataset.values() if isinstance(element, RawDataElement)]
    if any(len(e.value or b"") < e.length for e in raw if e.length != UNDEFINED_LENGTH):
        raise Refused(Reason.BROKEN_FILE)
    if dataset.get("SOPClassUID") not in SOP_CLASSES or "PixelData" not in dataset:
        raise Refused(Reason.BROKEN_FILE)
    if dataset["PixelData"].is_undefined_length and 0 <= data.rfind(END_OF_FRAMES[:4]) > len(data) - len(END_OF_FRAMES):
        raise Refused(Reason.BROKEN_FILE)
