"""Resident memory of ingest while a delivery grows from 500 to 5,000 files: it should be low and stay flat.

    python -m medillus_pipeline_tests.benchmarks.deidentify_memory [--files 5000] [--workers 1 2] [--where]

The delivery is ingested in a fresh process, which notes its own memory (and that of its workers) after every 500 files;
the slope is taken between the first and the last note, so imports and warm-up do not count in it. `--where` names the
lines that hold the growing part, with tracemalloc, which is slow. Linux only.
"""

import argparse
import linecache
import multiprocessing
import os
import resource
import tempfile
import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path

from medillus_pipeline.deidentification.ingest import ingest_delivery
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.benchmarks.ct_corpus import write_corpus
from medillus_pipeline_tests.benchmarks.deidentify_speed import in_own_process
from medillus_pipeline_tests.benchmarks.deidentify_tools import PSEUDONYMISER

GOAL_MB = 150
FLAT_MB_PER_THOUSAND = 2.0
STEP = 500
MB = 1 << 20


@dataclass
class Notes:
    """Megabytes: of the process and its largest worker by number of files examined; greatest at any time; before."""

    before: float
    process: dict[int, float] = field(default_factory=dict)
    worker: dict[int, float] = field(default_factory=dict)
    peak: float = 0.0
    worker_peak: float = 0.0
    growth: list[str] = field(default_factory=list)


def resident(pid: int | str = "self") -> float:
    """Resident megabytes of a process, 0 where it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGESIZE") / MB


def observed(folder: Path, workers: int, where: bool) -> Notes:
    """Ingest the delivery in this process and note its memory."""
    notes = Notes(before=resident())
    first: tracemalloc.Snapshot | None = None

    def note(done: int, total: int) -> None:
        nonlocal first
        if done % STEP or done > total // 2:  # the second half of the steps is publication
            return
        notes.process[done] = resident()
        notes.worker[done] = max((resident(w.pid or 0) for w in multiprocessing.active_children()), default=0.0)
        if where and first is None:
            first = tracemalloc.take_snapshot()
        elif where and first is not None and done == total // 2:
            notes.growth = _growth(first, tracemalloc.take_snapshot())

    if where:
        tracemalloc.start()
    with tempfile.TemporaryDirectory(dir=folder.parent) as results:
        landing, clean = Zone(folder.as_uri()), Zone(Path(results).as_uri())
        scratch = Path(results).parent
        done = ingest_delivery(
            landing, "delivery", clean, PSEUDONYMISER, workers=workers, progress=note, scratch=scratch
        )
    if not done.instances:
        raise ValueError(f"nothing was published: {done.counts}, {done.residual_hits}")
    notes.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    notes.worker_peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024 if workers > 1 else 0.0
    return notes


def _growth(first: tracemalloc.Snapshot, last: tracemalloc.Snapshot) -> list[str]:
    lines = []
    for change in last.compare_to(first, "lineno")[:12]:
        frame = change.traceback[0]
        place = f"{'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno}"
        text = linecache.getline(frame.filename, frame.lineno).strip()[:60]
        lines.append(f"{change.size_diff / 1024:>8.0f} kB {change.count_diff:>7} blocks  {place:<28} {text}")
    return lines


def describe(name: str, sizes: dict[int, float], peak: float) -> None:
    """Print the notes of one process and how they meet the goal."""
    print(name + "".join(f"{number:>7}: {size:.0f} MB" for number, size in sizes.items()))
    slope = 0.0
    if len(sizes) > 1:
        (few, small), *_, (many, large) = sizes.items()
        slope = (large - small) / (many - few) * 1000
    print(f"  peak {peak:.0f} MB (goal: under {GOAL_MB}), {slope:+.1f} MB per 1000 files", end=" ")
    print(f"(flat: under {FLAT_MB_PER_THOUSAND})")


def main() -> None:
    """Write the corpus, ingest it with each number of workers, print."""
    parser = argparse.ArgumentParser(description="memory of de-identification while a delivery grows")
    parser.add_argument("--files", type=int, default=5000, help="CT slices of 0.5 MB each")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--folder", type=Path, help="where files are kept meanwhile; the temporary folder by default")
    parser.add_argument("--where", action="store_true", help="name the lines that hold what grows")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as place:
        folder = Path(place) / "landing"
        write_corpus(folder / "images" / "delivery", arguments.files)
        (folder / "images" / "delivery" / "_READY").touch()
        for workers in arguments.workers:
            notes = in_own_process(observed, folder, workers, arguments.where)
            print(f"workers: {workers}; {notes.before:.0f} MB before")
            describe("  process", notes.process, notes.peak)
            if notes.worker_peak:
                describe("  worker ", notes.worker, notes.worker_peak)
            for line in notes.growth:
                print("  " + line)


if __name__ == "__main__":
    main()
