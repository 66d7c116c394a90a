"""A head of ellipsoids (skull, brain, nose, eyes, ears, jaw, neck), as CT or MR, and how its surface looks."""

import numpy as np

SHAPES = {
    "scalp": ((0, 0, 0), (78, 98, 92)),
    "jaw": ((0, -48, -85), (52, 48, 55)),
    "nose": ((0, -106, -52), (14, 20, 22)),
    "neck": ((0, 25, -130), (58, 58, 110)),
    "ear_l": ((80, 12, -45), (9, 16, 28)),
    "ear_r": ((-80, 12, -45), (9, 16, 28)),
}
SKULL = ((0, 0, 0), (71, 91, 85))
BRAIN = ((0, 0, 2), (64, 84, 76))
CHIN_BONE = ((0, -56, -92), (32, 30, 32))
EYES = (((32, -80, -42), (12, 12, 12)), ((-32, -80, -42), (12, 12, 12)))
CHIN = -135.0


def head(modality: str, affine: np.ndarray, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Volume (slices, rows, columns) float32 in HU or MR intensities, and which voxels are brain."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    x, y, z = (affine[a, 0] * i + affine[a, 1] * j + affine[a, 2] * k + affine[a, 3] for a in range(3))

    def within(where: tuple[tuple[float, ...], tuple[float, ...]]) -> np.ndarray:
        (cx, cy, cz), (rx, ry, rz) = where
        return ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2 <= 1

    air, skin, bone, brain, eye = (-1000, 20, 900, 35, 10) if modality == "CT" else (4, 420, 40, 300, 120)
    volume = np.full(shape, air, np.float32)
    for where in SHAPES.values():
        volume[within(where)] = skin
    volume[within(CHIN_BONE)] = bone
    for where in EYES:
        volume[within(where)] = eye
    volume[within(SKULL)] = bone
    inside = within(BRAIN)
    volume[inside] = brain
    noise = np.random.default_rng(7).normal(0, 8 if modality == "CT" else 3, shape)
    return (volume + noise).astype(np.float32), inside


def grid(
    orientation: str, spacing: tuple[float, float, float] = (3.0, 1.5, 1.5)
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Affine from (column, row, slice, 1) to LPS mm, and shape (slices, rows, columns), of a field of view around the
    head; `spacing` is (slice, row, column) in mm.
    """
    low, high = np.array([-105.0, -140.0, -190.0]), np.array([105.0, 115.0, 105.0])
    axes = {"axial": (0, 1, 2), "sagittal": (1, 2, 0), "coronal": (0, 2, 1)}[orientation]
    affine = np.eye(4)
    affine[:3, :3] = 0
    affine[:3, 3] = low
    size = []
    for column, (axis, step) in enumerate(zip(axes, spacing[::-1], strict=True)):
        down = axis == 2 and column < 2
        affine[axis, column] = -step if down else step
        if down:
            affine[axis, 3] = high[axis]
        size.append(int((high - low)[axis] / step))
    return affine, (size[2], size[1], size[0])


def along_patient(volume: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """An axis-aligned volume as (z, y, x): z to the head, y to the back, x to the left."""
    axes = [int(np.abs(affine[axis, [2, 1, 0]]).argmax()) for axis in (2, 1, 0)]
    turned = volume.transpose(axes)
    for place, axis in enumerate((2, 1, 0)):
        if affine[axis, 2 - axes[place]] < 0:
            turned = np.flip(turned, place)
    return turned


def first_hit(volume: np.ndarray, affine: np.ndarray, air: float) -> np.ndarray:
    """How deep, in mm from the front of the field of view, the surface lies: (z, x), NaN where there is none."""
    body = along_patient(volume, affine) > air
    step = float(np.abs(affine[1, :3]).max())
    return np.where(body.any(1), body.argmax(1) * step, np.nan)
