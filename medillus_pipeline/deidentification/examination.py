"""What a worker process does with the files of a delivery: read, de-identify, search, stage; remove faces; publish.

Bytes stay in the worker; rows and short values go back to `ingest.py`, which compares the files of a delivery. Files
are staged in a scratch folder outside the clean zone. Exceptions never carry what a file says.
"""

import hashlib
import multiprocessing
import os
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import xxhash

from medillus_pipeline.deidentification import residual
from medillus_pipeline.deidentification.deidentify import Deidentified, deidentify
from medillus_pipeline.deidentification.identities import identity_of
from medillus_pipeline.deidentification.policy import Policy
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.dicom import jpeg_plugin
from medillus_pipeline.dicom.encoded import scan
from medillus_pipeline.dicom.face import Face
from medillus_pipeline.dicom.outcomes import Outcome, Quarantine, Reason
from medillus_pipeline.dicom.reading import SourceFile, Unit, parse, read_encoded, read_unit, silenced
from medillus_pipeline.errors import ConfigurationError, MedillusError, PermanentError, StoreError
from medillus_pipeline.zones import Payload, Zone

_HEAP = 16 << 20
_VISUAL_FEATURES = 0x00280302


@dataclass(slots=True)
class Examined:
    """What a worker says about one file. Identified; stays on the restricted side.

    `staged` names the de-identified file in the scratch folder, `staged_sha256` is of its bytes. `original` holds an
    annotation object as delivered, `known` what is searched in the patient's other files (text → keyword), `identity`
    what the pseudonyms stand for, where that is asked for.
    """

    source: str
    member: str
    sha256: str
    size: int
    reason: Reason
    row: dict[str, Any] | None = None
    staged: str = ""
    staged_sha256: str = ""
    known: dict[str, str] = field(default_factory=dict, repr=False)
    kept: tuple[residual.Kept, ...] = ()
    hits: tuple[str, ...] = ()
    original: bytes = b""
    identity: dict[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Task:
    """What every worker needs."""

    landing: Zone
    clean: Zone
    pseudonymiser: Pseudonymiser
    policy: Policy
    scratch: Path
    root: str
    originals: bool = False
    refused: frozenset[str] = frozenset()


_task: Task | None = None


def prepare(task: Task) -> None:
    """Make this process a worker."""
    global _task
    _task = task
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    # glibc gives large blocks back to the system one by one, and every new one costs its page faults, until one of a
    # size was freed once: then it keeps blocks up to that size. Half of the CPU time per slice hangs on it.
    bytearray(_HEAP)


def _end_with(parent: Any) -> None:
    """A worker whose parent was killed has nobody to work for."""
    parent.join()
    os._exit(1)


def within(task: Task, function: Callable[[Any], Any], item: Any) -> Any:
    """`function` of this module in a process that serves many deliveries by turns, as a worker of a cluster does.

    Raises ConfigurationError where this machine does not see the scratch folder.
    """
    global _task
    if not task.scratch.is_dir():
        raise ConfigurationError(
            "a worker of the cluster does not see the folder where de-identified files wait for their delivery: keep "
            "it on a file system that steps and workers share (beside the clean zone, or TMPDIR where that is remote)"
        )
    _task = task
    return function(item)


def _current() -> Task:
    if _task is None:
        raise RuntimeError("the worker was not prepared")
    return _task


def examine(unit: Unit) -> list[Examined]:
    """Read, de-identify, search and stage the files of a unit."""
    task = _current()
    try:
        return [_examine_file(file, task) for file in read_unit(task.landing, unit)]
    except MedillusError:
        raise
    except OSError as error:
        failure: MedillusError = StoreError(
            f"reading the landing zone or writing the scratch folder failed ({type(error).__name__}): check space and "
            "access"
        )
    except Exception as error:  # noqa: BLE001 - its text may identify somebody
        failure = PermanentError(
            f"unexpected {type(error).__name__} while a delivery was read. Its text is withheld, since it may identify "
            "somebody: report this line to the maintainers"
        )
    raise failure


def _examine_file(file: SourceFile, task: Task) -> Examined:
    examined = Examined(file.source, file.member, file.sha256, file.size, file.problem)
    if file.problem is not Reason.NONE:
        return examined
    try:
        result = deidentify(file.data, task.pseudonymiser, location=_location(file, task.root), policy=task.policy)
        hits = residual.found_in(result)
    except Quarantine as quarantine:
        examined.reason = quarantine.reason
        if quarantine.reason.outcome is Outcome.ANNOTATION:
            if _refused(file, task):
                examined.reason = Reason.WITHDRAWN
            else:
                examined.original = file.data
        return examined
    except MedillusError:
        raise
    except Exception:  # noqa: BLE001 - a defect of ours: the file stays out, and no traceback quotes it
        examined.reason = Reason.UNEXPECTED_ERROR
        return examined
    if result.row["patient"] in task.refused:
        examined.reason = Reason.WITHDRAWN
        return examined
    examined.row = result.row
    examined.known = residual.across_files(result.identifiers)
    examined.kept = tuple(dict.fromkeys(value for value in result.kept if residual.is_worth_comparing(value)))
    examined.identity = result.original if task.originals else {}
    if hits:
        examined.reason = Reason.RESIDUAL_IDENTIFIER
        examined.hits = tuple(sorted(hits))
        return examined
    examined.staged = hashlib.sha256(f"{file.source}\x00{file.member}".encode(errors="surrogatepass")).hexdigest()
    examined.staged_sha256 = _stage(task.scratch / examined.staged, result)
    return examined


def _refused(file: SourceFile, task: Task) -> bool:
    """Whether an annotation object is of a patient who was withdrawn."""
    if not task.refused:
        return False
    source = read_encoded(file.data)
    location = _location(file, task.root)
    return identity_of(source.elements, file.data, task.pseudonymiser, location).patient in task.refused


def _stage(path: Path, result: Deidentified) -> str:
    digest = hashlib.sha256(result.header)
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with unfinished.open("wb") as handle:
        handle.write(result.header)
        for part in result.pixels:
            digest.update(part)
            handle.write(part)
    unfinished.replace(path)  # at once: a worker that was given up may still be writing the same file
    return digest.hexdigest()


def _location(file: SourceFile, root: str) -> str:
    """The folder of a file: its delivery and the path in it, or the archive and the path in that.

    Files without ids are told apart by it, so two deliveries with files at the top are not one patient.
    """
    above, _, _ = root.rpartition("/")
    source = file.source.removeprefix(f"{above}/") if above else file.source
    if not file.member:
        return source.rpartition("/")[0]
    return f"{source}!{PurePosixPath(file.member.replace(chr(92), '/')).parent}"


def decoded_sha256(path: Path) -> str | None:
    """SHA-256 of the decoded pixels of a staged file, None where they cannot be decoded."""
    jpeg_plugin.register()
    try:
        with silenced():
            array = parse(path.read_bytes()).pixel_array
    except Exception:  # noqa: BLE001 - whatever a decoder raises: the files then count as different
        return None
    values = array.astype(array.dtype.newbyteorder("<"))
    return hashlib.sha256(repr((values.shape, values.dtype.str)).encode() + values.tobytes()).hexdigest()


@dataclass(frozen=True)
class Defaced:
    """A staged file after its face was removed: its new name and what changes in its row, or why it is left out."""

    reason: Reason
    staged: str = ""
    sha256: str = ""
    changes: dict[str, Any] = field(default_factory=dict)


def remove_faces(staged: tuple[str, ...]) -> list[Defaced]:
    """Deface the staged files of one series, beside them: another attempt finds them as they were."""
    from medillus_pipeline.deidentification.deface_files import deface_series

    task = _current()
    paths = [task.scratch / name for name in staged]
    try:
        made = deface_series([path.read_bytes() for path in paths])
    except Quarantine as quarantine:
        return [Defaced(quarantine.reason)] * len(paths)
    except Exception:  # noqa: BLE001 - a defect of ours: the series stays out, and no traceback quotes it
        return [Defaced(Reason.FACE_NOT_REMOVED)] * len(paths)
    defaced = []
    for path, data in zip(paths, made, strict=True):
        faceless = path.with_name(f"{path.name}.faceless")
        faceless.write_bytes(data)
        written = scan(data)
        if written is None:
            raise ValueError("a defaced file is not as the standard says")
        pixels = next(written.elements[tag] for tag in (0x7FE00010, 0x7FE00008, 0x7FE00009) if tag in written.elements)
        changes: dict[str, Any] = {
            "face": str(Face.REMOVED if written.text(_VISUAL_FEATURES) == "NO" else Face.NONE),
            "transfer_syntax_uid": written.declared_transfer_syntax,
            "pixel_hash": xxhash.xxh3_128_hexdigest(pixels.raw),
        }
        defaced.append(Defaced(Reason.NONE, faceless.name, hashlib.sha256(data).hexdigest(), changes))
    return defaced


def publish(staged: tuple[str, str]) -> Payload:
    """Move a staged file of this name and SHA-256 into the clean zone. Another attempt finds it there."""
    task = _current()
    name, digest = staged
    path = f"instances/{digest[:2]}/{digest}.dcm"
    if not (task.scratch / name).exists() and task.clean.exists(path):
        return Payload(path, digest, len(task.clean.read(path)))
    return task.clean.adopt("instances", task.scratch / name, digest, ".dcm")
