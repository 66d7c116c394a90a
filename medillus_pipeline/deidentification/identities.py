"""Whose image it is and which instance, also where the file does not say.

The patient is told by Patient ID; where that is empty by the Study Instance UID, else the patient's name, else the
folder. An empty SOP Instance UID is derived from the file's content; empty series and study UIDs are derived from the
patient, the folder and the geometry, so that the slices of one series still form one. All of it is keyed.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from medillus_pipeline.deidentification import values
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.dicom.encoded import Elements, text_in

SOP_INSTANCE, STUDY, SERIES = 0x00080018, 0x0020000D, 0x0020000E
_UID = re.compile(r"[0-2](\.(0|[1-9]\d*))+")
_CHARACTER_SET = 0x00080005
_PATIENT_NAME, _PATIENT_ID = 0x00100010, 0x00100020
_GEOMETRY = (0x00080060, 0x00200011, 0x00200037, 0x00280030, 0x00280010, 0x00280011)
"""Modality, series number, orientation, pixel spacing, rows, columns."""


@dataclass(frozen=True)
class Identity:
    """`patient_id` is **identified**. `days` is the patient's date shift; `uids` maps the tags of the SOP instance,
    series and study to pseudonymous UIDs."""

    patient_id: str
    patient: str
    days: int
    uids: dict[int, str]


def identity_of(
    elements: Elements, data: bytes, pseudonymiser: Pseudonymiser, location: str, *, keep_uids: bool = False
) -> Identity:
    """The identity of a file with these bytes, found in the folder `location`. With `keep_uids` (Retain UIDs) only
    missing UIDs are made up.
    """
    encodings = encodings_in(elements, (values.DEFAULT_REPERTOIRE,))
    person = values.decoded(_raw(elements, _PATIENT_ID), encodings)
    name = values.decoded(_raw(elements, _PATIENT_NAME), encodings)
    instance, series, study = (text_in(elements, tag) for tag in (SOP_INSTANCE, SERIES, STUDY))
    patient_id = person or (f"study:{study}" if study else f"name:{name}" if name else f"folder:{location}")
    mapper = uid_mapper(pseudonymiser)
    uid = kept_or(mapper) if keep_uids else mapper

    def derived(kind: str, *parts: str) -> str:
        return pseudonymiser.uid("\x1f".join((f"derived-{kind}", *parts)))

    uids = {
        SOP_INSTANCE: uid(instance) if instance else derived("instance", hashlib.sha256(data).hexdigest()),
        SERIES: uid(series) if series else derived("series", patient_id, location, study, *_geometry(elements)),
        STUDY: uid(study) if study else derived("study", patient_id, location),
    }
    patient, days = _person(pseudonymiser, patient_id)
    return Identity(patient_id, patient, days, uids)


def _geometry(elements: Elements) -> list[str]:
    return [_raw(elements, tag).hex() for tag in _GEOMETRY]


@lru_cache(maxsize=1024)
def _person(pseudonymiser: Pseudonymiser, patient_id: str) -> tuple[str, int]:
    return pseudonymiser.patient(patient_id), pseudonymiser.date_shift(patient_id)


@lru_cache(maxsize=1024)
def split_token(pseudonymiser: Pseudonymiser, patient_id: str) -> str:
    """`pseudonymiser.split_token`, remembered."""
    return pseudonymiser.split_token(patient_id)


def kept_or(mapper: Callable[[str], str]) -> Callable[[str], str]:
    """Keeps what is a UID (PS3.5 9.1), and maps what is none: it could say anything."""
    return lambda uid: uid if len(uid) <= 64 and _UID.fullmatch(uid) else mapper(uid)


@lru_cache(maxsize=4)
def uid_mapper(pseudonymiser: Pseudonymiser) -> Callable[[str], str]:
    """`pseudonymiser.uid`, remembering the UIDs that come again and again."""
    return lru_cache(maxsize=1024)(pseudonymiser.uid)


def encodings_in(elements: Elements, inherited: tuple[str, ...]) -> tuple[str, ...]:
    """Python codecs of a (nested) data set: of its Specific Character Set, else the inherited ones (PS3.5 7.5.3)."""
    raw = _raw(elements, _CHARACTER_SET)
    return _known_encodings(raw) if raw.strip(b" \x00") else inherited


def _raw(elements: Elements, tag: int) -> bytes:
    element = elements.get(tag)
    return element.raw if element is not None else b""


@lru_cache(maxsize=64)
def _known_encodings(raw: bytes) -> tuple[str, ...]:
    return tuple(values.encodings_of(raw))
