"""Where the bytes of one instance come from and its pictures go to, for a worker that renders many.

An object store answers late: within `beside` the next instances are read and pictures uploaded by threads, while the
worker goes on. What a picture shows is not here.
"""

import hashlib
import os
import secrets
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import parent_process
from pathlib import Path

from medillus_pipeline.zones import Payload, Zone

THREADS = 8
"""Requests that a worker has under way at a time."""
AHEAD = 4
"""Instances that are read before their turn."""
BACKLOG = 16
"""Pictures that wait for the store; a worker that has made more waits for the first of them."""


def store_picture(zone: Zone, folder: str, data: bytes, suffix: str) -> Payload:
    """As `Zone.put`, but a file of this machine is not forced to disk one by one: call `settle` before a table names
    it. A file of that name that is shorter than it should be, as a power failure leaves it, is written again.

    To an object store it is written without asking whether it is there: that costs as much. Within `beside` it may
    arrive later, at the end of that at the latest.

    Raises StoreError when the zone cannot be used, within `beside` also for an earlier picture.
    """
    digest = hashlib.sha256(data).hexdigest()
    payload = Payload(f"{folder}/{digest[:2]}/{digest}{suffix}", digest, len(data))
    if not zone.is_local:
        if _beside is None:
            zone.write(payload.path, data)
        else:
            _beside.write(zone, payload.path, data)
        return payload
    target = f"{zone.full('')}/{payload.path}"
    with suppress(OSError):
        if os.stat(target).st_size == len(data):  # noqa: PTH116 - a Path costs as much as the call, for every slice
            return payload
    try:
        try:
            _write(target, data)
        except FileNotFoundError:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            _write(target, data)
    except OSError:
        zone.write(payload.path, data)  # says what is wrong, if it still is
    return payload


def read_instance(zone: Zone, path: str) -> bytes | memoryview:
    """As `Zone.read`; a file of this machine is read into memory that the next call overwrites."""
    if not zone.is_local:
        return zone.read(path) if _beside is None else _beside.read(zone, path)
    try:
        handle = os.open(zone.full(path), os.O_RDONLY)
        try:
            size = os.fstat(handle).st_size
            if len(_buffer) < size:
                _buffer.extend(bytes(size - len(_buffer)))
            view = memoryview(_buffer)[:size]
            if os.readv(handle, [view]) == size:
                return view.toreadonly()
        finally:
            os.close(handle)
    except (OSError, BufferError):
        pass
    return zone.read(path)  # says what is wrong, if it still is


_buffer = bytearray()


def still_open(zone: Zone) -> Zone:
    """In a worker process: the same zone as it was first sent there, whose connection to an object store is open."""
    if zone.is_local or parent_process() is None:
        return zone
    return _sent.setdefault((zone.url, zone.cache), zone)


_sent: dict[tuple[str, str | None], Zone] = {}


@contextmanager
def beside(zone: Zone, paths: Sequence[str]) -> Iterator[None]:
    """Have `read_instance` find the instances at `paths`, in that order, read before their turn, and `store_picture`
    not wait for the store. All pictures are in the zone at the end. A zone of this machine needs none of this.

    Raises StoreError when a picture could not be stored.
    """
    global _beside
    if zone.is_local:
        yield
        return
    _ = zone.fs  # once, not by each thread
    with ThreadPoolExecutor(THREADS) as threads:
        _beside = _Beside(threads, zone, paths)
        try:
            yield
            _beside.finish()
        finally:
            _beside = None
            threads.shutdown(cancel_futures=True)


class _Beside:
    """Reads and writes under way while a worker does something else."""

    def __init__(self, threads: ThreadPoolExecutor, zone: Zone, paths: Sequence[str]) -> None:
        self._threads = threads
        self._coming = deque(paths)
        self._reads: dict[str, Future[bytes]] = {}
        self._writes: deque[Future[None]] = deque()
        self._read_ahead(zone)

    def read(self, zone: Zone, path: str) -> bytes:
        """As `Zone.read`."""
        under_way = self._reads.pop(path, None)
        self._read_ahead(zone)
        return zone.read(path) if under_way is None else under_way.result()

    def write(self, zone: Zone, path: str, data: bytes) -> None:
        """As `Zone.write`, but it may be finished, or fail, later."""
        while len(self._writes) >= BACKLOG:
            self._writes.popleft().result()
        self._writes.append(self._threads.submit(zone.write, path, data))

    def finish(self) -> None:
        """Wait for all writes. Raises what the first failure raised."""
        while self._writes:
            self._writes.popleft().result()

    def _read_ahead(self, zone: Zone) -> None:
        while self._coming and len(self._reads) < AHEAD:
            path = self._coming.popleft()
            if path not in self._reads:
                self._reads[path] = self._threads.submit(zone.read, path)


_beside: _Beside | None = None


def settle(zone: Zone) -> None:
    """Force what `store_picture` wrote to disk, all at once."""
    if zone.is_local:
        os.sync()


def _write(target: str, data: bytes) -> None:
    folder, _, name = target.rpartition("/")
    temporary = f"{folder}/.{name[:80]}.{secrets.token_hex(4)}.unfinished"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(handle, rest) :]
        finally:
            os.close(handle)
        os.replace(temporary, target)  # noqa: PTH105
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise


class InHand(Zone):
    """One file that was read already, as a zone; pictures put there go to `target`, or stay in `pictures`."""

    def __init__(self, data: bytes, target: Zone | None = None) -> None:
        super().__init__("file:///.")
        self.data, self.target = data, target
        self.pictures: list[bytes] = []

    def read(self, path: str) -> bytes:
        """The file, whatever the path."""
        return self.data

    def put(self, folder: str, data: bytes, suffix: str) -> Payload:
        """Pass the picture on, or keep it."""
        if self.target is not None:
            return store_picture(self.target, folder, data, suffix)
        self.pictures.append(data)
        return Payload("", "", len(data))
