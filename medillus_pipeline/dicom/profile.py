"""What to do with each attribute: DICOM PS3.15 Table E.1-1, edition 2026d, resolved for a set of options.

The table itself is `ps3_15_table.csv` (facts of the standard: tag, action code per profile and option). Here stand its
reading, the order of precedence, and our answer for what the table leaves open: compound codes, and attributes that
the table does not list. How an action is carried out on bytes is not here: see `deidentify.py`.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import cache
from importlib import resources

from pydicom.datadict import get_entry, keyword_for_tag, tag_for_keyword
from pydicom.tag import Tag

EDITION = "2026d"


class Option(Enum):
    """The options of PS3.15 E.3: column of the table, then code value and meaning in CID 7050."""

    CLEAN_GRAPHICS = ("graphics", "113103", "Clean Graphics Option")
    CLEAN_STRUCTURED_CONTENT = ("structured", "113104", "Clean Structured Content Option")
    CLEAN_DESCRIPTORS = ("descriptors", "113105", "Clean Descriptors Option")
    RETAIN_FULL_DATES = ("full_dates", "113106", "Retain Longitudinal Temporal Information Full Dates Option")
    RETAIN_MODIFIED_DATES = (
        "modified_dates",
        "113107",
        "Retain Longitudinal Temporal Information Modified Dates Option",
    )
    RETAIN_PATIENT_CHARACTERISTICS = ("patient", "113108", "Retain Patient Characteristics Option")
    RETAIN_DEVICE_IDENTITY = ("device", "113109", "Retain Device Identity Option")
    RETAIN_UIDS = ("uids", "113110", "Retain UIDs Option")
    RETAIN_SAFE_PRIVATE = ("private", "113111", "Retain Safe Private Option")
    RETAIN_INSTITUTION_IDENTITY = ("institution", "113112", "Retain Institution Identity Option")

    @property
    def column(self) -> str:
        """Column of `ps3_15_table.csv`."""
        return self.value[0]


BASIC_PROFILE_CODE = ("113100", "Basic Application Confidentiality Profile")
DEFAULT_OPTIONS = frozenset({Option.RETAIN_MODIFIED_DATES})


class Action(StrEnum):
    """What happens to an attribute. Codes of Table E.1-1a in brackets."""

    KEEP = "keep"
    """Taken over; a sequence is entered (K, and attributes outside the table)."""
    REMOVE = "remove"
    """(X)"""
    EMPTY = "empty"
    """Zero length (Z)."""
    DUMMY = "dummy"
    """A fixed value that is valid for the VR; a sequence keeps its items with every value replaced (D)."""
    UID = "uid"
    """Mapped to a pseudonymous UID, consistently (U)."""
    SHIFT = "shift"
    """Date moved by the patient's shift, time of day kept; what is no valid date goes by `fallback` (C)."""
    PATIENT = "patient"
    """The patient pseudonym (D)."""
    ACCESSION = "accession"
    """Pseudonym of the accession number (Z, which allows a dummy)."""


class Sensitivity(StrEnum):
    """How the residual search treats the original value of a replaced attribute."""

    NONE = "none"
    IDENTIFYING = "identifying"
    """Must appear nowhere."""
    DESCRIPTIVE = "descriptive"
    """Free text; may equal a defined term (BodyPartExamined THORAX), so coded attributes may hold it."""


@dataclass(frozen=True)
class Row:
    """One row of Table E.1-1. `codes` maps option columns to `K` or `C`."""

    tag: str
    name: str
    basic: str
    codes: dict[str, str]


@dataclass(frozen=True)
class Rule:
    """The resolved treatment of one attribute. `vrs` are those that the dictionary allows, `vr` the first of them."""

    keyword: str
    vr: str
    vrs: tuple[str, ...]
    action: Action
    fallback: Action
    sensitivity: Sensitivity


@cache
def table() -> tuple[Row, ...]:
    """All 657 rows. Tags are eight hexadecimal digits, `x` for a repeating group, or `odd` (private attributes)."""
    text = (resources.files("medillus_pipeline.dicom") / "ps3_15_table.csv").read_text(encoding="ascii")
    rows = []
    for line in csv.DictReader(text.splitlines()):
        codes = {option.column: line[option.column] for option in Option if line[option.column]}
        rows.append(Row(line["tag"], line["name"], line["basic"], codes))
    return tuple(rows)


def _tags(*keywords: str) -> frozenset[int]:
    found = [tag_for_keyword(keyword) for keyword in keywords]
    return frozenset(tag for tag in found if tag is not None)


SEQUENCES_KEPT_EMPTY = _tags("AcquisitionContextSequence")
"""Compound-coded sequences of Type 2 in their IOD; the other ones are Type 3 and removed."""

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

TEXT_KEPT_EMPTY = _tags("PositionReferenceIndicator")
"""Text outside the table that is Type 2 in the image IODs."""

TEXT_REPLACED = _tags("LUTLabel", "LUTExplanation")
"""Text outside the table that is Type 1 in Real World Value Mapping (PS3.3 C.7.6.16.2.11)."""

BULK_DATA = _tags(
    *("PixelData", "FloatPixelData", "DoubleFloatPixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *("RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData"),
    *("AlphaPaletteColorLookupTableData", "SegmentedRedPaletteColorLookupTableData"),
    *("SegmentedGreenPaletteColorLookupTableData", "SegmentedBluePaletteColorLookupTableData"),
    *("SegmentedAlphaPaletteColorLookupTableData", "LUTData", "ICCProfile"),
)
"""Binary attributes outside the table that are kept, since pixels cannot be shown without them."""

_TEXT = frozenset(["AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"])
_BINARY = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "UN"])
_DATES = frozenset(["DA", "DT"])
_NOT_SEARCHED = frozenset(["CS", "DA", "DT", "TM", "AS", "DS", "IS", "SQ"])
_PATIENT_TAGS = _tags("PatientName", "PatientID")
_ACCESSION_TAGS = _tags("AccessionNumber")
_OUTSIDE = Rule("", "UN", ("UN",), Action.REMOVE, Action.REMOVE, Sensitivity.NONE)


class Profile:
    """The Basic Profile with a set of options. Rules are resolved at first use and remembered."""

    def __init__(self, options: Iterable[Option] = DEFAULT_OPTIONS) -> None:
        self.options = frozenset(options)
        self._rows = {int(row.tag, 16): row for row in table() if row.tag.isalnum() and _is_hex(row.tag)}
        self._rules: dict[int, Rule] = {}

    @property
    def codes(self) -> list[tuple[str, str]]:
        """Code value and meaning (CID 7050) of the profile and its options."""
        return [BASIC_PROFILE_CODE, *sorted((option.value[1], option.value[2]) for option in self.options)]

    def rule(self, tag: int) -> Rule:
        """The treatment of the attribute with this tag (group << 16 | element)."""
        found = self._rules.get(tag)
        if found is None:
            found = self._rules[tag] = self._resolve(tag)
        return found

    def _resolve(self, tag: int) -> Rule:
        group, element = tag >> 16, tag & 0xFFFF
        repeating = 0x5000 <= group <= 0x50FF or 0x6000 <= group <= 0x60FF
        if group % 2 or group < 0x0008 or group > 0xFFF0 or element == 0 or repeating:
            return _OUTSIDE
        try:
            vr, _, _, _, keyword = get_entry(Tag(tag))
        except KeyError:
            return _OUTSIDE
        vrs = tuple(vr.split(" or "))
        vr = vrs[0]
        row = self._rows.get(tag)
        if row is None:
            action = self._outside_the_table(tag, vr)
            return Rule(keyword, vr, vrs, action, Action.REMOVE, Sensitivity.NONE)
        action, fallback = self._from_row(tag, vr, row)
        return Rule(keyword, vr, vrs, action, fallback, _sensitivity(vr, row, action))

    def _from_row(self, tag: int, vr: str, row: Row) -> tuple[Action, Action]:
        if tag in _PATIENT_TAGS:
            return Action.PATIENT, Action.PATIENT
        if tag in _ACCESSION_TAGS:
            return Action.ACCESSION, Action.EMPTY
        basic = _basic(tag, vr, row.basic)
        codes = {row.codes.get(option.column) for option in self.options}
        if "K" in codes:
            return Action.KEEP, basic
        temporal = Option.RETAIN_MODIFIED_DATES
        if temporal in self.options and row.codes.get(temporal.column) == "C" and vr in ("DA", "DT", "TM"):
            # PS3.15 E.3.6: what no longer is a date cannot be shifted, and is removed or emptied, never invented.
            return Action.SHIFT, Action.EMPTY if "Z" in row.basic else Action.REMOVE
        return basic, basic

    @staticmethod
    def _outside_the_table(tag: int, vr: str) -> Action:
        if vr in _TEXT:
            if tag in TEXT_KEPT_EMPTY:
                return Action.EMPTY
            return Action.KEEP if tag in CODED_TEXT else Action.DUMMY if tag in TEXT_REPLACED else Action.REMOVE
        if vr in _BINARY:
            return Action.KEEP if tag in BULK_DATA else Action.REMOVE
        if vr in _DATES:
            return Action.SHIFT
        return Action.UID if vr == "UI" else Action.KEEP


def _is_hex(text: str) -> bool:
    return len(text) == 8 and all(digit in "0123456789abcdef" for digit in text)


def _basic(tag: int, vr: str, code: str) -> Action:
    """One action for a code of the Basic Profile.

    A compound code leaves the choice to the attribute's Type in the IOD. The weakest form that is valid for every Type
    that the code allows is taken: a dummy where Type 1 is possible, else zero length. Sequences with a compound code
    are Type 3 in the image IODs (Type 2 where `SEQUENCES_KEPT_EMPTY` says so). `U*` enters the items.
    """
    if code == "X/Z/U*":
        return Action.KEEP
    if "/" in code and vr == "SQ":
        return Action.EMPTY if tag in SEQUENCES_KEPT_EMPTY else Action.REMOVE
    last = code.rsplit("/", 1)[-1]
    if last == "D" and vr == "UI":
        return Action.UID
    return {"X": Action.REMOVE, "Z": Action.EMPTY, "D": Action.DUMMY, "U": Action.UID}[last]


def _sensitivity(vr: str, row: Row, action: Action) -> Sensitivity:
    if action is Action.KEEP or (vr in _NOT_SEARCHED and vr != "SQ"):
        return Sensitivity.NONE
    return Sensitivity.DESCRIPTIVE if "descriptors" in row.codes else Sensitivity.IDENTIFYING
