"""Write, audit, publish: what every table asset does in the same words.

The gate's evaluation is recorded first; a failed one then ends the step, so the previous version stays in force.
"""

import base64
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.tables import Table, TableStore
from medillus_pipeline.zones import Zone

if TYPE_CHECKING:
    import pyarrow as pa

    from medillus_pipeline.quality.expectations import Suite

MOST_INLINE = 20_000
"""Characters of a picture within metadata; Dagster keeps them in its database, event by event."""

_DAGSTER_TYPES = {"double": "float64"}


def table_metadata(table: Table) -> dict[str, Any]:
    """Definition metadata of a table asset: column schema and where the table is stored."""
    columns = [
        dg.TableColumn(
            name=column.name,
            type=_DAGSTER_TYPES.get(column.type, column.type),
            description=column.description,
            constraints=dg.TableColumnConstraints(nullable=column.nullable, unique=table.key == (column.name,)),
        )
        for column in table.columns
    ]
    return {
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "dagster/table_name": table.name,
        "key": ", ".join(table.key),
    }


def gate(
    suite: "str | Suite",
    check: str,
    data: "pa.Table",
    *,
    advice: str,
    related: "Mapping[str, pa.Table] | None" = None,
) -> Iterator[dg.AssetCheckResult]:
    """Audit a table in memory, yield the evaluation, and end the step when it did not hold.

    `related` holds the tables that the suite compares with; `advice` tells the engineer who is woken up what to look
    at. Raises `dagster.Failure` without retries.
    """
    from medillus_pipeline.quality.gate import audit, check_result

    frames = {name: table.to_pandas(use_threads=False) for name, table in (related or {}).items()}
    outcome = audit(suite, data.to_pandas(use_threads=False), related=frames)
    yield check_result(outcome, check_name=check)
    if not outcome.passed:
        broken = ", ".join(outcome.broken)
        raise dg.Failure(
            f"the gate {check} does not hold ({broken}); nothing was published and the previous version stays in "
            f"force. {advice}",
            allow_retries=False,
        )


def require(tables: TableStore, table: Table, key: str) -> "pa.Table":
    """A published partition of a table. Raises NotEnoughDataError naming what to materialize first."""
    try:
        return tables.read(table, key)
    except FileNotFoundError:
        raise NotEnoughDataError(f"the table {table.name} has no partition {key}: materialize it first") from None


def progress_to(context: dg.AssetExecutionContext, what: str, *, seconds: float = 5.0) -> Callable[[int, int], None]:
    """A progress callback that writes a line to the run's log at most every few seconds."""
    last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            context.log.info(f"{context.asset_key.to_user_string()}: {what}, {done} of {total}")

    return report


def counts_table(
    counts: Mapping[str, int], *, heading: str = "outcome", advice: Mapping[str, str] | None = None
) -> dg.MarkdownMetadataValue:
    """Counts by reason as a small Markdown table; with `advice` (by reason) a column more, on what to do."""
    if not counts:
        return dg.MetadataValue.md("none")
    lines = [f"| {heading} | count |", "| --- | ---: |", *(f"| {k} | {v} |" for k, v in sorted(counts.items()))]
    if advice:
        further = [" what to do |", " --- |", *(f" {advice.get(key, '')} |" for key in sorted(counts))]
        lines = [line + more for line, more in zip(lines, further, strict=True)]
    return dg.MetadataValue.md("\n".join(lines))


def stacks_table(
    rows: Sequence[Mapping[str, Any]], *, verdict: str = "verdict", most: int = 50
) -> dg.MarkdownMetadataValue:
    """Stacks of slices with their verdicts (a column under the heading `verdict`) as Markdown, the largest first, no
    more than `most`: what is left out is counted. `window` is shown where the rows have it.
    """
    windowed = bool(rows) and "window" in rows[0]
    heads = ["modality", "slices", "size", "spacing (mm)", *(["window"] if windowed else []), verdict, "notes"]
    lines = [f"| {' | '.join(heads)} |", f"| --- | ---: |{' --- |' * (len(heads) - 2)}"]
    for row in sorted(rows, key=lambda row: (-row["slices"], row["series_instance_uid"], row["stack"]))[:most]:
        size = " × ".join(map(str, row["shape"] or []))
        spacing = " × ".join(f"{step:.3g}" for step in row["spacing"] or [])
        cells = [row["modality"], row["slices"], size, spacing, *([row["window"]] if windowed else [])]
        lines.append(f"| {' | '.join(map(str, [*cells, row['verdict'], ', '.join(row['notes'])]))} |")
    if len(rows) > most:
        lines.append(f"| and {len(rows) - most} more |{' |' * (len(heads) - 1)}")
    return dg.MetadataValue.md("\n".join(lines))


def what_to_do(counts: Mapping[str, int], advice: Mapping[str, str]) -> str:
    """A sentence on the reasons for which there is advice, for the log and the check; empty when there are none."""
    return "; ".join(f"{name} ({count}): {advice[name]}" for name, count in sorted(counts.items()) if name in advice)


def in_words(counts: Mapping[str, int]) -> str:
    """Counts by reason in one line, largest first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {name}" for name, count in ordered) or "none at all"


def picture(zone: Zone, folder: str, png: bytes, *, thumbnail: bytes) -> dict[str, dg.MetadataValue]:
    """Store a PNG as a payload; metadata with a link to it and a small picture that the UI shows inline."""
    payload = zone.put(folder, png, ".png")
    small = base64.b64encode(thumbnail).decode()
    return {
        "picture": dg.MetadataValue.url(f"{zone.url}/{payload.path}"),
        "preview": dg.MetadataValue.md(f"![preview](data:image/png;base64,{small})"),
    }


def shown(png: bytes, what: str) -> dg.MarkdownMetadataValue:
    """A small PNG that the UI shows inline. Raises ValueError past what belongs into metadata."""
    small = base64.b64encode(png).decode()
    if len(small) > MOST_INLINE:
        raise ValueError(f"a picture of {len(small)} characters is too large for metadata")
    return dg.MetadataValue.md(f"![{what}](data:image/png;base64,{small})")


def row_counts(data: "pa.Table", **further: int) -> dict[str, int]:
    """Row count under the name that Dagster plots, and further counts."""
    return {"dagster/partition_row_count": data.num_rows, "dagster/row_count": data.num_rows, **further}


def rows_without_partition(data: "pa.Table") -> Sequence[dict[str, Any]]:
    """Rows of a whole table (all partitions) as the domain functions take them."""
    return data.drop_columns(["partition"]).to_pylist()
