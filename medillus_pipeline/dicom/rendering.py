"""Rendering: what a worker does with one instance, from its bytes to PNGs and rows, or to a sketch of its values.

What is not here: the delivery as a whole, its series and the pool (`slices.py`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medillus_pipeline.dicom.attributes import own_window, plane
from medillus_pipeline.dicom.decoding import PIXELS, PixelError, Skip, check_displayable, frame_count
from medillus_pipeline.dicom.geometry import Plane
from medillus_pipeline.dicom.outcomes import Quarantine
from medillus_pipeline.dicom.pixels import GreyFrame, colour_frame, grey_frame, is_colour
from medillus_pipeline.dicom.png import encode_png
from medillus_pipeline.dicom.reading import parse, silenced
from medillus_pipeline.dicom.slice_names import slice_name
from medillus_pipeline.dicom.windows import Depth, VoiLut, Window, WindowPolicy, percentile_window
from medillus_pipeline.zones import Zone

SURVEYED = 64
"""Instances of a series, and frames of an instance, that the first pass looks at to find the series' window."""
SKETCH = 2048
"""Points to which the first pass reduces the values of a frame: quantiles of 0.05%."""

SAME = (
    "sop_instance_uid",
    "series_instance_uid",
    "study_instance_uid",
    "frame_of_reference_uid",
    "patient",
    "split_token",
    "modality",
    "body_part",
)
"""Columns of SLICES that are those of the instance."""

Row = dict[str, Any]
Output = Literal["grey8", "grey16", "lossless"]
"""What a grey frame becomes: 8-bit or 16-bit greys, or its values with nothing lost. Colour stays 8-bit RGB."""


@dataclass(frozen=True)
class Task:
    """One instance (row of INSTANCES), where its payload is, the window of its series if its values decide it, and
    what to make.
    """

    instance: Row
    zone: Zone
    policy: WindowPolicy
    window: Window | None = None
    output: Output = "grey8"
    further: tuple[Output, ...] = ()
    """What else to make of each grey frame, beside `output`."""


def greys(frame: GreyFrame, window: Window | VoiLut, bits: Depth = 8) -> np.ndarray:
    """The frame as shown through a window: (rows, columns), uint8 or uint16 by `bits`, white is 255 or 65535."""
    return frame.greys(window, bits=bits)


def lossless(frame: GreyFrame) -> tuple[np.ndarray, float, float]:
    """The frame's values (rows, columns) uint16, with the slope and intercept that make HU (or the like) of them.

    Raises PixelError (TOO_DEEP) when they do not fit.
    """
    return frame.lossless()


def transform(frame: GreyFrame, window: Window | VoiLut) -> str:
    """Every step from stored value to grey, to the last digit, so that the picture can be made again:
    `rescale 1.0 -1024.0; padding -2000 -2000; LINEAR 50.0 350.0; inverse`.
    """
    steps = [_before_window(frame), window.describe(), *(["inverse"] if frame.calibration.inverted else [])]
    return "; ".join(steps)


def _before_window(frame: GreyFrame) -> str:
    calibration = frame.calibration
    if calibration.padding is None:
        return calibration.describe()
    return f"{calibration.describe()}; padding {calibration.padding[0]!r} {calibration.padding[1]!r}"


def sample(members: list[Any], most: int) -> list[Any]:
    """At most `most` members, evenly spread; by pseudonymous UID, so without regard to anatomy."""
    if len(members) <= most:
        return members
    return [members[i] for i in np.linspace(0, len(members) - 1, most).round().astype(int)]


def survey_instance(task: Task) -> list[tuple[np.ndarray, np.ndarray]]:
    """Sketches (values, counts) of those frames whose window the file does not say itself."""
    with silenced():
        return _survey(task)


def _survey(task: Task) -> list[tuple[np.ndarray, np.ndarray]]:
    try:
        dataset = _read(task)
        check_displayable(dataset)
        frames = [] if is_colour(dataset) else list(range(1, frame_count(dataset) + 1))
    except PixelError:
        return []
    by_file = "percentiles" not in task.policy.rules(task.instance["modality"], task.instance["body_part"])
    sketches = []
    for frame in sample(frames, SURVEYED):
        if by_file and _own(dataset, frame, task.policy) is not None:
            continue
        try:
            sketches.append(_sketch(*grey_frame(dataset, frame).histogram()))
        except PixelError:
            continue
    return [sketch for sketch in sketches if len(sketch[0])]


def _sketch(values: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values and counts, reduced to at most SKETCH groups of neighbouring values with about equal counts."""
    order = np.argsort(values, kind="stable")
    values, counts = values[order], counts[order]
    if len(values) <= SKETCH:
        return values, counts
    group = (np.cumsum(counts) - 1) * SKETCH // counts.sum()
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    return values[starts], np.add.reduceat(counts, starts)


def render_instance(task: Task) -> tuple[list[Row], list[str]]:
    """Rows without `ordinal` and `slice_spacing`, and reasons for the frames left out.

    A row describes the first picture of a frame. Where more than one is asked for, its further key `views` lists for
    each, the first included, what differs: the window's columns, `path` and `sha256`; and `output`, `slope` and
    `intercept` where it is none of `output`.
    """
    with silenced():
        return _render(task)


def _render(task: Task) -> tuple[list[Row], list[str]]:
    try:
        dataset = _read(task)
        check_displayable(dataset)
        frames = range(1, frame_count(dataset) + 1)
    except PixelError as error:
        return [], [error.reason.value]
    rows, reasons = [], []
    for frame in frames:
        try:
            pictures, lacking = _render_frame(dataset, frame, task)
        except PixelError as error:
            reasons.append(error.reason.value)
            continue
        reasons += lacking
        views = []
        for pixels, made in pictures:
            payload = task.zone.put("slices", encode_png(pixels), ".png")
            views.append({**made, "path": payload.path, "sha256": payload.sha256})
        row = _row(task.instance, frame, plane(dataset, frame), views[0])
        rows.append({**row, "views": views} if len(views) > 1 else row)
    return rows, reasons


def _read(task: Task) -> Dataset:
    try:
        data = task.zone.read(task.instance["path"])
    except FileNotFoundError as error:
        raise PixelError(Skip.UNREADABLE) from error
    try:
        dataset = parse(data)
    except Quarantine as error:
        raise PixelError(Skip.UNREADABLE) from error
    if "TransferSyntaxUID" not in dataset.file_meta and any(word in dataset for word in PIXELS):
        implicit, little = dataset.original_encoding
        dataset.file_meta.TransferSyntaxUID = (
            ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        )
    return dataset


def _render_frame(dataset: Dataset, frame: int, task: Task) -> tuple[list[tuple[np.ndarray, Row]], list[str]]:
    """The pictures, each with the columns that say which window made it and what values it has; and why a further one
    could not be made.
    """
    if is_colour(dataset):
        pixels = colour_frame(dataset, frame)
        values = float(pixels.min()), float(pixels.max()), float(pixels.mean())
        return [(pixels, _columns("colour", None, None, "as stored", values))], []
    grey = grey_frame(dataset, frame)
    statistics = grey.statistics()
    if statistics is None:
        raise PixelError(Skip.ONLY_PADDING)
    rules = task.policy.rules(task.instance["modality"], task.instance["body_part"])
    windows = dict.fromkeys(_choose_window(dataset, frame, grey, task, rule) for rule in rules)
    pictures, lacking = [(p, columns) for p, columns, _ in _pictures(grey, task.output, windows, statistics)], []
    for output in task.further:
        try:
            for picture, columns, scale in _pictures(grey, output, windows, statistics):
                pictures.append((picture, {**columns, "output": output, "slope": scale[0], "intercept": scale[1]}))
        except PixelError as error:
            lacking.append(f"without_{output}/{error.reason.value}")
    return pictures, lacking


def _pictures(
    grey: GreyFrame, output: Output, windows: Iterable[Window | VoiLut], values: tuple[float, float, float]
) -> list[tuple[np.ndarray, Row, tuple[float | None, float | None]]]:
    """The pictures of one kind with their columns, and the slope and intercept that make values of lossless ones."""
    if output == "lossless":
        picture, slope, intercept = lossless(grey)
        white = 65535 * slope
        steps = f"{_before_window(grey)}; lossless {slope!r} {intercept!r}"
        return [(picture, _columns("lossless", intercept + white / 2, abs(white), steps, values), (slope, intercept))]
    bits: Depth = 16 if output == "grey16" else 8
    return [
        (greys(grey, w, bits), _columns(w.name, *_numbers(w), transform(grey, w), values), (None, None))
        for w in windows
    ]


def _numbers(window: Window | VoiLut) -> tuple[float | None, float | None]:
    return (window.center, window.width) if isinstance(window, Window) else (None, None)


def _columns(
    window: str, center: float | None, width: float | None, transform: str, values: tuple[float, float, float]
) -> Row:
    return {
        "window": window,
        "window_center": center,
        "window_width": width,
        "transform": transform,
        "minimum": values[0],
        "maximum": values[1],
        "mean": values[2],
    }


def _choose_window(dataset: Dataset, frame: int, grey: GreyFrame, task: Task, rule: str) -> Window | VoiLut:
    preset = task.policy.preset(rule)
    if preset is not None and grey.calibration.hounsfield:
        return preset
    if rule != "percentiles":
        if own := _own(dataset, frame, task.policy):
            return own
        if grey.tabled and grey.calibration.bits <= 8:
            return grey.full_range()
    if task.window is not None:
        return task.window
    values, counts = grey.histogram()
    window = percentile_window([values], [counts], task.policy.percentiles(task.instance["modality"]))
    if window is None:
        raise PixelError(Skip.ONLY_PADDING)
    return Window(f"frame-{window.name}", window.center, window.width, window.function)


def _own(dataset: Dataset, frame: int, policy: WindowPolicy) -> Window | VoiLut | None:
    return own_window(dataset, frame, index=policy.file_window) or own_window(dataset, frame)


def _row(instance: Row, frame: int, where: Plane, made: Row) -> Row:
    return {
        **{name: instance[name] for name in SAME},
        **made,
        "slice_name": slice_name(instance["sop_instance_uid"], frame),
        "frame": frame,
        "ordinal": 0,
        "rows": where.rows,
        "columns": where.columns,
        "pixel_spacing": list(where.pixel_spacing) if where.pixel_spacing else None,
        "position": list(where.position) if where.position else None,
        "orientation": list(where.orientation) if where.orientation else None,
        "slice_spacing": None,
        "instance_path": instance["path"],
    }
