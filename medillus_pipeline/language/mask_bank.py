"""Training masks as a store to retrieve from: what each shows, where it lies, how structures stand to each other.

Built from the split `train` of a dataset only. What is not here: which mask answers a request (`mask_retrieval.py`),
and how it is changed (`mask_change.py`).
"""

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.generation.canonical import body_mask
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.organ_shapes import Shapes, measure

LEAST_TOGETHER = 8
"""Training slices that must show two structures for their order to count as sure."""

LEVEL_WIDTH = 0.05
"""Half the part of the body's length within which slices count as being at the same level."""

ENOUGH = 5
"""Slices at a level from which the usual area is taken there, and not from the nearest others."""


@dataclass(frozen=True)
class MaskBank:
    """`labels` (n, h, w) uint8, 0 or 1 + position in `classes`, with `levels` (n,), the slices' `names` and `patients`
    (pseudonyms), their `attributes`, `pixels` (n, C) of each class, and `values` (n, h, w) of the images.

    `right_of` and `below` (C, C) bool: in every training slice with both, the row's structure has its centroid at a
    greater column (further to the patient's left), or at a greater row (further back), than the column's.
    """

    labels: np.ndarray
    values: np.ndarray = field(repr=False)
    classes: tuple[int, ...]
    levels: np.ndarray
    names: tuple[str, ...]
    patients: tuple[str, ...]
    attributes: tuple[frozenset[str], ...]
    pixels: np.ndarray
    right_of: np.ndarray
    below: np.ndarray
    pixel_mm: float
    unit: bool
    fingerprint: str

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of_dataset(cls, dataset: Dataset) -> "MaskBank":
        """The training masks of a dataset. Raises NotEnoughDataError when there is none."""
        train = dataset.split("train")
        if not len(train):
            raise NotEnoughDataError("no labelled slice belongs to a training patient, so there is no mask to retrieve")
        shapes = measure(train.labels, len(train.classes), train.pixel_mm)
        right_of, below = sure_orders(shapes)
        return cls(
            labels=np.asarray(train.labels),
            values=train.values,
            classes=train.classes,
            levels=train.levels.astype(np.float64),
            names=tuple(row["slice_name"] for row in train.rows),
            patients=tuple(train.patients),
            attributes=tuple(frozenset(attributes) for attributes in train.attributes),
            pixels=shapes.pixels,
            right_of=right_of,
            below=below,
            pixel_mm=train.pixel_mm,
            unit=set(train.modalities) == {"CT"},
            fingerprint=dataset.fingerprint,
        )

    def body(self, row: int) -> np.ndarray:
        """(h, w) bool: the body in that slice, with what its labels cover."""
        values, labels = np.asarray(self.values[row], np.float32), self.labels[row]
        if self.unit:
            inside = body_mask(values, (self.pixel_mm, self.pixel_mm))
        else:
            inside = body_mask(values, (self.pixel_mm, self.pixel_mm), float(np.percentile(values, 50)))
        return np.asarray(ndimage.binary_fill_holes(inside | (labels > 0)))

    def usual_pixels(self, index: int, level: float) -> float:
        """Mean pixels of a class where training slices near a level show it; NaN where none does."""
        shown = np.flatnonzero(self.pixels[:, index] > 0)
        if not len(shown):
            return float("nan")
        gaps = np.abs(self.levels[shown] - level)
        near = shown[gaps <= LEVEL_WIDTH]
        if len(near) < ENOUGH:
            near = shown[np.argsort(gaps, kind="stable")[:ENOUGH]]
        return float(self.pixels[near, index].mean())


def sure_orders(shapes: Shapes) -> tuple[np.ndarray, np.ndarray]:
    """(C, C) bool twice: pairs whose centroids never change their order, across and from front to back."""
    found = []
    for position in (shapes.x, shapes.y):
        gap = position[:, :, None] - position[:, None, :]
        known = np.isfinite(gap)
        least = np.where(known, gap, np.inf).min(0)
        found.append((known.sum(0) >= LEAST_TOGETHER) & (least > 0) & np.isfinite(least))
    return found[0], found[1]


def broken_orders(labels: np.ndarray, right_of: np.ndarray, below: np.ndarray) -> tuple[int, int]:
    """How many sure orders of a label map (h, w) are broken, and how many there are to keep."""
    shapes = measure(labels[None], len(right_of), 1.0)
    broken = kept = 0
    for position, sure in ((shapes.x[0], right_of), (shapes.y[0], below)):
        gap = position[:, None] - position[None, :]
        there = np.isfinite(gap) & sure
        kept += int(there.sum())
        broken += int((there & (gap <= 0)).sum())
    return broken, kept


def greatest_dice(labels: np.ndarray, others: np.ndarray) -> float:
    """The greatest Dice of a label map (h, w) to label maps (n, h, w): twice the pixels with the same structure over
    the pixels with any in both. 1 where both are empty.
    """
    drawn = int((labels > 0).sum())
    best = 0.0
    flat = labels.ravel()
    places = np.flatnonzero(flat)
    for start in range(0, len(others), 256):
        part = others[start : start + 256].reshape(-1, flat.size)
        same = (part[:, places] == flat[places]).sum(1)
        total = (part > 0).sum(1) + drawn
        best = max(best, float((2 * same / np.maximum(total, 1)).max()), float((total == 0).any()))
    return best
