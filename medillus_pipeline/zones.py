"""A zone: one root URL (`file://` or `s3://`) behind fsspec, the same code path for both.

Writes are atomic: a reader sees the whole object or none. Payloads are immutable and named by their content hash, so
writing one again is harmless and a published table never points at something that changes.
"""

import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlparse

from medillus_pipeline import object_store
from medillus_pipeline.errors import ConfigurationError, PermanentError, StoreError


class StoreRefused(StoreError, PermanentError):
    """The store answers, and will say no until a person changes something: no permission, no such bucket."""


@dataclass(frozen=True)
class Payload:
    """An immutable object: its path inside the zone, SHA-256 (hex) of its bytes, and its size in bytes."""

    path: str
    sha256: str
    bytes: int


class Zone:
    """A root URL and what may be done under it. Paths are relative, POSIX style, and cannot leave the root.

    Instances are cheap, hold no connection of their own, and can be sent to a worker process.
    """

    def __init__(self, url: str, cache: str | Path | None = None) -> None:
        scheme = urlparse(url).scheme
        if scheme not in ("file", "s3"):
            raise ConfigurationError(f"zone URL must start with file:// or s3://, not {scheme or 'a bare path'!r}")
        self.url = url.rstrip("/")
        self.cache = str(cache) if cache is not None else None

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "cache": self.cache}

    def __repr__(self) -> str:
        return f"Zone({self.url!r})"

    @property
    def is_local(self) -> bool:
        """True where paths of the zone are files of this machine."""
        return self.url.startswith("file://")

    @property
    def fs(self) -> Any:
        """The fsspec filesystem. On S3 it is the one of the process, for as long as the credentials are the same."""
        if not self.is_local:
            return object_store.filesystem()
        import fsspec

        return fsspec.filesystem("file")

    def full(self, path: str) -> str:
        """The path as the filesystem wants it. Raises ValueError for an absolute path or one that climbs out."""
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts:
            raise ValueError("a path inside a zone is relative and has no '..'")
        root = urlparse(self.url)
        base = unquote(root.path) if root.scheme == "file" else root.netloc + root.path
        return f"{base.rstrip('/')}/{pure}" if path else base.rstrip("/")

    def write(self, path: str, data: bytes) -> None:
        """Publish `data` at `path` in one atomic act. Raises StoreError when the store is full or unwritable."""
        target = self.full(path)
        with self._answering():
            try:
                if self.is_local:
                    _write_local(Path(target), data)
                else:
                    self.fs.pipe_file(target, data)
            except FileNotFoundError as error:  # the folder went away in the middle
                raise _trouble(error, self.url) from error

    def read(self, path: str) -> bytes:
        """All bytes of an object. Raises FileNotFoundError, or StoreError when the store does not answer."""
        with self._answering():
            if self.is_local:
                return Path(self.full(path)).read_bytes()
            # One request: to ask for the size first costs as much again, and ranges could be of an older and a newer
            # object.
            return self.fs.cat_file(self.full(path), max_concurrency=1)

    def exists(self, path: str) -> bool:
        """Whether an object (or, locally, a folder) stands at `path`."""
        with self._answering():
            return bool(self.fs.exists(self.full(path)))

    def remove(self, path: str) -> None:
        """Remove one object; a missing one is not an error."""
        with suppress(FileNotFoundError), self._answering():
            self.fs.rm_file(self.full(path))

    def folders(self, path: str = "") -> list[str]:
        """Names of the folders directly under `path`, sorted; empty when `path` does not exist."""
        return sorted(name for name, kind in self._listing(path) if kind == "directory")

    def files(self, path: str = "") -> list[str]:
        """Paths (relative to the zone) of all objects below `path`, at any depth, sorted.

        Links are not followed out of the zone: a link that leads elsewhere is left out, as are pipes and devices. So is
        what a killed process had not finished writing. Raises StoreError when a folder below `path` cannot be listed.
        """
        root = self.full(path)
        if self.is_local:
            base = Path(self.full("")).resolve()
            start = Path(root)
            walked = os.walk(start, onerror=self._refuse)
            found = [Path(folder) / name for folder, _, names in walked for name in names]
            return sorted(
                (PurePosixPath(path) / file.relative_to(start).as_posix()).as_posix()
                for file in found
                if not _UNFINISHED.match(file.name) and _is_inside(file, base)
            )
        prefix = self.full("") + "/"
        with suppress(FileNotFoundError), self._answering():
            return sorted(found.removeprefix(prefix) for found in self.fs.find(root) if not found.endswith("/"))
        return []

    def pages(self, folder: str, after: str = "") -> Iterator[tuple[list[tuple[str, str]], bool]]:
        """In an object store: the objects below `folder` that follow on the path `after`, a request for each page.

        Yields (path, size and ETag) of each, and whether the page is the last. All objects of a folder come together.
        """
        bucket, _, prefix = f"{self.full(folder)}/".partition("/")
        root = self.full("").partition("/")[2]
        root = f"{root}/" if root else ""
        with self._answering():
            for page, last in object_store.pages(bucket, prefix, root + after if after else ""):
                found = [(one["Key"].removeprefix(root), f"{one['Size']} {one.get('ETag')}") for one in page]
                yield [one for one in found if not one[0].endswith("/")], last

    def put(self, folder: str, data: bytes, suffix: str) -> Payload:
        """Store an immutable payload under `folder`, named by its SHA-256; written only if it is not there yet."""
        digest = hashlib.sha256(data).hexdigest()
        path = f"{folder}/{digest[:2]}/{digest}{suffix}"
        if not self._refreshed(path):
            self.write(path, data)
        return Payload(path=path, sha256=digest, bytes=len(data))

    def adopt(self, folder: str, file: Path, digest: str, suffix: str) -> Payload:
        """Store a local file whose SHA-256 is known as an immutable payload; the file itself is moved or removed.

        Nothing is copied where the file already lies on the file system of the zone.
        """
        path = f"{folder}/{digest[:2]}/{digest}{suffix}"
        size = file.stat().st_size
        if not self._refreshed(path) and not (self.is_local and self._moved(file, Path(self.full(path)))):
            self.write(path, file.read_bytes())
        file.unlink(missing_ok=True)
        return Payload(path=path, sha256=digest, bytes=size)

    def _refreshed(self, path: str) -> bool:
        """Whether a payload is there and counts as new: housekeeping spares what was written lately. On S3 one that is
        older than a day counts as absent, for only another write makes it new.
        """
        if self.is_local:
            with suppress(OSError):
                os.utime(self.full(path))
                return True
            return self.exists(path)
        with suppress(FileNotFoundError), self._answering():
            written = self.fs.info(self.full(path)).get("LastModified")
            return written is not None and datetime.now(UTC) - written < timedelta(days=1)
        return False

    def _moved(self, file: Path, target: Path) -> bool:
        """Whether a finished file could be renamed into place; not so across file systems."""
        with self._answering():
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                handle = os.open(file, os.O_RDONLY)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)
                file.replace(target)
            except OSError as error:
                if error.errno == errno.EXDEV:
                    return False
                raise
        return True

    def local(self, path: str) -> Path:
        """A file of this machine with the object's bytes: the object itself, or a copy in the cache folder.

        Only for immutable payloads: a cached copy is taken as it is.
        """
        if self.is_local:
            return Path(self.full(path))
        if self.cache is None:
            raise ConfigurationError("this zone is remote and has no cache folder: set MEDILLUS_CACHE")
        copy = Path(self.cache) / hashlib.sha256(self.url.encode()).hexdigest()[:12] / path
        if not copy.exists():
            _write_local(copy, self.read(path))
        return copy

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """What the store or the way to it raises, as StoreError; FileNotFoundError is left to the caller, but for a
        bucket that is not there: to the caller that would look like an empty one.
        """
        try:
            yield
        except FileNotFoundError as error:
            if object_store.code(error) == "NoSuchBucket":
                raise _trouble(error, self.url) from error
            raise
        except Exception as error:
            if not object_store.is_trouble(error):
                raise
            raise _trouble(error, self.url) from error

    def _refuse(self, error: OSError) -> None:
        """A folder that cannot be listed is an error, or its files would be passed over; one that is gone is not."""
        if not isinstance(error, FileNotFoundError):
            raise _trouble(error, self.url) from error

    def _listing(self, path: str) -> list[tuple[str, str]]:
        entries = []
        with suppress(FileNotFoundError), self._answering():
            entries = self.fs.ls(self.full(path), detail=True)
        return [(entry["name"].rstrip("/").rsplit("/", 1)[-1], entry["type"]) for entry in entries]


_UNFINISHED = re.compile(r"\..*\.[0-9a-f]{8}\.unfinished$")
"""Names under which objects are written before they are renamed to their own."""


def _is_inside(file: Path, base: Path) -> bool:
    """Whether an entry is a regular file below `base`, or a link to one: a pipe would be waited for without end."""
    try:
        return stat.S_ISREG(file.stat().st_mode) and (not file.is_symlink() or file.resolve().is_relative_to(base))
    except (OSError, RuntimeError):  # gone since, a link to nothing or to itself, or one that may not be looked at
        return not file.is_symlink()


def _write_local(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name[:80]}.{secrets.token_hex(4)}.unfinished")
    try:
        with temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


_REASONS = {
    errno.ENOSPC: "the disk is full: free space, then run again",
    errno.EDQUOT: "the disk quota is used up: free space, then run again",
    errno.EACCES: "no permission to write or read there: check the owner and mode of the folder",
    errno.EPERM: "no permission to write or read there: check the owner and mode of the folder",
    errno.EEXIST: "a file stands where a folder is needed: move it out of the way",
    errno.ENOTDIR: "a file stands where a folder is needed: move it out of the way",
    errno.EISDIR: "a folder stands where a file is needed: move it out of the way",
    errno.EROFS: "the file system is mounted read-only",
    errno.EFBIG: "the file is larger than the file system or `ulimit -f` allows: raise the limit",
}
_MAY_PASS = (errno.ENOSPC, errno.EDQUOT)
"""Of these reasons, those that may be gone at the next attempt, since other processes free space too."""


def _trouble(error: Exception, url: str) -> StoreError:
    """The error with what to do about it: StoreRefused where another attempt would end the same way."""
    number, code = getattr(error, "errno", None) or 0, object_store.code(error)
    local = urlparse(url).scheme == "file"
    said = str(error) if isinstance(error, object_store.NoAnswer) else type(error).__name__
    unknown = f"{said}: check that the store is reachable and its credentials are valid"
    if code in object_store.REFUSALS:
        kind, reason = StoreRefused, object_store.REFUSALS[code]
    elif local and number in _REASONS:
        kind, reason = StoreError if number in _MAY_PASS else StoreRefused, _REASONS[number]
    else:
        kind, reason = StoreError, os.strerror(number) if local and number else unknown
    scheme = urlparse(url).scheme
    return kind(f"the {scheme}:// store of this zone cannot be used: {reason}. What was published before is untouched.")
