"""A backfill of many deliveries by Dagster's daemon and its queue: how many runs at a time, and what they cost besides.

    python -m medillus_pipeline_tests.benchmarks.backfill [--deliveries 64] [--at-a-time 8] [--study-seconds 4.5]

Each delivery has four small slices, so nearly all CPU time is orchestration: the daemon, the code server, processes of
runs and steps, their imports, the event log. The share of a delivery of 500 studies is that cost over itself and 500
times `--study-seconds`, the CPU seconds of a study (`capacity.py` prints them).
"""

import argparse
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import dagster as dg

from medillus_pipeline import landings
from medillus_pipeline_tests.flow import settings_at
from medillus_pipeline_tests.site import FAR, series

CONFIGURATION = """\
telemetry: {{enabled: false}}
concurrency: {{pools: {{default_limit: 1}}, runs: {{max_concurrent_runs: {limit}}}}}
"""
STUDIES = 500
MODULE = "medillus_pipeline.definitions"


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--deliveries", type=int, default=64)
    asked.add_argument("--at-a-time", type=int, default=8)
    asked.add_argument("--study-seconds", type=float, required=True)
    asked.add_argument("--limit", type=int, default=3600, help="seconds after which it is given up")
    chosen = asked.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        _backfill(Path(folder), chosen)


def _backfill(home: Path, chosen: argparse.Namespace) -> None:
    settings = settings_at(home)
    for number in range(chosen.deliveries):
        for name, data in series(number * FAR).items():
            settings.landing.write(f"images/delivery-{number:03d}/{name}", data)
        marker = {"label": f"delivery-{number:03d}", "synthetic": True}
        landings.close(settings.landing, "images", f"delivery-{number:03d}", marker)
    landings.register(settings.landing, settings.vault, settings.pseudonymiser(), "images")
    (home / "dagster").mkdir()
    text = CONFIGURATION.format(limit=chosen.at_a_time)
    (home / "dagster" / "dagster.yaml").write_text(text)
    environment = os.environ | {
        "MEDILLUS_HOME": str(home),
        "MEDILLUS_PROFILE": "demo",
        "MEDILLUS_WORKERS": "1",
        "MEDILLUS_THREADS": "1",
        "DAGSTER_HOME": str(home / "dagster"),
        "OMP_NUM_THREADS": "1",
    }
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        keys = landings.known_keys(settings.vault, "images")
        instance.add_dynamic_partitions("deliveries", keys)
        before, begun = _children(), time.perf_counter()
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        daemon = subprocess.Popen(
            [sys.executable, "-m", "dagster._daemon", "run", "-m", MODULE], env=environment, **quiet
        )
        command = ["job", "backfill", "-m", MODULE, "-j", "ingest_delivery", "--all", "--noprompt"]
        subprocess.run([sys.executable, "-m", "dagster", *command], env=environment, check=True, **quiet)
        most = _watched(instance, daemon, chosen)
        wall = time.perf_counter() - begun
        daemon.send_signal(signal.SIGINT)
        daemon.wait(60)
        burnt = _children() - before
        runs = instance.get_run_records()
    keys_done = [record.dagster_run.tags["dagster/partition"] for record in runs if record.dagster_run.is_success]
    took = sorted(record.end_time - record.start_time for record in runs if record.end_time and record.start_time)
    print(f"{len(runs)} runs, {len(set(keys_done))} deliveries done once each: {sorted(keys_done) == sorted(keys)}")
    print(f"at most {most} runs at a time; a run takes {took[len(took) // 2]:.1f} s wall (median)")
    each = burnt / max(1, len(runs))
    share = each / (each + STUDIES * chosen.study_seconds)
    print(f"{wall:.0f} s wall, {burnt:.0f} s CPU in all processes, {each:.1f} s a run")
    print(f"overhead of a delivery of {STUDIES} studies: {100 * share:.2f} % of CPU time")
    print(f"load {os.getloadavg()[0]:.1f}")


def _watched(instance: dg.DagsterInstance, daemon: "subprocess.Popen[bytes]", chosen: argparse.Namespace) -> int:
    """Wait until every run ended; the greatest number that was under way at once."""
    most, until = 0, time.monotonic() + chosen.limit
    under_way = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED])
    while time.monotonic() < until:
        most = max(most, instance.get_runs_count(under_way))
        ended = instance.get_runs_count(
            dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE])
        )
        if ended >= chosen.deliveries or daemon.poll() is not None:
            return most
        time.sleep(0.5)
    return most


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
