"""What was submitted: the files of one annotation batch, each read as what it is, with who drew it.

`annotator.txt` (a name) and `batch.json` (`{"annotator": "…", "revision": 2}`) speak for the folder that they stand in
and for those below it. Every other file is an item of its own, or names the parts of one (an index of volumes). What
becomes of the drawings is in `publication.py`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Protocol

from medillus_pipeline.annotation import receipt
from medillus_pipeline.annotation.drawing import WHOLE_ITEM, Drawing
from medillus_pipeline.annotation.formats import labelme, nifti, nrrd, png_masks, rtstruct, segmentation
from medillus_pipeline.annotation.formats.side_files import SideFiles
from medillus_pipeline.annotation.layers import Covered
from medillus_pipeline.annotation.outcomes import Reason, Refused
from medillus_pipeline.annotation.receipt import Item
from medillus_pipeline.annotation.references import Naming, References
from medillus_pipeline.annotation.slice_index import SliceIndex
from medillus_pipeline.annotation.study import labels_csv
from medillus_pipeline.annotation.study.studies import Studies
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.dicom.png import SIGNATURE
from medillus_pipeline.errors import StoreError
from medillus_pipeline.tables import storable
from medillus_pipeline.zones import Zone

READY, DECLARATION, ANNOTATOR = "_READY", "batch.json", "annotator.txt"
OWN = (".medillus.json", "README.txt")
"""What an export leaves beside its files (`export.py`); nothing is drawn in them."""
UNKNOWN = "unknown"
DICOM = ((rtstruct.FORMAT, (rtstruct.SOP_CLASS,)), (segmentation.FORMAT, segmentation.SOP_CLASSES))
"""Formats that are DICOM objects, with their SOP classes."""
LABELS = "labels"
OTHER = "dicom"
"""Any other DICOM object."""
MAXIMUM_FILE_BYTES = 2**30
MAXIMUM_DECLARATION_BYTES = 2**16
"""Of a file that declares its annotator and revision."""
MAXIMUM_REVISION = 2**31 - 1


class Pseudonyms(Protocol):
    """What stands in for names of people and files. A `Pseudonymiser` is one."""

    def annotator(self, name: str) -> str:
        """`a-` and 8 hexadecimal digits."""
        ...

    def item(self, content_sha256: str, name: str) -> str:
        """`i-` and 12 hexadecimal digits."""
        ...


@dataclass(frozen=True)
class Declared:
    """Who drew what stands in a folder, and as which revision; None where it is counted."""

    annotator: str | None = None
    revision: int | None = None


class Submission:
    """Reads the files below `root` of a zone, which draw on `slices`, rows of SLICES. `namings` are the rules by which
    the images' identifiers were replaced, `pseudonyms` names annotators and files.
    """

    def __init__(
        self,
        zone: Zone,
        root: str,
        slices: Sequence[Mapping[str, Any]],
        pseudonyms: Pseudonyms,
        vocabulary: Vocabulary,
        *namings: Naming,
    ) -> None:
        self.zone = zone
        self.root = root
        self.index = SliceIndex(slices)
        self.references = References(self.index, *namings)
        self.pictures = {row["sha256"] for row in slices if "sha256" in row}
        self.studies = Studies(slices, *namings)
        self.pseudonyms = pseudonyms
        self.vocabulary = vocabulary
        self.declared: dict[str, Declared] = {}
        self.sides = SideFiles(self.references, self.index)
        self.side_files: set[str] = set()
        self.side_rows: list[dict[str, Any]] = []
        self.broken: list[Item] = []

    def read_side_files(self, paths: Sequence[str]) -> None:
        """Read what speaks for other files: declarations and indices. A broken one becomes a refused item."""
        for path in paths:
            name = PurePosixPath(path).name.casefold()
            declares = name in (DECLARATION, ANNOTATOR)
            if PurePosixPath(path).name in OWN:
                self.side_files.add(path)
                self.side_rows.append(receipt.ledger_row(self._load(path)[0], "directory", ""))
                continue
            if not declares and not self.sides.wanted(path):
                continue
            self.side_files.add(path)
            item, data = self._load(path)
            try:
                if declares and item.bytes > len(data):
                    raise Refused(Reason.BROKEN_FILE)
                if declares:
                    folder = str(PurePosixPath(path).parent)
                    self._declare(folder, _declaration(data) if name == DECLARATION else _name(data))
                elif not self.sides.add(path, data):
                    self.side_files.discard(path)
                    continue
            except Refused:
                item.drawing.note(WHOLE_ITEM, Reason.BROKEN_FILE, "")
                self.broken.append(item)
            else:
                self.side_rows.append(receipt.ledger_row(item, "directory", ""))
        for path in sorted(self.sides.parts & set(paths) - self.side_files):
            self.side_files.add(path)
            self.side_rows.append(receipt.ledger_row(self._load(path)[0], "directory", ""))

    def _declare(self, folder: str, said: Declared) -> None:
        before = self.declared.get(folder, Declared())
        self.declared[folder] = Declared(said.annotator or before.annotator, said.revision or before.revision)

    def _declared_for(self, path: str) -> Declared:
        """What the nearest folders above a file say; the annotator is `unknown` where none says it."""
        annotator = revision = None
        for folder in map(str, PurePosixPath(path).parents):
            said = self.declared.get(folder, Declared())
            annotator, revision = annotator or said.annotator, revision or said.revision
        return Declared(annotator or UNKNOWN, revision)

    def item(self, path: str) -> Item:
        """One file, read as what it is; what cannot be used of it is noted in its drawing."""
        item, data = self._load(path)
        if not data:
            return item
        if item.sha256 in self.pictures:  # LabelMe keeps them beside its files
            item.drawing.note(WHOLE_ITEM, Reason.NOT_AN_ANNOTATION, "")
            return item
        try:
            if item.drawing.source_format == LABELS:
                self._read_labels(item, data)
                return item
            item.drawing = self._drawing(path, data, item.drawing.source_format)
            self._mark_layers(item)
        except Refused as refused:
            item.drawing.note(WHOLE_ITEM, refused.reason, "", refused.outcome)
        return item

    def _load(self, path: str) -> tuple[Item, bytes]:
        """The file as an item, and its bytes: none when it is over the limit (noted) or gone since the listing."""
        size, data, closed = 0, b"", False
        declares = PurePosixPath(path).name.casefold() in (DECLARATION, ANNOTATOR)
        try:
            size = int(self.zone.fs.size(self.zone.full(path)) or 0)
            data = (
                self.zone.read(path) if size <= (MAXIMUM_DECLARATION_BYTES if declares else MAXIMUM_FILE_BYTES) else b""
            )
        except FileNotFoundError:
            pass
        except (StoreError, PermissionError) as error:
            if not isinstance(error.__cause__ or error, PermissionError | IsADirectoryError):
                raise
            closed = True
        inside = storable(str(PurePosixPath(path).relative_to(self.root or ".")))
        digest = hashlib.sha256(data).hexdigest()
        side = path in self.side_files
        drawing = Drawing(UNKNOWN if side else _format(path, data))
        if closed:
            drawing.note(WHOLE_ITEM, Reason.NOT_READABLE, "")
        elif not data and not side:
            drawing.note(WHOLE_ITEM, Reason.TOO_LARGE if size else Reason.BROKEN_FILE, "")
        said = self._declared_for(path)
        annotator = self.pseudonyms.annotator(said.annotator or UNKNOWN)
        name = self.pseudonyms.item(digest, inside)
        return Item(inside, digest, size, name, drawing, annotator, said.revision), data

    def _drawing(self, path: str, data: bytes, source_format: str) -> Drawing:
        match source_format:
            case labelme.FORMAT:
                return labelme.read(data, path, self.index, self.vocabulary)
            case rtstruct.FORMAT:
                return rtstruct.read(data, self.references, self.index, self.vocabulary)
            case segmentation.FORMAT:
                return segmentation.read(data, self.references, self.index, self.vocabulary)
            case nifti.FORMAT:
                return nifti.read(data, self.sides.volume(path), self.index, self.vocabulary)
            case nrrd.FORMAT:
                entry = self.sides.volume(path)
                return nrrd.read(data, entry, self.index, self.vocabulary, beside=self._beside(path))
            case png_masks.FORMAT:
                return png_masks.read(data, self.sides.picture(path), self.index, self.vocabulary)
            case "dicom":  # OTHER
                raise Refused(Reason.NOT_AN_ANNOTATION if data[128:132] == b"DICM" else Reason.UNSUPPORTED_FORMAT)
            case _:
                raise Refused(Reason.UNSUPPORTED_FORMAT)

    def _read_labels(self, item: Item, data: bytes) -> None:
        """Labels of studies and series; every line that is none is noted."""
        rows, problems = labels_csv.read_labels(
            data, self.references, self.index, self.studies, annotator=item.annotator, revision=item.revision or 0
        )
        item.labels = rows
        if not rows and not problems:
            raise Refused(Reason.EMPTY)
        for problem in problems:
            item.drawing.note(WHOLE_ITEM, problem.reason, f"line {problem.line} {problem.column}", problem.outcome)
        if rows:
            item.accepted[WHOLE_ITEM] = {f"label {number}" for number in range(len(rows))}

    def _beside(self, path: str) -> nrrd.Beside:
        """Gives the parts of a header: files in its folder, of the batch's own listing."""

        def read(name: str) -> bytes | None:
            part = str(PurePosixPath(path).parent / name)
            return self._load(part)[1] or None if part in self.side_files else None

        return read

    def _mark_layers(self, item: Item) -> None:
        """Say what of an item never enters a label map: planning targets, and unions that are drawn with all parts."""
        drawn = item.drawing.structures
        for identifier in drawn:
            structure = self.vocabulary.by_id(identifier)
            if structure.kind == "target":
                item.layers[identifier] = Covered.PLANNING_TARGET
            elif structure.parts and all(self.vocabulary.by_key(part).id in drawn for part in structure.parts):
                item.layers[identifier] = Covered.UNION_OF_PARTS


def _declaration(data: bytes) -> Declared:
    document = labelme.parse(data)
    if not isinstance(document, dict):
        raise Refused(Reason.BROKEN_FILE)
    annotator, revision = document.get("annotator"), document.get("revision")
    if not (annotator is None or isinstance(annotator, str)):
        raise Refused(Reason.BROKEN_FILE)
    if not (revision is None or (type(revision) is int and 1 <= revision <= MAXIMUM_REVISION)):
        raise Refused(Reason.BROKEN_FILE)
    return Declared((annotator or "").strip() or None, revision)


def _name(data: bytes) -> Declared:
    try:
        return Declared(data.decode("utf-8-sig").strip() or None)
    except UnicodeError as error:
        raise Refused(Reason.BROKEN_FILE) from error


def _format(path: str, data: bytes) -> str:
    """What a file is, by its content first; unknown for everything that is not read here."""
    name = path.lower()
    if data[128:132] == b"DICM" or name.endswith(".dcm"):
        return next((name for name, classes in DICOM if any(uid.encode() in data[:4096] for uid in classes)), OTHER)
    if name.endswith(".json"):
        return labelme.FORMAT
    if PurePosixPath(name).name == labels_csv.NAME:
        return LABELS
    if name.endswith((".nrrd", ".nhdr")) or data.startswith(b"NRRD000"):
        return nrrd.FORMAT
    if name.endswith(".png") or data.startswith(SIGNATURE):
        return png_masks.FORMAT
    return nifti.FORMAT if name.endswith((".nii", ".nii.gz")) else UNKNOWN
