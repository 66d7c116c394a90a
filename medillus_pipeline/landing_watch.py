"""One bounded look at the landing folders of a kind: what is complete gets a key, what has one is held to its seal.

Restricted, without Dagster: what a sensor's tick does with the store. However many folders there are, one look asks at
most `Bounds` of the store and goes on where the former one stopped; where that was is told in hashes and keys only.
"""

import bisect
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from medillus_pipeline import landing_seals, landings
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.landing_seals import Change, Contents
from medillus_pipeline.landings import Kind
from medillus_pipeline.zones import Zone


@dataclass(frozen=True)
class Bounds:
    """What one look may ask of the store."""

    arrivals: int = 25
    """Most folders that get a key."""
    asked: int = 500
    """Most open folders that are asked for their marker."""
    compared: int = 25
    """Most folders that are held to their seals."""
    files: int = 20_000
    """Files listed after which no further folder is listed; the first of a look is always listed whole."""


@dataclass(frozen=True)
class Place:
    """Where the next look goes on: the hash of the last open folder asked, and the last key held to its seal."""

    asked: str = ""
    compared: str = ""


@dataclass(frozen=True)
class Look:
    """What one look found: keys in force, by key; what changed since its seal; where the next look goes on."""

    keys: list[str]
    changed: list[Change]
    place: Place


class _Budget:
    """Counts listed files; `left` is False once a look has listed enough."""

    def __init__(self, files: int) -> None:
        self._files = files
        self.left = True

    def listed(self, held: Contents) -> Contents:
        self._files -= len(held.files)
        self.left = self._files > 0
        return held


def look(
    landing: Zone,
    vault: Zone,
    pseudonymiser: Pseudonymiser,
    kind: Kind,
    *,
    bounds: Bounds,
    place: Place,
    quiet: timedelta | None = None,
    now: datetime | None = None,
) -> Look:
    """Register complete folders and seal them; hold some of those registered before to their seals.

    With `quiet`, a folder without a marker is complete when two looks so far apart found it the same.
    Raises ConfigurationError when real folders arrive while the public key of the demo is in use, StoreError when a
    zone does not answer.
    """
    moment = now or datetime.now(UTC)
    budget = _Budget(bounds.files)
    known = landings.registered(vault, kind)
    key_of = dict(known)
    folder_of = {pseudonymiser.folder(name): name for name in landing.folders(kind)}

    unknown = [folder_hash for folder_hash in folder_of if folder_hash not in key_of]
    if len(unknown) > bounds.asked:
        turn = _turn(unknown, place.asked, bounds.asked)
    else:
        turn = sorted(unknown, key=folder_of.__getitem__)
    complete: dict[str, Contents] = {}
    asked = place.asked
    for folder_hash in turn:
        if len(complete) >= bounds.arrivals or not budget.left:
            break
        folder = folder_of[folder_hash]
        closed = landing.exists(f"{kind}/{folder}/{landings.READY}")
        if closed or quiet is not None:
            held = budget.listed(landing_seals.contents(landing, f"{kind}/{folder}", without=landings.READY))
            if closed or (quiet and landing_seals.is_quiet(vault, kind, folder_hash, held, quiet, moment)):
                complete[folder] = held
        asked = folder_hash
    new = landings.register(landing, vault, pseudonymiser, kind, folders=complete, known=known, now=moment)
    for item in new:
        landing_seals.seal(vault, kind, item.key, complete[item.folder])

    in_force = {key for _, key in known} - landings.retracted_keys(vault, kind)
    standing = {
        key: folder_of[folder_hash]
        for folder_hash, key in known
        if key in in_force and folder_hash in folder_of and not _is_own(kind, folder_of[folder_hash])
    }
    changed, compared = [], place.compared
    for key in _turn(standing, place.compared, bounds.compared):
        if not budget.left:
            break
        held = budget.listed(landing_seals.contents(landing, f"{kind}/{standing[key]}", without=landings.READY))
        found = landing_seals.change(vault, kind, key, held)
        changed += [found] if found else []
        compared = key
    return Look(sorted(in_force | {item.key for item in new}), changed, Place(asked, compared))


def _turn(things: Iterable[str], after: str, most: int) -> list[str]:
    """At most so many of these, in order, beginning after the one where the former look stopped, and round again."""
    ordered = sorted(things)
    start = bisect.bisect_right(ordered, after)
    return [*ordered[start:], *ordered[:start]][:most]


def _is_own(kind: Kind, folder: str) -> bool:
    """Whether ingest wrote the folder, of annotation objects among images: it writes it anew when it runs again."""
    return kind == "annotations" and folder.startswith("from-")
