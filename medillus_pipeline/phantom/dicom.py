"""A phantom as the DICOM files of a hospital: CT Image Storage (PS3.3 A.3), with all that identifies the patient.

Identifiers stand where they are found in practice: patient, visit, staff, equipment, nested sequences, free text,
private elements (also with VR UN), UIDs, dates. What is not here: folders and deliveries (`cohort.py`).
"""

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from medillus_pipeline.phantom.anatomy import Phantom
from medillus_pipeline.phantom.identities import Identity

Encoding = Literal["explicit", "implicit", "rle"]
SYNTAXES = {"explicit": ExplicitVRLittleEndian, "implicit": ImplicitVRLittleEndian, "rle": RLELossless}
PRIVATE_CREATOR = "HOLLOWAY IMAGING 1.1"


@dataclass(frozen=True)
class Placement:
    """How a volume is stored: encoding, height of the lowest slice in the scanner (mm), signed or offset values."""

    encoding: Encoding
    table_height: float
    signed: bool


def series(phantom: Phantom, who: Identity, placement: Placement) -> list[bytes]:
    """The slices as DICOM files, from the feet up; InstanceNumber counts from the head down."""
    shared = _study(who)
    _add_ct_series(shared, phantom, who, placement)
    compressed = placement.encoding == "rle"
    files = []
    for index, frame in enumerate(phantom.hu):
        dataset = Dataset()
        dataset.update(shared)
        dataset.SOPInstanceUID = who.slice_uids[index]
        dataset.InstanceNumber = len(phantom.hu) - index
        dataset.ImagePositionPatient = position(phantom, placement, index)
        dataset.SliceLocation = dataset.ImagePositionPatient[2]
        stored = frame.astype("<i2") if placement.signed else (frame.astype(np.int32) + 1024).astype("<u2")
        dataset.PixelData = encapsulate([_rle(stored)]) if compressed else stored.tobytes()
        dataset["PixelData"].VR = "OB" if compressed else "OW"
        files.append(encode(dataset, placement.encoding))
    return files


def position(phantom: Phantom, placement: Placement, index: int) -> list[float]:
    """ImagePositionPatient of a slice: x, y, z of its first pixel's centre in mm, LPS."""
    x, y, z = phantom.origin
    return [round(x, 4), round(y, 4), round(z + placement.table_height + index * phantom.spacing[0], 4)]


def secondary_capture(who: Identity) -> bytes:
    """A screenshot with the patient's name burned into its pixels, and a flag that says so."""
    from PIL import Image, ImageDraw

    picture = Image.new("L", (256, 96), 12)
    text = f"{who.folder_name.replace('_', ' ')}\n{who.patient_id}  {who.birth_date}\n{who.hospital}"
    ImageDraw.Draw(picture).multiline_text((8, 8), text, fill=235)
    dataset = _study(who)
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = f"{who.study_uid}.900.1"
    dataset.SeriesInstanceUID = f"{who.study_uid}.900"
    dataset.Modality = "OT"
    dataset.ConversionType = "WSD"
    dataset.BurnedInAnnotation = "YES"
    dataset.SeriesNumber, dataset.InstanceNumber = 99, 1
    dataset.PatientOrientation = ""
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = picture.height, picture.width
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PixelData = picture.tobytes()
    dataset["PixelData"].VR = "OB"
    return encode(dataset, "explicit")


def media_directory(who: Identity) -> bytes:
    """A DICOMDIR (PS3.10) with one patient record."""
    record = Dataset()
    record.OffsetOfTheNextDirectoryRecord = 0
    record.RecordInUseFlag = 0xFFFF
    record.OffsetOfReferencedLowerLevelDirectoryEntity = 0
    record.DirectoryRecordType = "PATIENT"
    record.PatientName, record.PatientID = who.folder_name.partition("_")[0], who.patient_id
    dataset = Dataset()
    dataset.FileSetID = "EXPORT"
    dataset.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = 0
    dataset.OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity = 0
    dataset.FileSetConsistencyFlag = 0
    dataset.DirectoryRecordSequence = [record]
    dataset.SOPClassUID, dataset.SOPInstanceUID = MediaStorageDirectoryStorage, f"{who.study_uid}.901"
    return encode(dataset, "explicit", keep_sop=False)


def encode(dataset: Dataset, encoding: Encoding, *, keep_sop: bool = True) -> bytes:
    """A DICOM file (PS3.10) with preamble and file meta information; `keep_sop` leaves the SOP UIDs in the body."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = SYNTAXES[encoding]
    meta.SourceApplicationEntityTitle = "BRANNOC_CT1"
    body = Dataset()
    body.update(dataset)
    if not keep_sop:
        del body.SOPClassUID, body.SOPInstanceUID
    body.file_meta = meta
    out = io.BytesIO()
    dcmwrite(out, body, enforce_file_format=True)
    return out.getvalue()


def _rle(stored: np.ndarray) -> bytes:
    from rle import encode_pixel_data  # type: ignore[import-not-found]

    return encode_pixel_data(
        stored.tobytes(), rows=stored.shape[0], columns=stored.shape[1], samples_per_pixel=1, bits_allocated=16,
        byteorder="<",
    )  # fmt: skip


def _study(who: Identity) -> Dataset:
    """Patient, study and visit modules, with staff and private elements."""
    d = Dataset()
    d.SpecificCharacterSet = list(who.character_set)
    d.PatientName, d.PatientID, d.IssuerOfPatientID = who.name, who.patient_id, who.issuer
    d.PatientBirthDate, d.PatientSex, d.PatientAge = who.birth_date, who.sex, who.age
    d.PatientSize, d.PatientWeight = who.height_m, who.weight_kg
    d.PatientAddress, d.PatientTelephoneNumbers, d.PatientMotherBirthName = who.address, who.telephone, who.mother
    d.OtherPatientNames = who.name
    others = []
    for number in who.other_ids:
        other = Dataset()
        other.PatientID, other.IssuerOfPatientID, other.TypeOfPatientID = number, who.issuer, "TEXT"
        others.append(other)
    d.OtherPatientIDsSequence = Sequence(others)
    surname = who.folder_name.split("_")[0]
    d.PatientComments = f"Mr/Ms {surname} was scanned after a call from {who.telephone}"
    d.StudyInstanceUID, d.StudyID, d.AccessionNumber = who.study_uid, who.study_id, who.accession
    d.StudyDate, d.StudyTime = who.study_date, who.study_time
    d.StudyDescription = f"CT abdomen {surname}"
    d.ReferringPhysicianName, d.NameOfPhysiciansReadingStudy = who.physician, who.radiologist
    d.AdmissionID, d.AdmittingDiagnosesDescription = f"ADM{who.order[4:]}", f"abdominal pain ({surname})"
    d.MedicalAlerts = f"see letter of {who.physician.split('^')[0]}"
    d.InstitutionName, d.InstitutionAddress = who.hospital, who.hospital_address
    d.InstitutionalDepartmentName, d.StationName = "Radiology", who.station
    d.Manufacturer, d.ManufacturerModelName = "Holloway Imaging", "Tomograph 64"
    d.DeviceSerialNumber, d.SoftwareVersions = who.serial, "VB41"
    d.OperatorsName, d.PerformingPhysicianName = who.operator, who.radiologist
    referenced = Dataset()
    referenced.ReferencedSOPClassUID, referenced.ReferencedSOPInstanceUID = (
        "1.2.840.10008.3.1.2.3.1",
        who.referenced_study_uid,
    )
    d.ReferencedStudySequence = Sequence([referenced])
    _add_request(d, who, surname)
    _add_private(d, who)
    return d


def _add_request(d: Dataset, who: Identity, surname: str) -> None:
    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = who.order, who.order
    request.RequestedProcedureDescription = f"CT trunk for {surname}"
    request.AccessionNumber = who.accession
    request.RequestingPhysician = who.physician
    protocol = Dataset()
    protocol.CodeValue, protocol.CodingSchemeDesignator, protocol.CodeMeaning = "CTTRUNK", "99LOCAL", "CT trunk"
    request.ScheduledProtocolCodeSequence = Sequence([protocol])
    d.RequestAttributesSequence = Sequence([request])
    d.PerformedProcedureStepID = who.order
    d.PerformedProcedureStepStartDate, d.PerformedProcedureStepStartTime = who.study_date, who.study_time
    d.PerformedProcedureStepDescription = f"portal venous, {surname}"


def _add_private(d: Dataset, who: Identity) -> None:
    block = d.private_block(0x0011, PRIVATE_CREATOR, create=True)
    block.add_new(0x01, "LO", who.folder_name.replace("_", " ")[:64])
    block.add_new(0x02, "UN", f"NAME={who.folder_name};ID={who.patient_id}".encode().ljust(64))
    block.add_new(0x03, "DA", who.birth_date)
    item = Dataset()
    item.PatientID = who.patient_id
    inner = item.private_block(0x0011, PRIVATE_CREATOR, create=True)
    inner.add_new(0x04, "LT", f"referred by {who.physician}; mother {who.mother}")
    block.add_new(0x05, "SQ", Sequence([item]))


def _add_ct_series(d: Dataset, phantom: Phantom, who: Identity, placement: Placement) -> None:
    """Series, frame of reference, image plane, pixel and CT modules (PS3.3 C.7 and C.8.2.1)."""
    slice_spacing, row_spacing, column_spacing = phantom.spacing
    d.SOPClassUID = CTImageStorage
    d.Modality, d.SeriesInstanceUID, d.SeriesNumber = "CT", who.series_uid, 3
    d.SeriesDescription, d.ProtocolName = "Trunk 6.0 portal venous", "Abdomen_PV"
    d.SeriesDate = d.AcquisitionDate = d.ContentDate = who.study_date
    d.SeriesTime = d.AcquisitionTime = d.ContentTime = who.study_time
    d.AcquisitionDateTime = who.study_date + who.study_time
    d.InstanceCreationDate, d.InstanceCreationTime = who.study_date, who.study_time
    d.BodyPartExamined, d.PatientPosition = "ABDOMEN", "HFS"
    d.FrameOfReferenceUID, d.PositionReferenceIndicator = who.frame_uid, ""
    d.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    d.AcquisitionNumber = 1
    d.KVP, d.XRayTubeCurrent, d.ExposureTime = 120, 210, 500
    d.ConvolutionKernel, d.ContrastBolusAgent = "B30f", "Iomeprol 350"
    d.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    d.PixelSpacing = [round(row_spacing, 6), round(column_spacing, 6)]
    d.SliceThickness = d.SpacingBetweenSlices = round(slice_spacing, 6)
    d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
    d.Rows, d.Columns = phantom.hu.shape[1:]
    bits = 16 if placement.signed else 12
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, bits, bits - 1, int(placement.signed)
    d.RescaleIntercept, d.RescaleSlope, d.RescaleType = (0 if placement.signed else -1024), 1, "HU"
    d.WindowCenter, d.WindowWidth = 50, 350
    d.BurnedInAnnotation = "NO"
