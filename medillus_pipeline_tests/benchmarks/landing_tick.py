"""What a tick of the landing sensor costs with thousands of deliveries, on disk and on S3, and its memory over ticks.

    python -m medillus_pipeline_tests.benchmarks.landing_tick [--deliveries 5000] [--ticks 1000] [--s3]

Each delivery holds one file and its marker; all but one are known, sealed and have a partition. The ticks are those of
`new_deliveries` on a Dagster instance on disk. `--s3` keeps the zones in moto's server on loopback, in a process of its
own, so its own time is wall time here and no CPU time.
"""

import argparse
import gc
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import dagster as dg

from medillus_pipeline import landing_watch, landings
from medillus_pipeline.automation.arrivals import new_deliveries
from medillus_pipeline.automation.instance import dagster_home
from medillus_pipeline.landing_watch import Bounds, Place
from medillus_pipeline.partitions import deliveries
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.settings import Settings
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.deployment.conftest import free_port
from medillus_pipeline_tests.flow import settings_at


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--deliveries", type=int, default=5000)
    asked.add_argument("--ticks", type=int, default=1000)
    asked.add_argument("--s3", action="store_true")
    chosen = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder, _zones(Path(folder), s3=chosen.s3) as settings:
        store = StoreResource.of(settings)
        _fill(settings, chosen.deliveries)
        with dg.DagsterInstance.from_config(str(dagster_home(settings.home))) as instance:
            keys = landings.known_keys(settings.vault, "images")
            instance.add_dynamic_partitions(str(deliveries.name), keys)
            cursor = _tick(instance, store, None, "first tick")
            _put(settings.landing, "newcomer")
            cursor = _tick(instance, store, cursor, "a tick with one new delivery")
            cursor = _tick(instance, store, cursor, "a tick with none")
            _many(instance, store, cursor, chosen.ticks)


def _tick(instance: dg.DagsterInstance, store: StoreResource, cursor: str | None, name: str = "") -> str | None:
    wall, cpu = time.perf_counter(), time.process_time()
    with dg.build_sensor_context(instance=instance, cursor=cursor, resources={"store": store}) as context:
        done = new_deliveries(context)
    for request in done.dynamic_partitions_requests or ():
        instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
    if name:
        took, burnt = time.perf_counter() - wall, time.process_time() - cpu
        print(
            f"{name}: {took:.2f} s wall, {burnt:.2f} s CPU, {len(done.run_requests or ())} runs asked for", flush=True
        )
    return done.cursor


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
    """One landing zone for all: each opening of an S3 zone costs a session of botocore, a quarter of a second. On S3
    the vault is made on disk and sent as it is, objects side by side.
    """
    landing = settings.landing
    names = [f"delivery-{number:05d}" for number in range(count)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: _put(landing, name), names))
    with tempfile.TemporaryDirectory() as folder:
        vault = settings.vault if landing.is_local else Zone(Path(folder).as_uri())
        bounds = Bounds(arrivals=count, asked=count, compared=0, files=10**9)
        landing_watch.look(landing, vault, settings.pseudonymiser(), "images", bounds=bounds, place=Place())
        if not landing.is_local:
            target = settings.vault
            with ThreadPoolExecutor(8) as threads:
                list(threads.map(lambda path: target.write(path, vault.read(path)), vault.files()))


def _put(landing: Zone, name: str) -> None:
    landing.write(f"images/{name}/file", b"x")
    landings.close(landing, "images", name, {"label": name, "synthetic": True})


@contextmanager
def _zones(folder: Path, *, s3: bool) -> Iterator[Settings]:
    if not s3:
        yield settings_at(folder)
        return
    import boto3

    port = free_port()
    access = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ |= access | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                boto3.client("s3").create_bucket(Bucket="hospital")
                break
            except OSError:
                time.sleep(0.2)
            except Exception as error:
                if type(error).__name__ != "EndpointConnectionError":
                    raise
                time.sleep(0.2)
        names = ("LANDING", "VAULT", "CLEAN")
        yield settings_at(folder, **{f"MEDILLUS_{zone}_URL": f"s3://hospital/{zone.lower()}" for zone in names})
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
