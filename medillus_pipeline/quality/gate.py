"""Hold a table to its suite, and say the outcome as a Dagster check result.

Great Expectations' own results carry values of the table (`observed_value`, partial lists, texts of exceptions and
their tracebacks). None of that leaves `audit`: only the names of expectations and columns, which are ours, and counts.
"""

import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dagster as dg

from medillus_pipeline import telemetry
from medillus_pipeline.quality.expectations import Expectation, Frame, Related, Suite
from medillus_pipeline.quality.suites import SUITES

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.core import ExpectationValidationResult

TABLE_WIDE = ("expect_table_row_count_to_be_between", "expect_column_distinct_values_to_contain_set")


@dataclass(frozen=True)
class Outcome:
    """One expectation's outcome: names and counts only.

    `unexpected` counts the rows that do not meet it (1 for an expectation about the table or column as a whole); it may
    be above 0 in a success where the suite allows a share. `evaluated` counts the rows that were looked at.
    `raised` says that it could not be evaluated, which counts as failed in every row.
    """

    expectation: str
    column: str
    evaluated: int
    unexpected: int
    success: bool
    raised: bool
    reason: str

    def __str__(self) -> str:
        subject = self.column or "the table"
        if self.raised:
            return f"{subject}: {self.reason} (could not be evaluated)"
        if self.expectation in TABLE_WIDE:
            return f"{subject}: {self.reason}"
        return f"{subject}: {self.reason} ({self.unexpected} of {self.evaluated} rows do not)"


@dataclass(frozen=True)
class Audit:
    """What became of a table that was held to its suite."""

    suite: str
    rows: int
    results: tuple[Outcome, ...]

    @property
    def passed(self) -> bool:
        """Whether every expectation holds."""
        return bool(self.results) and all(outcome.success for outcome in self.results)

    @property
    def broken(self) -> list[str]:
        """A line for each expectation that does not hold: column, what must hold, how many rows do not."""
        return [str(outcome) for outcome in self.results if not outcome.success]

    def markdown(self) -> str:
        """All outcomes as a Markdown table, failures first."""
        lines = ["| holds | expectation | column | rows | unexpected | what must hold |", "|:-:|---|---|--:|--:|---|"]
        for o in sorted(self.results, key=lambda outcome: outcome.success):
            verdict = "yes" if o.success else "error" if o.raised else "**no**"
            name = o.expectation.removeprefix("expect_")
            lines.append(f"| {verdict} | {name} | {o.column} | {o.evaluated} | {o.unexpected} | {o.reason} |")
        return "\n".join(lines)


def audit(suite: str | Suite, frame: "pd.DataFrame", *, related: "Mapping[str, pd.DataFrame] | None" = None) -> Audit:
    """Hold a table to a suite, given itself or by its name. An empty table fails by its row count alone.

    `related` holds the tables that the suite compares with, by name: `instances` for slices (those of the same
    delivery), `slices` for masks (those published in any delivery).
    Raises KeyError for an unknown suite, ValueError when a table to compare with is not given.
    """
    suite = SUITES[suite] if isinstance(suite, str) else suite
    given = related or {}
    absent = sorted(set(suite.related) - set(given))
    if absent:
        raise ValueError(f"the suite {suite.name} compares with {', '.join(absent)}: pass related={{name: frame}}")
    if frame.empty:
        expectations = [e for e in suite.expectations if e.type == TABLE_WIDE[0]]
    else:
        expectations = list(suite.expectations)
        frame = _with_derived(suite, frame, given)
    return Audit(suite.name, len(frame), tuple(_validate(expectations, frame)))


def together(name: str, audits: Iterable[Audit]) -> Audit:
    """Audits of several tables as one, for one check: every column is named with its table."""
    found = list(audits)
    results = (
        replace(outcome, column=f"{each.suite}.{outcome.column}" if outcome.column else each.suite)
        for each in found
        for outcome in each.results
    )
    return Audit(name, sum(each.rows for each in found), tuple(results))


def check_result(audit: Audit, *, check_name: str, asset_key: dg.AssetKey | None = None) -> dg.AssetCheckResult:
    """The audit as a blocking check's evaluation: a table of names and counts, never values."""
    broken = audit.broken
    held = len(audit.results) - len(broken)
    description = f"{held} of {len(audit.results)} expectations hold over {audit.rows} rows"
    return dg.AssetCheckResult(
        passed=audit.passed,
        check_name=check_name,
        asset_key=asset_key,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join([description, *broken]),
        metadata={
            "expectations": dg.MetadataValue.md(audit.markdown()),
            "rows": audit.rows,
            "evaluated_expectations": len(audit.results),
            "failed_expectations": len(broken),
        },
    )


def _with_derived(suite: Suite, frame: Frame, related: Related) -> Frame:
    """The columns that the suite names. A derived one that cannot be computed is left out, which fails it."""
    derived: dict[str, Any] = {}
    for name, derive in suite.derived.items():
        try:
            derived[name] = derive(frame, related)
        except (KeyError, TypeError, ValueError, ArithmeticError):
            continue
    named = {column for e in suite.expectations for column in e.column.split(", ")}
    return frame.assign(**derived)[[c for c in [*frame.columns, *derived] if c in named]]


def _validate(expectations: list[Expectation], frame: Frame) -> Iterator[Outcome]:
    with _quiet():
        import great_expectations as gx
        from great_expectations.data_context.types.base import (
            DataContextConfig,
            InMemoryStoreBackendDefaults,
            ProgressBarsConfig,
        )

        stores = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
        context = gx.get_context(mode="ephemeral", project_config=DataContextConfig(store_backend_defaults=stores))
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        definition = context.data_sources.add_pandas("memory").add_dataframe_asset("table")
        batch = definition.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
        suite = gx.ExpectationSuite(
            "suite",
            expectations=[
                {"type": e.type, "kwargs": dict(e.kwargs), "meta": {"number": number}}
                for number, e in enumerate(expectations)
            ],
        )
        quiet_format = {"result_format": "BASIC", "partial_unexpected_count": 0}
        validated = batch.validate(suite, result_format=quiet_format).results
        found = {(r.expectation_config.meta or {}).get("number"): r for r in validated if r.expectation_config}
    for number, expectation in enumerate(expectations):
        yield _outcome(expectation, found.get(number), len(frame))


def _outcome(expectation: Expectation, result: "ExpectationValidationResult | None", rows: int) -> Outcome:
    """Names and counts of a result. One that is missing, or has no counts where it should, could not be evaluated."""
    counts: Mapping[str, Any] = {} if result is None else result.result
    table_wide = expectation.type in TABLE_WIDE
    raised = result is None or ("observed_value" if table_wide else "unexpected_count") not in counts
    success = not raised and result is not None and result.success is True
    if raised:
        evaluated, unexpected = rows, rows
    elif table_wide:
        evaluated, unexpected = rows, int(not success)
    else:
        evaluated = int(counts["element_count"]) - int(counts.get("missing_count") or 0)
        unexpected = int(counts["unexpected_count"])
    return Outcome(expectation.type, expectation.column, evaluated, unexpected, success, raised, expectation.reason)


@contextmanager
def _quiet() -> Iterator[None]:
    """Great Expectations without analytics, and without its log lines and warnings: they may quote values."""
    telemetry.switch_off()
    logger, nowhere = logging.getLogger("great_expectations"), logging.NullHandler()
    propagate = logger.propagate
    logger.addHandler(nowhere)
    logger.propagate = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.propagate = propagate
        logger.removeHandler(nowhere)
