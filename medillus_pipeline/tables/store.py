"""The partitioned Parquet store: one file per partition, `tables/<table>/partition=<key>/part-0.parquet`, published in
one atomic act. Which columns a table has is not here.
"""

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from medillus_pipeline.tables.table import Table, from_parquet, storable, to_parquet
from medillus_pipeline.zones import StoreRefused, Zone

if TYPE_CHECKING:
    import pyarrow as pa


class TableStore:
    """The tables of one zone. Publishing replaces a partition's file in one atomic act."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone

    def path(self, table: Table, key: str) -> str:
        """Where the partition's file stands."""
        return f"tables/{table.name}/partition={key}/part-0.parquet"

    def publish(self, table: Table, key: str, data: "pa.Table") -> str:
        """Make `data` the partition's content; returns its data version (SHA-256 of the Parquet bytes).

        An unchanged partition is not written again.
        """
        encoded = to_parquet(data)
        version = hashlib.sha256(encoded).hexdigest()
        path = self.path(table, key)
        if not (self.zone.exists(path) and self.zone.read(path) == encoded):
            self.zone.write(path, encoded)
        return version

    def keys(self, table: Table) -> list[str]:
        """Partitions that are published, sorted. The folder of one that could not be written is none."""
        prefix, suffix = f"tables/{table.name}/partition=", "/part-0.parquet"
        files = [path for path in self.zone.files(f"tables/{table.name}") if path.endswith(suffix)]
        return sorted(path.removeprefix(prefix).removesuffix(suffix) for path in files)

    def read(self, table: Table, key: str) -> "pa.Table":
        """One partition. Raises FileNotFoundError when it was never published, StoreRefused when another release wrote
        it, or something that does not write tables.
        """
        return self._checked(table, key, self.zone.read(self.path(table, key)))

    def version(self, table: Table, key: str) -> str | None:
        """Data version of a published partition, None when it was never published."""
        try:
            return hashlib.sha256(self.zone.read(self.path(table, key))).hexdigest()
        except FileNotFoundError:
            return None

    def read_all(self, table: Table, keys: Iterable[str] | None = None) -> "pa.Table":
        """All partitions (or those named) as one table with one column more, `partition`; empty when there are none."""
        import pyarrow as pa

        parts = []
        for key in self.keys(table) if keys is None else keys:
            part = self.read(table, key)
            parts.append(part.append_column("partition", pa.array([key] * part.num_rows, pa.string())))
        schema = table.arrow_schema().append(pa.field("partition", pa.string()))
        return pa.concat_tables([p.cast(schema) for p in parts]) if parts else schema.empty_table()

    def _checked(self, table: Table, key: str, data: bytes) -> "pa.Table":
        import pyarrow as pa

        try:
            read = from_parquet(data)
        except pa.ArrowException as error:
            raise StoreRefused(
                f"partition {key} of the stored table {table.name} is no Parquet file, so it was changed from outside: "
                "materialize the partition again, or restore it from a backup"
            ) from error
        expected, found = table.arrow_schema(), read.schema
        if (found.names, found.types) != (expected.names, expected.types):
            raise StoreRefused(
                f"partition {key} of the stored table {table.name} has other columns than this release expects "
                f"({_differences(expected, found)}): it was written by another release; materialize the partition again"
            )
        return read


def _differences(expected: "pa.Schema", found: "pa.Schema") -> str:
    """What stands in one of two schemas only, by name."""
    wanted, there = (
        dict(zip(expected.names, expected.types, strict=True)),
        dict(zip(found.names, found.types, strict=True)),
    )
    said = [f"no {name}" for name in expected.names if name not in there]
    said += [f"{storable(name)[:40]!r} is unknown" for name in found.names if name not in wanted][:5]
    said += [f"{name} is {there[name]} and no {kind}" for name, kind in wanted.items() if there.get(name, kind) != kind]
    return ", ".join(said) or "in another order"
