"""NIfTI label maps (NIfTI-1 and -2, gzipped or not) on the grid of a series.

NIfTI counts in RAS mm, DICOM in LPS: x and y change sign. Values are named by an index or a label description beside
the file, else by the table of labels that TotalSegmentator writes into it (a Caret extension), else, in a file with
one value, by the file's own name. What is not here: grids (`label_volume.py`), the index (`volume_index.py`).
"""

import html
import logging
import math
import re
from collections.abc import Mapping

import numpy as np

from medillus_pipeline.annotation.drawing import Drawing
from medillus_pipeline.annotation.formats.label_volume import (
    MAXIMUM_VOXELS,
    RESAMPLING,
    LabelVolume,
    Meanings,
    as_labels,
    check_affine,
    draw,
    meanings,
    targets_of,
)
from medillus_pipeline.annotation.formats.unpacking import opened
from medillus_pipeline.annotation.formats.volume_index import VolumeEntry as VolumeEntry
from medillus_pipeline.annotation.formats.volume_index import read_index as read_index
from medillus_pipeline.annotation.outcomes import Reason, Refused
from medillus_pipeline.annotation.slice_index import SliceIndex
from medillus_pipeline.annotation.vocabulary import Vocabulary

FORMAT = "nifti"
HEADER_BYTES = {348: 352, 540: 544}
MAXIMUM_EXTENSIONS = 2**20
MENDED = 30
"""Level of nibabel's header checks from which a file is refused: below it nothing that matters here is wrong, and
above it nibabel would go on with a guess (a negative voxel size, an unknown code of the geometry).
"""
LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
LABEL = re.compile(r'<Label\s[^>]*?Key="(\d{1,5})"[^>]*>(?:<!\[CDATA\[(.{1,200}?)\]\]>|([^<]{1,200}))</Label>')

_SILENT = logging.Logger("NIfTI header")
"""Takes what nibabel reports on a header, which quotes the file."""
_SILENT.addHandler(logging.NullHandler())


def read(
    data: bytes, entry: VolumeEntry, index: SliceIndex, vocabulary: Vocabulary, *, tolerance: float = RESAMPLING
) -> Drawing:
    """What a label map draws on the slices of its series. `tolerance`: see `label_volume.RESAMPLING`.

    Raises Refused when it is broken, no label map, empty, without names, or on another grid than all of its slices,
    and (pending) when its series is not published. Slices without any label get no mask.
    """
    targets = targets_of(entry.series_instance_uid, index)
    values, affine, inside = load_labels(data)
    drawing = Drawing(FORMAT)
    volume = LabelVolume(values, affine)
    draw(drawing, [(volume, named(values, entry, inside, vocabulary))], targets, tolerance=tolerance)
    return drawing


def named(values: np.ndarray, entry: VolumeEntry, inside: Mapping[int, str], vocabulary: Vocabulary) -> Meanings:
    """What the values of a label map stand for, by the first that says it: its entry, the file, the file's name.

    Raises Refused when nothing does: a name for one structure says nothing on a map of several.
    """
    names = {} if entry.structure else entry.labels or inside
    if names or not values.any():
        return meanings(names, vocabulary)
    value = int(values.max())
    name = entry.structure or entry.hint
    if not name or not ((values == 0) | (values == value)).all():
        raise Refused(Reason.NOT_A_LABEL_MAP if name and entry.structure else Reason.NO_LABEL_NAMES)
    return meanings({value: name}, vocabulary)


def load_labels(data: bytes) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Label values, uint16 (x, y, z), the (4, 4) affine from voxel indices to LPS mm, and the names inside the file.

    The header is read and judged before anything large is unpacked. Raises Refused for a broken file, too many voxels,
    an affine that cannot be inverted, or values that are no labels.
    """
    import nibabel as nib
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    head = opened(data, max(HEADER_BYTES.values()))
    size = {int.from_bytes(head[:4], order) for order in ("little", "big")} & set(HEADER_BYTES)
    if not size or len(head) < min(size):
        raise Refused(Reason.BROKEN_FILE)
    kind = nib.Nifti1Header if size == {348} else nib.Nifti2Header
    try:
        # Not from_fileobj, which goes on to read extensions that reach past these bytes.
        header = kind(head[: min(size)], check=False)
        header.check_fix(logger=_SILENT, error_level=MENDED)
        shape = tuple(int(n) for n in header.get_data_shape())
        dtype = header.get_data_dtype()
        offset = int(header.get_data_offset()) if header["magic"] not in (b"ni1", b"ni2") else 0
        affine = np.asarray(header.get_best_affine(), np.float64)
        slope, intercept = header.get_slope_inter()
    except (HeaderDataError, WrapStructError, ValueError, KeyError, OverflowError) as error:
        raise Refused(Reason.BROKEN_FILE) from error
    shape = shape[:3] if len(shape) > 3 and math.prod(shape[3:]) == 1 else shape
    if len(shape) != 3 or dtype.kind not in "iuf":
        raise Refused(Reason.NOT_A_LABEL_MAP)
    if min(shape) <= 0 or math.prod(shape) > MAXIMUM_VOXELS:
        raise Refused(Reason.TOO_LARGE)
    if not HEADER_BYTES[min(size)] <= offset <= 2**31:
        raise Refused(Reason.BROKEN_FILE)
    check_affine(affine)
    needed = offset + math.prod(shape) * dtype.itemsize
    raw = opened(data, needed)
    if len(raw) < needed:
        raise Refused(Reason.BROKEN_FILE)
    values = np.frombuffer(raw, dtype, math.prod(shape), offset).reshape(shape, order="F")
    if slope is not None and (slope != 1 or intercept):
        with np.errstate(over="ignore", invalid="ignore"):
            values = values * np.float64(slope) + np.float64(intercept or 0)
    inside = _names(raw[HEADER_BYTES[min(size)] : min(offset, MAXIMUM_EXTENSIONS)])
    return as_labels(values), LPS_FROM_RAS @ affine, inside


def _names(extensions: bytes) -> dict[int, str]:
    """Names by value from a Caret LabelTable among the extensions of the header; none where there is none."""
    if b"<LabelTable>" not in extensions:
        return {}
    text = extensions.decode("utf-8", "replace")
    found = {int(key): html.unescape(quoted or plain).strip() for key, quoted, plain in LABEL.findall(text)}
    return {value: name for value, name in found.items() if value and name}
