"""Published slices and landing files for the annotation tests: rows of SLICES, LabelMe documents, RT Structure Sets."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.annotation.batch import Batch, read_batch
from medillus_pipeline.annotation.formats.rtstruct import SOP_CLASS
from medillus_pipeline.annotation.publication import Existing
from medillus_pipeline.annotation.submission import Submission
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.dicom.png import decode_png
from medillus_pipeline.dicom.slice_names import slice_name
from medillus_pipeline.zones import Zone

PATIENT, STUDY, SERIES, SPACE = "MRN 0042", "1.2.3", "1.2.3.4", "1.2.3.9"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def row(pseudonymiser: Pseudonymiser, instance: str, **changes: Any) -> dict[str, Any]:
    """The row of one published slice, 40 rows x 50 columns of 2 x 1 mm, at z = 0 unless changed."""
    uid = pseudonymiser.uid(instance)
    return {
        "slice_name": slice_name(uid, 1),
        "sop_instance_uid": uid,
        "frame": 1,
        "series_instance_uid": pseudonymiser.uid(SERIES),
        "study_instance_uid": pseudonymiser.uid(STUDY),
        "frame_of_reference_uid": pseudonymiser.uid(SPACE),
        "patient": pseudonymiser.patient(PATIENT),
        "modality": "CT",
        "ordinal": 0,
        "rows": 40,
        "columns": 50,
        "pixel_spacing": [2.0, 1.0],
        "position": [-20.0, -30.0, 0.0],
        "orientation": list(AXIAL),
        "slice_spacing": 5.0,
    } | changes


def stack(pseudonymiser: Pseudonymiser, slices: int = 3, **changes: Any) -> list[dict[str, Any]]:
    """Rows of a series; slice k is instance `1.2.3.4.k` at z = 5 k mm."""
    return [
        row(pseudonymiser, f"{SERIES}.{k}", ordinal=k, position=[-20.0, -30.0, 5.0 * k], **changes)
        for k in range(slices)
    ]


def rows_of_files(folder: Path, pseudonymiser: Pseudonymiser) -> tuple[list[dict[str, Any]], dict[str, Path]]:
    """Rows for the DICOM slices in a folder, and the file of each slice by name."""
    rows, files = [], {}
    for file in sorted(folder.glob("*.dcm")):
        d = pydicom.dcmread(file, stop_before_pixels=True)
        new = row(
            pseudonymiser,
            d.SOPInstanceUID,
            series_instance_uid=pseudonymiser.uid(d.SeriesInstanceUID),
            frame_of_reference_uid=pseudonymiser.uid(d.FrameOfReferenceUID),
            patient=pseudonymiser.patient(str(d.PatientID)),
            modality=d.Modality,
            rows=d.Rows,
            columns=d.Columns,
            pixel_spacing=[float(v) for v in d.PixelSpacing],
            position=[float(v) for v in d.ImagePositionPatient],
            orientation=[float(v) for v in d.ImageOrientationPatient],
            slice_spacing=float(d.SliceThickness),
        )
        rows.append(new)
        files[new["slice_name"]] = file
    return rows, files


def labelme(*shapes: dict[str, Any], **changes: Any) -> bytes:
    """A LabelMe file for a 40 x 50 slice."""
    document = {"version": "5.5.0", "flags": {}, "shapes": list(shapes), "imagePath": "x.png", "imageData": None}
    return json.dumps(document | {"imageHeight": 40, "imageWidth": 50} | changes).encode()


def shape(label: str, points: Sequence[Sequence[Any]], kind: str = "polygon", **changes: Any) -> dict[str, Any]:
    """One LabelMe shape."""
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}} | changes


SQUARE = [[10, 10], [20, 10], [20, 20], [10, 20]]


def square_mm(z: float, low: float = 0.0, high: float = 10.0) -> list[list[float]]:
    """A closed square in the plane z (mm LPS)."""
    return [[low, low, z], [high, low, z], [high, high, z], [low, high, z]]


def structure_set(
    rois: dict[str, list[tuple[str, str, list[list[float]]]]],
    *,
    patient: str = PATIENT,
    series: str = SERIES,
    undefined_lengths: bool = False,
) -> bytes:
    """An RT Structure Set: per ROI name, contours as (geometric type, referenced instance or "", points in mm)."""
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.SOPClassUID, d.SOPInstanceUID, d.Modality = SOP_CLASS, "1.2.3.7", "RTSTRUCT"
    d.PatientID, d.PatientName = patient, "Holloway^Ada"
    of_series, of_study, space = Dataset(), Dataset(), Dataset()
    of_series.SeriesInstanceUID = series
    of_study.RTReferencedSeriesSequence = DicomSequence([of_series] if series else [])
    space.RTReferencedStudySequence = DicomSequence([of_study])
    d.ReferencedFrameOfReferenceSequence = DicomSequence([space])
    declared, drawn = [], []
    for number, (name, contours) in enumerate(rois.items(), start=1):
        roi = Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, SPACE
        declared.append(roi)
        item = Dataset()
        item.ReferencedROINumber = number
        item.ContourSequence = DicomSequence([_contour(*contour) for contour in contours])
        drawn.append(item)
    d.StructureSetROISequence, d.ROIContourSequence = DicomSequence(declared), DicomSequence(drawn)
    if undefined_lengths:
        _open_ended(d)
    sink = io.BytesIO()
    d.save_as(sink, enforce_file_format=True)
    return sink.getvalue()


def _open_ended(dataset: Dataset) -> None:
    for element in dataset:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
                _open_ended(item)


def _contour(kind: str, reference: str, points: list[list[float]]) -> Dataset:
    contour = Dataset()
    contour.ContourGeometricType = kind
    contour.NumberOfContourPoints = len(points)
    contour.ContourData = [f"{v:g}" for point in points for v in point]
    if reference:
        image = Dataset()
        image.ReferencedSOPInstanceUID = reference
        contour.ContourImageSequence = DicomSequence([image])
    return contour


class Desk:
    """Drops files into one landing folder and reads them as a batch."""

    def __init__(self, landing: Zone, clean: Zone, pseudonymiser: Pseudonymiser, slices: list[dict[str, Any]]) -> None:
        self.landing, self.clean, self.pseudonymiser, self.slices = landing, clean, pseudonymiser, slices

    def drop(self, path: str, data: bytes | dict[str, Any]) -> None:
        encoded = json.dumps(data).encode() if isinstance(data, dict) else data
        self.landing.write(f"annotations/Ms Holloway/{path}", encoded)

    def submission(self) -> Submission:
        names = self.pseudonymiser
        return Submission(self.landing, "annotations/Ms Holloway", self.slices, names, vocabulary.load(), names)

    def read(self, existing: Sequence[dict[str, Any]] = (), layers: Sequence[dict[str, Any]] = ()) -> Batch:
        return read_batch(self.submission(), self.clean, Existing(existing, layers))

    def values(self, mask: dict[str, Any]) -> np.ndarray:
        return decode_png(self.clean.read(mask["path"]))


def reasons(batch: Batch) -> set[tuple[str, str, str, int]]:
    """The receipt without item names: (structure, outcome, reason, slices)."""
    return {(line["structure"], line["outcome"], line["reason"], line["slices"]) for line in batch.items}
