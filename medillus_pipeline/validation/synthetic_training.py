"""Train on synthetic, test on real: what a segmenter learns from generated images, beside what real ones teach.

Several small segmenters, one a seed, learn from images of the training masks; the same configuration learns from the
real images of those masks. Both are tested on real slices of patients that neither saw. What is not here: how the
images are made, and the judge, which takes no part.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from medillus_pipeline.generation.config import SegmenterConfig
from medillus_pipeline.generation.intensity import CT, IntensityMap
from medillus_pipeline.generation.segmenter import Segmenter, train_segmenter
from medillus_pipeline.validation import metrics

STUDENT = SegmenterConfig(channels=(12, 24, 48), blocks=1, steps=320, batch_size=8)


class SyntheticTrainingConfig(BaseModel):
    """How the students learn; the same for real and for generated images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    student: SegmenterConfig = Field(default=STUDENT, description="network and training of a student")
    seeds: tuple[int, ...] = Field(default=(101, 102, 103), min_length=1, description="one student each")
    draws: int = Field(default=1000, ge=100, le=100_000, description="bootstrap draws over patients")


@dataclass(frozen=True)
class HeldOut:
    """Real slices to test on: calibrated values and class maps (n, h, w), and the patient of each."""

    values: NDArray[np.integer]
    class_maps: NDArray[np.uint8]
    patients: Sequence[str]


def students(
    values: NDArray[np.integer],
    class_maps: NDArray[np.uint8],
    classes: tuple[int, ...],
    *,
    config: SyntheticTrainingConfig | None = None,
    intensity: IntensityMap = CT,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Segmenter, ...]:
    """One segmenter a seed, trained on images (n, h, w) of class maps (n, h, w); `progress` counts training steps."""
    config = config or SyntheticTrainingConfig()
    total, steps = config.student.steps * len(config.seeds), config.student.steps

    def counted(number: int) -> Callable[[int, int], None]:
        def count(step: int, _: int) -> None:
            if progress is not None:
                progress(number * steps + step, total)

        return count

    return tuple(
        train_segmenter(
            values, class_maps, classes, config=config.student, seed=seed, intensity=intensity, progress=counted(number)
        )
        for number, seed in enumerate(config.seeds)
    )


def compared(
    from_generated: Sequence[Segmenter],
    from_real: Sequence[Segmenter],
    held_out: HeldOut,
    *,
    seed: int,
    config: SyntheticTrainingConfig | None = None,
) -> dict[str, float]:
    """The figures `tstr_ratio`, `tstr_dice` and `trtr_dice`, each with its bootstrap 95% interval over patients.

    Dice is of a patient's slices taken together, its mean over seeds, then over patients, then over the organs that
    occur. The ratio draws the same patients for both kinds of student. Raises ValueError for students of other classes.
    """
    config = config or SyntheticTrainingConfig()
    if len({student.classes for student in (*from_generated, *from_real)}) != 1:
        raise ValueError("all students must know the same classes")
    names, groups = np.unique(np.asarray(held_out.patients, dtype=str), return_inverse=True)
    weights = metrics.bootstrap_weights(len(names), config.draws, np.random.default_rng(seed))
    ours, theirs = (_patient_dice(group, held_out, groups, len(names)) for group in (from_generated, from_real))

    def mean(table: NDArray[np.floating], drawn: NDArray) -> NDArray[np.floating]:
        return metrics.nan_mean(metrics.weighted_mean(table, drawn), axis=1)

    def ratio(drawn: NDArray) -> NDArray[np.floating]:
        with np.errstate(invalid="ignore", divide="ignore"):
            return mean(ours, drawn) / mean(theirs, drawn)

    found = {
        "tstr_ratio": metrics.estimate(ratio, weights),
        "tstr_dice": metrics.estimate(lambda drawn: mean(ours, drawn), weights),
        "trtr_dice": metrics.estimate(lambda drawn: mean(theirs, drawn), weights),
    }
    return {
        f"{name}{end}": value
        for name, one in found.items()
        for end, value in (("", one.value), ("_low", one.low), ("_high", one.high))
    }


def _patient_dice(
    group: Sequence[Segmenter], held_out: HeldOut, groups: NDArray[np.integer], patients: int
) -> NDArray[np.floating]:
    """Dice (patients, classes), the mean over the students; what a patient lacks is NaN for all of them alike."""
    tables = [
        metrics.patient_dice(
            metrics.overlap(held_out.class_maps, student.labels(held_out.values), len(student.classes)),
            groups,
            patients,
        )
        for student in group
    ]
    return np.mean(tables, axis=0)
