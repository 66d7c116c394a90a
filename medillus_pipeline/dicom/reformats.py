"""Reformats: the middle axial, coronal and sagittal plane of a volume at true aspect, side by side in one picture.

For people who look at a delivery. Heads seen from the side show a profile: who may be pictured is decided in
`volumes.py`. What is not here: the volumes themselves, and slices (`rendering.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from PIL import Image

from medillus_pipeline.dicom.nifti_file import LPS_TO_RAS
from medillus_pipeline.dicom.png import decode_png, encode_png
from medillus_pipeline.dicom.windows import Window, apply_window
from medillus_pipeline.zones import Zone

LONGEST = 384
"""Pixels of the volume's longest side; all three planes share the scale."""
GAP = 8
BACKGROUND = 24


def reformat_planes(
    stored: np.ndarray, affine: np.ndarray, window: Window, *, slope: float = 1.0, intercept: float = 0.0
) -> bytes:
    """A grey PNG: axial (anterior up), coronal (superior up), both seen with the patient's right on the left, and
    sagittal (superior up, anterior on the left), each through the middle of the volume.

    `stored` (slices, rows, columns) holds values stored * slope + intercept; `affine` (4, 4) takes (column, row,
    slice, 1) to LPS mm. An oblique volume keeps its own planes, each under the name of the nearest one. At most
    LONGEST pixels a plane and side.
    """
    volume, steps = _to_lps(stored, affine)
    middle = [size // 2 for size in volume.shape]
    left, back, up = steps
    panels = [
        (volume[:, :, middle[2]].T, (back, left)),
        (volume[:, middle[1], ::-1].T, (up, left)),
        (volume[middle[0], :, ::-1].T, (up, back)),
    ]
    scale = LONGEST / max(size * step for size, step in zip(volume.shape, steps, strict=True))
    return _beside([_picture(plane, spacing, scale, window, slope, intercept) for plane, spacing in panels])


def sheet_of(volumes: Sequence[Mapping[str, Any]], clean: Zone, maximum: int = 6) -> bytes | None:
    """The pictures of at most `maximum` volumes (rows of VOLUMES), the largest first, one under the other as one PNG;
    None when no volume has one.
    """
    pictured = [row for row in volumes if row["preview"] is not None]
    pictured.sort(key=lambda row: (-row["slices"], row["series_instance_uid"], row["stack"]))
    pictures = [decode_png(clean.read(row["preview"])) for row in pictured[:maximum]]
    if not pictures:
        return None
    width = max(picture.shape[1] for picture in pictures)
    rows = [np.pad(p, ((0, GAP), (0, width - p.shape[1])), constant_values=BACKGROUND) for p in pictures]
    return encode_png(np.concatenate(rows)[:-GAP])


def _to_lps(stored: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, tuple[float, float, float]]:
    """A view (left, back, up) of the volume, its axes the nearest to LPS, and the mm from voxel to voxel along each."""
    turn = ornt_transform(io_orientation(LPS_TO_RAS @ affine), axcodes2ornt(("L", "P", "S")))
    volume = apply_orientation(stored.transpose(2, 1, 0), turn)
    placed = affine @ inv_ornt_aff(turn, stored.shape[::-1])
    left, back, up = np.linalg.norm(placed[:3, :3], axis=0)
    return volume, (float(left), float(back), float(up))


def _picture(
    plane: np.ndarray, spacing: tuple[float, float], scale: float, window: Window, slope: float, intercept: float
) -> np.ndarray:
    greys = apply_window(plane.astype(np.float64) * slope + intercept, window)
    size = [max(1, round(count * step * scale)) for count, step in zip(greys.shape, spacing, strict=True)]
    return np.asarray(Image.fromarray(greys).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _beside(pictures: list[np.ndarray]) -> bytes:
    height, width = max(p.shape[0] for p in pictures), sum(p.shape[1] + GAP for p in pictures) - GAP
    sheet = np.full((height, width), BACKGROUND, np.uint8)
    left = 0
    for picture in pictures:
        top = (height - picture.shape[0]) // 2
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        left += picture.shape[1] + GAP
    return encode_png(sheet)
