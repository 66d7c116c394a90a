"""Lesions that may be planted in a synthetic patient: a nodule in a lung, a cyst in the liver; drawn and labelled.

They are drawn from a random generator of their own: a patient with a lesion is the same patient otherwise. What is not
here: organs (`organs.py`).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.phantom.shapes import FAR_OUTSIDE, Canvas

Key = Literal["lung_nodule", "liver_cyst"]


@dataclass(frozen=True)
class Lesion:
    """What is planted: a key of the vocabulary, and the generator that chooses its place, size and shape."""

    key: Key
    rng: np.random.Generator


@dataclass(frozen=True)
class _Kind:
    """Where a lesion lies (keys of the vocabulary), its radius in mm, its value in HU, how uneven its surface is."""

    hosts: tuple[str, ...]
    radius: tuple[float, float]
    value: float
    bumps: float


_KINDS: dict[Key, _Kind] = {
    "lung_nodule": _Kind(("lung_left", "lung_right"), (8.0, 14.0), 45.0, 0.10),
    "liver_cyst": _Kind(("liver",), (10.0, 18.0), 6.0, 0.03),
}


def lesion_of(index: int) -> Key | None:
    """The lesion of a cohort's patient number `index` where lesions are planted; half of the patients have none."""
    planted: dict[int, Key] = {1: "lung_nodule", 3: "liver_cyst"}
    return planted.get(index % 4)


def paint(canvas: Canvas, lesion: Lesion) -> None:
    """Paint the lesion into its organ, as far from the organ's surface as its size asks for where there is room.

    Raises ValueError when the canvas does not show the organ.
    """
    words, kind, rng = vocabulary.load(), _KINDS[lesion.key], lesion.rng
    present = [host for host in (words.by_key(key).id for key in kind.hosts) if (canvas.labels == host).any()]
    if not present:
        raise ValueError(f"a {lesion.key} needs {' or '.join(kind.hosts)} on the canvas")
    host = canvas.labels == int(rng.choice(present))
    spacing = [float(axis[1] - axis[0]) for axis in (canvas.z, canvas.y, canvas.x)]
    depth = np.asarray(ndimage.distance_transform_edt(host, sampling=spacing))
    radius = float(rng.uniform(*kind.radius))
    places = np.argwhere(depth >= min(radius + 3, float(depth.max())))
    z, y, x = places[int(rng.integers(len(places)))]
    centre = (float(canvas.x[x]), float(canvas.y[y]), float(canvas.z[z]))
    radii = (radius, radius * float(rng.uniform(0.85, 1.15)), radius * float(rng.uniform(0.85, 1.15)))
    box, inside = canvas.ellipsoid(rng, centre, radii, bumps=kind.bumps)
    inside = np.where(host[box], inside, np.float32(FAR_OUTSIDE)).astype(np.float32)
    canvas.paint(box, inside, kind.value, words.by_key(lesion.key).id)
