"""What a data set says of a frame: its window, its place, its lookup tables.

Read from the functional groups of an enhanced multi-frame object (PS3.3 C.7.6.16) where it has them, else from the top
of the data set. Frames count from 1. What is not here: pixels (`pixels.py`) and what becomes of them (`windows.py`).
"""

from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from medillus_pipeline.dicom.decoding import frame_count
from medillus_pipeline.dicom.geometry import Plane, is_orientation
from medillus_pipeline.dicom.windows import VoiLut, Window


def functional_group(dataset: Dataset, frame: int, keyword: str) -> Dataset | None:
    """The item of a functional group (PS3.3 C.7.6.16) that applies to a frame: its own, else the shared one."""
    own = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for groups in (own[frame - 1 : frame], shared[:1]):
        for group in groups:
            if sequence := group.get(keyword):
                return sequence[0]
    return None


def own_window(dataset: Dataset, frame: int = 1, *, index: int = 0) -> Window | VoiLut | None:
    """The file's own VOI: its VOI LUT, else its window, number `index` (from 0) of those it lists; None when it has
    none that the standard allows. A per-frame one (PS3.3 C.7.6.16.2.10) goes first.
    """
    source = functional_group(dataset, frame, "FrameVOILUTSequence") or dataset
    return _own_lut(source, dataset, frame, index) or _own_formula(source, index)


def _own_lut(source: Dataset, dataset: Dataset, frame: int, index: int) -> VoiLut | None:
    try:
        first, bits, values = lut(source.VOILUTSequence[index], dataset)
        if first > 0x7FFF and _can_be_negative(dataset, frame):
            first -= 0x10000
    except (ValueError, TypeError, AttributeError, IndexError):
        return None
    return VoiLut("file-voi-lut", first, bits, values) if 1 <= bits <= 16 else None


def _own_formula(source: Dataset, index: int) -> Window | None:
    try:
        centers, widths = numbers(source.get("WindowCenter")), numbers(source.get("WindowWidth"))
    except (ValueError, TypeError, AttributeError):
        return None
    if index >= min(len(centers), len(widths)):
        return None
    stated = str(source.get("VOILUTFunction", "") or "LINEAR").strip().upper()
    function = stated if stated in ("LINEAR_EXACT", "SIGMOID") else "LINEAR"
    if not np.isfinite([centers[index], widths[index]]).all() or widths[index] < (1 if function == "LINEAR" else 1e-9):
        return None
    name = "file" if function == "LINEAR" else f"file-{function.lower().replace('_', '-')}"
    return Window(name, centers[index], widths[index], function)


def _can_be_negative(dataset: Dataset, frame: int) -> bool:
    """Whether the output of the Modality LUT has a sign, as then does the first input of a VOI LUT (C.11.2.1.1)."""
    if dataset.get("ModalityLUTSequence"):
        return False
    source = functional_group(dataset, frame, "PixelValueTransformationSequence") or dataset
    rescale = [*numbers(source.get("RescaleIntercept")), *numbers(source.get("RescaleSlope"))]
    return bool(dataset.get("PixelRepresentation", 0)) or min(rescale, default=0.0) < 0


def plane(dataset: Dataset, frame: int = 1) -> Plane:
    """Where the frame lies. What the file lacks, or states against the standard, is None.

    The position at the top of a data set is that of its only frame, or of the first one of a dose grid, whose others
    follow by GridFrameOffsetVector.
    """
    groups = [functional_group(dataset, frame, f"{name}Sequence") for name in ("PlanePosition", "PlaneOrientation")]
    position = vector(groups[0] or dataset, "ImagePositionPatient", 3)
    orientation = vector(groups[1] or dataset, "ImageOrientationPatient", 6)
    spacing = vector(functional_group(dataset, frame, "PixelMeasuresSequence") or dataset, "PixelSpacing", 2)
    if spacing is not None and min(spacing) <= 0:
        spacing = None
    if orientation is not None and not is_orientation(orientation):
        orientation = None
    if groups[0] is None and frame_count(dataset) > 1:
        offsets = vector(dataset, "GridFrameOffsetVector", frame_count(dataset))
        if position is None or orientation is None or offsets is None:
            position = None
        else:
            along = np.cross(orientation[:3], orientation[3:])
            position = tuple(float(v) for v in np.asarray(position) + along * (offsets[frame - 1] - offsets[0]))
    if position is None or orientation is None:
        position = orientation = None
    return Plane(int(dataset.Rows), int(dataset.Columns), position, orientation, spacing)


def lut(item: Dataset, dataset: Dataset) -> tuple[int, int, tuple[int, ...]]:
    """First input, bits and entries of a LUT item (PS3.3 C.11.1.1.1): data in words, or packed two to a word."""
    entries, first, bits = (int(v) for v in item.LUTDescriptor)
    entries = entries & 0xFFFF or 0x10000
    data: Any = item.LUTData
    if isinstance(data, bytes):
        order = ">" if dataset.original_encoding[1] is False else "<"
        words = np.frombuffer(data + b"\0" * (len(data) % 2), f"{order}u2")
    else:
        words = np.asarray([int(v) & 0xFFFF for v in (data if hasattr(data, "__len__") else [data])], "<u2")
    values = words if len(words) >= entries else words.astype("<u2").view(np.uint8)
    if len(values) < entries:
        raise ValueError("the LUT has fewer entries than its descriptor says")
    return first, bits, tuple(int(v) for v in values[:entries])


def numbers(value: Any) -> list[float]:
    """An attribute's value or values as floats; empty when it is absent or has none."""
    if value is None or value == "":
        return []
    return [float(v) for v in value] if hasattr(value, "__iter__") and not isinstance(value, str) else [float(value)]


def vector(source: Dataset, keyword: str, length: int) -> tuple[float, ...] | None:
    """Exactly `length` finite numbers of an attribute, or None."""
    try:
        found = numbers(source.get(keyword))
    except (ValueError, TypeError):
        return None
    return tuple(found) if len(found) == length and np.all(np.isfinite(found)) else None
