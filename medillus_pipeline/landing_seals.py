"""What a landing folder held when it was closed, and what became of it since. Restricted, without Dagster.

A seal is one short hash for each file (its path, size and time or ETag), kept in the vault. Against it a later look
counts files that came or changed. Files that went are no fault: withdrawal and retention remove them.
"""

import hashlib
import json
import os
from collections.abc import Iterator
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

    Links are not followed. Raises OSError when a folder cannot be listed.
    """
    root = landing.full(folder)
    found = _local(Path(root)) if landing.is_local else _remote(landing, root)
    return Contents(
        frozenset(
            hashlib.blake2b(f"{path}\0{stamp}".encode(errors="surrogateescape"), digest_size=_BYTES).digest()
            for path, stamp in found
            if path != without
        )
    )


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


def _remote(landing: Zone, root: str) -> Iterator[tuple[str, str]]:
    for path, facts in landing.fs.find(root, detail=True).items():
        yield path.removeprefix(f"{root}/"), f"{facts.get('size')} {facts.get('ETag')}"
