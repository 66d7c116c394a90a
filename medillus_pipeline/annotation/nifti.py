"""NIfTI label maps (NIfTI-1 and -2, gzipped or not) on the grid of a series, with an `index.json` beside them.

    {"volumes": [{"file": "x.nii.gz", "series_instance_uid": "<original UID>"}],   or "series": "<pseudonymous UID>"
     "labels": {"1": "liver", "2": "heart"}}                                       or per volume

Files are named relative to the index. NIfTI counts in RAS mm, DICOM in LPS: x and y change sign. A volume has to lie on
the grid of its series (any axis order and direction, every pixel centre within a quarter of a voxel of a voxel centre)
and cover each slice that it reaches in full; nothing is interpolated.
"""

import io
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from medillus_pipeline.annotation.drawing import WHOLE_ITEM, Drawing
from medillus_pipeline.annotation.label_map import trimmed
from medillus_pipeline.annotation.labelme import parse
from medillus_pipeline.annotation.outcomes import Outcome, Reason, Refused
from medillus_pipeline.annotation.references import References
from medillus_pipeline.annotation.slice_index import SliceIndex, Target
from medillus_pipeline.annotation.vocabulary import Vocabulary

FORMAT = "nifti"
MAXIMUM_VOXELS = 1_000_000_000
GREATEST_LABEL = 65_535
FIT_TOLERANCE = 0.25
"""Greatest distance, in voxels and along each axis, of a pixel centre from the voxel centre that it takes."""
HEADER_BYTES = {348: 352, 540: 544}


@dataclass(frozen=True)
class VolumeEntry:
    """A volume of an index: its path relative to the index, the pseudonymous UID of its series, names by value."""

    file: str
    series_instance_uid: str
    labels: dict[int, str]


def read_index(data: bytes, references: References) -> list[VolumeEntry]:
    """The volumes that an `index.json` names. Raises Refused when it is broken or has another shape."""
    document = parse(data)
    try:
        return [_entry(volume, document.get("labels") or {}, references) for volume in document["volumes"]]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Refused(Reason.BROKEN_FILE) from error


def _entry(volume: Any, common: Any, references: References) -> VolumeEntry:
    labels = volume.get("labels") or common
    series = references.series(str(volume.get("series") or volume["series_instance_uid"]))
    return VolumeEntry(str(volume["file"]), str(series), {int(value): str(name) for value, name in labels.items()})


def read(data: bytes, entry: VolumeEntry, index: SliceIndex, vocabulary: Vocabulary) -> Drawing:
    """What a label map draws on the slices of its series.

    Raises Refused when it is broken, no label map, empty, or on another grid than all of its slices, and (pending) when
    its series is not published. Slices without any label get no mask.
    """
    targets = index.by_series.get(entry.series_instance_uid)
    if not targets:
        raise Refused(Reason.UNKNOWN_SLICE, Outcome.PENDING)
    volume, affine = load_labels(data)
    if not volume.any():
        raise Refused(Reason.EMPTY)
    drawing = Drawing(FORMAT)
    for target in targets:
        try:
            plane = sample(volume, affine, target)
        except Refused as refused:
            drawing.note(WHOLE_ITEM, refused.reason, target.slice_name)
            continue
        if plane is not None:
            _draw(drawing, plane, target, entry.labels, vocabulary)
    if not drawing.regions and not drawing.notes:
        raise Refused(Reason.OTHER_GEOMETRY)
    return drawing


def _draw(
    drawing: Drawing, plane: np.ndarray, target: Target, labels: Mapping[int, str], vocabulary: Vocabulary
) -> None:
    from scipy.ndimage import find_objects

    present = np.flatnonzero(np.bincount(plane.ravel()))
    compact = np.searchsorted(present, plane).astype(np.int32) + (0 if present[0] == 0 else 1)
    boxes = find_objects(compact)
    for value, box in zip(present[present > 0], boxes, strict=True):
        name = labels.get(int(value))
        structure = vocabulary.resolve(name) if name is not None else None
        if structure is None:
            drawing.unknown(name if name is not None else f"value {value}", target.slice_name)
        else:
            region = trimmed(plane[box] == value, box[0].start, box[1].start)
            if region is not None:
                drawing.add(target.slice_name, structure, region)


def load_labels(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Label values, uint16 (x, y, z), and the (4, 4) affine from voxel indices to LPS mm.

    The header is read and judged before anything large is unpacked. Raises Refused for a broken file, too many voxels,
    an affine that cannot be inverted, or values that are no labels.
    """
    import nibabel as nib
    from nibabel.spatialimages import HeaderDataError

    head = _unpacked(data, max(HEADER_BYTES.values()))
    size = {int.from_bytes(head[:4], order) for order in ("little", "big")} & set(HEADER_BYTES)
    if not size:
        raise Refused(Reason.BROKEN_FILE)
    kind = nib.Nifti1Header if size == {348} else nib.Nifti2Header
    try:
        header = kind.from_fileobj(io.BytesIO(head), check=True)
        shape = tuple(int(n) for n in header.get_data_shape())
        dtype = header.get_data_dtype()
        offset = int(header.get_data_offset()) if header["magic"] != b"ni1" else 0
        affine = np.asarray(header.get_best_affine(), np.float64)
        slope, intercept = header.get_slope_inter()
    except (HeaderDataError, ValueError, KeyError, OverflowError) as error:
        raise Refused(Reason.BROKEN_FILE) from error
    shape = shape[:3] if len(shape) > 3 and math.prod(shape[3:]) == 1 else shape
    if len(shape) != 3 or dtype.kind not in "iuf":
        raise Refused(Reason.NOT_A_LABEL_MAP)
    if not 0 < math.prod(shape) <= MAXIMUM_VOXELS:
        raise Refused(Reason.TOO_LARGE)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise Refused(Reason.OTHER_GEOMETRY)
    needed = offset + math.prod(shape) * dtype.itemsize
    raw = _unpacked(data, needed)
    if len(raw) < needed or offset < len(head[:348]):
        raise Refused(Reason.BROKEN_FILE)
    values = np.frombuffer(raw, dtype, math.prod(shape), offset).reshape(shape, order="F")
    if slope is not None and (slope != 1 or intercept):
        values = values * np.float64(slope) + np.float64(intercept or 0)
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= GREATEST_LABEL):
        raise Refused(Reason.NOT_A_LABEL_MAP)
    labels = values.astype(np.uint16)
    if values.dtype.kind == "f" and not np.array_equal(labels, values):
        raise Refused(Reason.NOT_A_LABEL_MAP)
    return labels, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _unpacked(data: bytes, maximum: int) -> bytes:
    """At most the first `maximum` bytes, gunzipped where the data are gzip."""
    if not data.startswith(b"\x1f\x8b"):
        return data[:maximum]
    try:
        return zlib.decompressobj(wbits=31).decompress(data, maximum)
    except zlib.error as error:
        raise Refused(Reason.BROKEN_FILE) from error


def sample(volume: np.ndarray, affine: np.ndarray, target: Target) -> np.ndarray | None:
    """The volume's values (x, y, z) at the pixel centres of a slice, (rows, columns); None where it does not reach.

    Raises Refused when the slice has no geometry or its pixels are no voxels of the volume.
    """
    if not target.has_geometry:
        raise Refused(Reason.OTHER_GEOMETRY)
    to_voxel = np.linalg.inv(affine) @ target.affine
    steps = np.round(to_voxel[:3, :2]).astype(np.int64)
    first = np.round(to_voxel[:3, 3]).astype(np.int64)
    if not (np.abs(steps).sum(axis=0) == 1).all() or (np.abs(steps).sum(axis=1) > 1).any():
        raise Refused(Reason.OTHER_GEOMETRY)
    corners = np.array([[c, r] for c in (0, target.columns - 1) for r in (0, target.rows - 1)], np.float64)
    exact = corners @ to_voxel[:3, :2].T + to_voxel[:3, 3]
    if np.abs(exact - (corners @ steps.T + first)).max() > FIT_TOLERANCE:
        raise Refused(Reason.OTHER_GEOMETRY)
    across, down = (int(np.flatnonzero(steps[:, k])[0]) for k in (0, 1))
    through = 3 - across - down
    if not 0 <= first[through] < volume.shape[through]:
        return None
    indices = [np.array([first[through]])] * 3
    indices[across] = first[across] + steps[across, 0] * np.arange(target.columns)
    indices[down] = first[down] + steps[down, 1] * np.arange(target.rows)
    for axis in (across, down):
        if indices[axis].min() < 0 or indices[axis].max() >= volume.shape[axis]:
            raise Refused(Reason.OTHER_GEOMETRY)
    plane = np.take(volume[np.ix_(*indices)], 0, axis=through)
    return np.ascontiguousarray(plane.T if across < down else plane)
