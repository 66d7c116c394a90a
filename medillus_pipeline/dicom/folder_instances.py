"""Rows of INSTANCES for the files of a folder that was de-identified before, or is allowed to be identified.

De-identification makes these rows itself; here they are read from the files. A patient or UID of an identified file
is replaced by a hash. What becomes of the rows is in `slices_folder.py`.
"""

import hashlib
import io
import re
from dataclasses import dataclass
from enum import StrEnum

import pydicom

from medillus_pipeline.dicom.encoded import EncodedDataSet, from_pydicom, scan
from medillus_pipeline.dicom.rendering import Row
from medillus_pipeline.errors import StoreError
from medillus_pipeline.zones import Zone

DICOMDIR = "1.2.840.10008.1.3.10"
_PATIENT = re.compile(r"p-[0-9a-f]{16}")
_CODE = re.compile(r"[A-Z0-9_ ]{1,16}")
_SOP_CLASS, _SOP_INSTANCE, _MODALITY, _BODY_PART = 0x00080016, 0x00080018, 0x00080060, 0x00180015
_PATIENT_ID, _IDENTITY_REMOVED = 0x00100020, 0x00120062
_STUDY, _SERIES, _FRAME_OF_REFERENCE = 0x0020000D, 0x0020000E, 0x00200052
_FRAMES, _ROWS, _COLUMNS = 0x00280008, 0x00280010, 0x00280011
_PIXELS = (0x7FE00010, 0x7FE00008, 0x7FE00009)


class Found(StrEnum):
    """Why a file is not among the images."""

    NOT_DICOM = "not_dicom"
    DIRECTORY = "directory"
    UNREADABLE = "unreadable_file"
    IDENTIFIED = "not_said_to_be_deidentified"
    INCOMPLETE = "missing_uids"
    DUPLICATE = "duplicate"
    CONFLICT = "conflicting_copies"


@dataclass(frozen=True)
class Wanted:
    """A file of a folder; `identified` says whether it may be one that was not de-identified."""

    zone: Zone
    path: str
    identified: bool


@dataclass(frozen=True)
class Described:
    """The row of INSTANCES of a file, whose `path` is that in its folder, or why there is none."""

    reason: Found | None
    row: Row | None = None


def describe(wanted: Wanted) -> Described:
    """Read a file and say what it is."""
    try:
        data = wanted.zone.read(wanted.path)
    except (FileNotFoundError, StoreError):
        return Described(Found.UNREADABLE)
    header = scan(data)
    if header is None:
        if data[128:132] != b"DICM":
            return Described(Found.NOT_DICOM)
        try:
            header = from_pydicom(pydicom.dcmread(io.BytesIO(data)))
        except Exception:  # noqa: BLE001 - pydicom raises whatever the bytes make it stumble over, quoting them
            return Described(Found.UNREADABLE)
    if header.declared_sop_class == DICOMDIR:
        return Described(Found.DIRECTORY)
    removed = header.text(_IDENTITY_REMOVED).upper() == "YES"
    if not removed and not wanted.identified:
        return Described(Found.IDENTIFIED)
    if not all(header.text(tag) for tag in (_SOP_INSTANCE, _SERIES, _STUDY)):
        return Described(Found.INCOMPLETE)
    return Described(None, _row(header, data, wanted.path, removed))


def _row(header: EncodedDataSet, data: bytes, path: str, removed: bool) -> Row:
    patient = header.text(_PATIENT_ID)
    if not (removed and _PATIENT.fullmatch(patient)):
        patient = f"p-{_hash('patient', patient if removed else header.text(_STUDY))[:16]}"

    def uid(tag: int) -> str:
        value = header.text(tag)
        return value if removed or not value else f"2.25.{int(_hash('uid', value)[:32], 16)}"

    def code(tag: int) -> str | None:
        value = header.text(tag).upper()
        return value if _CODE.fullmatch(value) else None

    digest = hashlib.sha256(data).hexdigest()
    pixels = any(tag in header.elements for tag in _PIXELS)
    return {
        "sop_instance_uid": uid(_SOP_INSTANCE),
        "sop_class_uid": header.text(_SOP_CLASS),
        "series_instance_uid": uid(_SERIES),
        "study_instance_uid": uid(_STUDY),
        "frame_of_reference_uid": uid(_FRAME_OF_REFERENCE) or None,
        "patient": patient,
        "split_token": _hash("split", patient)[:32],
        "modality": code(_MODALITY) or "OT",
        "body_part": code(_BODY_PART),
        "face": "unknown",
        "rows": _number(header, _ROWS) if pixels else 0,
        "columns": _number(header, _COLUMNS) if pixels else 0,
        "frames": _frames(header) if pixels else 0,
        "transfer_syntax_uid": header.declared_transfer_syntax,
        "pixel_hash": None,
        "path": path,
        "sha256": digest,
        "bytes": len(data),
    }


def _hash(domain: str, text: str) -> str:
    return hashlib.sha256(f"{domain}\0{text}".encode()).hexdigest()


def _number(header: EncodedDataSet, tag: int) -> int:
    element = header.elements.get(tag)
    value = element.raw if element is not None else b""
    return int.from_bytes(value, "little" if header.little else "big") if len(value) == 2 else 0


def _frames(header: EncodedDataSet) -> int:
    text = header.text(_FRAMES)
    return max(1, int(text)) if text.isdigit() else 1
