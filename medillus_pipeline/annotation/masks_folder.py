"""Masks of any folder of annotations without Dagster, on the slices that `medillus slices` wrote.

The result mirrors the folder of slices once for every annotator: `<annotator>/series-<16 hex>/<slice name>.png`, with
`masks.parquet`, the tables that go with it, and `report.html`, the page of the batch. Names of the submitted files
stand in the report's ledger alone. It is made in a hidden folder and moved in when all is known. How files are read is
in `submission.py`.
"""

import csv
import io
import json
import os
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medillus_pipeline.annotation.batch import Batch, read_batch
from medillus_pipeline.annotation.outcomes import MEANINGS, Outcome, Reason
from medillus_pipeline.annotation.publication import Existing
from medillus_pipeline.annotation.review.batch_report import build_batch_report
from medillus_pipeline.annotation.review.batch_summary import BatchRows
from medillus_pipeline.annotation.review.second_readers import agreement_of_batch
from medillus_pipeline.annotation.submission import READY, Submission
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.dicom.folder_instances import hashed, hashed_patient, hashed_uid
from medillus_pipeline.dicom.source_folder import UNSEEN, FolderZone, NotRead, list_folder
from medillus_pipeline.errors import InputError, MedillusError, StoreError
from medillus_pipeline.tables import (
    MASK_AGREEMENT,
    MASK_FINDINGS,
    MASK_ITEMS,
    MASK_LAYERS,
    MASKS,
    SLICES,
    STUDY_LABELS,
    from_parquet,
    storable,
    to_parquet,
)

MARKER, STAGING = ".medillus.json", ".unfinished"
LEDGER_FILE, PAGE = "ledger.csv", "report.html"
_MADE_BY = "medillus masks"
_SLICES = "slices.parquet"
_PLACED = "a-*/series-*/s-*.png"

HARMLESS = (Reason.NOT_AN_ANNOTATION, Reason.CORRECTED)
"""Reasons for which nobody has to do anything."""
STATUS: Mapping[int, str] = {
    0: "everything was accepted, or is kept as a layer",
    4: "some of it was refused or waits for its slices; the report says which and why",
}
"""Exit status of a finished run → what it says."""


@dataclass(frozen=True)
class FolderMasks:
    """What became of a folder of annotations: label maps written, structures in them, files read, and receipt lines by
    outcome or reason. `patients_not_compared`: annotations name patients by ids that only the images' key can compare.
    """

    masks: int
    structures: int
    items: int
    counts: dict[str, int]
    complete: bool
    patients_not_compared: bool

    @property
    def status(self) -> int:
        """Exit status: see `STATUS`."""
        return 0 if self.complete else 4


class FolderNames:
    """Stand-ins without a key, as `medillus slices` gives them to identified files."""

    def __init__(self, patients: Collection[str]) -> None:
        self._patients = patients

    def uid(self, original: str) -> str:
        """What `medillus slices` made of a UID."""
        return hashed_uid(original)

    def patient(self, patient_id: str) -> str | None:
        """What it made of a PatientID; None where it may have had another reason to choose (see `folder_instances`)."""
        name = hashed_patient(patient_id)
        return name if name in self._patients else None

    def annotator(self, name: str) -> str:
        """`a-` and 8 hexadecimal digits."""
        return "a-" + hashed("annotator", " ".join(name.split()).casefold())[:8]

    def item(self, content_sha256: str, name: str) -> str:
        """`i-` and 12 hexadecimal digits."""
        return "i-" + hashed("item", f"{content_sha256}\0{name}")[:12]


def masks_of_folder(
    annotations: Path,
    slices: Path,
    destination: Path,
    report: Path,
    vocabulary: Vocabulary,
    *,
    naming: Pseudonymiser | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FolderMasks:
    """Read the folder (or the one file) `annotations` into label maps of the slices in `slices`.

    `destination` then holds nothing of an earlier run; `report` gets `ledger.csv`, which names files and unknown labels
    as submitted. `naming` is the rule by which the images were de-identified, where the annotations still carry the
    hospital's identifiers. `progress` is called with (done, total). Raises InputError where a path cannot be used as it
    is, StoreError where reading or writing fails.
    """
    try:
        return _masks_of_folder(annotations, slices, destination, report, vocabulary, naming, progress)
    except MedillusError:
        raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
    raise StoreError(f"a folder cannot be read or written ({reason}): check space, owner and mode; then run again")


def _masks_of_folder(
    annotations: Path,
    slices: Path,
    destination: Path,
    report: Path,
    vocabulary: Vocabulary,
    naming: Pseudonymiser | None,
    progress: Callable[[int, int], None] | None,
) -> FolderMasks:
    annotations, slices, destination, report = (
        path.expanduser().resolve() for path in (annotations, slices, destination, report)
    )
    _refuse_overlap(annotations, slices, destination, report)
    rows = _slices_in(slices)
    _refuse_foreign(destination)
    names = FolderNames({row["patient"] for row in rows})
    pseudonyms = names if naming is None else naming
    root = annotations if annotations.is_dir() else annotations.parent
    submission = Submission(
        FolderZone(root), "", rows, pseudonyms, vocabulary, names, *((naming,) if naming is not None else ())
    )
    only, left = (None, {}) if annotations.is_dir() else (annotations.name, {})
    if only is None:
        listing = list_folder(root)
        files, left = listing.files, listing.left
    else:  # what stands beside it may speak for it
        files = tuple(sorted(path.name for path in root.iterdir() if path.is_file()))
    if not [path for path in (*files, *left) if Path(path).name != READY]:
        raise InputError("the folder of annotations holds no file to read: nothing was done")
    report.mkdir(parents=True, exist_ok=True)
    destination.mkdir(parents=True, exist_ok=True)
    (destination / MARKER).write_text(json.dumps({"made_by": _MADE_BY}) + "\n")
    staging = destination / STAGING
    try:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        batch = read_batch(submission, FolderZone(staging), Existing([]), files=files, only=only, progress=progress)
        slice_pictures = FolderZone(slices)
        agreement = agreement_of_batch(batch.masks, [], rows, FolderZone(staging).read, vocabulary)
        shown = BatchRows(batch.masks, batch.items, rows, agreement, [], batch.findings, without_values=True)
        places = {row["path"] for row in batch.masks}
        page = build_batch_report(
            "from a folder",
            shown,
            lambda path: (FolderZone(staging) if path in places else slice_pictures).read(path),
            vocabulary,
        )
        for path in destination.glob(_PLACED):
            path.unlink()
        folder = {row["slice_name"]: Path(row["path"]).parent.name for row in rows}
        for row in batch.masks:
            place = Path(row["annotator"], folder[row["slice_name"]], f"{row['slice_name']}.png")
            (destination / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(staging / row["path"], destination / place)
            row["path"] = place.as_posix()
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    for empty in sorted(destination.glob("a-*/**"), reverse=True):
        if empty.is_dir() and not any(empty.iterdir()):
            empty.rmdir()
    tables = (
        (MASK_LAYERS, batch.layers),
        (MASK_FINDINGS, batch.findings),
        (MASK_AGREEMENT, agreement),
        (STUDY_LABELS, batch.labels),
        (MASK_ITEMS, batch.items),
        (MASKS, batch.masks),
    )
    for table, found in tables:
        _write(destination / f"{table.name}.parquet", to_parquet(table.to_arrow(found)))
    _write(destination / PAGE, page.encode())
    _write(report / LEDGER_FILE, _ledger(batch, left))
    return FolderMasks(
        masks=len(batch.masks),
        structures=len({label for row in batch.masks for label in row["labels"]}),
        items=len({line["item"] for line in batch.items}),
        counts=batch.counts,
        complete=not UNSEEN & set(left.values())
        and all(
            line["outcome"] in (Outcome.ACCEPTED, Outcome.KEPT) or line["reason"] in HARMLESS for line in batch.items
        ),
        patients_not_compared=submission.references.not_compared,
    )


def _refuse_overlap(annotations: Path, slices: Path, *results: Path) -> None:
    if not annotations.exists():
        raise InputError("the annotations do not exist: name a folder or a file")
    for result in results:
        if result.exists() and not result.is_dir():
            raise InputError("the result and its report are to be folders, but a file stands there")
        for source in (annotations, slices):
            if result.is_relative_to(source) or source.is_relative_to(result):
                raise InputError("a folder that is read and one that is written overlap; let them stand side by side")
    if results[0] == results[1] or results[1].is_relative_to(results[0]):
        raise InputError("the report names the files as submitted: keep it out of the result")


def _slices_in(folder: Path) -> list[dict[str, Any]]:
    file = folder / _SLICES
    if not file.is_file():
        raise InputError(f"there is no {_SLICES} in the folder of slices: name a folder that `medillus slices` wrote")
    try:
        table = from_parquet(file.read_bytes())
        return SLICES.to_arrow(table.to_pylist()).to_pylist()
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{_SLICES} is damaged or of another release: run `medillus slices` again") from error


def _refuse_foreign(destination: Path) -> None:
    if not destination.exists() or not any(destination.iterdir()):
        return
    try:
        ours = json.loads((destination / MARKER).read_bytes())["made_by"] == _MADE_BY
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        raise InputError("the folder of the result is not empty, and this command did not make it: name an empty one")


def _ledger(batch: Batch, left: Mapping[str, NotRead]) -> bytes:
    """Files as submitted with what became of every structure in them, files that speak for others, names that the
    vocabulary does not know, and entries that are no files to read.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("source", "structure", "outcome", "reason", "slices", "remark", "what to do"))
    advice = {str(reason): meaning for reason, meaning in MEANINGS.items()}
    source = {row["pseudonym"]: row["source"] for row in batch.ledger}
    for line in sorted(batch.items, key=lambda line: (source[line["item"]], line["structure"])):
        said = (line["structure"], line["outcome"], line["reason"], line["slices"], line["remark"])
        writer.writerow((_plain(source[line["item"]]), *said, advice.get(line["reason"], "")))
    for row in batch.ledger:
        if row["member"]:
            writer.writerow((_plain(row["source"]), _plain(row["member"]), "refused", row["reason"], "", "", ""))
        elif row["outcome"] == "directory":
            writer.writerow((_plain(row["source"]), "*", "read", "", "", "says something of other files", ""))
    for path, why in sorted(left.items()):
        writer.writerow((_plain(storable(path)), "*", "not_read", str(why), "", "", ""))
    return text.getvalue().encode()


def _plain(text: str) -> str:
    """Text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text[:1] in "=+-@\t\r" else text


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.name}.unfinished")
    temporary.write_bytes(data)
    temporary.replace(path)
