"""Private elements that Retain Safe Private keeps (PS3.15 E.3.10): found by private creator, never by block number.

The standard's list is `safe_private.csv` (facts of Table E.3.10-1: creator, group, element within the block, VR), of
edition 2020b. How an element is carried over is not here: see `treatment.py`.

What the list names is not always safe byte for byte. Of its 130 rows:

* 7 are UIDs (UI: NQHeader 01 and 02, SIEMENS Ultrasound SC2000 0129xx02, 07, 12 and 7FD1xx09, TOYON 7FD1xx09): to be
  mapped like every other UID, since an instance that is not de-identified may hold the same one;
* 9 are sequences (SQ: HOLOGIC 7E01xx10 and 11, SC2000 0119xx02 and 03, 0129xx00, 06, 09, 11, 20): to be entered, each
  element within treated by the same rules;
* 9 are text (LO, SH, LT), defined as names of techniques, versions and units, but not limited to such: `TEXT_VRS`.
  A name typed there by mistake stays unless the residual search knows it or the text is cleaned;
* 14 are binary (OB) of undocumented structure (SC2000 acoustic and volume data, HOLOGIC codec content): kept as they
  are, since the standard says so; a site that does not trust them leaves Retain Safe Private off;
* 5 have no VR in the table (SC2000 timers and plane vectors): `vr` is UN, their values are unreadable to us.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

SAFE_PRIVATE_EDITION = "2020b"
"""Edition of PS3.15 from which `safe_private.csv` was taken."""

TEXT_VRS = frozenset(["LO", "LT", "SH", "ST", "UC", "UR", "UT"])
"""VRs in which a safe private element can still hold anything that somebody typed."""

_PADDING = " \0"


@dataclass(frozen=True)
class SafePrivate:
    """A private element that is safe to keep: creator as it stands in the file, group (odd), element within the block
    (0x00 to 0xFF), VR (UN where it is not known)."""

    creator: str
    group: int
    element: int
    vr: str


@cache
def standard_safe_private() -> tuple[SafePrivate, ...]:
    """The 130 rows of PS3.15 Table E.3.10-1, in the order of the table."""
    text = (resources.files("medillus_pipeline.deidentification") / "safe_private.csv").read_text(encoding="ascii")
    return tuple(
        SafePrivate(row["creator"], int(row["group"], 16), int(row["element"], 16), row["vr"])
        for row in csv.DictReader(text.splitlines())
    )


class SafePrivateList:
    """The standard's list and a site's own, to be asked for one element at a time.

    An extra row for an element that the standard names wins, so that a site can say the VR where the table does not.
    """

    def __init__(self, extra: Iterable[SafePrivate] = ()) -> None:
        """Raises ValueError for an extra row that names no private element: even group, element outside the block."""
        self._vrs: dict[tuple[str, int, int], str] = {}
        for row in (*standard_safe_private(), *extra):
            if row.group % 2 == 0 or not 0 <= row.element <= 0xFF or not row.creator.strip():
                raise ValueError(
                    f"({row.group:04x},xx{row.element:02x}) of {row.creator!r} is no private element: give a creator, "
                    "an odd group and an element from 00 to ff"
                )
            self._vrs[row.creator.strip(_PADDING), row.group, row.element] = row.vr or "UN"

    def vr_of(self, creator: str, group: int, element: int) -> str | None:
        """VR of an element that may stay, or None when it may not.

        `creator` is the value of the element that reserves the block (gg00bb), `element` the last two digits (0x00 to
        0xFF). Creators are compared exactly, padding aside: PS3.5 7.8.1 makes them LO, in which case matters.
        """
        return self._vrs.get((creator.strip(_PADDING), group, element))
