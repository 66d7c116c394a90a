"""Series of small DICOM files with a known volume in them, as rows of INSTANCES, for the tests of volumes."""

from typing import Any

import numpy as np

from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.dicom.image_files import encoded, image, instance_row

HU = {"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"}
AXIAL = np.eye(3)


def rotation(about_x: float, about_z: float) -> np.ndarray:
    """A rotation (3, 3) by two angles in degrees."""
    a, b = np.deg2rad(about_x), np.deg2rad(about_z)
    first = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    return first @ np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])


def lps_affine(directions: np.ndarray, steps: tuple[float, float, float], origin: tuple[float, ...]) -> np.ndarray:
    """The (4, 4) matrix from (column, row, slice, 1) to LPS mm."""
    affine = np.eye(4)
    affine[:3, :3] = directions @ np.diag(steps)
    affine[:3, 3] = origin
    return affine


def pixels_of(shape: tuple[int, int, int], seed: int = 5) -> np.ndarray:
    """Stored values (slices, rows, columns), 12 bits."""
    return np.random.default_rng(seed).integers(0, 4096, shape, np.uint16)


def series(clean: Zone, stored: np.ndarray, affine: np.ndarray, **attributes: Any) -> list[dict[str, Any]]:
    """One file a slice of `stored` (slices, rows, columns), delivered in an order that says nothing.

    `attributes` may hold functions of the slice's number; `row` holds columns of INSTANCES to change.
    """
    columns = attributes.pop("row", {})
    made = []
    for k in np.random.default_rng(1).permutation(len(stored)):
        own = {name: value(int(k)) if callable(value) else value for name, value in attributes.items()}
        across, down, _ = np.linalg.norm(affine[:3, :3], axis=0)
        where = {
            "ImagePositionPatient": [f"{v:.10g}" for v in affine[:3, 3] + affine[:3, 2] * k],
            "ImageOrientationPatient": [f"{v:.10g}" for v in (*affine[:3, 0] / across, *affine[:3, 1] / down)],
            "PixelSpacing": [f"{down:.10g}", f"{across:.10g}"],
            "InstanceNumber": len(made) + 1,
        }
        made.append(instance_row(encoded(image(stored[k], **(where | own))), clean, **({"face": "none"} | columns)))
    return made
