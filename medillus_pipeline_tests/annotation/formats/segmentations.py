"""DICOM segmentations for the annotation tests, made by highdicom on the slices of `published.stack`."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.annotation.drawing import Drawing
from medillus_pipeline.annotation.formats import segmentation
from medillus_pipeline.annotation.references import References
from medillus_pipeline.annotation.slice_index import SliceIndex
from medillus_pipeline_tests.annotation.published import AXIAL, PATIENT, SERIES, SPACE, Desk

LIVER, SPLEEN, KIDNEY = (Code(v, "SCT", m) for v, m in (
    ("10200004", "Liver"), ("78961009", "Spleen"), ("64033007", "Kidney"),
))  # fmt: skip
ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
SHAPE = (3, 40, 50)


def sources(slices: int = 3, rows: int = 40, columns: int = 50, **changes: Any) -> list[Dataset]:
    """The identified CT images, without pixels, that the rows of `published.stack` stand for."""
    return [_source(k, rows, columns, changes) for k in range(slices)]


def _source(k: int, rows: int, columns: int, changes: dict[str, Any]) -> Dataset:
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID, image.Modality = CTImageStorage, f"{SERIES}.{k}", "CT"
    image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = "1.2.3.1", SERIES, SPACE
    image.PatientID, image.PatientName, image.PatientBirthDate, image.PatientSex = PATIENT, "Holloway^Ada", "", "F"
    image.StudyDate, image.StudyTime, image.StudyID, image.AccessionNumber = "", "", "", ""
    image.ReferringPhysicianName = ""
    image.Rows, image.Columns, image.PixelSpacing, image.SliceThickness = rows, columns, [2.0, 1.0], 5.0
    image.ImagePositionPatient, image.ImageOrientationPatient = [-20.0, -30.0, 5.0 * k], list(AXIAL)
    for keyword, value in changes.items():
        setattr(image, keyword, value)
    return image


def masks(segments: int = 2, shape: Sequence[int] = SHAPE, seed: int = 0) -> np.ndarray:
    """(slices, rows, columns, segments) bool: noise, each pixel of at most one segment, no plane empty."""
    values = np.random.default_rng(seed).integers(0, segments + 2, shape)
    return np.stack([values == k + 1 for k in range(segments)], axis=-1)


def segment(number: int, kind: Code = LIVER, label: str = "") -> Any:
    """A description of a segment drawn by hand."""
    highdicom = pytest.importorskip("highdicom")
    return highdicom.seg.SegmentDescription(number, label or f"Segment_{number}", ANATOMY, kind, "MANUAL")


def made(
    pixels: np.ndarray,
    segments: Sequence[Any] = (),
    *,
    kind: str = "BINARY",
    images: Sequence[Dataset] = (),
    edit: Callable[[Dataset], None] | None = None,
    **options: Any,
) -> bytes:
    """A segmentation of `pixels` (slices, rows, columns, segments), edited before it is saved."""
    highdicom = pytest.importorskip("highdicom")
    described = segments or [segment(k + 1, code) for k, code in enumerate([LIVER, SPLEEN][: pixels.shape[-1]])]
    found = highdicom.seg.Segmentation(
        source_images=list(images) or sources(pixels.shape[0], *pixels.shape[1:3]),
        pixel_array=pixels if pixels.dtype.kind == "f" else pixels.astype(np.uint8),
        segmentation_type=kind,
        segment_descriptions=list(described),
        series_instance_uid="1.2.3.70",
        series_number=70,
        sop_instance_uid="1.2.3.71",
        instance_number=1,
        manufacturer="Test",
        manufacturer_model_name="Test",
        software_versions="1",
        device_serial_number="1",
        **options,
    )
    if edit is not None:
        edit(found)
    sink = io.BytesIO()
    found.save_as(sink, enforce_file_format=True)
    return sink.getvalue()


def read(data: bytes, desk: Desk, **options: Any) -> Drawing:
    """What a segmentation draws on the desk's slices."""
    index = SliceIndex(desk.slices)
    return segmentation.read(data, References(index, desk.pseudonymiser), index, vocabulary.load(), **options)


def drawn(drawing: Drawing, desk: Desk, key: str) -> np.ndarray:
    """(slices, rows, columns) bool: a structure on the desk's slices."""
    found = np.zeros((len(desk.slices), desk.slices[0]["rows"], desk.slices[0]["columns"]), bool)
    identifier = vocabulary.load().by_key(key).id
    for plane, row in zip(found, desk.slices, strict=True):
        region = drawing.regions.get(row["slice_name"], {}).get(identifier)
        if region is not None:
            plane[region.window] = region.mask
    return found


def noted(drawing: Drawing) -> set[tuple[str, str, str, int]]:
    """The notes as (structure, outcome, reason, places)."""
    return {(key, outcome.value, reason.value, len(places)) for (key, outcome, reason), places in drawing.notes.items()}


def frames_of(dataset: Dataset) -> list[Dataset]:
    """The functional groups of each frame."""
    return list(dataset.PerFrameFunctionalGroupsSequence)


def without_references(dataset: Dataset) -> None:
    """Leaves only geometry to go by, within the referenced series."""
    for frame in frames_of(dataset):
        del frame.DerivationImageSequence


def moved(by: Sequence[float]) -> Callable[[Dataset], None]:
    """An edit that shifts every frame by mm LPS."""

    def shift(dataset: Dataset) -> None:
        # Frames of one plane share the item, so that each position is moved once.
        positions = {id(f.PlanePositionSequence[0]): f.PlanePositionSequence[0] for f in frames_of(dataset)}
        for position in positions.values():
            before = [float(v) for v in position.ImagePositionPatient]
            position.ImagePositionPatient = [float(v + d) for v, d in zip(before, by, strict=True)]

    return shift
