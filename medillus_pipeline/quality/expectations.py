"""The words in which suites are written: an expectation, a suite, and short ways to say the common ones.

Plain Python. The types are the names of Great Expectations' core expectations; nothing here loads that library, and
which expectations a table must meet is said in `suites.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from medillus_pipeline.tables import Table

if TYPE_CHECKING:
    import pandas as pd

Frame = Any
"""A pandas DataFrame; pandas' own annotations do not tell a column from a frame, so type checkers are told nothing."""

Related = Mapping[str, Frame]
Derivation = Callable[[Frame, Related], "pd.Series"]
"""Makes one value per row of the audited frame, from it and from the frames of the tables it refers to."""

UID = r"^2\.25\.(0|[1-9][0-9]{0,38})$"
ANY_UID = r"^[0-9]+(\.[0-9]+)+$"
PATIENT = r"^p-[0-9a-f]{16}$"
TOKEN = r"^[0-9a-f]{32}$"
SHA256 = r"^[0-9a-f]{64}$"
SLICE_NAME = r"^s-[0-9a-f]{16}-[0-9]{4,}$"
NAMED = "the name carries the content hash, so a published table never points at something that changes"


def payload(suffix: str, folder: str = "[a-z_]+") -> str:
    """The pattern of a payload path: folder, two hexadecimal digits, content hash, suffix (with its dot)."""
    return rf"^{folder}/[0-9a-f]{{2}}/[0-9a-f]{{64}}\{suffix}$"


@dataclass(frozen=True)
class Expectation:
    """One thing that must hold: a core expectation's type, its arguments, and the reason in words for a person."""

    type: str
    kwargs: Mapping[str, Any]
    reason: str

    @property
    def column(self) -> str:
        """The column, or columns, that it is about; empty when it is about the whole table."""
        names = [self.kwargs[k] for k in ("column", "column_A", "column_B") if k in self.kwargs]
        return ", ".join([*names, *self.kwargs.get("column_list", ())])


@dataclass(frozen=True)
class Suite:
    """What must hold of a table before anyone downstream sees it.

    `derived` are columns computed for the audit alone (a list column's length, the number of splits of a patient);
    `related` names the tables whose rows the audit needs beside the audited ones.
    """

    name: str
    expectations: Sequence[Expectation]
    derived: Mapping[str, Derivation] = field(default_factory=dict)
    related: tuple[str, ...] = ()


def some_rows(reason: str) -> Expectation:
    """At least one row."""
    return Expectation("expect_table_row_count_to_be_between", {"min_value": 1}, reason)


def complete(*columns: str) -> list[Expectation]:
    """No nulls in any of the columns."""
    reason = "the column may not be empty anywhere"
    return [Expectation("expect_column_values_to_not_be_null", {"column": column}, reason) for column in columns]


def unique(reason: str, *columns: str) -> Expectation:
    """The columns together tell every row from every other."""
    if len(columns) == 1:
        return Expectation("expect_column_values_to_be_unique", {"column": columns[0]}, reason)
    return Expectation("expect_compound_columns_to_be_unique", {"column_list": list(columns)}, reason)


def matches(pattern: str, reason: str, *columns: str) -> list[Expectation]:
    """Values match a regular expression; nulls are not looked at."""
    kind = "expect_column_values_to_match_regex"
    return [Expectation(kind, {"column": column, "regex": pattern}, reason) for column in columns]


def between(
    column: str, low: float | None, high: float | None, reason: str, *, mostly: float = 1.0, strict: bool = False
) -> Expectation:
    """Values from `low` to `high` in at least the share `mostly` of the rows; `strict` shuts both ends out."""
    kwargs: dict[str, Any] = {"column": column}
    if low is not None:
        kwargs |= {"min_value": low, "strict_min": strict}
    if high is not None:
        kwargs |= {"max_value": high, "strict_max": strict}
    if mostly < 1.0:
        kwargs["mostly"] = mostly
    return Expectation("expect_column_values_to_be_between", kwargs, reason)


def among(column: str, values: Sequence[str], reason: str) -> Expectation:
    """Values from a closed set."""
    return Expectation("expect_column_values_to_be_in_set", {"column": column, "value_set": list(values)}, reason)


def covers(column: str, values: Sequence[str], reason: str) -> Expectation:
    """Every value of a set occurs at least once."""
    kind = "expect_column_distinct_values_to_contain_set"
    return Expectation(kind, {"column": column, "value_set": list(values)}, reason)


def at_least(greater: str, smaller: str, reason: str) -> Expectation:
    """Column `greater` is nowhere less than column `smaller`."""
    kwargs = {"column_A": greater, "column_B": smaller, "or_equal": True}
    return Expectation("expect_column_pair_values_a_to_be_greater_than_b", kwargs, reason)


def holds(column: str, reason: str) -> Expectation:
    """A derived column of 1 and 0 that must be 1 in every row."""
    return between(column, 1, 1, reason)


def single(column: str, reason: str) -> Expectation:
    """A derived count that must be exactly one in every row."""
    return between(column, 1, 1, reason)


def form_of(table: Table) -> list[Expectation]:
    """What follows from a table's definition: the key is unique, required columns are filled."""
    return [
        unique("the key tells every row from every other", *table.key),
        *complete(*(column.name for column in table.columns if not column.nullable)),
    ]
