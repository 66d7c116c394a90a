"""Slices: every displayable frame of a delivery as an 8-bit PNG, with its geometry and the window that made it.

Instances go over a pool of spawned processes; each reads one instance from the clean zone and writes its PNGs there,
so pixels never travel between processes; what is held of a slice meanwhile is some hundred bytes (`slice_rows.py`). A
frame that cannot be shown is counted with its reason and costs no other its place. A delivery that was rendered before
is not rendered again. What is not here: how an instance becomes a picture (`rendering.py`, and `native.py` for what can
be had faster), and which window is fit (`windows.py`).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

from medillus_pipeline.dicom.decoding import Skip
from medillus_pipeline.dicom.geometry import Plane, stack_series
from medillus_pipeline.dicom.instance_rows import InstanceRows
from medillus_pipeline.dicom.native import NativeFrames
from medillus_pipeline.dicom.picture_store import InHand, beside, read_instance, settle, still_open, store_picture
from medillus_pipeline.dicom.png import encode_png
from medillus_pipeline.dicom.preview import contact_sheet, thumbnail
from medillus_pipeline.dicom.remembered import fingerprint, recall, remember
from medillus_pipeline.dicom.rendering import SURVEYED, Output, Row, Task, render_instance, sample, survey_instance
from medillus_pipeline.dicom.slice_rows import FurtherRows, SliceRows
from medillus_pipeline.dicom.windows import PRESETS, Window, WindowPolicy, percentile_window
from medillus_pipeline.dicom.workers import chunk_of, mapped, pool_of
from medillus_pipeline.errors import InputError
from medillus_pipeline.tables import SLICE_WINDOWS
from medillus_pipeline.zones import Zone

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Rendered", "contact_sheet", "render_delivery", "thumbnail"]


POOLED = 200
"""Frames from which a pool of processes saves more than the second or so that starting it costs."""
TOGETHER = 32
"""Instances in an object store that a worker renders in one go; it then waits for its last uploads."""


@dataclass(frozen=True)
class Rendered:
    """Rows of SLICES; rows of SLICE_WINDOWS, the further pictures that were asked for; frames (instances, where none of
    their frames can be shown) left out, by reason; how many stacks of slices have each `SeriesNote`; and the reasons in
    `skipped` by SOP Instance UID.
    """

    slices: SliceRows
    further: FurtherRows
    skipped: dict[str, int]
    notes: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)


def render_delivery(
    instances: "Sequence[Row] | pa.Table",
    clean: Zone,
    *,
    workers: int = 1,
    window: str | None = None,
    policy: WindowPolicy | None = None,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
    remembering: bool = True,
    outputs: Sequence[Output] = (),
) -> Rendered:
    """PNGs in the clean zone (`slices/…`) and rows of SLICES for `instances`, rows of INSTANCES or that table.

    A first pass over a sample of each series whose window follows from its values (MR, PET, X-ray without a VOI) finds
    that window. `window` asks for one preset for all CT or, with commas, for several, of which the first makes the
    slice and the others further pictures of it, or for `file`, each file's own; `policy` says more. `workers` spawned
    processes share the work of a delivery that is large enough, or the `executor` given does; the result is the same
    for any number.

    `outputs` are made of each grey frame beside its 8-bit pictures: `grey16` through the same windows, `lossless`.

    `remembering` keeps the result in the clean zone, and finds it there instead of rendering again what did not change.
    Raises InputError for an unknown window, StoreError when the zone cannot be used, TransientError when a worker
    process dies.
    """
    try:
        policy = replace(policy or WindowPolicy(), **({"override": window} if window else {}))
    except ValueError as error:
        raise InputError(str(error)) from error
    ordered = InstanceRows(instances)
    name = fingerprint(ordered, (policy, PRESETS, sorted(set(outputs)))) if remembering else ""
    if remembering and (kept := _recalled(clean, name, ordered)) is not None:
        if progress:
            progress(len(ordered), len(ordered))
        return kept
    surveyed = _to_survey(ordered, policy)
    total = len(surveyed) + len(ordered)
    rows, more = SliceRows(ordered), FurtherRows(ordered)
    skipped: Counter[str] = Counter()
    left_out: dict[str, dict[str, int]] = {}
    asked = tuple(sorted(set(outputs)))
    frames = sum(max(1, row["frames"]) for row in ordered) + sum(max(1, ordered[n]["frames"]) for n in surveyed)
    with pool_of(workers if frames >= POOLED else 1, executor, total) as pool:
        windows = _survey(pool, ordered, surveyed, clean, policy, lambda done: progress and progress(done, total))
        tasks = (Task(row, clean, policy, windows.get(row["series_instance_uid"]), further=asked) for row in ordered)
        for number, (made, extra, reasons) in enumerate(_rendered(pool, tasks, len(ordered), clean)):
            for row in made:
                rows.add(number, row)
            for row in extra:
                more.add(number, row)
            skipped.update(reasons)
            if reasons:
                left_out[ordered[number]["sop_instance_uid"]] = dict(Counter(reasons))
            if progress:
                progress(len(surveyed) + number + 1, total)
    settle(clean)
    notes = _place(rows)
    rows.sort()
    more.sort()
    rendered = Rendered(rows, more, dict(sorted(skipped.items())), notes, left_out)
    if remembering:
        _keep(clean, name, rendered)
    return rendered


def _keep(clean: Zone, name: str, rendered: Rendered) -> None:
    said = {"skipped": rendered.skipped, "notes": rendered.notes, "left_out": rendered.left_out}
    remember(clean, name, said, {"slices": rendered.slices.as_added(), "further": rendered.further.as_added()})


def _recalled(clean: Zone, name: str, ordered: InstanceRows) -> Rendered | None:
    """The result of an earlier run; None where there is none, or one of its pictures is gone."""
    rows = {"slices": SliceRows(ordered), "further": FurtherRows(ordered)}
    said = recall(clean, name, lambda kind, number, row: rows[kind].add(number, row))
    if said is None or not all(clean.exists(row["path"]) for each in rows.values() for row in each):
        return None
    for each in rows.values():
        each.sort()
    return Rendered(**rows, **said)


Made = tuple[list[Row], list[Row], list[str]]
"""Rows of an instance, whose `ordinal` and `slice_spacing` say nothing yet, rows of its further pictures (with the
column `frame`), and the reasons for the frames left out.
"""


def _rendered(pool: Executor | None, tasks: Iterable[Task], count: int, clean: Zone) -> Iterator[Made]:
    if clean.is_local:
        yield from mapped(pool, _render, tasks, chunk=chunk_of(count))
        return
    source = iter(tasks)
    batches = iter(lambda: list(islice(source, TOGETHER)), [])
    for made in mapped(pool, _render_together, batches, chunk=1):
        yield from made


def _render_together(tasks: list[Task]) -> list[Made]:
    zone = still_open(tasks[0].zone)
    with beside(zone, [task.instance["path"] for task in tasks]):
        return [_render(replace(task, zone=zone)) for task in tasks]


_native = NativeFrames()
"""What this process learnt of the series it renders."""


def _render(task: Task) -> Made:
    try:
        data = read_instance(task.zone, task.instance["path"])
    except FileNotFoundError:
        return [], [], [Skip.UNREADABLE.value]
    made = _native.render(task, data)
    if made is None:
        rows, reasons = render_instance(replace(task, zone=InHand(bytes(data), task.zone)))
        views = [(row, row.pop("views", [])[1:]) for row in rows]
        return rows, [_further(row | view) for row, others in views for view in others], reasons
    stored = []
    for picture, row in zip(*made, strict=True):
        payload = store_picture(task.zone, "slices", encode_png(picture), ".png")
        stored.append(row | {"path": payload.path, "sha256": payload.sha256})
    return stored[:1], [_further(row) for row in stored[1:]], []


def _further(row: Row) -> Row:
    whole = {"output": "grey8", "slope": None, "intercept": None} | row
    return {column.name: whole[column.name] for column in SLICE_WINDOWS.columns} | {"frame": row["frame"]}


def _place(rows: SliceRows) -> dict[str, int]:
    """Fill `ordinal` and `slice_spacing` in, series by series; ordinals run on from one stack to the next."""
    notes: Counter[str] = Counter()
    for numbers in rows.series():
        members = [rows[number] for number in numbers]
        planes = [
            Plane(row["rows"], row["columns"], row["position"], row["orientation"], row["pixel_spacing"])
            for row in members
        ]
        ordinal = 0
        for stack in stack_series(planes, [f"{row['sop_instance_uid']} {row['frame']:06d}" for row in members]):
            notes.update(note.value for note in stack.notes)
            for member in stack.members:
                rows.place(numbers[member], ordinal, stack.spacing)
                ordinal += 1
    return dict(sorted(notes.items()))


def _to_survey(ordered: InstanceRows, policy: WindowPolicy) -> list[int]:
    """Numbers of the instances whose values decide the window of their series, series by series."""
    series: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(ordered):
        members = series[row["series_instance_uid"]]
        if _needs_survey(row, policy):
            members.append(number)
    return [number for members in series.values() for number in sample(members, SURVEYED)]


def _needs_survey(row: Row, policy: WindowPolicy) -> bool:
    return row["frames"] != 0 and policy.needs_values(row["modality"], row["body_part"])


def _survey(
    pool: Executor | None,
    ordered: InstanceRows,
    surveyed: list[int],
    clean: Zone,
    policy: WindowPolicy,
    report: Callable[[int], object],
) -> dict[str, Window]:
    """The window of each series whose values decide it. Results come in series order, so one series is held at once."""
    windows: dict[str, Window] = {}
    current, values, counts = "", [], []
    modality = ""
    tasks = (Task(ordered[number], clean, policy) for number in surveyed)
    found = mapped(pool, survey_instance, tasks, chunk=chunk_of(len(surveyed)))

    def close() -> None:
        window = percentile_window(values, counts, policy.percentiles(modality))
        if window:
            windows[current] = window

    for done, (number, sketches) in enumerate(zip(surveyed, found, strict=True), start=1):
        row = ordered[number]
        if row["series_instance_uid"] != current:
            close()
            current, modality, values, counts = row["series_instance_uid"], row["modality"], [], []
        values.extend(sketch[0] for sketch in sketches)
        counts.extend(sketch[1] for sketch in sketches)
        report(done)
    close()
    return windows
