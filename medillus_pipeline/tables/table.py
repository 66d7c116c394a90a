"""What a table is: its columns (name, type, meaning, key), as plain Python and as Arrow and Parquet.

The columns are plain Python, so that the asset graph can show a table's schema without loading pyarrow; pyarrow is
imported where a table is really built or read. Where tables are kept is not here (`store.py`).
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Column:
    """A column: its Arrow type by alias (`string`, `int32`, `list<double>` …), its meaning, whether it may be null."""

    name: str
    type: str
    description: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """A table's name, meaning, columns and the columns that identify a row."""

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    def arrow_schema(self) -> "pa.Schema":
        """The pyarrow schema, with descriptions as field metadata."""
        import pyarrow as pa

        return pa.schema(
            [
                pa.field(c.name, _arrow_type(c.type), nullable=c.nullable, metadata={"description": c.description})
                for c in self.columns
            ],
            metadata={"table": self.name},
        )

    def to_arrow(self, rows: Sequence[Mapping[str, Any]]) -> "pa.Table":
        """Rows (dictionaries with every column) as a pyarrow table, sorted by the key.

        Raises ValueError when a row lacks a column, has one too many, or holds null where none may stand.
        """
        import pyarrow as pa

        names = [column.name for column in self.columns]
        for row in rows:
            if set(row) != set(names):
                odd = sorted(set(row) ^ set(names))
                raise ValueError(f"a row of table {self.name} has missing or unknown columns: {odd}")
        ordered = sorted(rows, key=lambda row: tuple("" if row[k] is None else row[k] for k in self.key))
        table = pa.Table.from_pylist([{name: row[name] for name in names} for row in ordered], self.arrow_schema())
        for column in self.columns:
            if not column.nullable and table.column(column.name).null_count:
                raise ValueError(f"column {column.name} of table {self.name} holds nulls")
        return table


def _arrow_type(alias: str) -> "pa.DataType":
    import pyarrow as pa

    if alias.startswith("list<"):
        return pa.list_(_arrow_type(alias[5:-1]))
    return pa.type_for_alias(alias)


def storable(text: str) -> str:
    """Text from outside as UTF-8 can hold it: file names and JSON may carry lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()


def to_parquet(table: "pa.Table") -> bytes:
    """The table as Parquet bytes; the same table gives the same bytes."""
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def from_parquet(data: bytes) -> "pa.Table":
    """The inverse of `to_parquet`, in this thread: pyarrow 25's pool can abort a short-lived process when it exits."""
    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(data), use_threads=False)
