"""Rows of INSTANCES of a delivery of any size: in the order of their UIDs, and never all of them as dictionaries.

A row as a dictionary takes some two kilobytes, as part of an Arrow table a quarter of that. What instances are is not
here, nor what is made of them.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]

TOGETHER = 256
"""Rows that are dictionaries at a time while all are gone through."""


class InstanceRows(Sequence[Row]):
    """Rows of INSTANCES, of a table or of a list of rows, by SOP Instance UID."""

    def __init__(self, instances: "Sequence[Row] | pa.Table") -> None:
        self._rows: Sequence[Row] = ()
        self._table: pa.Table | None = None
        if isinstance(instances, Sequence):
            self._rows = sorted(instances, key=lambda row: row["sop_instance_uid"])
        else:
            uids = instances["sop_instance_uid"].to_pylist()
            if uids != sorted(uids):
                instances = instances.take(sorted(range(len(uids)), key=uids.__getitem__))
            self._table = instances

    def __len__(self) -> int:
        return len(self._rows) if self._table is None else self._table.num_rows

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if self._table is None:
            return self._rows[index] if isinstance(index, int) else list(self._rows[index])
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            return self._table.slice(start, max(0, stop - start)).to_pylist()[::step] if step > 0 else []
        if not -len(self) <= index < len(self):
            raise IndexError("no such row")
        return self._table.slice(index % len(self), 1).to_pylist()[0]

    def __iter__(self) -> Iterator[Row]:
        if self._table is None:
            yield from self._rows
            return
        for start in range(0, len(self), TOGETHER):
            yield from self._table.slice(start, TOGETHER).to_pylist()

    def texts(self, name: str) -> Sequence[str]:
        """A column of text, row by row, which is no copy of it."""
        if self._table is None:
            return [row[name] for row in self._rows]
        return _Texts(self._table[name])


class _Texts(Sequence[str]):
    def __init__(self, column: "pa.ChunkedArray") -> None:
        self._column = column.chunk(0) if column.num_chunks == 1 else column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, index: int) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self._column[index].as_py()
