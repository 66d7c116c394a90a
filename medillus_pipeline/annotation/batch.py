"""One annotation batch, from its folder to label maps, layers, a receipt and ledger rows.

Every file is an item of its own: one that cannot be read costs no other its place. What may leave here for the clean
side is everything but `ledger`, which holds original names and stays restricted. How files are read is in
`submission.py`, what becomes of drawings in `publication.py`.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from medillus_pipeline.annotation import receipt
from medillus_pipeline.annotation.plausibility.copies import copied
from medillus_pipeline.annotation.plausibility.findings import Finding, FindingKind, Severity, rows
from medillus_pipeline.annotation.publication import Existing, Published, gather, publish
from medillus_pipeline.annotation.screening import Values, screen
from medillus_pipeline.annotation.slice_index import SliceIndex
from medillus_pipeline.annotation.study.label_revisions import settle
from medillus_pipeline.annotation.submission import READY, Submission
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.zones import Zone

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Batch:
    """What a batch became: rows of MASKS, MASK_LAYERS, MASK_FINDINGS, STUDY_LABELS, MASK_ITEMS and (restricted) LEDGER.

    `counts`: receipt lines that were accepted, and the others by reason. `unknown_labels`: per item with names that the
    vocabulary does not know, how many, and the closest keys of our own; never the names themselves.
    """

    masks: Rows
    layers: Rows
    findings: Rows
    labels: Rows
    items: Rows
    ledger: Rows
    counts: dict[str, int]
    unknown_labels: Rows


def read_batch(
    submission: Submission,
    clean: Zone,
    existing: Existing,
    *,
    values: Values = lambda target: None,
    warn_only: Collection[FindingKind] = (),
    files: Sequence[str] | None = None,
    only: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Batch:
    """Read every file of `submission` and write its label PNGs to `clean`. `files`, where given, stand in place of a
    listing; of the items among them `only` is read, where given.

    `existing` are the masks of *other* batches published before: a mask of an annotator who has one of the same slice
    there becomes the next revision, unless it is the same. `values` gives the calibrated values of a slice, without
    which place and tissue are not judged; findings of the kinds in `warn_only` take nothing off. The same batch read
    again with the same arguments gives the same bytes. An empty batch, or one without a readable item, is no error
    here: its receipt says so. Raises StoreError when a zone does not answer.
    """
    listed = submission.zone.files(submission.root) if files is None else files
    paths = [path for path in listed if PurePosixPath(path).name != READY]
    submission.read_side_files(paths)
    content = [path for path in paths if path not in submission.side_files and only in (None, path)]
    items = list(submission.broken)
    for done, path in enumerate(content, start=1):
        items.append(submission.item(path))
        if progress:
            progress(done, len(content))
    vocabulary = submission.vocabulary
    gathered = gather(items, existing, vocabulary)
    findings = screen(gathered, submission.index, values, vocabulary, warn_only=warn_only)
    published = publish(gathered, existing, submission.index, clean, vocabulary)
    labels = settle(items, existing.labels)
    lines = receipt.lines(items)
    return Batch(
        masks=published.masks,
        layers=published.layers,
        findings=findings + _afterthoughts(published, existing, submission.index, vocabulary),
        labels=labels,
        items=lines,
        ledger=submission.side_rows + receipt.ledger(items, lines),
        counts=receipt.counts(lines),
        unknown_labels=[
            {
                "item": item.name,
                "labels": len(item.drawing.unknown_labels),
                "suggestions": sorted({s for t in item.drawing.unknown_labels for s in vocabulary.suggest(t)}),
            }
            for item in items
            if item.drawing.unknown_labels
        ],
    )


def _afterthoughts(published: Published, existing: Existing, index: SliceIndex, vocabulary: Vocabulary) -> Rows:
    """Findings that only published label maps show: structures that a revision lacks (meant, or forgotten?), and label
    maps that another patient has too.
    """
    found = []
    for name, annotator, label in published.gone:
        finding = Finding(FindingKind.GONE, label, name, 0.0, 1.0, None, "structures", Severity.WARN)
        found += rows([finding], index.by_name[name].series_instance_uid, annotator, vocabulary)
    for annotator in sorted({row["annotator"] for row in published.masks}):
        own = [row for row in published.masks if row["annotator"] == annotator]
        others = [row for row in published.masks if row["annotator"] != annotator]
        for finding in copied(own, [*existing.owners, *others]):
            series = index.by_name[finding.slice_name or ""].series_instance_uid
            found += rows([finding], series, annotator, vocabulary)
    return found
