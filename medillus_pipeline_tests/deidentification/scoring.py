"""Scores what a de-identifier made of files against an answer key, and says it in one table.

A check is met or not; a file that did not come out fails all of its checks. Where MIDI-B's own scoring is content with
a value that is not the old one, this asks for more: a shifted date is a date, as far from the old one as all others of
its patient, and a UID map is one to one. What is to be checked: `answer_key.py`.
"""

import datetime
import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.dataelem import DataElement
from pydicom.tag import Tag

from medillus_pipeline.dicom.reading import silenced
from medillus_pipeline_tests.deidentification.answer_key import Check, Kind, read, text_of

_DATE = re.compile(r"(\d{4})(\d\d)(\d\d)(.*)")
_UID = re.compile(r"[0-2](\.(0|[1-9]\d*))+")
_SHORT = 3
_INK_LEFT = 0.01
"""Share of the pixels of letters that may stand out from their surroundings after cleaning (a stray dot reads as
nothing)."""


@dataclass
class Output:
    """A file that came out: its elements, and all that stands in it as text, in lower case."""

    dataset: Dataset
    text: str = field(repr=False)

    @classmethod
    def of(cls, data: bytes) -> "Output":
        with silenced():
            dataset = read(data)
            said: list[str] = []
            _collect(dataset, said)
            _collect(dataset.file_meta, said)
        preamble = data[:132].decode("latin-1")
        return cls(dataset, "\n".join([preamble, *said]).lower())


def _collect(dataset: Dataset, said: list[str]) -> None:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                _collect(item, said)
        elif isinstance(element.value, bytes | bytearray):
            if element.tag != Tag("PixelData"):
                said.append(bytes(element.value).decode("latin-1"))
        else:
            said.append(text_of(element))


@dataclass
class Score:
    """Which checks were met."""

    results: list[tuple[Check, bool]]

    def counts(self) -> dict[Kind, tuple[int, int]]:
        """Kind → number of checks, number met."""
        total = Counter(check.kind for check, _ in self.results)
        met = Counter(check.kind for check, passed in self.results if passed)
        return {kind: (total[kind], met[kind]) for kind in Kind}

    def percent(self) -> float:
        """Of all checks, how many were met."""
        return 100 * sum(passed for _, passed in self.results) / max(len(self.results), 1)

    def failed(self) -> list[Check]:
        return [check for check, passed in self.results if not passed]

    def table(self) -> str:
        """Kind, checks, passed, percent; the last line is all of them."""
        lines = [f"{'kind':<18}{'checks':>8}{'passed':>8}{'percent':>10}"]
        every = [*((str(kind), *found) for kind, found in self.counts().items())]
        every.append(("all", len(self.results), sum(passed for _, passed in self.results)))
        for name, total, met in every:
            share = f"{100 * met / total:.2f}" if total else "-"
            lines.append(f"{name:<18}{total:>8}{met:>8}{share:>10}")
        return "\n".join(lines)


def score(checks: Sequence[Check], sources: dict[str, Dataset], outputs: dict[str, bytes]) -> Score:
    """Judge `outputs` (file of the key → what came out for it); a file that is missing there did not come out."""
    read = {name: Output.of(outputs[name]) for name in {check.file for check in checks} if name in outputs}
    judge = _Judge(checks, sources, read)
    return Score([(check, check.file in read and judge.met(check)) for check in checks])


class _Judge:
    def __init__(self, checks: Iterable[Check], sources: dict[str, Dataset], outputs: dict[str, Output]) -> None:
        self.sources, self.outputs = sources, outputs
        self.days: dict[str, Counter[int]] = defaultdict(Counter)
        self.images: dict[tuple[Kind, str], set[str]] = defaultdict(set)
        self.origins: dict[tuple[Kind, str], set[str]] = defaultdict(set)
        for check in checks:
            if check.file not in outputs:
                continue
            after = self._after(check)
            if check.kind is Kind.DATE_SHIFTED:
                moved = _days(check.what, after)
                if moved is not None:
                    self.days[self._patient(check)][moved] += 1
            elif check.kind in (Kind.UID_CONSISTENT, Kind.PATID_CONSISTENT):
                self.images[check.kind, check.what].add(after)
                self.origins[check.kind, after].add(check.what)

    def met(self, check: Check) -> bool:
        """Whether the action was done."""
        output, after = self.outputs[check.file], self._after(check)
        match check.kind:
            case Kind.TEXT_REMOVED if check.where == "*":
                return check.what.lower() not in output.text
            case Kind.TEXT_REMOVED:
                before, now = check.what.lower(), after.lower()
                return now != before if len(before) < _SHORT else before not in now
            case Kind.TEXT_RETAINED:
                return _same(check.what, after)
            case Kind.TEXT_NOTNULL:
                return bool(after)
            case Kind.TAG_RETAINED:
                return element_at(output.dataset, check.where) is not None
            case Kind.DATE_SHIFTED:
                return self._shifted(check, after)
            case Kind.UID_CHANGED:
                return after != check.what and len(after) <= 64 and all(map(_UID.fullmatch, after.split("\\")))
            case Kind.UID_CONSISTENT | Kind.PATID_CONSISTENT:
                one_to_one = len(self.images[check.kind, check.what]) == len(self.origins[check.kind, after]) == 1
                return bool(after) and one_to_one and after != check.what
            case Kind.PIXELS_HIDDEN | Kind.PIXELS_RETAINED:
                return self._pixels(check, output)

    def _after(self, check: Check) -> str:
        """The new value of the attribute that a check is about; empty where it is about none."""
        if check.where == "*" or check.kind in (Kind.PIXELS_HIDDEN, Kind.PIXELS_RETAINED):
            return ""
        element = element_at(self.outputs[check.file].dataset, check.where)
        return "" if element is None else text_of(element)

    def _patient(self, check: Check) -> str:
        return str(self.sources[check.file].get("PatientID", "")) or check.file

    def _shifted(self, check: Check, after: str) -> bool:
        """What was no date may not be one now; a date has moved, as far as most dates of its patient."""
        if _date(check.what) is None:
            return not after
        moved = _days(check.what, after)
        (usual, _), *_ = self.days[self._patient(check)].most_common(1) or [(0, 0)]
        return moved is not None and moved != 0 and moved == usual

    def _pixels(self, check: Check, output: Output) -> bool:
        source = self.sources[check.file]
        if check.kind is Kind.PIXELS_RETAINED and source.PixelData == output.dataset.get("PixelData"):
            return True
        before, after = _decoded(source), _decoded(output.dataset)
        if before is None or after is None or before.shape != after.shape:
            return False
        left, top, right, bottom = map(int, check.where.split(",")) if check.where != "*" else (0, 0, 1 << 16, 1 << 16)
        before, after = (array[..., top:bottom, left:right, :] for array in (before, after))
        if check.kind is Kind.PIXELS_RETAINED:
            return bool(np.array_equal(before, after))
        ink = _stands_out(before)
        return bool(ink.any()) and float((_stands_out(after, like=before) & ink).sum()) <= _INK_LEFT * float(ink.sum())


def _stands_out(box: np.ndarray, like: np.ndarray | None = None) -> np.ndarray:
    """Where a box differs from its own background by more than a third of the contrast of the letters in it."""
    reference = box if like is None else like
    contrast = float(np.abs(reference - np.median(reference)).max())
    return np.abs(box - np.median(box)) > contrast / 3


def _decoded(dataset: Dataset) -> np.ndarray | None:
    """Stored values as (…, rows, columns, samples), None where they cannot be decoded."""
    try:
        with silenced():
            array = dcmread(_written(dataset)).pixel_array.astype(np.float64)
    except (ValueError, RuntimeError, NotImplementedError, AttributeError, TypeError, KeyError, IndexError, OSError):
        # all that pydicom's decoders raise for damaged or unknown pixels, of a source or of a tool's output
        return None
    return array if dataset.get("SamplesPerPixel", 1) > 1 else array[..., None]


def _written(dataset: Dataset) -> io.BytesIO:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=False)
    stream.seek(0)
    return stream


def element_at(dataset: Dataset, where: str) -> DataElement | None:
    """The element at a path of keywords and item numbers; None where there is none."""
    found: DataElement | Dataset | None = dataset
    for part in where.split("."):
        if isinstance(found, DataElement):
            items = found.value or []
            found = items[int(part)] if part.isdigit() and int(part) < len(items) else None
        elif isinstance(found, Dataset):
            found = found[part] if part in found else None  # noqa: SIM401 - `get` of a keyword gives the value
    return found if isinstance(found, DataElement) else None


def _date(text: str) -> datetime.date | None:
    match = _DATE.fullmatch(text)
    try:
        return datetime.date(int(match[1]), int(match[2]), int(match[3])) if match else None
    except ValueError:
        return None


def _days(before: str, after: str) -> int | None:
    """By how many days a date moved, what follows it (time, zone) unchanged; None where either is no date."""
    old, new = _date(before), _date(after)
    if old is None or new is None or before[8:].rstrip() != after[8:].rstrip():
        return None
    return (new - old).days


def _same(before: str, after: str) -> bool:
    if before == after:
        return True
    try:
        pairs = zip(before.split("\\"), after.split("\\"), strict=True)
        return all(np.isclose(float(old), float(new), rtol=1e-6, atol=0) for old, new in pairs)
    except ValueError:
        return False
