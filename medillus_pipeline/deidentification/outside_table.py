"""Attributes that Table E.1-1 does not list, or that pydicom's dictionary lacks, where a rule by VR is not enough.

The rule by VR (`profile.py`): text and binary values go, dates move, UIDs are mapped, numbers and code strings stay.
"""

from pydicom.datadict import keyword_for_tag, tag_for_keyword


def _tags(*keywords: str) -> frozenset[int]:
    found = [tag_for_keyword(keyword) for keyword in keywords]
    return frozenset(tag for tag in found if tag is not None)


CODED_TEXT = _tags(
    *("CodeValue", "LongCodeValue", "CodeMeaning", "CodingSchemeDesignator", "CodingSchemeVersion"),
    *("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "DetectorManufacturerName"),
    *("DetectorManufacturerModelName", "SecondaryCaptureDeviceManufacturer"),
    *("SecondaryCaptureDeviceManufacturerModelName", "ReceiveCoilManufacturerName", "TransmitCoilManufacturerName"),
    *("ConvolutionKernel", "FilterType", "ImageFilter", "CollimatorGridName", "SequenceName", "PulseSequenceName"),
    *("ImagedNucleus", "ReceiveCoilName", "TransmitCoilName", "MultiCoilElementName", "RescaleType", "ModalityLUTType"),
    *("ContrastBolusRoute", "Radionuclide", "Radiopharmaceutical", "RadiopharmaceuticalRoute", "StackID"),
    *("AttenuationCorrectionMethod", "ReconstructionMethod", "ScatterCorrectionMethod", "DetectorLinesOfResponseUsed"),
    *("AlgorithmName", "AlgorithmVersion", "SegmentLabel", "SegmentAlgorithmName", "DimensionDescriptionLabel"),
    "MIMETypeOfEncapsulatedDocument",
)
"""Text attributes outside the table that are kept: codes, makes and technique. All other text outside it is removed."""

CODED_KEYWORDS = frozenset(keyword_for_tag(tag) for tag in CODED_TEXT)

CODE_TEXT = _tags("CodeValue", "LongCodeValue", "CodeMeaning")
_SCHEMES = """
DCM SCT SRT SNM3 99SDM LN UCUM FMA RADLEX RADELEMENT NCIT NCIt UMLS ICD10 ICD10CM I10 I10C I10P I9 I9C ICDO3
ISO3166_1 RFC5646 MDC UBERON ACR BARI CPT4 C4
"""
CODING_SCHEMES = frozenset(_SCHEMES.split())
"""Designators (PS3.16 chapter 8) of published schemes. In codes of any other scheme the text is a site's own: the
value and the meaning get a dummy."""

TEXT_KEPT_EMPTY = _tags(
    *("PositionReferenceIndicator", "ContentDescription", "RadiationMachineName", "ASLTechniqueDescription"),
    *("ASLBolusCutoffTechnique", "ManufacturerModelVersion", "MaterialID", "PatientBreedDescription"),
    "CodingSchemeExternalID",
)
"""Text outside the table that is Type 2 in an image IOD (PS3.3 A)."""

TEXT_REPLACED = _tags(
    *("LUTLabel", "LUTExplanation", "TextValue", "RTImageLabel", "ExposureControlModeDescription"),
    *("PaddleDescription", "ApplicationName", "ApplicationManufacturer", "ApplicationVersion", "ApplicatorID"),
    *("OpticalPathIdentifier", "GeneralAccessoryID", "BreedRegistrationNumber", "GeneticModificationsDescription"),
    *("GeneticModificationsNomenclature", "StrainSource", "StrainStockNumber", "HL7InstanceIdentifier"),
    *("TrackingID", "MetaboliteMapDescription", "ASLCrusherDescription", "CardiacFramingType"),
    *("FrameLabelVector", "DisplayWindowLabelVector"),
)
"""Text outside the table that is Type 1 or 1C where it stands (PS3.3): Real World Value Mapping, content items, RT
Image, breast tomosynthesis, microscopy. With Clean Structured Content the text of a content item is cleaned."""

SEQUENCES_REMOVED = _tags("EncryptedAttributesSequence", "MACParametersSequence", "DigitalSignaturesSequence")
"""Envelopes of another de-identifier and signatures, which do not hold for the new file."""

NEWER_ATTRIBUTES: dict[int, tuple[str, str]] = {
    0x00081301: ("SQ", "PrincipalDiagnosisCodeSequence"),
    0x00081302: ("SQ", "PrimaryDiagnosisCodeSequence"),
    0x00081303: ("SQ", "SecondaryDiagnosesCodeSequence"),
    0x00081304: ("SQ", "HistologicalDiagnosesCodeSequence"),
    0x00100011: ("SQ", "PersonNamesToUseSequence"),
    0x00100012: ("LT", "NameToUse"),
    0x00100013: ("UT", "NameToUseComment"),
    0x00100014: ("SQ", "ThirdPersonPronounsSequence"),
    0x00100015: ("SQ", "PronounCodeSequence"),
    0x00100016: ("UT", "PronounComment"),
    0x00100041: ("SQ", "GenderIdentitySequence"),
    0x00100042: ("UT", "SexParametersForClinicalUseCategoryComment"),
    0x00100043: ("SQ", "SexParametersForClinicalUseCategorySequence"),
    0x00100044: ("SQ", "GenderIdentityCodeSequence"),
    0x00100045: ("UT", "GenderIdentityComment"),
    0x00100046: ("SQ", "SexParametersForClinicalUseCategoryCodeSequence"),
    0x00100047: ("UR", "SexParametersForClinicalUseCategoryReference"),
    0x00102161: ("SQ", "EthnicGroupCodeSequence"),
    0x00102162: ("UC", "EthnicGroups"),
    0x0040A034: ("DT", "EffectiveStartDateTime"),
    0x0040A035: ("DT", "EffectiveStopDateTime"),
    0x0040B034: ("DT", "AnnotationDateTime"),
    0x0040B036: ("DT", "SegmentDefinitionDateTime"),
    0x300A0054: ("UI", "TableTopPositionAlignmentUID"),
}
"""Rows of the table (PS3.6 2026d) that pydicom's dictionary may not know yet: VR and keyword."""

BULK_DATA = _tags(
    *("PixelData", "FloatPixelData", "DoubleFloatPixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *("RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData"),
    *("AlphaPaletteColorLookupTableData", "SegmentedRedPaletteColorLookupTableData"),
    *("SegmentedGreenPaletteColorLookupTableData", "SegmentedBluePaletteColorLookupTableData"),
    *("SegmentedAlphaPaletteColorLookupTableData", "LUTData", "ICCProfile"),
)
"""Binary attributes outside the table that are kept, since pixels cannot be shown without them."""
