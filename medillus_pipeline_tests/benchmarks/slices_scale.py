"""Slices of large deliveries and of an object store: time per slice and memory by size, rate by kind of store.

    python -m medillus_pipeline_tests.benchmarks.slices_scale [--counts 1000 10000 50000] [--workers 2] [--folder ...]
    python -m medillus_pipeline_tests.benchmarks.slices_scale --s3 200

Deliveries are made: slices of 128 x 128, each another picture of soft tissue in air, 250 to a series. Each size runs in
a process of its own, which says its CPU time with that of its workers, and the memory of itself (with the table of
INSTANCES alone, the greatest while it renders, and while it makes the table of SLICES) and of the greatest of the
workers. `--s3` renders so many slices of 512 x 512, native and as JPEG 2000, from and into a folder and an S3 server
(moto) on loopback in a process of its own, by turns, and says the rates on the clock: reads, decoding and uploads
overlap or they do not. The server is in Python and may well be what is waited for, so its CPU time is said too.
How fast a slice is against other programs is not measured here (`slices_speed.py`).
"""

import argparse
import gc
import hashlib
import os
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless

from medillus_pipeline.dicom.slices import render_delivery
from medillus_pipeline.tables import INSTANCES, to_parquet
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.benchmarks.ct_corpus import write_corpus
from medillus_pipeline_tests.benchmarks.slices_speed import in_own_process, row_of
from medillus_pipeline_tests.dicom.image_files import encoded, image
from medillus_pipeline_tests.s3_server import s3_process

SIDE = 128
SERIES = 250
TABLE = "instances.arrow"
GOAL = 0.7


def scale(folder: Path, count: int, workers: int) -> dict[str, float]:
    """Microseconds of CPU per slice, seconds, and memory in MB for the made delivery of `count` slices in `folder`: of
    this process before, the greatest while it renders and while it makes the table, and the greatest of a worker.
    """
    # As Arrow's own format: what reading Parquet leaves behind would be used for the slices, and hide what they take.
    table = pa.ipc.open_file((folder / TABLE).read_bytes()).read_all()
    before = _settled()
    began, wall = _cpu(), time.perf_counter()
    made = render_delivery(table, Zone(folder.as_uri()), window="soft-tissue", remembering=False, workers=workers)
    wall = time.perf_counter() - wall
    if len(made.slices) != count:
        raise ValueError(f"not all slices were rendered: {made.skipped}")
    said = {
        "each": 1e6 * (_cpu() - began) / count,
        "wall": wall,
        "before": before,
        "rendering": _greatest(),
        "worker": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }
    _settled()
    to_parquet(made.slices.to_arrow())
    return said | {"table": _greatest()}


def _described(first: dict[str, Any], number: int) -> dict[str, Any]:
    """A row of INSTANCES, its names as long as real ones."""
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    return first | {
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "face": "unknown",
        "pixel_hash": digest[:32],
        "bytes": 2 * SIDE * SIDE,
        "sop_instance_uid": f"2.25.{number:038d}",
        "series_instance_uid": f"2.25.{number // SERIES:038d}",
        "path": f"instances/{digest[:2]}/{number:064d}.dcm",
        "sha256": digest,
    }


def _cpu() -> float:
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in spent)


def _settled() -> float:
    """Give back what is free, begin to measure the greatest memory anew (Linux) and say what it begins with."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    Path("/proc/self/clear_refs").write_text("5")
    return _greatest()


def _greatest() -> float:
    """Greatest memory of this process; getrusage begins with that of the process which started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def scaling(place: Path, counts: list[int], workers: int) -> None:
    """Made deliveries of growing size; prints time per slice and memory."""
    for count in counts:
        folder = place / str(count)
        folder.mkdir()
        _made_delivery(folder, count)
        said = in_own_process(scale, folder, count, workers)
        print(
            f"{count:>7} slices: {said['each']:>6.0f} microseconds of CPU each, {said['wall']:>6.1f} s; "
            f"{said['before']:.0f} MB with the table of INSTANCES, at most {said['rendering']:.0f} MB while rendering, "
            f"{said['table']:.0f} MB while SLICES becomes a table, {said['worker']:.0f} MB in a worker"
        )
        shutil.rmtree(folder)


def _made_delivery(folder: Path, count: int) -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 15, (2 * SIDE, 2 * SIDE))
    down, across = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    body = np.where((down / 0.7) ** 2 + (across / 0.85) ** 2 < 1, 1064, 24)
    calibration = {"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"}
    geometry = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [1.5, 1.5]}
    for number in range(count):
        top, left = rng.integers(0, SIDE, 2)
        pixels = (body + noise[top : top + SIDE, left : left + SIDE]).clip(0, 4095).astype(np.uint16)
        where = {"ImagePositionPatient": [0, 0, 1.5 * (number % SERIES)]}
        path = folder / _described({}, number)["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(image(pixels, **calibration, **geometry, **where)))
    first = row_of(folder / _described({}, 0)["path"], 0)
    table = INSTANCES.to_arrow([_described(first, n) for n in range(count)])
    with pa.ipc.new_file(str(folder / TABLE), table.schema) as file:
        file.write_table(table)


def stores(place: Path, count: int, rounds: int, workers: int) -> None:
    """The rate into a folder and into an object store; prints both and their ratio."""
    native = write_corpus(place / "corpus", count)
    packed = place / "packed"
    packed.mkdir()
    for path in native:
        dataset = dcmread(path)
        dataset.compress(JPEG2000Lossless)
        dataset.save_as(packed / path.name)
    with s3_process() as server:
        for name, files in (("native", native), ("JPEG 2000", sorted(packed.iterdir()))):
            turns: dict[str, list[tuple[float, float]]] = {"file": [], "s3": []}
            busy = 0.0
            for number in range(rounds):
                for kind in ("file", "s3") if number % 2 == 0 else ("s3", "file"):
                    root = f"{server.root if kind == 's3' else place.as_uri()}/{name[:4]}{number}"
                    before = server.processor()
                    turns[kind].append(in_own_process(_rate, files, root, workers))
                    busy += server.processor() - before if kind == "s3" else 0.0
            for kind, spent in turns.items():
                rate, each = (statistics.median(values) for values in zip(*spent, strict=True))
                print(f"{name:<10}{kind:<5}{rate:>8.1f} slices a second, {1e6 * each:>7.0f} microseconds of CPU each")
            rates = [statistics.median(rate for rate, _ in turns[kind]) for kind in ("s3", "file")]
            print(f"{name:<10}s3 against file: {rates[0] / rates[1]:.2f}   goal: at least {GOAL}")
            server_each = 1e6 * busy / rounds / (2 * count)  # it was given the instances, too
            print(
                f"{name:<10}the server itself: {server_each:.0f} microseconds of CPU a slice, stored and read or made"
            )


def _rate(files: list[Path], root: str, workers: int) -> tuple[float, float]:
    """Slices a second on the clock, and CPU seconds per slice, of this process and its workers."""
    zone = Zone(root)
    rows = []
    for number, path in enumerate(files):
        zone.write(path.name, path.read_bytes())
        rows.append(row_of(path, number))
    render_delivery(rows[:2], zone, remembering=False)
    began, wall = _cpu(), time.perf_counter()
    made = render_delivery(rows, zone, window="soft-tissue", remembering=False, workers=workers)
    wall = time.perf_counter() - wall
    if len(made.slices) != len(files):
        raise ValueError(f"not all slices were rendered: {made.skipped}")
    return len(files) / wall, (_cpu() - began) / len(files)


def main() -> None:
    """Make the files, run what is asked for, print."""
    parser = argparse.ArgumentParser(description="slices of large deliveries, and of an object store")
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10000, 50000], help="slices of each delivery")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--s3", type=int, metavar="SLICES", help="compare a folder with an S3 server instead")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where files are kept meanwhile; the temporary folder by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        if arguments.s3:
            stores(Path(name), arguments.s3, arguments.rounds, arguments.workers)
        else:
            scaling(Path(name), arguments.counts, arguments.workers)
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
