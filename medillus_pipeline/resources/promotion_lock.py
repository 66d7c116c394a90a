"""The promotion lock: at most one promotion or rollback at a time, whoever asks (Dagster step, command line).

It is needed because MLflow's aliases are last-writer-wins, and Dagster's pool does not bind the command line.

* Local folder: `flock` on a file of the clean zone. The kernel lets go of it when its holder dies. It holds between
  processes of one machine, and between machines on a network file system that passes `flock` on (NFS of Linux does).
* S3: a lease object, made with `If-None-Match: *`, renewed every few seconds and taken over with `If-Match: <ETag>`, so
  of several takers one wins. A killed holder's lease runs out `LEASE` seconds after its last renewal by the clock of
  the store. A holder that was stopped for longer learns it from `confirm`; between that and its next write nothing can
  protect an alias, so the table of promotions, whose rows are created once only, has the last word.

What is done under the lock is not here: see `promotions.py`.
"""

import fcntl
import json
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from medillus_pipeline.errors import MedillusError, StoreError, TransientError
from medillus_pipeline.resources import conditional_writes
from medillus_pipeline.zones import Zone

LOCK = "locks/promotion.json"
LEASE = 60.0
"""Seconds after its last renewal that a lease of S3 holds."""
RENEWAL = 15.0
"""Seconds between renewals."""


class PromotionBusy(TransientError):
    """Somebody else is promoting or rolling back."""


class PromotionLockLost(TransientError):
    """This process was stopped for longer than its lease, and somebody else may promote by now."""


class Held(Protocol):
    """A lock that is held."""

    def confirm(self) -> None:
        """Raises PromotionLockLost when it is not held any more."""
        ...


@contextmanager
def promotion_lock(clean: Zone, owner: str, *, lease: float = LEASE, renewal: float = RENEWAL) -> Iterator[Held]:
    """Hold the lock of this clean zone while the body runs; `owner` (a Dagster run, command-line) is told to others.

    Never waits: raises PromotionBusy, saying who holds it since when. Raises ConfigurationError for an object store
    without conditional writes.
    """
    held = _flocked(clean, owner) if clean.is_local else _leased(clean, owner, lease, renewal)
    with held as lock:
        yield lock


class _Flock:
    def confirm(self) -> None:
        """The kernel keeps it as long as this process lives."""


@contextmanager
def _flocked(clean: Zone, owner: str) -> Iterator[Held]:
    path = Path(clean.full(LOCK))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # close-on-exec: no child keeps it
    except OSError as error:
        raise StoreError(
            f"the promotion lock cannot be opened ({os.strerror(error.errno or 0)}): check owner and mode of the "
            "folder locks in the clean zone; nothing was changed"
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy(os.pread(handle, 4096, 0)) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, _said(owner), 0)
        yield _Flock()
        os.ftruncate(handle, 0)
    finally:
        os.close(handle)


class _Lease:
    """A lease of S3 with a thread that renews it."""

    def __init__(self, zone: Zone, said: bytes, etag: str, renewal: float) -> None:
        self.zone, self.said, self.etag, self.renewal = zone, said, etag, renewal
        self.lost = False
        self._turn, self._done = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._renew, name="promotion-lease", daemon=True)
        self._thread.start()

    def confirm(self) -> None:
        """Renews it now, so that a whole lease is left for what follows."""
        self._write(self.said)
        if self.lost:
            raise PromotionLockLost(
                "this process was stopped for longer than its promotion lease: nothing more is changed by it; look at "
                "`medillus models`, then run again"
            )

    def release(self) -> None:
        """Mark it as free, if it is still ours: another's lease is never touched."""
        self._done.set()
        self._thread.join()
        with suppress(StoreError):  # it runs out by itself
            self._write(b"{}")

    def _renew(self) -> None:
        while not self._done.wait(self.renewal):
            with suppress(StoreError):  # the next renewal, or the lease running out, decides
                self._write(self.said)

    def _write(self, data: bytes) -> None:
        with self._turn:
            if self.lost:
                return
            etag = _replace(self.zone, data, self.etag)
            self.lost, self.etag = etag is None, etag or self.etag


@contextmanager
def _leased(clean: Zone, owner: str, lease: float, renewal: float) -> Iterator[Held]:
    said = _said(owner)
    if conditional_writes.create(clean, LOCK, _stamped(b"{}")):
        conditional_writes.refuse_unconditional(clean, LOCK)
    seen = conditional_writes.look(clean, LOCK)
    if seen is None:
        raise StoreError("the promotion lock vanished from the clean zone while it was taken: run again")
    if _holder(seen.data) is not None and seen.age < lease:
        raise _busy(seen.data)
    etag = _replace(clean, said, seen.etag)
    if etag is None:
        raise _busy(clean.read(LOCK))
    lock = _Lease(clean, said, etag, renewal)
    try:
        yield lock
    finally:
        lock.release()


def _replace(zone: Zone, data: bytes, etag: str) -> str | None:
    """Replace that very version of the lease object: the new ETag, None where somebody else was first."""
    stamped = _stamped(data)
    written = conditional_writes.put(zone, LOCK, stamped, IfMatch=etag)
    if written is None:
        now = conditional_writes.look(zone, LOCK)
        if now is not None and now.data == stamped:  # the answer was lost, and the client's second try met its first
            return now.etag
    return written


def _said(owner: str) -> bytes:
    """What others are told of the holder."""
    since = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return json.dumps({"owner": owner, "host": socket.gethostname(), "process": os.getpid(), "since": since}).encode()


def _stamped(data: bytes) -> bytes:
    """The same with a nonce, so that no two writes share an ETag, which is a hash of the bytes."""
    return json.dumps(json.loads(data) | {"nonce": secrets.token_hex(8)}).encode()


def _holder(data: bytes) -> dict[str, Any] | None:
    try:
        told = json.loads(data)
    except ValueError:
        return None
    return told if isinstance(told, dict) and "owner" in told else None


def _busy(data: bytes) -> MedillusError:
    told = _holder(data)
    who = f"by {told['owner']} on {told.get('host')} since {told.get('since')}" if told else "by another process"
    return PromotionBusy(
        f"another promotion or rollback is under way {who}, and nothing was changed by this one: run it again when "
        f"that one is done. If its process was killed, the lock is free within {LEASE:.0f} seconds."
    )
