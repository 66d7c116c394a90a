"""A synthetic torso from the lower chest to the kidneys, as CT would show it, with its label map.

The wall is in `trunk.py`, bones in `skeleton.py`, organs in `organs.py`; here they are put together, and the scanner
adds its blur and noise. What is not here: DICOM.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.phantom import build as builds
from medillus_pipeline.phantom import lesions
from medillus_pipeline.phantom.organs import Organs
from medillus_pipeline.phantom.shapes import Canvas
from medillus_pipeline.phantom.skeleton import paint_back_muscles, paint_spine
from medillus_pipeline.phantom.trunk import build_trunk

LABELLED = (
    "lung_left",
    "lung_right",
    "heart",
    "aorta",
    "liver",
    "gallbladder",
    "spleen",
    "stomach",
    "kidney_left",
    "kidney_right",
    "spine",
    "spinal_cord",
)
"""Keys of the structures that a phantom labels; bowel, pancreas, veins and muscles are drawn, not labelled."""


@dataclass(frozen=True)
class Phantom:
    """One synthetic patient.

    `hu` int16 and `labels` uint8 (vocabulary ids, 0 background) are (slices, rows, columns): index 0 is the feet end,
    the front, the patient's right. `spacing` (slice, row, column) and `origin` (x, y, z of the first voxel's centre,
    LPS) are in mm.
    """

    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]


def torso(
    rng: np.random.Generator,
    *,
    shape: tuple[int, int, int] = (40, 256, 256),
    spacing: tuple[float, float, float] = (6.0, 1.6, 1.6),
    lesion: lesions.Lesion | None = None,
) -> Phantom:
    """Draw a patient: shape (slices, rows, columns), spacing in mm; the whole anatomy spans about 240 x 410 x 410 mm.

    The same generator state gives the same voxels; a lesion changes those in and beside it only.
    """
    z, y, x = (np.arange(n, dtype=np.float32) * np.float32(step) for n, step in zip(shape, spacing, strict=True))
    x, y = x - x.mean(), y - y.mean()
    canvas = Canvas(x=x, y=y, z=z)
    build = builds.draw(rng)
    trunk = build_trunk(canvas, build, rng)
    organs = Organs(canvas, build, trunk, lambda key: vocabulary.load().by_key(key).id, rng)
    paint_back_muscles(canvas, build, rng)
    organs.paint_chest()
    organs.paint_abdomen()
    terms = vocabulary.load()
    paint_spine(canvas, build, rng, terms.by_key("spine").id, terms.by_key("spinal_cord").id)
    if lesion is not None:
        lesions.paint(canvas, lesion)
    hu = _scan(canvas, build, rng)
    return Phantom(hu, canvas.labels, spacing, (float(x[0]), float(y[0]), float(z[0])))


def _scan(canvas: Canvas, build: builds.Build, rng: np.random.Generator) -> NDArray[np.int16]:
    """The scanner's view: partial volume along z, point spread, correlated noise (greatest amid the body)."""
    hu = ndimage.correlate1d(canvas.hu, np.array([0.1, 0.8, 0.1], np.float32), axis=0, mode="nearest")
    blur = np.array([0.16, 0.68, 0.16], np.float32)
    grain = rng.standard_normal(hu.shape, dtype=np.float32)
    for axis in (1, 2):
        hu = ndimage.correlate1d(hu, blur, axis=axis, mode="nearest")
        grain = ndimage.correlate1d(grain, np.array([-0.12, 0.35, 0.75, 0.35, -0.12], np.float32), axis=axis)
    far = (canvas.x[None, :] / 190) ** 2 + (canvas.y[:, None] / 140) ** 2
    hu = hu + grain * (build.noise * (0.45 + 0.75 * np.exp(-far)))[None].astype(np.float32)
    radius = np.hypot(canvas.x[None, :], canvas.y[:, None])
    hu[:, radius > canvas.x[-1] + 1] = -1024
    return np.rint(np.clip(hu, -1024, 3071)).astype(np.int16)
