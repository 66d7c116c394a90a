"""Small DICOM files as a sender would deliver them, built with pydicom, for the tests of reading and ingest."""

import io
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from medillus_pipeline.zones import Zone

ROWS, COLUMNS = 16, 12


def image(
    *, number: int = 1, patient: str = "MRN-0012345", name: str = "Vogelweide^Walther", **changes: Any
) -> Dataset:
    """One axial CT slice; `changes` are attributes by keyword, None removes one."""
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = f"1.2.826.0.1.99.{number}"
    dataset.StudyInstanceUID = "1.2.826.0.1.98.1"
    dataset.SeriesInstanceUID = "1.2.826.0.1.97.1"
    dataset.FrameOfReferenceUID = "1.2.826.0.1.96.1"
    dataset.PatientID, dataset.PatientName = patient, name
    dataset.PatientBirthDate, dataset.PatientSex = "19611224", "M"
    dataset.StudyDate, dataset.StudyTime = "20240131", "235959.5"
    dataset.AcquisitionDateTime = "20240201000001+0100"
    dataset.AccessionNumber, dataset.StudyID = "ACC778899", "STUDY-4711"
    dataset.ReferringPhysicianName = "Eschenbach^Wolfram"
    dataset.InstitutionName = "Spital Burgdorf"
    dataset.Modality, dataset.BodyPartExamined = "CT", "CHEST"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.Manufacturer = "SIEMENS"
    dataset.ImagePositionPatient = [0, 0, number * 5]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing = [1, 1]
    dataset.InstanceNumber = number
    dataset.Rows, dataset.Columns = ROWS, COLUMNS
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.PixelData = np.full((ROWS, COLUMNS), number, "<u2").tobytes()
    for keyword, value in changes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def item(**attributes: Any) -> Sequence:
    """A sequence of one item."""
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return Sequence([dataset])


def encoded(dataset: Dataset, syntax: str = ExplicitVRLittleEndian, *, preamble: bytes = bytes(128)) -> bytes:
    """The data set as a DICOM file."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", CTImageStorage)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID") or "1.2.3"
    dataset.file_meta.SourceApplicationEntityTitle = "SENDER_AE"
    dataset.preamble = preamble
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def deliver(landing: Zone, folder: str, files: dict[str, bytes]) -> None:
    """Write a delivery, closed by its marker."""
    for name, data in files.items():
        landing.write(f"images/{folder}/{name}", data)
    landing.write(f"images/{folder}/_READY", b"")
