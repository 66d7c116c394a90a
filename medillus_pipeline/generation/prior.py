"""The anatomical prior: what patients look like at each position along the body, and how structures lie.

Built from the train split only, or from an atlas (`atlas.py`). It conditions the generator (tissue and position
channels), tells where an unplaced mask belongs along the body, completes partial masks and proposes whole ones, and
gives validation its plausibility rules. Channels are computed in `conditions.py` and shapes in `shape_model.py`, which
travel with the model.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load, save
from scipy import ndimage

from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.errors import InputError, NotEnoughDataError
from medillus_pipeline.generation import prior_moments
from medillus_pipeline.generation.canonical import NORMALISED_RANGE
from medillus_pipeline.generation.config import PriorConfig
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.pictures import class_colours, sheet

if TYPE_CHECKING:
    from medillus_pipeline.generation.shape_model import ShapeModel

TISSUES = ("air", "fat", "soft", "bone")
TISSUE_THRESHOLDS_HU = (-300.0, -20.0, 200.0)
TISSUE_GREYS = (0, 90, 160, 255)
FORMAT = 2


@dataclass(frozen=True)
class Prior:
    """Maps by level (evenly spaced, 0 feet to 1 head) and figures by class, in the order of `classes`.

    * `occupancy` (levels, classes, h, w) float32: share of training patients whose structure covers the pixel;
    * `tissue` (levels, 4, h, w) float32: probabilities of air, fat, soft tissue and bone, which add up to 1;
    * `area` (levels, classes, 2): mean and standard deviation of the structure's area in a slice in mm², where present;
    * `moments` (levels, classes, 3, 2): the same of its elongation, orientation in degrees and compactness, as in
      `prior_moments.MOMENTS`;
    * `extent` (classes, 2): mean and standard deviation over patients of the summed area in mm² (volume ÷ spacing);
    * `centroid` (classes, 3, 2): x, y in mm from the frame's middle and level; mean and deviation over patients;
    * `adjacency` (classes + 1, classes + 1): share of the row structure's border pixels that touch the column's
      structure, background first;
    * `order` (classes, classes): share of patients whose row structure lies further to the patient's left;
    * `shapes`: the tensors of the statistical shape model, by name.
    NaN where no patient says anything. `dataset_fingerprint` is empty for a prior of an atlas; `origin` says in words
    where it comes from; `pixel_mm` is the side of a pixel of its maps in mm.
    """

    classes: tuple[int, ...]
    occupancy: np.ndarray
    tissue: np.ndarray
    area: np.ndarray
    moments: np.ndarray
    extent: np.ndarray
    centroid: np.ndarray
    adjacency: np.ndarray
    order: np.ndarray
    patients: int
    dataset_fingerprint: str
    origin: str
    pixel_mm: float
    shapes: Mapping[str, np.ndarray] = field(repr=False)

    ARRAYS = ("occupancy", "tissue", "area", "moments", "extent", "centroid", "adjacency", "order")

    @property
    def shape_model(self) -> "ShapeModel":
        """The statistical shape model: completes partial masks, proposes tissue and whole masks."""
        import torch

        from medillus_pipeline.generation.shape_model import ShapeModel

        return ShapeModel.from_tensors({name: torch.from_numpy(array.copy()) for name, array in self.shapes.items()})

    @property
    def version(self) -> str:
        """The format, and the first 12 digits of the SHA-256 of the stored prior: two that differ have two."""
        return f"{FORMAT}-{hashlib.sha256(self.to_bytes()).hexdigest()[:12]}"

    def describe(self) -> dict[str, Any]:
        """Version, origin and size, for JSON."""
        return {
            "format": FORMAT,
            "version": self.version,
            "origin": self.origin,
            "dataset_fingerprint": self.dataset_fingerprint,
            "patients": self.patients,
            "classes": list(self.classes),
            "unknown_classes": [label for label, known in zip(self.classes, self.known, strict=True) if not known],
            "levels": len(self.tissue),
        }

    @property
    def known(self) -> np.ndarray:
        """(classes,) bool: whether anything is known of a class; of those that an atlas lacks, nothing is."""
        return np.asarray(np.isfinite(self.occupancy).all((0, 2, 3)))

    def likely_levels(self, labels: np.ndarray, drawn: np.ndarray | None = None) -> np.ndarray:
        """(n,) float32: for each label map (n, h, w), class indices, the level whose occupancy explains it best.

        `drawn` (n, classes) bool: what each map is complete for; without it, for every class.
        """
        import torch

        from medillus_pipeline.generation.shape_model import likely_levels

        maps = torch.from_numpy(np.asarray(labels, np.int64))
        complete = np.ones((len(maps), len(self.classes)), bool) if drawn is None else drawn
        return likely_levels(torch.from_numpy(self.occupancy), maps, torch.from_numpy(complete)).numpy()

    def to_bytes(self) -> bytes:
        """Safetensors, with classes and origin in its metadata."""
        metadata = {
            "format": FORMAT,
            "classes": self.classes,
            "patients": self.patients,
            "dataset_fingerprint": self.dataset_fingerprint,
            "origin": self.origin,
            "pixel_mm": self.pixel_mm,
        }
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in self.ARRAYS}
        return save(arrays | {name: np.ascontiguousarray(a) for name, a in self.shapes.items()}, _entry(metadata))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Prior":
        """The inverse of `to_bytes`. Raises InputError for a file of another format, or that is no prior."""
        try:
            metadata = read_metadata(data, "prior")
        except (KeyError, ValueError):
            raise InputError("the file is no anatomical prior of this package") from None
        if metadata.get("format") != FORMAT:
            raise InputError(
                f"the anatomical prior has format {metadata.get('format')}, and this release reads {FORMAT}: "
                "materialize anatomical_prior again"
            )
        arrays = load(data)
        return cls(
            classes=tuple(metadata["classes"]),
            patients=metadata["patients"],
            dataset_fingerprint=metadata["dataset_fingerprint"],
            origin=metadata["origin"],
            pixel_mm=metadata["pixel_mm"],
            shapes={name: array for name, array in arrays.items() if name not in cls.ARRAYS},
            **{name: arrays[name] for name in cls.ARRAYS},
        )


def _entry(metadata: dict[str, Any]) -> dict[str, str]:
    return {"prior": json.dumps(metadata)}


def read_metadata(data: bytes, name: str) -> dict[str, Any]:
    """The JSON entry `name` in a safetensors file's metadata (header: 8 bytes of length, then JSON)."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return json.loads(header["__metadata__"][name])


def build_prior(dataset: Dataset, config: PriorConfig | None = None) -> Prior:
    """The prior of the dataset's train split. Raises NotEnoughDataError when that split is empty."""
    train = dataset.split("train")
    if not len(train):
        raise NotEnoughDataError("no labelled slice belongs to a training patient, so there is no prior to build")
    values, modalities = np.asarray(train.values), np.array([row["modality"] for row in train.rows])
    tissue = np.zeros((len(values), len(TISSUES), *values.shape[1:]), bool)
    for modality in np.unique(modalities):
        own = modalities == modality
        tissue[own] = tissues(values[own], str(modality))
    return prior_of(
        np.asarray(train.labels),
        tissue,
        levels=train.levels,
        pitch=np.array([np.sqrt(row["affine"][0] * row["affine"][5]) for row in train.rows]),
        patients=train.patients,
        classes=dataset.classes,
        origin=f"training patients of the dataset {dataset.fingerprint[:12]}",
        dataset_fingerprint=dataset.fingerprint,
        config=config,
    )


def prior_of(
    labels: np.ndarray,
    tissue: np.ndarray,
    *,
    levels: np.ndarray,
    pitch: np.ndarray,
    patients: list[str],
    classes: tuple[int, ...],
    origin: str,
    dataset_fingerprint: str = "",
    config: PriorConfig | None = None,
) -> Prior:
    """The prior of label maps (n, h, w), 0 or 1 + the position in `classes`, and their `tissue` (n, 4, h, w) bool.

    `levels` (n,) are positions along the body, 0 feet to 1 head, `pitch` (n,) the pixels' sides in mm.
    """
    from medillus_pipeline.generation.shape_fitting import fit_shape_model

    config = config or PriorConfig()
    count = len(classes)
    masks = labels[:, None] == np.arange(1, count + 1, dtype=np.uint8)[None, :, None, None]
    areas = masks.sum((2, 3)) * pitch[:, None] ** 2
    people = np.array(patients)
    centroid, order = prior_moments.positions(masks, levels, pitch, people)
    kernel = prior_moments.level_kernel(levels, patients, config.levels, config.level_smoothing)
    shapes = fit_shape_model(masks, tissue, kernel, config).to_tensors()
    return Prior(
        classes=classes,
        occupancy=prior_moments.by_level(masks, kernel, config.plane_smoothing),
        tissue=prior_moments.by_level(tissue, kernel, config.plane_smoothing),
        area=prior_moments.spread_by_level(np.where(areas > 0, areas, np.nan), levels, config.levels),
        moments=prior_moments.moments_by_level(prior_moments.shape_moments(masks), levels, config.levels),
        extent=prior_moments.spread(np.stack([areas[people == p].sum(0) for p in np.unique(people)])),
        centroid=centroid,
        adjacency=prior_moments.adjacency(labels, count),
        order=order,
        patients=len(np.unique(people)),
        dataset_fingerprint=dataset_fingerprint,
        origin=origin,
        pixel_mm=float(np.median(pitch)),
        shapes={name: tensor.numpy() for name, tensor in shapes.items()},
    )


def preview(prior: Prior, vocabulary: Vocabulary, *, columns: int = 8) -> bytes:
    """A PNG with three lines, feet to head: the expected tissue, each pixel's likeliest structure, as bright as it
    is likely, and a mask that the shape model proposes.
    """
    import torch

    levels = np.linspace(0, len(prior.tissue) - 1, columns).round().astype(int)
    tissue = np.tensordot(np.array(TISSUE_GREYS, np.float32), prior.tissue[levels], axes=(0, 1))
    colours = class_colours(prior.classes, vocabulary.palette())
    occupancy = np.nan_to_num(prior.occupancy[levels])
    structure = colours[1:][occupancy.argmax(1)] * np.clip(occupancy.max(1), 0, 1)[..., None]
    model = prior.shape_model
    noise = torch.randn(columns, model.latents, generator=torch.Generator().manual_seed(0))
    places = torch.from_numpy(levels / (len(prior.tissue) - 1)).float()
    proposed = colours[model.sample_masks(places, noise, prior.tissue.shape[-1]).numpy()]
    return sheet(
        [
            list(np.repeat(np.rint(tissue)[..., None], 3, -1).astype(np.uint8)),
            list(np.rint(structure).astype(np.uint8)),
            list(proposed),
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
