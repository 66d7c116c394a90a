"""What was rendered before: a delivery whose instances, windows and program are the same needs no pixel work again.

The rows are kept in the clean zone under a name made of all that they follow from. Nothing is rendered here.
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from medillus_pipeline.zones import Zone

Row = dict[str, Any]

FOLDER = "renderings"
PACKAGES = (
    *("numpy", "pydicom", "isal", "pillow", "imagecodecs", "pyjpegls", "python-gdcm"),
    *("pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle"),
)
"""Packages whose version, or absence, decides what a file looks like."""
_END = b"whole"
"""The last line: without it, something is missing."""
_PIECE = 16 << 10


def fingerprint(instances: Iterable[Mapping[str, Any]], choices: object) -> str:
    """SHA-256 (hex) of all that slices follow from: rows of INSTANCES in order, `choices` (whose repr says all), the
    program's modules about pixels and the versions of its decoders.
    """
    digest = hashlib.sha256(program().encode())
    digest.update(repr(choices).encode())
    for row in instances:
        digest.update(json.dumps(row, sort_keys=True, default=str).encode())
        digest.update(b"\n")
    return digest.hexdigest()


@cache
def program() -> str:
    """What tells this program from one that may draw the same file differently."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            found.append(package)
    return f"{digest.hexdigest()} {', '.join(found)}"


def recall(zone: Zone, name: str, take: Callable[[str, int, Row], object]) -> dict[str, Any] | None:
    """What `remember` kept as said under a fingerprint; its rows are given to `take` one by one: the list they are of,
    their number, and themselves. None when there is nothing, or nothing whole.
    """
    try:
        lines = _lines(zone.read(_path(name)))
        said = json.loads(next(lines))
        for line in lines:
            if line == _END:
                return said
            kind, number, row = json.loads(line)
            take(kind, number, row)
    except (FileNotFoundError, StopIteration, ValueError, zlib.error, KeyError, TypeError):
        return None
    return None


def remember(zone: Zone, name: str, said: Mapping[str, Any], rows: Mapping[str, Iterable[tuple[int, Row]]]) -> None:
    """Keep what is said of a delivery, and numbered rows by list, under a fingerprint. Raises StoreError when the zone
    cannot be used.
    """
    packer = zlib.compressobj(1)
    kept = bytearray(packer.compress(json.dumps(said).encode() + b"\n"))
    for kind, members in rows.items():
        for number, row in members:
            kept += packer.compress(json.dumps([kind, number, row]).encode() + b"\n")
    kept += packer.compress(_END + b"\n") + packer.flush()
    zone.write(_path(name), bytes(kept))


def _lines(packed: bytes) -> Iterator[bytes]:
    """The lines of a text: the rows of a delivery are never one text, which would be as large as all of them."""
    unpacker = zlib.decompressobj()
    begun = b""
    for start in range(0, len(packed), _PIECE):
        *whole, begun = (begun + unpacker.decompress(packed[start : start + _PIECE])).split(b"\n")
        yield from whole


def _path(name: str) -> str:
    return f"{FOLDER}/{name[:2]}/{name}.jsonl.z"
