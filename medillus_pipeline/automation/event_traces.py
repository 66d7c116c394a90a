"""What Dagster's own storage holds of partitions: pictures in metadata, links, runs; found, purged and searched.

A materialization carries a small picture of what it made. There is no way to take one out of an event, so the runs are
deleted and the materializations that still hold are reported anew, without pictures.
"""

import re
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import dagster as dg

from medillus_pipeline.stewardship.references import named_in

_INLINE = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=]{64,})")
_SAMPLE = slice(200, 264)
"""Characters of an inline picture that tell it from others: past its header, before its end."""
_WAIT_SECONDS = 60
Partitions = Mapping[str, Iterable[str] | None]
"""Asset → partition keys; None for an asset without partitions."""


def told(instance: dg.DagsterInstance, assets: Partitions) -> dict[str, set[str]]:
    """By kind what the events of these partitions tell: `runs`, `payloads` that they link to, and `previews`, a part of
    each picture within them.
    """
    found: dict[str, set[str]] = {"runs": set(), "payloads": set(), "previews": set()}
    for record in _records(instance, assets):
        event = record.asset_materialization
        if event is None or not record.run_id:
            continue
        text = "\n".join(str(value.value) for value in event.metadata.values())
        found["runs"].add(record.run_id)
        found["payloads"] |= named_in(text)
        found["previews"] |= {picture[_SAMPLE] for picture in _INLINE.findall(text) if picture[_SAMPLE]}
    return found


def linked(instance: dg.DagsterInstance) -> set[str]:
    """Payloads that the newest materialization of any asset and partition links to."""
    found: set[str] = set()
    for key in instance.all_asset_keys():
        newest: dict[str | None, dg.EventLogRecord] = {}
        for record in _pages(instance, dg.AssetRecordsFilter(asset_key=key)):
            newest[record.partition_key] = record
        for record in newest.values():
            if record.asset_materialization is not None:
                values = record.asset_materialization.metadata.values()
                found |= named_in("\n".join(str(value.value) for value in values))
    return found


def purge(instance: dg.DagsterInstance, runs: Iterable[str], wiped: Iterable[str]) -> None:
    """Delete runs with their events, and all events of the assets `wiped`, which have no partitions."""
    for run_id in sorted(runs):
        if instance.has_run(run_id):
            instance.delete_run(run_id)
        root = Path(instance.root_directory)
        (root / "history" / "runs" / f"{run_id}.db").unlink(missing_ok=True)
        shutil.rmtree(root / "storage" / run_id, ignore_errors=True)
    existing = {key.to_user_string() for key in instance.all_asset_keys()}
    instance.wipe_assets([dg.AssetKey(name) for name in sorted(set(wiped) & existing)])


def report(instance: dg.DagsterInstance, asset: str, partition: str, *, version: str | None, act: str) -> None:
    """Say that a partition is as it is now, without a run and without a picture."""
    tags = {"dagster/data_version": version} if version else None
    event = dg.AssetMaterialization(asset, partition=partition, metadata={"act": act}, tags=tags)
    instance.report_runless_asset_event(event)


def compact(folder: Path) -> None:
    """Let SQLite give back pages of deleted rows, in all databases below a folder: their bytes stay there otherwise."""
    for path in sorted(folder.rglob("*.db")) if folder.exists() else ():
        with closing(sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)) as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def left_in_dagster(instance: dg.DagsterInstance, texts: Iterable[str]) -> Iterator[str]:
    """What still says one of the texts, through Dagster's own interface: runs (config, tags), events, assets."""
    wanted = set(texts)
    for run in instance.get_runs():
        said = dg.serialize_value(run)
        if any(text in said for text in wanted):
            yield f"run {run.run_id}"
            continue
        if any(text in dg.serialize_value(event) for event in instance.all_logs(run.run_id) for text in wanted):
            yield f"events of run {run.run_id}"
    for key in instance.all_asset_keys():
        for record in _pages(instance, dg.AssetRecordsFilter(asset_key=key)):
            said = dg.serialize_value(record.event_log_entry)
            if any(text in said for text in wanted):
                yield f"asset {key.to_user_string()}"
                break


def _records(instance: dg.DagsterInstance, assets: Partitions) -> Iterator[dg.EventLogRecord]:
    for asset, partitions in assets.items():
        keys = None if partitions is None else sorted(partitions)
        if keys is None or keys:
            yield from _pages(instance, dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=keys))


def _pages(instance: dg.DagsterInstance, asked: dg.AssetRecordsFilter) -> Iterator[dg.EventLogRecord]:
    cursor = None
    while True:
        page = instance.fetch_materializations(asked, limit=500, cursor=cursor, ascending=True)
        yield from page.records
        if not page.has_more:
            return
        cursor = page.cursor
