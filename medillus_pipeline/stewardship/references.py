"""Which payloads of the clean zone are named, and by what: tables and published documents, and what those lead to.

Only names are read here; what is removed is decided elsewhere.
"""

import re
from collections.abc import Iterable, Iterator

from medillus_pipeline.tables import from_parquet
from medillus_pipeline.zones import Zone

_PAYLOAD = re.compile(r"[a-z_]+/([0-9a-f]{2})/\1[0-9a-f]{62}\.[a-z0-9]+(?:\.gz)?")
_LEADING_ON = (".json", ".html", ".parquet")
"""Payloads that may name others: manifests, promotions, keys of sheets, galleries."""
NAMING = ("tables", "published")
"""Folders of what is in force; everything else in the clean zone is payloads, locks and lists."""


def named_in(text: str) -> set[str]:
    """Payload paths that stand in a text, be they part of a URL."""
    return {match.group() for match in _PAYLOAD.finditer(text)}


def is_payload(path: str) -> bool:
    """Whether a path of the clean zone is that of a payload."""
    return _PAYLOAD.fullmatch(path) is not None


def text_of(path: str, data: bytes) -> str:
    """An object as text: the cells of a table, everything else byte for byte."""
    if path.endswith(".parquet"):
        return "\n".join(_cells(data))
    return data.decode("latin-1")


def in_force(clean: Zone) -> set[str]:
    """Payloads that tables and published documents name themselves."""
    found: set[str] = set()
    for folder in NAMING:
        for path in clean.files(folder):
            found |= _named_by(clean, path)
    return found


def reachable(clean: Zone, roots: Iterable[str] = ()) -> set[str]:
    """Payloads that are in force, those of `roots` (named by a model or an event), and all that these name in turn."""
    found = in_force(clean) | set(roots)
    waiting = list(found)
    while waiting:
        path = waiting.pop()
        if path.endswith(_LEADING_ON):
            further = _named_by(clean, path) - found
            found |= further
            waiting += further
    return found


def _named_by(clean: Zone, path: str) -> set[str]:
    try:
        return named_in(text_of(path, clean.read(path)))
    except FileNotFoundError:  # named, and gone already
        return set()


def _cells(data: bytes) -> Iterator[str]:
    import pyarrow as pa

    table = from_parquet(data)
    for column in table.columns:
        for value in column.unique().to_pylist() if pa.types.is_string(column.type) else column.to_pylist():
            if isinstance(value, str):
                yield value
            elif isinstance(value, list):
                yield from (one for one in value if isinstance(one, str))
