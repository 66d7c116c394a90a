"""Replacement values: shifted dates, mapped UIDs, dummies; and whether a value that is kept is what its VR says."""

import datetime
import math
import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from pydicom import config
from pydicom.charset import convert_encodings, decode_bytes, encode_string
from pydicom.uid import UID
from pydicom.valuerep import TEXT_VR_DELIMS, format_number_as_ds

from medillus_pipeline.dicom.encoding import NUMBER_BYTES, STRING_VRS

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

MapUID = Callable[[str], str]
"""A UID to its pseudonymous one."""
DEFAULT_REPERTOIRE = "iso8859"
"""What pydicom reads text with where no Specific Character Set is given."""

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
_ZONE = re.compile(rb"[+-](0\d|1[0-4])[0-5]\d")
_DECIMAL = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_INTEGER = re.compile(rb"[+-]?\d+")
_UID = re.compile(rb"(?=.{1,64}$)[0-2](\.(0|[1-9]\d*))+")
_CODE = re.compile(rb"[A-Z0-9_ ]{0,16}")
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
    name = UID(uid, config.IGNORE).name if uid else ""
    return "" if name == uid else name


def mapped_uids(value: bytes, uid: MapUID) -> bytes:
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
    move = _MOVES.get(vr, _check_time)
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


def _check_zone(value: bytes, _: int) -> bytes | None:
    return value if _ZONE.fullmatch(value) else None


_MOVES = {"DA": _shift_date, "DT": _shift_datetime, "SH": _check_zone}
"""By VR; SH is that of Timezone Offset From UTC, which DA and TM are read with and so stays (PS3.3 C.12.1)."""


def acceptable(vr: str, value: bytes, encodings: Sequence[str], most: int = 0) -> bytes | None:
    """The value as it may be kept under this VR; None when it is not a value of that VR (PS3.5 6.2).

    `most` is the greatest number of values that the attribute may have (0: any). Code strings lose the single values
    that are none. Decimal strings that are too long, as many devices write them, are rounded to fit.
    """
    if vr in NUMBER_BYTES:
        size = NUMBER_BYTES[vr]
        return value if len(value) % size == 0 and (not most or len(value) <= most * size) else None
    if vr not in STRING_VRS:
        return value
    if vr in _UNDIVIDED:
        return value if _is_text(vr, value, encodings) else None
    if most and value.count(b"\\") >= most:
        return None
    check = _CHECKS.get(vr)
    if check is None:
        return value if _is_text(vr, value, encodings) else None
    if vr != "CS" and check(value.strip(_PADDING)) is not None:
        return value
    parts = [check(part.strip(_PADDING)) for part in value.split(b"\\")]
    if vr == "CS":
        return b"\\".join(part or b"" for part in parts)
    return None if None in parts else b"\\".join(part for part in parts if part is not None)


def _decimal(part: bytes) -> bytes | None:
    if not part or _DECIMAL.fullmatch(part):
        return part if len(part) <= 16 else _rounded(part)
    return None


def _rounded(part: bytes) -> bytes | None:
    """A decimal string of more than 16 bytes in 16; None for a long row of digits, which is no measured number."""
    if part.strip(b"+-0").isdigit():
        return None
    number = float(part)
    return format_number_as_ds(number).encode() if math.isfinite(number) else None


def _integer(part: bytes) -> bytes | None:
    return part if not part or (len(part) <= 12 and _INTEGER.fullmatch(part)) else None


def _matching(pattern: re.Pattern[bytes]) -> Callable[[bytes], bytes | None]:
    return lambda part: part if not part or pattern.fullmatch(part) else None


_CHECKS: dict[str, Callable[[bytes], bytes | None]] = {
    "AS": _matching(_AGE),
    "CS": _matching(_CODE),
    "DA": lambda part: part if not part or _shift_date(part, 0) else None,
    "DS": _decimal,
    "DT": lambda part: part if not part or _shift_datetime(part, 0) else None,
    "IS": _integer,
    "TM": _matching(_TIME),
    "UI": _matching(_UID),
}
_UNDIVIDED = frozenset(["LT", "ST", "UR", "UT"])
_LENGTHS = {"AE": 16, "LO": 64, "PN": 200, "SH": 16, "LT": 10240, "ST": 1024}
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_CONTROLS_IN_TEXT = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")


def _is_text(vr: str, value: bytes, encodings: Sequence[str]) -> bool:
    """Whether a text value can be read in its character set, is not too long and holds no control characters."""
    if value.isascii():
        text = value.decode("ascii")
    else:
        found = _decodes(value, encodings)
        if found is None:
            return False
        text = found
    longest = _LENGTHS.get(vr)
    if vr in _UNDIVIDED:
        return (longest is None or len(text) <= longest) and not _CONTROLS_IN_TEXT.search(text.rstrip(" \x00"))
    parts = text.rstrip(" \x00").split("\\")
    return not any((longest is not None and len(part.strip()) > longest) or _CONTROLS.search(part) for part in parts)


def _decodes(value: bytes, encodings: Sequence[str]) -> str | None:
    """The text; None where it is not in the character set. The default repertoire is ASCII (PS3.5 6.1.1)."""
    if len(encodings) > 1:  # ISO 2022 code extensions: only pydicom's decoder knows the escape sequences
        if encodings[0] == DEFAULT_REPERTOIRE and not value.partition(b"\x1b")[0].isascii():
            return None
        text = decoded(value, encodings)
        return None if "\ufffd" in text else text
    if encodings[0] == DEFAULT_REPERTOIRE:
        return None
    try:
        return value.decode(encodings[0])
    except UnicodeDecodeError:
        return None


def encoded(text: str, encodings: Sequence[str]) -> bytes | None:
    """Text in the character set of its data set; None where that has no place for it."""
    if text.isascii():
        return text.encode()
    try:
        return encode_string(text, list(encodings))
    except (LookupError, UnicodeError):
        return None


CHARACTER_SETS = frozenset(
    b"ISO_IR 6|ISO_IR 100|ISO_IR 101|ISO_IR 109|ISO_IR 110|ISO_IR 144|ISO_IR 127|ISO_IR 126|ISO_IR 138|ISO_IR 148|"
    b"ISO_IR 203|ISO_IR 13|ISO_IR 166|ISO_IR 192|GB18030|GBK|ISO 2022 IR 6|ISO 2022 IR 100|ISO 2022 IR 101|"
    b"ISO 2022 IR 109|ISO 2022 IR 110|ISO 2022 IR 144|ISO 2022 IR 127|ISO 2022 IR 126|ISO 2022 IR 138|"
    b"ISO 2022 IR 148|ISO 2022 IR 203|ISO 2022 IR 13|ISO 2022 IR 166|ISO 2022 IR 87|ISO 2022 IR 159|"
    b"ISO 2022 IR 149|ISO 2022 IR 58".split(b"|")
)
"""Defined terms of Specific Character Set (PS3.3 C.12.1.1.2)."""


def character_set(value: bytes) -> bytes:
    """The value of a Specific Character Set without what is no defined term."""
    terms = [term.strip(_PADDING) for term in value.split(b"\\")]
    return b"\\".join(term if term in CHARACTER_SETS else b"" for term in terms).strip(b"\\")


def encodings_of(character_set: bytes | None) -> list[str]:
    """Python codecs for a raw Specific Character Set; what is no defined term counts as the default repertoire.

    It is not even shown to pydicom, which takes the name of any Python codec, and quotes others in a warning.
    """
    terms = [term.strip(_PADDING) for term in (character_set or b"").split(b"\\")]
    try:
        return convert_encodings([term.decode() if term in CHARACTER_SETS else "" for term in terms])
    except LookupError:
        return [DEFAULT_REPERTOIRE]


def decoded(value: bytes, encodings: Sequence[str]) -> str:
    """Text without padding; what cannot be decoded is replaced, since this only feeds searches."""
    if value.isascii():
        return value.decode("ascii").strip(" \x00")
    try:
        return decode_bytes(value, list(encodings), TEXT_VR_DELIMS).strip(" \x00")
    except (LookupError, UnicodeError):
        return value.decode("latin-1").strip(" \x00")
