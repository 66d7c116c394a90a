"""What PS3.15 demands of one planted value, judged from the codes of Table E.1-1 alone.

Written from the standard (Table E.1-1a and E.3), on purpose without a look at `profile.py`: a mistake in the resolution
of rules must not be repeated here. Where a compound code leaves a choice, every form that the code allows is accepted.
"""

import datetime
from collections.abc import Iterator
from typing import Any

from pydicom import config
from pydicom.dataset import Dataset
from pydicom.valuerep import validate_value

from medillus_pipeline_tests.deidentification.planted import VR_BEYOND_PYDICOM, Fact, Planted

TEMPORAL = ("DA", "DT", "TM")


def codes_for(fact: Fact, columns: frozenset[str]) -> frozenset[str]:
    """The codes of which one must be carried out: X, Z, D, U, `U*`, K or C (with C, those of the Basic Profile too).

    An option overrides the profile (PS3.15 E.3), and keeping beats cleaning; but where dates are modified, all are, so
    that the intervals between them stay (E.3.6): no other option keeps the original one.
    """
    chosen = {fact.codes[column] for column in columns if column in fact.codes}
    if "modified_dates" in columns and "modified_dates" in fact.codes:
        chosen.discard("K")
    if "K" in chosen:
        return frozenset("K")
    return frozenset(fact.basic.split("/")) | chosen


def violation(planted: Planted, found: Dataset, columns: frozenset[str], days: int, uids: dict[str, str]) -> str:
    """What contradicts the standard about one value in the data set where it was planted; empty where nothing does.

    `columns` are those of the options that are on, `days` the shift of the patient. `uids` collects original and new
    UIDs of the file, for their consistency.
    """
    assert planted.fact is not None
    codes = codes_for(planted.fact, columns)
    element = found.get(planted.tag)
    if planted.tag >> 16 < 0x0008:  # command, meta and directory elements have no place in a data set (PS3.10)
        return "stands in a data set" if element is not None else ""
    value = None if element is None else element.value
    if element is not None and element.VR == "UN" and planted.tag in VR_BEYOND_PYDICOM:  # implicit: pydicom cannot tell
        return _unread(planted, codes, bytes(value or b""), days)
    if element is not None and planted.vr != "SQ" and value not in (None, "") and not _valid(element.VR, value):
        return "not valid for its VR"
    if "K" in codes:
        return _kept(planted, element is not None, value, columns, days, uids)
    if planted.vr == "SQ":
        return _sequence(planted, codes, element is not None, value, columns, days, uids)
    if "C" in codes and planted.vr in TEMPORAL:
        return "" if value == shifted(planted.vr, planted.value, days) else f"expected a shifted {planted.vr}"
    if element is None:
        return "" if "X" in codes else "absent, though it may not be removed"
    if value in (None, "", b"", []):
        return "" if "Z" in codes or codes == {"X", "C"} else "empty, though a value is needed"
    if "U" in codes or planted.vr == "UI":
        return _mapped(str(planted.value), str(value), uids)
    if codes == {"X"}:
        return "present, though it must be removed"
    return "unchanged" if _canary_in(planted, value) else ""


def _unread(planted: Planted, codes: frozenset[str], value: bytes, days: int) -> str:
    """What is wrong with a value that stands in the file without its VR."""
    if codes == {"X"}:
        return "present, though it must be removed"
    text = value.decode("ascii", "replace").rstrip(" ")
    expected = planted.value if "K" in codes else shifted(planted.vr, planted.value, days)
    return "" if planted.vr == "DT" and text == expected else f"not as expected of {'/'.join(sorted(codes))}"


def shifted(vr: str, value: str, days: int) -> str:
    """A DA or DT moved by days; a TM as it was, since the shift is of whole days."""
    if vr == "TM":
        return value
    date = datetime.datetime.strptime(value[:8], "%Y%m%d").date() + datetime.timedelta(days)
    return f"{date:%Y%m%d}{value[8:]}"


def may_survive(level: tuple[Planted, ...], found: Dataset | None, columns: frozenset[str]) -> Iterator[bytes]:
    """Canaries that a file may hold: of values that are kept, of times of day, and of codes in published schemes."""
    for planted in level if found is not None else ():
        codes = frozenset() if planted.fact is None else codes_for(planted.fact, columns)
        if planted.fact is None or "K" in codes or ("C" in codes and planted.vr == "TM"):
            yield planted.canary
        element = found.get(planted.tag) if planted.inner and found is not None else None
        if element is not None and element.VR == "SQ" and element.value and codes & {"K", "C", "U*"}:
            yield from may_survive(planted.inner, element.value[0], columns)


def _valid(vr: str, value: Any) -> bool:
    try:
        for single in value if isinstance(value, list) else [value]:
            validate_value(vr, str(single) if vr in ("DS", "IS") else single, config.RAISE)
    except ValueError:
        return False
    return True


def _canary_in(planted: Planted, value: Any) -> bool:
    if not planted.canary:
        return value == planted.value
    return planted.canary in (value if isinstance(value, bytes) else str(value).encode())


def _mapped(before: str, after: str, uids: dict[str, str]) -> str:
    if not after.startswith("2.25.") or after == before:
        return "not mapped"
    return "" if uids.setdefault(before, after) == after else "mapped in two ways"


def _kept(planted: Planted, present: bool, value: Any, columns: frozenset[str], days: int, uids: dict[str, str]) -> str:
    if not present:
        return "absent, though it must be kept"
    if planted.vr == "SQ":  # K of a sequence: its items are cleaned (Table E.1-1a)
        if not value:
            return "empty, though it must be kept"
        return _items(planted, value[0], columns, days, uids, kept=True)
    if planted.vr in ("OB", "UN"):
        same = bytes(value).rstrip(b"\x00") == planted.value.rstrip(b"\x00")
    else:
        same = (str(value) if planted.vr in ("DS", "IS") else value) == planted.value
    return "" if same else "changed, though it must be kept"


def _sequence(
    planted: Planted,
    codes: frozenset[str],
    present: bool,
    value: Any,
    columns: frozenset[str],
    days: int,
    uids: dict[str, str],
) -> str:
    if not present:
        return "" if "X" in codes else "absent, though it may not be removed"
    if not value:
        return "" if "Z" in codes or codes == {"X", "C"} else "empty, though an item is needed"
    if codes == {"X"} or codes == {"X", "Z"}:
        return "has items, though it must be removed"
    return _items(planted, value[0], columns, days, uids, kept=False) if "U*" in codes else ""


def _items(
    planted: Planted, item: Dataset, columns: frozenset[str], days: int, uids: dict[str, str], *, kept: bool
) -> str:
    """What is wrong in the item of a sequence that is entered; a `kept` one keeps codes of published schemes."""
    for inner in planted.inner:
        if inner.fact is not None:
            wrong = violation(inner, item, columns, days, uids)
            if wrong:
                return f"in its item, {inner}: {wrong}"
        elif kept and str(item[inner.tag].value if inner.tag in item else "") != inner.value:
            return f"in its item, {inner}: code not kept"
    return ""
