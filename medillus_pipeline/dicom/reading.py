"""Files of a delivery, and DICOM from bytes.

A delivery is any tree of files; zip archives in it are opened. Nothing is ever unpacked to disk, so a member's name
cannot reach outside; archives are still refused what a sound one never holds. What the files say is not judged here.
"""

import errno
import hashlib
import io
import itertools
import logging
import stat
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath

from pydicom import dcmread
from pydicom.dataset import FileDataset

from medillus_pipeline.dicom.encoded import EncodedDataSet, from_pydicom, scan
from medillus_pipeline.dicom.outcomes import Quarantine, Reason
from medillus_pipeline.errors import StoreError
from medillus_pipeline.zones import Zone

READY_MARKER = "_READY"
MEMBERS_PER_UNIT = 32
MAXIMUM_MEMBERS = 200_000
MAXIMUM_MEMBER_BYTES = 2 << 30
MAXIMUM_ARCHIVE_BYTES = 256 << 30
MAXIMUM_RATIO = 200
"""Uncompressed to compressed size; only looked at above 1 MiB, since blank slices compress well."""

ARCHIVE_FAULTS = (OSError, zipfile.BadZipFile, ValueError, NotImplementedError)
"""What zipfile raises for an archive that is damaged, or (the last one) packed in a way that it does not know."""

_ZIP = b"PK\x03\x04"
_GONE = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG)


@dataclass(frozen=True)
class SourceFile:
    """One delivered file: path in the landing zone, path in its archive (or empty), bytes as delivered.

    `problem` is set, and `data` empty, where the bytes could not or must not be read; `size` is then the declared one.
    """

    source: str
    member: str
    data: bytes
    sha256: str
    size: int
    problem: Reason = Reason.NONE


@dataclass(frozen=True)
class Unit:
    """Work for one process: a file, or members `first` (included) to `last` (excluded) of an archive."""

    source: str
    first: int = 0
    last: int | None = None

    @property
    def files(self) -> int:
        """How many files this stands for, as far as known without opening it."""
        return 1 if self.last is None else self.last - self.first


def list_units(landing: Zone, folder: str) -> list[Unit]:
    """The files of delivery `folder` under `images/`, sorted by path, without reading them.

    Archives named `.zip` are divided by their directory; other archives are recognised by content when read.
    """
    root = f"images/{folder}"
    units = []
    for source in landing.files(root):
        if source == f"{root}/{READY_MARKER}":
            continue
        members = _member_count(landing, source) if source.lower().endswith(".zip") else None
        if members is None:
            units.append(Unit(source))
        else:
            starts = range(0, members, MEMBERS_PER_UNIT)
            units += [Unit(source, start, min(start + MEMBERS_PER_UNIT, members)) for start in starts]
    return units


def read_unit(landing: Zone, unit: Unit) -> Iterator[SourceFile]:
    """The files of a unit with their bytes. Raises StoreError when the landing zone as a whole does not answer."""
    if unit.last is not None:
        with landing.fs.open(landing.full(unit.source), "rb") as handle:
            yield from _members(unit.source, handle, unit.first, unit.last)
        return
    try:
        data = landing.read(unit.source)
    except FileNotFoundError:
        yield _problem(unit.source, "", 0, Reason.FILE_NOT_READABLE)
        return
    except StoreError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _GONE:
            yield _problem(unit.source, "", 0, Reason.FILE_NOT_READABLE)
            return
        raise StoreError(str(error)) from None
    if data.startswith(_ZIP):
        yield from _members(unit.source, io.BytesIO(data), 0, None)
    else:
        yield _file(unit.source, "", data)


def iter_files(landing: Zone, folder: str) -> Iterator[SourceFile]:
    """All files of the delivery, archives opened, one at a time in memory."""
    for unit in list_units(landing, folder):
        yield from read_unit(landing, unit)


def _file(source: str, member: str, data: bytes) -> SourceFile:
    return SourceFile(source, member, data, hashlib.sha256(data).hexdigest(), len(data))


def _problem(source: str, member: str, size: int, reason: Reason) -> SourceFile:
    return SourceFile(source, member, b"", hashlib.sha256(b"").hexdigest(), size, reason)


def _entries(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    return [entry for entry in archive.infolist() if not entry.is_dir()]


def _member_count(landing: Zone, source: str) -> int | None:
    """Files in the archive, or None where it has to be handled as one file (unreadable, empty, far too large)."""
    try:
        with landing.fs.open(landing.full(source), "rb") as handle, zipfile.ZipFile(handle) as archive:
            entries = _entries(archive)
    except ARCHIVE_FAULTS:
        return None
    return len(entries) if entries and not too_large(entries) else None


def too_large(entries: list[zipfile.ZipInfo]) -> bool:
    """Whether an archive is past what is read of one."""
    return len(entries) > MAXIMUM_MEMBERS or sum(entry.file_size for entry in entries) > MAXIMUM_ARCHIVE_BYTES


def swollen(entry: zipfile.ZipInfo) -> bool:
    """Whether a member is past what is read of one, or a bomb."""
    return entry.file_size > MAXIMUM_MEMBER_BYTES or (
        entry.file_size > 1 << 20 and entry.file_size > MAXIMUM_RATIO * max(entry.compress_size, 1)
    )


def _members(source: str, handle: io.IOBase, first: int, last: int | None) -> Iterator[SourceFile]:
    try:
        archive = zipfile.ZipFile(handle)  # pyright: ignore[reportArgumentType]
        entries = _entries(archive)
    except ARCHIVE_FAULTS:
        yield _problem(source, "", 0, Reason.ARCHIVE_UNREADABLE)
        return
    if not entries:
        yield _problem(source, "", 0, Reason.NOT_DICOM)
    elif too_large(entries):
        yield _problem(source, "", 0, Reason.ARCHIVE_LIMIT)
    else:
        taken: set[str] = set()
        for index, entry in enumerate(entries):
            name = _unused(entry.filename, taken)
            taken.add(name)
            if index < first or (last is not None and index >= last):
                continue
            yield _member(archive, entry, source, name)


def _unused(name: str, taken: set[str]) -> str:
    """The name, or with a number behind it when an archive has members of one name."""
    numbered = (f"{name}#{number}" for number in itertools.count(2))
    return name if name not in taken else next(other for other in numbered if other not in taken)


def _member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, source: str, name: str) -> SourceFile:
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    if (
        not path.parts
        or path.is_absolute()
        or ".." in path.parts
        or ":" in path.parts[0]
        or stat.S_ISLNK(entry.external_attr >> 16)
    ):
        return _problem(source, name, entry.file_size, Reason.UNSAFE_ARCHIVE_MEMBER)
    if entry.flag_bits & 1:
        return _problem(source, name, entry.file_size, Reason.ARCHIVE_ENCRYPTED)
    if swollen(entry):
        return _problem(source, name, entry.file_size, Reason.ARCHIVE_LIMIT)
    try:
        with archive.open(entry) as stream:
            data = stream.read(entry.file_size + 1)
    except (*ARCHIVE_FAULTS, zlib.error, EOFError, RuntimeError):
        return _problem(source, name, entry.file_size, Reason.ARCHIVE_UNREADABLE)
    if len(data) > entry.file_size:
        return _problem(source, name, entry.file_size, Reason.ARCHIVE_LIMIT)
    return _file(source, name, data)


@contextmanager
def silenced() -> Iterator[None]:
    """Keeps pydicom from logging and warning, since its messages quote values. Not safe across threads."""
    logger = logging.getLogger("pydicom")
    before = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def parse(data: bytes) -> FileDataset:
    """The DICOM data set with its elements left raw. To be called within `silenced()`.

    A file without preamble and meta information is taken for DICOM when it starts like a data set (group 0008) and
    holds a SOP class, a modality or pixels. Raises Quarantine: `not_dicom`, `unreadable` or `truncated_pixels`.
    """
    marked = data[128:132] == b"DICM"
    if not marked and not _starts_like_a_dataset(data):
        raise Quarantine(Reason.NOT_DICOM)
    try:
        dataset = dcmread(io.BytesIO(data), force=True)
    except Exception:  # noqa: BLE001 - pydicom raises anything, quoting values
        raise Quarantine(Reason.UNREADABLE if marked else Reason.NOT_DICOM) from None
    if not len(dataset):
        # pydicom gives up the whole data set where an element of undefined length has no end.
        cut = marked and (b"\xe0\x7f\x10\x00" in data[132:] or b"\x7f\xe0\x00\x10" in data[132:])
        raise Quarantine(Reason.TRUNCATED_PIXELS if cut else Reason.UNREADABLE if marked else Reason.NOT_DICOM)
    telling = (0x00080016, 0x00080060, 0x7FE00010, 0x00041220)
    if not marked and not any(tag in dataset for tag in telling):
        raise Quarantine(Reason.NOT_DICOM)
    return dataset


def read_encoded(data: bytes) -> EncodedDataSet:
    """The elements of a DICOM file as they are encoded. Raises Quarantine as `parse` does."""
    found = scan(data)
    if found is not None:
        return found
    with silenced():
        dataset = parse(data)
        try:
            return from_pydicom(dataset)
        except Exception:  # noqa: BLE001 - pydicom raises whatever the bytes make it stumble over, quoting them
            raise Quarantine(Reason.UNREADABLE) from None


def _starts_like_a_dataset(data: bytes) -> bool:
    return len(data) > 8 and data[:2] in (b"\x08\x00", b"\x00\x08", b"\x02\x00", b"\x04\x00", b"\x00\x04")
