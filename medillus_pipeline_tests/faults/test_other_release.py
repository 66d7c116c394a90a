"""A store that another release wrote, or that somebody changed by hand: a clear refusal, and a rerun that mends it."""

import io
from collections.abc import Iterator

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medillus_pipeline.tables import INSTANCES, SLICES, TABLES, Table, TableStore
from medillus_pipeline.zones import StoreRefused, Zone
from medillus_pipeline_tests.site import Site, failure, series


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A published delivery."""
    site = Site(tmp_path_factory.mktemp("site"))
    site.arrive("images", "scan", series(1000, 2))
    assert site.run("ingest_delivery", "scan").success
    yield site


def other_columns(table: Table, empty: pa.Table) -> dict[str, tuple[pa.Table, str]]:
    """What a table may have been before: each with a part of the message."""
    first, *_, last = table.columns
    number = pa.array([0] * empty.num_rows, pa.int8())
    return {
        "a column less": (empty.drop_columns([last.name]), f"no {last.name}"),
        "a column more": (empty.append_column("flavour", number), "'flavour' is unknown"),
        "another type": (empty.set_column(0, first.name, number), f"{first.name} is int8"),
        "another order": (empty.select([c.name for c in reversed(table.columns)]), "in another order"),
    }


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_table_is_read_as_it_was_written_and_refused_with_any_other_columns(clean: Zone, table: Table) -> None:
    store = TableStore(clean)
    store.publish(table, "one", table.to_arrow([]))
    assert store.read(table, "one").schema.names == [column.name for column in table.columns]
    for changed, said in other_columns(table, table.to_arrow([])).values():
        clean.write(store.path(table, "one"), parquet(changed))
        with pytest.raises(StoreRefused) as caught:
            store.read(table, "one")
        assert f"partition one of the stored table {table.name} has other columns" in str(caught.value)
        assert said in str(caught.value)
        assert "materialize the partition again" in str(caught.value)
        with pytest.raises(StoreRefused, match=table.name):
            store.read_all(table)


@pytest.mark.parametrize("change", ["a column less", "a column more", "another type", "no Parquet", "nothing"])
def test_a_partition_of_another_release_stops_the_next_asset_once_and_a_rerun_of_its_own_mends_it(
    site: Site, change: str
) -> None:
    before = site.tables()
    path = site.store.tables.path(INSTANCES, "scan")
    if change in ("no Parquet", "nothing"):
        site.settings.clean.write(path, b"PAR1 no more" if change == "no Parquet" else b"")
    else:
        old = other_columns(INSTANCES, site.store.tables.read(INSTANCES, "scan"))[change][0]
        site.settings.clean.write(path, parquet(old))
    result = site.run("ingest_delivery", "scan", asset_selection=[dg.AssetKey("slices")])
    message = failure(result)
    assert message.startswith("partition scan of the stored table instances ")
    assert "materialize the partition again" in message
    assert not [event for event in result.all_events if event.is_step_up_for_retry]
    slices = site.store.tables.path(SLICES, "scan")
    assert site.settings.clean.read(slices) == before[slices]
    assert site.run("ingest_delivery", "scan").success
    assert site.tables() == before
