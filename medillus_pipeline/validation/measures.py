"""The measures of one evaluation: each puts its figures, with bootstrap intervals, into the shared scene.

What is measured on which images, and in what order, is in `evaluate.py`; the arithmetic is in `metrics.py`, and the
values of tissues are in `tissue_values.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from medillus_pipeline.validation import metrics
from medillus_pipeline.validation.kernel_distance import matched_kernel_distance
from medillus_pipeline.validation.metrics import Estimate, Overlap

Values = NDArray[np.integer]
ClassMaps = NDArray[np.uint8]
CT = "CT"
"""The modality whose values have a unit, HU. The values of others are normalised by series."""

MINIMUM_GAP = 0.02
"""Below this difference of real Dice to the shuffled control's a recovery is division by noise: it becomes NaN."""

FINDABLE = 0.5
"""Judge Dice on real images from which on an organ can be missed at all: the worst organ is looked for among these."""


class Organ(Protocol):
    """What the report needs of a structure of the vocabulary."""

    @property
    def key(self) -> str: ...
    @property
    def name_en(self) -> str: ...
    @property
    def name_zh(self) -> str: ...
    @property
    def colour(self) -> str: ...


@dataclass
class Scene:
    """What every measure shares: the chosen slices with their modality, patient numbers and bootstrap weights."""

    real: Values
    maps: ClassMaps
    levels: NDArray[np.floating]
    groups: NDArray[np.int64]
    patients: list[str]
    organs: Sequence[Organ]
    weights: NDArray[np.int64]
    figures: dict[str, float] = field(default_factory=dict)
    modalities: NDArray[np.str_] | None = None

    @property
    def modality(self) -> NDArray[np.str_]:
        """Modality of each slice, (n,); CT where nothing else is known."""
        return np.full(len(self.real), CT) if self.modalities is None else self.modalities

    def put(self, name: str, statistic: Callable[[NDArray], NDArray]) -> Estimate:
        """Store a figure with its interval; `statistic` maps patient weights (draws, patients) to (draws,)."""
        found = metrics.estimate(statistic, self.weights)
        self.figures |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
        return found

    def put_by_organ(self, name: str, statistic: Callable[[NDArray], NDArray]) -> None:
        """Store a figure of each organ; `statistic` maps patient weights to (draws, organs)."""
        for index, organ in enumerate(self.organs):
            found = metrics.estimate(lambda weights, i=index: statistic(weights)[:, i], self.weights)
            if np.isfinite(found.value):
                pairs = zip(("", "_low", "_high"), (found.value, found.low, found.high), strict=True)
                self.figures |= {f"{name}{bound}/{organ.key}": value for bound, value in pairs}


def put_dice(scene: Scene, scored: dict[str, Overlap]) -> None:
    tables = {name: metrics.patient_dice(c, scene.groups, len(scene.patients)) for name, c in scored.items()}

    def organ_means(name: str, weights: NDArray) -> NDArray:
        if name not in tables:
            return np.full((len(weights), len(scene.organs)), np.nan)
        return metrics.weighted_mean(tables[name], weights)

    def recovered(source: str, weights: NDArray, axis: int | None) -> NDArray:
        parts = [organ_means(name, weights) for name in (source, "shuffled", "real")]
        known = np.logical_and.reduce([np.isfinite(part) for part in parts])
        found, floor, ceiling = (np.where(known, part, np.nan) for part in parts)
        if axis is not None:
            found, floor, ceiling = (metrics.nan_mean(part, axis=axis) for part in (found, floor, ceiling))
        gap = ceiling - floor
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(gap >= MINIMUM_GAP, (found - floor) / gap, np.nan)

    for name in ("real", "generated", "other", "shuffled", "texture"):
        scene.put(f"judge_dice_{name}", lambda w, n=name: metrics.nan_mean(organ_means(n, w), axis=1))
        scene.put_by_organ(f"judge_dice_{name}", lambda w, n=name: organ_means(n, w))
    scene.put("judge_dice_gap", lambda w: metrics.nan_mean(organ_means("real", w) - organ_means("other", w), axis=1))

    def worst(weights: NDArray) -> NDArray:
        real, generated = organ_means("real", weights), organ_means("generated", weights)
        findable = real >= FINDABLE
        ratio = np.where(findable, generated / np.where(findable, real, 1.0), np.inf).min(axis=1, initial=np.inf)
        return np.where(np.isfinite(ratio), ratio, np.nan)

    scene.put("worst_organ_dice_ratio", worst)
    scene.put("dice_recovery", lambda w: recovered("generated", w, 1))
    scene.put("dice_recovery_texture", lambda w: recovered("texture", w, 1))
    scene.put_by_organ("dice_recovery", lambda w: recovered("generated", w, None))


def put_texture(scene: Scene, images: Values, control: str) -> None:
    """Sharpness in the body, grain inside organs and raggedness of the outline, relative to real: no judge needed."""
    body = (scene.maps > 0) | (scene.real > -500)
    inside = metrics.interiors(scene.maps)
    for name, measure in (
        ("sharpness_ratio", lambda stack: metrics.sharpness(stack, body)),
        ("grain_ratio", lambda stack: metrics.sharpness(stack, inside)),
        ("outline_ratio", metrics.outline),
    ):
        made, real = (
            metrics.group_mean(measure(stack), scene.groups, len(scene.patients))[:, None]
            for stack in (images, scene.real)
        )
        scene.put(f"{name}{control}", lambda w, a=made, b=real: _ratio(a, b, w))


def _ratio(numerator: NDArray, denominator: NDArray, weights: NDArray) -> NDArray:
    """Ratio of the patients' means under each row of weights, (draws,); NaN over zero."""
    above, below = (metrics.weighted_mean(table, weights)[:, 0] for table in (numerator, denominator))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 0, above / below, np.nan)


def put_frechet(scene: Scene, features: list[NDArray[np.float64]], rng: np.random.Generator) -> None:
    real, generated, painted = features
    for control, images in (("", generated), ("_texture", painted)):
        found = metrics.matched_frechet(real, images, scene.groups, len(scene.patients), rng)
        scene.figures |= {f"fid{control}": found.distance, f"fid_ratio{control}": found.ratio}
        scene.figures |= {f"fid_ratio{control}_low": found.low, f"fid_ratio{control}_high": found.high}
        scene.figures["fid_floor"] = found.floor


def put_kernel_distance(scene: Scene, features: list[NDArray[np.float64]], rng: np.random.Generator) -> None:
    real, generated, painted = features
    for control, images in (("", generated), ("_texture", painted)):
        found = matched_kernel_distance(real, images, scene.groups, len(scene.patients), rng)
        scene.figures |= {f"kid{control}": found.distance, "kid_floor": found.floor}
        scene.figures |= {f"kid{control}_low": found.low, f"kid{control}_high": found.high}


def put_similarity(scene: Scene, generated: Values) -> None:
    ssim, error = metrics.similarity(generated, scene.real)
    in_hu = scene.modality == CT
    parts = {"ssim": ssim, "mae": np.where(in_hu, error, np.nan)}
    if not in_hu.all():
        parts["value_mae"] = np.where(in_hu, np.nan, error)
    for name, per_slice in parts.items():
        table = metrics.group_mean(per_slice, scene.groups, len(scene.patients))[:, None]
        scene.put(name, lambda w, t=table: metrics.weighted_mean(t, w)[:, 0])


def put_diversity(
    scene: Scene, partner: NDArray[np.int64] | None, stacks: list[Values], rows: NDArray[np.int64]
) -> None:
    """Mean |difference| of samples of one mask, over that of two patients' real pixels, on labelled pixels.

    Both are taken where the organs agree (the pixel has the same label in the slice and in its partner of another
    patient), so that anatomy does not count as diversity. A generator that ignores its noise scores 0.
    """
    count = len(scene.patients)
    made, real = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    if partner is not None and len(stacks) > 1:
        for i, row in enumerate(rows):
            same = (scene.maps[row] > 0) & (scene.maps[row] == scene.maps[partner[row]])
            if same.sum() < metrics.MINIMUM_PIXELS:
                continue
            samples = np.stack([stack[i][same] for stack in stacks]).astype(np.float64)
            pairs = [np.abs(samples[a] - samples[b]).mean() for a in range(len(samples)) for b in range(a)]
            made[i] = np.mean(pairs)
            real[i] = np.abs(scene.real[row][same].astype(np.float64) - scene.real[partner[row]][same]).mean()
    tables = [metrics.group_mean(part, scene.groups[rows], count)[:, None] for part in (made, real)]
    scene.put("diversity", lambda weights: _ratio(tables[0], tables[1], weights))


def put_mirrored(scene: Scene, flags: NDArray[np.float64]) -> None:
    """Share of the images (n,) that fit their mask better when mirrored; NaN for those of which nothing can be said."""
    table = metrics.group_mean(flags, scene.groups, len(scene.patients))[:, None]
    scene.put("mirrored_share", lambda weights: metrics.weighted_mean(table, weights)[:, 0])
