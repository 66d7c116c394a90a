"""Requests for figures as they come into landing, and what of them may leave: a structured request without free words.

Restricted and untrusted. A text may hold somebody's name, a drawing somebody's handwriting; so of a text only the terms
leave that the parser knows, of a drawing only the label map that was read from it, and names of requests not at all.
What is not here: how a request becomes a figure (`illustrate.py`).
"""

import csv
import hashlib
import io
import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from medillus_pipeline.annotation.study import pathology
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration.illustration_request import IllustrationRequest
from medillus_pipeline.language.parser import understand
from medillus_pipeline.sketches.reading import SketchReading
from medillus_pipeline.tables import storable
from medillus_pipeline.zones import Zone

GREATEST_DOCUMENT = 256 * 1024
GREATEST_DRAWING = 30 << 20
MOST_REQUESTS = 500
"""Requests of one folder: every one costs seconds of drawing, and a table of a million is a mistake."""

GREATEST_SIDE = 4096
DOCUMENTS = (".json", ".toml", ".csv")
_STAGE = re.compile(r"[0-9IVXTNMabcxis+./ -]{1,12}", re.IGNORECASE)
_SLICE = re.compile(r"s-[0-9a-f]{16}-[0-9]{4,}")
_LISTS = ("structures", "formats")

ReadSketch = Callable[[bytes, IllustrationRequest], SketchReading]


class Refusal(StrEnum):
    """Why a request was put aside."""

    TOO_LARGE = "request_too_large"
    TOO_MANY = "too_many_requests"
    NOT_READABLE = "request_not_readable"
    NOT_VALID = "request_not_valid"
    UNKNOWN_NAME = "unknown_name"
    TEXT_NOT_UNDERSTOOD = "text_not_understood"
    FILE_MISSING = "drawing_missing"
    MASK_NOT_READABLE = "mask_not_readable"
    NO_SKETCH_SEGMENTER = "no_sketch_segmenter"
    SKETCH_REFUSED = "sketch_refused"
    SCAN_NOT_PUBLISHED = "scan_not_published"
    TWICE = "asked_twice"


MEANINGS: dict[Refusal, str] = {
    Refusal.TOO_LARGE: f"a document may have {GREATEST_DOCUMENT >> 10} KiB, a drawing {GREATEST_DRAWING >> 20} MiB",
    Refusal.TOO_MANY: f"one folder holds at most {MOST_REQUESTS} requests: land the others in another",
    Refusal.NOT_READABLE: "no JSON, TOML or CSV document of requests in UTF-8",
    Refusal.NOT_VALID: "a field is unknown, missing or out of its bounds: see `medillus illustrate --help`",
    Refusal.UNKNOWN_NAME: "a structure, pathology, contrast phase, modality, body part or stage is not one that is "
    "known here",
    Refusal.TEXT_NOT_UNDERSTOOD: "the text says something that is no term, or contradicts itself, so it stays in "
    "landing: `medillus illustrate` shows which words",
    Refusal.FILE_MISSING: "the mask or sketch that is named does not lie in the folder",
    Refusal.MASK_NOT_READABLE: "a mask is a PNG of vocabulary ids",
    Refusal.NO_SKETCH_SEGMENTER: "drawings are read by sketch_segmenter: run the job train_illustrators, then this "
    "partition again",
    Refusal.SKETCH_REFUSED: "nothing that a body has could be read from the drawing: close its outlines, or name them",
    Refusal.SCAN_NOT_PUBLISHED: "a scan is named by its slice name once it is published; a file of it comes in as a "
    "delivery of images",
    Refusal.TWICE: "the same request stands in the folder already",
}


class _Refused(Exception):
    """A request put aside; `reason` is all that is passed on, for a message may quote what was written."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(str(reason))
        self.reason = reason


@dataclass(frozen=True)
class Known:
    """What names may stand in a request that leaves: `slices`, modalities and body parts that are published."""

    slices: Collection[str]
    modalities: Collection[str]
    body_parts: Collection[str]


@dataclass(frozen=True)
class Admitted:
    """A request that may leave. `mask` (h, w) uint8 vocabulary ids goes with it where there is one; `request` says so
    by `mask` being the placeholder `PLACE`.
    """

    name: str
    ways: tuple[str, ...]
    request: IllustrationRequest
    mask: np.ndarray | None
    remarks: tuple[str, ...]


@dataclass
class LandedRequests:
    """What of a folder may leave, refusals by reason, and rows of the ledger (restricted: they name the files)."""

    admitted: list[Admitted] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    ledger: list[dict[str, Any]] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Requests by outcome: `accepted`, or the reason of the refusal."""
        return ({"accepted": len(self.admitted)} if self.admitted else {}) | dict(self.refused)


PLACE = "mask.png"


def read_landed_requests(
    landing: Zone,
    folder: str,
    *,
    marker: str,
    vocabulary: Vocabulary,
    known: Known,
    name_of: Callable[[bytes], str],
    read_sketch: ReadSketch | None,
) -> LandedRequests:
    """Every request below `folder`, in the order of the documents' names; drawings count as files of their request.

    `name_of` gives 12 hexadecimal digits, keyed, of what was asked; `read_sketch` is None where no drawing can be read.
    """
    landed, names = LandedRequests(), set[str]()
    files = {path.removeprefix(folder).lstrip("/"): path for path in landing.files(folder)}
    number = 0
    for source in (one for one in files if one.lower().endswith(DOCUMENTS) and one != marker):
        size = _size(landing, files[source])
        data = landing.read(files[source]) if size <= GREATEST_DOCUMENT else b""
        documents = _documents(source, data) if size <= GREATEST_DOCUMENT else [("", Refusal.TOO_LARGE)]
        for member, given in documents:
            number += 1
            admitted: Admitted | None = None
            try:
                if number > MOST_REQUESTS:
                    raise _Refused(Refusal.TOO_MANY)
                if isinstance(given, Refusal):
                    raise _Refused(given)
                admitted = _admitted(given, source, landing, files, vocabulary, known, name_of, read_sketch)
                if admitted.name in names:
                    raise _Refused(Refusal.TWICE)
                reason = ""
                landed.admitted.append(admitted)
                names.add(admitted.name)
            except _Refused as refused:
                admitted, reason = None, str(refused.reason)
                landed.refused[reason] += 1
            landed.ledger.append(
                {
                    "source": storable(source),
                    "member": member,
                    "sha256": hashlib.sha256(data).hexdigest(),
                    "bytes": size,
                    "outcome": "refused" if admitted is None else "published",
                    "reason": reason,
                    "pseudonym": None if admitted is None else admitted.name,
                }
            )
            if number > MOST_REQUESTS:
                return landed
    return landed


def _documents(source: str, data: bytes) -> Iterator[tuple[str, dict[str, Any] | Refusal]]:
    """(number within the file, the request as written) of a document: one request, a list of them, or a table."""
    try:
        text = data.decode("utf-8-sig")
        if source.lower().endswith(".csv"):
            found: Any = [_cells(row) for row in csv.DictReader(io.StringIO(text), strict=True)]
        else:
            found = tomllib.loads(text) if source.lower().endswith(".toml") else json.loads(text)
    except (ValueError, RecursionError, csv.Error):
        yield "", Refusal.NOT_READABLE
        return
    if isinstance(found, dict) and set(found) == {"request"}:
        found = found["request"]
    if not isinstance(found, list):
        yield "", found if isinstance(found, dict) else Refusal.NOT_READABLE
        return
    if not found:
        yield "", Refusal.NOT_READABLE
    for number, one in enumerate(found, 1):
        yield str(number), one if isinstance(one, dict) else Refusal.NOT_READABLE


def _cells(row: Mapping[str | Any, Any]) -> dict[str, Any]:
    """A row of a table: empty cells say nothing, lists are divided by semicolons."""
    said = {str(name): value for name, value in row.items() if value not in (None, "")}
    return {
        name: [part.strip() for part in value.split(";")] if name in _LISTS and isinstance(value, str) else value
        for name, value in said.items()
    }


def _admitted(
    given: dict[str, Any],
    source: str,
    landing: Zone,
    files: Mapping[str, str],
    vocabulary: Vocabulary,
    known: Known,
    name_of: Callable[[bytes], str],
    read_sketch: ReadSketch | None,
) -> Admitted:
    try:
        request = IllustrationRequest.parsed({k: v for k, v in given.items() if k != "name"})
    except InputError:
        raise _Refused(Refusal.NOT_VALID) from None
    _refuse_unknown(request, vocabulary, known)
    ways = tuple(way for way in ("mask", "sketch", "text", "scan") if getattr(request, way) is not None)
    change: dict[str, Any] = {}
    if request.text is not None:
        change["text"] = _terms_of(request.text, vocabulary)
    mask, remarks = None, ()
    if request.mask is not None:
        mask = _mask(_drawing(request.mask, source, landing, files), vocabulary)
        change["mask"] = PLACE
    if request.sketch is not None:
        reading = _reading(_drawing(request.sketch, source, landing, files), request, read_sketch)
        mask, remarks = reading.ids, _plain(reading)
        change |= {"sketch": None, "mask": PLACE, "legend": {}, "flip": False, "level": reading.level}
        change |= {"pixel_size": None, "complete": False if request.complete is None else request.complete}
    leaving = IllustrationRequest.parsed({**request.model_dump(), **change})
    asked = leaving.model_dump_json().encode() + (b"" if mask is None else mask.tobytes())
    name = f"q-{name_of(asked)}"
    return Admitted(name, ways, leaving.model_copy(update={"name": name}), mask, remarks)


def _refuse_unknown(request: IllustrationRequest, vocabulary: Vocabulary, known: Known) -> None:
    """Every word of a request that leaves is one of a closed list, so none can be a name."""
    keys = {structure.key for structure in vocabulary}
    phases = {phase.key for phase in pathology.CONTRAST_PHASES}
    diseases = {row.key for row in pathology.load().rows}
    checks = (
        set(request.structures) <= keys,
        request.contrast_phase is None or request.contrast_phase in phases,
        request.pathology is None or request.pathology in diseases,
        request.stage is None or _STAGE.fullmatch(request.stage),
        request.modality is None or request.modality in known.modalities,
        request.body_part is None or request.body_part in known.body_parts,
    )
    if not all(checks):
        raise _Refused(Refusal.UNKNOWN_NAME)
    if request.scan is not None and not (_SLICE.fullmatch(request.scan) and request.scan in known.slices):
        raise _Refused(Refusal.SCAN_NOT_PUBLISHED)


def _terms_of(text: str, vocabulary: Vocabulary) -> str:
    """The text of its terms alone: what stands between them is left out. Refuses a text with anything else in it."""
    said = understand(text, vocabulary)
    if not said.settled or said.empty:
        raise _Refused(Refusal.TEXT_NOT_UNDERSTOOD)
    parts, last = [], 0
    for span in sorted(said.spans, key=lambda span: span.start):
        between = text[last : span.start]
        parts += ["".join(c if c in ",;.，；。、:：-/()" else " " for c in between), text[span.start : span.end]]
        last = span.end
    leaving = re.sub(r"\s+", " ", "".join(parts)).strip()
    again = understand(leaving, vocabulary)
    same = [(s.role, s.meaning) for s in again.spans] == [(s.role, s.meaning) for s in said.spans]
    if not same or not again.settled:
        raise _Refused(Refusal.TEXT_NOT_UNDERSTOOD)
    return leaving


def _drawing(named: Any, source: str, landing: Zone, files: Mapping[str, str]) -> bytes:
    """The file beside the document: only one of this folder is ever opened."""
    wanted = PurePosixPath(str(named))
    if wanted.is_absolute() or ".." in wanted.parts:
        raise _Refused(Refusal.FILE_MISSING)
    path = files.get((PurePosixPath(source).parent / wanted).as_posix())
    if path is None:
        raise _Refused(Refusal.FILE_MISSING)
    if _size(landing, path) > GREATEST_DRAWING:
        raise _Refused(Refusal.TOO_LARGE)
    return landing.read(path)


def _size(landing: Zone, path: str) -> int:
    """Bytes of a file, before any of them is read."""
    return int(landing.fs.size(landing.full(path)) or 0)


def _mask(data: bytes, vocabulary: Vocabulary) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            if max(picture.size) > GREATEST_SIDE or picture.mode not in ("L", "P", "1"):
                raise _Refused(Refusal.MASK_NOT_READABLE)
            ids = np.array(picture.convert("L") if picture.mode == "1" else picture, np.uint8)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise _Refused(Refusal.MASK_NOT_READABLE) from None
    if not set(np.unique(ids).tolist()) - {0} <= {structure.id for structure in vocabulary} or not ids.any():
        raise _Refused(Refusal.MASK_NOT_READABLE)
    return ids


def _reading(data: bytes, request: IllustrationRequest, read_sketch: ReadSketch | None) -> SketchReading:
    if read_sketch is None:
        raise _Refused(Refusal.NO_SKETCH_SEGMENTER)
    try:
        return read_sketch(data, request).accepted()
    except InputError:
        raise _Refused(Refusal.SKETCH_REFUSED) from None


def _plain(reading: SketchReading) -> tuple[str, ...]:
    """What was assumed of a drawing, without the remarks that may quote what somebody wrote into its file."""
    said = [f"read from a drawing: {key}, confidence {share:.2f}" for key, share in sorted(reading.confidences.items())]
    said.append(f"read from a drawing: {reading.orientation}")
    if reading.mirror_suspected:
        said.append("the drawing is probably mirrored: its mirror image agrees better with the anatomical prior")
    if reading.flipped:
        said.append("the drawing was mirrored before it was read, as asked")
    return tuple(said)
