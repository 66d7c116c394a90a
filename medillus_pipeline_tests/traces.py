"""What identified a source, and whether any of it stands where nobody identified may stand.

Which values identify is decided here by the kind of attribute, not by the package's own table, so a mistake in the
table does not hide itself.
"""

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID_dictionary

from medillus_pipeline.settings import Settings
from medillus_pipeline.tables import from_parquet

TEXT = {"PN", "LO", "SH", "ST", "LT", "UT", "UC", "UR", "AE", "UI", "UN", "DA", "DT", "AS"}
DATE = re.compile(r"[0-9]{8}([0-9.+-]*)")
NOBODY = {
    *("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "ConvolutionKernel", "FilterType"),
    *("ImplementationVersionName", "ROIName", "RescaleType"),
}
"""Free-text attributes that say something about a device or an organ, and nothing about a person."""
ODD = {"PatientSex"}
"""Attributes whose values identify although their VR holds codes: the thorax files have hashes there."""
SHORT = 5


def elements(dataset: Dataset, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str, str, str]]:
    """Every element, at any depth: its path, keyword (tag where it has none), VR, and each of its values as text."""
    for element in dataset:
        name = element.keyword or str(element.tag)
        if element.VR == "SQ":
            for number, item in enumerate(element.value):
                yield from elements(item, (*path, name, str(number)))
        elif element.VR not in ("OB", "OW", "OF", "OD", "OL"):
            raw = element.value
            value = raw.decode("latin-1") if isinstance(raw, bytes) else str(raw) if raw is not None else ""
            several = value.strip("[]").replace("'", "").split(", ") if element.VM > 1 else [value]
            for text in several:
                yield (*path, name), name, element.VR, text.strip(" \x00")


def identifies(keyword: str, vr: str) -> bool:
    """Whether an attribute's value may tell who somebody is."""
    return keyword in ODD or (vr in TEXT and keyword not in NOBODY)


def identifying_values(files: Iterable[Path]) -> set[str]:
    """The values, of five characters or more, by which these files identify: texts, names and their parts, UIDs. Dates
    are left to a comparison element by element: a shifted one may equal another one of the source.
    """
    found: set[str] = set()
    for file in files:
        dataset = dcmread(file, stop_before_pixels=True)
        for part in (dataset.file_meta, dataset):
            for _, keyword, vr, text in elements(part):
                if identifies(keyword, vr) and text not in UID_dictionary and not DATE.fullmatch(text):
                    found |= {text, *(re.split(r"[\^= ]+", text) if vr == "PN" else ())}
    return {text for text in found if len(text) >= SHORT}


def clean_side(settings: Settings) -> Iterator[tuple[str, bytes]]:
    """Everything that is no restricted zone: each object and file, and once more the cells of tables and databases."""
    clean = settings.clean
    for path in clean.files():
        data = clean.read(path)
        yield path, path.encode() + b"\n" + data
        if path.endswith(".parquet"):
            yield f"{path} (cells)", json.dumps(from_parquet(data).to_pylist(), ensure_ascii=False).encode()
    for folder in ("dagster", "mlflow", "work", "cache"):
        for file in sorted((settings.home / folder).rglob("*")):
            if file.is_file():
                yield str(file), file.name.encode() + b"\n" + file.read_bytes()
                if file.suffix == ".db":
                    yield f"{file} (cells)", _cells(file)


def _cells(database: Path) -> bytes:
    """All text of an SQLite database: a long one lies in pieces on several pages of the file."""
    with sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = (row for name in names for row in connection.execute(f'SELECT * FROM "{name}"'))
        return "\x00".join(str(cell) for row in rows for cell in row if isinstance(cell, str | bytes)).encode()


def traces(values: Iterable[str], places: Iterable[tuple[str, bytes]]) -> set[tuple[str, str]]:
    """(value, place) of each value that stands in a place with no letter or digit beside it, in either case."""
    by_start: dict[bytes, list[str]] = {}
    for value in values:
        by_start.setdefault(value.lower().encode()[:SHORT], []).append(value)
    found = set()
    for place, data in places:
        lowered = data.lower()
        for start, sharing in by_start.items():
            if start not in lowered:
                continue
            found |= {(value, place) for value in sharing if _stands_in(value.lower().encode(), lowered)}
    return found


def _stands_in(needle: bytes, data: bytes) -> bool:
    start = data.find(needle)
    while start >= 0:
        if not data[start - 1 : start].isalnum() and not data[start + len(needle) : start + len(needle) + 1].isalnum():
            return True
        start = data.find(needle, start + 1)
    return False
