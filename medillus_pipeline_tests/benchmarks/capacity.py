"""What a study costs in CPU time and in bytes of each zone, what part of it is serial, and what a million would cost.

    python -m medillus_pipeline_tests.benchmarks.capacity [--studies 4] [--slices 40] [--pixels 512]

One synthetic CT series a study, all in one delivery, ingested and rendered by one process and by two. Time is CPU time,
so a busy machine changes it less. The serial part is what the step's own process burns while two workers do the rest;
the parallel part is what one process burns beyond it, so that the start of workers, paid once a step, is not counted a
study. Hours on `n` cores are serial + parallel / n (Amdahl 1967), for one delivery at a time.
"""

import argparse
import os
import platform
import resource
import tempfile
import time
from pathlib import Path

from medillus_pipeline.deidentification.ingest import ingest_delivery
from medillus_pipeline.dicom import slices
from medillus_pipeline.phantom.cohort import write_cohort
from medillus_pipeline.tables import INSTANCES, SLICES, TableStore
from medillus_pipeline_tests.flow import settings_at

MILLION = 1_000_000
ALL = "all"
"""The delivery that holds all studies."""


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--studies", type=int, default=4)
    asked.add_argument("--slices", type=int, default=40)
    asked.add_argument("--pixels", type=int, default=512)
    chosen = asked.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        cohort = Path(folder) / "cohort"
        (cohort / "images" / ALL).mkdir(parents=True)
        shape = (chosen.slices, chosen.pixels, chosen.pixels)
        pseudonymiser = settings_at(Path(folder) / "home").pseudonymiser()
        names = write_cohort(cohort, pseudonymiser, patients=chosen.studies, shape=shape, workers=1).deliveries
        for name in names:
            (cohort / "images" / name).rename(cohort / "images" / ALL / name)
        _once(Path(folder) / "warm", cohort, workers=1)
        whole = _once(Path(folder) / "one", cohort, workers=1)
        own, children = _split(Path(folder) / "two", cohort)
        count = chosen.studies
        print(f"1 worker: {sum(whole):.1f} s CPU, {sum(whole) / count:.2f} s a study of {chosen.slices} slices")
        print(f"studies per core-hour: {3600 * count / sum(whole):.0f}")
        print(f"2 workers: {own:.2f} s ({100 * own / sum(whole):.1f} % of the work) in the step's process")
        print(f"start of workers: {children + own - sum(whole):.1f} s CPU a delivery: two workers, two steps")
        held = {"landing": _bytes(cohort / "images")} | {
            name: _bytes(Path(folder) / "one" / name) for name in ("vault", "clean")
        }
        for name, size in held.items():
            print(
                f"bytes a study, {name}: {size / count / 1e6:.2f} MB; a million: {size / count * MILLION / 1e12:.2f} TB"
            )
        serial, parallel = own / count, (sum(whole) - own) / count
        for cores in (1, 16, 256):
            hours = (serial + parallel / cores) * MILLION / 3600
            eight = max(hours / 8, (serial + parallel) * MILLION / 3600 / cores) if cores > 1 else hours
            print(f"{cores} cores: {hours:.1f} hours by one run at a time, {eight:.1f} by eight")
    print(f"load {os.getloadavg()[0]:.1f}")


def _split(home: Path, cohort: Path) -> tuple[float, float]:
    """CPU seconds with two workers: of the step's process, of its workers (their start and imports included)."""
    before, pooled = _children(), slices.POOLED
    slices.POOLED = 1
    try:
        own = sum(_once(home, cohort, workers=2))
    finally:
        slices.POOLED = pooled
    return own, _children() - before


def _once(home: Path, cohort: Path, *, workers: int) -> tuple[float, float]:
    """CPU seconds of this process for ingest and for slices, tables published."""
    settings = settings_at(home, MEDILLUS_LANDING_URL=cohort.as_uri())
    pseudonymiser, store = settings.pseudonymiser(), TableStore(settings.clean)
    begun = time.process_time()
    found = ingest_delivery(settings.landing, ALL, settings.clean, pseudonymiser, workers=workers)
    table = INSTANCES.to_arrow(found.instances)
    store.publish(INSTANCES, ALL, table)
    middle = time.process_time()
    rendered = slices.render_delivery(table, settings.clean, workers=workers, remembering=False)
    store.publish(SLICES, ALL, rendered.slices.to_arrow())
    took = middle - begun, time.process_time() - middle
    print(f"{workers} worker(s), this process: ingest {took[0]:.2f} s CPU, slices {took[1]:.2f} s CPU", flush=True)
    return took


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
