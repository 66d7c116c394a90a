"""Rendering: what a worker does with one instance, from its bytes to PNGs and rows, or to a sketch of its values.

What is not here: the delivery as a whole, its series and the pool (`slices.py`).
"""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from medillus_pipeline.dicom.attributes import own_window, plane
from medillus_pipeline.dicom.decoding import PixelError, Skip, check_displayable, frame_count
from medillus_pipeline.dicom.geometry import Plane
from medillus_pipeline.dicom.pixels import GreyFrame, colour_frame, grey_frame, is_colour
from medillus_pipeline.dicom.png import encode_png
from medillus_pipeline.dicom.slice_names import slice_name
from medillus_pipeline.dicom.windows import PRESETS, VoiLut, Window, WindowPolicy, percentile_window
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


@dataclass(frozen=True)
class Task:
    """One instance (row of INSTANCES), where its payload is, and the window of its series if its values decide it."""

    instance: Row
    zone: Zone
    policy: WindowPolicy
    window: Window | None = None


def sample(members: list[Any], most: int) -> list[Any]:
    """At most `most` members, evenly spread; by pseudonymous UID, so without regard to anatomy."""
    if len(members) <= most:
        return members
    return [members[i] for i in np.linspace(0, len(members) - 1, most).round().astype(int)]


def survey_instance(task: Task) -> list[tuple[np.ndarray, np.ndarray]]:
    """Sketches (values, counts) of those frames whose window the file does not say itself."""
    try:
        dataset = _read(task)
        check_displayable(dataset)
        frames = [] if is_colour(dataset) else list(range(1, frame_count(dataset) + 1))
    except PixelError:
        return []
    by_file = task.policy.rule(task.instance["modality"], task.instance["body_part"]) == "file"
    sketches = []
    for frame in sample(frames, SURVEYED):
        if by_file and own_window(dataset, frame) is not None:
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
    """Rows without `ordinal` and `slice_spacing`, and reasons for the frames left out."""
    try:
        dataset = _read(task)
        check_displayable(dataset)
        frames = range(1, frame_count(dataset) + 1)
    except PixelError as error:
        return [], [error.reason.value]
    rows, reasons = [], []
    for frame in frames:
        try:
            pixels, made = _render_frame(dataset, frame, task)
        except PixelError as error:
            reasons.append(error.reason.value)
            continue
        payload = task.zone.put("slices", encode_png(pixels), ".png")
        rows.append(_row(task.instance, frame, plane(dataset, frame), made, payload.path, payload.sha256))
    return rows, reasons


def _read(task: Task) -> Dataset:
    try:
        data = task.zone.read(task.instance["path"])
    except FileNotFoundError as error:
        raise PixelError(Skip.UNREADABLE) from error
    try:
        return pydicom.dcmread(io.BytesIO(data))
    except Exception as error:
        raise PixelError(Skip.UNREADABLE) from error


def _render_frame(dataset: Dataset, frame: int, task: Task) -> tuple[np.ndarray, Row]:
    """The picture, uint8, and the columns that say which window made it and what values it has."""
    if is_colour(dataset):
        pixels = colour_frame(dataset, frame)
        return pixels, _columns("colour", None, None, (float(pixels.min()), float(pixels.max()), float(pixels.mean())))
    grey = grey_frame(dataset, frame)
    statistics = grey.statistics()
    if statistics is None:
        raise PixelError(Skip.ONLY_PADDING)
    window = _choose_window(dataset, frame, grey, task)
    numbers = (window.center, window.width) if isinstance(window, Window) else (None, None)
    return grey.greys(window), _columns(window.name, *numbers, statistics)


def _columns(window: str, center: float | None, width: float | None, values: tuple[float, float, float]) -> Row:
    return {
        "window": window,
        "window_center": center,
        "window_width": width,
        "minimum": values[0],
        "maximum": values[1],
        "mean": values[2],
    }


def _choose_window(dataset: Dataset, frame: int, grey: GreyFrame, task: Task) -> Window | VoiLut:
    modality = task.instance["modality"]
    rule = task.policy.rule(modality, task.instance["body_part"])
    if rule in PRESETS and grey.calibration.hounsfield:
        return PRESETS[rule]
    if rule != "percentiles":
        if own := own_window(dataset, frame):
            return own
        if grey.tabled and grey.calibration.bits <= 8:
            return grey.full_range()
    if task.window is not None:
        return task.window
    values, counts = grey.histogram()
    window = percentile_window([values], [counts], task.policy.percentiles(modality))
    if window is None:
        raise PixelError(Skip.ONLY_PADDING)
    return Window(f"frame-{window.name}", window.center, window.width, window.function)


def _row(instance: Row, frame: int, where: Plane, made: Row, path: str, sha256: str) -> Row:
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
        "path": path,
        "sha256": sha256,
    }
