"""A folder that an export fills, and that a later one may replace as long as nobody has worked in it.

Files are made in a hidden folder and moved in when all are there. The marker holds the hash of every file, so that
what an annotator changed or added is never overwritten. What the files are is not looked at here.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from medillus_pipeline.errors import InputError

MARKER, STAGING = ".medillus.json", ".unfinished"
MADE_BY = "medillus annotate export"


class ExportFolder:
    """The folder `root` (absolute and resolved): new, empty, or left by an export as it was made.

    Raises InputError when it is anything else; nothing is changed before `filling`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        if root.exists() and not root.is_dir():
            raise InputError("the result is to be a folder, but a file stands there")
        self._ours = self._recorded()
        for path in self._present():
            if _sha256(self.root / path) not in self._ours.get(path, ()):
                raise InputError(
                    "the folder holds files that this command did not write, or that were changed since: name an "
                    "empty one, so that no work is lost"
                )

    def _recorded(self) -> dict[str, list[str]]:
        """Hashes that a file of ours may have, by path."""
        try:
            marker = json.loads((self.root / MARKER).read_bytes())
            if marker["made_by"] != MADE_BY:
                return {}
            return {str(path): [str(sha256) for sha256 in hashes] for path, hashes in marker["files"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def _present(self) -> list[str]:
        if not self.root.exists():
            return []
        files = [path.relative_to(self.root) for path in self.root.rglob("*") if not path.is_dir() or path.is_symlink()]
        kept = [path for path in files if path.parts[0] != STAGING]
        if [path.as_posix() for path in kept if path.as_posix() != MARKER] and not self._ours:
            raise InputError("the folder is not empty, and this command did not make it: name an empty one")
        return [path.as_posix() for path in kept if path.as_posix() != MARKER]

    @contextmanager
    def filling(self) -> Iterator["Filling"]:
        """Takes files; when all went well they replace those of the export before, else nothing is changed."""
        staging = self.root / STAGING
        new = not self.root.exists()
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir()
            filling = Filling(staging)
            yield filling
            self._replace(staging, filling.files)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            if new and not any(self.root.iterdir()):
                self.root.rmdir()

    def _replace(self, staging: Path, files: dict[str, str]) -> None:
        before = self._present()
        paths = {*before, *files, *self._ours}
        self._mark({p: [*self._ours.get(p, ()), *([files[p]] if p in files else ())] for p in sorted(paths)})
        for path in before:
            if path not in files:
                (self.root / path).unlink()
        for path in sorted(files):
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (staging / path).replace(self.root / path)
        self._mark({path: [sha256] for path, sha256 in sorted(files.items())})
        for folder in sorted((path for path in self.root.rglob("*") if path.is_dir()), reverse=True):
            if STAGING not in folder.parts and not any(folder.iterdir()):
                folder.rmdir()

    def _mark(self, files: dict[str, list[str]]) -> None:
        temporary = self.root / STAGING / MARKER
        temporary.write_text(json.dumps({"made_by": MADE_BY, "files": files}, indent=1) + "\n")
        temporary.replace(self.root / MARKER)


class Filling:
    """Takes files by their path in the folder."""

    def __init__(self, staging: Path) -> None:
        self._staging = staging
        self.files: dict[str, str] = {}

    def add(self, path: str, data: bytes) -> None:
        """Write a file. Raises ValueError for a path that was taken or leads out of the folder."""
        if path in self.files or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise ValueError("a path of an export is relative, stays inside, and is written once")
        (self._staging / path).parent.mkdir(parents=True, exist_ok=True)
        (self._staging / path).write_bytes(data)
        self.files[path] = hashlib.sha256(data).hexdigest()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else ""
