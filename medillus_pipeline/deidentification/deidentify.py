"""One DICOM file in, one de-identified file out: PS3.15 Basic Profile with the options of a policy.

Elements that are kept are written as they were read, never decoded, and pixels are never copied; that is what makes it
fast. Which attribute gets which treatment is not here (`profile.py`), nor how it is carried out (`treatment.py`), nor
which files are images at all (`admission.py`), nor whose they are (`identities.py`).
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import xxhash
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from medillus_pipeline import __version__
from medillus_pipeline.deidentification import values
from medillus_pipeline.deidentification.admission import Admitted, admit
from medillus_pipeline.deidentification.documents import replacement
from medillus_pipeline.deidentification.heads import may_show_face
from medillus_pipeline.deidentification.identities import (
    SERIES,
    SOP_INSTANCE,
    STUDY,
    Identity,
    encodings_in,
    identity_of,
    kept_or,
    split_token,
    uid_mapper,
)
from medillus_pipeline.deidentification.options import Option
from medillus_pipeline.deidentification.policy import Policy
from medillus_pipeline.deidentification.profile import EDITION
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.deidentification.residual import Identifier, Kept, Replaced
from medillus_pipeline.deidentification.treatment import Person, Place, Rulebook
from medillus_pipeline.dicom.encoded import EncodedDataSet, scan
from medillus_pipeline.dicom.encoding import Encoder, file_meta
from medillus_pipeline.dicom.face import Face
from medillus_pipeline.dicom.outcomes import Quarantine, Reason
from medillus_pipeline.dicom.reading import read_encoded, silenced

_SOP_CLASS, _FRAME_OF_REFERENCE, _PATIENT_NAME, _PATIENT_ID = 0x00080016, 0x00200052, 0x00100010, 0x00100020
_NAMES = (_PATIENT_NAME, _PATIENT_ID, 0x00101000, 0x00101001, 0x00101005, 0x00101060, 0x00102297)
"""Also other ids and names, birth name, mother's birth name, responsible person."""
_BODY_PART, _MANUFACTURER, _MODEL = 0x00180015, 0x00080070, 0x00081090
_DATES = (0x00100030, 0x00080020, 0x00080022)
"""Birth, study and acquisition date."""
_PIXELS = frozenset([0x7FE00001, 0x7FE00002, 0x7FE00008, 0x7FE00009, 0x7FE00010])
_REPORTS = "1.2.840.10008.5.1.4.1.1.88."
_PLACES = 64


@dataclass
class Deidentified:
    """A de-identified file and what is needed to prove it clean.

    `header` is the file up to its pixel data, `pixels` the parts of the pixel data element in order. `row` has the
    columns of INSTANCES but path, sha256 and bytes. `identifiers` and `replaced` are **identified**: they are for the
    residual search and never leave the restricted side. `retained` are the values that an option keeps, which that
    search leaves out. `original` is whose file it was, likewise.
    """

    header: bytes
    pixels: tuple[bytes | memoryview, ...]
    row: dict[str, Any]
    identifiers: tuple[Identifier, ...] = field(repr=False)
    kept: tuple[Kept, ...] = field(repr=False)
    replaced: tuple[Replaced, ...] = field(repr=False)
    retained: frozenset[bytes] = field(repr=False, default=frozenset())
    original: dict[str, str] = field(repr=False, default_factory=dict)

    @property
    def data(self) -> bytes:
        """The whole file."""
        return b"".join((self.header, *self.pixels))


@lru_cache(maxsize=1)
def default_policy() -> Policy:
    """The Basic Profile with modified dates, made once per process."""
    return Policy()


def deidentify(
    data: bytes, pseudonymiser: Pseudonymiser, *, location: str = "", policy: Policy | None = None
) -> Deidentified:
    """De-identify the bytes of one DICOM file.

    `location` is the folder that the file came from; it only enters keyed hashes. The same bytes, location, policy and
    key give the same result everywhere. Raises Quarantine where the file is no image, cannot be read, or must not pass.
    """
    with silenced():  # pydicom's warnings quote values
        source = read_encoded(data)
        return _desk(pseudonymiser, policy or default_policy()).written(source, data, location)


@lru_cache(maxsize=4)
def _desk(pseudonymiser: Pseudonymiser, policy: Policy) -> "_Desk":
    return _Desk(pseudonymiser, policy)


class _Desk:
    """A policy and a key at work, with the places that files of the last patients had in common."""

    def __init__(self, pseudonymiser: Pseudonymiser, policy: Policy) -> None:
        self.pseudonymiser, self.policy = pseudonymiser, policy
        self.keeps_uids = Option.RETAIN_UIDS in policy.options
        mapper = uid_mapper(pseudonymiser)
        self.uid: values.MapUID = kept_or(mapper) if self.keeps_uids else mapper
        self.book = Rulebook(policy, pseudonymiser, mapper)
        self.places: dict[tuple[Person, str, bool, bool, tuple[str, ...]], Place] = {}
        self.methods: dict[tuple[bool, bool], dict[int, bytes]] = {}

    def written(self, source: EncodedDataSet, data: bytes, location: str) -> Deidentified:
        """The new file."""
        admitted = admit(source, self.policy)
        identity = identity_of(source.elements, data, self.pseudonymiser, location, keep_uids=self.keeps_uids)
        face = _face(source, admitted)
        place = self._place(source, admitted, identity)
        fixed = self._fixed(place.encoder, admitted, identity, face)
        body = place.data_set(source.elements, fixed, _PIXELS if admitted.pixel_tag else frozenset())
        meta = file_meta(admitted.sop_class_uid, identity.uids[SOP_INSTANCE], admitted.transfer_syntax_uid)
        made = Deidentified(
            header=meta + body.encoded,
            pixels=_pixels(source, admitted, place.encoder),
            row=self._row(source, admitted, identity, face, place),
            identifiers=tuple(dict.fromkeys(body.identifiers)),
            kept=body.kept,
            replaced=body.replaced,
            retained=frozenset(body.retained),
            original=_original(source, identity),
        )
        return self._with_clean_pixels(made, source, admitted)

    def _place(self, source: EncodedDataSet, admitted: Admitted, identity: Identity) -> Place:
        syntax = admitted.transfer_syntax_uid
        implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
        encodings = encodings_in(source.elements, (values.DEFAULT_REPERTOIRE,))
        person = Person(identity.patient_id, identity.patient, identity.days, _words(source, encodings))
        key = (person, admitted.sop_class_uid, implicit, little, encodings)
        found = self.places.get(key)
        if found is None:
            if len(self.places) >= _PLACES:
                self.places.clear()
            encoder = Encoder(implicit=implicit, little=little)
            found = Place(self.book, person, encoder, admitted.sop_class_uid, encodings=encodings, local_code=True)
            self.places[key] = found
        return found

    def _fixed(self, encoder: Encoder, admitted: Admitted, identity: Identity, face: Face) -> dict[int, bytes]:
        """Root elements that are written whatever the source says, already encoded."""
        encode = encoder.element
        fixed = self._method(encoder) | {
            _PATIENT_NAME: encode(_PATIENT_NAME, "PN", identity.patient.encode()),
            _PATIENT_ID: encode(_PATIENT_ID, "LO", identity.patient.encode()),
            _SOP_CLASS: encode(_SOP_CLASS, "UI", admitted.sop_class_uid.encode()),
            0x00080060: encode(0x00080060, "CS", admitted.modality.encode()),
        }
        if face is Face.POSSIBLE:
            fixed[0x00280302] = encode(0x00280302, "CS", b"YES")
        if not admitted.pixel_tag and self.policy.documents and not admitted.sop_class_uid.startswith(_REPORTS):
            document = replacement(admitted.sop_class_uid)
            fixed[0x00420011] = encode(0x00420011, "OB", document)
            length = len(document).to_bytes(4, "little" if encoder.little else "big")
            fixed[0x00420015] = encode(0x00420015, "UL", length)
        return fixed | {tag: encode(tag, "UI", uid.encode()) for tag, uid in identity.uids.items()}

    def _method(self, encoder: Encoder) -> dict[int, bytes]:
        """How it was de-identified (PS3.3 C.7.1.1, C.12.1; PS3.15 E.1.1)."""
        found = self.methods.get((encoder.implicit, encoder.little))
        if found is not None:
            return found
        encode = encoder.element
        codes = self.book.profile.codes
        options = "\\".join(meaning[:64] for _, meaning in codes)
        method = f"DICOM PS3.15 {EDITION}\\{options}\\medillus_pipeline {__version__}"
        items = [
            encode(0x00080100, "SH", value.encode())
            + encode(0x00080102, "SH", b"DCM")
            + encode(0x00080104, "LO", meaning[:64].encode())
            for value, meaning in codes
        ]
        found = self.methods[encoder.implicit, encoder.little] = {
            0x00120062: encode(0x00120062, "CS", b"YES"),
            0x00120063: encode(0x00120063, "LO", method.encode()),
            0x00120064: encoder.sequence(0x00120064, items),
            0x00280303: encode(0x00280303, "CS", self.book.profile.temporal_information.encode()),
        }
        return found

    def _row(
        self, source: EncodedDataSet, admitted: Admitted, identity: Identity, face: Face, place: Place
    ) -> dict[str, Any]:
        part = source.elements.get(_BODY_PART)
        written = place.element(_BODY_PART, part).encoded[8:].decode("ascii").strip() if part is not None else ""
        reference = source.text(_FRAME_OF_REFERENCE)
        mapped = values.mapped_uids(reference.encode(), self.uid).decode() if reference else None
        return {
            "sop_instance_uid": identity.uids[SOP_INSTANCE],
            "sop_class_uid": admitted.sop_class_uid,
            "series_instance_uid": identity.uids[SERIES],
            "study_instance_uid": identity.uids[STUDY],
            "frame_of_reference_uid": mapped,
            "patient": identity.patient,
            "split_token": split_token(self.pseudonymiser, identity.patient_id),
            "modality": admitted.modality,
            "body_part": written or None,
            "face": str(face),
            "rows": admitted.rows,
            "columns": admitted.columns,
            "frames": admitted.frames,
            "transfer_syntax_uid": admitted.transfer_syntax_uid,
            "pixel_hash": xxhash.xxh3_128_hexdigest(admitted.pixels) if admitted.pixel_tag else None,
        }

    def _with_clean_pixels(self, made: Deidentified, source: EncodedDataSet, admitted: Admitted) -> Deidentified:
        """The same with text burned into the pixels blacked out, where the policy asks for that and it may be there."""
        if Option.CLEAN_PIXEL_DATA not in self.policy.options or not admitted.pixel_tag:
            return made
        manufacturer, model = source.text(_MANUFACTURER), source.text(_MODEL)
        size = (manufacturer, model, admitted.rows, admitted.columns)
        if not admitted.risky and not any(region.matches(*size) for region in self.policy.regions):
            return made
        from medillus_pipeline.deidentification.pixel_cleaning import clean_pixels

        known = _known(source, made)
        cleaned = clean_pixels(made.data, self.policy.regions, manufacturer=manufacturer, model=model, known=known).data
        written = scan(cleaned)
        if written is None:
            raise ValueError("a file with cleaned pixels is not as the standard says")
        element = written.elements[admitted.pixel_tag]
        pixels = memoryview(element.raw)
        around = (8 if written.implicit else 12) + (8 if element.undefined else 0)  # its header, and the delimiter
        header = len(cleaned) - len(pixels) - around
        made.header, made.pixels = cleaned[:header], (memoryview(cleaned)[header:],)
        made.row |= {
            "transfer_syntax_uid": written.declared_transfer_syntax,
            "pixel_hash": xxhash.xxh3_128_hexdigest(pixels),
        }
        return made


def _original(source: EncodedDataSet, identity: Identity) -> dict[str, str]:
    """What the pseudonyms of this file stand for, for a re-identification table."""
    return {
        "patient": identity.patient_id,
        "study": source.text(STUDY),
        "series": source.text(SERIES),
        "instance": source.text(SOP_INSTANCE),
    }


def _known(source: EncodedDataSet, made: Deidentified) -> tuple[str, ...]:
    """Names, ids and dates of the source as they may be written on a screen."""
    known = {identifier.text for identifier in made.identifiers}
    known |= _words(source, encodings_in(source.elements, (values.DEFAULT_REPERTOIRE,)))
    for tag in _DATES:
        date = source.text(tag)
        if len(date) == 8 and date.isdigit():
            year, month, day = date[:4], date[4:6], date[6:]
            known |= {date, day + month + year, month + day + year}
    return tuple(sorted(known))


def _words(source: EncodedDataSet, encodings: tuple[str, ...]) -> frozenset[str]:
    """The parts of the patient's names and ids, in lower case."""
    raw = (source.elements[tag].raw for tag in _NAMES if tag in source.elements)
    return _parts(tuple(raw), encodings)


@lru_cache(maxsize=1024)
def _parts(raw: tuple[bytes, ...], encodings: tuple[str, ...]) -> frozenset[str]:
    text = "^".join(values.decoded(value, encodings).lower() for value in raw)
    for mark in "^=\\,.-_/()":
        text = text.replace(mark, " ")
    return frozenset(text.split())


def _face(source: EncodedDataSet, admitted: Admitted) -> Face:
    """Whether the pixels may show a face, by what the source says."""
    if not admitted.pixel_tag:
        return Face.NONE
    try:
        return may_show_face(source)
    except ValueError:  # a sequence that cannot be read
        raise Quarantine(Reason.UNREADABLE) from None


def _pixels(source: EncodedDataSet, admitted: Admitted, encoder: Encoder) -> tuple[bytes | memoryview, ...]:
    """The pixel data element, its value as it stands in the source."""
    if not admitted.pixel_tag:
        return ()
    if admitted.encapsulated:
        return encoder.fragments(admitted.pixel_tag, admitted.pixels, admitted.frames)
    vr = source.elements[admitted.pixel_tag].vr
    vr = vr if vr in ("OB", "OW", "OF", "OD") else {0x7FE00008: "OF", 0x7FE00009: "OD"}.get(admitted.pixel_tag, "OW")
    return encoder.header(admitted.pixel_tag, vr, len(admitted.pixels)), admitted.pixels
