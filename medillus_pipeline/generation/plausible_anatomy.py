"""The plausibility rules that a prior implies: which findings in a label map no training patient would show.

The rules are in `plausibility_rules.py`; their tolerances stand in `PlausibilityConfig`, each with its reason, and are
widened where the training patients' own masks need it. Where a mask was asked for, the mask decides: what it shows
itself is no error of the image. How often rules are broken, and with which certainty, is not here: see
`validation/anatomical_errors.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.generation import prior_moments
from medillus_pipeline.generation.config import PriorConfig
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.organ_shapes import Shapes, measure
from medillus_pipeline.generation.plausibility_rules import (
    Flags,
    Table,
    beyond_size,
    foreign_border,
    from_asked_place,
    from_expected_place,
    misordered,
    prediction_spreads,
    surplus_part,
)
from medillus_pipeline.generation.prior import Prior

KINDS = ("missing", "duplicated", "misplaced", "wrong_side", "size", "adjacency")
CALIBRATED = ("duplicated", "misplaced", "size", "adjacency")
"""Kinds whose limit is one number for each class, widened by the training masks; `wrong_side` is a table of pairs."""


class PlausibilityConfig(BaseModel):
    """Tolerances of the rules, and how certain they are to spare real patients."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    minimum_pixels: int = Field(
        default=6, ge=1, description="pixels from which an organ in a slice counts: below, one pixel decides"
    )
    missing_share: float = Field(
        default=0.25,
        gt=0,
        lt=1,
        description="found area over asked area below which an organ is missing; a poor outline keeps far more",
    )
    second_part: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="surplus part over the largest part above which an organ is doubled; specks are smaller",
    )
    asked_radii: float = Field(
        default=1.0,
        gt=0,
        description="distance to the asked centroid, in radii of a disc of the asked area, above which an organ is "
        "misplaced: two such discs share two fifths of their area",
    )
    foreign_border: float = Field(
        default=0.15,
        gt=0,
        le=1,
        description="share of the border along labels never touched in training; stray pixels at an edge stay below",
    )
    false_alarms: float = Field(
        default=0.002, gt=0, lt=0.05, description="share of training instances that one rule may flag; five rules: 1%"
    )
    folds: int = Field(
        default=5, ge=2, le=50, description="groups of training patients, each scored by a prior of the others"
    )


@dataclass(frozen=True)
class Findings:
    """Organ instances of n slices and C classes: `counted` (n, C) those there are, `broken` (n, C, 6) by `KINDS`.

    An instance may have several errors, and counts once.
    """

    counted: Flags
    broken: Flags

    @property
    def wrong(self) -> Flags:
        """(n, C): instances with at least one error."""
        return np.any(self.broken, axis=2)

    def kind(self, name: str) -> Flags:
        """(n, C): instances with this error."""
        return self.broken[..., KINDS.index(name)]

    def at(self, rows: NDArray[np.integer] | Sequence[int]) -> "Findings":
        """The findings of some slices."""
        return Findings(self.counted[rows], self.broken[rows])


@dataclass(frozen=True)
class Rules:
    """A prior with calibrated tolerances: `limits` (C, 4) by `CALIBRATED`, `left_of` (C, C) pairs with a sure order.

    `left_of[a, b]`: in every new patient, a is expected further to the patient's left than b in any slice with both.
    """

    prior: Prior
    limits: Table
    left_of: Flags
    config: PlausibilityConfig

    def check(
        self,
        found: NDArray[np.integer],
        levels: NDArray[np.floating],
        pixel_mm: float | NDArray[np.floating],
        asked: NDArray[np.integer] | None = None,
    ) -> Findings:
        """Findings in label maps `found` (n, h, w) at `levels` (n,), against the masks `asked` (n, h, w) if given.

        Without `asked` nothing can be missing, and the prior alone says where an organ belongs. An organ found but
        not asked for is held against the prior: a plausible one is a matter of Dice, not of anatomy.
        """
        classes = len(self.prior.classes)
        seen = measure(found, classes, pixel_mm)
        wanted = None if asked is None else measure(asked, classes, pixel_mm)
        present = seen.pixels >= self.config.minimum_pixels
        broken = np.zeros((*present.shape, len(KINDS)), bool)
        for name, flags in self._broken(seen, levels, wanted).items():
            broken[..., KINDS.index(name)] = flags & present
        if wanted is None:
            return Findings(present, broken)
        for name, flags in self._broken(wanted, levels, wanted).items():
            broken[..., KINDS.index(name)] &= ~flags
        astray = from_asked_place(seen, wanted) > self.config.asked_radii
        broken[..., KINDS.index("misplaced")] |= present & astray
        due = wanted.pixels >= self.config.minimum_pixels
        broken[..., KINDS.index("missing")] = due & (seen.area < self.config.missing_share * wanted.area)
        return Findings(present | due, broken)

    def _broken(self, shapes: Shapes, levels: NDArray[np.floating], asked: Shapes | None) -> dict[str, Flags]:
        large = shapes.pixels >= self.config.minimum_pixels
        place = from_expected_place(shapes, self.prior, levels) > self.limits[:, CALIBRATED.index("misplaced")]
        if asked is not None:
            # An image that keeps to the mask is not blamed for a place at the very edge of what the prior knows.
            place &= ~(from_asked_place(shapes, asked) <= self.config.asked_radii / 2) | (shapes is asked)
        return {
            "duplicated": surplus_part(shapes, asked, share=self.config.second_part, pixels=self.config.minimum_pixels)
            > self.limits[:, CALIBRATED.index("duplicated")],
            "misplaced": place,
            "wrong_side": misordered(shapes, large, self.left_of) > 0.5,
            "size": beyond_size(shapes, self.prior, levels) > self.limits[:, CALIBRATED.index("size")],
            "adjacency": foreign_border(shapes, self.prior) > self.limits[:, CALIBRATED.index("adjacency")],
        }


def calibrate(
    prior: Prior, dataset: Dataset, config: PlausibilityConfig | None = None, prior_config: PriorConfig | None = None
) -> Rules:
    """The prior's rules, with tolerances that hold for the training patients' own masks, each patient unseen.

    Patients are scored in groups by a prior of the others, since a prior excuses those it was built from. A class
    keeps the stated tolerance, or gets the widened one above which at most that share of its instances
    (`false_alarms`) lies.
    Raises NotEnoughDataError with fewer than two training patients: nothing is known then of how patients differ.
    """
    config = config or PlausibilityConfig()
    settings = (prior_config or PriorConfig()).model_copy(
        update={"levels": len(prior.area), "shape_modes": 1, "shape_resolution": 8}
    )
    train = dataset.split("train")
    patients = np.array(train.patients)
    names = np.unique(patients)
    if len(names) < 2:
        raise NotEnoughDataError("plausibility rules need masks of at least two training patients: annotate another")
    pitch = np.array([row["affine"][0] for row in train.rows])
    classes = len(prior.classes)
    shapes = measure(train.labels, classes, pitch)
    scores = np.full((len(train), classes, len(CALIBRATED)), np.nan)
    for group in np.array_split(names, min(config.folds, len(names))):
        own = np.isin(patients, group)
        others = _expected(train.labels[~own], train.levels[~own], pitch[~own], patients[~own], classes, settings)
        part = _rows_of(shapes, own)
        columns = (
            surplus_part(part, None, share=config.second_part, pixels=config.minimum_pixels),
            from_expected_place(part, others, train.levels[own]),
            beyond_size(part, others, train.levels[own]),
            foreign_border(part, others),
        )
        scores[own] = np.stack(columns, -1)
    scores[shapes.pixels < config.minimum_pixels] = np.nan
    spreads = prediction_spreads(len(names), config.false_alarms / 2)
    floors = np.array([config.second_part, spreads, spreads, config.foreign_border])
    limits = np.tile(floors, (classes, 1))
    for index in range(classes):
        known = scores[:, index][np.isfinite(scores[:, index]).all(1)]
        if len(known):
            # The next value above the quantile: at most that share of the instances may lie beyond the limit.
            widest = np.quantile(known, 1 - config.false_alarms, axis=0, method="higher")
            limits[index] = np.maximum(floors, widest)
    return Rules(prior, limits, _sure_order(shapes, patients, prior, config), config)


def _sure_order(shapes: Shapes, patients: NDArray[Any], prior: Prior, config: PlausibilityConfig) -> Flags:
    """Pairs whose least gap in a slice stays positive for a new patient: Student's bound on their least gaps."""
    x = np.where(shapes.pixels >= config.minimum_pixels, shapes.x, np.nan)
    gap = x[:, :, None] - x[:, None, :]
    gap[np.isnan(gap)] = np.inf
    least = np.stack([gap[patients == name].min(0) for name in np.unique(patients)])
    known = np.isfinite(least)
    count = known.sum(0)
    value = np.where(known, least, 0.0)
    mean = value.sum(0) / np.maximum(count, 1)
    deviation = np.sqrt(np.where(known, (value - mean) ** 2, 0).sum(0) / np.maximum(count - 1, 1))
    factor = np.array([np.inf, np.inf, *(prediction_spreads(n, 0.01) for n in range(2, len(least) + 1))])[count]
    bound = mean - np.where(np.isfinite(factor), factor, 1e9) * (deviation + np.median(shapes.pixel_mm) / 4)
    return (bound > 0) & (count > 1) & (np.nan_to_num(prior.order) == 1)


@dataclass(frozen=True)
class _Part:
    """What the rules read of a prior, of some of the patients, without its costlier parts."""

    occupancy: np.ndarray
    area: np.ndarray
    centroid: np.ndarray
    adjacency: np.ndarray


def _expected(
    labels: np.ndarray, levels: np.ndarray, pitch: np.ndarray, patients: np.ndarray, classes: int, config: PriorConfig
) -> _Part:
    masks = labels[:, None] == np.arange(1, classes + 1, dtype=np.uint8)[None, :, None, None]
    areas = masks.sum((2, 3)) * pitch[:, None] ** 2
    kernel = prior_moments.level_kernel(levels, patients.tolist(), config.levels, config.level_smoothing)
    return _Part(
        occupancy=prior_moments.by_level(masks, kernel, config.plane_smoothing),
        area=prior_moments.spread_by_level(np.where(areas > 0, areas, np.nan), levels, config.levels),
        centroid=prior_moments.positions(masks, levels, pitch, patients)[0],
        adjacency=prior_moments.adjacency(labels, classes),
    )


def _rows_of(shapes: Shapes, rows: Flags) -> Shapes:
    return Shapes(**{name: table[rows] for name, table in vars(shapes).items()})
