"""The values of organs, generated to real: mean and spread, in HU for CT, and apart from it of normalised values.

A figure in HU is of CT slices alone. Other modalities have no unit (their series are normalised), and are counted organ
by organ and modality by modality before anything is averaged, so that no figure mixes two scales.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from medillus_pipeline.validation import metrics
from medillus_pipeline.validation.measures import CT, ClassMaps, Scene, Values
from medillus_pipeline.validation.metrics import Moments

FALSE_ALARM = 0.05
"""Chance that an honest model has an excess above 0 in any organ."""


@dataclass(frozen=True)
class PatientSpread:
    """How far an organ's mean value differs between patients: standard deviation by modality, (classes,) each, and the
    number of patients that it was taken from, (classes,) each; NaN below two patients.
    """

    deviation: dict[str, NDArray[np.float64]]
    patients: dict[str, NDArray[np.int64]]


def patient_spread(
    values: Values, class_maps: ClassMaps, patients: Sequence[str] | NDArray, modality: NDArray[np.str_], classes: int
) -> PatientSpread:
    """The spread in real slices (n, h, w) with class maps (n, h, w), the patient and modality of each."""
    names, groups = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    deviation, counts = {}, {}
    for kind in np.unique(modality).tolist():
        rows = np.flatnonzero(modality == kind)
        means = metrics.patient_moments(
            np.asarray(values[rows]), np.asarray(class_maps[rows]), groups[rows], len(names), classes
        ).mean
        known = np.isfinite(means)
        count = known.sum(0)
        centred = np.where(known, means - metrics.nan_mean(means, axis=0), 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = np.sqrt((centred**2).sum(0) / (count - 1))
        deviation[kind], counts[kind] = np.where(count > 1, spread, np.nan), count
    return PatientSpread(deviation, counts)


def put_values(scene: Scene, images: Values, control: str, spread: PatientSpread | None = None) -> None:
    """Errors and spread ratios of the organs of `images` (n, h, w), under a suffix for a control.

    `spread` is that of real patients: with it the worst organ's error beyond it is put too.
    """
    modalities = sorted(set(scene.modality.tolist()))
    for unit, kinds in (("hu", [k for k in modalities if k == CT]), ("value", [k for k in modalities if k != CT])):
        if kinds:
            _put(scene, images, control, unit, kinds, spread)


def _put(
    scene: Scene, images: Values, control: str, unit: str, kinds: Sequence[str], spread: PatientSpread | None
) -> None:
    real, made = (_moments(scene, stack, kinds) for stack in (scene.real, images))

    def gap(measure: str, weights: NDArray) -> NDArray:
        ours, theirs = (metrics.weighted_mean(getattr(moments, measure), weights) for moments in (made, real))
        return ours - theirs

    def ratio(weights: NDArray) -> NDArray:
        with np.errstate(invalid="ignore", divide="ignore"):
            found = metrics.weighted_mean(made.sd, weights) / metrics.weighted_mean(real.sd, weights)
        return np.where(np.isfinite(found), np.maximum(found, 1e-3), np.nan)

    scene.put(f"organ_{unit}_error{control}", lambda w: metrics.nan_mean(np.abs(gap("mean", w)), axis=1))
    scene.put(f"organ_{unit}_sd_error{control}", lambda w: metrics.nan_mean(np.abs(gap("sd", w)), axis=1))
    scene.put(f"organ_{unit}_sd_ratio{control}", lambda w: np.exp(metrics.nan_mean(np.log(ratio(w)), axis=1)))
    scene.put(f"worst_organ_{unit}_error{control}", lambda w: _largest(np.abs(gap("mean", w))))
    if spread is not None:
        explained = _explained(spread, kinds, np.isfinite(real.mean).sum(0))
        scene.put(
            f"worst_organ_{unit}_excess{control}",
            lambda w: _largest(np.maximum(np.abs(gap("mean", w)) - explained, 0.0)),
        )
    if control or len(kinds) > 1:
        return
    scene.put_by_organ(f"organ_{unit}_error", lambda w: np.abs(gap("mean", w)))
    scene.put_by_organ(f"organ_{unit}_sd_ratio", ratio)
    for name, table in (("mean_real", real.mean), ("mean_generated", made.mean)):
        scene.put_by_organ(f"{unit}_{name}", lambda w, t=table: metrics.weighted_mean(t, w))
    for name, table in (("sd_real", real.sd), ("sd_generated", made.sd)):
        scene.put_by_organ(f"{unit}_{name}", lambda w, t=table: metrics.weighted_mean(t, w))


def _moments(scene: Scene, stack: Values, kinds: Sequence[str]) -> Moments:
    """(patients, modalities × classes), each modality's slices by themselves."""
    parts = [
        metrics.patient_moments(
            stack[rows], scene.maps[rows], scene.groups[rows], len(scene.patients), len(scene.organs)
        )
        for rows in (np.flatnonzero(scene.modality == kind) for kind in kinds)
    ]
    return Moments(np.concatenate([p.mean for p in parts], 1), np.concatenate([p.sd for p in parts], 1))


def _explained(spread: PatientSpread, kinds: Sequence[str], patients: NDArray[np.integer]) -> NDArray[np.float64]:
    """What the difference of two means of so many patients' organs stays under by chance: t·sd·√(2/n), that chance
    shared out over the organs (Bonferroni). NaN where the spread is not known: such an organ is not judged.
    """
    none = np.full(len(patients) // len(kinds), np.nan)
    deviation = np.concatenate([spread.deviation.get(kind, none) for kind in kinds])
    freedom = np.concatenate([spread.patients.get(kind, none) for kind in kinds]) - 1
    judged = np.isfinite(deviation) & (patients > 0) & (freedom > 0)
    tail = FALSE_ALARM / 2 / max(int(judged.sum()), 1)
    quantile = stats.t.isf(tail, np.where(judged, freedom, 1))
    return np.where(judged, quantile * deviation * np.sqrt(2 / np.maximum(patients, 1)), np.nan)


def _largest(table: NDArray[np.floating]) -> NDArray[np.float64]:
    """Largest known entry of each row; NaN without any."""
    largest = np.where(np.isfinite(table), table, -np.inf).max(axis=1, initial=-np.inf)
    return np.where(np.isfinite(largest), largest, np.nan)
