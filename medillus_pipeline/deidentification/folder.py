"""De-identify any folder without Dagster: the same code as the asset, DICOM to a folder, the proof to a report.

The result is laid out by pseudonyms. It is made in a hidden folder and moved in when the whole source is known, so a
file of the result is whole or absent, and a run that was stopped is repeated with the same bytes. What is identified
(ledger, files not yet searched) stays in the report folder, which only its owner may enter. What the report says and
how it is written is not here: see `folder_report.py`.
"""

import hashlib
import hmac
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from medillus_pipeline.deidentification.folder_report import FolderResult, write_report
from medillus_pipeline.deidentification.ingest import Ingested, ingest_delivery
from medillus_pipeline.deidentification.options import Option
from medillus_pipeline.deidentification.policy import Policy, ready
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.deidentification.reidentification import ReidentificationTables, entries_of
from medillus_pipeline.deidentification.result_folder import (
    MARKER,
    REPORT_FILES,
    SCRATCH,
    STAGING,
    held,
    key_check,
    marker_of,
    move_in,
    refuse_foreign,
    remove_others,
    write_whole,
)
from medillus_pipeline.dicom.outcomes import Outcome
from medillus_pipeline.dicom.source_folder import FolderZone, Listing, SourceZone, list_folder
from medillus_pipeline.errors import InputError, MedillusError, StoreError
from medillus_pipeline.tables import storable


def folder_pseudonymiser(key: bytes) -> Pseudonymiser:
    """A pseudonymiser of a key alone: the split salt, which only an installation needs, is derived from it.

    Split tokens of a folder are therefore not those of an installation, whose salt outlives its key. Raises ValueError
    for a key of fewer than 32 bytes.
    """
    return Pseudonymiser(key=key, split_salt=hmac.new(key, b"split salt of a folder", hashlib.sha256).digest())


def deidentify_folder(
    source: Path,
    destination: Path,
    report: Path,
    pseudonymiser: Pseudonymiser,
    *,
    policy: Policy,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    reidentification_key: bytes | None = None,
) -> FolderResult:
    """De-identify the folder (or the one file or archive) `source` into the folder `destination`.

    `destination` then holds `<patient>/<study>/<series>/<instance>.dcm`, named by pseudonyms, and nothing else of an
    earlier run. `report` is a folder for working files, the ledger and, with a `reidentification_key`, the encrypted
    table. `progress` is called with (done, total).

    Raises InputError where a path cannot be used as it is, ConfigurationError where the policy needs a program that is
    missing, StoreError where reading or writing fails. Whatever was in
    `destination` before stays as it was until the whole source is known.
    """
    source, destination, report = (path.expanduser().resolve() for path in (source, destination, report))
    _refuse_overlap(source, destination, report)
    ready(policy)
    with _explained("the source cannot be read"):
        root, name, listing = _listed(source)
    tables = None
    if reidentification_key is not None:
        tables = ReidentificationTables(FolderZone(report), reidentification_key, other_than=pseudonymiser.key)
    marker = marker_of(source, pseudonymiser.key, policy)
    with _explained("the result or its report cannot be written"):
        refuse_foreign(destination, marker)
        with held(report):
            destination.mkdir(parents=True, exist_ok=True)
            write_whole(destination / MARKER, marker)
            staging, scratch = destination / STAGING, report / SCRATCH
            try:
                for folder in (staging, scratch):
                    shutil.rmtree(folder, ignore_errors=True)
                    folder.mkdir(mode=0o700)
                ingested = ingest_delivery(
                    SourceZone(root, name, listing),
                    name,
                    FolderZone(staging),
                    pseudonymiser,
                    workers=workers,
                    progress=progress,
                    policy=policy,
                    originals=tables is not None,
                    scratch=scratch,
                )
                for file in REPORT_FILES:
                    (report / file).unlink(missing_ok=True)
                if tables is not None:
                    moved = Option.RETAIN_MODIFIED_DATES in policy.options
                    tables.publish("folder", entries_of(ingested.originals, pseudonymiser, dates_moved=moved))
                move_in(ingested.instances, staging, destination)
                removed = remove_others(ingested.instances, destination)
            finally:
                for folder in (staging, scratch):
                    shutil.rmtree(folder, ignore_errors=True)
            result = _accounted(ingested, listing, f"images/{name}/", removed, key_check(pseudonymiser.key), policy)
            write_report(result, report)
    return result


def _refuse_overlap(source: Path, destination: Path, report: Path) -> None:
    paths = {"the source": source, "the result": destination, "the report": report}
    for inner, path in paths.items():
        for outer, other in paths.items():
            if inner != outer and path.is_relative_to(other):
                where = "are the same" if path == other else f"overlap: {inner} lies inside {outer}"
                raise InputError(f"{inner} and {outer} {where}; name folders that stand beside each other")


def _listed(source: Path) -> tuple[Path, str, Listing]:
    """Folder, name of the delivery, and what is in it. Raises InputError where there is nothing to read."""
    if source.is_file():
        return source.parent, source.parent.name or "source", Listing((source.name,), {})
    if not source.is_dir():
        raise InputError("the source does not exist, or is neither a folder nor a file")
    listing = list_folder(source)
    if not listing.files and not listing.left:
        raise InputError("the source is an empty folder: nothing was done")
    return source, source.name or "source", listing


def _accounted(
    ingested: Ingested, listing: Listing, prefix: str, removed: int, check: str, policy: Policy
) -> FolderResult:
    """The result with every entry of the listing in its ledger, and how many are missing there all the same."""
    ledger = [row | {"source": row["source"].removeprefix(storable(prefix))} for row in ingested.ledger]
    unaccounted = len({storable(file) for file in listing.files} - {row["source"] for row in ledger})
    unaccounted += abs(ingested.counts.get(Outcome.PUBLISHED, 0) - len(ingested.instances))
    counts = dict(ingested.counts)
    for path, reason in listing.left.items():
        nothing = {"member": "", "sha256": "", "bytes": 0, "pseudonym": None}
        ledger.append({"source": storable(path), "outcome": "not_read", "reason": str(reason)} | nothing)
        counts[f"not_read/{reason}"] = counts.get(f"not_read/{reason}", 0) + 1
    ledger.sort(key=lambda row: (row["source"], row["member"]))
    return FolderResult(
        instances=ingested.instances,
        ledger=ledger,
        counts=dict(sorted(counts.items())),
        residual_hits=ingested.residual_hits,
        unaccounted=unaccounted,
        removed=removed,
        key_check=check,
        policy=policy,
    )


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """What the operating system refuses, as StoreError without the name of a file."""
    try:
        yield
    except MedillusError:
        raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
    else:
        return
    raise StoreError(f"{what} ({reason}): check space, owner and mode of the folders; then run again")
