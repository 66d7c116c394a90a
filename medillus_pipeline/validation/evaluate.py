"""Measure a generator on real slices of patients it never saw, always beside the controls. Arrays in, figures out.

The judge's own quality on real images comes first. Every image is generated from a real mask, and the same images
serve as the shuffled control when they are scored against another patient's mask, so controls cost no sampling.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.generation.plausible_anatomy import Rules
from medillus_pipeline.validation import contexts as tissue_contexts
from medillus_pipeline.validation import controls, measures, metrics, slice_groups, tissue_values
from medillus_pipeline.validation.anatomical_errors import anatomical_errors, organ_figures
from medillus_pipeline.validation.contexts import Context, ContextSample, Scored
from medillus_pipeline.validation.laterality import mirrored
from medillus_pipeline.validation.measures import ClassMaps, Organ, Scene, Values
from medillus_pipeline.validation.sampler import Given, Sample, Sampler
from medillus_pipeline.validation.tissue_values import PatientSpread


class Judge(Protocol):
    """A segmenter used for measuring only."""

    def predict(self, values: Values) -> NDArray[np.floating]:
        """Class probabilities (n, classes + 1, height, width) of images (n, height, width); channel 0 is background."""
        ...

    def features(self, values: Values) -> NDArray[np.floating]:
        """Feature vectors (n, d) of images (n, height, width)."""
        ...


class EvaluationConfig(BaseModel):
    """How much is measured. Cost is linear in the number of images: slices + samples for diversity and examples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slices: int = Field(default=80, ge=1, le=100_000, description="most real slices used, evenly over patients")
    samples: int = Field(default=3, ge=2, le=16, description="images per mask for diversity and the sample grid")
    diversity_masks: int = Field(default=8, ge=1, le=1000, description="masks that the diversity figure repeats")
    examples: int = Field(default=6, ge=1, le=100, description="rows of the sample grid, worst first")
    draws: int = Field(default=1000, ge=100, le=100_000, description="bootstrap draws over patients")
    context_slices: int = Field(
        default=40, ge=1, le=100_000, description="most of these slices on which other tissue contexts are scored"
    )
    batch: int = Field(default=32, ge=1, le=1024, description="images that the generator or the judge gets at a time")


@dataclass(frozen=True)
class Example:
    """A row of the sample grid: one mask, its real image, several samples, and what the judge saw in the first.

    `number` counts the measured slices, `nearest` is the pseudonym whose training slice is nearest to the first sample,
    where that was looked for, and `copied` says whether it is nearer than real images are.
    """

    number: int
    patient: str
    level: float
    dice: float
    mask: ClassMaps
    real: Values
    generated: tuple[Values, ...]
    judged: ClassMaps
    nearest: str = ""
    copied: bool = False
    modality: str = measures.CT


@dataclass(frozen=True)
class Evaluation:
    """All figures by flat key (see `figures`), the organs by class order, examples worst first, and remarks.

    `rows` (n,) are the slices that were measured, of those given, `generated` (n, h, w) the images of their masks,
    and `judged` (n, h, w) the judge's labels of these.
    """

    figures: dict[str, float]
    organs: tuple[Organ, ...]
    examples: tuple[Example, ...]
    remarks: tuple[str, ...]
    config: EvaluationConfig
    seed: int
    rows: NDArray[np.int64]
    generated: Values
    judged: ClassMaps

    def and_also(self, figures: Mapping[str, float], remarks: Sequence[str] = ()) -> "Evaluation":
        """The same with further figures and remarks."""
        return replace(self, figures={**self.figures, **figures}, remarks=(*self.remarks, *remarks))


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
    contexts: Mapping[Context, ContextSample] | None = None,
    given: Given | None = None,
    attributes: Sequence[Sequence[str]] = (),
    rules: Rules | None = None,
    pixel_mm: float | NDArray[np.floating] = 1.0,
    spread: PatientSpread | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Figures of a generator on real slices.

    `values` (n, h, w) are calibrated (HU for CT), `class_maps` (n, h, w) hold 0 for background and i for
    `organs[i - 1]`, `patients` and `levels` (0 feet to 1 head) name each slice. `texture` comes from the generator's
    training slices. `sample` is the generator as it is used, its tissue context proposed; `contexts` are the same
    generator under others, scored on `context_slices` of the slices. Both are told what is `given` of each slice.
    Anatomical errors are counted where there are `rules`; `pixel_mm`, one for all or (n,), is the distance of pixels.
    What is said of each slice as a whole, its `attributes`, names its modality and groups the slices for
    `slice_groups.py`. `spread` is that of real patients' organs (default: of the patients measured).
    `progress` counts images. Raises NotEnoughDataError without slices, ValueError when shapes differ.
    """
    config = config or EvaluationConfig()
    if not len(values):
        raise NotEnoughDataError("there is no annotated slice of a validation patient: annotate some, then run again")
    if not len(values) == len(class_maps) == len(patients) == len(levels):
        raise ValueError("values, class_maps, patients and levels must have one entry per slice")
    if attributes and len(attributes) != len(values):
        raise ValueError("attributes must have one entry per slice")
    rng = np.random.default_rng(seed)
    every, heights = np.asarray(patients, dtype=object), np.asarray(levels, dtype=np.float64)
    rows = controls.evenly_over_patients(every, heights, config.slices)
    names, groups = np.unique(every[rows].astype(str), return_inverse=True)
    scene = Scene(
        real=np.asarray(values[rows]),
        maps=np.asarray(class_maps[rows]),
        levels=heights[rows],
        groups=groups,
        patients=names.tolist(),
        organs=organs,
        weights=metrics.bootstrap_weights(len(names), config.draws, rng),
        modalities=slice_groups.modality_of([attributes[int(row)] for row in rows]) if attributes else None,
    )
    in_hu = float(np.count_nonzero(scene.modality == measures.CT))
    scene.figures |= {"patients": float(len(names)), "slices": float(len(rows))}
    scene.figures |= {"slices_in_hu": in_hu, "slices_in_values": len(rows) - in_hu}
    if spread is None:
        spread = tissue_values.patient_spread(scene.real, scene.maps, groups, scene.modality, len(organs))
    repeated = _repeated(scene, config)
    compared = controls.evenly_over_patients(groups, scene.levels, config.context_slices) if contexts else rows[:0]
    total = (
        len(rows)
        + len(compared) * len(contexts or {})
        + config.samples * len(repeated)
        + (config.samples - 1) * min(config.examples, len(rows))
    )
    told = {name: np.asarray(column)[rows] for name, column in (given or {}).items()}
    draw = Sampler(sample, scene.maps, scene.levels, seed, config.batch, total, told, progress)

    generated = draw(np.arange(len(rows)))
    painted = controls.gaussian_texture(scene.maps, texture, rng)
    partner = controls.other_patient_at_same_level(scene.groups, scene.levels)
    real_maps, generated_maps, painted_maps = (
        segment(judge, images, config.batch) for images in (scene.real, generated, painted)
    )
    counts = metrics.overlap(scene.maps, generated_maps, len(organs))
    scored = {"real": metrics.overlap(scene.maps, real_maps, len(organs)), "generated": counts}
    scored["texture"] = metrics.overlap(scene.maps, painted_maps, len(organs))
    if partner is not None:
        scored["other"] = metrics.overlap(scene.maps, real_maps[partner], len(organs))
        scored["shuffled"] = metrics.overlap(scene.maps, generated_maps[partner], len(organs))
    measures.put_dice(scene, scored)
    tissue_values.put_values(scene, generated, "", spread)
    tissue_values.put_values(scene, painted, "_texture")
    measures.put_texture(scene, generated, "")
    measures.put_texture(scene, painted, "_texture")
    if partner is not None:
        tissue_values.put_values(scene, generated[partner], "_shuffled", spread)
    features = [_features(judge, images, config.batch) for images in (scene.real, generated, painted)]
    measures.put_frechet(scene, features, rng)
    measures.put_kernel_distance(scene, features, rng)
    if attributes:
        seen = slice_groups.Seen(generated, real_maps, generated_maps, features[0], features[1])
        slice_groups.put(scene, [attributes[int(row)] for row in rows], seen, seed)
    measures.put_similarity(scene, generated)
    measures.put_diversity(scene, partner, [draw(repeated, k + 1) for k in range(config.samples)], repeated)
    turned = segment(judge, np.ascontiguousarray(generated[:, :, ::-1]), config.batch)
    measures.put_mirrored(scene, mirrored(scene.maps, generated_maps, turned, len(organs)))
    if rules is not None:
        pitch = np.broadcast_to(np.asarray(pixel_mm, np.float64), len(values))[rows]
        made, scans = (rules.check(own, scene.levels, pitch, scene.maps) for own in (generated_maps, real_maps))
        errors = anatomical_errors(made, scans, scene.groups, scene.weights)
        scene.figures |= errors.figures() | organ_figures(errors, [organ.key for organ in organs])
    if contexts:
        judged = tissue_contexts.Judged(
            segment=lambda images: segment(judge, images, config.batch),
            features=lambda images: _features(judge, images, config.batch),
        )
        images: dict[Scored, Values] = {"proposed": generated[compared]}
        for name, under in contexts.items():
            images[name] = draw(compared, by=under, further={"real": scene.real})
        tissue_contexts.put(scene, compared, images, judged, seed)
    quality = metrics.slice_dice(counts)
    worst = np.lexsort((np.arange(len(rows)), np.where(np.isfinite(quality), quality, np.inf)))[: config.examples]
    stacks = [generated[worst], *(draw(worst, k) for k in range(1, config.samples))]
    examples = tuple(
        Example(
            number=int(row),
            patient=scene.patients[groups[row]],
            level=float(scene.levels[row]),
            dice=float(quality[row]),
            mask=scene.maps[row],
            real=scene.real[row],
            generated=tuple(stack[i] for stack in stacks),
            judged=generated_maps[row],
            modality=str(scene.modality[row]),
        )
        for i, row in enumerate(worst)
    )
    return Evaluation(
        figures=scene.figures,
        organs=tuple(organs),
        examples=examples,
        remarks=_remarks(scene, len(values)),
        config=config,
        seed=seed,
        rows=rows,
        generated=generated,
        judged=generated_maps,
    )


def segment(judge: Judge, images: Values, batch: int) -> ClassMaps:
    """The judge's class maps (n, h, w) of images (n, h, w)."""
    parts = [judge.predict(images[i : i + batch]).argmax(axis=1) for i in range(0, len(images), batch)]
    return np.concatenate(parts).astype(np.uint8)


def _features(judge: Judge, images: Values, batch: int) -> NDArray[np.float64]:
    parts = [np.asarray(judge.features(images[i : i + batch])) for i in range(0, len(images), batch)]
    return np.concatenate(parts).astype(np.float64)


def _repeated(scene: Scene, config: EvaluationConfig) -> NDArray[np.int64]:
    """Rows whose masks the diversity figure repeats: those with organs, evenly over patients."""
    rows = np.flatnonzero((scene.maps > 0).sum(axis=(1, 2)) >= metrics.MINIMUM_PIXELS)
    chosen = controls.evenly_over_patients(scene.groups[rows], scene.levels[rows], config.diversity_masks)
    return rows[chosen]


def _remarks(scene: Scene, available: int) -> tuple[str, ...]:
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
