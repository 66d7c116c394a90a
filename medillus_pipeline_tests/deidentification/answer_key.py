"""What a de-identifier must have done with each file of `../shared/data/phi`: our answer key, in MIDI-B's ten kinds.

Two sources, and our engine is neither of them: facts that a person read off the files (`answers.csv`: planted names,
boxes of burned-in text, values that research needs), and checks that follow from Table E.1-1 of PS3.15 as the shared
data have it. What is not here: how a check is scored (`scoring.py`).

The kinds are those of the MIDI-B challenge (Medical Image De-Identification Benchmark, MICCAI 2024; arXiv 2507.23608).
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from pathlib import Path

from pydicom import dcmread
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID_dictionary

from medillus_pipeline.dicom.reading import silenced


class Kind(StrEnum):
    """What is checked."""

    DATE_SHIFTED = "date_shifted"
    PATID_CONSISTENT = "patid_consistent"
    PIXELS_HIDDEN = "pixels_hidden"
    PIXELS_RETAINED = "pixels_retained"
    TAG_RETAINED = "tag_retained"
    TEXT_NOTNULL = "text_notnull"
    TEXT_REMOVED = "text_removed"
    TEXT_RETAINED = "text_retained"
    UID_CHANGED = "uid_changed"
    UID_CONSISTENT = "uid_consistent"


@dataclass(frozen=True)
class Check:
    """One required action. `where` is a path of keywords and item numbers (`ReferencedImageSequence.0.…`), a box of
    pixels (left, top, right, bottom; right and bottom excluded), or `*` for anywhere; `what` is the source's value.
    """

    file: str
    kind: Kind
    where: str = "*"
    what: str = ""


PLAIN = (
    "burned_in_flag/burned_in_no.dcm",
    "mr_224_private_tags.dcm",
    "mr_invented_patient.dcm",
    "private_tags_ct.dcm",
    *(f"mr_series_planted_name/{number}.dcm" for number in range(1, 33)),
    *(f"two_patients/p01_s01_s01_i0{number}.dcm" for number in (1, 2)),
    *(f"two_patients/p02_s0{number}_s01_i01.dcm" for number in (1, 2)),
)
"""Images that have to come out under any policy."""

_CHARACTER_SETS = ("Arab", "Fren", "FrenMulti", "Germ", "Greek", "H31", "H32", "Hbrw", "I2", "Russ", "X1", "X2")
CLEANED = (
    *(f"burned_in_flag/burned_in_{flag}.dcm" for flag in ("missing", "other", "yes")),
    *(f"charsets/chr{name}.dcm" for name in _CHARACTER_SETS),
    *(f"deid_data/{name}.dcm" for name in ("cookie2", "ct_simpson", "us_burned_in_grey")),
    *(f"pseudo_phi/{name}.dcm" for name in ("burned_in_ct_kaufman", "rgb_pet_rodgers")),
)
"""Images of kinds that may show text: they have to come out where pixels are cleaned."""

LEFT_OUT = (
    *(f"charsets/chr{name}.dcm" for name in ("JapMulti", "JapMultiExplicitIR6", "KoreanMulti")),
    *(f"charsets/chrSQEncoding{number}.dcm" for number in ("", "1")),
    *(f"reports/{name}.dcm" for name in ("reportsi", "test-SR")),
    "pseudo_phi/ground_truth.json",
)
"""No images: files without pixels, reports, a text."""

_NEVER_EMPTY = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("Modality", "PatientID", "PatientName"),
)
"""Type 1 in every image IOD, or what files are told apart by."""
_STAYS = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName", "SeriesNumber", "InstanceNumber", "SamplesPerPixel"),
    *("PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelData"),
)
"""Type 1 or 2 in every image IOD (PS3.3 C.7.1 to C.7.6): the attribute itself may not go."""

_TEXT = frozenset(["AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT", "DA", "DT", "AS"])
_NUMBERS = frozenset(["DS", "FD", "FL", "IS", "SL", "SS", "UL", "US"])
_CODE = re.compile(r"[A-Z0-9_ ]{1,16}")
_ABOUT_THE_FILE = frozenset(
    (
        *("SpecificCharacterSet", "BurnedInAnnotation", "LongitudinalTemporalInformationModified", "ImageType"),
        *("PatientIdentityRemoved", "DataSetTrailingPadding", "RecognizableVisualFeatures"),
    )
)
"""What de-identification itself has to write."""
_ABOUT_PIXELS = frozenset(
    (
        *("PhotometricInterpretation", "PlanarConfiguration", "LossyImageCompression", "LossyImageCompressionMethod"),
        *("LossyImageCompressionRatio", "SmallestImagePixelValue", "LargestImagePixelValue"),
    )
)
"""What may change when pixels are cleaned and encoded anew."""


def sources(phi: Path, *, cleaned: bool) -> dict[str, Dataset]:
    """The files that have to come out, by their path below `phi`."""
    return {name: read((phi / name).read_bytes()) for name in (*PLAIN, *(CLEANED if cleaned else ()))}


def read(data: bytes) -> Dataset:
    """A file as pydicom reads it, without its warnings."""
    with silenced():
        dataset = dcmread(io.BytesIO(data), force=True)
        dataset.walk(lambda *_: None)
    return dataset


def answer_key(found: dict[str, Dataset], standard: Path) -> list[Check]:
    """All checks for these files. `standard` is the folder of the standard's tables among the shared data."""
    rows = _table(standard)
    facts = [check for check in written_by_hand() if check.file in found]
    derived = [check for name, dataset in found.items() for check in _derived(name, dataset, rows)]
    return list(dict.fromkeys([*facts, *derived]))


def written_by_hand() -> Iterator[Check]:
    """The rows of `answers.csv`; a file name that ends in a star stands for all that begin like it."""
    text = (resources.files(__package__) / "answers.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        beginning = row["file"].removesuffix("*")
        every = beginning != row["file"]
        names = [name for name in (*PLAIN, *CLEANED) if (name.startswith(beginning) if every else name == beginning)]
        yield from (Check(name, Kind(row["kind"]), row["where"], row["what"]) for name in names)


@dataclass(frozen=True)
class _Row:
    basic: str
    shifted: bool


def _table(standard: Path) -> dict[int, _Row]:
    """Tag → its codes in Table E.1-1."""
    rows = {}
    for row in json.loads((standard / "e1_1_2026d.json").read_text(encoding="utf-8")):
        digits = re.fullmatch(r"\(([0-9A-F]{4}),([0-9A-F]{4})\)", row["tag"].upper())
        if digits:
            shifted = row["options"].get("retain_longitudinal_modified_dates") == "C"
            rows[int(digits[1] + digits[2], 16)] = _Row(row["basic_profile"], shifted)
    return rows


def _derived(name: str, dataset: Dataset, rows: dict[int, _Row]) -> Iterator[Check]:
    yield from (Check(name, Kind.TEXT_NOTNULL, keyword) for keyword in _NEVER_EMPTY if dataset.get(keyword))
    yield from (Check(name, Kind.TAG_RETAINED, keyword) for keyword in _STAYS if keyword in dataset)
    if dataset.get("PatientID"):
        yield Check(name, Kind.PATID_CONSISTENT, "PatientID", text_of(dataset["PatientID"]))
    yield from _of_elements(name, dataset, rows, (), removed=False)


def _of_elements(
    name: str, dataset: Dataset, rows: dict[int, _Row], path: tuple[str, ...], *, removed: bool
) -> Iterator[Check]:
    """What the table asks for each element; `removed` says that the sequence around it goes."""
    for element in dataset:
        tag = int(element.tag)
        keyword = keyword_for_tag(tag)
        if not keyword or element.tag.is_private or element.tag.element == 0 or 0x5000 <= tag >> 16 <= 0x60FF:
            continue
        row, where = rows.get(tag), ".".join((*path, keyword))
        if element.VR == "SQ":
            goes = removed or (row is not None and row.basic != "X/Z/U*" and row.basic[0] in "XZD")
            for number, item in enumerate(element.value):
                yield from _of_elements(name, item, rows, (*path, keyword, str(number)), removed=goes)
        elif text := text_of(element):
            yield from _of_value(name, element, where, text, row, removed)


def _of_value(
    name: str, element: DataElement, where: str, text: str, row: _Row | None, removed: bool
) -> Iterator[Check]:
    keyword = where.rsplit(".")[-1]
    if removed:
        if element.VR in _TEXT:
            yield Check(name, Kind.TEXT_REMOVED, where, text)
    elif element.VR == "UI":
        if row is not None and text not in UID_dictionary:
            yield Check(name, Kind.UID_CHANGED, where, text)
            yield Check(name, Kind.UID_CONSISTENT, where, text)
        elif row is None and text in UID_dictionary:
            yield Check(name, Kind.TEXT_RETAINED, where, text)
    elif row is not None and row.shifted and element.VR in ("DA", "DT"):
        yield Check(name, Kind.DATE_SHIFTED, where, text)
    elif row is not None and not row.shifted:
        if element.VR in _TEXT or element.VR in _NUMBERS:
            yield Check(name, Kind.TEXT_REMOVED, where, text)
    elif row is None and keyword not in _ABOUT_THE_FILE and not (name in CLEANED and keyword in _ABOUT_PIXELS):
        is_code = element.VR == "CS" and all(_CODE.fullmatch(part) for part in text.split("\\"))
        if element.VR in _NUMBERS or is_code:
            yield Check(name, Kind.TEXT_RETAINED, where, text)


def text_of(element: DataElement) -> str:
    """The value as text, several values divided by a backslash; empty for none and for binary values."""
    if element.value is None or isinstance(element.value, bytes | bytearray):
        return ""
    several = element.value if element.VM > 1 else [element.value]
    return "\\".join(str(value) for value in several).strip(" \x00")
