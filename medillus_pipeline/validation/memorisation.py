"""Memorisation: does the generator return its training slices, or know them better than slices it never saw?

Distances are taken in the judge's features and in aligned pixels (`nearest_slices.py`); every threshold comes from real
slices of different patients. The nearest training slice is given by its row, and is to be shown by its patient's
pseudonym only, never as an image. Cost: (images + held-out slices + `calibration_slices`) × training slices × (features
+ pixels of the grid) multiplications, once: linear in images times training slices.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.generation.intensity import CT, IntensityMap
from medillus_pipeline.validation import metrics, nearest_slices
from medillus_pipeline.validation.measures import Values
from medillus_pipeline.validation.metrics import Estimate
from medillus_pipeline.validation.nearest_slices import Described, Features, Nearest

SPACES = ("features", "pixels")
TINY = 1e-4
"""Distances are taken to be at least so large, so that an exact copy has a logarithm."""


class MemorisationConfig(BaseModel):
    """How near is too near, and how long is searched."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    copy_quantile: float = Field(
        default=0.002,
        gt=0,
        lt=0.5,
        description="a copy is nearer to a training slice than this share of real slices is to another patient's",
    )
    near_quantile: float = Field(
        default=0.01,
        gt=0,
        lt=0.5,
        description="the nearest images are this share of them: so few copies in disguise would show",
    )
    copy_margin: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="the threshold is this share of that distance: the quantile itself comes from few slices, and an "
        "honest image is as near as a real one now and then",
    )
    calibration_slices: int = Field(
        default=500, ge=10, le=100_000, description="most training slices that the threshold is calibrated on"
    )
    shift: int = Field(default=1, ge=0, le=4, description="greatest shift for alignment, in grid pixels")
    candidates: int = Field(default=4, ge=1, le=64, description="nearest slices that are aligned")
    draws: int = Field(default=1000, ge=100, le=100_000, description="bootstrap draws over patients")


@dataclass(frozen=True)
class Owned:
    """Images (n, h, w) and the patient's pseudonym of each, (n,)."""

    values: Values
    patients: NDArray[np.str_]

    def __post_init__(self) -> None:
        if len(self.values) != len(self.patients):
            raise ValueError("each image needs the pseudonym of its patient")


@dataclass(frozen=True)
class Memorisation:
    """What was found, intervals by bootstrap over patients. `nearest_training` (n,) are rows of the training slices for
    the images of held-out masks, `nearest_patient` their pseudonyms, `copied` (n,) those nearer than the threshold.

    * `copy_rate`: share of the images of held-out masks that are nearer to a training slice than the threshold, in
      features or in pixels (an image of a training mask may well be near to its slice: the mask says so much);
    * `distance_ratio`: distance to the nearest training slice over that to the nearest held-out slice of another
      patient than the mask's, over the same for the real image of that mask, geometric mean: 1 when training slices
      are no nearer than to real images, near 0 for copies; the smaller of both spaces;
    * `distance_ratio_nearest`: the `near_quantile` of the distances of these images to their nearest training slices,
      in pixels, over that of real slices to those of other patients: copies that are warped beyond the threshold of
      `copy_rate` lie below 1, since no honest image is nearer than real patients are to each other;
    * `membership_auc`: how well one tells by reconstruction whether a slice was trained on (0.5: not at all);
    * `nearness_auc`: the same by the distance of the slice to the nearest generated image.
    """

    copy_rate: Estimate
    distance_ratio: Estimate
    distance_ratio_nearest: Estimate
    membership_auc: Estimate
    nearness_auc: Estimate
    thresholds: dict[str, float]
    nearest_training: NDArray[np.int64]
    nearest_patient: NDArray[np.str_]
    copied: NDArray[np.bool_]

    def figures(self) -> dict[str, float]:
        """Flat figures for gates and report."""
        out = {f"copy_threshold_{space}": value for space, value in self.thresholds.items()}
        for name in ("copy_rate", "distance_ratio", "distance_ratio_nearest", "membership_auc", "nearness_auc"):
            found: Estimate = getattr(self, name)
            out |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
        return out


def memorisation(
    training: Owned,
    held_out: Owned,
    generated: Values,
    members: NDArray[np.integer],
    generated_members: Values,
    *,
    features: Features,
    rng: np.random.Generator,
    intensity: IntensityMap = CT,
    config: MemorisationConfig | None = None,
) -> Memorisation:
    """Figures of a generator that was trained on `training`.

    `generated` (n, h, w) are its images of the masks of `held_out` (n slices), `generated_members` (m, h, w) those of
    the masks of the training slices in rows `members` (m,); take about as many of both, evenly over patients and
    levels (`controls.evenly_over_patients`). `features` are the judge's. Raises NotEnoughDataError without slices or
    with one training patient only, ValueError when numbers differ.
    """
    config = config or MemorisationConfig()
    if not len(generated) or not len(members) or len(np.unique(training.patients)) < 2:
        raise NotEnoughDataError(
            "memorisation needs images of held-out and of training masks, and two training patients or more: "
            "annotate slices of further patients"
        )
    if len(generated) != len(held_out.values) or len(generated_members) != len(members):
        raise ValueError("each image needs the slice whose mask it was made of")
    raw = [
        nearest_slices.described(values, features, intensity=intensity)
        for values in (training.values, held_out.values, generated, generated_members)
    ]
    known, others, made, made_members = nearest_slices.standardised(raw[0], *raw)
    own, theirs = training.patients[members], held_out.patients
    spread = np.unique(np.linspace(0, len(known) - 1, min(len(known), config.calibration_slices)).astype(int))
    search = _Search(config)
    groups, patients = _numbers(theirs)
    weights = metrics.bootstrap_weights(patients, config.draws, rng)
    thresholds, ratios = {}, []
    nearest_ratio = Estimate(float("nan"), float("nan"), float("nan"))
    copied = np.zeros(len(made), bool)
    nearest_training = np.zeros(len(made), np.int64)
    scores, nearness = np.zeros((2, len(members) + len(made)))
    for space in SPACES:
        unlike = np.concatenate(
            [
                search(space, known.at(spread), known, _apart(training.patients[spread], training.patients)).distance,
                search(space, others, known, _apart(theirs, training.patients)).distance,
            ]
        )
        thresholds[space] = config.copy_margin * float(np.quantile(unlike[np.isfinite(unlike)], config.copy_quantile))
        found = search(space, made, known)
        copied |= found.distance < thresholds[space]
        if space == "pixels":
            nearest_ratio = _nearest_ratio(found.distance, unlike, groups, weights, config.near_quantile)
        nearest_training = found.row
        apart = _apart(theirs, theirs)
        of_real = _log(search(space, others, known).distance) - _log(search(space, others, others, apart).distance)
        of_made = _log(found.distance) - _log(search(space, made, others, apart).distance)
        ratios.append(_ratio(of_made - of_real, groups, patients, weights))
        real = known.at(members).and_also(others)
        images = made_members.and_also(made)
        names = np.concatenate([own, theirs])
        usual = _log(search(space, real, known, _apart(names, training.patients)).distance)
        scores += _log(search.pairs(space, images, real)) - usual
        nearness += _log(search(space, real, images, _apart(names, names)).distance) - usual
    member_groups, member_patients = _numbers(own)
    both = np.hstack([metrics.bootstrap_weights(member_patients, config.draws, rng), weights])
    tables = [_wins(s[: len(members)], s[len(members) :], member_groups, groups) for s in (scores, nearness)]
    return Memorisation(
        copy_rate=_share(copied, groups, patients, weights),
        distance_ratio=min(ratios, key=lambda found: found.value),
        distance_ratio_nearest=nearest_ratio,
        membership_auc=_auc(tables[0], both),
        nearness_auc=_auc(tables[1], both),
        thresholds=thresholds,
        nearest_training=nearest_training,
        nearest_patient=training.patients[nearest_training],
        copied=copied,
    )


class _Search:
    def __init__(self, config: MemorisationConfig) -> None:
        self.config = config

    def __call__(
        self, space: str, queries: Described, references: Described, allowed: NDArray[np.bool_] | None = None
    ) -> Nearest:
        if space == "features":
            return nearest_slices.by_features(queries, references, allowed)
        return nearest_slices.by_pixels(
            queries, references, allowed, shift=self.config.shift, candidates=self.config.candidates
        )

    @staticmethod
    def pairs(space: str, first: Described, second: Described) -> NDArray[np.float64]:
        between = nearest_slices.between_features if space == "features" else nearest_slices.between_pixels
        return between(first, second)


def _apart(first: NDArray[np.str_], second: NDArray[np.str_]) -> NDArray[np.bool_]:
    return first[:, None] != second[None, :]


def _numbers(patients: NDArray[np.str_]) -> tuple[NDArray[np.int64], int]:
    names, groups = np.unique(patients, return_inverse=True)
    return groups, len(names)


def _log(distance: NDArray[np.floating]) -> NDArray[np.float64]:
    """Logarithm; NaN where there is nothing to be near to."""
    return np.where(np.isfinite(distance), np.log(np.maximum(distance, TINY)), np.nan)


def _ratio(logs: NDArray[np.floating], groups: NDArray[np.int64], patients: int, weights: NDArray) -> Estimate:
    table = metrics.group_mean(logs, groups, patients)[:, None]
    return metrics.estimate(lambda w: np.exp(metrics.weighted_mean(table, w)[:, 0]), weights)


def _nearest_ratio(
    made: NDArray[np.float64], unlike: NDArray[np.float64], groups: NDArray[np.int64], weights: NDArray, quantile: float
) -> Estimate:
    """Low quantile of the distances of made images over that of `unlike`, real slices to other patients'."""
    of_real = float(np.quantile(unlike[np.isfinite(unlike)], quantile))
    order = np.argsort(made, kind="stable")

    def statistic(drawn: NDArray) -> NDArray[np.float64]:
        share = np.cumsum(drawn[:, groups[order]], axis=1)
        first = (share >= quantile * share[:, -1:]).argmax(axis=1)
        return made[order][first] / max(of_real, TINY)

    return metrics.estimate(statistic, weights)


def _share(flags: NDArray[np.bool_], groups: NDArray[np.int64], patients: int, weights: NDArray) -> Estimate:
    counts = metrics.sum_by(groups, np.stack([flags, np.ones_like(flags)], 1).astype(np.float64), patients)
    return metrics.estimate(lambda w: (w @ counts)[:, 0] / (w @ counts)[:, 1], weights)


def _wins(members: NDArray, others: NDArray, member_groups: NDArray, groups: NDArray) -> NDArray[np.float64]:
    """(2, member patients, other patients): pairs in which the member is better known, ties half, and all pairs."""
    known = np.isfinite(members)[:, None] & np.isfinite(others)[None]
    better = np.where(known, (members[:, None] < others[None]) + 0.5 * (members[:, None] == others[None]), 0.0)
    tables = []
    for table in (better, known.astype(np.float64)):
        by_member = metrics.sum_by(member_groups, table, int(member_groups.max()) + 1)
        tables.append(metrics.sum_by(groups, by_member.T, int(groups.max()) + 1).T)
    return np.stack(tables)


def _auc(wins: NDArray[np.float64], weights: NDArray) -> Estimate:
    """Area under the curve (Mann-Whitney), members and others drawn by patient."""
    count = wins.shape[1]

    def statistic(drawn: NDArray) -> NDArray[np.float64]:
        above, below = (np.einsum("dm,mo,do->d", drawn[:, :count], table, drawn[:, count:]) for table in wins)
        return np.where(below > 0, above / np.maximum(below, 1e-12), np.nan)

    return metrics.estimate(statistic, weights)
