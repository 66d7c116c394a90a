"""One training sample, changed as another patient or another position on the table would change it: image and label.

Everything is drawn from the generator passed in. What chances these changes have is set in `augmentation_config.py`;
which slice a sample is, and what is withheld from the model, is decided in `balance.py` and `batches.py`.
"""

import math

import numpy as np
import torch
from torch.nn import functional

from medillus_pipeline.errors import ConfigurationError
from medillus_pipeline.generation.augmentation_config import AugmentationConfig

STEEPEST = 8
"""A cell of the elastic grid is at least so many times as wide as its points may move.

Along a cubic B-spline the displacement then grows by at most 2 / STEEPEST a pixel in each of four directions, together
(Frobenius norm) at most one half: less than the least stretch of the affine part, 1 / (1 + scale) >= 2 / 3, so no
picture folds over.
"""


class Augmentation:
    """Changes samples of `size` × `size` pixels.

    Raises ConfigurationError when the elastic grid is so fine, or bends so far, that pictures could fold over, and
    when a shift reaches over the whole frame.
    """

    def __init__(self, config: AugmentationConfig, size: int) -> None:
        cell = size / config.elastic_cells
        if STEEPEST * config.elastic_pixels > cell:
            raise ConfigurationError(
                f"elastic_pixels is {config.elastic_pixels}, but {config.elastic_cells} elastic_cells over {size} "
                f"pixels bear at most {cell / STEEPEST:g} without folding over; lower either"
            )
        if config.shift_pixels >= size:
            raise ConfigurationError(f"shift_pixels is {config.shift_pixels}, but the frame has only {size} pixels")
        self.config = config
        self.size = size
        self.spline = cubic_b_spline(size, config.elastic_cells)
        offsets = np.arange(size, dtype=np.float32) - (size - 1) / 2
        self.plane = np.stack(np.meshgrid(offsets, offsets))  # x (columns), then y (rows), from the middle

    def __call__(
        self,
        image: np.ndarray,
        label: np.ndarray,
        random: np.random.Generator,
        *,
        empty: float = -1.0,
        exchanged: np.ndarray | None = None,
        calibrated: bool,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The image (c, h, w) float32 in [-1, 1] and the label (h, w) integers of one sample, changed alike.

        `empty` is what stands outside the body on the [-1, 1] map.
        `exchanged` (classes + 1,) says what becomes of each label when the sample is mirrored, None that it must not
        be (see `mirroring.py`). `calibrated`: whether values have a unit (HU), so that they are left as they are.
        """
        config = self.config
        chances = random.random(2)
        move = random.integers(-config.shift_pixels, config.shift_pixels + 1, 2)
        if exchanged is not None and chances[0] < config.mirrored:
            image, label = image[..., ::-1], exchanged[label[:, ::-1]]
        if chances[1] < config.resampled:
            image, label = self._resampled(image, label, empty, random)
        if move.any():
            image, label = shifted(image, move), shifted(label, move)
        if config.calibrated_too or not calibrated:
            image = self._other_intensity(image, empty, random)
        return image, label

    def _resampled(
        self, image: np.ndarray, label: np.ndarray, empty: float, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Turned, sized and bent in one resampling.

        Labels take the nearest pixel: blending classes and taking the strongest would wear away whatever is a pixel or
        two wide. What enters from outside the frame mirrors what lies at its edge: emptiness mostly, and where the
        frame cuts the body, body, for a wedge of emptiness would be learned as anatomy.
        """
        grid = torch.from_numpy(self.coordinates(random))[None]
        # Cubic weights add up to 1 only nearly: with emptiness at 0, empty stays empty to the last bit.
        lifted = torch.from_numpy(np.ascontiguousarray(image - np.float32(empty)))[None]
        drawn = torch.from_numpy(label.astype(np.float32))[None, None]
        moved = functional.grid_sample(lifted, grid, self.config.interpolation, "reflection", align_corners=False)
        nearest = functional.grid_sample(drawn, grid, "nearest", "reflection", align_corners=False)
        return np.clip(moved[0].numpy() + np.float32(empty), -1, 1), nearest[0, 0].numpy().astype(label.dtype)

    def coordinates(self, random: np.random.Generator) -> np.ndarray:
        """(h, w, 2) float32: where each pixel looks in the unchanged picture, column then row, -1 to 1 edge to edge."""
        config = self.config
        turn, size = random.uniform(-1, 1, 2)
        points = random.uniform(-1, 1, (2, config.elastic_cells + 3, config.elastic_cells + 3)).astype(np.float32)
        angle, zoom = math.radians(turn * config.rotation_degrees), 1 / (1 + size * config.scale)
        cosine, sine = zoom * math.cos(angle), zoom * math.sin(angle)
        x, y = self.plane
        bend = config.elastic_pixels * (self.spline @ points @ self.spline.T)
        looked = np.stack([cosine * x - sine * y + bend[0], sine * x + cosine * y + bend[1]], -1)
        return (looked * (2 / self.size)).astype(np.float32)

    def _other_intensity(self, image: np.ndarray, empty: float, random: np.random.Generator) -> np.ndarray:
        """Another contrast, brightness and grain of the body; what is empty stays empty."""
        config = self.config
        gain, offset = random.uniform(-1, 1, 2)
        deviation = random.uniform(0, config.grain)
        if not (config.gain or config.offset or config.grain):
            return image
        changed = (image - empty) * (1 + gain * config.gain) + (empty + offset * config.offset)
        if config.grain:
            changed = changed + deviation * random.standard_normal(image.shape, np.float32)
        return np.where(image > np.float32(empty), np.clip(changed, -1, 1), image).astype(np.float32)


def shifted(array: np.ndarray, move: np.ndarray) -> np.ndarray:
    """The last two axes moved by whole pixels, down and right; what enters mirrors what lies at the edge."""
    for axis, pixels in zip((-2, -1), move.tolist(), strict=True):
        length = array.shape[axis]
        place = np.arange(length) - pixels
        place = np.where(place < 0, -1 - place, place)
        array = array.take(np.where(place >= length, 2 * length - 1 - place, place), axis)
    return array


def cubic_b_spline(size: int, cells: int) -> np.ndarray:
    """(size, cells + 3) float32: how much each control point counts at each pixel centre; each row adds up to 1.

    Uniform cubic B-splines over `cells` cells (Rueckert et al. 1999, "Nonrigid Registration Using Free-Form
    Deformations", eq. 2): smooth to the second derivative, and never beyond the control points.
    """
    place = (np.arange(size) + 0.5) * cells / size
    first = np.minimum(place.astype(int), cells - 1)
    u = place - first
    weights = np.zeros((size, cells + 3), np.float32)
    pieces = ((1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3)
    for number, piece in enumerate(pieces):
        weights[np.arange(size), first + number] = piece / 6
    return weights
