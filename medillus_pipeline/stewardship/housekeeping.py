"""What nobody names any more is found, and removed when asked to: payloads, checkpoints, half-written files, and
landing folders past their retention.

An object counts only after a grace period: a run writes its payloads before the table that names them. What models and
events name is told by the caller.
"""

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from medillus_pipeline import landings
from medillus_pipeline.stewardship.references import is_payload, reachable
from medillus_pipeline.tables import INSTANCES, MASK_ITEMS, TableStore
from medillus_pipeline.zones import Zone

Kind = Literal["payload", "snapshot", "checkpoint", "unfinished", "landing"]
_UNFINISHED = re.compile(r"\..*\.[0-9a-f]{8}\.unfinished$")


@dataclass(frozen=True)
class Finding:
    """What could go: its kind, where it is (a path of a zone, or of this machine), and its bytes. `place` of landing
    identifies.
    """

    kind: Kind
    zone: Literal["clean", "landing", "machine"]
    place: str
    bytes: int


def orphans(clean: Zone, *, grace: timedelta, roots: Iterable[str] = (), now: datetime | None = None) -> list[Finding]:
    """Payloads older than the grace period that no table or document leads to, nor `roots`, which models and events
    name. Those of dataset snapshots are of kind `snapshot`.
    """
    before = (now or datetime.now(UTC)) - grace
    old = {path: size for path, size, written in _listed(clean) if is_payload(path) and written < before}
    named = reachable(clean, roots)
    return [
        Finding("snapshot" if path.startswith("datasets/") else "payload", "clean", path, size)
        for path, size in sorted(old.items())
        if path not in named
    ]


def checkpoints(work: Path, *, grace: timedelta, now: datetime | None = None) -> list[Finding]:
    """Folders of trainings below `work` in which nothing was written for the grace period."""
    before = ((now or datetime.now(UTC)) - grace).timestamp()
    found = []
    for folder in sorted((work / "training").glob("*")):
        files = [path for path in folder.rglob("*") if path.is_file()]
        newest = max((path.stat().st_mtime for path in (*files, folder)), default=0.0)
        if folder.is_dir() and newest < before:
            size = sum(path.stat().st_size for path in files)
            found.append(Finding("checkpoint", "machine", str(folder), size))
    return found


def unfinished(zones: Iterable[Zone], *, grace: timedelta, now: datetime | None = None) -> list[Finding]:
    """What killed processes had not finished writing, in zones that are folders of this machine."""
    before = ((now or datetime.now(UTC)) - grace).timestamp()
    files = (path for zone in zones if zone.is_local for path in sorted(Path(zone.full("")).rglob(".*.unfinished")))
    return [
        Finding("unfinished", "machine", str(path), path.stat().st_size)
        for path in files
        if _UNFINISHED.fullmatch(path.name) and path.is_file() and path.stat().st_mtime < before
    ]


def past_retention(
    landing: Zone, vault: Zone, clean: Zone, *, retention: timedelta, now: datetime | None = None
) -> list[Finding]:
    """Files of landing folders that arrived longer ago than the retention and were ingested; not of batches in which
    something still waits for its slices. The marker stays, so that the folder's name is known as done.
    """
    tables, before = TableStore(clean), (now or datetime.now(UTC)) - retention
    done = {"images": set(tables.keys(INSTANCES)), "annotations": set(tables.keys(MASK_ITEMS))}
    sizes = {path: size for path, size, _ in _listed(landing)}
    found = []
    for item in landings.mappings(vault):
        if item.key not in done.get(item.kind, ()) or datetime.fromisoformat(item.arrived) >= before:
            continue
        if item.kind == "annotations" and "pending" in tables.read(MASK_ITEMS, item.key)["outcome"].to_pylist():
            continue
        root = f"{item.kind}/{item.folder}/"
        found += [
            Finding("landing", "landing", path, size)
            for path, size in sorted(sizes.items())
            if path.startswith(root) and path != f"{root}{landings.READY}"
        ]
    return found


def remove(findings: Iterable[Finding], *, clean: Zone, landing: Zone, still: Iterable[str] = ()) -> int:
    """Remove what was found, but no payload that is named by now, directly or by `still`; returns the bytes."""
    findings = list(findings)
    named = reachable(clean, still) if any(finding.zone == "clean" for finding in findings) else set[str]()
    freed = 0
    for finding in findings:
        if finding.zone == "machine":
            path = Path(finding.place)
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        elif finding.zone == "landing":
            landing.remove(finding.place)
        elif finding.place not in named:
            clean.remove(finding.place)
        else:
            continue
        freed += finding.bytes
    return freed


def summary(findings: Iterable[Finding]) -> dict[str, dict[str, int]]:
    """Objects and bytes by kind. Names nothing."""
    count, size = Counter[str](), Counter[str]()
    for finding in findings:
        count[finding.kind] += 1
        size[finding.kind] += finding.bytes
    return {kind: {"objects": count[kind], "bytes": size[kind]} for kind in sorted(count)}


def _listed(zone: Zone) -> Iterator[tuple[str, int, datetime]]:
    """Path, bytes and time of the last write of all objects; only those that the zone shows."""
    root = zone.full("")
    try:
        details = zone.fs.find(root, detail=True)
    except FileNotFoundError:
        return
    for name, info in details.items():
        written = info.get("LastModified") or datetime.fromtimestamp(info.get("mtime", 0), UTC)
        yield name.removeprefix(root).lstrip("/"), int(info.get("size") or 0), written
