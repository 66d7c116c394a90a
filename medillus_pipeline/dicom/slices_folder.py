"""Slices of any folder without Dagster: the same pictures and rows as the asset makes, in a folder.

The result is `series-<16 hex>/<slice name>.png` and `slices.parquet`, all names made from UIDs. It is rendered in a
hidden folder and moved in when all is known. Nothing is de-identified here: a file that does not say that it was is
refused, unless identified files are allowed. How a file becomes a row is in `folder_instances.py`.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medillus_pipeline.dicom.decoding import Skip
from medillus_pipeline.dicom.folder_instances import Described, Found, Wanted, describe
from medillus_pipeline.dicom.further_windows import SLICE_WINDOWS
from medillus_pipeline.dicom.remembered import fingerprint
from medillus_pipeline.dicom.rendering import Row
from medillus_pipeline.dicom.slices import POOLED, render_delivery
from medillus_pipeline.dicom.source_folder import FolderZone, Listing, list_folder
from medillus_pipeline.dicom.windows import WindowPolicy
from medillus_pipeline.dicom.workers import mapped, pool_of
from medillus_pipeline.errors import InputError, MedillusError, StoreError
from medillus_pipeline.tables import SLICES, from_parquet, to_parquet

MARKER, STAGING = ".medillus.json", ".unfinished"
TABLE, FURTHER = "slices.parquet", "slice_windows.parquet"
_MADE_BY = "medillus slices"
PICTURES = "slices/"
_PICTURES = "series-*/s-*.png"

STATUS: Mapping[int, str] = {
    0: "every image of the source is shown",
    3: "some files do not say that they were de-identified and were refused: `medillus deidentify` first, or give "
    "--identified where identified pictures may stand",
    4: "some entries could not be read, or some frames could not be shown",
}
"""Exit status of a finished run → what it says."""

_NO_PICTURE = frozenset({Found.NOT_DICOM, Found.DIRECTORY, Found.DUPLICATE, Skip.NO_PIXEL_DATA, Skip.NOT_AN_IMAGE})


@dataclass(frozen=True)
class FolderSlices:
    """What became of a folder: pictures and slices made, how many entries of the source there were, and what was left
    out (files, and frames of those that are images), by reason. `unchanged` says that an earlier result stands.
    """

    slices: int
    pictures: int
    series: int
    entries: int
    left_out: dict[str, int]
    notes: dict[str, int]
    unchanged: bool = False

    @property
    def status(self) -> int:
        """Exit status: see `STATUS`."""
        if self.left_out.get(Found.IDENTIFIED):
            return 3
        harmless = {str(reason) for reason in _NO_PICTURE} | {f"not_read/{r}" for r in _HARMLESS_ENTRIES}
        return 4 if set(self.left_out) - harmless else 0


_HARMLESS_ENTRIES = frozenset({"special_file", "link_to_folder", "marker"})


class _Between(FolderZone):
    """Reads instances from the source and keeps pictures in the result's hidden folder."""

    def __init__(self, source: Path, staging: Path) -> None:
        super().__init__(staging)
        self.source = FolderZone(source)

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"source": self.source}

    def full(self, path: str) -> str:
        """Where a picture stands, or an instance of the source."""
        return super().full(path) if not path or path.startswith(PICTURES) else self.source.full(path)


def slices_of_folder(
    source: Path,
    destination: Path,
    *,
    window: str | None = None,
    workers: int = 1,
    identified: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> FolderSlices:
    """Show the DICOM files of the folder (or the one file) `source` in the folder `destination`, which then holds
    nothing of an earlier run but what is the same.

    `window` is one preset for CT, several by commas, or `file`. `identified` lets files pass that do not say that they
    were de-identified; their UIDs are then hashed. `progress` is called with (done, total).

    Raises InputError where a path cannot be used as it is or the window is unknown, StoreError where reading or writing
    fails, TransientError when a worker process dies.
    """
    try:
        return _slices_of_folder(source, destination, window, workers, identified, progress)
    except MedillusError:
        raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
    raise StoreError(f"the source or the result cannot be used ({reason}): check space, owner and mode; then run again")


def _slices_of_folder(
    source: Path,
    destination: Path,
    window: str | None,
    workers: int,
    identified: bool,
    progress: Callable[[int, int], None] | None,
) -> FolderSlices:
    source, destination = source.expanduser().resolve(), destination.expanduser().resolve()
    try:
        WindowPolicy(override=window)
    except ValueError as error:
        raise InputError(str(error)) from error
    root, listing = _listed(source, destination)
    before = _earlier(destination)
    described = _describe(root, listing, identified, workers, progress)
    instances, left_out = _distinct(described)
    left_out.update(f"not_read/{reason}" for reason in listing.left.values())
    shown = [row | {"path": f"instances/{row['sha256'][:2]}/{row['sha256']}.dcm"} for row in instances]
    name = fingerprint(shown, (window, identified, dict(sorted(left_out.items()))))
    entries = len(listing.files) + len(listing.left)
    if before.get("fingerprint") == name and (kept := _intact(destination, before)) is not None:
        return FolderSlices(**kept, entries=entries, unchanged=True)
    if (series := before.get("series")) and not set(series) & {_folder(row) for row in instances}:
        raise InputError("the result was made from other files, none of which is in this source: name an empty folder")
    destination.mkdir(parents=True, exist_ok=True)
    (destination / MARKER).write_text(json.dumps({"made_by": _MADE_BY, "series": series or []}))
    staging = destination / STAGING
    try:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        rendered = render_delivery(
            instances,
            _Between(root, staging),
            window=window,
            workers=workers,
            remembering=False,
            progress=(lambda done, total: progress(entries + done, entries + total)) if progress else None,
        )
        slices, further = rendered.slices, rendered.further
        payload = {row["sop_instance_uid"]: row["path"] for row in shown}
        folder = {row["slice_name"]: _folder(row) for row in slices}
        for row in slices:
            row["instance_path"] = payload[row["sop_instance_uid"]]
            row["path"] = _place(staging, destination, row["path"], f"{_folder(row)}/{row['slice_name']}.png")
        for row in further:
            place = f"{folder[row['slice_name']]}/{row['slice_name']}.{row['window']}.png"
            row["path"] = _place(staging, destination, row["path"], place)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    left_out.update(rendered.skipped)
    said = {
        "slices": len(slices),
        "pictures": len(slices) + len(further),
        "series": len(set(folder.values())),
        "left_out": dict(sorted(left_out.items())),
        "notes": rendered.notes,
    }
    _finish(destination, slices, further, name, said)
    return FolderSlices(**said, entries=entries)


def _listed(source: Path, destination: Path) -> tuple[Path, Listing]:
    """Folder and what is in it. Raises InputError where there is nothing to read, or the two folders overlap."""
    if source.is_relative_to(destination) or destination.is_relative_to(source):
        raise InputError("the source and the result overlap; name folders that stand beside each other")
    if source.is_file():
        return source.parent, Listing((source.name,), {})
    if not source.is_dir():
        raise InputError("the source does not exist, or is neither a folder nor a file")
    listing = list_folder(source)
    own = {MARKER, TABLE, FURTHER}
    listing = Listing(tuple(file for file in listing.files if file not in own), listing.left)
    if not listing.files and not listing.left:
        raise InputError("the source is an empty folder: nothing was done")
    return source, listing


def _earlier(destination: Path) -> dict[str, Any]:
    """What an earlier run says of its result; empty where there is none. Raises InputError where the folder holds
    anything else.
    """
    if destination.exists() and not destination.is_dir():
        raise InputError("the result is to be a folder, but a file stands there")
    if not destination.exists() or not any(destination.iterdir()):
        return {}
    try:
        said = json.loads((destination / MARKER).read_bytes())
        ours = said["made_by"] == _MADE_BY
    except (OSError, ValueError, KeyError, TypeError):
        ours, said = False, {}
    if not ours:
        raise InputError("the folder of the result is not empty, and this command did not make it: name an empty one")
    return said


def _describe(
    root: Path, listing: Listing, identified: bool, workers: int, progress: Callable[[int, int], None] | None
) -> list[Described]:
    zone = FolderZone(root)
    files = [Wanted(zone, file, identified) for file in listing.files]
    found: list[Described] = []
    with pool_of(workers if len(files) >= POOLED else 1, None, len(files)) as pool:
        for described in mapped(pool, describe, files):
            found.append(described)
            if progress:
                progress(len(found), 2 * len(files))
    return found


def _distinct(described: list[Described]) -> tuple[list[Row], Counter[str]]:
    """One row for each instance, and how many files are none, by reason. Of different files that claim one SOP
    Instance UID none is shown: nobody can say which is meant.
    """
    left_out = Counter(str(each.reason) for each in described if each.row is None)
    files: dict[str, dict[str, Row]] = {}
    for each in described:
        if each.row is not None:
            same = files.setdefault(each.row["sop_instance_uid"], {})
            if each.row["sha256"] in same:
                left_out[Found.DUPLICATE] += 1
            same.setdefault(each.row["sha256"], each.row)
    left_out[Found.CONFLICT] += sum(len(same) for same in files.values() if len(same) > 1)
    rows = [next(iter(same.values())) for _, same in sorted(files.items()) if len(same) == 1]
    return rows, +left_out


def _folder(row: Mapping[str, Any]) -> str:
    return f"series-{hashlib.sha256(row['series_instance_uid'].encode()).hexdigest()[:16]}"


def _place(staging: Path, destination: Path, path: str, place: str) -> str:
    """Put a picture in its place; one that shows the same as another is a link to the same bytes, or a copy."""
    target = destination / place
    target.parent.mkdir(exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(staging / path)
    except OSError:
        shutil.copyfile(staging / path, target)
    return place


def _finish(destination: Path, slices: list[Row], further: list[Row], name: str, said: Mapping[str, Any]) -> None:
    """Remove what an earlier run placed and this one did not, then write the tables and, last, the marker."""
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
        "made_by": _MADE_BY,
        "fingerprint": name,
        "said": dict(said),
        "series": sorted({_folder(row) for row in slices}),
        "tables": {file: hashlib.sha256(data).hexdigest() for file, data in tables.items()},
    }
    _write(destination / MARKER, (json.dumps(marker, indent=1) + "\n").encode())


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.name}.unfinished")
    temporary.write_bytes(data)
    temporary.replace(path)


def _intact(destination: Path, before: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the earlier run said of its result, if every byte of that still stands."""
    try:
        for file, digest in before["tables"].items():
            data = (destination / file).read_bytes()
            if hashlib.sha256(data).hexdigest() != digest:
                return None
            for row in from_parquet(data).select(["path", "sha256"]).to_pylist():
                if hashlib.sha256((destination / row["path"]).read_bytes()).hexdigest() != row["sha256"]:
                    return None
        return dict(before["said"])
    except (OSError, KeyError, TypeError):
        return None
