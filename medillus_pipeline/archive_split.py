"""A large archive as deliveries in the landing zone: by patient, each closed when it is whole. Restricted.

The plan is made once and kept in the vault, where it is also the ledger: an interrupted staging goes on by it, so no
patient moves to another delivery. Files are linked where the file system allows, else copied. The source is never
changed. Whose a file is, is told in `archive_survey.py`.
"""

import csv
import errno
import io
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from medillus_pipeline import landings
from medillus_pipeline.archive_survey import NO_PATIENT, NOT_READABLE, Held, survey
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.dicom.reading import Unit, read_unit
from medillus_pipeline.dicom.source_folder import FolderZone, list_folder
from medillus_pipeline.errors import InputError
from medillus_pipeline.zones import Zone

FOLDER = "stagings"
GONE = "gone_since_the_plan"
CAME = "came_since_the_plan"
_COLUMNS = ("path", "member", "delivery", "studies", "bytes", "reason")
_NO_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Placed:
    """A file and the number of its delivery, from 1; 0 where it is in none."""

    held: Held
    delivery: int


@dataclass
class Staged:
    """What became of an archive. `left_out`: files in no delivery, by reason; `made`: deliveries closed now."""

    name: str
    deliveries: int = 0
    patients: int | None = None
    studies: int = 0
    files: int = 0
    bytes: int = 0
    made: int = 0
    linked: int = 0
    copied: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def folder_name(staging: str, delivery: int) -> str:
    """Name, and partition key, of a delivery: a keyed hash of the staging and a number; it says nothing."""
    return f"s-{staging}-{delivery:05d}"


def divide(held: Iterable[Held], per_delivery: int) -> list[Placed]:
    """Every file with its delivery: patients in the order of their first file, a new delivery where the next patient's
    studies would be too many. A patient of more studies has a delivery alone; files of no patient are in the last one.
    """
    files: dict[str, list[Held]] = defaultdict(list)
    nowhere: list[Held] = []
    for one in held:
        (nowhere if one.reason and one.reason != NO_PATIENT else files[one.patient]).append(one)
    unknown = files.pop("", [])
    placed, number, taken = [], 0, per_delivery + 1
    for owned in files.values():
        studies = max(1, len({study for one in owned for study in one.studies}))
        if taken + studies > per_delivery:
            number, taken = number + 1, 0
        taken += studies
        placed += [Placed(one, number) for one in owned]
    placed += [Placed(one, number + 1) for one in unknown]
    return placed + [Placed(one, 0) for one in nowhere]


def stage(
    source: Path,
    landing: Zone,
    vault: Zone,
    pseudonymiser: Pseudonymiser,
    *,
    per_delivery: int,
    workers: int = 1,
    copy: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Staged:
    """Put the files below `source` into deliveries of at most `per_delivery` studies, and close each with `_READY`.

    A staging of the same source and number goes on where it was; files that came since its plan are counted, and left
    out. With `copy` nothing is linked, with `dry_run` nothing is written. Raises InputError for a source that cannot be
    listed or holds no file, StoreError where a zone cannot be written.
    """
    try:
        root = source.resolve(strict=True)
        listing = list_folder(root)
    except OSError as error:
        raise InputError(
            f"the archive cannot be listed ({type(error).__name__}): name a folder that can be read"
        ) from None
    if not listing.files:
        raise InputError("the archive holds no file")
    name = pseudonymiser.folder(f"staging\0{os.fspath(root)}\0{per_delivery}")
    plan = _kept_plan(vault, name)
    patients = None
    if plan is None:
        held = list(survey(root, listing.files, workers=workers, progress=progress))
        patients = len({one.patient for one in held if one.patient})
        others = [Held(path, None, "", (), 0, str(reason)) for path, reason in listing.left.items()]
        plan = divide([*held, *others], per_delivery)
        if not dry_run:
            vault.write(f"{FOLDER}/{name}.csv", _as_csv(plan))
    done = Staged(name, patients=patients)
    done.left_out[CAME] = len(set(listing.files) - {one.held.path for one in plan})
    for number, files in groupby(sorted(plan, key=lambda one: one.delivery), key=lambda one: one.delivery):
        owned = [one.held for one in files]
        if not number:
            done.left_out.update(one.reason for one in owned)
            continue
        done.deliveries += 1
        done.studies += len({study for one in owned for study in one.studies})
        done.files += len(owned)
        done.bytes += sum(one.size for one in owned)
        if not dry_run and not landing.exists(f"images/{folder_name(name, number)}/{landings.READY}"):
            _fill(root, landing, folder_name(name, number), owned, done, copy=copy)
            done.made += 1
        if progress:
            progress(done.deliveries, max(one.delivery for one in plan))
    done.left_out = +done.left_out
    return done


def _fill(root: Path, landing: Zone, folder: str, owned: list[Held], done: Staged, *, copy: bool) -> None:
    for one in owned:
        if one.member is None:
            _place(root / one.path, landing, f"images/{folder}/{one.path}", done, copy=copy)
    packed = [one for one in owned if one.member is not None]
    for path, members in groupby(packed, key=lambda one: one.path):
        for first, last in _runs(one.member for one in members if one.member is not None):
            for number, file in enumerate(read_unit(FolderZone(root), Unit(path, first, last)), start=first):
                landing.write(f"images/{folder}/{path}/{number:06d}", file.data)
                done.copied += 1
    landings.close(landing, "images", folder, {"label": folder})


def _place(file: Path, landing: Zone, path: str, done: Staged, *, copy: bool) -> None:
    """Link or copy one file, unless an interrupted staging did it before."""
    file = file.resolve()
    try:
        if landing.is_local:
            target = Path(landing.full(path))
            if target.exists() and target.stat().st_size == file.stat().st_size:
                return
            target.parent.mkdir(parents=True, exist_ok=True)
            if not copy and _linked(file, target):
                done.linked += 1
                return
        data = file.read_bytes()
    except FileNotFoundError:
        done.left_out[GONE] += 1
    except PermissionError:
        done.left_out[NOT_READABLE] += 1
    else:
        landing.write(path, data)
        done.copied += 1


def _linked(file: Path, target: Path) -> bool:
    target.unlink(missing_ok=True)  # half a file of another size, of who copied here by other means
    try:
        os.link(file, target)
    except OSError as error:
        if error.errno in _NO_LINK:
            return False
        raise
    return True


def _runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Neighbouring numbers as (first, one past the last)."""
    ordered = list(numbers)
    for _, run in groupby(enumerate(ordered), key=lambda item: item[1] - item[0]):
        members = [number for _, number in run]
        yield members[0], members[-1] + 1


def _as_csv(plan: Iterable[Placed]) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(_COLUMNS)
    for one in plan:
        held = one.held
        member = "" if held.member is None else held.member
        rows.writerow((held.path, member, one.delivery, " ".join(held.studies), held.size, held.reason))
    return text.getvalue().encode(errors="surrogateescape")


def _kept_plan(vault: Zone, name: str) -> list[Placed] | None:
    data = None
    with suppress(FileNotFoundError):
        data = vault.read(f"{FOLDER}/{name}.csv")
    if data is None:
        return None
    rows = csv.DictReader(io.StringIO(data.decode(errors="surrogateescape"), newline=""))
    empty = Held("", None, "", (), 0)
    return [
        Placed(
            replace(
                empty,
                path=row["path"],
                member=int(row["member"]) if row["member"] else None,
                studies=tuple(row["studies"].split()),
                size=int(row["bytes"]),
                reason=row["reason"],
            ),
            int(row["delivery"]),
        )
        for row in rows
    ]
