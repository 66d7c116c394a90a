"""The phantom's label maps as annotators submit them: LabelMe JSON, RT Structure Set, NIfTI label map.

LabelMe files are drawn on the published PNGs and so carry pseudonymous names; RTSTRUCT and NIfTI come straight from the
hospital and are identified. What is not here: which patient is annotated how (`cohort.py`).
"""

import gzip
import json
from collections.abc import Sequence as Items
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, RTStructureSetStorage
from scipy import ndimage

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.dicom.slice_names import slice_name
from medillus_pipeline.phantom.anatomy import Phantom
from medillus_pipeline.phantom.dicom import Placement, encode, position
from medillus_pipeline.phantom.identities import Identity
from medillus_pipeline.phantom.outlines import keyhole, trace

TG263 = {
    "lung_left": "Lung_L",
    "lung_right": "Lung_R",
    "heart": "Heart",
    "aorta": "A_Aorta",
    "liver": "Liver",
    "gallbladder": "GallBladder",
    "spleen": "Spleen",
    "stomach": "Stomach",
    "kidney_left": "Kidney_L",
    "kidney_right": "Kidney_R",
    "spine": "vertebral_column",
    "spinal_cord": "SpinalCord",
    "lung_nodule": "lung_nodule",
    "liver_cyst": "liver_cyst",
}
"""Names that a planning system gives the structures (AAPM TG-263 where it has one)."""

CONTOUR_DATA = 0x30060050


def labelme(
    phantom: Phantom,
    who: Identity,
    pseudonymiser: Pseudonymiser,
    *,
    slices: Items[int] | None = None,
    hand: int = 0,
    stray: bool = False,
) -> dict[str, bytes]:
    """File name to JSON for each slice with labels (or those of `slices`).

    `hand` above 0 draws structures that many pixels wider, as another reader might; `stray` adds a shape with a label
    that no vocabulary has to the first file. Names are keys, English or Chinese names, as annotators mix them.
    """
    files: dict[str, bytes] = {}
    for index in range(len(phantom.labels)) if slices is None else slices:
        shapes: list[dict[str, Any]] = []
        for number, structure, mask in _structures(phantom.labels[index]):
            if hand:
                mask = np.asarray(ndimage.binary_dilation(mask, iterations=hand), bool)
            outlines = trace(mask)
            name = (structure.key, structure.name_en, structure.name_zh)[(number + index) % 3]
            for outline in outlines:
                shapes.append(_shape(name, keyhole(outline) + 0.5, number if len(outlines) > 1 else None))
        if not shapes:
            continue
        if stray and not files:
            corner = np.array([[4.0, 4.0], [16.0, 4.0], [16.0, 12.0]])
            shapes.append(_shape("artefact?", corner, None))
        name = slice_name(pseudonymiser.uid(who.slice_uids[index]), 1)
        rows, columns = phantom.labels.shape[1:]
        document = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": f"{name}.png",
            "imageData": None,
            "imageHeight": rows,
            "imageWidth": columns,
        }
        files[f"{name}.json"] = json.dumps(document, ensure_ascii=False, indent=1).encode()
    return files


def structure_set(phantom: Phantom, who: Identity, placement: Placement, annotator: str) -> bytes:
    """An RT Structure Set (PS3.3 A.19) on the original UIDs, contours in mm LPS; a hole is a contour of its own."""
    d = Dataset()
    d.SpecificCharacterSet = "ISO_IR 192"
    d.SOPClassUID, d.SOPInstanceUID = RTStructureSetStorage, f"{who.study_uid}.800.1"
    d.Modality, d.SeriesInstanceUID, d.SeriesNumber = "RTSTRUCT", f"{who.study_uid}.800", 8
    d.PatientName, d.PatientID = who.name, who.patient_id
    d.PatientBirthDate, d.PatientSex = who.birth_date, who.sex
    d.StudyInstanceUID, d.StudyID, d.AccessionNumber = who.study_uid, who.study_id, who.accession
    d.StudyDate, d.StudyTime, d.ReferringPhysicianName = who.study_date, who.study_time, who.physician
    d.Manufacturer, d.ManufacturerModelName = "Holloway Imaging", "Contour Desk"
    d.InstitutionName, d.OperatorsName = who.hospital, annotator
    d.StructureSetLabel, d.StructureSetName = "organs", f"organs {who.folder_name.split('_')[0]}"
    d.StructureSetDate, d.StructureSetTime = who.study_date, who.study_time
    d.FrameOfReferenceUID, d.PositionReferenceIndicator = who.frame_uid, ""
    d.ReferencedFrameOfReferenceSequence = Sequence([_references(who)])
    rois, contours, observations = [], [], []
    terms = vocabulary.load()
    for number, label in enumerate((int(v) for v in np.unique(phantom.labels) if v), start=1):
        structure = terms.by_id(label)
        roi = Dataset()
        roi.ROINumber, roi.ReferencedFrameOfReferenceUID = number, who.frame_uid
        roi.ROIName, roi.ROIGenerationAlgorithm = TG263[structure.key], "MANUAL"
        rois.append(roi)
        contour = Dataset()
        contour.ROIDisplayColor, contour.ReferencedROINumber = list(structure.rgb), number
        contour.ContourSequence = Sequence(_contours(phantom, who, placement, label))
        contours.append(contour)
        observation = Dataset()
        observation.ObservationNumber, observation.ReferencedROINumber = number, number
        observation.RTROIInterpretedType, observation.ROIInterpreter = "ORGAN", annotator
        observations.append(observation)
    d.StructureSetROISequence = Sequence(rois)
    d.ROIContourSequence = Sequence(contours)
    d.RTROIObservationsSequence = Sequence(observations)
    d.ApprovalStatus = "UNAPPROVED"
    return encode(d, "implicit")


def nifti(phantom: Phantom, placement: Placement) -> tuple[bytes, dict[str, str]]:
    """A gzipped NIfTI label map (columns, rows, slices) with an RAS affine, and its legend (value as text to key).

    Values count from 1 within the file: they are not vocabulary ids.
    """
    import nibabel

    present = [int(v) for v in np.unique(phantom.labels) if v]
    table = np.zeros(256, np.uint8)
    table[present] = np.arange(1, len(present) + 1)
    values = table[phantom.labels].transpose(2, 1, 0)
    slice_spacing, row_spacing, column_spacing = phantom.spacing
    affine = np.diag([-round(column_spacing, 6), -round(row_spacing, 6), round(slice_spacing, 6), 1.0])
    x, y, z = position(phantom, placement, 0)
    affine[:3, 3] = (-x, -y, z)
    image = nibabel.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    keys = [vocabulary.load().by_id(label).key for label in present]
    return gzip.compress(image.to_bytes(), 3, mtime=0), {str(n): key for n, key in enumerate(keys, start=1)}


def _structures(labels: NDArray[np.uint8]) -> list[tuple[int, vocabulary.Structure, NDArray[np.bool_]]]:
    terms = vocabulary.load()
    return [(int(value), terms.by_id(int(value)), labels == value) for value in np.unique(labels) if value]


def _shape(label: str, points: NDArray[np.float64], group: int | None) -> dict[str, Any]:
    return {
        "label": label,
        "points": np.round(points, 2).tolist(),
        "group_id": group,
        "description": "",
        "shape_type": "polygon",
        "flags": {},
        "mask": None,
    }


def _references(who: Identity) -> Dataset:
    images = []
    for uid in who.slice_uids:
        image = Dataset()
        image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = CTImageStorage, uid
        images.append(image)
    of_series = Dataset()
    of_series.SeriesInstanceUID, of_series.ContourImageSequence = who.series_uid, Sequence(images)
    of_study = Dataset()
    of_study.ReferencedSOPClassUID, of_study.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", who.study_uid
    of_study.RTReferencedSeriesSequence = Sequence([of_series])
    frame = Dataset()
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = who.frame_uid, Sequence([of_study])
    return frame


def _contours(phantom: Phantom, who: Identity, placement: Placement, label: int) -> list[Dataset]:
    _, row_spacing, column_spacing = phantom.spacing
    found = []
    for index in range(len(phantom.labels)):
        x, y, z = position(phantom, placement, index)
        for outline in trace(phantom.labels[index] == label):
            for line in (outline.outer, *outline.holes):
                points = np.empty((len(line), 3))
                points[:, 0] = x + line[:, 0] * round(column_spacing, 6)
                points[:, 1] = y + line[:, 1] * round(row_spacing, 6)
                points[:, 2] = z
                image = Dataset()
                image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = CTImageStorage, who.slice_uids[index]
                contour = Dataset()
                contour.ContourImageSequence = Sequence([image])
                contour.ContourGeometricType = "CLOSED_PLANAR"
                contour.NumberOfContourPoints = len(points)
                texts = [f"{value:.3f}" for value in points.ravel()]
                contour.add(DataElement(CONTOUR_DATA, "DS", texts, already_converted=True))
                found.append(contour)
    return found
