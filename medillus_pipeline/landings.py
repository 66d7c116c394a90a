"""Landing folders and the partition keys that stand for them. Restricted: names of folders may identify people.

A folder is complete when it holds the marker `_READY`; the landing sensors may also take it after a quiet period
(`landing_watch.py`). The marker may be empty, or a JSON object with a `label`, which
then is the partition key. The mapping stands in the vault, one file per folder, so that registering is two listings.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.errors import ConfigurationError, InputError, StoreError
from medillus_pipeline.phantom.keys import DEMO_KEY
from medillus_pipeline.settings import Settings
from medillus_pipeline.tables import LANDINGS, TableStore
from medillus_pipeline.zones import Zone

Kind = Literal["images", "annotations", "reviews", "requests"]
READY = "_READY"
RETRACTED = "retracted"
LABEL = re.compile(r"[a-z0-9][a-z0-9-]{2,40}")
_PREFIX: dict[Kind, str] = {"images": "d", "annotations": "a", "reviews": "r", "requests": "q"}
PUBLIC_KEY = "the key in use is the demo's, which is public. Point MEDILLUS_HOME at another folder: a key is made there"
_MARKER_LIMIT = 64 * 1024
_ODD_BYTES = {0xDC00 + byte: 0xF700 + byte for byte in range(0x80, 0x100)}
"""Bytes of a folder's name that are no UTF-8, as Python holds them → as the vault's table can hold them."""


@dataclass(frozen=True)
class Landing:
    """A landing folder and the partition key that stands for it on the clean side."""

    key: str
    kind: Kind
    folder: str
    arrived: str


def ready_folders(landing: Zone, kind: Kind) -> list[str]:
    """Names of the folders of this kind that are closed by a marker, sorted."""
    return [name for name in landing.folders(kind) if landing.exists(f"{kind}/{name}/{READY}")]


def register(
    landing: Zone,
    vault: Zone,
    pseudonymiser: Pseudonymiser,
    kind: Kind,
    *,
    folders: Iterable[str] | None = None,
    known: Iterable[tuple[str, str]] | None = None,
    now: datetime | None = None,
) -> list[Landing]:
    """Give a partition key to every closed folder that has none yet; returns the new ones, by key.

    `folders` are the complete ones where the caller knows them (otherwise: all that hold the marker), `known` what
    `registered` says where the caller asked already.
    A declared label that is malformed or already taken is not used: the folder then gets a key of its hash.
    Raises ConfigurationError when real folders arrive while the public key of the demo is in use.
    """
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    known = registered(vault, kind) if known is None else list(known)
    hashes = {folder_hash for folder_hash, _ in known}
    keys = {key for _, key in known}
    new = []
    store = TableStore(vault)
    for folder in ready_folders(landing, kind) if folders is None else folders:
        folder_hash = pseudonymiser.folder(folder)
        if folder_hash in hashes:
            continue
        marker = _marker(landing, kind, folder)
        if pseudonymiser.key == DEMO_KEY and not marker.get("synthetic"):
            raise ConfigurationError(
                f"a landing folder does not say that it is synthetic and was not read: {PUBLIC_KEY}"
            )
        label = marker.get("label")
        usable = isinstance(label, str) and LABEL.fullmatch(label) and label not in keys
        key = str(label) if usable else f"{_PREFIX[kind]}-{moment:%Y%m%d}-{folder_hash}"
        found = Landing(key=key, kind=kind, folder=folder, arrived=moment.isoformat(timespec="seconds"))
        row = vars(found) | {"folder": folder.translate(_ODD_BYTES)}
        store.publish(LANDINGS, f"{kind}.{folder_hash}.{key}", LANDINGS.to_arrow([row]))
        keys.add(key)
        hashes.add(folder_hash)
        new.append(found)
    return sorted(new, key=lambda item: item.key)


def known_keys(vault: Zone, kind: Kind) -> list[str]:
    """Partition keys that were ever given to folders of this kind, sorted."""
    return sorted({key for _, key in registered(vault, kind)} - retracted_keys(vault, kind))


def retracted_keys(vault: Zone, kind: str) -> frozenset[str]:
    """Partition keys of this kind that were taken back: they are not ingested again."""
    prefix = f"{RETRACTED}/{kind}."
    return frozenset(path.removeprefix(prefix) for path in vault.files(RETRACTED) if path.startswith(prefix))


def folder_of(vault: Zone, kind: Kind, key: str) -> str:
    """The landing folder behind a partition key. Raises InputError for a key that was never given, or was retracted."""
    if key in retracted_keys(vault, kind):
        raise InputError(f"partition {key} was retracted: land its files anew, in a folder of another name")
    for folder_hash, known in registered(vault, kind):
        if known == key:
            row = TableStore(vault).read(LANDINGS, f"{kind}.{folder_hash}.{key}").to_pylist()[0]
            return row["folder"].translate({stored: odd for odd, stored in _ODD_BYTES.items()})
    raise InputError(f"no landing folder is registered for partition {key}: let the landing sensor see it first")


def landed_before(vault: Zone, kind: Kind, key: str) -> list[str]:
    """Keys of the folders of this kind that arrived before this one, in that order."""
    keys = in_landing_order(vault, kind)
    return keys[: keys.index(key)] if key in keys else keys


def in_landing_order(vault: Zone, kind: Kind) -> list[str]:
    """Keys of all folders of this kind, by the time of their arrival, then by key."""
    ordered = sorted((item for item in mappings(vault) if item.kind == kind), key=lambda item: (item.arrived, item.key))
    return [item.key for item in ordered]


def mappings(vault: Zone) -> list[Landing]:
    """Every registered folder with its key. Restricted: for who may read the vault."""
    rows: Iterable[dict[str, Any]] = TableStore(vault).read_all(LANDINGS).to_pylist()
    return sorted(
        (Landing(row["key"], row["kind"], row["folder"], row["arrived"]) for row in rows),
        key=lambda item: (item.kind, item.key),
    )


def close(landing: Zone, kind: Kind, folder: str, marker: dict[str, Any] | None = None) -> None:
    """Write the marker that says that a folder is complete."""
    landing.write(f"{kind}/{folder}/{READY}", json.dumps(marker).encode() if marker else b"")


def registered(vault: Zone, kind: Kind) -> list[tuple[str, str]]:
    """(hash of the folder's name, partition key) of every folder of this kind that ever got a key."""
    split = (partition.split(".", 2) for partition in TableStore(vault).keys(LANDINGS))
    return [(folder_hash, key) for of_kind, folder_hash, key in split if of_kind == kind]


def _marker(landing: Zone, kind: Kind, folder: str) -> dict[str, Any]:
    """What the marker declares; nothing, when it is missing, empty, too long, locked or no JSON object: a label is an
    offer, and a folder may count as complete without a marker.
    """
    try:
        data = landing.read(f"{kind}/{folder}/{READY}")
    except FileNotFoundError:
        return {}
    except StoreError as error:
        if isinstance(error.__cause__, IsADirectoryError | PermissionError):
            return {}
        raise
    if not data or len(data) > _MARKER_LIMIT:
        return {}
    try:
        declared = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return declared if isinstance(declared, dict) else {}


def is_synthetic(landing: Zone, vault: Zone, key: str) -> bool:
    """Whether the delivery behind this key declares itself synthetic."""
    return bool(_marker(landing, "images", folder_of(vault, "images", key)).get("synthetic"))


def refuse_demo_home(settings: Settings) -> None:
    """Raises ConfigurationError, before anything lands, where the demo's public key is in use."""
    if settings.key_file.exists() and settings.pseudonymiser().key == DEMO_KEY:
        raise ConfigurationError(f"real data cannot land here: {PUBLIC_KEY}")


def land_folder(
    landing: Zone, kind: Kind, source: Path, *, name: str, label: str | None = None, synthetic: bool = False
) -> int:
    """Copy all files below `source` into `landing/<kind>/<name>` and close it; returns the number of files.

    Raises InputError when there is nothing to copy, or a closed folder of that name is already there.
    """
    if not source.is_dir():
        raise InputError("the folder to land does not exist, or is a file: name a folder")
    if "/" in name or name in ("", ".", ".."):
        raise InputError("the name of a landing folder is a single path component")
    if label is not None and not LABEL.fullmatch(label):
        raise InputError("a label has 3 to 41 of the characters a-z, 0-9 and -, and begins with a letter or digit")
    if landing.exists(f"{kind}/{name}/{READY}"):
        raise InputError("a closed folder of that name is already in landing: give another --name")
    files = sorted(path for path in source.rglob("*") if path.is_file() and path.name != READY)
    if not files:
        raise InputError("the folder to land holds no file")
    for number, path in enumerate(files, start=1):
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(
                f"file {number} of {len(files)} (by name) cannot be read ({type(error).__name__}): "
                "the folder stays open in landing; mend the file and land the folder again"
            ) from error
        landing.write(f"{kind}/{name}/{path.relative_to(source).as_posix()}", data)
    close(landing, kind, name, {"label": label, "synthetic": synthetic} if label or synthetic else None)
    return len(files)
