"""All that a validation report says of a model, measured in one pass: images are drawn once and shared.

What is measured on them is in the modules called here; gates and page are elsewhere. The images of training masks
serve the students of `synthetic_training.py`, the search for memorised slices and the calibration of the confidence;
those of held-out masks serve all else. Cost is linear in the numbers of the configuration, but for the search, which
takes every training slice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.generation.config import SegmenterConfig
from medillus_pipeline.generation.intensity import CT, IntensityMap
from medillus_pipeline.generation.plausible_anatomy import Rules
from medillus_pipeline.validation import controls, synthetic_training, tissue_values
from medillus_pipeline.validation.class_errors import class_errors
from medillus_pipeline.validation.cohort import Cohort
from medillus_pipeline.validation.confidence import Instances, Predictor, collect
from medillus_pipeline.validation.contexts import Context, ContextSample
from medillus_pipeline.validation.counterfactual import CounterfactualConfig, Followed, counterfactual
from medillus_pipeline.validation.evaluate import Evaluation, EvaluationConfig, Judge, evaluate, segment
from medillus_pipeline.validation.figures import CHAMPION, COMPARED
from medillus_pipeline.validation.measures import ClassMaps, Organ, Values
from medillus_pipeline.validation.memorisation import Memorisation, MemorisationConfig, Owned, memorisation
from medillus_pipeline.validation.sampler import Sample, Sampler
from medillus_pipeline.validation.stopwatch import Stopwatch
from medillus_pipeline.validation.synthetic_training import HeldOut, SyntheticTrainingConfig

TRAINING_IMAGES = 100
"""Repeat number of the images of training masks, beyond those of any held-out mask."""

SPREAD_SLICES = 2000
"""Most training slices, evenly over patients, that the spread of organs between patients is taken from."""


class OnePassConfig(BaseModel):
    """How much is measured; zero leaves a part out, and its figures with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    evaluation: EvaluationConfig = Field(default=EvaluationConfig(), description="images of held-out masks")
    training_masks: int = Field(
        default=240, ge=0, le=100_000, description="training masks that are drawn, for the students and for copies"
    )
    students: int = Field(default=1, ge=0, le=10, description="segmenters taught by generated, and by real images")
    student: SegmenterConfig = Field(default=synthetic_training.STUDENT, description="network and training of each")
    edited_masks: int = Field(
        default=24, ge=0, le=10_000, description="held-out masks that are edited, three times each"
    )


@dataclass(frozen=True)
class Measured:
    """The evaluation with the figures of all parts, the edited masks, and CPU seconds of this process by part.

    `trained` are the structures drawn from training masks, `held` those from held-out masks: what the confidence is
    calibrated on and judged on, None where no organ segmenter was given or no training mask drawn.
    """

    evaluation: Evaluation
    edits: tuple[Followed, ...]
    seconds: dict[str, float]
    trained: Instances | None = None
    held: Instances | None = None


def measure(
    held_out: Cohort,
    training: Cohort,
    organs: Sequence[Organ],
    classes: tuple[int, ...],
    *,
    sample: Sample,
    judge: Judge,
    seed: int,
    config: OnePassConfig | None = None,
    rules: Rules | None = None,
    contexts: Mapping[Context, ContextSample] | None = None,
    champion: Sample | None = None,
    intensity: IntensityMap = CT,
    segmenter: Predictor | None = None,
    judge_knows: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Measured:
    """Measure a generator on `held_out`, slices of patients that it never saw; `training` are those that it learnt.

    `organs` and `classes` (vocabulary ids) are in the order of the class indices. The `champion` is evaluated on the
    same slices with the same seeds. `segmenter` is the one whose scores figures print as confidence, `judge_knows` are
    the ids that the judge was trained on (None: all). `progress` counts the images of held-out masks. What cannot be
    measured leaves a remark and no figures. Raises NotEnoughDataError without held-out slices.
    """
    config = config or OnePassConfig()
    watch = Stopwatch()
    texture = controls.label_statistics(training.values, training.class_maps, len(organs))
    owners = np.asarray(training.patients, dtype=str)
    known = training.at(controls.evenly_over_patients(owners, np.asarray(training.levels), SPREAD_SLICES))
    spread = tissue_values.patient_spread(known.values, known.class_maps, known.patients, known.modality, len(organs))

    def evaluated(
        by: Sample,
        chosen: EvaluationConfig,
        contexts: Mapping[Context, ContextSample] | None = None,
        progress: Callable[[int, int], None] | None = None,
        attributes: Sequence[Sequence[str]] = (),
    ) -> Evaluation:
        return evaluate(
            held_out.values,
            held_out.class_maps,
            held_out.patients,
            held_out.levels.tolist(),
            organs,
            sample=by,
            judge=judge,
            texture=texture,
            seed=seed,
            config=chosen,
            given=held_out.given,
            attributes=attributes,
            rules=rules,
            pixel_mm=held_out.pixel_mm,
            spread=spread,
            contexts=contexts,
            progress=progress,
        )

    with watch("held-out masks"):
        evaluation = evaluated(sample, config.evaluation, contexts, progress, held_out.attributes)
    seen = held_out.at(evaluation.rows)
    if champion is not None:
        with watch("champion"):
            # Diversity and examples of the champion are in its own report.
            few = config.evaluation.model_copy(update={"samples": 2, "diversity_masks": 1, "examples": 1})
            theirs = evaluated(champion, few).figures
        keys = [f"{key}{bound}" for key in COMPARED for bound in ("", "_low", "_high")]
        evaluation = evaluation.and_also({_of_champion(key): theirs[key] for key in keys if key in theirs})
    edits: tuple[Followed, ...] = ()
    if config.edited_masks:
        with watch("edited masks"):
            followed = counterfactual(
                seen.values,
                seen.class_maps,
                seen.patients,
                seen.levels,
                sample=sample,
                judge=judge,
                seed=seed,
                config=CounterfactualConfig(
                    masks=config.edited_masks, batch=config.evaluation.batch, draws=config.evaluation.draws
                ),
                given=seen.given,
            )
        evaluation, edits = evaluation.and_also(followed.figures), followed.cases
    trained = held = None
    if config.training_masks and len(training.patients):
        evaluation, taught, images = _with_training_masks(
            evaluation, seen, training, classes, sample, judge, seed, config, intensity, watch
        )
        batch = config.evaluation.batch
        if segmenter is not None or rules is not None:
            with watch("training masks"):
                judged = segment(judge, images, batch)
        if rules is not None:
            with watch("errors by structure"):
                evaluation = evaluation.and_also(
                    _class_figures(evaluation, seen, taught, judged, rules, judge, organs, seed, batch)
                )
        if segmenter is not None:
            with watch("confidence"):
                trained, held = (
                    collect(
                        pictures, own.class_maps, labels, own.patients, classes, segmenter,
                        judge_knows=judge_knows, batch=batch,
                    )
                    for pictures, own, labels in (
                        (images, taught, judged),
                        (evaluation.generated, seen, evaluation.judged),
                    )
                )  # fmt: skip
    return Measured(evaluation, edits, watch.seconds, trained, held)


def _with_training_masks(
    evaluation: Evaluation,
    seen: Cohort,
    training: Cohort,
    classes: tuple[int, ...],
    sample: Sample,
    judge: Judge,
    seed: int,
    config: OnePassConfig,
    intensity: IntensityMap,
    watch: Stopwatch,
) -> tuple[Evaluation, Cohort, Values]:
    """Add what needs images of training masks: copies, membership, and the students. Also the slices whose masks were
    drawn, and these images.
    """
    owners, levels = np.asarray(training.patients, dtype=str), np.asarray(training.levels)
    chosen = controls.evenly_over_patients(owners, levels, config.training_masks)
    taught = training.at(chosen)
    every = np.arange(len(chosen))
    with watch("training masks"):
        draw = Sampler(
            sample, taught.class_maps, taught.levels, seed, config.evaluation.batch, len(every), taught.given
        )
        images = draw(every, TRAINING_IMAGES)
    with watch("memorisation"):
        # As many of the training as of the held-out masks, or the nearest image would be nearer by number alone.
        own = controls.evenly_over_patients(owners[chosen], taught.levels, len(seen.patients))
        try:
            found = memorisation(
                Owned(training.values, owners),
                Owned(seen.values, np.asarray(seen.patients, dtype=str)),
                evaluation.generated,
                chosen[own],
                images[own],
                features=judge.features,
                rng=np.random.default_rng([seed, TRAINING_IMAGES]),
                intensity=intensity,
                config=MemorisationConfig(draws=config.evaluation.draws),
            )
        except NotEnoughDataError as error:
            evaluation = evaluation.and_also({}, [f"Memorisation was not measured: {error}."])
        else:
            evaluation = _with_nearest(evaluation.and_also(found.figures()), found)
    if config.students:
        with watch("students"):
            learning = SyntheticTrainingConfig(
                student=config.student,
                seeds=tuple(101 + number for number in range(config.students)),
                draws=config.evaluation.draws,
            )
            from_generated, from_real = (
                synthetic_training.students(values, taught.class_maps, classes, config=learning, intensity=intensity)
                for values in (images, taught.values)
            )
            test = HeldOut(seen.values, seen.class_maps, seen.patients)
            figures = synthetic_training.compared(from_generated, from_real, test, seed=seed, config=learning)
        evaluation = evaluation.and_also(figures)
    return evaluation, taught, images


def _class_figures(
    evaluation: Evaluation,
    seen: Cohort,
    taught: Cohort,
    judged: ClassMaps,
    rules: Rules,
    judge: Judge,
    organs: Sequence[Organ],
    seed: int,
    batch: int,
) -> dict[str, float]:
    """Errors by structure, of the images of held-out and of training masks together."""
    both = (seen, taught)
    levels = np.concatenate([own.levels for own in both])
    pixel_mm = np.concatenate(
        [np.broadcast_to(np.asarray(own.pixel_mm, np.float64), len(own.patients)) for own in both]
    )
    asked = np.concatenate([own.class_maps for own in both])
    scans = segment(judge, np.concatenate([own.values for own in both]), batch)
    made, real = (
        rules.check(found, levels, pixel_mm, asked) for found in (np.concatenate([evaluation.judged, judged]), scans)
    )
    rng = np.random.default_rng([seed, len(asked)])
    found = class_errors(made, real, [*seen.patients, *taught.patients], rng)
    return found.figures([organ.key for organ in organs])


def _with_nearest(evaluation: Evaluation, found: Memorisation) -> Evaluation:
    examples = tuple(
        replace(one, nearest=str(found.nearest_patient[one.number]), copied=bool(found.copied[one.number]))
        for one in evaluation.examples
    )
    return replace(evaluation, examples=examples)


def _of_champion(key: str) -> str:
    """`dice_recovery_low` of the champion is `dice_recovery_champion_low`."""
    for bound in ("_low", "_high"):
        if key.endswith(bound):
            return f"{key.removesuffix(bound)}_{CHAMPION}{bound}"
    return f"{key}_{CHAMPION}"
