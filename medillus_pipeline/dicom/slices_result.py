"""The folder of a result of `medillus slices`: whose it is, where each picture goes, what an earlier run left.

Pictures stand in a folder for each series, beside `slices.parquet` and, where further pictures were asked for,
`slice_windows.parquet`. A marker says what the result was made from. What is shown is decided in `slices_folder.py`.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medillus_pipeline.dicom.rendering import Row
from medillus_pipeline.errors import InputError
from medillus_pipeline.tables import SLICE_WINDOWS, SLICES, from_parquet, to_parquet

MARKER, STAGING = ".medillus.json", ".unfinished"
TABLE, FURTHER = "slices.parquet", "slice_windows.parquet"
MADE_BY = "medillus slices"
_PICTURES = "series-*/s-*.png"


def earlier(destination: Path) -> dict[str, Any]:
    """What an earlier run says of its result; empty where there is none. Raises InputError where the folder holds
    anything else.
    """
    if destination.exists() and not destination.is_dir():
        raise InputError("the result is to be a folder, but a file stands there")
    if not destination.exists() or not any(destination.iterdir()):
        return {}
    try:
        said = json.loads((destination / MARKER).read_bytes())
        ours = said["made_by"] == MADE_BY
    except (OSError, ValueError, KeyError, TypeError):
        ours, said = False, {}
    if not ours:
        raise InputError("the folder of the result is not empty, and this command did not make it: name an empty one")
    return said


def series_folder(row: Mapping[str, Any]) -> str:
    """Name of the folder of the series of a row."""
    return f"series-{hashlib.sha256(row['series_instance_uid'].encode()).hexdigest()[:16]}"


def place(staging: Path, destination: Path, path: str, place: str) -> str:
    """Put a picture in its place; one that shows the same as another is a link to the same bytes, or a copy."""
    target = destination / place
    target.parent.mkdir(exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(staging / path)
    except OSError:
        shutil.copyfile(staging / path, target)
    return place


def finish(destination: Path, slices: list[Row], further: list[Row], known: Mapping[str, Any]) -> None:
    """Remove what an earlier run placed and this one did not, then write the tables and, last, the marker with what is
    `known` of the run.
    """
    wanted = {row["path"] for row in (*slices, *further)}
    for path in list(destination.glob(_PICTURES)):
        if path.relative_to(destination).as_posix() not in wanted:
            path.unlink()
    for folder in list(destination.glob("series-*")):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    tables = {TABLE: to_parquet(SLICES.to_arrow(slices))}
    if further:
        tables[FURTHER] = to_parquet(SLICE_WINDOWS.to_arrow(further))
    (destination / FURTHER).unlink(missing_ok=True)
    for file, data in tables.items():
        _write(destination / file, data)
    marker = {
        "made_by": MADE_BY,
        **known,
        "series": sorted({series_folder(row) for row in slices}),
        "tables": {file: hashlib.sha256(data).hexdigest() for file, data in tables.items()},
    }
    _write(destination / MARKER, (json.dumps(marker, indent=1) + "\n").encode())


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.name}.unfinished")
    temporary.write_bytes(data)
    temporary.replace(path)


def intact(destination: Path, before: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the earlier run said of its result, if every byte of that still stands."""
    try:
        for file, digest in before["tables"].items():
            data = (destination / file).read_bytes()
            if hashlib.sha256(data).hexdigest() != digest:
                return None
            for row in from_parquet(data).select(["path", "sha256"]).to_pylist():
                if hashlib.sha256((destination / row["path"]).read_bytes()).hexdigest() != row["sha256"]:
                    return None
        return dict(before["said"]) if isinstance(before["lacking"], dict) else None
    except (OSError, KeyError, TypeError):
        return None
