"""Slices: every displayable frame of a delivery as an 8-bit PNG, with its geometry and the window that made it.

Instances go over a pool of spawned processes; each reads one instance from the clean zone and writes its PNGs there,
so pixels never travel between processes and memory does not grow with the delivery. A frame that cannot be shown is
counted with its reason and costs no other its place. What is not here: what a worker does with one instance
(`rendering.py`), and which window is fit (`windows.py`).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from typing import Any

from medillus_pipeline.dicom.geometry import Plane, stack_series
from medillus_pipeline.dicom.preview import contact_sheet, thumbnail
from medillus_pipeline.dicom.rendering import SURVEYED, Row, Task, render_instance, sample, survey_instance
from medillus_pipeline.dicom.windows import PRESETS, Window, WindowPolicy, percentile_window
from medillus_pipeline.errors import InputError, TransientError
from medillus_pipeline.zones import Zone

__all__ = ["Rendered", "contact_sheet", "render_delivery", "thumbnail"]


POOLED = 200
"""Frames from which a pool of processes saves more than the second or so that starting it costs."""


@dataclass(frozen=True)
class Rendered:
    """Rows of SLICES; frames (instances, where none of their frames can be shown) left out, by reason; and how many
    stacks of slices have each `SeriesNote`.
    """

    slices: list[Row]
    skipped: dict[str, int]
    notes: dict[str, int] = field(default_factory=dict)


def render_delivery(
    instances: Sequence[Row],
    clean: Zone,
    *,
    workers: int = 1,
    window: str | None = None,
    policy: WindowPolicy | None = None,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Rendered:
    """PNGs in the clean zone (`slices/…`) and rows of SLICES for `instances`, rows of INSTANCES.

    A first pass over a sample of each series whose window follows from its values (MR, PET, X-ray without a VOI) finds
    that window. `window` asks for one preset for all CT, or `file` for each file's own; `policy` says more. `workers`
    spawned processes share the work of a delivery that is large enough, or the `executor` given does; the result is the
    same for any number. Raises InputError
    for an unknown window, StoreError when the zone cannot be used, TransientError when a worker process dies.
    """
    try:
        policy = replace(policy or WindowPolicy(), **({"override": window} if window else {}))
    except ValueError as error:
        raise InputError(str(error)) from error
    ordered = sorted(instances, key=lambda row: row["sop_instance_uid"])
    series: dict[str, list[Row]] = defaultdict(list)
    for row in ordered:
        series[row["series_instance_uid"]].append(row)
    surveyed = [
        row for members in series.values() for row in sample([r for r in members if _needs_survey(r, policy)], SURVEYED)
    ]
    total = len(surveyed) + len(ordered)
    rows: list[Row] = []
    skipped: Counter[str] = Counter()
    frames = sum(max(1, row["frames"]) for row in surveyed + ordered)
    with _pool(workers if frames >= POOLED else 1, executor, total) as pool:
        windows = _survey(pool, surveyed, clean, policy, lambda done: progress and progress(done, total))
        tasks = [Task(row, clean, policy, windows.get(row["series_instance_uid"])) for row in ordered]
        for done, (made, reasons) in enumerate(_map(pool, render_instance, tasks), start=1):
            rows.extend(made)
            skipped.update(reasons)
            if progress:
                progress(len(surveyed) + done, total)
    notes = _place(rows)
    return Rendered(sorted(rows, key=_reading_order), dict(sorted(skipped.items())), notes)


def _reading_order(row: Row) -> tuple[str, str, str, int]:
    return row["patient"], row["study_instance_uid"], row["series_instance_uid"], row["ordinal"]


def _place(rows: list[Row]) -> dict[str, int]:
    """Fill `ordinal` and `slice_spacing` in, series by series; ordinals run on from one stack to the next."""
    series: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        series[row["series_instance_uid"]].append(row)
    notes: Counter[str] = Counter()
    for members in series.values():
        planes = [
            Plane(row["rows"], row["columns"], row["position"], row["orientation"], row["pixel_spacing"])
            for row in members
        ]
        ordinal = 0
        for stack in stack_series(planes, [f"{row['sop_instance_uid']} {row['frame']:06d}" for row in members]):
            notes.update(note.value for note in stack.notes)
            for member in stack.members:
                members[member].update(ordinal=ordinal, slice_spacing=stack.spacing)
                ordinal += 1
    return dict(sorted(notes.items()))


def _needs_survey(row: Row, policy: WindowPolicy) -> bool:
    return row["frames"] != 0 and policy.rule(row["modality"], row["body_part"]) not in PRESETS


def _survey(
    pool: Executor | None,
    surveyed: list[Row],
    clean: Zone,
    policy: WindowPolicy,
    report: Callable[[int], object],
) -> dict[str, Window]:
    """The window of each series whose values decide it. Results come in series order, so one series is held at once."""
    windows: dict[str, Window] = {}
    current, values, counts = "", [], []
    modality = ""
    tasks = [Task(row, clean, policy) for row in surveyed]

    def close() -> None:
        window = percentile_window(values, counts, policy.percentiles(modality))
        if window:
            windows[current] = window

    for done, (row, sketches) in enumerate(zip(surveyed, _map(pool, survey_instance, tasks), strict=True), start=1):
        if row["series_instance_uid"] != current:
            close()
            current, modality, values, counts = row["series_instance_uid"], row["modality"], [], []
        values.extend(sketch[0] for sketch in sketches)
        counts.extend(sketch[1] for sketch in sketches)
        report(done)
    close()
    return windows


@contextmanager
def _pool(workers: int, executor: Executor | None, tasks: int) -> Iterator[Executor | None]:
    """The executor given, a pool of spawned processes, or None to work in this process."""
    if executor is not None or workers <= 1 or tasks < 2:
        yield executor
        return
    with ProcessPoolExecutor(min(workers, tasks), mp_context=get_context("spawn")) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _map(pool: Executor | None, function: Callable[[Task], Any], tasks: list[Task]) -> Iterator[Any]:
    if pool is None:
        yield from map(function, tasks)
        return
    try:
        yield from pool.map(function, tasks, chunksize=max(1, min(16, len(tasks) // 8)))
    except BrokenProcessPool as error:
        raise TransientError(
            "a worker process ended abruptly, out of memory or in a decoder: run again with fewer workers"
        ) from error
