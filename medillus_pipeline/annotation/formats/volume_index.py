"""What an `index.json` says: which series or slice the files beside it belong to, and what their values mean.

    {"volumes": [{"file": "x.nii.gz", "series_instance_uid": "<original UID>"}],   or "series": "<pseudonymous UID>"
     "masks": [{"file": "heart.png", "sop_instance_uid": "<original UID>", "frame": 1,   or "slice": "<slice name>"
                "structure": "heart", "left": 635, "top": 342}],
     "labels": {"1": "liver", "2": "heart"}}                                       or per volume or mask

Files are named relative to the index; `file` may be a folder of volumes, too. A `structure` makes a volume or picture
the mask of that one structure. A picture with `left` and `top` is a part of its slice whose first pixel is there.
A `masks.csv` (`mask,structure,top,left` and perhaps `slice,resolution,width,height`) says the same for pictures.
"""

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medillus_pipeline.annotation.formats.labelme import parse
from medillus_pipeline.annotation.outcomes import Reason, Refused
from medillus_pipeline.annotation.references import References
from medillus_pipeline.dicom.slice_names import slice_name

SLICE_NAME = re.compile(r"s-[0-9a-f]{16}-\d{4}")
GREATEST_OFFSET = 2**20
MAXIMUM_CSV_BYTES = 2**24


@dataclass(frozen=True)
class VolumeEntry:
    """A volume: its path relative to the index, the pseudonymous UID of its series, names by value.

    `structure` names the one structure of a mask; `hint`, the file's own name, is that of a mask where nothing else
    names its values.
    """

    file: str
    series_instance_uid: str
    labels: dict[int, str] = field(default_factory=dict)
    structure: str = ""
    hint: str = ""


@dataclass(frozen=True)
class MaskEntry:
    """A picture: its path relative to the index, its slice, and the one structure it shows or names by value.

    `left` and `top` are where its first pixel lies; None says that it shows the slice in full. `slice_size` (columns,
    rows) is that of the whole picture it was cut from, where that is stated. `colours` are label values by RGB; `hint`
    is the name of its folder, which names the structure where nothing else does.
    """

    file: str
    slice_name: str
    structure: str = ""
    labels: dict[int, str] = field(default_factory=dict)
    left: int | None = None
    top: int | None = None
    slice_size: tuple[int, int] | None = None
    colours: dict[tuple[int, int, int], int] = field(default_factory=dict)
    hint: str = ""


@dataclass(frozen=True)
class Index:
    """The entries of one index."""

    volumes: list[VolumeEntry]
    masks: list[MaskEntry]


def read(data: bytes, references: References) -> Index:
    """The entries of an `index.json`. Raises Refused when it is broken or has another shape."""
    document = parse(data)
    try:
        common = document.get("labels") or {}
        if "volumes" not in document and "masks" not in document:
            raise Refused(Reason.BROKEN_FILE)
        return Index(
            [_volume(entry, common, references) for entry in document.get("volumes") or []],
            [_mask(entry, common, references) for entry in document.get("masks") or []],
        )
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise Refused(Reason.BROKEN_FILE) from error


def read_index(data: bytes, references: References) -> list[VolumeEntry]:
    """The volumes that an `index.json` names. Raises Refused as `read` does."""
    return read(data, references).volumes


def _volume(entry: Any, common: Any, references: References) -> VolumeEntry:
    series = references.series(str(entry.get("series") or entry["series_instance_uid"]))
    structure = str(entry.get("structure") or "")
    return VolumeEntry(str(entry["file"]), series, _labels(entry, common), structure)


def _mask(entry: Any, common: Any, references: References) -> MaskEntry:
    frame = entry.get("frame", 1)
    if type(frame) is not int or not 1 <= frame <= 9999:
        raise ValueError("a frame is counted from 1")
    name = named_slice(str(entry.get("slice") or entry["sop_instance_uid"]), frame, references)
    left, top = (_offset(entry.get(side)) for side in ("left", "top"))
    structure = str(entry.get("structure") or "")
    return MaskEntry(str(entry["file"]), name, structure, {} if structure else _labels(entry, common), left, top)


def _labels(entry: Any, common: Any) -> dict[int, str]:
    found: Mapping[str, Any] = entry.get("labels") or common
    return {int(value): str(name) for value, name in found.items()}


def _offset(value: Any) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= GREATEST_OFFSET:
        raise ValueError("an offset is a whole number of pixels")
    return value


def named_slice(text: str, frame: int, references: References) -> str:
    """The slice that a slice name or SOP Instance UID means."""
    return text if SLICE_NAME.fullmatch(text) else slice_name(references.instance(text), frame)


def read_csv(data: bytes, folder_name: str, references: References) -> list[MaskEntry]:
    """The pictures that a `masks.csv` places; those without a column `slice` (slice name or SOP Instance UID) are on
    the slice that the folder is named after. Raises Refused when it is broken.
    """
    if len(data) > MAXIMUM_CSV_BYTES:
        raise Refused(Reason.TOO_LARGE)
    try:
        rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
        return [_csv_row(row, folder_name, references) for row in rows]
    except (csv.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        raise Refused(Reason.BROKEN_FILE) from error


def _csv_row(row: Mapping[str, str], folder_name: str, references: References) -> MaskEntry:
    name = named_slice(row.get("slice") or folder_name, 1, references)
    left, top = _offset(int(row["left"])), _offset(int(row["top"]))
    size = None
    if resolution := row.get("resolution"):
        width, height = resolution.lower().split("x")
        size = int(width), int(height)
    return MaskEntry(row["mask"], name, row["structure"], {}, left, top, size)
