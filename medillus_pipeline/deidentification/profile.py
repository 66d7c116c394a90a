"""What to do with each attribute: DICOM PS3.15 Table E.1-1, edition 2026d, resolved for a set of options.

The table itself is `ps3_15_table.csv` (facts of the standard: tag, action code per profile and option). Here stand its
reading, the order of precedence, and our answer for what the table leaves open: compound codes, and attributes that
the table does not list. How an action is carried out on bytes is not here: see `treatment.py`.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources

from pydicom.datadict import get_entry
from pydicom.tag import Tag

from medillus_pipeline.deidentification.attribute_types import action_for, type_of
from medillus_pipeline.deidentification.options import BASIC_PROFILE_CODE, DEFAULT_OPTIONS, Option
from medillus_pipeline.deidentification.outside_table import (
    BULK_DATA,
    CODED_TEXT,
    NEWER_ATTRIBUTES,
    SEQUENCES_REMOVED,
    TEXT_KEPT_EMPTY,
    TEXT_REPLACED,
)

EDITION = "2026d"


class Action(StrEnum):
    """What happens to an attribute. Codes of Table E.1-1a in brackets."""

    KEEP = "keep"
    """Taken over; a sequence is entered (K, and attributes outside the table)."""
    REMOVE = "remove"
    """(X)"""
    CLEAN = "clean"
    """Text cut down to allowed terms; where nothing is left, the attribute goes by `fallback` (C)."""
    GRAPHICS = "graphics"
    """An overlay's bitmap without the text that is found in it (C)."""
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
    """The resolved treatment of one attribute. `vrs` are those that the dictionary allows, `vr` the first of them,
    `most` the greatest number of values (0: any). `retained`: an option keeps what the Basic Profile would not.
    """

    keyword: str
    vr: str
    vrs: tuple[str, ...]
    action: Action
    fallback: Action
    sensitivity: Sensitivity
    most: int = 0
    retained: bool = False

    @property
    def by_neighbours(self) -> bool:
        """Whether other elements of the data set must say if this one may stay."""
        return self.action is Action.GRAPHICS or (self.action is Action.KEEP and not _BINARY.isdisjoint(self.vrs))


@cache
def table() -> tuple[Row, ...]:
    """All 657 rows. Tags are eight hexadecimal digits, `x` for a repeating group, or `odd` (private attributes)."""
    text = (resources.files("medillus_pipeline.deidentification") / "ps3_15_table.csv").read_text(encoding="ascii")
    rows = []
    for line in csv.DictReader(text.splitlines()):
        codes = {option.column: line[option.column] for option in Option if option.column and line[option.column]}
        rows.append(Row(line["tag"], line["name"], line["basic"], codes))
    return tuple(rows)


_TEXT = frozenset(["AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"])
_BINARY = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "UN"])
_CLEANABLE = _TEXT - {"PN", "UR"} | {"CS"}
_TEMPORAL = frozenset(["DA", "DT", "TM"])
_NOT_SEARCHED = frozenset(["CS", "DA", "DT", "TM", "AS", "DS", "IS", "SQ"])
_PATIENT_TAGS = frozenset([0x00100010, 0x00100020])
_ACCESSION = 0x00080050
_TIMEZONE = 0x00080201
_TEXT_VALUE = 0x0040A160
_OUTSIDE = Rule("", "UN", ("UN",), Action.REMOVE, Action.REMOVE, Sensitivity.NONE)
_OVERLAY_NUMBERS = frozenset([0x0010, 0x0011, 0x0015, 0x0040, 0x0050, 0x0051, 0x0100, 0x0102])
_MAXIMUM_PLACES = 4096


class Rules(dict[int, Rule]):
    """Tag → treatment, in one kind of object and at one place in it; resolved at first use and remembered."""

    def __init__(self, profile: "Profile", sop_class_uid: str, path: tuple[str, ...]) -> None:
        super().__init__()
        self._profile, self._sop_class_uid, self._path = profile, sop_class_uid, path

    def __missing__(self, tag: int) -> Rule:
        found = self[tag] = self._profile.resolved(tag, self._sop_class_uid, self._path)
        return found


class Profile:
    """The Basic Profile with a set of options.

    Where several codes apply to one attribute: a date moves rather than stays wherever Modified Dates is chosen, also
    in what Retain Device Identity keeps, since a calibration date that stayed would give away how far the others moved;
    otherwise K goes before C, and C before the Basic Profile. Raises ValueError for both options on dates at once.
    """

    def __init__(self, options: Iterable[Option] = DEFAULT_OPTIONS) -> None:
        self.options = frozenset(options)
        if {Option.RETAIN_FULL_DATES, Option.RETAIN_MODIFIED_DATES} <= self.options:
            raise ValueError("dates are kept or moved, not both: choose retain-full-dates or retain-dates")
        self._columns = frozenset(option.column for option in self.options if option.column)
        self._rows = {int(row.tag, 16): row for row in table() if _is_hex(row.tag)}
        self._places: dict[tuple[str, tuple[str, ...]], Rules] = {}

    @property
    def codes(self) -> list[tuple[str, str]]:
        """Code value and meaning (CID 7050) of the profile and its options."""
        return [BASIC_PROFILE_CODE, *sorted(option.code for option in self.options)]

    @property
    def temporal_information(self) -> str:
        """Longitudinal Temporal Information Modified (PS3.3 C.12.1): what became of dates."""
        if Option.RETAIN_FULL_DATES in self.options:
            return "UNMODIFIED"
        return "MODIFIED" if Option.RETAIN_MODIFIED_DATES in self.options else "REMOVED"

    def rules(self, sop_class_uid: str = "", path: tuple[str, ...] = ()) -> Rules:
        """The treatments in an object of this class, within the sequences of these keywords, outermost first."""
        found = self._places.get((sop_class_uid, path))
        if found is None:
            if len(self._places) >= _MAXIMUM_PLACES:
                self._places.clear()
            found = self._places[sop_class_uid, path] = Rules(self, sop_class_uid, path)
        return found

    def rule(self, tag: int, sop_class_uid: str = "", path: tuple[str, ...] = ()) -> Rule:
        """The treatment of the attribute with this tag (group << 16 | element)."""
        return self.rules(sop_class_uid, path)[tag]

    def resolved(self, tag: int, sop_class_uid: str, path: tuple[str, ...]) -> Rule:
        """The treatment of an attribute, worked out anew."""
        group, element = tag >> 16, tag & 0xFFFF
        if 0x6000 <= group <= 0x60FF and group % 2 == 0:
            return self._overlay(tag)
        if group % 2 or group < 0x0008 or group > 0xFFF0 or element == 0 or 0x5000 <= group <= 0x50FF:
            return _OUTSIDE
        try:
            vr, multiplicity, _, _, keyword = get_entry(Tag(tag))
        except KeyError:
            multiplicity = "1-n"
            vr, keyword = NEWER_ATTRIBUTES.get(tag, ("", ""))
            if not vr:
                return _OUTSIDE
        last = multiplicity.rsplit("-", 1)[-1]
        most = int(last) if last.isdigit() else 0
        vrs = tuple(vr.split(" or "))
        vr = vrs[0]
        row = self._rows.get(tag)
        if row is None:
            action, fallback = self._outside_the_table(tag, vr)
            return Rule(keyword, vr, vrs, action, fallback, Sensitivity.NONE, most)
        type_ = type_of(keyword, sop_class_uid, path) if "/" in row.basic else None
        action, fallback = self._from_row(tag, vr, row, type_)
        retained = action is Action.KEEP and fallback is not Action.KEEP
        return Rule(keyword, vr, vrs, action, fallback, _sensitivity(vr, row, action), most, retained)

    def _from_row(self, tag: int, vr: str, row: Row, type_: str | None) -> tuple[Action, Action]:
        if tag in _PATIENT_TAGS:
            return Action.PATIENT, Action.PATIENT
        if tag == _ACCESSION:
            return Action.ACCESSION, Action.EMPTY
        basic = _basic(vr, row.basic, type_)
        codes = {code for column, code in row.codes.items() if column in self._columns}
        moved = Option.RETAIN_MODIFIED_DATES.column
        if moved in self._columns and moved in row.codes and (vr in _TEMPORAL or tag == _TIMEZONE):
            # PS3.15 E.3.6: what no longer is a date cannot be shifted, and is removed or emptied, never invented.
            return Action.SHIFT, Action.EMPTY if "Z" in row.basic else Action.REMOVE
        if "K" in codes:
            return Action.KEEP, basic
        if "C" in codes and vr == "SQ":
            return Action.KEEP, basic
        if "C" in codes and vr in _CLEANABLE:
            return Action.CLEAN, basic
        return basic, basic

    def _outside_the_table(self, tag: int, vr: str) -> tuple[Action, Action]:
        if tag == _TEXT_VALUE and Option.CLEAN_STRUCTURED_CONTENT in self.options:
            return Action.CLEAN, Action.DUMMY
        if vr in _TEMPORAL:
            kept = {"UNMODIFIED": Action.KEEP, "MODIFIED": Action.SHIFT}
            return kept.get(self.temporal_information, Action.REMOVE), Action.REMOVE
        return _outside_the_table(tag, vr), Action.REMOVE

    def _overlay(self, tag: int) -> Rule:
        """Repeating group 60xx: goes as a whole, unless Clean Graphics keeps its bitmap and what describes that."""
        element = tag & 0xFFFF
        if Option.CLEAN_GRAPHICS not in self.options:
            return _OUTSIDE
        if element == 0x3000:
            return Rule("OverlayData", "OW", ("OB", "OW"), Action.GRAPHICS, Action.REMOVE, Sensitivity.NONE)
        if element == 0x4000:
            return Rule("OverlayComments", "LT", ("LT",), Action.CLEAN, Action.REMOVE, Sensitivity.DESCRIPTIVE)
        if element not in _OVERLAY_NUMBERS:
            return _OUTSIDE
        vr, _, _, _, keyword = get_entry(Tag(tag))
        return Rule(keyword, vr, (vr,), Action.KEEP, Action.REMOVE, Sensitivity.NONE)


def _is_hex(text: str) -> bool:
    return len(text) == 8 and all(digit in "0123456789abcdef" for digit in text)


def _outside_the_table(tag: int, vr: str) -> Action:
    if vr in _TEXT:
        if tag in TEXT_KEPT_EMPTY:
            return Action.EMPTY
        return Action.KEEP if tag in CODED_TEXT else Action.DUMMY if tag in TEXT_REPLACED else Action.REMOVE
    if vr in _BINARY:
        return Action.KEEP if tag in BULK_DATA else Action.REMOVE
    if tag in SEQUENCES_REMOVED:
        return Action.REMOVE
    return Action.UID if vr == "UI" else Action.KEEP


def _basic(vr: str, code: str, type_: str | None) -> Action:
    """One action for a code of the Basic Profile; compound codes by the attribute's Type (see `attribute_types.py`).

    A sequence whose Type is not known is removed where the code allows that. Where `U*` is offered it is taken, since
    references between files are to resolve: the items are entered and their UIDs mapped.
    """
    if "/" in code:
        unknown = vr == "SQ" and type_ is None and code.startswith("X/")
        code = "U*" if code.endswith("U*") else "X" if unknown else action_for(code, type_)
    if code == "D" and vr == "UI":
        return Action.UID
    actions = {"X": Action.REMOVE, "Z": Action.EMPTY, "D": Action.DUMMY, "U": Action.UID, "U*": Action.KEEP}
    return actions[code]


def _sensitivity(vr: str, row: Row, action: Action) -> Sensitivity:
    if action in (Action.KEEP, Action.SHIFT) or (vr in _NOT_SEARCHED and vr != "SQ"):
        return Sensitivity.NONE
    return Sensitivity.DESCRIPTIVE if "descriptors" in row.codes else Sensitivity.IDENTIFYING
