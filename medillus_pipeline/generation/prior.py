"""The anatomical prior: what training patients look like at each position along the body, and how structures lie.

Built from the train split only. It conditions the generator (tissue and position channels), tells where an unplaced
mask belongs along the body, and later gives validation its plausibility rules. The channels themselves are computed in
`networks.py`, which travels with the model.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors.numpy import load, save
from scipy import ndimage

from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.generation.canonical import NORMALISED_RANGE
from medillus_pipeline.generation.config import PriorConfig
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.pictures import class_colours, sheet

TISSUES = ("air", "fat", "soft", "bone")
TISSUE_THRESHOLDS_HU = (-300.0, -20.0, 200.0)
TISSUE_GREYS = (0, 90, 160, 255)
FORMAT = 1


@dataclass(frozen=True)
class Prior:
    """Maps by level (evenly spaced, 0 feet to 1 head) and figures by class, in the order of `classes`.

    * `occupancy` (levels, classes, h, w) float32: share of training patients whose structure covers the pixel;
    * `tissue` (levels, 4, h, w) float32: probabilities of air, fat, soft tissue and bone, which add up to 1;
    * `area` (levels, classes, 2): mean and standard deviation of the structure's area in a slice in mm², where present;
    * `extent` (classes, 2): mean and standard deviation over patients of the summed area in mm² (volume ÷ spacing);
    * `centroid` (classes, 3, 2): x, y in mm from the frame's middle and level; mean and deviation over patients;
    * `adjacency` (classes + 1, classes + 1): share of the row structure's border pixels that touch the column's
      structure, background first;
    * `order` (classes, classes): share of patients whose row structure lies further to the patient's left.
    NaN where no training patient says anything.
    """

    classes: tuple[int, ...]
    occupancy: np.ndarray
    tissue: np.ndarray
    area: np.ndarray
    extent: np.ndarray
    centroid: np.ndarray
    adjacency: np.ndarray
    order: np.ndarray
    patients: int
    dataset_fingerprint: str

    ARRAYS = ("occupancy", "tissue", "area", "extent", "centroid", "adjacency", "order")

    def channels(self, levels: np.ndarray) -> np.ndarray:
        """(n, 7, h, w) float32 conditioning maps for (n,) levels: four tissues, column, row, level."""
        import torch

        from medillus_pipeline.generation.networks import prior_channels

        return prior_channels(torch.from_numpy(self.tissue), torch.as_tensor(levels, dtype=torch.float32)).numpy()

    def likely_levels(self, labels: np.ndarray) -> np.ndarray:
        """(n,) float32: for each label map (n, h, w), class indices, the level whose occupancy explains it best."""
        import torch

        from medillus_pipeline.generation.networks import likely_levels

        return likely_levels(torch.from_numpy(self.occupancy), torch.from_numpy(np.asarray(labels, np.int64))).numpy()

    def to_bytes(self) -> bytes:
        """Safetensors, with classes and origin in its metadata."""
        metadata = {
            "format": FORMAT,
            "classes": self.classes,
            "patients": self.patients,
            "dataset_fingerprint": self.dataset_fingerprint,
        }
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in self.ARRAYS}
        return save(arrays, {"prior": json.dumps(metadata)})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Prior":
        """The inverse of `to_bytes`."""
        metadata = read_metadata(data, "prior")
        return cls(
            classes=tuple(metadata["classes"]),
            patients=metadata["patients"],
            dataset_fingerprint=metadata["dataset_fingerprint"],
            **load(data),
        )


def read_metadata(data: bytes, name: str) -> dict[str, Any]:
    """The JSON entry `name` in a safetensors file's metadata (header: 8 bytes of length, then JSON)."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return json.loads(header["__metadata__"][name])


def build_prior(dataset: Dataset, config: PriorConfig | None = None) -> Prior:
    """The prior of the dataset's train split. Raises NotEnoughDataError when that split is empty."""
    config = config or PriorConfig()
    train = dataset.split("train")
    if not len(train):
        raise NotEnoughDataError("no labelled slice belongs to a training patient, so there is no prior to build")
    count = len(dataset.classes)
    values, labels = np.asarray(train.values), np.asarray(train.labels)
    pixel_areas = np.array([row["affine"][0] * row["affine"][5] for row in train.rows])
    masks = labels[:, None] == np.arange(1, count + 1, dtype=np.uint8)[None, :, None, None]
    areas = masks.sum((2, 3)) * pixel_areas[:, None]
    patients = np.array(train.patients)
    centroid, order = _positions(train, masks, patients)
    return Prior(
        classes=dataset.classes,
        occupancy=_by_level(masks, train, config),
        tissue=_by_level(tissues(values, dataset.manifest["config"]["modality"]), train, config),
        area=_area_by_level(areas, train.levels, config.levels),
        extent=_spread(np.stack([areas[patients == p].sum(0) for p in np.unique(patients)])),
        centroid=centroid,
        adjacency=_adjacency(labels, count),
        order=order,
        patients=len(np.unique(patients)),
        dataset_fingerprint=dataset.fingerprint,
    )


def preview(prior: Prior, vocabulary: Vocabulary, *, columns: int = 8) -> bytes:
    """A PNG with two lines, feet to head: the expected tissue, and each pixel's likeliest structure, as bright as it
    is likely.
    """
    levels = np.linspace(0, len(prior.tissue) - 1, columns).round().astype(int)
    tissue = np.tensordot(np.array(TISSUE_GREYS, np.float32), prior.tissue[levels], axes=(0, 1))
    colours = class_colours(prior.classes, vocabulary.palette())[1:]
    occupancy = prior.occupancy[levels]
    structure = colours[occupancy.argmax(1)] * np.clip(occupancy.max(1), 0, 1)[..., None]
    return sheet(
        [
            list(np.repeat(np.rint(tissue)[..., None], 3, -1).astype(np.uint8)),
            list(np.rint(structure).astype(np.uint8)),
        ]
    )


def tissues(values: np.ndarray, modality: str = "CT") -> np.ndarray:
    """(n, 4, h, w) bool: air, fat, soft tissue, bone of (n, h, w) values, 3×3 median first; quarters of the
    range for a modality without a unit.
    """
    low, high = NORMALISED_RANGE
    thresholds = TISSUE_THRESHOLDS_HU if modality == "CT" else tuple(np.linspace(low, high, 5)[1:4])
    kind = np.digitize(ndimage.median_filter(values, size=(1, 3, 3)), thresholds)
    return kind[:, None] == np.arange(len(TISSUES))[None, :, None, None]


def _by_level(maps: np.ndarray, train: Dataset, config: PriorConfig) -> np.ndarray:
    """(levels, c, h, w) float32: mean of (n, c, h, w) maps around each level, each patient with the same weight."""
    patients = train.patients
    share = {patient: 1 / patients.count(patient) for patient in set(patients)}
    weights = np.array([share[patient] for patient in patients])
    grid = np.linspace(0, 1, config.levels)
    width = max(config.level_smoothing, 0.3) / (config.levels - 1)
    distance = (grid[:, None] - train.levels[None]) / width
    # Subtracting the nearest slice's distance keeps the weights of levels that no slice is near from vanishing.
    kernel = np.exp(-0.5 * (distance**2 - (distance**2).min(1, keepdims=True))) * weights
    kernel /= kernel.sum(1, keepdims=True)
    mean = np.tensordot(kernel, maps.astype(np.float32), axes=1)
    if config.plane_smoothing:
        mean = ndimage.gaussian_filter(mean, (0, 0, config.plane_smoothing, config.plane_smoothing), mode="nearest")
    return mean.astype(np.float32)


def _area_by_level(areas: np.ndarray, levels: np.ndarray, count: int) -> np.ndarray:
    nearest = np.rint(levels * (count - 1)).astype(int)
    result = np.full((count, areas.shape[1], 2), np.nan, np.float32)
    for level in np.unique(nearest):
        result[level] = _spread(np.where(areas > 0, areas, np.nan)[nearest == level])
    return result


def _positions(train: Dataset, masks: np.ndarray, patients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centroids over patients, and which of two structures lies further left."""
    count, size = masks.shape[1:3]
    x = np.array([row["affine"][0] for row in train.rows])[:, None]
    offsets = (np.arange(size) - (size - 1) / 2)[None]
    columns, rows = masks.sum(2), masks.sum(3)
    centres = []
    for patient in np.unique(patients):
        own = patients == patient
        weight = masks[own].sum((0, 2, 3)).astype(float)
        weight[weight == 0] = np.nan
        left = np.einsum("ncw,nw->c", columns[own], x[own] * offsets) / weight
        back = np.einsum("nch,nh->c", rows[own], x[own] * offsets) / weight
        level = np.einsum("nc,n->c", masks[own].sum((2, 3)), train.levels[own]) / weight
        centres.append(np.stack([left, back, level], 1))
    stacked = np.stack(centres)
    order = np.full((count, count), np.nan, np.float32)
    difference = stacked[:, :, None, 0] - stacked[:, None, :, 0]
    known = np.isfinite(difference).sum(0)
    further = (difference > 0).sum(0)
    order[known > 0] = (further / np.maximum(known, 1))[known > 0]
    return _spread(stacked), order


def _adjacency(labels: np.ndarray, count: int) -> np.ndarray:
    touches = np.zeros((count + 1, count + 1))
    for first, second in ((labels[:, 1:], labels[:, :-1]), (labels[:, :, 1:], labels[:, :, :-1])):
        border = first != second
        pairs = np.bincount(
            first[border].astype(int) * (count + 1) + second[border], minlength=(count + 1) ** 2
        ).reshape(count + 1, count + 1)
        touches += pairs + pairs.T
    total = touches.sum(1, keepdims=True)
    return np.where(total > 0, touches / np.maximum(total, 1), np.nan).astype(np.float32)


def _spread(samples: np.ndarray) -> np.ndarray:
    """Mean and standard deviation over the first axis, NaN left out: (..., 2) float32."""
    known = np.isfinite(samples).sum(0)
    mean = np.nansum(samples, 0) / np.maximum(known, 1)
    variance = np.nansum((samples - mean) ** 2, 0) / np.maximum(known, 1)
    spread = np.stack([mean, np.sqrt(variance)], -1)
    spread[known == 0] = np.nan
    return spread.astype(np.float32)
