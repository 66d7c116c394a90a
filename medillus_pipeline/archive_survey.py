"""What a large archive holds, file by file: whose it is, and what cannot be told. Restricted, and read only.

Whose a file is, is told as ingest tells it: Patient ID, else the study, else the name. Archives are looked into; one
that holds a single patient stays whole. What is not here: the division into deliveries (`archive_split.py`).
"""

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydicom import dcmread

from medillus_pipeline.deidentification.pseudonyms import normalised_patient_id
from medillus_pipeline.dicom.outcomes import Reason
from medillus_pipeline.dicom.reading import SourceFile, Unit, read_unit, silenced
from medillus_pipeline.dicom.source_folder import FolderZone
from medillus_pipeline.dicom.workers import mapped, pool_of

NO_PATIENT = "no_patient"
NOT_READABLE = "not_readable"
ARCHIVE_IN_ARCHIVE = "archive_in_archive"
_ZIP = b"PK\x03\x04"
_TAGS = ["PatientID", "StudyInstanceUID", "PatientName"]
_ALL = 1 << 40
POOLED = 500
"""Files from which a pool of processes saves more than it costs."""


@dataclass(frozen=True)
class Held:
    """A file below the archive's root, or the member of that number in a file that holds several patients.

    `patient` is **identified**, and empty where nothing tells whose it is; `studies` are those of the file. `reason`
    says why it is put in no delivery, or `no_patient`.
    """

    path: str
    member: int | None
    patient: str
    studies: tuple[str, ...]
    size: int
    reason: str = ""


def survey(
    root: Path, files: tuple[str, ...], *, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> Iterator[Held]:
    """Every file of `files` (relative to `root`) in that order; nothing raises but a worker's death, TransientError."""
    with pool_of(workers if len(files) >= POOLED else 1, None, len(files)) as pool:
        for done, held in enumerate(mapped(pool, partial(_look, root), files), start=1):
            yield from held
            if progress:
                progress(done, len(files))


def _look(root: Path, path: str) -> list[Held]:
    try:
        size = (root / path).stat().st_size
        with (root / path).open("rb") as handle:
            is_archive = handle.read(4) == _ZIP
            handle.seek(0)
            if not is_archive:
                patient, study = _whose(handle)
                return [Held(path, None, patient, (study,) if study else (), size, "" if patient else NO_PATIENT)]
    except OSError:
        return [Held(path, None, "", (), 0, NOT_READABLE)]
    members = [_member(path, number, file) for number, file in enumerate(_members(root, path))]
    patients = {held.patient for held in members if held.patient}
    if len(patients) > 1:
        return members
    studies = tuple(sorted({study for held in members for study in held.studies}))
    patient = next(iter(patients), "")
    return [Held(path, None, patient, studies, size, "" if patient else NO_PATIENT)]


def _members(root: Path, path: str) -> Iterator[SourceFile]:
    return read_unit(FolderZone(root), Unit(path, 0, _ALL))


def _member(path: str, number: int, file: SourceFile) -> Held:
    import io

    if file.problem is not Reason.NONE:
        return Held(path, number, "", (), file.size, str(file.problem))
    if file.data.startswith(_ZIP) and zipfile.is_zipfile(io.BytesIO(file.data)):
        return Held(path, number, "", (), file.size, ARCHIVE_IN_ARCHIVE)
    patient, study = _whose(io.BytesIO(file.data))
    return Held(path, number, patient, (study,) if study else (), file.size, "" if patient else NO_PATIENT)


def _whose(handle: object) -> tuple[str, str]:
    """(patient, study) of a DICOM file; both empty where it is none, or says neither."""
    with silenced():
        try:
            found = dcmread(handle, stop_before_pixels=True, force=True, specific_tags=_TAGS)  # pyright: ignore[reportArgumentType]
            patient, study, name = (str(found.get(tag) or "").strip().strip("\0") for tag in _TAGS)
        except Exception:  # noqa: BLE001 - pydicom raises anything, quoting values; the file counts as no patient's
            return "", ""
    if patient:
        return f"id:{normalised_patient_id(patient)}", study
    return f"study:{study}" if study else f"name:{name.casefold()}" if name else "", study
