"""One annotation batch, from its landing folder to label maps, a receipt and ledger rows.

Every file is an item of its own: one that cannot be read costs no other its place. What may leave here for the clean
side is `masks`, `items`, `counts` and `unknown_labels`; `ledger` holds original names and stays restricted.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from medillus_pipeline.annotation import labelme, nifti, receipt, rtstruct
from medillus_pipeline.annotation.drawing import WHOLE_ITEM, Drawing
from medillus_pipeline.annotation.label_map import Region, compose
from medillus_pipeline.annotation.outcomes import Reason, Refused
from medillus_pipeline.annotation.receipt import Item
from medillus_pipeline.annotation.references import References
from medillus_pipeline.annotation.slice_index import SliceIndex
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.dicom.png import encode_png
from medillus_pipeline.tables import storable
from medillus_pipeline.zones import Zone

READY, INDEX, DECLARATION, ANNOTATOR = "_READY", "index.json", "batch.json", "annotator.txt"
UNKNOWN = "unknown"
MAXIMUM_FILE_BYTES = 2**30
MAXIMUM_REVISION = 2**31 - 1


@dataclass(frozen=True)
class Batch:
    """What a batch became: rows of MASKS, MASK_ITEMS and (restricted) LEDGER.

    `counts`: receipt lines that were accepted, and the others by reason. `unknown_labels`: per item with names that the
    vocabulary does not know, how many, and the closest keys of our own; never the names themselves.
    """

    masks: list[dict[str, Any]]
    items: list[dict[str, Any]]
    ledger: list[dict[str, Any]]
    counts: dict[str, int]
    unknown_labels: list[dict[str, Any]]


def read_batch(
    landing: Zone,
    folder: str,
    slices: Sequence[Mapping[str, Any]],
    clean: Zone,
    pseudonymiser: Pseudonymiser,
    vocabulary: Vocabulary,
    existing: Sequence[Mapping[str, Any]],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Batch:
    """Read `annotations/<folder>/` and write its label PNGs to `clean`.

    `slices` are the rows of SLICES that may be annotated, `existing` the rows of MASKS of *other* batches published
    before: a mask of an annotator who has one of the same slice there becomes the next revision. The same batch read
    again with the same arguments gives the same bytes. An empty batch, or one without a readable item, is no error
    here: its receipt says so. Raises StoreError when a zone does not answer.
    """
    root = f"annotations/{folder}"
    paths = [path for path in landing.files(root) if PurePosixPath(path).name != READY]
    index = SliceIndex(slices)
    reader = _BatchReader(landing, root, index, pseudonymiser, vocabulary)
    reader.read_declarations(paths)
    content = [path for path in paths if path not in reader.declarations]
    items = list(reader.broken_declarations)
    for done, path in enumerate(content, start=1):
        items.append(reader.item(path))
        if progress:
            progress(done, len(content))
    masks = _publish(items, reader, index, clean, existing)
    lines = receipt.lines(items, vocabulary, {row["slice_name"]: set(row["labels"]) for row in masks})
    return Batch(
        masks=masks,
        items=lines,
        ledger=reader.declaration_rows + receipt.ledger(items, lines),
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


class _BatchReader:
    """Reads the files of one batch; knows its declarations (annotator, revision, indices of volumes)."""

    def __init__(
        self, landing: Zone, root: str, index: SliceIndex, pseudonymiser: Pseudonymiser, vocabulary: Vocabulary
    ) -> None:
        self.landing = landing
        self.root = root
        self.index = index
        self.pseudonymiser = pseudonymiser
        self.references = References(index, pseudonymiser)
        self.vocabulary = vocabulary
        self.annotator = pseudonymiser.annotator(UNKNOWN)
        self.revision: int | None = None
        self.volumes: dict[str, nifti.VolumeEntry] = {}
        self.declarations: set[str] = set()
        self.declaration_rows: list[dict[str, Any]] = []
        self.broken_declarations: list[Item] = []

    def read_declarations(self, paths: Sequence[str]) -> None:
        """Read batch.json and annotator.txt at the top and every index.json; a broken one becomes a refused item."""
        for path in paths:
            name = PurePosixPath(path).name
            top = str(PurePosixPath(path).parent) == self.root
            if name != INDEX and not (top and name in (DECLARATION, ANNOTATOR)):
                continue
            self.declarations.add(path)
            item, data = self._load(path)
            item.drawing = Drawing(UNKNOWN)
            try:
                if name == INDEX:
                    for entry in nifti.read_index(data, self.references):
                        self.volumes[str(PurePosixPath(path).parent / entry.file)] = entry
                elif name == DECLARATION:
                    self._declare(labelme.parse(data))
                else:
                    self._annotator(data.decode("utf-8-sig").strip())
            except (Refused, UnicodeError):
                item.drawing.note(WHOLE_ITEM, Reason.BROKEN_FILE, "")
                self.broken_declarations.append(item)
            else:
                self.declaration_rows.append(receipt.ledger_row(item, "directory", ""))

    def _declare(self, document: Any) -> None:
        if not isinstance(document, dict):
            raise Refused(Reason.BROKEN_FILE)
        annotator, revision = document.get("annotator"), document.get("revision")
        if annotator is not None:
            if not isinstance(annotator, str):
                raise Refused(Reason.BROKEN_FILE)
            self._annotator(annotator)
        if revision is not None:
            if type(revision) is not int or not 1 <= revision <= MAXIMUM_REVISION:
                raise Refused(Reason.BROKEN_FILE)
            self.revision = revision

    def _annotator(self, name: str) -> None:
        if name:
            self.annotator = self.pseudonymiser.annotator(name)

    def _load(self, path: str) -> tuple[Item, bytes]:
        """The file as an item, and its bytes: none when it is over the limit (noted) or gone since the listing."""
        size, data = 0, b""
        try:
            size = int(self.landing.fs.size(self.landing.full(path)) or 0)
            data = self.landing.read(path) if size <= MAXIMUM_FILE_BYTES else b""
        except FileNotFoundError:
            pass
        inside = storable(str(PurePosixPath(path).relative_to(self.root)))
        digest = hashlib.sha256(data).hexdigest()
        drawing = Drawing(_format(path, data))
        if not data:
            drawing.note(WHOLE_ITEM, Reason.TOO_LARGE if size else Reason.BROKEN_FILE, "")
        return Item(inside, digest, size, self.pseudonymiser.item(digest, inside), drawing), data

    def item(self, path: str) -> Item:
        """One file, read as what it is."""
        item, data = self._load(path)
        if not data:
            return item
        try:
            item.drawing = self._drawing(path, data, item.drawing.source_format)
            self._leave_out_unions(item.drawing)
            for structure in (self.vocabulary.by_id(identifier) for identifier in item.drawing.structures):
                if structure.kind == "target":
                    item.drawing.drop(structure, Reason.PLANNING_TARGET)
        except Refused as refused:
            item.drawing.note(WHOLE_ITEM, refused.reason, "", refused.outcome)
        return item

    def _drawing(self, path: str, data: bytes, source_format: str) -> Drawing:
        match source_format:
            case labelme.FORMAT:
                return labelme.read(data, path, self.index, self.vocabulary)
            case rtstruct.FORMAT:
                return rtstruct.read(data, self.references, self.index, self.vocabulary)
            case nifti.FORMAT:
                entry = self.volumes.get(path)
                if entry is None:
                    raise Refused(Reason.NOT_IN_INDEX)
                return nifti.read(data, entry, self.index, self.vocabulary)
            case _:
                raise Refused(Reason.UNSUPPORTED_FORMAT)

    def _leave_out_unions(self, drawing: Drawing) -> None:
        drawn = drawing.structures
        for identifier in sorted(drawn):
            structure = self.vocabulary.by_id(identifier)
            if structure.parts and all(self.vocabulary.by_key(part).id in drawn for part in structure.parts):
                drawing.drop(structure, Reason.UNION_OF_PARTS)


def _format(path: str, data: bytes) -> str:
    """What a file is, by its content first; unknown for everything that is not read here."""
    name = path.lower()
    if data[128:132] == b"DICM" or name.endswith(".dcm"):
        return rtstruct.FORMAT if rtstruct.SOP_CLASS.encode() in data[:4096] else UNKNOWN
    if name.endswith(".json"):
        return labelme.FORMAT
    return nifti.FORMAT if name.endswith((".nii", ".nii.gz")) else UNKNOWN


def _publish(
    items: list[Item],
    reader: _BatchReader,
    index: SliceIndex,
    clean: Zone,
    existing: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Compose and write one label map per slice. Items that draw different structures on a slice share its map; the
    row names the first of them.
    """
    taken: dict[tuple[str, str], set[int]] = defaultdict(set)
    for row in existing:
        taken[row["slice_name"], row["annotator"]].add(int(row["revision"]))
    gathered: dict[str, dict[int, Region]] = {}
    first: dict[str, Item] = {}
    for item in items:
        for name in sorted(item.drawing.regions):
            revisions = taken.get((name, reader.annotator), set())
            for identifier, region in item.drawing.regions[name].items():
                key = reader.vocabulary.by_id(identifier).key
                if reader.revision in revisions:
                    item.drawing.note(key, Reason.REVISION_EXISTS, name)
                elif identifier in gathered.get(name, {}):
                    item.drawing.note(key, Reason.SLICE_TWICE, name)
                else:
                    gathered.setdefault(name, {})[identifier] = region
                    item.drawn[identifier].add(name)
                    first.setdefault(name, item)
        item.drawing.regions = {}
    palette = reader.vocabulary.palette()
    masks = []
    for name in sorted(gathered):
        target = index.by_name[name]
        composed = compose(gathered[name], target.rows, target.columns, reader.vocabulary)
        payload = clean.put("masks", encode_png(composed.values, palette), ".png")
        revision = reader.revision or 1 + max(taken.get((name, reader.annotator), {0}))
        masks.append(
            {
                "slice_name": name,
                "sop_instance_uid": target.sop_instance_uid,
                "frame": target.frame,
                "patient": target.patient,
                "annotator": reader.annotator,
                "revision": revision,
                "source_format": first[name].drawing.source_format,
                "item": first[name].name,
                "rows": target.rows,
                "columns": target.columns,
                "labels": list(composed.areas),
                "areas": list(composed.areas.values()),
                "overlap_pixels": composed.overlap_pixels,
                "path": payload.path,
                "sha256": payload.sha256,
            }
        )
    return masks
