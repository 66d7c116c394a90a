"""Any folder (or one file) as the place that a delivery comes from: read where it stands, never written to.

Every entry is accounted for: what is no regular file, or leads out of the folder, is listed with the reason why it was
not read. What the files hold is not looked at here.
"""

import os
import stat
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

from medillus_pipeline.zones import Zone


class NotRead(StrEnum):
    """Why an entry of a folder was not read."""

    LINK_LEADS_OUTSIDE = "link_leads_outside"
    """A symbolic link to something outside the folder, as a sender could place one to fetch what is not theirs."""
    LINK_TO_FOLDER = "link_to_folder"
    """A symbolic link to a folder inside: its files are read where they stand, and no loop is walked."""
    DANGLING_LINK = "dangling_link"
    """A symbolic link to nothing, or to itself."""
    SPECIAL_FILE = "special_file"
    """A pipe, socket or device: it holds no stored image, and reading it may never end."""
    FOLDER_NOT_READABLE = "folder_not_readable"
    MARKER = "marker"
    """The `_READY` that closes a landing folder; no part of the delivery."""


UNSEEN = frozenset({NotRead.LINK_LEADS_OUTSIDE, NotRead.DANGLING_LINK, NotRead.FOLDER_NOT_READABLE})
"""Reasons behind which an image may lie that nobody looked at."""


@dataclass(frozen=True)
class Listing:
    """Relative paths below a folder: `files` to read, sorted, and `left` (path → why it is not read)."""

    files: tuple[str, ...]
    left: dict[str, NotRead]


def list_folder(root: Path) -> Listing:
    """Everything below `root` (absolute and resolved), links not followed but to files inside it.

    Raises OSError where `root` itself cannot be listed.
    """
    files: list[str] = []
    left: dict[str, NotRead] = {}
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                found = list(entries)
        except OSError:
            if folder == root:
                raise
            left[folder.relative_to(root).as_posix()] = NotRead.FOLDER_NOT_READABLE
            continue
        for entry in found:
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                waiting.append(path)
                continue
            reason = _reason(path, root, entry.is_symlink())
            if reason is None:
                files.append(path.relative_to(root).as_posix())
            else:
                left[path.relative_to(root).as_posix()] = reason
    return Listing(tuple(sorted(files)), dict(sorted(left.items())))


def _reason(path: Path, root: Path, is_link: bool) -> NotRead | None:
    try:
        mode = path.stat().st_mode
        target = path.resolve() if is_link else path
    except (OSError, RuntimeError):
        return NotRead.DANGLING_LINK if is_link else None  # whoever reads it will say that it cannot be read
    if not target.is_relative_to(root):
        return NotRead.LINK_LEADS_OUTSIDE
    if stat.S_ISDIR(mode):
        return NotRead.LINK_TO_FOLDER
    if not stat.S_ISREG(mode):
        return NotRead.SPECIAL_FILE
    return NotRead.MARKER if path.parent == root and path.name == "_READY" else None


class FolderZone(Zone):
    """A zone whose root is a folder of this machine, whatever characters its name has."""

    def __init__(self, root: Path) -> None:
        super().__init__("file:///.")
        self.root = root

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"root": self.root}

    def __repr__(self) -> str:
        return "FolderZone()"

    def full(self, path: str) -> str:
        """The path on this machine. Raises ValueError for an absolute path or one that climbs out."""
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts:
            raise ValueError("a path inside a zone is relative and has no '..'")
        return str(self.root / pure)


class SourceZone(FolderZone):
    """A listed folder as the landing zone of one delivery, `images/<name>`. Nothing is ever written."""

    def __init__(self, root: Path, name: str, listing: Listing) -> None:
        super().__init__(root)
        self.prefix = f"images/{name}/"
        self.listing = listing

    def __getstate__(self) -> dict[str, Any]:
        empty = Listing((), {})  # workers are told which file to read
        return super().__getstate__() | {"prefix": self.prefix, "listing": empty}

    def full(self, path: str) -> str:
        """The path on this machine of a path of the delivery."""
        return super().full(self.relative(path))

    def relative(self, path: str) -> str:
        """The path below the folder of a path of the delivery."""
        return path.removeprefix(self.prefix)

    def files(self, path: str = "") -> list[str]:
        """Paths of the delivery's files, as they were listed."""
        return [self.prefix + file for file in self.listing.files]

    def write(self, path: str, data: bytes) -> None:
        """Not to be done. Raises PermissionError."""
        raise PermissionError("a source is never written to")

    def remove(self, path: str) -> None:
        """Not to be done. Raises PermissionError."""
        raise PermissionError("a source is never written to")
