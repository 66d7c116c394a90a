"""One element in, its replacement out: the profile's actions carried out on encoded values.

The treatment of an element depends on its tag, VR and bytes and on nothing else in the file but its *place* (whose
file, which kind of object, in which sequence, in which character set). Slices of a series say the same thing many times
over, so a place remembers what it has treated. Which action it is: `profile.py`; new values: `values.py`.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from medillus_pipeline.deidentification import values
from medillus_pipeline.deidentification.bulk import ICC_PROFILE, is_sound
from medillus_pipeline.deidentification.graphics import cleaned_overlay
from medillus_pipeline.deidentification.icc import without_texts
from medillus_pipeline.deidentification.identities import encodings_in
from medillus_pipeline.deidentification.options import Option
from medillus_pipeline.deidentification.outside_table import CODE_TEXT, CODING_SCHEMES
from medillus_pipeline.deidentification.policy import Policy
from medillus_pipeline.deidentification.private import SafePrivateList
from medillus_pipeline.deidentification.profile import Action, Profile, Rule, Sensitivity
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.deidentification.residual import (
    FREE_VRS,
    MINIMUM_LENGTH,
    Identifier,
    Kept,
    Replaced,
    identifiers_of,
)
from medillus_pipeline.deidentification.structured import identifies_somebody
from medillus_pipeline.deidentification.terms import Terms
from medillus_pipeline.dicom.encoded import MAXIMUM_DEPTH, Element, Elements, items_of, text_in
from medillus_pipeline.dicom.encoding import STRING_VRS, Encoder
from medillus_pipeline.dicom.outcomes import Quarantine, Reason

_CODING_SCHEME, _SCHEME_VERSION, _CONTENT_SEQUENCE = 0x00080102, 0x00080103, 0x0040A730
_ELEMENT_WISE = frozenset(["DA", "DT", "AS"])
_DATES = frozenset(["DA", "DT"])
LOCAL_SCHEME = b"99REMOVED"
"""Designator of all codes of sites' own schemes, whose names tell the site (PS3.16 8.2 reserves 99… for them)."""
_LONGEST_IDENTIFIER = 10240
_REMEMBERED_BYTES = 1024
_REMEMBERED = 16
"""Different values of an attribute: one that has more, such as a position, will hardly meet them again."""


class Treatment(NamedTuple):
    """The encoded new element (empty where it goes), and what the residual search needs to know about it."""

    encoded: bytes
    kept: tuple[Kept, ...] = ()
    replaced: tuple[Replaced, ...] = ()
    identifiers: tuple[Identifier, ...] = ()
    retained: tuple[bytes, ...] = ()
    """Values that stay because an option says so: the search for identifiers leaves them out."""


GONE = Treatment(b"")


class Person(NamedTuple):
    """Whose file it is. `words` are the parts of their names and ids in lower case: cleaned text loses them."""

    patient_id: str
    patient: str
    days: int
    words: frozenset[str]


class Rulebook:
    """A policy and a key, made ready for use."""

    def __init__(self, policy: Policy, pseudonymiser: Pseudonymiser, uid: values.MapUID) -> None:
        self.policy = policy
        self.pseudonymiser = pseudonymiser
        self.uid = uid
        self.profile = Profile(policy.options)
        self.terms = Terms(policy.terms)
        keeps_private = Option.RETAIN_SAFE_PRIVATE in policy.options
        self.safe_private = SafePrivateList(policy.safe_private) if keeps_private else None
        self.cleans_structure = Option.CLEAN_STRUCTURED_CONTENT in policy.options


class Place:
    """A data set at one place of one kind of file of one patient. `dummy` says that every value in it is replaced,
    `local_code` that it is a code of a site's own scheme, `retained` that an option keeps the sequence around it.
    """

    def __init__(
        self,
        book: Rulebook,
        person: Person,
        encoder: Encoder,
        sop_class_uid: str,
        *,
        encodings: tuple[str, ...],
        path: tuple[str, ...] = (),
        dummy: bool = False,
        local_code: bool = False,
        retained: bool = False,
    ) -> None:
        self.book, self.person, self.encoder, self.sop_class_uid = book, person, encoder, sop_class_uid
        self.encodings, self.path, self.dummy, self.local_code = encodings, path, dummy, local_code
        self.retained = retained
        self.rules = book.profile.rules(sop_class_uid, path)
        self._treated: dict[int, dict[tuple[str | None, bytes], Treatment]] = {}
        self._inner: dict[tuple[str, tuple[str, ...], bool, bool, bool], Place] = {}

    def data_set(self, elements: Elements, fixed: dict[int, bytes], left: frozenset[int] = frozenset()) -> Treatment:
        """All elements of a (nested) data set; those of `fixed` are given encoded, those of `left` are not written."""
        written = dict(fixed)
        treatments = []
        rules = self.rules
        for tag, element in elements.items():
            if tag in left:
                continue
            if tag >> 16 & 1 or rules[tag].by_neighbours:
                treatment = self._by_neighbours(tag, element, elements, written)
            else:
                treatment = self.element(tag, element)
            treatments.append(treatment)
            if treatment.encoded and tag not in fixed:
                written[tag] = treatment.encoded
        return _joined(b"".join([written[tag] for tag in sorted(written)]), treatments)

    def element(self, tag: int, element: Element) -> Treatment:
        """One element that is neither private nor an overlay."""
        value = element.value
        if not isinstance(value, bytes) or len(value) > _REMEMBERED_BYTES:
            return self._treat(tag, element)
        known = self._treated.get(tag)
        if known is None:
            known = self._treated[tag] = {}
        key = (element.vr, value)
        found = known.get(key)
        if found is None:
            found = self._treat(tag, element)
            if len(known) < _REMEMBERED:
                known[key] = found
        return found

    def _treat(self, tag: int, element: Element) -> Treatment:
        rule = self.rules[tag]
        if not rule.keyword:
            return GONE
        if rule.vr == "SQ":
            return self._sequence(tag, rule, element)
        identifiers = self._identifiers(rule, element)
        action = rule.action
        replace = self.dummy or (self.local_code and tag in CODE_TEXT)
        if replace and action in (Action.KEEP, Action.CLEAN, Action.EMPTY):
            action = Action.DUMMY
        vr = self._vr(rule, element)
        if action is Action.REMOVE or vr is None or element.vr == "SQ" or isinstance(element.value, list):
            gone = (Replaced(rule.keyword, element.raw, b""),) if rule.vr in _DATES else ()
            return Treatment(b"", replaced=gone, identifiers=identifiers)
        before = element.raw
        if (self.local_code or self.dummy) and tag == _CODING_SCHEME:
            after: bytes | None = LOCAL_SCHEME
        elif (self.local_code or self.dummy) and tag == _SCHEME_VERSION:
            after = None
        else:
            after = self._value(rule, vr, action, before)
        if after is None:
            return Treatment(b"", identifiers=identifiers)
        if action is Action.CLEAN and after.strip(b" \x00") == before.strip(b" \x00"):
            identifiers = ()
        try:
            encoded = self.encoder.element(tag, vr, after)
        except ValueError:
            return Treatment(b"", identifiers=identifiers)
        if action is Action.KEEP and (rule.retained or self.retained):
            return Treatment(encoded, identifiers=identifiers, retained=(after.strip(b" \x00").lower(),))
        taken_over = action in (Action.KEEP, Action.CLEAN) and vr in STRING_VRS
        free = vr in FREE_VRS
        searched = taken_over and (len(after) >= (2 if free else MINIMUM_LENGTH) or not after.isascii())
        kept = (Kept(rule.keyword, values.decoded(after, self.encodings), free),) if searched else ()
        compared = action not in (Action.KEEP, Action.CLEAN, Action.DUMMY) and vr in _ELEMENT_WISE
        replaced = (Replaced(rule.keyword, before, after),) if compared else ()
        return Treatment(encoded, kept, replaced, identifiers)

    def _value(self, rule: Rule, vr: str, action: Action, before: bytes) -> bytes | None:
        """The new value; None where the element goes."""
        if action is Action.KEEP:
            return self._taken_over(rule, vr, before) if before else before
        if action is Action.EMPTY or not (before.strip(b" \x00") if vr in STRING_VRS else before):
            return b""
        if action is Action.CLEAN:
            return self._cleaned(rule, vr, before)
        if action is Action.UID:
            return values.mapped_uids(before, self.book.uid)
        if action is Action.SHIFT:
            moved = values.shifted(vr, before, self.person.days)
            return moved if moved is not None else b"" if rule.fallback is Action.EMPTY else None
        if action is Action.PATIENT:
            return self.person.patient.encode()
        if action is Action.ACCESSION:
            return self.book.pseudonymiser.accession(values.decoded(before, self.encodings)).encode()
        return values.dummy(vr)

    def _taken_over(self, rule: Rule, vr: str, before: bytes) -> bytes | None:
        """The value as it is, where it is one that the VR allows; None where it is not."""
        if rule.keyword == "SpecificCharacterSet":
            return values.character_set(before) or None
        if vr == "CS" and not before.isupper():  # as some devices write known words
            parts = before.decode("ascii", "replace").split("\\")
            known = (part.upper() if self.book.terms.cleaned(part) == part.strip() else part for part in parts)
            before = "\\".join(known).encode("ascii", "replace")
        said = before.decode("ascii", "replace").lower().replace("\\", " ") if vr == "CS" else ""
        if said and not self.person.words.isdisjoint(said.split()):
            parts = before.split(b"\\")
            before = b"\\".join(b"" if self._is_a_short_name(part) else part for part in parts)
        return values.acceptable(vr, before, self.encodings, rule.most)

    def _is_a_short_name(self, code: bytes) -> bool:
        """Whether a code is a part of the patient's name that the residual search does not look for, and no term."""
        word = code.decode("ascii", "replace").strip().lower()
        short = 3 <= len(word) < MINIMUM_LENGTH and word.isalpha()
        return short and word in self.person.words and not self.book.terms.cleaned(f"thorax {word}")[len("thorax ") :]

    def _cleaned(self, rule: Rule, vr: str, before: bytes) -> bytes | None:
        """Free text without what is in no list of terms, and without the patient's own names."""
        cleaned = []
        for part in values.decoded(before, self.encodings).split("\\"):
            words = self.book.terms.cleaned(part).split(" ")
            cleaned.append(" ".join(word for word in words if word.lower() not in self.person.words))
        text = "\\".join(cleaned)
        if text.strip("\\ "):
            encoded = values.encoded(text, self.encodings)
            if encoded is not None and (vr != "CS" or values.acceptable(vr, encoded, self.encodings) == encoded):
                return encoded
        return self._value(rule, vr, rule.fallback, before) if rule.fallback is not Action.REMOVE else None

    def _vr(self, rule: Rule, element: Element) -> str | None:
        """The VR to write under, or None where the file's contradicts the dictionary beyond repair."""
        found = element.vr
        if found is None or found in rule.vrs:
            return found or rule.vr
        if found in STRING_VRS and rule.vr in STRING_VRS:
            return rule.vr
        # UN holds what implicit little endian would (PS3.5 6.2.2); only text reads the same in big endian.
        return rule.vr if found == "UN" and (self.encoder.little or rule.vr in STRING_VRS) else None

    def _sequence(self, tag: int, rule: Rule, element: Element) -> Treatment:
        action = rule.action
        if self.dummy and action is Action.EMPTY:
            action = Action.DUMMY
        items = _items(element)
        if action in (Action.REMOVE, Action.EMPTY) or items is None:
            searched = rule.sensitivity is not Sensitivity.NONE
            identifiers = self._identifiers_within(items or (), len(self.path)) if searched else ()
            empty = self.encoder.sequence(tag, ()) if action is Action.EMPTY else b""
            return Treatment(empty, identifiers=tuple(identifiers))
        if len(self.path) >= MAXIMUM_DEPTH:
            raise Quarantine(Reason.UNREADABLE)
        dropped: list[Identifier] = []
        if tag == _CONTENT_SEQUENCE and self.book.cleans_structure:
            about = [item for item in items if identifies_somebody(item)]
            dropped = self._identifiers_within(about, len(self.path))
            items = [item for item in items if not any(item is other for other in about)]
        dummy = action is Action.DUMMY
        retained = self.retained or rule.retained
        inner = [self._place_of(item, rule.keyword, dummy, retained).data_set(item, {}) for item in items]
        joined = _joined(self.encoder.sequence(tag, [item.encoded for item in inner]), inner)
        return joined._replace(identifiers=(*joined.identifiers, *dropped)) if dropped else joined

    def _place_of(self, item: Elements, keyword: str, dummy: bool = False, retained: bool = False) -> "Place":
        """The place of an item of the sequence `keyword` of this data set. The codes of a sequence that an option
        retains stay, whoever made them.
        """
        encodings = encodings_in(item, self.encodings)
        local = not retained and text_in(item, _CODING_SCHEME) not in CODING_SCHEMES
        key = (keyword, encodings, dummy, local, retained)
        found = self._inner.get(key)
        if found is None:
            found = self._inner[key] = Place(
                self.book,
                self.person,
                self.encoder,
                self.sop_class_uid,
                encodings=encodings,
                path=(*self.path, keyword),
                dummy=dummy,
                local_code=local,
                retained=retained,
            )
        return found

    def _by_neighbours(self, tag: int, element: Element, around: Elements, written: dict[int, bytes]) -> Treatment:
        """What can only be judged by other elements of its data set: private, overlays, binary values."""
        if tag >> 16 & 1:
            safe = self.book.safe_private
            return GONE if safe is None else self._private(safe, tag, element, around, written)
        if self.rules[tag].action is Action.GRAPHICS:
            cleaned = cleaned_overlay(tag >> 16, around)
            return GONE if cleaned is None else Treatment(self.encoder.element(tag, "OW", cleaned))
        sound = self.rules[tag].retained or is_sound(tag, element, around)
        if not sound or (self.path and tag >> 16 == 0x7FE0):
            return GONE
        profile = without_texts(element.raw) if tag == ICC_PROFILE else None
        return self._treat(tag, element if profile is None else element._replace(value=profile))

    def _private(
        self, safe: SafePrivateList, tag: int, element: Element, around: Elements, written: dict[int, bytes]
    ) -> Treatment:
        """A private element that the list names, with the element that reserves its block (PS3.5 7.8.1)."""
        block = tag >> 8 & 0xFF
        reserved = tag & 0xFFFF0000 | block
        creator = around.get(reserved)
        if block < 0x10 or creator is None:
            return GONE
        name = values.decoded(creator.raw, self.encodings)
        vr = safe.vr_of(name, tag >> 16, tag & 0xFF)
        if vr is None or element.vr not in (None, "UN", vr):
            return GONE
        treatment = self._safe_private(tag, vr, element)
        if treatment.encoded:
            written[reserved] = self.encoder.element(reserved, "LO", name.encode("ascii", "replace"))
        return treatment

    def _safe_private(self, tag: int, vr: str, element: Element) -> Treatment:
        if vr == "SQ":
            items = _items(element)
            if items is None or len(self.path) >= MAXIMUM_DEPTH:
                return GONE
            inner = [self._place_of(item, "").data_set(item, {}) for item in items]
            return _joined(self.encoder.sequence(tag, [item.encoded for item in inner]), inner)
        if isinstance(element.value, list):
            return GONE
        action = Action.UID if vr == "UI" else Action.SHIFT if vr in ("DA", "DT") else Action.KEEP
        if action is Action.SHIFT and self.book.profile.temporal_information != "MODIFIED":
            action = Action.KEEP if self.book.profile.temporal_information == "UNMODIFIED" else Action.REMOVE
        if self.dummy or action is Action.REMOVE:
            return GONE
        rule = Rule("", vr, (vr,), action, Action.REMOVE, Sensitivity.NONE)
        after = self._value(rule, vr, action, element.raw)
        if after is None:
            return GONE
        text = vr in STRING_VRS and action is Action.KEEP and (len(after) >= MINIMUM_LENGTH or not after.isascii())
        kept = (Kept("a private element", values.decoded(after, self.encodings)),) if text else ()
        return Treatment(self.encoder.element(tag, vr, after), kept)

    def _identifiers(self, rule: Rule, element: Element) -> tuple[Identifier, ...]:
        """The identifying values of an element that goes, for the residual search."""
        if rule.sensitivity is Sensitivity.NONE or isinstance(element.value, list) or element.vr == "SQ":
            return ()
        raw = element.raw
        if not raw or len(raw) > _LONGEST_IDENTIFIER:
            return ()
        text = values.decoded(raw, self.encodings)
        if rule.vr == "UI":
            registered = set(values.mapped_uids(raw, lambda _: "").decode().split("\\"))
            text = "\\".join(uid for uid in text.split("\\") if uid.strip(" \x00") not in registered)
        return tuple(identifiers_of(rule.keyword, rule.vr, text, rule.sensitivity, raw))

    def _identifiers_within(self, items: Iterable[Elements], depth: int) -> list[Identifier]:
        """The identifying values of sequence items that go."""
        if depth >= MAXIMUM_DEPTH:
            raise Quarantine(Reason.UNREADABLE)
        found: list[Identifier] = []
        for item in items:
            place = self._place_of(item, "")
            for tag, element in item.items():
                rule = place.rules[tag]
                if rule.vr == "SQ" and rule.keyword:
                    found += place._identifiers_within(_items(element) or (), depth + 1)
                else:
                    found += place._identifiers(rule, element)
        return found


def _items(element: Element) -> list[Elements] | None:
    """The items of a sequence; None where the element's own VR says that it is none."""
    if element.vr not in (None, "SQ", "UN") or (element.vr == "UN" and not element.little):
        return None
    try:
        return items_of(element)
    except ValueError:
        raise Quarantine(Reason.UNREADABLE) from None


def _joined(encoded: bytes, treatments: Sequence[Treatment]) -> Treatment:
    return Treatment(
        encoded,
        tuple([kept for treatment in treatments for kept in treatment.kept]),
        tuple([replaced for treatment in treatments for replaced in treatment.replaced]),
        tuple([identifier for treatment in treatments for identifier in treatment.identifiers]),
        tuple([value for treatment in treatments for value in treatment.retained]),
    )
