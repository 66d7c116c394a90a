"""Claims about every row of Table E.1-1, at every depth, by every route and under every option.

What the standard demands is in `standard_outcome.py`, what is planted in `planted.py`. Places outside the table are
in `test_canaries_elsewhere.py`.
"""

import io
import re
from collections.abc import Callable

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from medillus_pipeline.deidentification.deidentify import deidentify
from medillus_pipeline.deidentification.policy import Policy
from medillus_pipeline.deidentification.profile import DEFAULT_OPTIONS, Option
from medillus_pipeline.deidentification.pseudonyms import SHIFT_DAYS, Pseudonymiser
from medillus_pipeline_tests.deidentification.planted import (
    CHAINS,
    SPACING_DAYS,
    PlantedFile,
    Route,
    facts,
    opened,
    planted_file,
    read,
)
from medillus_pipeline_tests.deidentification.standard_outcome import may_survive, violation

OF_THE_TABLE = [option for option in Option if option.column]
RETAINING = frozenset(option for option in OF_THE_TABLE if option.name.startswith("RETAIN"))
CLEANING = frozenset(OF_THE_TABLE) - RETAINING
DATES, FULL_DATES = Option.RETAIN_MODIFIED_DATES, Option.RETAIN_FULL_DATES
OPTION_SETS = [
    frozenset[Option](),
    *(frozenset({option}) for option in OF_THE_TABLE),
    DEFAULT_OPTIONS | {Option.RETAIN_DEVICE_IDENTITY, Option.RETAIN_PATIENT_CHARACTERISTICS},
    DEFAULT_OPTIONS | CLEANING,
    RETAINING - {DATES},
    RETAINING - {FULL_DATES} | CLEANING,
]
CANARY = re.compile(
    rb"CANARY\d{6}|1\.2\.40\.0\.13\.9\.\d+|(?<![\d.])\d{8}(?=081500\.25)|(?<![\d.])\d{8}(?!\d)"
    rb"|2359\d\d\.\d{6}|7\.31\d{6}|(?<![\d.])8312\d{5}|(?<!\d)\d{3}M"
)


def name_of(options: frozenset[Option]) -> str:
    return "+".join(sorted(option.name_in_settings for option in options)) or "none"


def deidentified(data: bytes, pseudonymiser: Pseudonymiser, options: frozenset[Option]) -> bytes:
    return deidentify(data, pseudonymiser, policy=Policy(options=options)).data


def check(file: PlantedFile, pseudonymiser: Pseudonymiser, options: frozenset[Option]) -> list[str]:
    """Everything that survived or was not treated as the standard says, by depth and attribute."""
    result = deidentified(file.data, pseudonymiser, options)
    columns = frozenset(option.column for option in options)
    levels = list(opened(read(result), file.chain))
    by_canary = {p.canary: p for level in file.levels for row in level for p in (row, *row.inner) if p.canary}
    survived = {canary for canary in CANARY.findall(result.upper()) if canary in by_canary}
    allowed = {c for level, found in zip(file.levels, levels, strict=True) for c in may_survive(level, found, columns)}
    patient = next(p.value for p in file.levels[0] if p.tag == 0x00100020)
    days = pseudonymiser.date_shift(patient)
    assert SHIFT_DAYS[0] <= -days <= SHIFT_DAYS[1] and days % SPACING_DAYS
    wrong = [f"depth {by_canary[c].depth} {by_canary[c]}: survived" for c in sorted(survived - allowed)]
    uids: dict[str, str] = {}
    for depth, (level, found) in enumerate(zip(file.levels, levels, strict=True)):
        for planted in level:
            if found is None:
                break
            problem = violation(planted, found, columns, days, uids)
            if problem:
                wrong.append(f"depth {depth} {planted}: {problem}")
    assert len(set(uids.values())) == len(uids)
    return wrong


@pytest.mark.parametrize("options", OPTION_SETS, ids=name_of)
@pytest.mark.parametrize("route", CHAINS)
def test_every_row_at_every_depth_is_treated_as_the_standard_says(
    route: Route, options: frozenset[Option], pseudonymiser: Pseudonymiser
) -> None:
    file = planted_file(route)
    assert check(file, pseudonymiser, options) == []
    reached = [found is not None for found in opened(read(deidentified(file.data, pseudonymiser, options)), file.chain)]
    assert reached == [True] + [route != "private"] * 5


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("route", ["kept", "functional", "private"])
def test_so_it_is_in_the_other_encodings(route: Route, syntax: str, pseudonymiser: Pseudonymiser) -> None:
    file = planted_file(route, syntax)
    assert check(file, pseudonymiser, DEFAULT_OPTIONS) == []


@pytest.mark.parametrize("route", CHAINS)
def test_every_row_is_really_planted_at_every_depth(route: Route) -> None:
    file = planted_file(route)
    assert len(facts()) == 657
    for depth, level in enumerate(file.levels):
        rows = {planted.fact.tag for planted in level if planted.fact}
        assert len(rows) == (657 if depth else 653)
        assert all(planted.canary in file.data for planted in level)


MISTAKES: dict[str, tuple[str, Callable[[Dataset], object]]] = {
    "X copied": ("must be removed", lambda d: d.add_new(0x00104000, "LT", "CANARY000001")),
    "X replaced": ("must be removed", lambda d: d.add_new(0x00081048, "PN", "x")),
    "Z removed": ("may not be removed", lambda d: d.pop(0x00100030)),
    "D emptied": ("a value is needed", lambda d: d.add_new(0x00189367, "UC", "")),
    "D sequence emptied": ("an item is needed", lambda d: d.add_new(0x0040A073, "SQ", [])),
    "U made up": ("not mapped", lambda d: d.add_new(0x00200052, "UI", "1.2.3")),
    "one date off": ("expected a shifted", lambda d: d.add_new(0x00080020, "DA", "19200101")),
    "a date kept": ("survived", lambda d: d.add_new(0x00080021, "DA", "19310108")),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_single_mistake_three_levels_deep_is_found(
    mistake: str, pseudonymiser: Pseudonymiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = planted_file("kept")
    told, make = MISTAKES[mistake]
    whole = read(deidentified(file.data, pseudonymiser, DEFAULT_OPTIONS))
    level = list(opened(whole, file.chain))[3]
    assert level is not None
    make(level)
    buffer = io.BytesIO()
    whole.save_as(buffer)
    monkeypatch.setattr(f"{__name__}.deidentified", lambda *_: buffer.getvalue())
    wrong = check(file, pseudonymiser, DEFAULT_OPTIONS)
    assert 1 <= len(wrong) <= 2 and any(told in line for line in wrong)


def test_a_file_that_was_not_deidentified_is_found_wrong(
    pseudonymiser: Pseudonymiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = planted_file("kept")
    monkeypatch.setattr(f"{__name__}.deidentified", lambda data, *_: data)
    wrong = check(file, pseudonymiser, DEFAULT_OPTIONS)
    assert sum("survived" in line for line in wrong) > 3000
    assert len({line.split(":")[0] for line in wrong}) > 3000
