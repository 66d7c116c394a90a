"""Slices of any folder without Dagster: the same pictures and rows as the asset makes, in a folder.

The result is `series-<16 hex>/<slice name>.png` and `slices.parquet`, all names made from UIDs. It is rendered in a
hidden folder and moved in when all is known. Nothing is de-identified here: a file that does not say that it was is
refused, unless identified files are allowed. How a file becomes a row is in `folder_instances.py`, and the ledger of
the source's names in `slices_ledger.py`.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from medillus_pipeline.dicom.decoding import Skip
from medillus_pipeline.dicom.folder_instances import MEMBERS, SOURCE, Described, Found, Wanted, describe
from medillus_pipeline.dicom.outcomes import Reason
from medillus_pipeline.dicom.reading import Unit, list_units, read_unit
from medillus_pipeline.dicom.remembered import fingerprint
from medillus_pipeline.dicom.rendering import Output, Row
from medillus_pipeline.dicom.slices import POOLED, render_delivery
from medillus_pipeline.dicom.slices_ledger import held, ledger_row, report_of, write_ledger
from medillus_pipeline.dicom.slices_result import (
    FURTHER,
    MADE_BY,
    MARKER,
    STAGING,
    TABLE,
    earlier,
    finish,
    intact,
    place,
    series_folder,
)
from medillus_pipeline.dicom.source_folder import FolderZone, Listing, SourceZone, list_folder
from medillus_pipeline.dicom.windows import WindowPolicy
from medillus_pipeline.dicom.workers import mapped, pool_of
from medillus_pipeline.errors import InputError, MedillusError, StoreError
from medillus_pipeline.tables import from_parquet

_DELIVERY = "source"

STATUS: Mapping[int, str] = {
    0: "every image of the source is shown",
    3: "some files do not say that they were de-identified and were refused: `medillus deidentify` first, or give "
    "--identified where identified pictures may stand",
    4: "some entries could not be read, or some frames could not be shown as was asked: the ledger lists them",
}
"""Exit status of a finished run → what it says."""

ADVICE: Mapping[str, str] = {
    Found.ARCHIVE: "only zip archives are opened, and none within one: unpack it, then run again",
    Found.UNREADABLE: "damaged, or without permission to read",
    Found.CONFLICT: "different files with one SOP Instance UID; ask the sender which one is right",
    Found.INCOMPLETE: "no Study, Series or SOP Instance UID",
    Reason.ARCHIVE_ENCRYPTED: "unpack it, then run again",
    Reason.ARCHIVE_UNREADABLE: "damaged, or of an unknown kind; unpack it, then run again",
    Reason.ARCHIVE_LIMIT: "beyond the limits for untrusted input; unpack it, then run again",
}
"""What a reason means to who must act."""

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
    """Reads instances from the source, and keeps pictures and members of archives in the result's hidden folder."""

    def __init__(self, source: Path, staging: Path) -> None:
        super().__init__(staging)
        self.source = FolderZone(source)

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"source": self.source}

    def full(self, path: str) -> str:
        """Where a picture stands, or an instance."""
        return self.source.full(path.removeprefix(SOURCE)) if path.startswith(SOURCE) else super().full(path)


def slices_of_folder(
    source: Path,
    destination: Path,
    *,
    window: str | None = None,
    workers: int = 1,
    identified: bool = False,
    outputs: Sequence[Output] = (),
    report: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FolderSlices:
    """Show the DICOM files of the folder (or the one file) `source` in the folder `destination`, which then holds
    nothing of an earlier run but what is the same. Zip archives are opened; their images need room there for a while.

    `window` is one preset for CT, several by commas, or `file`. `identified` lets files pass that do not say that they
    were de-identified; their UIDs are then hashed. `outputs` (`grey16`, `lossless`) are made beside the 8-bit pictures.
    `report`, by default `destination` with `.report` behind its name, gets the ledger. `progress` is called with
    (done, total).

    Raises InputError where a path cannot be used as it is or the window is unknown, StoreError where reading or writing
    fails, TransientError when a worker process dies.
    """
    try:
        source, destination = source.expanduser().resolve(), destination.expanduser().resolve()
        ledger = report.expanduser().resolve() if report else report_of(destination)
        asked = _Asked(window, identified, tuple(sorted(set(outputs))))
        return _slices_of_folder(source, destination, ledger, asked, workers, progress)
    except MedillusError:
        raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
    raise StoreError(f"the source or the result cannot be used ({reason}): check space, owner and mode; then run again")


@dataclass(frozen=True)
class _Asked:
    window: str | None
    identified: bool
    outputs: tuple[Output, ...]


def _slices_of_folder(
    source: Path,
    destination: Path,
    report: Path,
    asked: _Asked,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> FolderSlices:
    try:
        WindowPolicy(override=asked.window)
    except ValueError as error:
        raise InputError(str(error)) from error
    root, listing = _listed(source, destination, report)
    before = earlier(destination)
    with held(report):
        zone = SourceZone(root, _DELIVERY, listing)
        described = _describe(zone, asked.identified, workers, progress)
        instances, why = _distinct(described)
        left_out = Counter(reason for reason in why if reason)
        left_out.update(f"not_read/{reason}" for reason in listing.left.values())
        shown = [row | {"path": f"instances/{row['sha256'][:2]}/{row['sha256']}.dcm"} for row in instances]
        name = fingerprint(shown, (asked, dict(sorted(left_out.items()))))
        entries = len(described) + len(listing.left)
        if before.get("fingerprint") == name and (kept := intact(destination, before)) is not None:
            _tell(report, destination, listing, described, why, before["lacking"])
            return FolderSlices(**kept, entries=entries, unchanged=True)
        if (series := before.get("series")) and not set(series) & {series_folder(row) for row in instances}:
            raise InputError(
                "the result was made from other files, none of which is in this source: name an empty folder"
            )
        destination.mkdir(parents=True, exist_ok=True)
        (destination / MARKER).write_text(json.dumps({"made_by": MADE_BY, "series": series or []}))
        staging = destination / STAGING
        try:
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir()
            _unpack(zone, described, instances, staging)
            rendered = render_delivery(
                instances,
                _Between(root, staging),
                window=asked.window,
                outputs=asked.outputs,
                workers=workers,
                remembering=False,
                progress=(lambda done, total: progress(entries + done, entries + total)) if progress else None,
            )
            slices, further = list(rendered.slices), list(rendered.further)
            payload = {row["sop_instance_uid"]: row["path"] for row in shown}
            folder = {row["slice_name"]: series_folder(row) for row in slices}
            for row in slices:
                row["instance_path"] = payload[row["sop_instance_uid"]]
                row["path"] = place(staging, destination, row["path"], f"{series_folder(row)}/{row['slice_name']}.png")
            for row in further:
                kind = {"grey8": row["window"], "grey16": f"{row['window']}.16-bit"}.get(row["output"], row["output"])
                wanted = f"{folder[row['slice_name']]}/{row['slice_name']}.{kind}.png"
                row["path"] = place(staging, destination, row["path"], wanted)
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
        finish(destination, slices, further, {"fingerprint": name, "said": said, "lacking": rendered.left_out})
        _tell(report, destination, listing, described, why, rendered.left_out)
        return FolderSlices(**said, entries=entries)


def _unpack(zone: SourceZone, described: list[Described], instances: list[Row], staging: Path) -> None:
    """Put the members of archives that are to be shown where they can be read one by one."""
    wanted = {row["sha256"]: row["path"] for row in instances if row["path"].startswith(MEMBERS)}
    (staging / MEMBERS).mkdir()
    for source in sorted({each.source for each in described if each.row and each.row["sha256"] in wanted}):
        for file in read_unit(zone, Unit(zone.prefix + source)):
            if (path := wanted.pop(file.sha256, None)) is not None:
                (staging / path).write_bytes(file.data)


def _tell(
    report: Path,
    destination: Path,
    listing: Listing,
    described: list[Described],
    why: list[str],
    lacking: Mapping[str, Mapping[str, int]],
) -> None:
    """Write the ledger."""
    table = from_parquet((destination / TABLE).read_bytes())
    frames = Counter(table["sop_instance_uid"].to_pylist())
    rows = [ledger_row(source, "", f"not_read/{reason}") for source, reason in listing.left.items()]
    for each, reason in zip(described, why, strict=True):
        uid = each.row["sop_instance_uid"] if each.row else ""
        rows.append(ledger_row(each.source, each.member, reason, frames[uid], lacking.get(uid)))
    write_ledger(report, rows)


def _listed(source: Path, destination: Path, report: Path) -> tuple[Path, Listing]:
    """Folder and what is in it. Raises InputError where there is nothing to read, or two of the folders overlap."""
    folders = {"the source": source, "the result": destination, "the report": report}
    for (name, one), (other, two) in combinations(folders.items(), 2):
        if one.is_relative_to(two) or two.is_relative_to(one):
            raise InputError(f"{name} and {other} overlap; name folders that stand beside each other")
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


def _describe(
    zone: SourceZone, identified: bool, workers: int, progress: Callable[[int, int], None] | None
) -> list[Described]:
    units = list_units(zone, _DELIVERY)
    total = sum(unit.files for unit in units)
    found: list[Described] = []
    done = 0
    with pool_of(workers if total >= POOLED else 1, None, len(units)) as pool:
        wanted = [Wanted(zone, unit, identified) for unit in units]
        for unit, described in zip(units, mapped(pool, describe, wanted), strict=True):
            found += described
            done += unit.files
            if progress:
                progress(done, 2 * total)
    return found


def _distinct(described: list[Described]) -> tuple[list[Row], list[str]]:
    """One row for each instance; and for each file why it is not shown, empty where it is. Of different files that
    claim one SOP Instance UID none is shown: nobody can say which is meant.
    """
    copies: dict[str, dict[str, Row]] = {}
    why = []
    for each in described:
        if each.row is None:
            why.append(str(each.reason))
            continue
        same = copies.setdefault(each.row["sop_instance_uid"], {})
        why.append(str(Found.DUPLICATE) if each.row["sha256"] in same else "")
        same.setdefault(each.row["sha256"], each.row)
    for number, each in enumerate(described):
        if each.row is not None and not why[number] and len(copies[each.row["sop_instance_uid"]]) > 1:
            why[number] = str(Found.CONFLICT)
    return [next(iter(same.values())) for _, same in sorted(copies.items()) if len(same) == 1], why
