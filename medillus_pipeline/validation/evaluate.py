"""Measure a generator on real slices of patients it never saw, always beside the controls. Arrays in, figures out.

The judge's own quality on real images comes first. Every image is generated from a real mask, and the same images
serve as the shuffled control when they are scored against another patient's mask, so controls cost no sampling.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.validation import controls, metrics
from medillus_pipeline.validation.metrics import Estimate, Overlap

Values = NDArray[np.integer]
ClassMaps = NDArray[np.uint8]
Sample = Callable[[ClassMaps, NDArray[np.floating], int], Values]
"""(class maps (n, height, width), levels (n,), seed) to images (n, height, width) in HU."""

MINIMUM_GAP = 0.02
"""Below this difference of real to shuffled Dice a recovery is division by noise: it becomes NaN."""

FINDABLE = 0.5
"""Judge Dice on real images from which on an organ can be missed at all: the worst organ is looked for among these."""


class Judge(Protocol):
    """A segmenter used for measuring only."""

    def predict(self, values: Values) -> NDArray[np.floating]:
        """Class probabilities (n, classes + 1, height, width) of images (n, height, width); channel 0 is background."""
        ...

    def features(self, values: Values) -> NDArray[np.floating]:
        """Feature vectors (n, d) of images (n, height, width)."""
        ...


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


class EvaluationConfig(BaseModel):
    """How much is measured. Cost is linear in the number of images: slices + samples for diversity and examples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slices: int = Field(default=80, ge=1, le=100_000, description="most real slices used, evenly over patients")
    samples: int = Field(default=3, ge=2, le=16, description="images per mask for diversity and the sample grid")
    diversity_masks: int = Field(default=8, ge=1, le=1000, description="masks that the diversity figure repeats")
    examples: int = Field(default=6, ge=1, le=100, description="rows of the sample grid, worst first")
    draws: int = Field(default=1000, ge=100, le=100_000, description="bootstrap draws over patients")
    batch: int = Field(default=32, ge=1, le=1024, description="images that the generator or the judge gets at a time")


@dataclass(frozen=True)
class Example:
    """A row of the sample grid: one mask, its real image, several samples, and what the judge saw in the first."""

    patient: str
    level: float
    dice: float
    mask: ClassMaps
    real: Values
    generated: tuple[Values, ...]
    judged: ClassMaps


@dataclass(frozen=True)
class Evaluation:
    """All figures by flat key (see `figures`), the organs by class order, examples worst first, and remarks."""

    figures: dict[str, float]
    organs: tuple[Organ, ...]
    examples: tuple[Example, ...]
    remarks: tuple[str, ...]
    config: EvaluationConfig
    seed: int


@dataclass
class _Scene:
    """What every measure shares: the chosen slices, patient numbers and bootstrap weights."""

    real: Values
    maps: ClassMaps
    levels: NDArray[np.floating]
    groups: NDArray[np.int64]
    patients: list[str]
    organs: Sequence[Organ]
    weights: NDArray[np.int64]
    figures: dict[str, float] = field(default_factory=dict)

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


def evaluate(
    values: Values,
    class_maps: ClassMaps,
    patients: Sequence[str],
    levels: Sequence[float],
    organs: Sequence[Organ],
    *,
    sample: Sample,
    judge: Judge,
    texture: controls.LabelStatistics,
    seed: int,
    config: EvaluationConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Figures of a generator on real slices.

    `values` (n, h, w) are calibrated (HU for CT), `class_maps` (n, h, w) hold 0 for background and i for
    `organs[i - 1]`, `patients` and `levels` (0 feet to 1 head) name each slice. `texture` comes from the generator's
    training slices. `progress` counts images. Raises NotEnoughDataError without slices, ValueError when shapes differ.
    """
    config = config or EvaluationConfig()
    if not len(values):
        raise NotEnoughDataError("there is no annotated slice of a validation patient: annotate some, then run again")
    if not len(values) == len(class_maps) == len(patients) == len(levels):
        raise ValueError("values, class_maps, patients and levels must have one entry per slice")
    rng = np.random.default_rng(seed)
    every, heights = np.asarray(patients, dtype=object), np.asarray(levels, dtype=np.float64)
    rows = controls.evenly_over_patients(every, heights, config.slices)
    names, groups = np.unique(every[rows].astype(str), return_inverse=True)
    scene = _Scene(
        real=np.asarray(values[rows]),
        maps=np.asarray(class_maps[rows]),
        levels=heights[rows],
        groups=groups,
        patients=names.tolist(),
        organs=organs,
        weights=metrics.bootstrap_weights(len(names), config.draws, rng),
    )
    scene.figures |= {"patients": float(len(names)), "slices": float(len(rows))}
    repeated = _repeated(scene, config)
    total = len(rows) + config.samples * len(repeated) + (config.samples - 1) * min(config.examples, len(rows))
    draw = _Sampler(sample, scene, seed, config.batch, total, progress)

    generated = draw(np.arange(len(rows)))
    painted = controls.gaussian_texture(scene.maps, texture, rng)
    partner = controls.other_patient_at_same_level(scene.groups, scene.levels)
    real_maps, generated_maps, painted_maps = (
        _segment(judge, images, config.batch) for images in (scene.real, generated, painted)
    )
    counts = metrics.overlap(scene.maps, generated_maps, len(organs))
    scored = {"real": metrics.overlap(scene.maps, real_maps, len(organs)), "generated": counts}
    scored["texture"] = metrics.overlap(scene.maps, painted_maps, len(organs))
    if partner is not None:
        scored["shuffled"] = metrics.overlap(scene.maps, generated_maps[partner], len(organs))
    _put_dice(scene, scored)
    _put_hu(scene, generated, "")
    _put_hu(scene, painted, "_texture")
    _put_sharpness(scene, generated, "")
    _put_sharpness(scene, painted, "_texture")
    if partner is not None:
        _put_hu(scene, generated[partner], "_shuffled")
    features = [_features(judge, images, config.batch) for images in (scene.real, generated, painted)]
    _put_frechet(scene, features, rng)
    _put_similarity(scene, generated)
    _put_diversity(scene, partner, [draw(repeated, k + 1) for k in range(config.samples)], repeated)
    quality = metrics.slice_dice(counts)
    worst = np.lexsort((np.arange(len(rows)), np.where(np.isfinite(quality), quality, np.inf)))[: config.examples]
    stacks = [generated[worst], *(draw(worst, k) for k in range(1, config.samples))]
    examples = tuple(
        Example(
            patient=scene.patients[groups[row]],
            level=float(scene.levels[row]),
            dice=float(quality[row]),
            mask=scene.maps[row],
            real=scene.real[row],
            generated=tuple(stack[i] for stack in stacks),
            judged=generated_maps[row],
        )
        for i, row in enumerate(worst)
    )
    return Evaluation(scene.figures, tuple(organs), examples, _remarks(scene, len(values)), config, seed)


class _Sampler:
    """Calls the generator in batches, checks what it returns, and counts images."""

    def __init__(
        self,
        sample: Sample,
        scene: _Scene,
        seed: int,
        batch: int,
        total: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.sample, self.scene, self.seed, self.batch = sample, scene, seed, batch
        self.total, self.done, self.progress = total, 0, progress

    def __call__(self, rows: NDArray[np.int64], repeat: int = 0) -> Values:
        """Images (n, h, w) for the masks of `rows`; another `repeat` gives other images of the same masks."""
        out = np.empty((len(rows), *self.scene.maps.shape[1:]), dtype=np.int16)
        for start in range(0, len(rows), self.batch):
            part = rows[start : start + self.batch]
            seed = int(np.random.SeedSequence([self.seed, repeat, start]).generate_state(1)[0])
            images = np.asarray(self.sample(self.scene.maps[part], self.scene.levels[part], seed))
            if images.shape != self.scene.maps[part].shape:
                raise ValueError(f"the generator returned shape {images.shape} for masks {self.scene.maps[part].shape}")
            out[start : start + len(part)] = np.rint(np.clip(np.nan_to_num(images), -32768, 32767))
            self.done += len(part)
            if self.progress:
                self.progress(self.done, self.total)
        return out


def _segment(judge: Judge, images: Values, batch: int) -> ClassMaps:
    parts = [judge.predict(images[i : i + batch]).argmax(axis=1) for i in range(0, len(images), batch)]
    return np.concatenate(parts).astype(np.uint8)


def _features(judge: Judge, images: Values, batch: int) -> NDArray[np.float64]:
    parts = [np.asarray(judge.features(images[i : i + batch])) for i in range(0, len(images), batch)]
    return np.concatenate(parts).astype(np.float64)


def _put_dice(scene: _Scene, scored: dict[str, Overlap]) -> None:
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

    for name in ("real", "generated", "shuffled", "texture"):
        scene.put(f"judge_dice_{name}", lambda w, n=name: metrics.nan_mean(organ_means(n, w), axis=1))
        scene.put_by_organ(f"judge_dice_{name}", lambda w, n=name: organ_means(n, w))
    scene.put("judge_dice_gap", lambda w: metrics.nan_mean(organ_means("real", w) - organ_means("shuffled", w), axis=1))

    def worst(weights: NDArray) -> NDArray:
        real, generated = organ_means("real", weights), organ_means("generated", weights)
        findable = real >= FINDABLE
        ratio = np.where(findable, generated / np.where(findable, real, 1.0), np.inf).min(axis=1, initial=np.inf)
        return np.where(np.isfinite(ratio), ratio, np.nan)

    scene.put("worst_organ_dice_ratio", worst)
    scene.put("dice_recovery", lambda w: recovered("generated", w, 1))
    scene.put("dice_recovery_texture", lambda w: recovered("texture", w, 1))
    scene.put_by_organ("dice_recovery", lambda w: recovered("generated", w, None))


def _put_hu(scene: _Scene, images: Values, control: str) -> None:
    count = len(scene.patients)
    real, made = (
        metrics.patient_moments(stack, scene.maps, scene.groups, count, len(scene.organs))
        for stack in (scene.real, images)
    )

    def gap(measure: str, weights: NDArray) -> NDArray:
        ours, theirs = (metrics.weighted_mean(getattr(moments, measure), weights) for moments in (made, real))
        return ours - theirs

    def spread(weights: NDArray) -> NDArray:
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = metrics.weighted_mean(made.sd, weights) / metrics.weighted_mean(real.sd, weights)
        return np.where(np.isfinite(ratio), np.maximum(ratio, 1e-3), np.nan)

    scene.put(f"organ_hu_error{control}", lambda w: metrics.nan_mean(np.abs(gap("mean", w)), axis=1))
    scene.put(f"organ_hu_sd_error{control}", lambda w: metrics.nan_mean(np.abs(gap("sd", w)), axis=1))
    scene.put(f"organ_hu_sd_ratio{control}", lambda w: np.exp(metrics.nan_mean(np.log(spread(w)), axis=1)))
    if not control:
        scene.put_by_organ("organ_hu_error", lambda w: np.abs(gap("mean", w)))
        scene.put_by_organ("organ_hu_sd_ratio", spread)
        for name, table in (("mean_real", real.mean), ("mean_generated", made.mean)):
            scene.put_by_organ(f"hu_{name}", lambda w, t=table: metrics.weighted_mean(t, w))
        for name, table in (("sd_real", real.sd), ("sd_generated", made.sd)):
            scene.put_by_organ(f"hu_{name}", lambda w, t=table: metrics.weighted_mean(t, w))


def _put_sharpness(scene: _Scene, images: Values, control: str) -> None:
    body = (scene.maps > 0) | (scene.real > -500)
    for name, region in (("sharpness_ratio", body), ("grain_ratio", metrics.interiors(scene.maps))):
        made, real = (
            metrics.group_mean(metrics.sharpness(stack, region), scene.groups, len(scene.patients))[:, None]
            for stack in (images, scene.real)
        )
        scene.put(f"{name}{control}", lambda w, a=made, b=real: _ratio(a, b, w))


def _ratio(numerator: NDArray, denominator: NDArray, weights: NDArray) -> NDArray:
    """Ratio of the patients' means under each row of weights, (draws,); NaN over zero."""
    above, below = (metrics.weighted_mean(table, weights)[:, 0] for table in (numerator, denominator))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 0, above / below, np.nan)


def _put_frechet(scene: _Scene, features: list[NDArray[np.float64]], rng: np.random.Generator) -> None:
    real, generated, painted = features
    for control, images in (("", generated), ("_texture", painted)):
        found = metrics.matched_frechet(real, images, scene.groups, len(scene.patients), rng)
        scene.figures |= {f"fid{control}": found.distance, f"fid_ratio{control}": found.ratio}
        scene.figures |= {f"fid_ratio{control}_low": found.low, f"fid_ratio{control}_high": found.high}
        scene.figures["fid_floor"] = found.floor


def _put_similarity(scene: _Scene, generated: Values) -> None:
    for name, per_slice in zip(("ssim", "mae"), metrics.similarity(generated, scene.real), strict=True):
        table = metrics.group_mean(per_slice, scene.groups, len(scene.patients))[:, None]
        scene.put(name, lambda w, t=table: metrics.weighted_mean(t, w)[:, 0])


def _repeated(scene: _Scene, config: EvaluationConfig) -> NDArray[np.int64]:
    """Rows whose masks the diversity figure repeats: those with organs, evenly over patients."""
    rows = np.flatnonzero((scene.maps > 0).sum(axis=(1, 2)) >= metrics.MINIMUM_PIXELS)
    chosen = controls.evenly_over_patients(scene.groups[rows], scene.levels[rows], config.diversity_masks)
    return rows[chosen]


def _put_diversity(
    scene: _Scene, partner: NDArray[np.int64] | None, stacks: list[Values], rows: NDArray[np.int64]
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


def _remarks(scene: _Scene, available: int) -> tuple[str, ...]:
    remarks = []
    count, used = len(scene.patients), len(scene.real)
    if used < available:
        remarks.append(f"{used} of {available} slices were used, taken evenly over patients and body levels.")
    if count < 2:
        remarks.append("Only one patient: controls that need a second one, and intervals, cannot be computed.")
    elif count < 10:
        remarks.append(
            f"Only {count} patients: the bootstrap over patients understates uncertainty, and the Fréchet distance "
            "is inflated by the small sample; read it against its real-to-real floor."
        )
    absent = [o.name_en for o in scene.organs if f"judge_dice_real/{o.key}" not in scene.figures]
    if absent:
        remarks.append(f"Not seen in these patients, so not measured: {', '.join(absent)}.")
    return tuple(remarks)
