"""The access log of the restricted zones: one line in the vault for every opening of landing or vault.

A line says when (UTC), which zone, who (a Dagster run, or a user of the operating system) and what for (a job or a
command). It holds no name from landing. Each line is an object of its own, since an object store cannot append. A
process that works on, such as a sensor's, is written down once an hour for each purpose, not once a tick.
"""

import re
import secrets
import time
from datetime import UTC, datetime

from medillus_pipeline.zones import Zone

FOLDER = "access"
RENEWED = 3600.0
"""Seconds after which a process that goes on opening a zone is written down again."""

_SAID = re.compile(r"[^A-Za-z0-9_.:@-]+")
_last: dict[tuple[str, ...], float] = {}


def opened(vault: Zone, zone: str, *, who: str, purpose: str) -> None:
    """Write the line, before anything is read. Raises StoreError where it cannot be written: then nothing is opened."""
    facts = (zone, _SAID.sub("_", who)[:80] or "unknown", _SAID.sub("_", purpose)[:80] or "unknown")
    key, now = (vault.url, *facts), time.monotonic()
    if key in _last and now - _last[key] < RENEWED:
        return
    moment = datetime.now(UTC)
    name = f"{moment:%H%M%S.%f}-{secrets.token_hex(4)}"
    line = f"{moment.isoformat(timespec='microseconds')} {' '.join(facts)}\n"
    vault.write(f"{FOLDER}/{moment:%Y-%m-%d}/{name}.log", line.encode())
    _last[key] = now


def lines(vault: Zone) -> list[str]:
    """All lines, oldest first: time, zone, who, purpose."""
    paths = [path for path in vault.files(FOLDER) if path.endswith(".log")]
    return sorted(vault.read(path).decode().rstrip("\n") for path in paths)
