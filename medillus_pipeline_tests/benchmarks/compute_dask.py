"""What sending work to a Dask cluster costs in CPU time: per chunk of tasks, packed only and sealed.

    python -m medillus_pipeline_tests.benchmarks.compute_dask [--chunks 300]

The tasks do nothing, so all of it is transport: a cluster of two worker processes on loopback, scheduler in this one.
"""

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

from medillus_pipeline.dicom.workers import mapped
from medillus_pipeline.resources.compute import ComputeResource
from medillus_pipeline_tests.resources.clusters import KEY, address_of, cluster, squared


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--chunks", type=int, default=300)
    count = asked.parse_args().chunks
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory() as folder, cluster(Path(folder)) as made:
        compute = ComputeResource(workers=1, threads=1, cluster=address_of(made))
        for name, key in (("packed", None), ("sealed", bytes.fromhex(KEY))):
            with compute.executor(restricted=key) as executor:
                list(mapped(executor, squared, range(40), chunk=1))
                wall, cpu = time.perf_counter(), time.process_time()
                assert sum(mapped(executor, squared, range(16 * count), chunk=16)) > 0
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            print(f"{name}: {1e3 * cpu / count:.1f} ms CPU, {1e3 * wall / count:.1f} ms wall a chunk of 16", flush=True)


if __name__ == "__main__":
    main()
