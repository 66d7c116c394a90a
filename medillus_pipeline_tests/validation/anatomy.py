"""Synthetic bodies whose truth is known, an oracle judge for them, and generators good and bad to plant.

A body is an ellipse of soft tissue with a fat rim and five organs whose size and place vary by patient and level. The
judge knows the tissue means and looks at a 3x3 neighbourhood, so its quality does not depend on any training.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

SIZE = 48


@dataclass(frozen=True)
class Structure:
    """An organ with its HU mean and its ellipse: centre (row, column) and radii, as shares of the frame."""

    key: str
    name_en: str
    name_zh: str
    colour: str
    hu: float
    centre: tuple[float, float]
    radii: tuple[float, float]


ORGANS = (
    Structure("lung_left", "left lung", "左肺", "#5fb0d6", -800, (0.42, 0.74), (0.17, 0.10)),
    Structure("liver", "liver", "肝", "#a8503a", 110, (0.50, 0.32), (0.15, 0.15)),
    Structure("heart", "heart", "心脏", "#d43d51", 200, (0.36, 0.54), (0.09, 0.08)),
    Structure("vertebra", "vertebra", "椎骨", "#e9d8a6", 420, (0.74, 0.50), (0.08, 0.08)),
    Structure("spleen", "spleen", "脾", "#9b5de5", 290, (0.67, 0.75), (0.07, 0.08)),
)
MEANS = np.array([50.0, *(organ.hu for organ in ORGANS)])
FAT, AIR, MUSCLE = -100.0, -1000.0, 50.0


@dataclass(frozen=True)
class Cohort:
    """Real images (n, h, w) with class maps, patients and levels, as `evaluate` takes them."""

    values: np.ndarray
    class_maps: np.ndarray
    patients: list[str]
    levels: list[float]


def cohort(patients: int = 6, slices: int = 8, seed: int = 1) -> Cohort:
    """Real patients: shapes and a HU offset of their own, correlated noise."""
    rng = np.random.default_rng(seed)
    values, maps, names, levels = [], [], [], []
    for patient in range(patients):
        shift, scale = rng.normal(0, 0.035, (len(ORGANS), 2)), rng.normal(1, 0.16, (len(ORGANS), 2))
        offset = rng.normal(0, 6)
        for row in range(slices):
            level = (row + 0.5) / slices
            class_map = _mask(level, shift, scale)
            maps.append(class_map)
            values.append(paint(class_map, rng, offset=offset))
            names.append(f"p-{patient:016x}")
            levels.append(level)
    return Cohort(np.stack(values), np.stack(maps), names, levels)


def _mask(level: float, shift: np.ndarray, scale: np.ndarray) -> np.ndarray:
    row, column = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE
    out = np.zeros((SIZE, SIZE), np.uint8)
    for index, organ in enumerate(ORGANS):
        swell = 0.75 + 0.5 * np.sin(np.pi * level)
        centre, radii = organ.centre + shift[index], np.array(organ.radii) * scale[index] * swell
        out[((row - centre[0]) / radii[0]) ** 2 + ((column - centre[1]) / radii[1]) ** 2 < 1] = index + 1
    return out


def paint(class_map: np.ndarray, rng: np.random.Generator, *, offset: float | None = None) -> np.ndarray:
    """An image (h, w) int16 of the mask: the truth of this world, so also its perfect generator."""
    row, column = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE - 0.5
    radius = (row / 0.44) ** 2 + (column / 0.48) ** 2
    image = np.where(radius < 0.85, MUSCLE, np.where(radius < 1, FAT, AIR))
    image = np.where(class_map > 0, MEANS[class_map], image)
    image = ndimage.gaussian_filter(image, 0.5)
    grain = ndimage.gaussian_filter(rng.standard_normal(image.shape), 0.7)
    image = image + 18 * grain / grain.std() + (rng.normal(0, 6) if offset is None else offset)
    return np.rint(np.clip(np.where(radius < 1.05, image, AIR), -1024, 3000)).astype(np.int16)


def good(class_maps: np.ndarray, levels: np.ndarray, seed: int) -> np.ndarray:
    """A perfect generator: draws new images of the masks from the world itself."""
    rng = np.random.default_rng(seed)
    return np.stack([paint(one, rng) for one in class_maps])


class OracleJudge:
    """Nearest tissue mean in a 3x3 neighbourhood, near where the organ belongs; all else is background."""

    def __init__(self, blind: bool = False) -> None:
        self.blind = blind

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Probabilities (n, organs + 1, h, w)."""
        smooth = ndimage.uniform_filter(values.astype(float), (0, 3, 3))
        means = np.array([MUSCLE, FAT, AIR, *(organ.hu for organ in ORGANS)])
        if self.blind:
            means = np.roll(means, 1)
        score = np.exp(-np.abs(smooth[:, None] - means[:, None, None]) / 20)
        row, column = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE
        for index, organ in enumerate(ORGANS, start=3):
            away = ((row - organ.centre[0]) / organ.radii[0]) ** 2 + ((column - organ.centre[1]) / organ.radii[1]) ** 2
            score[:, index] *= away < 4
        score = np.concatenate([score[:, :3].max(axis=1, keepdims=True), score[:, 3:]], axis=1)
        return score / np.maximum(score.sum(axis=1, keepdims=True), 1e-12)

    def features(self, values: np.ndarray) -> np.ndarray:
        """Shares of tissues by quadrant and mean gradients, (n, 20)."""
        bounds = np.array([-1100, -500, 0, 80, 150, 3000])
        out = []
        for image in values.astype(float):
            half = SIZE // 2
            quarters = [image[a : a + half, b : b + half] for a in (0, half) for b in (0, half)]
            shares = [np.histogram(part, bounds)[0][1:] / part.size for part in quarters]
            grain = [np.abs(np.diff(np.clip(part, -200, 300), axis=1)).mean() / 60 for part in quarters]
            out.append(np.concatenate([*shares, grain]))
        return np.array(out)
