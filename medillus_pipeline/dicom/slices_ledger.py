"""The ledger of a folder of slices: what became of every entry of its source, by name.

Names of files may identify somebody, so the ledger stands beside the result, not in it: in a folder of mode 0700, for
whoever made it. What becomes of the entries is decided in `slices_folder.py`.
"""

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from medillus_pipeline.errors import InputError
from medillus_pipeline.tables import storable

LEDGER = "ledger.csv"
COLUMNS = ("source", "member", "outcome", "reason", "slices")
_LOCK = ".lock"
_UNFINISHED = f"{LEDGER}.unfinished"


def report_of(destination: Path) -> Path:
    """Where the ledger of a result stands unless another place is named."""
    whole = destination.expanduser().resolve()
    return whole.parent / f"{whole.name}.report"


@contextmanager
def held(report: Path) -> Iterator[None]:
    """The folder of the ledger, mode 0700, for this process alone. Raises InputError where it is another's."""
    import fcntl

    if report.exists() and not report.is_dir():
        raise InputError("the report is to be a folder, but a file stands there")
    report.mkdir(parents=True, exist_ok=True, mode=0o700)
    if any(path.name not in (LEDGER, _LOCK, _UNFINISHED) for path in report.iterdir()):
        raise InputError("the folder of the report holds other files: name an empty one with --report")
    report.chmod(0o700)
    with (report / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError("another run is writing this result: wait for it, or name other folders") from None
        yield


def ledger_row(
    source: str, member: str, why: str, frames: int = 0, lacking: Mapping[str, int] | None = None
) -> tuple[str, str, str, str, int]:
    """A row: `why` an entry is no instance to show, or how many `frames` of one are shown and what is `lacking`, by
    reason.
    """
    if why:
        outcome = "not_read" if why.startswith("not_read/") else "left_out"
        return source, member, outcome, why.removeprefix("not_read/"), 0
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted((lacking or {}).items()))
    return source, member, "not_shown" if not frames else "shown_in_part" if reasons else "shown", reasons, frames


def write_ledger(report: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write `ledger.csv`, sorted, mode 0600; whole or not at all."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(sorted([storable(str(cell)) for cell in row] for row in rows))
    temporary = report / _UNFINISHED
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(text.getvalue().encode())
    temporary.replace(report / LEDGER)
