"""Where the bytes of one instance come from and its pictures go to, for a worker that renders many.

What a picture shows is not here.
"""

import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path

from medillus_pipeline.zones import Payload, Zone


def store_picture(zone: Zone, folder: str, data: bytes, suffix: str) -> Payload:
    """As `Zone.put`, but a file of this machine is not forced to disk one by one: call `settle` before a table names
    it. A file of that name that is shorter than it should be, as a power failure leaves it, is written again.

    Raises StoreError when the zone cannot be used.
    """
    if not zone.is_local:
        return zone.put(folder, data, suffix)
    digest = hashlib.sha256(data).hexdigest()
    payload = Payload(f"{folder}/{digest[:2]}/{digest}{suffix}", digest, len(data))
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
        return zone.read(path)
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
