"""What a tick of the landing sensor costs with thousands of deliveries, on disk and on S3, and its memory over ticks.

    python -m medillus_pipeline_tests.benchmarks.landing_tick [--deliveries 5000] [--ticks 1000] [--s3]

Each delivery holds one file and its marker; all but one are known, sealed and have a partition. The ticks are those of
`new_deliveries` on a Dagster instance on disk. `--s3` keeps the zones in moto's server on loopback, in a process of its
own. Moto answers in Python and looks at every key of a bucket for each page of a listing: its CPU time is said beside,
and the time of the three listings without which no look can be (keys, folders, retractions), by boto3 alone.
"""

import argparse
import gc
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import dagster as dg

from medillus_pipeline import landing_seals, landings
from medillus_pipeline.automation.arrivals import new_deliveries
from medillus_pipeline.automation.instance import dagster_home
from medillus_pipeline.partitions import deliveries
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.settings import Settings
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.flow import settings_at
from medillus_pipeline_tests.s3_server import s3_process


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--deliveries", type=int, default=5000)
    asked.add_argument("--ticks", type=int, default=1000)
    asked.add_argument("--s3", action="store_true")
    chosen = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder, _zones(Path(folder), s3=chosen.s3) as (settings, processor):
        store = StoreResource.of(settings)
        _fill(settings, chosen.deliveries)
        with dg.DagsterInstance.from_config(str(dagster_home(settings.home))) as instance:
            keys = landings.known_keys(settings.vault, "images")
            instance.add_dynamic_partitions(str(deliveries.name), keys)
            cursor = _told(instance, store, None, "first tick", processor)
            _put(settings.landing, "newcomer")
            cursor = _told(instance, store, cursor, "a tick with one new delivery", processor)
            for _ in range(3):
                cursor = _told(instance, store, cursor, "a tick with none", processor)
            if chosen.s3:
                _listings(settings, processor)
            _many(instance, store, cursor, chosen.ticks)


def _told(
    instance: dg.DagsterInstance, store: StoreResource, cursor: str | None, name: str, processor: Callable[[], float]
) -> str | None:
    wall, cpu, server = time.perf_counter(), time.process_time(), processor()
    cursor = _tick(instance, store, cursor)
    took, burnt, served = time.perf_counter() - wall, time.process_time() - cpu, processor() - server
    print(f"{name}: {took:.2f} s wall, {burnt:.2f} s CPU, {served:.2f} s CPU of the server{_load()}", flush=True)
    return cursor


def _tick(instance: dg.DagsterInstance, store: StoreResource, cursor: str | None) -> str | None:
    with dg.build_sensor_context(instance=instance, cursor=cursor, resources={"store": store}) as context:
        done = new_deliveries(context)
    assert isinstance(done, dg.SensorResult)
    for request in done.dynamic_partitions_requests or ():
        instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
    return done.cursor


def _load() -> str:
    return f" (load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)"


def _listings(settings: Settings, processor: Callable[[], float]) -> None:
    """What the store alone takes for the listings of one look, one after the other."""
    import boto3

    client = boto3.client("s3")
    wall, cpu, server = time.perf_counter(), time.process_time(), processor()
    pages = 0
    for zone, below, delimiter in (
        (settings.vault, "tables/landings/", ""),
        (settings.landing, "images/", "/"),
        (settings.vault, "retracted/", ""),
    ):
        bucket, prefix = zone.full(below).split("/", 1)
        paginator = client.get_paginator("list_objects_v2")
        pages += sum(1 for _ in paginator.paginate(Bucket=bucket, Prefix=f"{prefix.rstrip('/')}/", Delimiter=delimiter))
    took, burnt, served = time.perf_counter() - wall, time.process_time() - cpu, processor() - server
    told = f"{took:.2f} s wall, {burnt:.2f} s CPU, {served:.2f} s CPU of the server"
    print(f"its listings by boto3 alone, {pages} pages: {told}", flush=True)


def _many(instance: dg.DagsterInstance, store: StoreResource, cursor: str | None, ticks: int) -> None:
    begun, cpu = time.perf_counter(), time.process_time()
    shown = {0, ticks // 10, ticks // 2, ticks - 1}
    for number in range(ticks):
        cursor = _tick(instance, store, cursor)
        if number in shown:
            gc.collect()
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            resident = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
            told = f"{resident:.1f} MiB resident, {peak:.1f} MiB at most, cursor {len(cursor or '')} B"
            print(f"after {number + 1} ticks: {told}", flush=True)
    wall, burnt = time.perf_counter() - begun, time.process_time() - cpu
    print(f"{ticks} ticks: {wall / ticks:.3f} s wall and {burnt / ticks:.3f} s CPU a tick")


def _fill(settings: Settings, count: int) -> None:
    begun = time.perf_counter()
    with mock.patch.object(os, "fsync", lambda _: None):  # of the filling only, which is not measured
        _filled(settings, count)
    print(f"{count} deliveries landed and registered in {time.perf_counter() - begun:.0f} s", flush=True)


def _filled(settings: Settings, count: int) -> None:
    """On S3 landing and vault are made on disk and sent as they are; one seal is every one's there, for time is no part
    of it.
    """
    names = [f"delivery-{number:05d}" for number in range(count)]
    landing, vault = settings.landing, settings.vault
    with tempfile.TemporaryDirectory() as folder:
        here, there = (Zone(Path(folder, name).as_uri()) for name in ("landing", "vault"))
        here, there = (landing, vault) if landing.is_local else (here, there)
        for name in names:
            _put(here, name)
        landings.register(here, there, settings.pseudonymiser(), "images")
        _send(here, landing)
        alike = None if landing.is_local else _contents(landing, names[0])
        for name in names:
            landing_seals.seal(there, "images", name, alike or _contents(landing, name))
        _send(there, vault)


def _contents(landing: Zone, name: str) -> landing_seals.Contents:
    return landing_seals.contents(landing, f"images/{name}", without=landings.READY)


def _send(source: Zone, target: Zone) -> None:
    if source is not target:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda path: target.write(path, source.read(path)), source.files()))


def _put(landing: Zone, name: str) -> None:
    landing.write(f"images/{name}/file", b"x")
    landings.close(landing, "images", name, {"label": name, "synthetic": True})


@contextmanager
def _zones(folder: Path, *, s3: bool) -> Iterator[tuple[Settings, Callable[[], float]]]:
    """The settings, and what gives the CPU seconds of the server."""
    if not s3:
        yield settings_at(folder), lambda: 0.0
        return
    with s3_process() as server:
        names = ("LANDING", "VAULT", "CLEAN")
        urls = {f"MEDILLUS_{zone}_URL": f"{server.root}/{zone.lower()}" for zone in names}
        yield settings_at(folder, **urls), server.processor


if __name__ == "__main__":
    main()
