"""The residual search: does anything that identified the source still stand in what is about to be written?

Values of five characters or more (two, where they are not ASCII: most Chinese names have two or three) are searched as
whole tokens, in the encodings that they may have, in the new file's bytes without native pixel data (compressed pixel
data can carry comments) and in the cells of its row. Dates and shorter values are compared element by element, dates
also with the text that was taken over.
A finding names an attribute and a count, never the value.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from pydicom.datadict import get_entry
from pydicom.uid import UID

from medillus_pipeline.deidentification.outside_table import CODED_KEYWORDS
from medillus_pipeline.deidentification.profile import Sensitivity
from medillus_pipeline.deidentification.values import DUMMY_TEXT
from medillus_pipeline.deidentification.written_dates import dates_written_in
from medillus_pipeline.dicom.encoded import Elements, items_of, scan

if TYPE_CHECKING:
    from medillus_pipeline.deidentification.deidentify import Deidentified

MINIMUM_LENGTH = 5
MINIMUM_BYTES_BEYOND_ASCII = 4

_COMMON_WORDS = """
abdomen anonym anonymised anonymized anonymous brain breast cardiac chest default extremity heart image kidney liver
localizer medical original patient pelvis perfusion phantom philips primary prostate removed screen shoulder siemens
spine study thorax toshiba unknown unnamed unspecified volunteer whole
"""
_MAKES = ("ge medical systems", "philips medical systems", "siemens healthineers", "canon medical systems")
COMMON_WORDS = frozenset((*_COMMON_WORDS.split(), *_MAKES))
"""Words that identify nobody when they stand alone as a name or id, and that legitimate attributes hold."""

_NUMBER = r"[+-]?(?:\d+\.\d*|\.\d+|\d{1,4})(?:[eE][+-]?\d{1,3})?"
_MEASURED = re.compile(rf" *{_NUMBER}(?: *\\ *{_NUMBER})* *")
_NUMERIC_TOKEN = re.compile(r"[0-9a-z.]+")
_DATE = re.compile(rb"(\d{4})(\d{2})(\d{2})")
_DIGITS = re.compile(r"\d.*\d", re.DOTALL)
_SPLIT_NAME = re.compile(r"[\^=\s,\-'’]+")
_LONG_NUMBER = re.compile(r"\d{7,}")
_DIGITS_APART = re.compile(r"[-+()/. \d]{7,}")
_SPELT = {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "ø": "oe", "å": "aa", "æ": "ae", "ł": "l", "đ": "d"}
_CODECS = ("utf-8", "latin-1", "gb18030", "utf-16-le")
FREE_VRS = frozenset(["AE", "LO", "LT", "SH", "ST", "UC", "UR", "UT", "PN"])
"""VRs in which anything can be written."""


class Identifier(NamedTuple):
    """A value of the source that must not survive, in lower case, and where it came from.

    `needles` are its forms in the encodings that it may have.
    """

    keyword: str
    text: str
    sensitivity: Sensitivity
    needles: tuple[bytes, ...]


class Kept(NamedTuple):
    """A text value that was taken over from the source, for searching across files of one patient. `free` says that its
    VR sets no form (no number, code or date).
    """

    keyword: str
    text: str
    free: bool = True


class Replaced(NamedTuple):
    """A short value or date before and after, for the comparison element by element."""

    keyword: str
    before: bytes
    after: bytes


def identifiers_of(keyword: str, vr: str, text: str, sensitivity: Sensitivity, raw: bytes) -> list[Identifier]:
    """The identifiers in one replaced text value: each value, and each component of a name. Those that are too short to
    be looked for inside other text have no needles: they are compared with whole values.
    """
    found = []
    encoded = b"" if raw.isascii() else raw.strip(b" \x00").lower()
    for value in text.lower().split("\\"):
        value = value.strip(" \x00")
        candidates = [value, *(_name_forms(value) if vr == "PN" else ())]
        if sensitivity is Sensitivity.IDENTIFYING and vr not in ("PN", "UI"):
            candidates += _numbers(value)
        if not value.isascii():
            candidates += [plain for candidate in candidates for plain in _plain(candidate)]
        for candidate in dict.fromkeys(candidates):
            if len(candidate) < 2 or candidate in COMMON_WORDS or candidate == DUMMY_TEXT.lower():
                continue
            long = is_searchable(candidate)
            if long or sensitivity is Sensitivity.IDENTIFYING:
                needles = _forms(candidate, encoded if candidate is value else b"") if long else ()
                found.append(Identifier(keyword, candidate, sensitivity, needles))
    return found


def is_searchable(text: str) -> bool:
    """Whether a value is long enough to be looked for inside other text."""
    return len(text) >= (MINIMUM_LENGTH if text.isascii() else 2)


def _name_forms(name: str) -> list[str]:
    """A person name (PS3.5 6.2.1) as people write it: each group's components, alone and joined in both orders."""
    forms = []
    for group in name.split("="):
        parts = [part for part in _SPLIT_NAME.split(group) if part]
        forms += [*parts, " ".join(parts), " ".join(reversed(parts)), "".join(parts), "".join(reversed(parts))]
        if len(parts) > 1 and parts[0].isascii():  # O'Brien without its mark; and as accounts are named
            forms += [parts[0] + parts[1], parts[1][0] + parts[0], parts[0] + parts[1][0]]
    return forms


def _numbers(text: str) -> list[str]:
    """Long numbers inside an id, also without the zeros before them; a telephone number without its separators. Days
    are none: they are searched as such."""
    found = _LONG_NUMBER.findall(text)
    if _DIGITS_APART.fullmatch(text):
        found.append("".join(digit for digit in text if digit.isdigit()))
    found += [number.lstrip("0") for number in found]
    return [number for number in found if len(number) >= 7 and not _is_day(number)]


def _is_day(number: str) -> bool:
    return len(number) == 8 and number[:2] in ("19", "20") and number[4:6] <= "12" and number[6:] <= "31"


def _plain(text: str) -> tuple[str, ...]:
    """A Latin text without its marks, as machines that know ASCII alone write it: MULLER, MUELLER."""
    bare = unicodedata.normalize("NFKD", text)
    stripped = "".join(letter for letter in bare if not unicodedata.combining(letter)).replace("ß", "ss")
    spelt = "".join(_SPELT.get(letter, letter) for letter in unicodedata.normalize("NFC", text))
    spelt = "".join(letter for letter in unicodedata.normalize("NFKD", spelt) if not unicodedata.combining(letter))
    return tuple(form for form in (stripped, spelt) if form.isascii())


def found_in(made: "Deidentified") -> Counter[str]:
    """Everything that this module looks for in one file and its row: attribute keyword → number of values found."""
    cells = [str(value) for value in made.row.values()]
    hits = search(made.header, cells, made.identifiers, made.retained)
    hits += unchanged(made.replaced)
    free = [value for value in made.kept if value.free and value.text.lower().encode() not in made.retained]
    hits += dates_in_text(made.replaced, free)
    hits |= in_free_text(free, made.identifiers)
    if made.row["pixel_hash"] and UID(made.row["transfer_syntax_uid"]).is_compressed:
        hits += search_compressed(b"".join(made.pixels), made.identifiers)
    return hits


def search(
    header: bytes, cells: Iterable[str], identifiers: Iterable[Identifier], retained: frozenset[bytes] = frozenset()
) -> Counter[str]:
    """Identifiers that stand in a new file or its row: attribute keyword → number of values found.

    `header` is the file up to its pixel data, as sound as we write it. A descriptive value may equal a value of a coded
    element; values of `retained`, in lower case, are left out. Only where an identifier's bytes occur at all is the
    header taken apart, to see where values begin and end.
    """
    lowered = header.lower()
    row = "\x00".join(cells).lower().encode()
    text = _squeezed(lowered + b"\x00" + row)  # numbers of 16 bits can spell a text, with NUL bytes between its letters
    written: list[tuple[str, str, bytes]] | None = None
    hits: Counter[str] = Counter()
    for identifier in identifiers:
        for needle in identifier.needles:
            if _squeezed(needle) not in text:
                continue
            if written is None:
                written = [w for w in _written(header) if w[2].strip(b" \x00").lower() not in retained]
            if identifier.sensitivity is Sensitivity.DESCRIPTIVE:
                coded = CODED_KEYWORDS
                free = _joined(value for keyword, vr, value in written if vr != "CS" and keyword not in coded)
                found = _stands_in(needle, free)
            else:
                found = _stands_in(needle, _joined(value for _, _, value in written) + b"\x00" + row)
                found = found or _stands_in(needle, _joined(_squeezed(value) for _, _, value in written))
                found = found or (not any(needle in value for value in retained) and _stands_in(needle, lowered))
            if found:
                hits[identifier.keyword] += 1
                break
    return hits


def _written(header: bytes) -> list[tuple[str, str, bytes]]:
    """Keyword, VR and value of everything that stands in a file that we wrote."""
    source = scan(header)
    if source is None:
        raise ValueError("a file of ours is not as the standard says")
    return list(_flat(source.elements))


def _flat(elements: Elements) -> Iterator[tuple[str, str, bytes]]:
    for tag, element in elements.items():
        try:
            vr, _, _, _, keyword = get_entry(tag)
        except KeyError:
            vr, keyword = element.vr or "UN", ""
        if vr == "SQ" or element.vr == "SQ":
            for item in items_of(element):
                yield from _flat(item)
        else:
            yield keyword, element.vr or vr, element.raw


def across_files(identifiers: Iterable[Identifier]) -> dict[str, str]:
    """What of a file's identifiers is searched in the patient's other files: text → keyword. Descriptive values and
    short ones are only compared within their own file.
    """
    return {
        identifier.text: identifier.keyword
        for identifier in identifiers
        if identifier.sensitivity is Sensitivity.IDENTIFYING and identifier.needles
    }


def search_kept(kept: Iterable[Kept], known: Mapping[str, str]) -> dict[Kept, set[str]]:
    """Which values taken over hold an identifier of the same patient (`across_files` of all their files): kept value →
    keywords of the identifiers. Cost grows with the text, not with the product.
    """
    single = {text: keyword for text, keyword in known.items() if _NUMERIC_TOKEN.fullmatch(text)}
    several = [(text, keyword) for text, keyword in known.items() if text not in single]
    hits: dict[Kept, set[str]] = {}
    for value in kept:
        lowered = value.text.lower() if value.text.isascii() else unicodedata.normalize("NFKC", value.text).lower()
        words = {single[token] for token in _NUMERIC_TOKEN.findall(lowered) if token in single}
        if not lowered.replace(".", "").replace("\\", "").replace("-", "").isdigit():
            encoded = lowered.encode()
            words |= {keyword for text, keyword in several if _stands_in(text.encode(), encoded)}
        if words:
            hits[value] = words
    return hits


def is_worth_comparing(value: Kept) -> bool:
    """Whether a value that was taken over could be an identifier of another file: measured numbers, such as positions,
    are not. (Within its own file every value is searched.)
    """
    return not _MEASURED.fullmatch(value.text)


def search_compressed(pixels: bytes | memoryview, identifiers: Iterable[Identifier]) -> Counter[str]:
    """Identifiers that stand in compressed pixel data, whose formats have room for comments: keyword → number."""
    lowered = bytes(pixels).lower()
    forms = {
        (form, identifier)
        for identifier in identifiers
        for form in identifier.needles
        if identifier.sensitivity is Sensitivity.IDENTIFYING and len(form) >= MINIMUM_LENGTH
    }
    found: set[Identifier] = set()
    absent: list[bytes] = []
    for form, identifier in sorted(forms, key=lambda each: len(each[0])):
        if any(part in form for part in absent):  # most of the cost: a name is not there whose part is not
            continue
        if form not in lowered:
            absent.append(form)
        elif _stands_in(form, lowered):
            found.add(identifier)
    return Counter(identifier.keyword for identifier in found)


def in_free_text(kept: Iterable[Kept], identifiers: Iterable[Identifier]) -> Counter[str]:
    """Identifiers in text that was taken over, where they are harder to see: a short one as a whole value, a long one
    with figures next to its letters or letters next to its figures (MRN0012345).
    """
    values = {part.strip() for value in kept for part in value.text.lower().split("\\")}
    text = _joined(value.encode() for value in sorted(values))
    hits: Counter[str] = Counter()
    for identifier in identifiers:
        if identifier.sensitivity is not Sensitivity.IDENTIFYING:
            continue
        if not identifier.needles:
            found = identifier.text in values
        else:
            found = any(needle in text and _stands_in(needle, text, glued=True) for needle in identifier.needles)
        if found:
            hits[identifier.keyword] += 1
    return hits


def dates_in_text(replaced: Iterable[Replaced], kept: Iterable[Kept]) -> Counter[str]:
    """Dates that were replaced and stand, as people write them, in text that was taken over: keyword → number."""
    text = "\x00".join([value.text for value in kept])
    written = set(dates_written_in(text)) if _DIGITS.search(text) else set()
    if not written:
        return Counter()
    hits: Counter[str] = Counter()
    for item in replaced:
        date = _DATE.match(item.before.strip(b" \x00"))
        if date is not None and tuple(int(part) for part in date.groups()) in written:
            hits[item.keyword] += 1
    return hits


def unchanged(replaced: Iterable[Replaced]) -> Counter[str]:
    """Dates and short values that came out as they went in: attribute keyword → count."""
    padding = b" \x00"
    pairs = ((r.keyword, r.before.strip(padding), r.after.strip(padding)) for r in replaced)
    return Counter(keyword for keyword, before, after in pairs if before and before == after)


def _forms(text: str, encoded: bytes) -> tuple[bytes, ...]:
    """The bytes that a value may have: as it was `encoded`, and in the usual character sets."""
    if text.isascii():
        return (text.encode(),)
    forms = [text.encode(), unicodedata.normalize("NFD", text).encode(), *([encoded] if encoded else [])]
    written = dict.fromkeys((text, text.upper(), text.title()))  # bytes in lower case: of ASCII letters alone
    forms += [case.encode(codec, "ignore").lower() for case in written for codec in _CODECS]
    return tuple(form for form in dict.fromkeys(forms) if len(form) >= MINIMUM_BYTES_BEYOND_ASCII)


def _joined(values: Iterable[bytes]) -> bytes:
    return b"\x00".join(values).lower()


def _stands_in(needle: bytes, text: bytes, *, glued: bool = False) -> bool:
    """Whether the needle occurs with no letter or digit next to it; a point next to a digit continues a number. With
    `glued` a letter may stand next to a figure and a figure next to a letter.
    """
    start = text.find(needle)
    while start >= 0:
        end = start + len(needle)
        before, after = text[max(start - 2, 0) : start], text[end : end + 2]
        if not _continues(needle[:1], before[-1:], before[:-1], glued) and not _continues(
            needle[-1:], after[:1], after[1:], glued
        ):
            return True
        start = text.find(needle, start + 1)
    return False


def _continues(edge: bytes, neighbour: bytes, beyond: bytes, glued: bool) -> bool:
    if edge.isalnum() and neighbour.isalnum():
        return not glued or edge.isdigit() == neighbour.isdigit()
    return edge.isdigit() and neighbour == b"." and beyond.isdigit()


def _squeezed(text: bytes) -> bytes:
    return text.replace(b"\x00", b"")
