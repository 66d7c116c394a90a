"""Small valid files of IODs with functional groups (PS3.3 C.7.6.16), and the table of all kinds that validity is tested
on.

What is not here: IODs of single frames, and what all have in common (`iod_files.py`).
"""

from collections.abc import Callable
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    BreastTomosynthesisImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ParametricMapStorage,
)

from medillus_pipeline_tests.deidentification import iod_files
from medillus_pipeline_tests.deidentification.delivered_files import encoded
from medillus_pipeline_tests.deidentification.iod_files import ROOT, THORAX, code, image_of, mg, one

_FRAME = {
    "FrameContentSequence": one(
        StackID="1", InStackPositionNumber=1, DimensionIndexValues=[1], FrameAcquisitionNumber=1,
        FrameReferenceDateTime="20240131235959", FrameAcquisitionDateTime="20240131235959",
        FrameAcquisitionDuration=1.0, FrameComments="Walther breathes", FrameLabel="Vogelweide 1",
    ),
    "PlanePositionSequence": one(ImagePositionPatient=[0, 0, 5]),
}  # fmt: skip
_SHARED = {
    "PixelMeasuresSequence": one(SliceThickness=5, PixelSpacing=[1, 1]),
    "PlaneOrientationSequence": one(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
    "FrameAnatomySequence": one(FrameLaterality="U", AnatomicRegionSequence=code(*THORAX)),
    "FrameVOILUTSequence": one(WindowCenter=40, WindowWidth=400),
}
_ENHANCED: dict[str, Any] = {
    "FrameOfReferenceUID": f"{ROOT}.4",
    "PositionReferenceIndicator": "",
    "AcquisitionDateTime": "20240131235959",
    "AcquisitionDuration": 1.0,
    "ContentQualification": "PRODUCT",
    "ImageComments": "Walther again",
    "PixelPresentation": "MONOCHROME",
    "VolumetricProperties": "VOLUME",
    "VolumeBasedCalculationTechnique": "NONE",
    "LossyImageCompression": "00",
    "PresentationLUTShape": "IDENTITY",
    "AcquisitionContextSequence": Sequence([]),
    "DimensionOrganizationSequence": one(DimensionOrganizationUID=f"{ROOT}.7"),
    "DimensionIndexSequence": one(
        DimensionOrganizationUID=f"{ROOT}.7", DimensionIndexPointer=0x00209057, FunctionalGroupPointer=0x00209111,
        DimensionDescriptionLabel="position",
    ),
    "PerFrameFunctionalGroupsSequence": one(**_FRAME),
}  # fmt: skip


def enhanced_ct() -> Dataset:
    """A.38.1, its technique in one item of the shared functional groups."""
    frame_type = one(
        FrameType=["DERIVED", "PRIMARY", "VOLUME", "NONE"], PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME", VolumeBasedCalculationTechnique="NONE",
    )  # fmt: skip
    shared = _SHARED | {
        "CTImageFrameTypeSequence": frame_type,
        "IrradiationEventIdentificationSequence": one(IrradiationEventUID=f"{ROOT}.8"),
        "PixelValueTransformationSequence": one(RescaleIntercept=-1024, RescaleSlope=1, RescaleType="HU"),
        "CTAcquisitionTypeSequence": one(AcquisitionType="SEQUENCED", ConstantVolumeFlag="NO", FluoroscopyFlag="NO"),
    }
    return image_of(
        EnhancedCTImageStorage, "CT", frames=1, ImageType=["DERIVED", "PRIMARY", "VOLUME", "NONE"],
        SharedFunctionalGroupsSequence=one(**shared), MultienergyCTAcquisition="NO", **_ENHANCED,
    )  # fmt: skip


def enhanced_mr() -> Dataset:
    """A.36.2, with the descriptions that a perfusion with spin labelling has to give (C.8.13.5.14)."""
    labelled = one(
        ArterialSpinLabelingContrast="PULSED", ASLTechniqueDescription="as Dr Eschenbach likes it", ASLContext="LABEL",
        ASLCrusherFlag="NO", ASLBolusCutoffFlag="NO",
        ASLSlabSequence=one(ASLSlabNumber=1, ASLSlabOrientation=[0.0, 0.0, 1.0], ASLMidSlabPosition=[0.0, 0.0, 5.0],
                            ASLPulseTrainDuration=1000, ASLSlabThickness=5.0),
    )  # fmt: skip
    shared = _SHARED | {
        "MRImageFrameTypeSequence": one(
            FrameType=["DERIVED", "PRIMARY", "M", "NONE"], PixelPresentation="MONOCHROME",
            VolumetricProperties="VOLUME", VolumeBasedCalculationTechnique="NONE", ComplexImageComponent="MAGNITUDE",
            AcquisitionContrast="T1",
        ),
        "PixelValueTransformationSequence": one(RescaleIntercept=0, RescaleSlope=1, RescaleType="US"),
        "MRArterialSpinLabelingSequence": labelled,
    }  # fmt: skip
    return image_of(
        EnhancedMRImageStorage, "MR", frames=1, ImageType=["DERIVED", "PRIMARY", "M", "NONE"],
        SharedFunctionalGroupsSequence=one(**shared), MagneticFieldStrength=1.5, ResonantNucleus="1H",
        ApplicableSafetyStandardAgency="IEC", KSpaceFiltering="NONE", ComplexImageComponent="MAGNITUDE",
        AcquisitionContrast="T1", **_ENHANCED,
    )  # fmt: skip


def parametric_map() -> Dataset:
    """A.75."""
    shared = _SHARED | {
        "ParametricMapFrameTypeSequence": one(FrameType=["DERIVED", "PRIMARY", "ADC", "NONE"]),
        "PixelValueTransformationSequence": one(RescaleIntercept=0, RescaleSlope=1, RescaleType="US"),
        "RealWorldValueMappingSequence": one(
            RealWorldValueFirstValueMapped=0, RealWorldValueLastValueMapped=4095, RealWorldValueIntercept=0.0,
            RealWorldValueSlope=1.0, LUTLabel="of Walther", LUTExplanation="of Walther",
            MeasurementUnitsCodeSequence=code("mm2/s", "mm2/s", "UCUM"),
        ),
    }  # fmt: skip
    return image_of(
        ParametricMapStorage, "MR", frames=1, ImageType=["DERIVED", "PRIMARY", "ADC", "NONE"],
        BitsStored=16, HighBit=15,
        ContentLabel="WALTHER", ContentDescription="his map", ContentCreatorName="Aue^Hartmann",
        RecognizableVisualFeatures="NO", SharedFunctionalGroupsSequence=one(**shared), **_ENHANCED,
    )  # fmt: skip


def tomosynthesis() -> Dataset:
    """A.55: descriptions of Type 1 in its acquisition."""
    made = mg()
    made.SOPClassUID, made.ImageType = BreastTomosynthesisImageStorage, ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "NONE"]
    for keyword, value in _ENHANCED.items():
        setattr(made, keyword, value)
    made.NumberOfFrames, made.BreastImplantPresent = 1, "NO"
    breast = {"FrameAnatomySequence": one(FrameLaterality="L", AnatomicRegionSequence=code("76752008", "Breast"))}
    values = one(RescaleIntercept=0, RescaleSlope=1, RescaleType="US")
    frame_type = one(
        FrameType=["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "NONE"], PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME", VolumeBasedCalculationTechnique="TOMOSYNTHESIS",
    )  # fmt: skip
    made.PerFrameFunctionalGroupsSequence = one(**_FRAME, XRay3DFrameTypeSequence=frame_type)
    made.SharedFunctionalGroupsSequence = one(**_SHARED | breast, PixelValueTransformationSequence=values)
    made.XRay3DAcquisitionSequence = one(
        PaddleDescription="the paddle of Frau Vogelweide", ExposureControlModeDescription="by Hartmann",
        FilterMaterial="RHODIUM", FilterType="FLAT", GridID="GRID-55", FieldOfViewShape="RECTANGLE",
        ExposureControlMode="AUTOMATIC", XRayReceptorType="DIGITAL_DETECTOR", DistanceSourceToDetector=650,
        DistanceSourceToPatient=630, EstimatedRadiographicMagnificationFactor=1, AnodeTargetMaterial="TUNGSTEN",
        BodyPartThickness=50, HalfValueLayer=0.5, FocalSpots=0.3, DetectorTemperature=25, CompressionForce=80,
        FieldOfViewOrigin=[0.0, 0.0],
        PerProjectionAcquisitionSequence=one(
            KVP=30, PositionerPrimaryAngle=0, ExposureTimeInms=10.0, XRayTubeCurrentInmA=100.0, ExposureInmAs=1.0,
            RelativeXRayExposure=1,
        ),
    )  # fmt: skip
    return made


KINDS: dict[str, Callable[[], Dataset]] = {
    made.__name__: made
    for made in (
        *(iod_files.ct, iod_files.mr, iod_files.pet, iod_files.cr, iod_files.dx, iod_files.mg, iod_files.xa),
        *(iod_files.nm, iod_files.us, iod_files.secondary_capture, iod_files.secondary_capture_frames),
        *(iod_files.rt_image, enhanced_ct, enhanced_mr, parametric_map, tomosynthesis),
    )
}
"""The files by the name of their kind."""


def iod_file(kind: str) -> bytes:
    """The file of one of `KINDS`."""
    return encoded(KINDS[kind]())
