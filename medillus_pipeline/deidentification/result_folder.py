"""The folder of a result and that of its report: whose they are, who may write there now, where each file goes.

What is put there is decided in `folder.py`, and what the report says in `folder_report.py`.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medillus_pipeline.deidentification.policy import Policy
from medillus_pipeline.deidentification.reidentification import FOLDER
from medillus_pipeline.errors import InputError

MARKER = ".medillus.json"
"""In the result: whose it is, so that no run writes into a folder of another key, source or policy."""
STAGING, SCRATCH = ".unfinished", ".scratch"
"""Within the result: files that passed, until they are moved in. Within the report: files not yet searched."""
REPORT_FILES = ("ledger.csv", "instances.parquet", "report.json", "report.md")

_LOCK = ".lock"
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_PATIENT = re.compile(r"p-[0-9a-f]{16}")
_PLACED = re.compile(r"[0-9a-f.]{1,64}")


def key_check(key: bytes) -> str:
    """Eight hexadecimal digits by which two runs can be seen to use one key; nothing else follows from them."""
    return hmac.new(key, b"check", hashlib.sha256).hexdigest()[:8]


def marker_of(source: Path, key: bytes, policy: Policy) -> bytes:
    """What a result of this source, key and policy says about itself: keyed, so that it says nothing else."""

    def keyed(domain: str, text: str) -> str:
        data = f"{domain}\x00{text}".encode(errors="surrogateescape")
        return hmac.new(key, data, hashlib.sha256).hexdigest()[:16]

    choices = (
        sorted(option.name_in_settings for option in policy.options),
        policy.documents,
        policy.terms,
        policy.regions,
        [(p.creator, p.group, p.element, p.vr) for p in policy.safe_private],
        policy.pixel_rules,
    )
    said = {
        "made_by": "medillus deidentify",
        "key": key_check(key),
        "source": keyed("source", str(source)),
        "choices": keyed("choices", repr(choices)),
    }
    return (json.dumps(said, indent=1) + "\n").encode()


def refuse_foreign(destination: Path, marker: bytes) -> None:
    """Raises InputError where the folder of the result holds anything but a result of the same kind."""
    if destination.exists() and not destination.is_dir():
        raise InputError("the result is to be a folder, but a file stands there")
    unfinished = f"{MARKER}.unfinished"  # all that a run killed in its first moment leaves
    if not destination.exists() or all(path.name == unfinished for path in destination.iterdir()):
        return
    try:
        before = json.loads((destination / MARKER).read_bytes())
        ours = before["made_by"] == "medillus deidentify"
    except (OSError, ValueError, KeyError, TypeError):
        ours, before = False, {}
    if not ours:
        raise InputError("the folder of the result is not empty, and this command did not make it: name an empty one")
    said = json.loads(marker)
    words = {"key": "another key", "source": "another source", "choices": "other options or another configuration"}
    different = next((text for name, text in words.items() if before.get(name) != said[name]), None)
    if different:
        raise InputError(
            f"the folder of the result was made with {different}: results of two runs are not mixed, name an empty one"
        )


@contextmanager
def held(report: Path) -> Iterator[None]:
    """The report's folder, mode 0700, for this process alone. Raises InputError where it is another's."""
    import fcntl

    if report.exists() and not report.is_dir():
        raise InputError("the report is to be a folder, but a file stands there")
    report.mkdir(parents=True, exist_ok=True, mode=0o700)
    own = {*REPORT_FILES, SCRATCH, _LOCK, FOLDER}
    if any(path.name not in own and not path.name.endswith(".unfinished") for path in report.iterdir()):
        raise InputError("the folder of the report holds other files: name an empty one with --report")
    report.chmod(0o700)
    with (report / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError("another run is writing this result: wait for it, or name other folders") from None
        yield


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under another name and rename it, so that it is whole or absent."""
    temporary = path.with_name(f"{path.name}.unfinished")
    temporary.write_bytes(data)
    temporary.replace(path)


def _component(uid: str) -> str:
    """A UID as the name of a file; what is none (only Retain UIDs lets it through) by its hash."""
    return uid if _UID.fullmatch(uid) and len(uid) <= 64 else hashlib.sha256(uid.encode()).hexdigest()


def move_in(instances: list[dict[str, Any]], staging: Path, destination: Path) -> None:
    """Move the published files to their places; their rows then say where they are."""
    for row in instances:
        study, series, instance = (_component(row[f"{kind}_instance_uid"]) for kind in ("study", "series", "sop"))
        path = f"{row['patient']}/{study}/{series}/{instance}.dcm"
        target = destination / path
        target.parent.mkdir(parents=True, exist_ok=True)
        (staging / row["path"]).replace(target)
        row["path"] = path


def remove_others(instances: list[dict[str, Any]], destination: Path) -> int:
    """Remove files that an earlier run of the same source placed and this one did not; returns their number."""
    wanted = {row["path"] for row in instances}
    removed = 0
    for patient in list(destination.iterdir()):
        if not _PATIENT.fullmatch(patient.name) or patient.is_symlink():
            continue
        for path in list(patient.glob("*/*/*.dcm")):
            relative = path.relative_to(destination)
            placed = all(_PLACED.fullmatch(part) for part in (*relative.parts[1:3], path.stem))
            if placed and relative.as_posix() not in wanted and not path.is_symlink():
                path.unlink()
                removed += 1
        for folder in [*sorted((path for path in patient.rglob("*") if path.is_dir()), reverse=True), patient]:
            if not any(folder.iterdir()):
                folder.rmdir()
    return removed
