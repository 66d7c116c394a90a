"""Rows leave the published tables, dependents first, so that no table ever points at a row or payload that is gone.

Which rows is said by names (pseudonyms, UIDs, slice names) and by items; who chooses them is not here.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from medillus_pipeline.stewardship.references import is_payload, named_in, text_of
from medillus_pipeline.tables import (
    ILLUSTRATION_RECORDS,
    ILLUSTRATION_REQUESTS,
    ILLUSTRATIONS,
    INSTANCES,
    MASK_AGREEMENT,
    MASK_FINDINGS,
    MASK_ITEMS,
    MASK_LAYERS,
    MASKS,
    PATIENT_SPLITS,
    REVIEWS,
    SLICE_WINDOWS,
    SLICES,
    STUDY_LABELS,
    TRAINING_SLICES,
    VOLUME_ILLUSTRATIONS,
    VOLUMES,
    Table,
    TableStore,
    to_parquet,
)

if TYPE_CHECKING:
    import pyarrow as pa

DEPENDENTS_FIRST = (
    ILLUSTRATION_RECORDS, VOLUME_ILLUSTRATIONS, ILLUSTRATIONS, ILLUSTRATION_REQUESTS, REVIEWS, TRAINING_SLICES,
    STUDY_LABELS, MASK_AGREEMENT, MASK_FINDINGS, MASK_LAYERS, MASKS, MASK_ITEMS, VOLUMES, SLICE_WINDOWS, SLICES,
    INSTANCES, PATIENT_SPLITS,
)  # fmt: skip
OF_IMAGES = (INSTANCES, SLICES, SLICE_WINDOWS, VOLUMES)
"""Tables whose partitions are deliveries."""
OF_ANNOTATIONS = (MASKS, MASK_LAYERS, MASK_FINDINGS, MASK_AGREEMENT, MASK_ITEMS, STUDY_LABELS)
"""Tables whose partitions are annotation batches."""
NAMING_COLUMNS = (
    "patient", "split_token", "slice_name", "sop_instance_uid", "series_instance_uid", "study_instance_uid",
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A partition of a table of which rows are taken: `rows` by number; all of them: the partition goes."""

    table: Table
    key: str
    rows: tuple[int, ...]
    data: "pa.Table" = field(repr=False)

    @property
    def taken(self) -> "pa.Table":
        """The rows that leave."""
        return rows_of(self.data, self.rows)

    @property
    def kept(self) -> "pa.Table":
        """The rows that stay, in their order."""
        gone = set(self.rows)
        return rows_of(self.data, (number for number in range(self.data.num_rows) if number not in gone))


def rows_of(data: "pa.Table", numbers: Iterable[int]) -> "pa.Table":
    """The rows of these numbers, in that order; none are in order too."""
    import pyarrow as pa

    return data.take(pa.array(numbers, pa.int64()))


def parts_naming(
    tables: TableStore,
    names: Collection[str],
    *,
    items: Collection[str] = (),
    whole: Collection[Table] = (TRAINING_SLICES,),
) -> Iterator[Part]:
    """Partitions with rows that hold one of `names`, or are the receipt of one of `items`, dependents first.

    A partition of the tables `whole` goes as a whole when any row of it does: its rows are numbered.
    """
    for table in DEPENDENTS_FIRST:
        columns = {column.name for column in table.columns}
        asked = {name: frozenset(names) for name in NAMING_COLUMNS if name in columns}
        if table is MASK_ITEMS:
            asked = {"item": frozenset(items)}
        for key in tables.keys(table):
            data = tables.read(table, key)
            numbers: set[int] = set()
            for name, wanted in asked.items():
                numbers.update(i for i, value in enumerate(data[name].to_pylist()) if value in wanted)
            if table is ILLUSTRATION_REQUESTS:  # of a slice, which only the request itself names
                asked_of = (json.loads(document).get("scan") for document in data["document"].to_pylist())
                numbers.update(i for i, scan in enumerate(asked_of) if scan in names)
            if numbers and table in whole:
                numbers = set(range(data.num_rows))
            if numbers:
                yield Part(table, key, tuple(sorted(numbers)), data)


def partition(tables: TableStore, table: Table, key: str) -> Part | None:
    """A whole partition, None where it was never published."""
    if key not in tables.keys(table):
        return None
    data = tables.read(table, key)
    return Part(table, key, tuple(range(data.num_rows)), data)


def unpublish(tables: TableStore, part: Part) -> str | None:
    """Put the partition in force without the rows, in one atomic act; a partition without a row left is removed.

    Returns the data version of what is left, None where nothing is.
    """
    kept = part.kept
    if kept.num_rows:
        return tables.publish(part.table, part.key, kept)
    tables.zone.remove(tables.path(part.table, part.key))
    return None


def payloads_of(part: Part) -> set[str]:
    """Payloads that the rows which leave name."""
    found = named_in(text_of("taken.parquet", to_parquet(part.taken)))
    return {path for path in found if is_payload(path)}


def taken_by_table(parts: Collection[Part]) -> dict[str, int]:
    """How many rows leave each table."""
    counts: Counter[str] = Counter()
    for part in parts:
        counts[part.table.name] += len(part.rows)
    return dict(sorted(counts.items()))
