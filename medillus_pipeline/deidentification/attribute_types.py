"""Types (1, 1C, 2, 2C, 3) of the attributes with a compound code in PS3.15 Table E.1-1, and what they decide.

`X/Z/D` and its like leave the action to the attribute's Type in the IOD of the instance (PS3.15 Table E.1-1a). The
Types stand in `attribute_types.csv` (facts of PS3.3 annexes A and C): keyword, path of sequences, Type, SOP classes.
Which attributes have a compound code is not here: see `profile.py`.

In the file a SOP class is its UID without the root of the storage classes, `*` means all that the first row lists and
`-` takes one out. Modules of every usage (M, C, U) count; where several define an attribute, the strongest Type stands.
"""

import csv
from functools import cache
from importlib import resources
from typing import Literal

STORAGE_ROOT = "1.2.840.10008.5.1.4.1.1."
"""Root of most storage SOP Class UIDs, left out in `attribute_types.csv`."""

CompoundAction = Literal["X", "Z", "D", "U*"]

_SHARED, _PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
_NEED = {"1": 2, "1C": 2, "2": 1, "2C": 1, "3": 0}
_GIVES: dict[CompoundAction, int] = {"X": 0, "Z": 1, "D": 2, "U*": 2}
"""How much of a value an action leaves, weakest first: none, an empty one, one."""


def type_of(keyword: str, sop_class_uid: str, path: tuple[str, ...] = ()) -> str | None:
    """Type of an attribute in the IOD of a SOP class: `1`, `1C`, `2`, `2C`, `3`, or None where it is not known.

    `path` holds the keywords of the enclosing sequences, outermost first; () is the top of the data set. None also
    stands for a SOP class that is not listed (retired or private), a place where PS3.3 has no such attribute, and
    attributes without a compound code. Content items (PS3.3 C.17.3) nest to any depth and count as one level.
    """
    types = _types(sop_class_uid)
    found = types.get((keyword, path))
    return found if found is not None or not path else types.get((keyword, _as_listed(path)))


def action_for(code: str, type_: str | None) -> CompoundAction:
    """The weakest action of a code of the Basic Profile (`X/Z/D`) that keeps an attribute of this Type valid.

    Type 3 may be absent (X), Type 2 and 2C empty (Z), Type 1 and 1C need a value (D, or U* for sequences). Whether the
    condition of 1C and 2C holds is not asked. An unknown Type gets the strongest action that the code offers, since
    only that is valid everywhere; so does a Type that needs more than the code offers. Raises ValueError for
    a code of anything but X, Z, D and U*, KeyError for a Type that does not exist.
    """
    parts = set(code.split("/"))
    if not parts.issubset(_GIVES):
        raise ValueError(f"{code!r} is no code of X, Z, D and U* (PS3.15 Table E.1-1a)")
    need = _NEED[type_] if type_ is not None else max(_GIVES.values())
    strongest: CompoundAction = "X"
    for action, gives in _GIVES.items():
        if action in parts:
            strongest = action
            if gives >= need:
                break
    return strongest


def _as_listed(path: tuple[str, ...]) -> tuple[str, ...]:
    """A path as the file has it: per-frame for shared functional groups, runs of content items as one."""
    listed: list[str] = []
    for keyword in path:
        if keyword == "ContentSequence" and listed[-1:] == [keyword]:
            continue
        listed.append(_PER_FRAME if keyword == _SHARED else keyword)
    return tuple(listed)


@cache
def _rows() -> tuple[tuple[str, tuple[str, ...], str, frozenset[str]], ...]:
    """Keyword, path, Type and SOP classes."""
    text = (resources.files("medillus_pipeline.deidentification") / "attribute_types.csv").read_text(encoding="ascii")
    first, *others = csv.DictReader(text.splitlines())
    every = frozenset(first["sop_classes"].split())
    rows = []
    for row in others:
        names = row["sop_classes"].split()
        classes = every - {name[1:] for name in names} if names[0] == "*" else frozenset(names)
        rows.append((row["keyword"], tuple(filter(None, row["path"].split("/"))), row["type"], classes))
    return tuple(rows)


@cache
def _types(sop_class_uid: str) -> dict[tuple[str, tuple[str, ...]], str]:
    """Type by keyword and path in one SOP class; empty for one that is not listed."""
    name = sop_class_uid.removeprefix(STORAGE_ROOT)
    return {(keyword, path): type_ for keyword, path, type_, classes in _rows() if name in classes}
