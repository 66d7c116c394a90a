"""NRRD label maps (`.nrrd`, `.nhdr` with its data beside it) and segmentations of 3D Slicer (`.seg.nrrd`).

Follows the NRRD0004 and NRRD0005 definitions of Teem (https://teem.sourceforge.net/nrrd/format.html): attached or one
detached data file; raw, text, hex, gzip and bzip2; an orientation as `space` and `space directions`. A file that gives
voxel spacing alone does not say where it lies in the patient, and is refused. What is not here: what a segmentation's
keys mean (`slicer_segments.py`), grids (`label_volume.py`).
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from medillus_pipeline.annotation.drawing import Drawing
from medillus_pipeline.annotation.formats import slicer_segments
from medillus_pipeline.annotation.formats.label_volume import (
    MAXIMUM_VOXELS,
    RESAMPLING,
    LabelVolume,
    as_labels,
    check_affine,
    draw,
    targets_of,
)
from medillus_pipeline.annotation.formats.nifti import named
from medillus_pipeline.annotation.formats.unpacking import bunzipped, gunzipped
from medillus_pipeline.annotation.formats.volume_index import VolumeEntry
from medillus_pipeline.annotation.outcomes import Reason, Refused
from medillus_pipeline.annotation.slice_index import SliceIndex
from medillus_pipeline.annotation.vocabulary import Vocabulary

FORMAT = "nrrd"
MAGIC = re.compile(rb"NRRD000[1-6]\r?\n")
MAXIMUM_HEADER = 2**20
MAXIMUM_SKIP = 2**20
TEXT_PER_VALUE = 32
"""Characters that a value of a text file may take."""

TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
TYPE_OF = {name: code for code, names in TYPES.items() for name in names}
SPACES = {
    "left-posterior-superior": (1.0, 1.0, 1.0),
    "lps": (1.0, 1.0, 1.0),
    "right-anterior-superior": (-1.0, -1.0, 1.0),
    "ras": (-1.0, -1.0, 1.0),
    "left-anterior-superior": (1.0, -1.0, 1.0),
    "las": (1.0, -1.0, 1.0),
}
"""Signs that turn each space of a patient into LPS."""

Beside = Callable[[str], bytes | None]


@dataclass(frozen=True)
class Header:
    """Fields (lower case), keys and values, and where the attached data begin; None for detached data."""

    fields: Mapping[str, str]
    keys: Mapping[str, str]
    data_at: int | None


def read(
    data: bytes,
    entry: VolumeEntry,
    index: SliceIndex,
    vocabulary: Vocabulary,
    *,
    beside: Beside | None = None,
    tolerance: float = RESAMPLING,
) -> Drawing:
    """What a label map or segmentation draws on the slices of its series. `beside` gives the bytes of a file in the
    same folder, by name; None where there is none. `tolerance`: see `label_volume.RESAMPLING`.

    Raises Refused when it is broken, of an encoding that is not read, no label map, empty, without names, or on another
    grid than all of its slices, and (pending) when its series is not published.
    """
    targets = targets_of(entry.series_instance_uid, index)
    header = read_header(data)
    layers, affine = load_layers(data, header, beside)
    drawing = Drawing(FORMAT)
    segments = slicer_segments.read(header.keys, len(layers))
    if segments:
        found = slicer_segments.meanings(segments, entry.labels, len(layers), vocabulary, drawing)
        volumes = [LabelVolume(layer, affine, cropped=True) for layer in layers]
        draw(drawing, list(zip(volumes, found, strict=True)), targets, tolerance=tolerance)
    elif len(layers) == 1:
        meaning = named(layers[0], entry, {}, vocabulary)
        draw(drawing, [(LabelVolume(layers[0], affine), meaning)], targets, tolerance=tolerance)
    else:
        raise Refused(Reason.NOT_A_LABEL_MAP)
    return drawing


def read_header(data: bytes) -> Header:
    """The header. Raises Refused when it is none."""
    magic = MAGIC.match(data)
    if magic is None:
        raise Refused(Reason.BROKEN_FILE)
    end = re.compile(rb"\n\r?\n").search(data, magic.end() - 1, MAXIMUM_HEADER)
    text = data[magic.end() : end.start() if end else MAXIMUM_HEADER].decode("utf-8", "replace")
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    for line in text.splitlines():
        key, assigned, value = line.partition(":=")
        if line.startswith("#") or not line.strip():
            continue
        if assigned:
            keys[key] = value.strip()
        else:
            name, colon, value = line.partition(":")
            if not colon or fields.setdefault(name.strip().lower().replace(" ", ""), value.strip()) != value.strip():
                raise Refused(Reason.BROKEN_FILE)
    detached = "datafile" in fields
    if end is None and not detached:
        raise Refused(Reason.BROKEN_FILE)
    return Header(fields, keys, None if detached or end is None else end.end())


def data_file(data: bytes) -> str | None:
    """The name of the file beside a header that holds its data; None where there is none to look for."""
    try:
        named_file = read_header(data).fields.get("datafile", "")
    except Refused:
        return None
    return named_file if named_file and PurePosixPath(named_file).name == named_file else None


def load_layers(data: bytes, header: Header, beside: Beside | None) -> tuple[list[np.ndarray], np.ndarray]:
    """Label values, uint16 (x, y, z), of every layer, and the (4, 4) affine from voxel indices to LPS mm.

    Sizes are judged before anything is unpacked. Raises Refused as `read` does.
    """
    fields = header.fields
    try:
        sizes = [int(size) for size in fields["sizes"].split()]
        dimension = int(fields["dimension"])
        code = TYPE_OF[" ".join(fields["type"].lower().split())]
    except (KeyError, ValueError) as error:
        raise Refused(Reason.BROKEN_FILE) from error
    if dimension not in (3, 4):
        raise Refused(Reason.NOT_A_LABEL_MAP)
    if len(sizes) != dimension or min(sizes) < 1:
        raise Refused(Reason.BROKEN_FILE)
    if math.prod(sizes) > MAXIMUM_VOXELS:
        raise Refused(Reason.TOO_LARGE)
    affine, spatial = _orientation(fields, dimension)
    values = _values(data, header, beside, math.prod(sizes), code).reshape(sizes, order="F")
    layered = np.moveaxis(values, spatial, range(-3, 0)).reshape(-1, *(sizes[axis] for axis in spatial))
    return [as_labels(layer) for layer in layered], affine


def _orientation(fields: Mapping[str, str], dimension: int) -> tuple[np.ndarray, list[int]]:
    """The affine to LPS, and the three axes of the file that lie in space."""
    signs = SPACES.get(fields.get("space", "").lower())
    units = {unit.strip('"').strip() for unit in re.findall(r'"[^"]*"', fields.get("spaceunits", ""))}
    if signs is None or units - {"mm", ""} or "spacedirections" not in fields or "spaceorigin" not in fields:
        raise Refused(Reason.OTHER_GEOMETRY)
    directions = re.findall(r"none|\([^)]*\)", fields["spacedirections"], re.IGNORECASE)
    spatial = [axis for axis, direction in enumerate(directions) if direction.startswith("(")]
    if len(directions) != dimension or len(spatial) != 3:
        raise Refused(Reason.BROKEN_FILE if len(directions) != dimension else Reason.OTHER_GEOMETRY)
    affine = np.eye(4)
    for column, axis in enumerate(spatial):
        affine[:3, column] = _vector(directions[axis])
    affine[:3, 3] = _vector(fields["spaceorigin"])
    affine = np.diag([*signs, 1.0]) @ affine
    check_affine(affine)
    return affine, spatial


def _vector(text: str) -> list[float]:
    try:
        numbers = [float(number) for number in text.strip().strip("()").split(",")]
    except ValueError as error:
        raise Refused(Reason.BROKEN_FILE) from error
    if len(numbers) != 3:
        raise Refused(Reason.BROKEN_FILE)
    return numbers


def _values(data: bytes, header: Header, beside: Beside | None, count: int, code: str) -> np.ndarray:
    encoding = header.fields.get("encoding", "").lower()
    order = {"little": "<", "big": ">", "": "" if code[1] == "1" else None}.get(header.fields.get("endian", "").lower())
    stored = _stored(data, header, beside)
    line_skip, byte_skip = _skip(header.fields, "lineskip"), _skip(header.fields, "byteskip")
    if line_skip < 0 or byte_skip < -1:
        raise Refused(Reason.BROKEN_FILE)
    for _ in range(line_skip):
        stored = stored.partition(b"\n")[2]
    if encoding in ("ascii", "text", "txt"):
        return _from_text(stored, count)
    if order is None:
        raise Refused(Reason.BROKEN_FILE)
    dtype = np.dtype(order + code)
    needed = count * dtype.itemsize
    skip = max(0, byte_skip)
    match encoding:
        case "raw":
            raw = stored[skip : skip + needed] if byte_skip >= 0 else stored[-needed:]
        case "gzip" | "gz":
            raw = gunzipped(stored, skip + needed)[skip:]
        case "bzip2" | "bz2":
            raw = bunzipped(stored, skip + needed)[skip:]
        case "hex":
            raw = _from_hex(stored[: 2 * needed + needed // 8 + 4096], needed)
        case _:
            raise Refused(Reason.UNSUPPORTED_FORMAT)
    if len(raw) < needed:
        raise Refused(Reason.BROKEN_FILE)
    return np.frombuffer(raw, dtype, count)


def _stored(data: bytes, header: Header, beside: Beside | None) -> bytes:
    if header.data_at is not None:
        return data[header.data_at :]
    name = data_file(data)
    if name is None or name.upper().startswith("LIST") or "%" in name:
        raise Refused(Reason.UNSUPPORTED_FORMAT)
    found = beside(name) if beside else None
    if found is None:
        raise Refused(Reason.PART_MISSING)
    return found


def _skip(fields: Mapping[str, str], name: str) -> int:
    try:
        skip = int(fields.get(name, "0"))
    except ValueError as error:
        raise Refused(Reason.BROKEN_FILE) from error
    if skip > MAXIMUM_SKIP:
        raise Refused(Reason.TOO_LARGE)
    return skip


def _from_text(stored: bytes, count: int) -> np.ndarray:
    words = stored[: count * TEXT_PER_VALUE].replace(b",", b" ").split(maxsplit=count)[:count]
    if len(words) < count:
        raise Refused(Reason.BROKEN_FILE)
    try:
        return np.array(words, "S").astype(np.float64)
    except ValueError as error:
        raise Refused(Reason.BROKEN_FILE) from error


def _from_hex(stored: bytes, needed: int) -> bytes:
    try:
        return bytes.fromhex(stored.decode("ascii"))[:needed]
    except ValueError as error:
        raise Refused(Reason.BROKEN_FILE) from error
