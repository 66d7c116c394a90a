"""Pointers to what is in force for the assets that have no partitions: one small JSON document each.

A document names immutable payloads by path and SHA-256; replacing it is the one atomic act that publishes them.
"""

import hashlib
import json
from typing import Any

from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.zones import Zone


def publish(clean: Zone, name: str, document: dict[str, Any]) -> str:
    """Put the document in force; returns its data version (SHA-256 of its canonical JSON)."""
    encoded = json.dumps(document, sort_keys=True, indent=1, allow_nan=False).encode()
    clean.write(_path(name), encoded)
    return hashlib.sha256(encoded).hexdigest()


def current(clean: Zone, name: str) -> dict[str, Any] | None:
    """The document in force, or None when nothing was published yet."""
    try:
        return json.loads(clean.read(_path(name)))
    except FileNotFoundError:
        return None


def require(clean: Zone, name: str) -> dict[str, Any]:
    """The document in force. Raises NotEnoughDataError naming the asset to materialize first."""
    document = current(clean, name)
    if document is None:
        raise NotEnoughDataError(f"{name} was never published: materialize {name} first")
    return document


def _path(name: str) -> str:
    return f"published/{name}.json"
