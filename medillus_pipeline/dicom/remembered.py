"""What was rendered before: a delivery whose instances, windows and program are the same needs no pixel work again.

The rows are kept in the clean zone under a name made of all that they follow from. Nothing is rendered here.
"""

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from medillus_pipeline.zones import Zone

FOLDER = "renderings"
PACKAGES = (
    *("numpy", "pydicom", "isal", "pillow", "imagecodecs", "pyjpegls", "python-gdcm"),
    *("pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle"),
)
"""Packages whose version, or absence, decides what a file looks like."""


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


def recall(zone: Zone, name: str, pictures: Sequence[str]) -> dict[str, Any] | None:
    """What `remember` kept under a fingerprint; None when there is nothing, or when one of the pictures that its lists
    (the keys `pictures`) name is gone.
    """
    try:
        kept = json.loads(zlib.decompress(zone.read(_path(name))))
        paths = [row["path"] for key in pictures for row in kept[key]]
    except (FileNotFoundError, ValueError, zlib.error, KeyError, TypeError):
        return None
    return kept if all(zone.exists(path) for path in paths) else None


def remember(zone: Zone, name: str, made: Mapping[str, Any]) -> None:
    """Keep what was made under a fingerprint. Raises StoreError when the zone cannot be used."""
    packer = zlib.compressobj(1)
    parts = [packer.compress(text.encode()) for text in _json(made)]
    zone.write(_path(name), b"".join(parts) + packer.flush())


def _json(made: Mapping[str, Any]) -> Iterator[str]:
    """A JSON object in pieces: the rows of a delivery are no one text, which would be as large as all of them."""
    opening = "{"
    for key, value in made.items():
        yield f"{opening}{json.dumps(key)}: "
        opening = ", "
        if isinstance(value, list):
            yield "["
            for number, row in enumerate(value):
                yield (", " if number else "") + json.dumps(row)
            yield "]"
        else:
            yield json.dumps(value)
    yield "{}" if opening == "{" else "}"


def _path(name: str) -> str:
    return f"{FOLDER}/{name[:2]}/{name}.json.z"
