"""Whose image it is and which instance, also where the file does not say.

The patient is told by Patient ID; where that is empty by the Study Instance UID, else the patient's name, else the
folder. An empty SOP Instance UID is derived from the file's content; empty series and study UIDs are derived from the
patient, the folder and the geometry, so that the slices of one series still form one. All of it is keyed.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from pydicom.dataset import Dataset

from medillus_pipeline.dicom import values
from medillus_pipeline.dicom.admission import bytes_of, text_of
from medillus_pipeline.dicom.pseudonyms import Pseudonymiser

SOP_INSTANCE, STUDY, SERIES = 0x00080018, 0x0020000D, 0x0020000E
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


def identity_of(dataset: Dataset, data: bytes, pseudonymiser: Pseudonymiser, location: str) -> Identity:
    """The identity of a file with these bytes, found in the folder `location`."""
    encodings = encodings_in(dataset, ["iso8859"])
    person = values.decoded(raw_of(dataset, _PATIENT_ID), encodings)
    name = values.decoded(raw_of(dataset, _PATIENT_NAME), encodings)
    instance, series, study = (text_of(dataset, tag) for tag in (SOP_INSTANCE, SERIES, STUDY))
    patient_id = person or (f"study:{study}" if study else f"name:{name}" if name else f"folder:{location}")
    uid = uid_mapper(pseudonymiser)

    def derived(kind: str, *parts: str) -> str:
        return pseudonymiser.uid("\x1f".join((f"derived-{kind}", *parts)))

    geometry = [raw_of(dataset, tag).hex() for tag in _GEOMETRY]
    uids = {
        SOP_INSTANCE: uid(instance) if instance else derived("instance", hashlib.sha256(data).hexdigest()),
        SERIES: uid(series) if series else derived("series", patient_id, location, study, *geometry),
        STUDY: uid(study) if study else derived("study", patient_id, location),
    }
    return Identity(patient_id, pseudonymiser.patient(patient_id), pseudonymiser.date_shift(patient_id), uids)


@lru_cache(maxsize=4)
def uid_mapper(pseudonymiser: Pseudonymiser) -> Callable[[str], str]:
    """`pseudonymiser.uid`, remembering the UIDs that come again and again."""
    return lru_cache(maxsize=20_000)(pseudonymiser.uid)


def raw_of(dataset: Dataset, tag: int) -> bytes:
    """The encoded value of an attribute; empty if missing."""
    return bytes_of(dataset.get_item(tag) if tag in dataset else None)


def encodings_in(dataset: Dataset, inherited: list[str]) -> list[str]:
    """Python codecs of a (nested) data set: of its Specific Character Set, else the inherited ones (PS3.5 7.5.3)."""
    raw = raw_of(dataset, _CHARACTER_SET)
    return _known_encodings(raw) if raw.strip(b" \x00") else inherited


@lru_cache(maxsize=64)
def _known_encodings(raw: bytes) -> list[str]:
    return values.encodings_of(raw)
