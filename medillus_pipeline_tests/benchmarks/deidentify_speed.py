"""Time per file of de-identification, against pydicom's read + save and other de-identifiers, in one run.

    python -m medillus_pipeline_tests.benchmarks.deidentify_speed [--peers FOLDER] [--files 500] [--rounds 5]
    python -m medillus_pipeline_tests.benchmarks.deidentify_speed --scaling --files 2000

Every tool treats the same CT slices in every round, in turns (forwards, then backwards), and the median of the rounds
counts. Each turn runs in a process of its own: what one tool leaves of the heap (memory that the next one need not ask
the kernel for) would else change the other's time by a factor of two. Imports, set-up and a few first files are not
counted, files are in the page cache, results are new files. CPU seconds stay comparable on a busy machine, wall time
does not.

`--scaling` compares whole deliveries with two workers and with one by wall time; it needs two idle cores.
"""

import argparse
import multiprocessing
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from medillus_pipeline.deidentification.deidentify import deidentify
from medillus_pipeline.deidentification.ingest import ingest_delivery
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.benchmarks.ct_corpus import write_corpus
from medillus_pipeline_tests.benchmarks.deidentify_tools import (
    DICOGNITO,
    DICOM_ANONYMIZER,
    OURS,
    OURS_WITH_GATE,
    PSEUDONYMISER,
    PYDICOM,
    Tool,
    gate,
    how_to_get,
    prepared,
)

WARM_UP = 10
INGEST = "ours, whole ingest"
GATE_SHARE = 0.15
Result = TypeVar("Result")


@dataclass(frozen=True)
class Spent:
    """Seconds per file."""

    cpu: float
    wall: float


def cpu_seconds() -> float:
    """CPU seconds of this process and of its ended children."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def timed(act: Callable[[], object], files: int) -> Spent:
    """What `act` spends per file."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    act()
    return Spent((cpu_seconds() - cpu) / files, (time.perf_counter() - wall) / files)


def treat_all(tool: Tool, peers: Path | None, folder: Path) -> Spent | None:
    """One turn of a tool over the delivery in `folder`; None where it is not installed."""
    treat = prepared(tool, peers)
    if treat is None:
        return None
    sources = sorted((folder / "images" / "delivery").glob("*.dcm"))
    with tempfile.TemporaryDirectory(dir=folder) as results:
        targets = [Path(results) / source.name for source in sources]

        def act() -> None:
            for source, target in zip(sources, targets, strict=True):
                treat(source, target)

        for source in sources[:WARM_UP]:
            treat(source, Path(results) / "warm-up")
        return timed(act, len(sources))


def gate_seconds(folder: Path) -> float:
    """CPU seconds per file of the residual search alone."""
    sources = sorted((folder / "images" / "delivery").glob("*.dcm"))
    spent = 0.0
    for source in sources:
        result = deidentify(source.read_bytes(), PSEUDONYMISER)
        began = time.process_time()
        gate(result)
        spent += time.process_time() - began
    return spent / len(sources)


def ingest_all(workers: int, folder: Path) -> Spent:
    """One delivery from the landing zone to payloads and ledger."""
    files = len(list((folder / "images" / "delivery").glob("*.dcm")))
    with tempfile.TemporaryDirectory(dir=folder.parent) as results:
        clean = Zone(Path(results).as_uri())

        def act() -> None:
            landing = Zone(folder.as_uri())
            done = ingest_delivery(
                landing, "delivery", clean, PSEUDONYMISER, workers=workers, scratch=Path(results).parent
            )
            if len(done.instances) != files:
                raise ValueError(f"not all files were published: {done.counts}, {done.residual_hits}")

        return timed(act, files)


def in_own_process(function: Callable[..., Result], *arguments: object) -> Result:
    """The result of a function in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        return executor.submit(function, *arguments).result()


def median(turns: list[Spent]) -> Spent:
    """Medians of CPU and wall, each by itself."""
    return Spent(statistics.median(t.cpu for t in turns), statistics.median(t.wall for t in turns))


def compare(folder: Path, peers: Path | None, rounds: int, files: int) -> None:
    """All tools in turns; prints the table and the ratios."""
    turns: dict[str, list[Spent]] = {}
    order: list[Tool | str] = [PYDICOM, DICOGNITO, DICOM_ANONYMIZER, OURS, OURS_WITH_GATE, INGEST]
    for number in range(rounds):
        for entry in order if number % 2 == 0 else reversed(order):
            name = entry if isinstance(entry, str) else entry.name
            if isinstance(entry, str):
                spent = in_own_process(ingest_all, 1, folder)
            else:
                spent = in_own_process(treat_all, entry, peers, folder)
            if spent is not None:
                turns.setdefault(name, []).append(spent)
    found = {name: median(spent) for name, spent in turns.items()}
    print(f"{files} CT slices, one process, median of {rounds} rounds, milliseconds per file")
    print(f"{'tool':<22}{'CPU':>9}{'lowest':>9}{'highest':>9}{'wall':>9}")
    for entry in order:
        name = entry if isinstance(entry, str) else entry.name
        if name in found:
            cpu = [turn.cpu for turn in turns[name]]
            cells = (found[name].cpu, min(cpu), max(cpu), found[name].wall)
            print(f"{name:<22}" + "".join(f"{1000 * cell:>9.2f}" for cell in cells))
        elif isinstance(entry, Tool):
            print(f"{name:<22}{how_to_get(entry)}")
    print()
    ratio("times as fast as dicognito", found.get(DICOGNITO.name), found[OURS.name], 3.0)
    ratio("times as fast as pydicom", found[PYDICOM.name], found[OURS.name], 1.0)
    ratio("the same with the gate", found[PYDICOM.name], found[OURS_WITH_GATE.name], 0.9)
    searched = statistics.median(in_own_process(gate_seconds, folder) for _ in range(rounds))
    share = searched / found[INGEST].cpu
    print(f"{'the gate, of whole ingest':<30}{share:>6.1%}   goal: at most {GATE_SHARE:.0%}")


def ratio(name: str, other: Spent | None, ours: Spent, goal: float) -> None:
    """Print how many times as fast by CPU seconds."""
    if other is not None:
        print(f"{name:<30}{other.cpu / ours.cpu:>6.2f}   goal: at least {goal}")


def scaling(folder: Path, rounds: int, files: int) -> None:
    """Wall time of whole deliveries with one and with two workers; prints the ratio."""
    turns: dict[int, list[Spent]] = {1: [], 2: []}
    for number in range(rounds):
        for workers in (1, 2) if number % 2 == 0 else (2, 1):
            turns[workers].append(in_own_process(ingest_all, workers, folder))
    print(f"{files} CT slices, whole ingest, median of {rounds} rounds, milliseconds per file")
    for workers, spent in turns.items():
        middle = median(spent)
        print(f"workers: {workers}{1000 * middle.cpu:>9.2f} CPU{1000 * middle.wall:>9.2f} wall")
    print(f"two workers are {median(turns[1]).wall / median(turns[2]).wall:.2f} times as fast; goal: at least 1.7")


def main() -> None:
    """Write the corpus, run the rounds, print."""
    parser = argparse.ArgumentParser(description="time per file of de-identification")
    parser.add_argument("--files", type=int, default=500, help="CT slices of 0.5 MB each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", type=Path, help="folder that pip install --target put the other tools in")
    parser.add_argument("--folder", type=Path, help="where files are kept meanwhile; the temporary folder by default")
    parser.add_argument("--scaling", action="store_true", help="two workers against one; needs an idle machine")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as place:
        folder = Path(place) / "landing"
        files = len(write_corpus(folder / "images" / "delivery", arguments.files))
        (folder / "images" / "delivery" / "_READY").touch()
        if arguments.scaling:
            scaling(folder, arguments.rounds, files)
        else:
            compare(folder, arguments.peers, arguments.rounds, files)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
