"""Tables are published whole, read back typed, and unchanged content keeps its version."""

import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from medillus_pipeline.errors import StoreError
from medillus_pipeline.tables import LANDINGS, PATIENT_SPLITS, TABLES, Column, Table, TableStore
from medillus_pipeline.zones import Zone

ROWS = [
    {"split_token": "b", "split": "train", "round": 1},
    {"split_token": "a", "split": "judge", "round": 1},
]


def test_every_table_has_a_described_schema_and_a_key_of_its_columns() -> None:
    for table in TABLES:
        assert table.description
        assert all(column.description for column in table.columns)
        assert set(table.key) <= {column.name for column in table.columns}
        assert table.arrow_schema().names == [column.name for column in table.columns]


def test_rows_are_sorted_by_key_so_order_of_work_does_not_show(clean: Zone) -> None:
    store = TableStore(clean)
    first = store.publish(PATIENT_SPLITS, "one", PATIENT_SPLITS.to_arrow(ROWS))
    assert store.publish(PATIENT_SPLITS, "one", PATIENT_SPLITS.to_arrow(ROWS[::-1])) == first
    assert store.read(PATIENT_SPLITS, "one")["split_token"].to_pylist() == ["a", "b"]
    assert store.version(PATIENT_SPLITS, "one") == first


def test_partitions_are_told_apart_when_a_whole_table_is_read(clean: Zone) -> None:
    store = TableStore(clean)
    store.publish(PATIENT_SPLITS, "2026", PATIENT_SPLITS.to_arrow(ROWS[:1]))
    store.publish(PATIENT_SPLITS, "0042", PATIENT_SPLITS.to_arrow(ROWS[1:]))
    assert store.read_all(PATIENT_SPLITS)["partition"].to_pylist() == ["0042", "2026"]
    assert store.read_all(LANDINGS).num_rows == 0


@pytest.mark.parametrize(
    "row",
    [{"split_token": "a", "split": "train"}, {**ROWS[0], "name": "x"}, {**ROWS[0], "split": None}],
    ids=["missing", "unknown", "null"],
)
def test_a_row_that_does_not_fit_its_table_is_refused(row: dict) -> None:
    with pytest.raises(ValueError, match="patient_splits"):
        PATIENT_SPLITS.to_arrow([row])


def test_a_table_of_another_release_is_refused_with_what_to_do(clean: Zone) -> None:
    other = Table("patient_splits", "as it once was", (Column("token", "string", "its old name"),), ("token",))
    store = TableStore(clean)
    store.publish(other, "one", other.to_arrow([{"token": "a"}]))
    with pytest.raises(StoreError, match="materialize the partition again"):
        store.read(PATIENT_SPLITS, "one")


def test_the_file_is_plain_parquet_that_other_tools_read(clean: Zone) -> None:
    TableStore(clean).publish(PATIENT_SPLITS, "one", PATIENT_SPLITS.to_arrow(ROWS))
    path = clean.full("tables/patient_splits/partition=one/part-0.parquet")
    assert pq.ParquetFile(path).read().to_pylist()[0]["split"] == "judge"


def test_a_short_program_that_reads_a_table_ends_cleanly(clean: Zone) -> None:
    """pyarrow 25 aborted about every second such process at exit when it had read with threads."""
    TableStore(clean).publish(PATIENT_SPLITS, "one", PATIENT_SPLITS.to_arrow(ROWS))
    program = (
        "from medillus_pipeline.tables import PATIENT_SPLITS, TableStore\n"
        "from medillus_pipeline.zones import Zone\n"
        f"print(TableStore(Zone({clean.url!r})).read(PATIENT_SPLITS, 'one').num_rows)\n"
    )
    ended = [subprocess.run([sys.executable, "-c", program], capture_output=True, text=True) for _ in range(8)]
    assert [(process.returncode, process.stdout) for process in ended] == [(0, "2\n")] * 8
