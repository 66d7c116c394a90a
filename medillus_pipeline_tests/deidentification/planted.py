"""A CT image in which every row of PS3.15 Table E.1-1 is planted, with a canary of its own, at every depth.

What stands where is recorded, so that a test can look for each value in a de-identified file. What must become of
the values is not said here: see `standard_outcome.py`. Table rows are read from the file of facts, not from the
profile, so that the profile cannot hide a row from the tests.
"""

import csv
import datetime
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Literal

from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

import medillus_pipeline.deidentification
from medillus_pipeline_tests.deidentification.delivered_files import encoded, image

Route = Literal["kept", "functional", "private", "un"]
DEEPEST = 5

CHAINS: dict[Route, tuple[int, ...]] = {
    "kept": (0x00089215, 0x00081115, 0x00082218, 0x00089215, 0x00081115),
    "functional": (0x52009229, 0x00209116, 0x00289110, 0x00209071, 0x00289145),
    "private": (0x00091001, 0x00089215, 0x00091001, 0x00081115, 0x00089215),
    "un": (0x00089215, 0x00081115, 0x00082218, 0x00089215, 0x00081115),
}
"""Sequences, none of them in the table, through which depth 1, 2 … is reached."""

SPACING_DAYS = 7
"""Days between two planted dates: no date that moved by another number of days can look like a planted one."""

VR_BEYOND_PYDICOM = {
    0x00081301: "SQ", 0x00081302: "SQ", 0x00081303: "SQ", 0x00081304: "SQ",
    0x00100011: "SQ", 0x00100012: "LT", 0x00100013: "LT", 0x00100014: "SQ", 0x00100015: "SQ", 0x00100016: "LT",
    0x00100041: "SQ", 0x00100042: "LT", 0x00100043: "SQ", 0x00100044: "SQ", 0x00100045: "LT", 0x00100046: "SQ",
    0x00100047: "UR", 0x00102162: "UC", 0x0040A034: "DT", 0x0040A035: "DT", 0x0040B034: "DT", 0x0040B036: "DT",
    0x0040B03B: "LO", 0x0040B03F: "LO", 0x0040E012: "UR", 0x3004007F: "LO",
}  # fmt: skip
"""Attributes newer than pydicom's dictionary (PS3.6)."""


@dataclass(frozen=True)
class Fact:
    """One row of the table as it stands: codes of the Basic Profile and, by column, of the options."""

    tag: str
    name: str
    basic: str
    codes: dict[str, str]


@dataclass(frozen=True)
class Planted:
    """A value in a planted file. `canary` is empty where nothing unique fits the VR; `inner` is what stands in the
    item of a sequence. `fact` is None for what the table does not list."""

    tag: int
    vr: str
    depth: int
    canary: bytes
    value: Any
    fact: Fact | None
    inner: tuple["Planted", ...] = ()

    def __str__(self) -> str:
        return f"({self.tag >> 16:04x},{self.tag & 0xFFFF:04x}) {self.fact.name if self.fact else ''}".strip()


@dataclass(frozen=True)
class PlantedFile:
    """An encoded file and what is in it, depth by depth."""

    data: bytes = field(repr=False)
    levels: tuple[tuple[Planted, ...], ...]
    chain: tuple[int, ...]


@cache
def facts() -> tuple[Fact, ...]:
    """All rows of the table."""
    path = Path(medillus_pipeline.deidentification.__file__).parent / "ps3_15_table.csv"
    rows = csv.DictReader(path.read_text(encoding="ascii").splitlines())
    described = ("tag", "name", "retired", "iod", "basic")
    return tuple(
        Fact(row["tag"], row["name"], row["basic"], {k: v for k, v in row.items() if v and k not in described})
        for row in rows
    )


def tags_of(fact: Fact) -> tuple[int, ...]:
    """The tags at which a row is planted: two blocks of a repeating group, three kinds of private elements."""
    if fact.tag == "odd":
        return 0x000B1001, 0x000B1002, 0x00FF1010
    if "x" in fact.tag:
        ends = (fact.tag[4:],) if "x" not in fact.tag[4:] else ("0010", "2500", "3000")
        return tuple(int(fact.tag[:2] + block + end, 16) for block in ("00", "1e") for end in ends)
    return (int(fact.tag, 16),)


def vr_of(tag: int) -> str:
    """The VR to plant a value under."""
    if tag >> 16 & 1:
        return {0x000B1001: "LO", 0x000B1002: "UN"}.get(tag, "OB")
    return VR_BEYOND_PYDICOM.get(tag) or dictionary_VR(tag).split(" or ")[0]


class Canaries:
    """Values that occur nowhere else, valid for their VR."""

    def __init__(self) -> None:
        self._numbers: dict[str, Iterator[int]] = {}

    def _next(self, kind: str) -> int:
        return next(self._numbers.setdefault(kind, count(1)))

    def of(self, vr: str) -> tuple[Any, bytes]:
        """A value for pydicom, and the bytes to look for in a file."""
        number = self._next("date" if vr in ("DA", "DT") else vr if vr in ("TM", "AS", "US") else "other")
        if vr in ("DA", "DT"):
            date = f"{datetime.date(1931, 1, 1) + datetime.timedelta(SPACING_DAYS * number):%Y%m%d}"
            return date + ("" if vr == "DA" else "081500.25+0100"), date.encode()
        if vr == "US":
            return 10_000 + number, b""
        text = {
            "TM": f"2359{number % 60:02}.{number:06}",
            "AS": f"{number % 1000:03}M",
            "DS": f"7.31{number:06}",
            "IS": f"8312{number:05}",
            "UI": f"1.2.40.0.13.9.{number}",
        }.get(vr, f"CANARY{number:06}")
        if vr in ("OB", "OW", "UN"):
            return text.encode().ljust(16, b"\x00"), text.encode()
        shaped = {"UR": f"https://{text}.example", "PN": f"{text}^Ann", "LT": f"seen\r\n{text}"}.get(vr, text)
        return shaped, text.encode()

    def in_item(self, depth: int) -> tuple[Planted, ...]:
        """Values for the item of a sequence: identifying ones, and a code of a published scheme."""
        by_tag = {int(fact.tag, 16): fact for fact in facts() if fact.tag.isalnum() and "x" not in fact.tag != "odd"}
        made = [Planted(0x00080100, "SH", depth, b"", "51185008", None)]
        made.append(Planted(0x00080102, "SH", depth, b"", "SCT", None))
        value, canary = self.of("LO")
        made.append(Planted(0x00080104, "LO", depth, canary, value, None))
        for tag in (0x00080020, 0x00080080, 0x00081155, 0x00100010):
            value, canary = self.of(vr_of(tag))
            made.append(Planted(tag, vr_of(tag), depth, canary, value, by_tag.get(tag)))
        return tuple(made)


def _plant_level(depth: int, canaries: Canaries) -> tuple[Planted, ...]:
    level = []
    for fact in facts():
        for tag in tags_of(fact):
            if depth == 0 and tag >> 16 < 0x0008:
                continue
            vr = vr_of(tag)
            if vr == "SQ":
                level.append(Planted(tag, vr, depth, b"", None, fact, canaries.in_item(depth)))
            else:
                value, canary = canaries.of(vr)
                level.append(Planted(tag, vr, depth, canary, value, fact))
    return tuple(level)


def dataset_of(level: tuple[Planted, ...]) -> Dataset:
    """The values as a data set."""
    made = Dataset()
    for planted in level:
        made.add_new(planted.tag, planted.vr, Sequence([dataset_of(planted.inner)]) if planted.inner else planted.value)
    creators = {planted.tag >> 16 for planted in level if planted.tag >> 16 & 1}
    for group in creators - {0x00FF}:  # elements of the other group have no creator
        made.add_new(group << 16 | 0x0010, "LO", f"CREATOR {group:04X}")
    return made


def bytes_of(dataset: Dataset, *, implicit: bool = False) -> bytes:
    """A data set in little endian."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, implicit
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def _in_un(tag: int, inner: Dataset) -> tuple[int, str, bytes]:
    body = bytes_of(inner, implicit=True)
    return tag, "UN", b"\xfe\xff\x00\xe0" + len(body).to_bytes(4, "little") + body


@cache
def planted_file(route: Route, syntax: str = ExplicitVRLittleEndian) -> PlantedFile:
    """Every row at depths 0 to 5, one depth inside the other along the route's chain of sequences.

    Each sequence of the chain has two items; the planted one is the last.
    """
    canaries = Canaries()
    levels = tuple(_plant_level(depth, canaries) for depth in range(DEEPEST + 1))
    chain = CHAINS[route]
    inner = dataset_of(levels[DEEPEST])
    for depth in range(DEEPEST - 1, -1, -1):
        outer = dataset_of(levels[depth])
        tag = chain[depth]
        if tag >> 16 & 1:
            outer.add_new(tag & 0xFFFF0000 | 0x0010, "LO", "HOUSE OF CARDS")
        if route == "un" and depth == 0:
            outer.add_new(*_in_un(tag, inner))
        else:
            outer.add_new(tag, "SQ", Sequence([Dataset(), inner]))
        inner = outer
    made = image()
    made.update(inner)
    return PlantedFile(encoded(made, syntax), levels, chain)


def opened(found: Dataset, chain: tuple[int, ...]) -> Iterator[Dataset | None]:
    """The data sets at depth 0, 1 … of a file; None where its chain of sequences ends early."""
    level: Dataset | None = found
    yield level
    for tag in chain:
        element = level.get(tag) if level is not None else None
        level = element.value[-1] if element is not None and element.VR == "SQ" and element.value else None
        yield level


def read(data: bytes) -> Dataset:
    """The data set of a file."""
    return dcmread(io.BytesIO(data))
