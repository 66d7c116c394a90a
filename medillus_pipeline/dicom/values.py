"""Replacement values: shifted dates, mapped UIDs, dummies; and whether a value that is kept is what its VR says."""

import datetime
import re
from collections.abc import Callable
from functools import lru_cache

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.uid import UID
from pydicom.valuerep import TEXT_VR_DELIMS

from medillus_pipeline.dicom.encoding import NUMBER_BYTES

CODING_SCHEME_UIDS = frozenset(
    (
        "2.16.840.1.113883.6.96",  # SNOMED CT
        "2.16.840.1.113883.6.1",  # LOINC
        "2.16.840.1.113883.6.8",  # UCUM
        "2.16.840.1.113883.6.119",  # FMA
        "2.16.840.1.113883.6.256",  # RadLex
        "2.16.840.1.113883.6.3",  # ICD-10
        "2.16.840.1.113883.6.90",  # ICD-10-CM
    )
)
"""Registered UIDs of coding schemes outside PS3.6 (PS3.16 chapter 8)."""

_DUMMIES = {
    "AS": b"000Y",
    "DA": b"19000101",
    "DT": b"19000101000000",
    "TM": b"000000",
    "DS": b"0",
    "IS": b"0",
    "CS": b"OTHER",
    "UR": b"urn:removed",
}
DUMMY_TEXT = "REMOVED"

_DATE = re.compile(rb"(\d{4})\.?(\d\d)\.?(\d\d)")
_DATETIME = re.compile(rb"(\d{4})(\d\d)?(\d\d)?(\d\d(?:\d\d(?:\d\d(?:\.\d{1,6})?)?)?)?([+-]\d{4})?")
_TIME = re.compile(rb"([01]\d|2[0-3])(:?[0-5]\d(:?([0-5]\d|60)(\.\d{1,6})?)?)?")
_NUMBERS = re.compile(rb"[0-9+\-.eE\\ \x00]*")
_CODE = re.compile(rb"[A-Za-z0-9_ \-./+^]{0,16}")
_AGE = re.compile(rb"\d{3}[DWMY]")
_PADDING = b" \x00"


def dummy(vr: str) -> bytes:
    """A fixed value that is valid for the VR."""
    if vr in NUMBER_BYTES:
        return bytes(NUMBER_BYTES[vr])
    return _DUMMIES.get(vr, bytes(8) if vr.startswith("O") or vr == "UN" else DUMMY_TEXT.encode())


@lru_cache(maxsize=4096)
def registered_name(uid: str) -> str:
    """The name of a UID that PS3.6 Annex A registers; empty for any other."""
    name = UID(uid).name if uid else ""
    return "" if name == uid else name


def mapped_uids(value: bytes, uid: Callable[[str], str]) -> bytes:
    """Every UID of a value mapped by `uid`, except the registered ones (PS3.6 Annex A and coding schemes)."""
    mapped = []
    for part in value.decode("ascii", "replace").split("\\"):
        part = part.strip(" \x00")
        known = not part or registered_name(part) or part in CODING_SCHEME_UIDS
        mapped.append(part if known else uid(part))
    return "\\".join(mapped).encode()


def shifted(vr: str, value: bytes, days: int) -> bytes | None:
    """DA or DT values moved by whole days; times, fractions and time zone offsets stay. None where one is invalid.

    A DT that stops at the year or month is moved from its first day and cut to the same precision.
    """
    move = _shift_date if vr == "DA" else _shift_datetime if vr == "DT" else _check_time
    moved = []
    for part in value.split(b"\\"):
        stripped = part.strip(_PADDING)
        result = move(stripped, days) if stripped else b""
        if result is None:
            return None
        moved.append(result)
    return b"\\".join(moved)


def _moved(year: bytes, month: bytes, day: bytes, days: int) -> datetime.date | None:
    try:
        return datetime.date(int(year), int(month), int(day)) + datetime.timedelta(days)
    except (ValueError, OverflowError):
        return None


def _shift_date(value: bytes, days: int) -> bytes | None:
    match = _DATE.fullmatch(value)
    moved = _moved(match[1], match[2], match[3], days) if match else None
    return f"{moved:%Y%m%d}".rjust(8, "0").encode() if moved else None


def _shift_datetime(value: bytes, days: int) -> bytes | None:
    match = _DATETIME.fullmatch(value)
    if match is None:
        return None
    year, month, day, time, zone = match.groups()
    if time and _TIME.fullmatch(time) is None:
        return None
    moved = _moved(year, month or b"01", day or b"01", days)
    if moved is None:
        return None
    digits = f"{moved:%Y%m%d}".rjust(8, "0")[: 8 if day else 6 if month else 4]
    return digits.encode() + (time or b"") + (zone or b"")


def _check_time(value: bytes, _: int) -> bytes | None:
    return value if _TIME.fullmatch(value) else None


def acceptable(vr: str, value: bytes, encodings: list[str]) -> bytes | None:
    """The value as it may be kept under this VR; None when it is not a value of that VR.

    Code strings lose the single values that are none (longer than 16 characters or of other characters).
    """
    if vr in NUMBER_BYTES:
        return value if len(value) % NUMBER_BYTES[vr] == 0 else None
    if vr in ("DS", "IS"):
        return value if _NUMBERS.fullmatch(value) else None
    if vr == "CS":
        if _CODE.fullmatch(value.strip(_PADDING)):
            return value
        parts = value.split(b"\\")
        return b"\\".join(part if _CODE.fullmatch(part.strip(_PADDING)) else b"" for part in parts)
    if vr == "AS":
        return value if _AGE.fullmatch(value.strip(_PADDING)) else None
    if vr == "TM":
        return shifted(vr, value, 0)
    if vr in ("LO", "SH", "UC", "AE", "PN") and not value.isascii():
        return value if _decodes(value, encodings) else None
    return value


def _decodes(value: bytes, encodings: list[str]) -> bool:
    if len(encodings) > 1:  # ISO 2022 code extensions: only pydicom's decoder knows the escape sequences
        return "\ufffd" not in decoded(value, encodings)
    try:
        value.decode(encodings[0])
    except UnicodeDecodeError:
        return False
    return True


def encodings_of(character_set: bytes | None) -> list[str]:
    """Python codecs for a raw Specific Character Set; unknown terms count as the default repertoire."""
    terms = (character_set or b"").decode("ascii", "replace").split("\\")
    try:
        return convert_encodings([term.strip(" \x00") for term in terms])
    except LookupError:
        return ["iso8859"]


def decoded(value: bytes, encodings: list[str]) -> str:
    """Text without padding; what cannot be decoded is replaced, since this only feeds searches."""
    if value.isascii():
        return value.decode("ascii").strip(" \x00")
    try:
        return decode_bytes(value, encodings, TEXT_VR_DELIMS).strip(" \x00")
    except (LookupError, UnicodeError):
        return value.decode("latin-1").strip(" \x00")
