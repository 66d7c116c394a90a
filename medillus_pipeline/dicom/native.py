"""Native frames, quickly: what the general path made of the first frame of a series is applied to the others.

The slices of a series share nearly all of their header, and so the lookup from stored word to grey, the meaning of the
values and every column of the row but a few. `NativeFrames` has the general path (`rendering.py`) render the first
slice, asks it for the grey of each 16-bit word, and checks that the lookup gives that slice's very pixels and numbers;
slices whose header is the same then need no data set. Whatever is compressed, in colour, multi-frame, not 16 bits, not
in Explicit VR Little Endian, or not as expected in any way is None here: the general path renders it. What a window is,
or a calibration, is not here.
"""

from collections import OrderedDict
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pydicom
from pydicom.filebase import DicomBytesIO

from medillus_pipeline.dicom.calibration import Calibration
from medillus_pipeline.dicom.decoding import PixelError
from medillus_pipeline.dicom.grey_tables import GreyTable
from medillus_pipeline.dicom.picture_store import InHand
from medillus_pipeline.dicom.pixels import grey_frame
from medillus_pipeline.dicom.plain_header import Header, image_position, plain_header, unsigned
from medillus_pipeline.dicom.png import decode_png
from medillus_pipeline.dicom.rendering import SAME, Row, Task, render_instance
from medillus_pipeline.dicom.slice_names import slice_name

SERIES = 64
"""Headers that a worker remembers."""
OWN = {"slice_name", "frame", "ordinal", "slice_spacing", "position", "minimum", "maximum", "mean"} | {
    "instance_path",
    "path",
    "sha256",
}
"""Columns of a row that each slice has for itself, besides `SAME`."""
SHARED = {"rows", "columns", "pixel_spacing", "orientation", "window", "window_center", "window_width", "transform"}
"""Columns that follow from the header alone. A row with yet other columns is left to the general path."""
VIEW = {"window", "window_center", "window_width", "transform"}
"""Columns in which the pictures of a frame differ, besides path and hash."""

_PIXELS = 0x7FE00010
_SHAPE = (0x00280010, 0x00280011, 0x00280100, 0x00280002)
"""Rows, Columns, Bits Allocated, Samples per Pixel."""
_PIXEL_GROUP = 0x7FE0
_GROUPS = frozenset({0x0028, 0x0054, 0x2050, 0x3004, 0x5200})
_TAGS = frozenset({0x00080005, 0x00080008, 0x00080016, 0x00080060, 0x00180015, 0x00180050, 0x00180088, 0x00181164}) | {
    0x00185101,
    0x00200037,
    0x00409096,
    0x00409098,
}
_PER_SLICE = frozenset({0x00280106, 0x00280107, 0x00541300, 0x00541330})
"""Smallest and Largest Image Pixel Value, Frame Reference Time, Image Index: they change from slice to slice and say
nothing of how it is shown."""
_SIDE = 256
"""Rows and columns of the made frame that holds each 16-bit word once."""


@dataclass(frozen=True)
class _Learnt:
    """What the slices of one header share; `greys` has a table for each of `windows`."""

    settings: list[Any]
    row: Row
    windows: list[Row]
    greys: list[GreyTable]
    calibration: Calibration


class NativeFrames:
    """Renders single native frames of 16 bits. One for each process; it remembers the last `SERIES` headers."""

    def __init__(self) -> None:
        self._learnt: OrderedDict[tuple[Any, ...], _Learnt | None] = OrderedDict()

    def render(self, task: Task, data: bytes | memoryview) -> tuple[list[np.ndarray], list[Row]] | None:
        """The pictures of a file, (rows, columns) uint8, each with its row but for `path` and `sha256`; None where the
        general path has to render it.
        """
        header = plain_header(data) if task.output == "grey8" and not task.further else None
        if header is None:
            return None
        words, position, key = _stored(data, header), image_position(data, header), _key(data, header, task)
        if words is None or position is None or key is None:
            return None
        if key in self._learnt:
            self._learnt.move_to_end(key)
            learnt = self._learnt[key]
            if learnt is not None and learnt.settings != _settings(task):
                learnt = self._learn(key, task, data, words, position)
        else:
            learnt = self._learn(key, task, data, words, position)
        return _apply(learnt, task, words, position) if learnt is not None else None

    def _learn(
        self, key: tuple[Any, ...], task: Task, data: bytes | memoryview, words: np.ndarray, position: list[float]
    ) -> _Learnt | None:
        learnt = _learn(task, data)
        if learnt is not None and not _agrees(learnt, task, data, words, position):
            learnt = None
        self._learnt[key] = learnt
        while len(self._learnt) > SERIES:
            self._learnt.popitem(last=False)
        return learnt


def _stored(data: bytes | memoryview, header: Header) -> np.ndarray | None:
    """The stored words (rows, columns) uint16 of a single grey frame, in place."""
    rows, columns, bits, samples = (unsigned(data, header.get(tag)) for tag in _SHAPE)
    start, end = header.get(_PIXELS, (0, 0))
    if bits != 16 or samples != 1 or not rows * columns or end - start != 2 * rows * columns:
        return None
    return np.frombuffer(data, "<u2", rows * columns, start).reshape(rows, columns)


def _key(data: bytes | memoryview, header: Header, task: Task) -> tuple[Any, ...] | None:
    """All of the header that says how frames of the series look and lie, as encoded; None where there are pixels of
    another kind.
    """
    key: list[Any] = [task.instance[name] for name in ("series_instance_uid", "modality", "body_part")]
    for tag, (start, end) in header.items():
        if (tag >> 16 in _GROUPS or tag in _TAGS) and tag not in _PER_SLICE:
            key += (tag, bytes(data[start:end]))
        elif tag >> 16 == _PIXEL_GROUP and tag != _PIXELS:
            return None
    return tuple(key)


def _settings(task: Task) -> list[Any]:
    """What a task asks for besides its instance."""
    return [getattr(task, field.name) for field in fields(task) if field.name not in ("instance", "zone")]


def _learn(task: Task, data: bytes | memoryview) -> _Learnt | None:
    """Have the general path show a frame in which every word stands once, under the header of `data`."""
    dataset = pydicom.dcmread(DicomBytesIO(bytes(data)))
    try:
        calibration = grey_frame(dataset).calibration
    except PixelError:
        return None
    if calibration.lut is not None or calibration.bits > 16:
        return None
    dataset.Rows = dataset.Columns = _SIDE
    dataset.PixelData = np.arange(_SIDE * _SIDE, dtype="<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    sink = DicomBytesIO()
    dataset.save_as(sink, enforce_file_format=False)
    zone = InHand(sink.getvalue())
    rows, _ = render_instance(replace(task, zone=zone))
    if len(rows) != 1 or rows[0].keys() - {"views"} != OWN | SHARED | set(SAME):
        return None
    row = {name: value for name, value in rows[0].items() if name not in ("views", "path", "sha256")}
    greys = [decode_png(picture).reshape(-1) for picture in zone.pictures]
    windows = [{name: view[name] for name in VIEW} for view in rows[0].get("views", rows[:1])]
    if any(len(each) != _SIDE * _SIDE for each in greys) or any(w["window"].startswith("frame-") for w in windows):
        return None
    tables = [
        GreyTable(each, calibration.bits, calibration.signed, _width(window, calibration))
        for each, window in zip(greys, windows, strict=True)
    ]
    return _Learnt(_settings(task), row, windows, tables, calibration)


def _width(window: Row, calibration: Calibration) -> float | None:
    """The width of a window in stored values; None for a VOI LUT."""
    width = window["window_width"]
    return width / abs(calibration.slope) if width is not None and calibration.slope else None


def _agrees(learnt: _Learnt, task: Task, data: bytes | memoryview, words: np.ndarray, position: list[float]) -> bool:
    """Whether the general path makes the same of the frame itself."""
    made = _apply(learnt, task, words, position)
    zone = InHand(bytes(data))
    rows, _ = render_instance(replace(task, zone=zone))
    if made is None or len(rows) != 1 or len(zone.pictures) != len(made[0]):
        return False
    wanted = [rows[0] | {name: view[name] for name in VIEW} for view in rows[0].get("views", rows)]
    own = [{name: row[name] for name in row.keys() - {"views", "path", "sha256"}} for row in wanted]
    return own == made[1] and all(
        np.array_equal(mine, decode_png(its)) for mine, its in zip(made[0], zone.pictures, strict=True)
    )


def _apply(
    learnt: _Learnt, task: Task, words: np.ndarray, position: list[float]
) -> tuple[list[np.ndarray], list[Row]] | None:
    statistics = _statistics(words, learnt.calibration)
    if statistics is None:
        return None
    row, instance = dict(learnt.row), task.instance
    for name in SAME:
        row[name] = instance[name]
    row.update(
        slice_name=slice_name(instance["sop_instance_uid"], 1),
        rows=words.shape[0],
        columns=words.shape[1],
        position=position,
        minimum=statistics[0],
        maximum=statistics[1],
        mean=statistics[2],
        instance_path=instance["path"],
    )
    return [greys.of(words) for greys in learnt.greys], [row | window for window in learnt.windows]


def _statistics(words: np.ndarray, calibration: Calibration) -> tuple[float, float, float] | None:
    """Least, greatest and mean output value, as `GreyFrame.statistics` gives them; None for a frame of padding only, or
    whose words have bits set that are none of the value's.
    """
    stored = words.view("<i2") if calibration.signed else words
    if calibration.padding is not None:
        stored = stored[~calibration.is_padding(stored)]
        if not stored.size:
            return None
    least, most = int(stored.min()), int(stored.max())
    beyond = 2 ** (calibration.bits - calibration.signed)
    if most >= beyond or least < (-beyond if calibration.signed else 0):
        return None
    mean = _sum(stored, max(most, -least)) / stored.size
    ends = [found * calibration.slope + calibration.intercept for found in (float(least), float(most))]
    return min(ends), max(ends), mean * calibration.slope + calibration.intercept


def _sum(stored: np.ndarray, greatest: int) -> int:
    """The exact sum of 16-bit values, none beyond `greatest` in size: so many at a time as fit 16 bits."""
    flat = stored.reshape(-1)
    together = min((0x7FFF if stored.dtype.kind == "i" else 0xFFFF) // max(greatest, 1), 64)
    if together < 2:
        return int(flat.sum(dtype=np.int64))
    whole = flat.size // together * together
    part = np.add.reduce(flat[:whole].reshape(together, -1), axis=0, dtype=flat.dtype)
    return int(part.sum(dtype=np.int64)) + int(flat[whole:].sum(dtype=np.int64))
