"""One DICOM file in, one de-identified file out: PS3.15 Basic Profile carried out on the encoded elements.

Elements that are kept are written as they were read, never decoded; that is what makes it fast. Which attribute gets
which treatment is not here (`profile.py`), nor what replaces a value (`values.py`), nor which files are images at all
(`admission.py`).

Who and which instance it is, also where the file does not say, is decided in `identities.py`.
"""

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian
from pydicom.values import convert_SQ

from medillus_pipeline import __version__
from medillus_pipeline.dicom import values
from medillus_pipeline.dicom.admission import Admitted, admit, bytes_of, text_of
from medillus_pipeline.dicom.encoding import STRING_VRS, Encoder, file_meta
from medillus_pipeline.dicom.identities import SERIES, SOP_INSTANCE, STUDY, encodings_in, identity_of, uid_mapper
from medillus_pipeline.dicom.outcomes import Quarantine, Reason
from medillus_pipeline.dicom.profile import CODE_TEXT, CODING_SCHEMES, EDITION, Action, Profile, Rule, Sensitivity
from medillus_pipeline.dicom.pseudonyms import Pseudonymiser
from medillus_pipeline.dicom.reading import parse, silenced
from medillus_pipeline.dicom.residual import MINIMUM_LENGTH, Identifier, Kept, Replaced, identifiers_of

MAXIMUM_DEPTH = 32
_SOP_CLASS, _FRAME_OF_REFERENCE, _PATIENT_NAME, _PATIENT_ID = 0x00080016, 0x00200052, 0x00100010, 0x00100020
_CODING_SCHEME = 0x00080102
_ELEMENT_WISE = frozenset(["DA", "DT", "AS"])


@dataclass
class Deidentified:
    """A de-identified file and what is needed to prove it clean.

    `row` has the columns of INSTANCES but path, sha256 and bytes. `header` is the part of `data` before the pixel
    data, `elements` what stands in it as (keyword, VR, value). `identifiers` and `replaced` are **identified**: they
    are for the residual search and never leave the restricted side.
    """

    data: bytes
    row: dict[str, Any]
    header: bytes
    elements: list[tuple[str, str, bytes]] = field(repr=False)
    identifiers: list[Identifier] = field(repr=False)
    kept: list[Kept] = field(repr=False)
    replaced: list[Replaced] = field(repr=False)


@lru_cache(maxsize=1)
def default_profile() -> Profile:
    """The Basic Profile with modified dates, made once per process."""
    return Profile()


def deidentify(
    data: bytes, pseudonymiser: Pseudonymiser, *, location: str = "", profile: Profile | None = None
) -> Deidentified:
    """De-identify the bytes of one DICOM file.

    `location` is the folder that the file came from; it only enters keyed hashes. The same bytes, location and key
    give the same result everywhere. Raises Quarantine where the file is no image, cannot be read, or must not pass.
    """
    with silenced():
        dataset = parse(data)
        admitted = admit(dataset)
        return _Work(dataset, data, admitted, pseudonymiser, location, profile or default_profile()).result()


class _Work:
    """The state of one file on its way through."""

    def __init__(
        self,
        dataset: Dataset,
        data: bytes,
        admitted: Admitted,
        pseudonymiser: Pseudonymiser,
        location: str,
        profile: Profile,
    ) -> None:
        self.dataset = dataset
        self.admitted = admitted
        self.pseudonymiser = pseudonymiser
        self.profile = profile
        self.elements: list[tuple[str, str, bytes]] = []
        self.identifiers: dict[tuple[str, str], Identifier] = {}
        self.kept: list[Kept] = []
        self.replaced: list[Replaced] = []
        syntax = admitted.transfer_syntax_uid
        self.encoder = Encoder(implicit=syntax == ImplicitVRLittleEndian, little=syntax != ExplicitVRBigEndian)
        self.identity = identity_of(dataset, data, pseudonymiser, location)
        self.uid = uid_mapper(pseudonymiser)

    def result(self) -> Deidentified:
        """Write the file."""
        body = self._dataset(self.dataset, encodings_in(self.dataset, ["iso8859"]), self._fixed(), depth=0)
        admitted, encoder = self.admitted, self.encoder
        header = (
            file_meta(admitted.sop_class_uid, self.identity.uids[SOP_INSTANCE], admitted.transfer_syntax_uid) + body
        )
        if admitted.encapsulated:
            pixels = encoder.fragments(admitted.pixel_tag, admitted.pixels)
        else:
            native = self.dataset.get_item(admitted.pixel_tag)
            vr = native.VR if native is not None and native.VR in ("OB", "OW", "OF", "OD") else "OW"
            pixels = encoder.element(admitted.pixel_tag, vr, admitted.pixels)
        return Deidentified(
            data=header + pixels,
            row=self._row(),
            header=header,
            elements=self.elements,
            identifiers=list(self.identifiers.values()),
            kept=self.kept,
            replaced=self.replaced,
        )

    def _row(self) -> dict[str, Any]:
        admitted = self.admitted
        part = next((value for keyword, _, value in self.elements if keyword == "BodyPartExamined"), b"")
        reference = text_of(self.dataset, _FRAME_OF_REFERENCE)
        mapped = values.mapped_uids(reference.encode(), self.uid).decode() if reference else None
        return {
            "sop_instance_uid": self.identity.uids[SOP_INSTANCE],
            "sop_class_uid": admitted.sop_class_uid,
            "series_instance_uid": self.identity.uids[SERIES],
            "study_instance_uid": self.identity.uids[STUDY],
            "frame_of_reference_uid": mapped,
            "patient": self.identity.patient,
            "split_token": self.pseudonymiser.split_token(self.identity.patient_id),
            "modality": admitted.modality,
            "body_part": part.decode("ascii", "replace").strip(" \x00").upper() or None,
            "rows": admitted.rows,
            "columns": admitted.columns,
            "frames": admitted.frames,
            "transfer_syntax_uid": admitted.transfer_syntax_uid,
            "pixel_sha256": hashlib.sha256(admitted.pixels).hexdigest(),
        }

    def _fixed(self) -> dict[int, bytes]:
        """Root elements that are written whatever the source says, already encoded."""
        encode = self.encoder.element
        options = "\\".join(meaning[:64] for _, meaning in self.profile.codes)
        method = f"DICOM PS3.15 {EDITION}\\{options}\\medillus_pipeline {__version__}"
        codes = [
            encode(0x00080100, "SH", value.encode())
            + encode(0x00080102, "SH", b"DCM")
            + encode(0x00080104, "LO", meaning[:64].encode())
            for value, meaning in self.profile.codes
        ]
        fixed = {
            _PATIENT_NAME: encode(_PATIENT_NAME, "PN", self.identity.patient.encode()),
            _PATIENT_ID: encode(_PATIENT_ID, "LO", self.identity.patient.encode()),
            _SOP_CLASS: encode(_SOP_CLASS, "UI", self.admitted.sop_class_uid.encode()),
            0x00080060: encode(0x00080060, "CS", self.admitted.modality.encode()),
            0x00120062: encode(0x00120062, "CS", b"YES"),
            0x00120063: encode(0x00120063, "LO", method.encode()),
            0x00120064: self.encoder.sequence(0x00120064, codes),
            0x00280303: encode(0x00280303, "CS", b"MODIFIED"),
        }
        return fixed | {tag: encode(tag, "UI", uid.encode()) for tag, uid in self.identity.uids.items()}

    def _dataset(
        self, dataset: Dataset, encodings: list[str], fixed: dict[int, bytes], *, depth: int, dummy: bool = False
    ) -> bytes:
        """The elements of one (nested) data set, treated and encoded, without its pixel data."""
        if depth > MAXIMUM_DEPTH:
            raise Quarantine(Reason.UNREADABLE)
        if depth:
            encodings = encodings_in(dataset, encodings)
        written = dict(fixed)
        local_code = depth > 0 and text_of(dataset, _CODING_SCHEME) not in CODING_SCHEMES
        for tag, element in dataset.items():
            number = int(tag)
            rule = self.profile.rule(number)
            if depth == 0 and number in (0x7FE00008, 0x7FE00009, 0x7FE00010):
                continue
            if rule.sensitivity is not Sensitivity.NONE:
                self._remember(rule, element, encodings, depth)
            if number in fixed or not rule.keyword:
                continue
            replace = dummy or (local_code and number in CODE_TEXT)
            encoded = self._element(number, rule, element, encodings, depth, replace)
            if encoded is not None:
                written[number] = encoded
        return b"".join(written[number] for number in sorted(written))

    def _element(
        self,
        tag: int,
        rule: Rule,
        element: RawDataElement | DataElement,
        encodings: list[str],
        depth: int,
        dummy: bool,
    ) -> bytes | None:
        action = Action.DUMMY if dummy and rule.action in (Action.KEEP, Action.EMPTY) else rule.action
        if action is Action.REMOVE:
            return None
        if rule.vr == "SQ":
            if action is Action.EMPTY:
                return self.encoder.sequence(tag, ())
            items = self._items(element, encodings)
            if items is None:
                return None
            dummies = action is Action.DUMMY
            return self.encoder.sequence(
                tag, [self._dataset(item, encodings, {}, depth=depth + 1, dummy=dummies) for item in items]
            )
        vr = self._vr(rule, element)
        if vr is None or element.VR == "SQ":
            return None
        before = bytes_of(element)
        after = self._value(rule, vr, action, before, encodings)
        if after is None:
            return None
        if action is Action.KEEP and vr in STRING_VRS and (len(after) >= MINIMUM_LENGTH or not after.isascii()):
            self.kept.append(Kept(rule.keyword, values.decoded(after, encodings)))
        if action is not Action.KEEP and vr in _ELEMENT_WISE and action is not Action.DUMMY:
            self.replaced.append(Replaced(rule.keyword, before, after))
        self.elements.append((rule.keyword, vr, after))
        try:
            return self.encoder.element(tag, vr, after)
        except ValueError:
            return None

    def _value(self, rule: Rule, vr: str, action: Action, before: bytes, encodings: list[str]) -> bytes | None:
        """The new value; None where the element goes."""
        if action is Action.KEEP:
            return values.acceptable(vr, before, encodings) if before else before
        if action is Action.EMPTY or not before.strip(b" \x00"):
            return b""
        if action is Action.UID:
            return values.mapped_uids(before, self.uid)
        if action is Action.SHIFT:
            moved = values.shifted(vr, before, self.identity.days)
            return moved if moved is not None else b"" if rule.fallback is Action.EMPTY else None
        if action is Action.PATIENT:
            return self.identity.patient.encode()
        if action is Action.ACCESSION:
            return self.pseudonymiser.accession(values.decoded(before, encodings)).encode()
        return values.dummy(vr)

    def _vr(self, rule: Rule, element: RawDataElement | DataElement) -> str | None:
        """The VR to write under, or None where the file's contradicts the dictionary beyond repair."""
        found = element.VR
        if found is None or found in rule.vrs:
            return found or rule.vr
        if found in STRING_VRS and rule.vr in STRING_VRS:
            return rule.vr
        # UN holds what implicit little endian would (PS3.5 6.2.2); only text reads the same in big endian.
        return rule.vr if found == "UN" and (self.encoder.little or rule.vr in STRING_VRS) else None

    def _items(self, element: RawDataElement | DataElement, encodings: list[str]) -> list[Dataset] | None:
        """The items of a sequence however it is encoded; None where it is none."""
        if isinstance(element, DataElement):
            return list(element.value) if element.VR == "SQ" else None
        implicit = element.is_implicit_VR or element.VR == "UN"  # PS3.5 6.2.2 note 2
        if element.VR not in (None, "SQ", "UN") or (element.VR == "UN" and not self.encoder.little):
            return None
        try:
            return list(convert_SQ(element.value or b"", implicit, element.is_little_endian, encodings))
        except Exception:  # noqa: BLE001 - pydicom raises whatever the bytes make it stumble over, quoting them
            raise Quarantine(Reason.UNREADABLE) from None

    def _remember(self, rule: Rule, element: RawDataElement | DataElement, encodings: list[str], depth: int) -> None:
        """Note the identifying values of an element that goes, for the residual search."""
        if depth > MAXIMUM_DEPTH:
            raise Quarantine(Reason.UNREADABLE)
        if rule.vr == "SQ":
            if rule.action in (Action.REMOVE, Action.EMPTY):
                for item in self._items(element, encodings) or ():
                    inner = encodings_in(item, encodings)
                    for tag, nested in item.items():
                        nested_rule = self.profile.rule(int(tag))
                        if nested_rule.sensitivity is not Sensitivity.NONE:
                            self._remember(nested_rule, nested, inner, depth + 1)
            return
        if not isinstance(element, RawDataElement) or not element.value or element.VR in ("SQ", "OB", "OW"):
            return
        text = values.decoded(element.value, encodings)
        if rule.vr == "UI":
            kept = values.mapped_uids(element.value, lambda _: "").decode().split("\\")
            text = "\\".join(uid for uid in text.split("\\") if uid.strip(" \x00") not in kept)
        for found in identifiers_of(rule.keyword, rule.vr, text, rule.sensitivity, element.value):
            self.identifiers.setdefault((found.text, found.sensitivity), found)
