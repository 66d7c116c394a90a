"""A delivery from the landing zone to de-identified instances in the clean zone, every file accounted for.

Two rounds over a process pool. First every file is read, de-identified and searched, and the result is staged in a
scratch folder outside the clean zone. When the whole delivery is known, files are compared: same instance twice, and
identifiers of one file that stand in another file of the same patient. Only what passed is then written to the clean
zone. Bytes stay in the workers; rows and short values come back.
"""

import multiprocessing
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from medillus_pipeline.deidentification import residual
from medillus_pipeline.deidentification.examination import (
    Examined,
    Task,
    decoded_sha256,
    examine,
    prepare,
    publish,
    remove_faces,
    within,
)
from medillus_pipeline.deidentification.options import Option
from medillus_pipeline.deidentification.policy import Policy, ready
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.deidentification.reidentification import Kind, Original
from medillus_pipeline.deidentification.staging import beside, staging
from medillus_pipeline.dicom.face import Face
from medillus_pipeline.dicom.outcomes import Outcome, Reason
from medillus_pipeline.dicom.reading import Unit, list_units
from medillus_pipeline.dicom.workers import chunk_of, mapped
from medillus_pipeline.errors import TransientError
from medillus_pipeline.tables import storable
from medillus_pipeline.zones import Zone

_MAY_SHOW_FACE = (str(Face.POSSIBLE), str(Face.UNKNOWN))
_ORIGINALS: dict[Kind, str] = {
    "patient": "patient",
    "study": "study_instance_uid",
    "series": "series_instance_uid",
    "instance": "sop_instance_uid",
}
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
    originals: list[Original] = field(default_factory=list, repr=False)

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


def ingest_delivery(
    landing: Zone,
    folder: str,
    clean: Zone,
    pseudonymiser: Pseudonymiser,
    *,
    policy: Policy | None = None,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Progress | None = None,
    scratch: Path | None = None,
    originals: bool = False,
    refused: Collection[str] = (),
) -> Ingested:
    """De-identify the delivery `images/<folder>` of the landing zone into payloads under `instances/` of the clean one.

    `scratch` is where de-identified files wait until the delivery is known (by default a temporary folder beside the
    clean zone; it needs room for the delivery). `progress` is called with (done, total), two steps for each file. With
    `originals` the result says what every pseudonym stands for. Files of patients in `refused` (pseudonyms) stay out.
    `workers` spawned processes share the work, or the `executor` given does, whose workers must see `scratch`; the
    result is the same. Raises StoreError when a zone cannot be used and ConfigurationError when the policy needs a
    program that is missing; a single bad file never raises.
    """
    chosen = policy or Policy()
    ready(chosen)
    units = list_units(landing, folder)
    total = 2 * sum(unit.files for unit in units)
    with staging(scratch or beside(clean)) as staged_in:
        task = Task(landing, clean, pseudonymiser, chosen, staged_in, f"images/{folder}", originals, frozenset(refused))
        with _pool(workers, task, executor) as over:
            report = (lambda done: progress(done, total)) if progress is not None else (lambda _: None)
            examined, known = _examined(units, over, report)
            _resolve_instances(examined, task)
            hits = _resolve_residuals(examined, known)
            if Option.CLEAN_VISUAL_FEATURES in chosen.options:
                _remove_faces(examined, over)
            published = [file for file in examined if file.reason is Reason.NONE]
            staged = [(file.staged, file.staged_sha256) for file in published]
            for done, (file, payload) in enumerate(zip(published, over(publish, staged), strict=True), start=1):
                assert file.row is not None
                file.row.update(path=payload.path, sha256=payload.sha256, bytes=payload.bytes)
                if progress is not None:
                    progress(min(total // 2 + done, total), total)
    if progress is not None and total:
        progress(total, total)
    return _collect(examined, published, hits)


def _examined(
    units: list[Unit], mapped: Callable[[Any, Any], Iterable[Any]], done_with: Callable[[int], None]
) -> tuple[list[Examined], dict[str, dict[str, str]]]:
    """All files of the delivery by name, and what identifies each patient (pseudonym → text → keyword).

    Values that many files share are held once, and so are identifiers.
    """
    shared: dict[Any, Any] = {}
    examined: list[Examined] = []
    known: dict[str, dict[str, str]] = defaultdict(dict)
    done = 0
    for unit, batch in zip(units, mapped(examine, units), strict=True):
        for file in batch:
            file.kept = tuple([shared.setdefault(value, value) for value in file.kept])
            if file.row is not None:
                known[file.row["patient"]] |= file.known
                file.known = {}
                file.row = {sys.intern(name): shared.setdefault(value, value) for name, value in file.row.items()}
        examined += batch
        done += unit.files
        done_with(done)
    examined.sort(key=lambda file: (file.source, file.member))
    return examined, known


def _remove_faces(examined: list[Examined], mapped: Callable[[Any, Any], Iterable[Any]]) -> None:
    """Deface every series of CT or MR that may show a face; leave out what could not be defaced."""
    series: dict[str, list[Examined]] = defaultdict(list)
    for file in examined:
        if file.reason is Reason.NONE and file.row is not None and file.row["face"] in _MAY_SHOW_FACE:
            series[file.row["series_instance_uid"]].append(file)
    groups = list(series.values())
    names = [tuple(file.staged for file in files) for files in groups]
    for files, results in zip(groups, mapped(remove_faces, names), strict=True):
        for file, result in zip(files, results, strict=True):
            assert file.row is not None
            file.reason = result.reason
            if result.reason is Reason.NONE:
                file.staged = result.staged
                file.staged_sha256 = result.sha256
                file.row = file.row | result.changes


def _collect(examined: list[Examined], published: list[Examined], hits: Counter[str]) -> Ingested:
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
        originals=_originals(published),
        residual_hits=[{"attribute": keyword, "count": count} for keyword, count in sorted(hits.items())],
    )


def _originals(published: list[Examined]) -> list[Original]:
    """Whose the published instances are; identifiers that the source did not give stand behind nothing."""
    found: set[Original] = set()
    for file in published:
        if file.row is None:
            continue
        for kind, column in _ORIGINALS.items():
            if file.identity.get(kind):
                found.add(Original(kind, file.row[column], file.identity[kind]))
    return sorted(found, key=lambda item: (item.kind, item.pseudonym, item.original))


def _resolve_instances(examined: list[Examined], task: Task) -> None:
    """Same SOP Instance UID: the first one is published where all pixels agree, none where they do not.

    Files whose encoded pixels differ are decoded, so one slice in two lossless syntaxes is no conflict. A copy that
    cannot be decoded cannot be compared: it is in conflict by itself, and costs the others nothing.
    """
    by_uid: dict[str, list[Examined]] = defaultdict(list)
    for file in examined:
        if file.reason is Reason.NONE and file.row is not None:
            by_uid[file.row["sop_instance_uid"]].append(file)
    for files in by_uid.values():
        if len(files) == 1:
            continue
        pixels = [file.row["pixel_hash"] for file in files if file.row]
        if len(set(pixels)) > 1:
            pixels = [decoded_sha256(task.scratch / file.staged) for file in files]
        comparable = [file for file, value in zip(files, pixels, strict=True) if value is not None]
        agree = len({value for value in pixels if value is not None}) == 1
        for file in files:
            if not agree or file not in comparable:
                file.reason = Reason.DIFFERENT_PIXELS
            elif file is not comparable[0]:
                file.reason = Reason.SAME_PIXELS


def _resolve_residuals(examined: list[Examined], known: Mapping[str, Mapping[str, str]]) -> Counter[str]:
    """Search each patient's kept values for identifiers of all of that patient's files; quarantine what holds one."""
    hits: Counter[str] = Counter(keyword for file in examined for keyword in file.hits)
    by_patient: dict[str, list[Examined]] = defaultdict(list)
    for file in examined:
        if file.row is not None:
            by_patient[file.row["patient"]].append(file)
    for patient, files in by_patient.items():
        found = residual.search_kept({kept for file in files for kept in file.kept}, known[patient])
        for file in files:
            keywords = set().union(*(found[kept] for kept in file.kept if kept in found)) if found else set()
            if keywords:
                if file.reason is Reason.NONE:
                    file.reason = Reason.RESIDUAL_IDENTIFIER
                hits.update(keywords - set(file.hits))
    return hits


@contextmanager
def _pool(
    workers: int, task: Task, given: Executor | None
) -> Iterator[Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]]:
    """An ordered map over the executor given, over spawned processes, or in this one where one worker is asked for."""
    if given is not None:
        yield lambda function, items: mapped(given, partial(within, task, function), items, chunk=chunk_of(len(items)))
        return
    if workers <= 1:
        prepare(task)
        yield map
        return
    context = multiprocessing.get_context("spawn")
    executor: Executor = ProcessPoolExecutor(workers, mp_context=context, initializer=prepare, initargs=(task,))
    try:
        yield lambda function, items: executor.map(function, items, chunksize=max(1, min(16, len(items) // workers)))
    except BrokenProcessPool as error:
        raise TransientError(
            "a worker process ended abruptly, out of memory or in a decoder: run again with fewer workers "
            "(MEDILLUS_WORKERS)"
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)
