"""One bounded look at the landing folders of a kind: what is complete gets a key, what has one is held to its seal.

Restricted, without Dagster: what a sensor's tick does with the store. However many folders there are, one look asks at
most `Bounds` of the store and goes on where the former one stopped; where that was is told in hashes and keys only.
"""

import bisect
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from medillus_pipeline import landing_seals, landings
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.landing_seals import Change, Contents
from medillus_pipeline.landings import Kind
from medillus_pipeline.zones import Zone

_TOGETHER = 8
"""Requests under way at a time; folders that are asked for their marker together."""


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


class _Eye:
    """One look: its zones, how much it may list yet, and requests side by side where a zone is remote."""

    def __init__(self, landing: Zone, vault: Zone, kind: Kind, files: int, each: Callable[..., Iterable[Any]]) -> None:
        self.landing, self.vault, self.kind, self.each = landing, vault, kind, each
        self._files = files

    @property
    def may_go_on(self) -> bool:
        """False once the look has listed enough."""
        return self._files > 0

    def listed(self, folders: Iterable[str]) -> dict[str, Contents]:
        """What these folders hold, beginning with the first, until enough is listed."""
        held: dict[str, Contents] = {}
        for folder, found in landing_seals.contents_in_turn(self.landing, self.kind, folders, without=landings.READY):
            held[folder] = found
            self._files -= len(found.files)
            if not self.may_go_on:
                break
        return held

    def are_closed(self, folders: Iterable[str]) -> list[bool]:
        """Whether each holds the marker."""
        return list(self.each(lambda name: self.landing.exists(f"{self.kind}/{name}/{landings.READY}"), folders))

    def are_quiet(
        self, held: Mapping[str, Contents], hashes: Mapping[str, str], quiet: timedelta, now: datetime
    ) -> set[str]:
        """Those that have been as they are for so long, of folders without a marker."""
        asked = list(held)
        said = self.each(
            lambda name: landing_seals.is_quiet(self.vault, self.kind, hashes[name], held[name], quiet, now), asked
        )
        return {name for name, is_quiet in zip(asked, said, strict=True) if is_quiet}


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
    with _side_by_side(landing, vault) as each:
        eye = _Eye(landing, vault, kind, bounds.files, each)
        known, folders, retracted = each(
            lambda listing: listing(),
            (
                lambda: landings.registered(vault, kind),
                lambda: landing.folders(kind),
                lambda: landings.retracted_keys(vault, kind),
            ),
        )
        hash_of = {name: pseudonymiser.folder(name) for name in folders}
        key_of = dict(known)
        unknown = {folder_hash: name for name, folder_hash in hash_of.items() if folder_hash not in key_of}
        moment = now or datetime.now(UTC)
        complete, asked = _completed(eye, unknown, place.asked, bounds, quiet, moment)
        new = landings.register(landing, vault, pseudonymiser, kind, folders=complete, known=known, now=moment)
        list(each(lambda item: landing_seals.seal(vault, kind, item.key, complete[item.folder]), new))

        keys = {name: key_of[folder_hash] for name, folder_hash in hash_of.items() if folder_hash in key_of}
        standing = {name: key for name, key in keys.items() if key not in retracted and not _is_own(kind, name)}
        changed, compared = _compared(eye, standing, place.compared, bounds.compared)
    in_force = {key for _, key in known} - retracted
    return Look(sorted(in_force | {item.key for item in new}), changed, Place(asked, compared))


def _completed(
    eye: _Eye, unknown: Mapping[str, str], after: str, bounds: Bounds, quiet: timedelta | None, now: datetime
) -> tuple[dict[str, Contents], str]:
    """Complete ones among folders without a key (hash → name), and the hash of the last that was asked."""
    if len(unknown) > bounds.asked:
        turn = _turn(unknown, after, bounds.asked)
    else:
        turn = sorted(unknown, key=unknown.__getitem__)
    hashes = {name: folder_hash for folder_hash, name in unknown.items()}
    complete: dict[str, Contents] = {}
    asked, waiting = after, list(turn)
    while waiting and eye.may_go_on and len(complete) < bounds.arrivals:
        together = min(_TOGETHER, bounds.arrivals - len(complete))
        names = [unknown[folder_hash] for folder_hash in waiting[:together]]
        del waiting[:together]
        closed = {name for name, is_closed in zip(names, eye.are_closed(names), strict=True) if is_closed}
        meant = [name for name in names if quiet is not None or name in closed]
        held = eye.listed(meant)
        still = {name: found for name, found in held.items() if name not in closed}
        ready = closed | (eye.are_quiet(still, hashes, quiet, now) if quiet is not None else set())
        for name in names:
            if name in meant and name not in held:
                return complete, asked  # enough was listed before its turn
            if name in ready:
                complete[name] = held[name]
            asked = hashes[name]
    return complete, asked


def _compared(eye: _Eye, standing: Mapping[str, str], after: str, most: int) -> tuple[list[Change], str]:
    """What changed of folders with a key (name → key) since their seals, and the key of the last that was compared.

    The turn is by name, as an object store lists them.
    """
    if not eye.may_go_on:
        return [], after
    former = next((f"{name}/" for name, key in standing.items() if key == after), "")
    turn = [place.removesuffix("/") for place in _turn((f"{name}/" for name in standing), former, most)]
    held = eye.listed(turn)
    turn = list(itertools.takewhile(held.__contains__, turn))
    found = eye.each(lambda name: landing_seals.change(eye.vault, eye.kind, standing[name], held[name]), turn)
    return [change for change in found if change], standing[turn[-1]] if turn else after


@contextmanager
def _side_by_side(*zones: Zone) -> Iterator[Callable[..., Iterable[Any]]]:
    """As `map`; where a zone is remote, so many requests are under way at a time."""
    if all(zone.is_local for zone in zones):
        yield map
        return
    with ThreadPoolExecutor(_TOGETHER) as threads:
        yield threads.map


def _turn(things: Iterable[str], after: str, most: int) -> list[str]:
    """At most so many of these, in order, beginning after the one where the former look stopped, and round again."""
    ordered = sorted(things)
    start = bisect.bisect_right(ordered, after)
    return [*ordered[start:], *ordered[:start]][:most]


def _is_own(kind: Kind, folder: str) -> bool:
    """Whether ingest wrote the folder, of annotation objects among images: it writes it anew when it runs again."""
    return kind == "annotations" and folder.startswith("from-")
