"""Planted models: one good sampler and bad ones with a known fault, to try gates on. No model here is ever trained.

Each is a callable as `evaluate` takes them: (class maps (n, h, w), levels (n,), seed) to images (n, h, w) int16 in the
images' unit (HU for CT). The bad ones wrap a good sampler. Which gate must refuse which fault is not here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medillus_pipeline.validation.measures import ClassMaps, Values

Levels = NDArray[np.floating]
Sample = Callable[[ClassMaps, Levels, int], Values]

LEVEL_WEIGHT = 4.0
"""How much a difference in level (0 to 1) counts against the share of differing labels when a slice is looked up."""


@dataclass(frozen=True)
class Slices:
    """Real images (n, h, w), their class maps (n, h, w) and levels (n,)."""

    values: Values
    class_maps: ClassMaps
    levels: Levels

    def nearest(self, class_maps: ClassMaps, levels: Levels) -> NDArray[np.int64]:
        """For each mask (m, h, w) at its level the row of the most similar slice, (m,)."""
        differing = [(self.class_maps != one).mean(axis=(1, 2)) for one in class_maps]
        apart = LEVEL_WEIGHT * np.abs(np.asarray(levels)[:, None] - np.asarray(self.levels)[None])
        return (np.stack(differing) + apart).argmin(axis=1)

    def at(self, rows: NDArray[np.integer]) -> "Slices":
        """The slices of these rows."""
        return Slices(self.values[rows], self.class_maps[rows], np.asarray(self.levels)[rows])


def replay(real: Slices, *, noise: float = 8.0) -> Sample:
    """The good sampler: the real image of the asked slice with Gaussian noise of that deviation.

    Where the mask differs from the slice's own, the pixels are drawn from those of the asked label in that image; from
    those around, where the label is background or absent. So a mask with an organ removed gives an image without it.
    """

    def sample(class_maps: ClassMaps, levels: Levels, seed: int) -> Values:
        rng = np.random.default_rng(seed)
        rows = real.nearest(class_maps, levels)
        images = [
            _repainted(real.values[row], real.class_maps[row], one, rng)
            for row, one in zip(rows, class_maps, strict=True)
        ]
        return _rounded(np.stack(images) + rng.normal(0, noise, class_maps.shape))

    return sample


def memoriser(training: Slices, *, kept: int = 8, noise: float = 0.0) -> Sample:
    """Over-trained on a few slices: returns the most similar of `kept` training images, evenly spread over levels."""
    order = np.argsort(training.levels, kind="stable")
    known = training.at(order[np.linspace(0, len(order) - 1, min(kept, len(order))).astype(int)])

    def sample(class_maps: ClassMaps, levels: Levels, seed: int) -> Values:
        images = known.values[known.nearest(class_maps, levels)].astype(np.float64)
        return _rounded(images + noise * np.random.default_rng(seed).standard_normal(images.shape))

    return sample


def mode_collapse(good: Sample, masks: Slices, *, body_levels: int = 8) -> Sample:
    """One image for each level of the body, whatever the mask and the seed: the good sampler's, of a fixed mask."""
    middles = (np.arange(body_levels) + 0.5) / body_levels
    chosen = masks.at(np.abs(middles[:, None] - np.asarray(masks.levels)[None]).argmin(axis=1))
    images = good(chosen.class_maps, chosen.levels, 0)

    def sample(class_maps: ClassMaps, levels: Levels, seed: int) -> Values:
        return images[np.abs(middles[None] - np.asarray(levels)[:, None]).argmin(axis=1)]

    return sample


def l1_blur(good: Sample, *, pixels: float = 1.5) -> Sample:
    """What regression with a pixel loss looks like: a Gaussian blur of that deviation, and no noise of its own."""

    def sample(class_maps: ClassMaps, levels: Levels, seed: int) -> Values:
        return _rounded(ndimage.gaussian_filter(good(class_maps, levels, 0).astype(np.float64), (0, pixels, pixels)))

    return sample


def mirror(good: Sample) -> Sample:
    """Left and right exchanged."""
    return lambda class_maps, levels, seed: np.ascontiguousarray(good(class_maps, levels, seed)[:, :, ::-1])


def organ_dropper(good: Sample, organ: int) -> Sample:
    """Never draws the class of that index (1 to C): it is taken from the mask beforehand."""
    return lambda class_maps, levels, seed: good(
        np.where(class_maps == organ, 0, class_maps).astype(class_maps.dtype), levels, seed
    )


def mask_painter(classes: int, *, low: float = -1000.0, high: float = 1000.0) -> Sample:
    """Draws the mask as grey: the class index, spread over `low` to `high`."""

    def sample(class_maps: ClassMaps, levels: Levels, seed: int) -> Values:
        return _rounded(low + class_maps.astype(np.float64) * (high - low) / max(classes, 1))

    return sample


def wrong_hu(good: Sample, *, shift: float = 60.0, gain: float = 1.0) -> Sample:
    """Every value times `gain` plus `shift`, in the images' unit, both about 0 (water for CT)."""
    return lambda class_maps, levels, seed: _rounded(good(class_maps, levels, seed) * gain + shift)


def shuffled_masks(good: Sample, pool: Slices) -> Sample:
    """Good images of masks from `pool` that were not asked for, drawn anew for each image from all levels."""

    def sample(class_maps: ClassMaps, levels: Levels, seed: int) -> Values:
        rows = np.random.default_rng(seed).integers(0, len(pool.class_maps), len(class_maps))
        other = pool.at(rows)
        return good(other.class_maps, other.levels, seed)

    return sample


def forgetful(good: Sample, organ: int, *, share: float = 0.1) -> Sample:
    """Leaves the class of that index (1 to C) out of so large a share of its images."""
    without = organ_dropper(good, organ)

    def sample(class_maps: ClassMaps, levels: Levels, seed: int) -> Values:
        forgets = np.random.default_rng([seed, organ]).random(len(class_maps)) < share
        images = good(class_maps, levels, seed).copy()
        images[forgets] = without(class_maps, levels, seed)[forgets]
        return images

    return sample


def warped_copies(good: Sample, training: Slices, *, share: float = 0.1, pixels: float = 1.25) -> Sample:
    """So large a share of its images are training slices, the nearest to the mask, warped smoothly by up to `pixels`;
    the others are good.
    """

    def sample(class_maps: ClassMaps, levels: Levels, seed: int) -> Values:
        rng = np.random.default_rng([seed, 1])
        images = good(class_maps, levels, seed).copy()
        copied = np.flatnonzero(rng.random(len(class_maps)) < share)
        if len(copied):
            rows = training.nearest(class_maps[copied], np.asarray(levels)[copied])
            images[copied] = [_warped(training.values[row], pixels, rng) for row in rows]
        return images

    return sample


def one_organ_wrong(good: Sample, organ: int, *, shift: float = 80.0) -> Sample:
    """The tissue of one class (1 to C) shifted by so much, all else right."""
    return lambda class_maps, levels, seed: _rounded(
        good(class_maps, levels, seed).astype(np.float64) + np.where(class_maps == organ, shift, 0.0)
    )


def planted_models(
    good: Sample, training: Slices, others: Slices, classes: int, *, dropped: int = 1
) -> dict[str, Sample]:
    """All bad models by name, with their faults as above; `dropped` is the class that the organ dropper never draws.

    `good` must be able to draw the masks of `others` too, slices of patients who are neither measured nor trained on:
    mode collapse and shuffled masks draw them, and must not be taken for copies.
    """
    return {
        "memoriser": memoriser(training),
        "mode_collapse": mode_collapse(good, others),
        "l1_blur": l1_blur(good),
        "mirror": mirror(good),
        "organ_dropper": organ_dropper(good, dropped),
        "mask_painter": mask_painter(classes),
        "wrong_hu": wrong_hu(good),
        "shuffled_masks": shuffled_masks(good, others),
    }


def _warped(image: Values, pixels: float, rng: np.random.Generator) -> Values:
    height, width = image.shape
    along = [ndimage.gaussian_filter(rng.standard_normal(image.shape), min(height, width) / 8) for _ in range(2)]
    rows, columns = (pixels * part / np.abs(part).max() for part in along)
    at = np.mgrid[:height, :width] + np.stack([rows, columns])
    return _rounded(ndimage.map_coordinates(image.astype(np.float64), at, order=1, mode="nearest"))


def _repainted(image: Values, drawn: ClassMaps, asked: ClassMaps, rng: np.random.Generator) -> NDArray[np.float64]:
    out = image.astype(np.float64)
    changed = drawn != asked
    for label in np.unique(asked[changed]):
        target = changed & (asked == label)
        source = image[(drawn == label) & ~changed] if label else np.array([])
        if not len(source):
            # A pixel's width of the removed organ's edge is mixed with it, and must go too.
            edge = ndimage.binary_dilation(target) & (drawn == asked) & (asked == label)
            target = target | edge
            around = ndimage.binary_dilation(target, iterations=3) & ~target & ~changed
            source = image[around & (asked == label)] if (around & (asked == label)).any() else image[~changed]
            low, high = np.percentile(source, (25, 75))
            source = source[(source >= low) & (source <= high)]
        out[target] = rng.choice(source, np.count_nonzero(target))
    return out


def _rounded(images: NDArray[np.floating]) -> Values:
    return np.rint(np.clip(images, -32768, 32767)).astype(np.int16)
