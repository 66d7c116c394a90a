"""What a landing folder held when it was closed, and what became of it since. Restricted, without Dagster.

A seal is one short hash for each file (its path, size and time or ETag), kept in the vault. Against it a later look
counts files that came or changed. Files that went are no fault: withdrawal and retention remove them.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from medillus_pipeline.zones import Zone

FOLDER = "seals"
QUIET = "quiet"
_BYTES = 8


@dataclass(frozen=True)
class Contents:
    """The files of a folder: one hash of `_BYTES` bytes for each."""

    files: frozenset[bytes]

    @property
    def digest(self) -> str:
        """One hash (hex) of all of them."""
        return hashlib.sha256(b"".join(sorted(self.files))).hexdigest()


@dataclass(frozen=True)
class Change:
    """A delivery that changed after it was closed: files that came or changed, files when it was closed, and what it
    holds now.
    """

    key: str
    came: int
    sealed: int
    now: Contents


def contents(landing: Zone, folder: str, *, without: str) -> Contents:
    """What stands below `folder` (relative to the zone), without the file `without` at its top.

    Links are not followed. Raises OSError when a folder cannot be listed, StoreError when the store does not answer.
    """
    return _hashed(_local(Path(landing.full(folder))) if landing.is_local else _remote(landing, folder), without)


def contents_in_turn(
    landing: Zone, kind: str, folders: Iterable[str], *, without: str
) -> Iterator[tuple[str, Contents]]:
    """(name, contents) of folders directly below `kind`, each as `contents` gives them; close it when enough is listed.

    In an object store a page of a listing is a request, whoever the objects on it belong to: what it says of other
    folders asked for is taken too, so that small ones that follow each other cost one request together.
    """
    left = dict.fromkeys(folders)
    while left:
        first = next(iter(left))
        if landing.is_local:
            del left[first]
            yield first, contents(landing, f"{kind}/{first}", without=without)
            continue
        for name, files in _whole_folders(landing, kind, first, without):
            if name in left:
                del left[name]
                yield name, Contents(frozenset(files))


def _whole_folders(landing: Zone, kind: str, first: str, without: str) -> list[tuple[str, set[bytes]]]:
    """(name, hash of each file) of `first`, and of the folders that the last page needed for it tells all of."""
    held: dict[str, set[bytes]] = {first: set()}
    for page, last in landing.pages(kind, f"{kind}/{first}/"):
        for path, stamp in page:
            name, _, below = path.removeprefix(f"{kind}/").partition("/")
            if below:
                files = held.setdefault(name, set())
                files |= {_hash(below, stamp)} if below != without else set()
        if last:
            break
        if len(held) > 1:
            return list(held.items())[:-1]  # the last of them may go on
    return list(held.items())


def _hashed(found: Iterable[tuple[str, str]], without: str) -> Contents:
    return Contents(frozenset(_hash(path, stamp) for path, stamp in found if path != without))


def _hash(path: str, stamp: str) -> bytes:
    return hashlib.blake2b(f"{path}\0{stamp}".encode(errors="surrogateescape"), digest_size=_BYTES).digest()


def seal(vault: Zone, kind: str, key: str, held: Contents) -> None:
    """Keep what a folder held, in place of what was kept before."""
    vault.write(f"{FOLDER}/{kind}.{key}", b"".join(sorted(held.files)))


def change(vault: Zone, kind: str, key: str, now: Contents) -> Change | None:
    """What came or changed since the seal; None where nothing did. What was never sealed is sealed now."""
    try:
        kept = vault.read(f"{FOLDER}/{kind}.{key}")
    except FileNotFoundError:
        seal(vault, kind, key, now)
        return None
    before = {kept[start : start + _BYTES] for start in range(0, len(kept), _BYTES)}
    came = now.files - before
    return Change(key, len(came), len(before), now) if came else None


def is_quiet(vault: Zone, kind: str, folder_hash: str, held: Contents, quiet: timedelta, now: datetime) -> bool:
    """Whether an open folder that holds something has been as it is for so long; otherwise the look is remembered.

    Looks are compared, not times of files: a copy may keep the times of its source, and clocks differ.
    """
    if not held.files:
        return False
    place = f"{QUIET}/{kind}.{folder_hash}"
    try:
        seen = json.loads(vault.read(place))
    except FileNotFoundError:
        seen = {}
    if seen.get("digest") != held.digest:
        vault.write(place, json.dumps({"digest": held.digest, "since": now.astimezone(UTC).isoformat()}).encode())
        return False
    if now - datetime.fromisoformat(seen["since"]) < quiet:
        return False
    vault.remove(place)
    return True


def _local(root: Path) -> Iterator[tuple[str, str]]:
    waiting = [root]
    while waiting:
        with suppress(FileNotFoundError), os.scandir(waiting.pop()) as entries:  # what went meanwhile is no fault
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                else:
                    facts = entry.stat(follow_symlinks=False)
                    yield os.path.relpath(entry.path, root), f"{facts.st_size} {facts.st_mtime_ns}"


def _remote(landing: Zone, folder: str) -> Iterator[tuple[str, str]]:
    for page, _ in landing.pages(folder):
        for path, stamp in page:
            yield path.removeprefix(f"{folder}/"), stamp
