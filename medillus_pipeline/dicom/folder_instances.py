"""Rows of INSTANCES for the files of a folder that was de-identified before, or is allowed to be identified.

De-identification makes these rows itself; here they are read from the files, those in zip archives too. A patient or
UID of an identified file is replaced by a hash. What becomes of the rows is in `slices_folder.py`.
"""

import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import pydicom

from medillus_pipeline.dicom.encoded import EncodedDataSet, from_pydicom, scan
from medillus_pipeline.dicom.outcomes import Reason
from medillus_pipeline.dicom.reading import SourceFile, Unit, read_unit
from medillus_pipeline.dicom.rendering import Row
from medillus_pipeline.dicom.source_folder import SourceZone
from medillus_pipeline.errors import StoreError

SOURCE, MEMBERS = "source/", "members/"
"""What the paths of rows start with: files of the folder by their path, members of archives by their hash."""
DICOMDIR = "1.2.840.10008.1.3.10"
_PATIENT = re.compile(r"p-[0-9a-f]{16}")
_CODE = re.compile(r"[A-Z0-9_ ]{1,16}")
_SOP_CLASS, _SOP_INSTANCE, _MODALITY, _BODY_PART = 0x00080016, 0x00080018, 0x00080060, 0x00180015
_PATIENT_ID, _IDENTITY_REMOVED = 0x00100020, 0x00120062
_STUDY, _SERIES, _FRAME_OF_REFERENCE = 0x0020000D, 0x0020000E, 0x00200052
_FRAMES, _ROWS, _COLUMNS = 0x00280008, 0x00280010, 0x00280011
_PIXELS = (0x7FE00010, 0x7FE00008, 0x7FE00009)
_ARCHIVES = (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"7z\xbc\xaf\x27\x1c", b"Rar!", b"\x28\xb5\x2f\xfd")
"""First bytes of zip, gzip, bzip2, xz, 7z, RAR and Zstandard; tar says so later."""


class Found(StrEnum):
    """Why a file is not among the images."""

    NOT_DICOM = "not_dicom"
    ARCHIVE = "archive_not_opened"
    """An archive that is no zip file, or that lies in one: unpack it."""
    DIRECTORY = "directory"
    UNREADABLE = "unreadable_file"
    IDENTIFIED = "not_said_to_be_deidentified"
    INCOMPLETE = "missing_uids"
    DUPLICATE = "duplicate"
    CONFLICT = "conflicting_copies"


_PROBLEMS: dict[Reason, Found] = {
    Reason.FILE_NOT_READABLE: Found.UNREADABLE,
    Reason.NOT_DICOM: Found.NOT_DICOM,
}


@dataclass(frozen=True)
class Wanted:
    """A file of a folder, or members of an archive; `identified` says whether it may be one that was not
    de-identified.
    """

    zone: SourceZone
    unit: Unit
    identified: bool


@dataclass(frozen=True)
class Described:
    """The row of INSTANCES of a file, whose `path` starts with SOURCE or MEMBERS, or why there is none. The file by its
    path in the folder, and in its archive.
    """

    source: str
    member: str
    reason: Found | Reason | None
    row: Row | None = None


def describe(wanted: Wanted) -> list[Described]:
    """Read a file, or members of an archive, and say what each is. Raises StoreError where the folder does not
    answer.
    """
    found = []
    for file in _files(wanted):
        path = wanted.zone.relative(file.source)
        told = _PROBLEMS.get(file.problem, file.problem) or _look(file, path, wanted.identified)
        found.append(
            Described(path, file.member, None, told) if isinstance(told, dict) else Described(path, file.member, told)
        )
    return found


def _files(wanted: Wanted) -> Iterator[SourceFile]:
    try:
        yield from read_unit(wanted.zone, wanted.unit)
    except StoreError:
        raise
    except OSError:  # an archive that cannot be opened any more
        yield SourceFile(wanted.unit.source, "", b"", "", 0, Reason.FILE_NOT_READABLE)


def _look(file: SourceFile, path: str, identified: bool) -> Row | Found:
    data = file.data
    header = scan(data)
    if header is None:
        if data[128:132] != b"DICM":
            return Found.ARCHIVE if _is_archive(data) else Found.NOT_DICOM
        try:
            header = from_pydicom(pydicom.dcmread(io.BytesIO(data)))
        except Exception:  # noqa: BLE001 - pydicom raises whatever the bytes make it stumble over, quoting them
            return Found.UNREADABLE
    if header.declared_sop_class == DICOMDIR:
        return Found.DIRECTORY
    removed = header.text(_IDENTITY_REMOVED).upper() == "YES"
    if not removed and not identified:
        return Found.IDENTIFIED
    if not all(header.text(tag) for tag in (_SOP_INSTANCE, _SERIES, _STUDY)):
        return Found.INCOMPLETE
    return _row(header, file, f"{MEMBERS}{file.sha256}.dcm" if file.member else SOURCE + path, removed)


def _is_archive(data: bytes) -> bool:
    return data.startswith(_ARCHIVES) or data[257:262] == b"ustar"


def _row(header: EncodedDataSet, file: SourceFile, path: str, removed: bool) -> Row:
    patient = header.text(_PATIENT_ID)
    if not (removed and _PATIENT.fullmatch(patient)):
        patient = hashed_patient(patient if removed else header.text(_STUDY))

    def uid(tag: int) -> str:
        value = header.text(tag)
        return value if removed or not value else hashed_uid(value)

    def code(tag: int) -> str | None:
        value = header.text(tag).upper()
        return value if _CODE.fullmatch(value) else None

    pixels = any(tag in header.elements for tag in _PIXELS)
    return {
        "sop_instance_uid": uid(_SOP_INSTANCE),
        "sop_class_uid": header.text(_SOP_CLASS),
        "series_instance_uid": uid(_SERIES),
        "study_instance_uid": uid(_STUDY),
        "frame_of_reference_uid": uid(_FRAME_OF_REFERENCE) or None,
        "patient": patient,
        "split_token": hashed("split", patient)[:32],
        "modality": code(_MODALITY) or "OT",
        "body_part": code(_BODY_PART),
        "face": "unknown",
        "rows": _number(header, _ROWS) if pixels else 0,
        "columns": _number(header, _COLUMNS) if pixels else 0,
        "frames": _frames(header) if pixels else 0,
        "transfer_syntax_uid": header.declared_transfer_syntax,
        "pixel_hash": None,
        "path": path,
        "sha256": file.sha256,
        "bytes": file.size,
    }


def hashed_uid(original: str) -> str:
    """What stands in for a UID of an identified file: without a key, so who knows the UID finds it again."""
    return f"2.25.{int(hashed('uid', original)[:32], 16)}"


def hashed_patient(text: str) -> str:
    """What stands in for a patient that was not given a pseudonym before: `p-` and 16 hexadecimal digits."""
    return f"p-{hashed('patient', text)[:16]}"


def hashed(domain: str, text: str) -> str:
    """64 hexadecimal digits; those of one domain are its own."""
    return hashlib.sha256(f"{domain}\0{text}".encode()).hexdigest()


def _number(header: EncodedDataSet, tag: int) -> int:
    element = header.elements.get(tag)
    value = element.raw if element is not None else b""
    return int.from_bytes(value, "little" if header.little else "big") if len(value) == 2 else 0


def _frames(header: EncodedDataSet) -> int:
    text = header.text(_FRAMES)
    return max(1, int(text)) if text.isdigit() else 1
