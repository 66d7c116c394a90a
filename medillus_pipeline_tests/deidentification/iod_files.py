"""One small valid file for each of many image IODs (PS3.3 Annex A), with names and texts in it, for validity tests.

Each has the attributes of Type 1 and 2 of its IOD that de-identification touches. What is not here: IODs with
functional groups (`iod_frames.py`), and files with faults (`delivered_files.py` and the shared data).
"""

from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalXRayImageStorageForPresentation,
    MRImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    NuclearMedicineImageStorage,
    PositronEmissionTomographyImageStorage,
    RTImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
    XRayAngiographicImageStorage,
)

ROWS, COLUMNS = 8, 6
ROOT = "1.2.826.0.1.55"


def some(**attributes: Any) -> Dataset:
    """A data set with these attributes."""
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def one(**attributes: Any) -> Sequence:
    """A sequence of one item."""
    return Sequence([some(**attributes)])


def code(value: str, meaning: str, scheme: str = "SCT") -> Sequence:
    """A Code Sequence of one item (PS3.3 8.8)."""
    return one(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


THORAX = ("43799004", "Thorax")


def image_of(sop_class: str, modality: str, *, frames: int = 0, bits: int = 16, **attributes: Any) -> Dataset:
    """Patient, study, series, equipment, image and pixel modules; `attributes` come over them."""
    made = some(
        SpecificCharacterSet="ISO_IR 100",
        SOPClassUID=sop_class,
        SOPInstanceUID=f"{ROOT}.1",
        StudyInstanceUID=f"{ROOT}.2",
        SeriesInstanceUID=f"{ROOT}.3",
        StudyDate="20240131", StudyTime="235959", SeriesDate="20240131", SeriesTime="235959",
        ContentDate="20240131", ContentTime="235959", AcquisitionDate="20240131", AcquisitionTime="235959",
        AccessionNumber="ACC778899", ReferringPhysicianName="Eschenbach^Wolfram", StudyID="STUDY-4711",
        StudyDescription="Thorax of Herr Vogelweide", SeriesDescription="for Dr Eschenbach",
        PatientName="Vogelweide^Walther", PatientID="MRN-0012345", PatientBirthDate="19611224", PatientSex="M",
        PatientAge="062Y", PatientComments="minstrel", OperatorsName="Aue^Hartmann",
        InstitutionName="Spital Burgdorf", InstitutionAddress="Burgdorf", StationName="CT-BURG",
        Modality=modality, Manufacturer="SIEMENS", ManufacturerModelName="Model 7", DeviceSerialNumber="SN-991",
        SoftwareVersions="VB20", ProtocolName="Thorax Vogelweide", BodyPartExamined="CHEST",
        SeriesNumber=1, InstanceNumber=1, AcquisitionNumber=1, PatientPosition="HFS",
        RequestAttributesSequence=one(
            RequestedProcedureID="RP-55", ScheduledProcedureStepID="SPS-55", RequestedProcedureDescription="Thorax"
        ),
        PerformedProcedureStepStartDate="20240131", PerformedProcedureStepStartTime="235959",
        PerformedProcedureStepID="PPS-55", PerformedProcedureStepDescription="Thorax of Walther",
        BurnedInAnnotation="NO",
        SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", Rows=ROWS, Columns=COLUMNS,
        BitsAllocated=bits, BitsStored=bits if bits == 8 else 12, HighBit=7 if bits == 8 else 11,
        PixelRepresentation=0,
    )  # fmt: skip
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    made = some(**{element.keyword: element.value for element in made if element.value is not None})
    if frames:
        made.NumberOfFrames = frames
    made.PixelData = np.arange(max(frames, 1) * ROWS * COLUMNS).astype("<u2" if bits == 16 else "u1").tobytes()
    made["PixelData"].VR = "OW"
    return made


_PLANE: dict[str, Any] = {
    "FrameOfReferenceUID": f"{ROOT}.4",
    "PositionReferenceIndicator": "sternum",
    "ImagePositionPatient": [0, 0, 5],
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "PixelSpacing": [1, 1],
    "SliceThickness": 5,
}
_HU: dict[str, Any] = {"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"}
_ORIGINAL = ["ORIGINAL", "PRIMARY", "AXIAL"]


def ct() -> Dataset:
    """A.3."""
    return image_of(CTImageStorage, "CT", ImageType=_ORIGINAL, KVP=120, **_PLANE, **_HU)


def mr() -> Dataset:
    """A.4."""
    return image_of(
        MRImageStorage, "MR", ImageType=["ORIGINAL", "PRIMARY", "M"], ScanningSequence="SE", SequenceVariant="NONE",
        ScanOptions="", MRAcquisitionType="2D", RepetitionTime=500, EchoTime=20, EchoTrainLength=1, **_PLANE,
    )  # fmt: skip


def pet() -> Dataset:
    """A.21."""
    return image_of(
        PositronEmissionTomographyImageStorage, "PT", ImageType=["ORIGINAL", "PRIMARY"],
        Units="BQML", CountsSource="EMISSION",
        SeriesType=["STATIC", "IMAGE"], NumberOfSlices=1, CorrectedImage=["DECY", "ATTN"], DecayCorrection="START",
        CollimatorType="NONE", FrameReferenceTime=0, ActualFrameDuration=1000, ImageIndex=1, DecayFactor=1,
        PatientOrientationCodeSequence=code("102538003", "recumbent"),
        PatientGantryRelationshipCodeSequence=code("102540008", "headfirst"),
        RadiopharmaceuticalInformationSequence=one(
            RadionuclideCodeSequence=code("77004003", "^18^Fluorine"), Radiopharmaceutical="FDG",
            RadiopharmaceuticalStartDateTime="20240131220000", RadiopharmaceuticalStartTime="220000",
        ),
        RescaleSlope=1, RescaleIntercept=0, PatientPosition=None, BitsStored=16, HighBit=15, **_PLANE,
    )  # fmt: skip


def cr() -> Dataset:
    """A.2."""
    return image_of(
        ComputedRadiographyImageStorage, "CR", ImageType=["ORIGINAL", "PRIMARY"],
        ViewPosition="AP", KVP="", PlateID="PLATE-8", PatientOrientation=["L", "F"], CassetteID="CASS-8",
        PhotometricInterpretation="MONOCHROME1",
    )  # fmt: skip


_DX: dict[str, Any] = {
    "PresentationIntentType": "FOR PRESENTATION",
    "PatientOrientation": ["L", "F"],
    "ImageLaterality": "U",
    "AnatomicRegionSequence": code(*THORAX),
    "AcquisitionContextSequence": Sequence([]),
    "PixelIntensityRelationship": "LOG",
    "PixelIntensityRelationshipSign": 1,
    "RescaleIntercept": 0,
    "RescaleSlope": 1,
    "RescaleType": "US",
    "PresentationLUTShape": "IDENTITY",
    "LossyImageCompression": "00",
    "WindowCenter": 2000,
    "WindowWidth": 4000,
    "DetectorType": "DIRECT",
    "DetectorID": "DET-991",
    "ImagerPixelSpacing": [0.2, 0.2],
}


def dx() -> Dataset:
    """A.26."""
    return image_of(
        DigitalXRayImageStorageForPresentation, "DX", ImageType=["ORIGINAL", "PRIMARY", ""],
        ViewCodeSequence=code("399348003", "antero-posterior"), PositionerType="",
        ReferencedPerformedProcedureStepSequence=one(
            ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.3", ReferencedSOPInstanceUID=f"{ROOT}.66"
        ),
        **_DX,
    )  # fmt: skip


def mg() -> Dataset:
    """A.27."""
    breast: dict[str, Any] = {"ImageLaterality": "L", "AnatomicRegionSequence": code("76752008", "Breast")}
    made = image_of(
        DigitalMammographyXRayImageStorageForPresentation, "MG", ImageType=["ORIGINAL", "PRIMARY", ""],
        ViewCodeSequence=one(
            CodeValue="399162004", CodingSchemeDesignator="SCT", CodeMeaning="cranio-caudal",
            ViewModifierCodeSequence=Sequence([]),
        ),
        PositionerType="MAMMOGRAPHIC", OrganExposed="BREAST", FilterMaterial="RHODIUM", Density=1,
        PatientSex="F", **_DX | breast,
    )  # fmt: skip
    return made


def xa() -> Dataset:
    """A.14."""
    return image_of(
        XRayAngiographicImageStorage, "XA", ImageType=["ORIGINAL", "PRIMARY", "SINGLE PLANE"], KVP=80,
        PixelIntensityRelationship="LIN", RadiationSetting="GR", XRayTubeCurrent=100, ExposureTime=10,
        PositionerMotion="STATIC", PositionerPrimaryAngle=0, PositionerSecondaryAngle=0, PatientOrientation=["L", "F"],
    )  # fmt: skip


def nm() -> Dataset:
    """A.5."""
    return image_of(
        NuclearMedicineImageStorage, "NM", frames=1, ImageType=["ORIGINAL", "PRIMARY", "STATIC", "EMISSION"],
        FrameIncrementPointer=[0x00540010, 0x00540020], EnergyWindowVector=1, DetectorVector=1, CountsAccumulated=99,
        NumberOfEnergyWindows=1, NumberOfDetectors=1, PixelSpacing=[1, 1],
        EnergyWindowInformationSequence=one(EnergyWindowName="for Vogelweide"),
        RadiopharmaceuticalInformationSequence=one(RadionuclideCodeSequence=code("14016003", "^99m^Technetium")),
        DetectorInformationSequence=one(CollimatorType="PARA", ImageOrientationPatient="", ImagePositionPatient=""),
        PatientOrientationCodeSequence=code("102538003", "recumbent"), ActualFrameDuration=1000,
        PatientGantryRelationshipCodeSequence=code("102540008", "headfirst"),
        PatientPosition=None, BitsStored=16, HighBit=15,
    )  # fmt: skip


def us() -> Dataset:
    """A.6."""
    return image_of(UltrasoundImageStorage, "US", bits=8, ImageType=["ORIGINAL", "PRIMARY"], PatientOrientation="")


def secondary_capture() -> Dataset:
    """A.8.1."""
    return image_of(
        SecondaryCaptureImageStorage, "OT", bits=8, ImageType=["DERIVED", "SECONDARY"], ConversionType="WSD",
        PatientOrientation="", SecondaryCaptureDeviceID="SCREEN-1", SecondaryCaptureDeviceManufacturer="SIEMENS",
    )  # fmt: skip


def secondary_capture_frames() -> Dataset:
    """A.8.4, with labels of its frames."""
    return image_of(
        MultiFrameGrayscaleWordSecondaryCaptureImageStorage, "OT", frames=2, ImageType=["DERIVED", "SECONDARY"],
        ConversionType="WSD", PatientOrientation="", PresentationLUTShape="IDENTITY", RescaleSlope=1,
        RescaleIntercept=0, RescaleType="US", FrameIncrementPointer=0x00182002, LossyImageCompression="00",
        FrameLabelVector=["Walther 1", "Walther 2"],
    )  # fmt: skip


def rt_image() -> Dataset:
    """A.17."""
    return image_of(
        RTImageStorage, "RTIMAGE", ImageType=["ORIGINAL", "PRIMARY", "PORTAL"], RTImageLabel="Vogelweide AP",
        RTImageName="first day", RTImagePlane="NORMAL", XRayImageReceptorTranslation=[0, 0, 0], ConversionType="DI",
        ReportedValuesOrigin="PLAN", XRayImageReceptorAngle=0, RTImageOrientation="", ImagePlanePixelSpacing=[1, 1],
        RTImagePosition=[0, 0], RadiationMachineName="LINAC BURGDORF", RadiationMachineSAD=1000, RTImageSID=1500,
        PrimaryDosimeterUnit="MU", PatientOrientation="", FrameOfReferenceUID=f"{ROOT}.4",
        PositionReferenceIndicator="", GantryAngle=0, PatientPosition=None,
    )  # fmt: skip
