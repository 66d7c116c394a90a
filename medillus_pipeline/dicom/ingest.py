"""A delivery from the landing zone to de-identified instances in the clean zone, every file accounted for.

Two rounds over a process pool. First every file is read, de-identified and searched, and the result is staged in a
scratch folder outside the clean zone. When the whole delivery is known, files are compared: same instance twice, and
identifiers of one file that stand in another file of the same patient. Only what passed is then written to the clean
zone. Bytes stay in the workers; rows and short values come back.
"""

import hashlib
import multiprocessing
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pydicom.uid import UID

from medillus_pipeline.dicom import residual
from medillus_pipeline.dicom.deidentify import deidentify
from medillus_pipeline.dicom.outcomes import Outcome, Quarantine, Reason
from medillus_pipeline.dicom.pseudonyms import Pseudonymiser
from medillus_pipeline.dicom.reading import SourceFile, Unit, list_units, parse, read_unit, silenced
from medillus_pipeline.errors import MedillusError, StoreError, TransientError
from medillus_pipeline.tables import storable
from medillus_pipeline.zones import Payload, Zone

Progress = Callable[[int, int], None]


@dataclass
class Ingested:
    """What became of a delivery.

    `instances` are rows of INSTANCES, `ledger` rows of LEDGER (restricted). `counts` maps an outcome, or
    `quarantined/<reason>`, to a number of files; it sums up to the ledger. `annotation_objects` are (name, original
    identified bytes) of RTSTRUCT and SEG objects, to be forwarded inside the restricted side. `residual_hits` says
    which attributes' values the residual search found: attribute keyword and number of files, never a value.
    """

    instances: list[dict[str, Any]] = field(default_factory=list)
    ledger: list[dict[str, Any]] = field(default_factory=list, repr=False)
    counts: dict[str, int] = field(default_factory=dict)
    annotation_objects: list[tuple[str, bytes]] = field(default_factory=list, repr=False)
    residual_hits: list[dict[str, Any]] = field(default_factory=list)

    def nothing_published(self) -> str | None:
        """One sentence on what to do where no instance was published; None where some were."""
        if self.instances:
            return None
        if not self.ledger:
            return "the delivery holds no file besides its marker: put the images in the folder before closing it"
        tally = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))
        return (
            f"none of the {len(self.ledger)} files of the delivery could be published ({tally}): "
            "deliver DICOM images, or look in the vault's ledger for the reason of each file"
        )


@dataclass
class _Examined:
    """What a worker says about one file. Identified; stays on the restricted side."""

    source: str
    member: str
    sha256: str
    size: int
    reason: Reason
    row: dict[str, Any] | None = None
    staged: str = ""
    identifiers: list[residual.Identifier] = field(default_factory=list)
    kept: list[residual.Kept] = field(default_factory=list)
    hits: list[str] = field(default_factory=list)
    original: bytes = b""


@dataclass(frozen=True)
class _Task:
    """What every worker needs."""

    landing: Zone
    clean: Zone
    pseudonymiser: Pseudonymiser
    scratch: Path
    root: str


def ingest_delivery(
    landing: Zone,
    folder: str,
    clean: Zone,
    pseudonymiser: Pseudonymiser,
    *,
    workers: int = 1,
    progress: Progress | None = None,
    scratch: Path | None = None,
) -> Ingested:
    """De-identify the delivery `images/<folder>` of the landing zone into payloads under `instances/` of the clean one.

    `scratch` is where de-identified files wait until the delivery is known (a temporary folder by default; it needs
    room for the delivery). `progress` is called with (done, total), two steps for each file. Raises StoreError when a
    zone cannot be used; a single bad file never raises.
    """
    units = list_units(landing, folder)
    total = 2 * sum(unit.files for unit in units)
    with tempfile.TemporaryDirectory(prefix="medillus-", dir=scratch) as staging:
        task = _Task(landing, clean, pseudonymiser, Path(staging), f"images/{folder}")
        with _pool(workers, task) as mapped:
            examined: list[_Examined] = []
            done = 0
            for unit, batch in zip(units, mapped(_examine, units), strict=True):
                examined += batch
                done += unit.files
                if progress is not None:
                    progress(done, total)
            examined.sort(key=lambda file: (file.source, file.member))
            _resolve_instances(examined, task)
            hits = _resolve_residuals(examined)
            published = [file for file in examined if file.reason is Reason.NONE]
            for done, (file, payload) in enumerate(
                zip(published, mapped(_publish, [file.staged for file in published]), strict=True), start=1
            ):
                assert file.row is not None
                file.row.update(path=payload.path, sha256=payload.sha256, bytes=payload.bytes)
                if progress is not None:
                    progress(min(total // 2 + done, total), total)
    if progress is not None and total:
        progress(total, total)
    return _collect(examined, published, hits)


def _collect(examined: list[_Examined], published: list[_Examined], hits: Counter[str]) -> Ingested:
    counts: Counter[str] = Counter()
    ledger, annotations = [], []
    for file in examined:
        outcome = file.reason.outcome
        counts[f"{outcome}/{file.reason}" if outcome is Outcome.QUARANTINED else str(outcome)] += 1
        ledger.append(
            {
                "source": storable(file.source),
                "member": storable(file.member),
                "sha256": file.sha256,
                "bytes": file.size,
                "outcome": str(outcome),
                "reason": str(file.reason),
                "pseudonym": file.row["sop_instance_uid"] if file.row else None,
            }
        )
        if outcome is Outcome.ANNOTATION:
            annotations.append((f"{file.reason}-{file.sha256[:16]}.dcm", file.original))
    return Ingested(
        instances=sorted((file.row for file in published if file.row), key=lambda row: row["sop_instance_uid"]),
        ledger=ledger,
        counts=dict(sorted(counts.items())),
        annotation_objects=sorted(set(annotations)),
        residual_hits=[{"attribute": keyword, "count": count} for keyword, count in sorted(hits.items())],
    )


def _resolve_instances(examined: list[_Examined], task: _Task) -> None:
    """Same SOP Instance UID: the first one is published where all pixels agree, none where they do not.

    Files whose encoded pixels differ are decoded, so one slice in two lossless syntaxes is no conflict. A copy that
    cannot be decoded cannot be compared: it is in conflict by itself, and costs the others nothing.
    """
    by_uid: dict[str, list[_Examined]] = defaultdict(list)
    for file in examined:
        if file.reason is Reason.NONE and file.row is not None:
            by_uid[file.row["sop_instance_uid"]].append(file)
    for files in by_uid.values():
        if len(files) == 1:
            continue
        pixels = [file.row["pixel_sha256"] for file in files if file.row]
        if len(set(pixels)) > 1:
            pixels = [_decoded_sha256(task.scratch / file.staged) for file in files]
        comparable = [file for file, value in zip(files, pixels, strict=True) if value is not None]
        agree = len({value for value in pixels if value is not None}) == 1
        for file in files:
            if not agree or file not in comparable:
                file.reason = Reason.DIFFERENT_PIXELS
            elif file is not comparable[0]:
                file.reason = Reason.SAME_PIXELS


def _decoded_sha256(path: Path) -> str | None:
    """SHA-256 of the decoded pixels, None where they cannot be decoded."""
    try:
        with silenced():
            array = parse(path.read_bytes()).pixel_array
    except Exception:  # noqa: BLE001 - whatever a decoder raises: the files then count as different
        return None
    values = array.astype(array.dtype.newbyteorder("<"))
    return hashlib.sha256(repr((values.shape, values.dtype.str)).encode() + values.tobytes()).hexdigest()


def _resolve_residuals(examined: list[_Examined]) -> Counter[str]:
    """Search each patient's kept values for identifiers of all of that patient's files; quarantine what holds one."""
    hits: Counter[str] = Counter(keyword for file in examined for keyword in file.hits)
    by_patient: dict[str, list[_Examined]] = defaultdict(list)
    for file in examined:
        if file.row is not None:
            by_patient[file.row["patient"]].append(file)
    for files in by_patient.values():
        identifiers = {i.text: i for file in files for i in file.identifiers}
        found = residual.search_kept({kept for file in files for kept in file.kept}, identifiers.values())
        for file in files:
            keywords = set().union(*(found[kept] for kept in file.kept if kept in found)) if found else set()
            if keywords:
                if file.reason is Reason.NONE:
                    file.reason = Reason.RESIDUAL_IDENTIFIER
                hits.update(keywords - set(file.hits))
    return hits


@contextmanager
def _pool(workers: int, task: _Task) -> Iterator[Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]]:
    """An ordered map over spawned processes, or over this one where one worker is asked for."""
    if workers <= 1:
        _prepare(task)
        yield map
        return
    context = multiprocessing.get_context("spawn")
    executor: Executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare, initargs=(task,))
    try:
        yield lambda function, items: executor.map(function, items, chunksize=max(1, min(16, len(items) // workers)))
    except BrokenProcessPool as error:
        raise TransientError(
            "a worker process ended abruptly, out of memory or in a decoder: run again with fewer workers "
            "(MEDILLUS_WORKERS)"
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


_task: _Task | None = None


def _prepare(task: _Task) -> None:
    global _task
    _task = task


def _current() -> _Task:
    if _task is None:
        raise RuntimeError("the worker was not prepared")
    return _task


def _examine(unit: Unit) -> list[_Examined]:
    """Read, de-identify, search and stage the files of a unit. Exceptions never carry what a file says."""
    task = _current()
    try:
        return [_examine_file(file, task) for file in read_unit(task.landing, unit)]
    except MedillusError:
        raise
    except OSError as error:
        kind = type(error).__name__
    raise StoreError(f"reading the landing zone or writing the scratch folder failed ({kind}): check space and access")


def _examine_file(file: SourceFile, task: _Task) -> _Examined:
    examined = _Examined(file.source, file.member, file.sha256, file.size, file.problem)
    if file.problem is not Reason.NONE:
        return examined
    try:
        result = deidentify(file.data, task.pseudonymiser, location=_location(file, task.root))
    except Quarantine as quarantine:
        examined.reason = quarantine.reason
        if quarantine.reason.outcome is Outcome.ANNOTATION:
            examined.original = file.data
        return examined
    except Exception:  # noqa: BLE001 - a defect of ours: the file stays out, and no traceback quotes it
        examined.reason = Reason.UNEXPECTED_ERROR
        return examined
    cells = [str(value) for value in result.row.values()]
    hits = residual.search(result.header, result.elements, cells, result.identifiers)
    hits += residual.unchanged(result.replaced)
    hits += residual.dates_in_text(result.replaced, result.kept)
    if UID(result.row["transfer_syntax_uid"]).is_compressed:
        hits += residual.search_compressed(result.data[len(result.header) :], result.identifiers)
    examined.row = result.row
    examined.identifiers = result.identifiers
    examined.kept = list(dict.fromkeys(result.kept))
    if hits:
        examined.reason = Reason.RESIDUAL_IDENTIFIER
        examined.hits = sorted(hits)
        return examined
    examined.staged = hashlib.sha256(f"{file.source}\x00{file.member}".encode(errors="surrogatepass")).hexdigest()
    (task.scratch / examined.staged).write_bytes(result.data)
    return examined


def _location(file: SourceFile, root: str) -> str:
    """The folder of a file: its delivery and the path in it, or the archive and the path in that.

    Files without ids are told apart by it, so two deliveries with files at the top are not one patient.
    """
    source = PurePosixPath(file.source).relative_to(PurePosixPath(root).parent)
    if not file.member:
        return source.parent.as_posix()
    return f"{source}!{PurePosixPath(file.member.replace(chr(92), '/')).parent}"


def _publish(staged: str) -> Payload:
    task = _current()
    path = task.scratch / staged
    payload = task.clean.put("instances", path.read_bytes(), ".dcm")
    path.unlink()
    return payload
