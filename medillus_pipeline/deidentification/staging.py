"""Where de-identified files wait until their whole delivery is known: outside the clean zone, on its file system."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medillus_pipeline.zones import Zone

_PREFIX = ".medillus-staged-"
_LOCK = "lock"


def beside(clean: Zone) -> Path | None:
    """A folder on the file system of a local clean zone but not in it, so that publishing a file is a renaming; None
    (the system's folder for temporary files) where there is none that can be written.
    """
    if not clean.is_local:
        return None
    folder = Path(clean.full("")).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


@contextmanager
def staging(folder: Path | None) -> Iterator[Path]:
    """A folder of this run alone, gone afterwards; those of runs that were killed go first."""
    parent = Path(tempfile.gettempdir()) if folder is None else folder
    for left in parent.glob(f"{_PREFIX}*"):
        _remove_if_nobody_holds(left)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent) as made:
        lock = os.open(Path(made) / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield Path(made)
        finally:
            os.close(lock)


def _remove_if_nobody_holds(left: Path) -> None:
    """Remove a folder whose run is over. One without a lock is only being made, or is not ours."""
    try:
        lock = os.open(left / _LOCK, os.O_RDWR)
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    else:
        shutil.rmtree(left, ignore_errors=True)
    finally:
        os.close(lock)
