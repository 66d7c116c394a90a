"""The main figures of part of the slices: those of one modality, or with one pathology, beside those of all.

A group's figures stand behind a slash as an organ's do: `dice_recovery/modality.MR`, `fid_ratio/pathology.lung_nodule`.
Nothing is judged anew: the judge's labels and features of all slices are shared out here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medillus_pipeline.validation import controls, measures, metrics
from medillus_pipeline.validation.figures import GROUP_FIGURES
from medillus_pipeline.validation.measures import ClassMaps, Scene, Values

GROUPED = ("modality", "pathology")
"""Kinds of attributes by which the slices are grouped."""


@dataclass(frozen=True)
class Seen:
    """All measured slices: `generated` (n, h, w), the judge's labels of the real and of the generated images (n, h, w),
    and its features of both (n, d).
    """

    generated: Values
    real_maps: ClassMaps
    generated_maps: ClassMaps
    real_features: NDArray[np.float64]
    generated_features: NDArray[np.float64]


def groups_of(attributes: Sequence[Sequence[str]]) -> dict[str, NDArray[np.int64]]:
    """The rows of each group, by a name such as `modality.MR`; `attributes` are the "kind=value" said of each slice.

    What is said of every slice makes no group, since its figures are those of all.
    """
    named = sorted({name for own in attributes for name in own if name.partition("=")[0] in GROUPED})
    rows = {name: np.flatnonzero([name in own for own in attributes]) for name in named}
    return {name.replace("=", ".", 1): own for name, own in rows.items() if len(own) < len(attributes)}


def put(scene: Scene, attributes: Sequence[Sequence[str]], seen: Seen, seed: int) -> None:
    """Put `GROUP_FIGURES` of each group into the scene. The mean error of organs is one of HU in a group of CT, one of
    series-normalised values in a group without, and absent where a group has both.
    """
    for name, rows in groups_of(attributes).items():
        in_hu = {_in_hu(attributes[int(row)]) for row in rows}
        part = _measured(scene, rows, seen, seed)
        errors = {f"organ_hu_error{bound}": part.pop(f"organ_hu_error{bound}") for bound in ("", "_low", "_high")}
        if in_hu == {True}:
            part |= errors
        elif in_hu == {False}:
            part |= {key.replace("_hu_", "_value_"): value for key, value in errors.items()}
        keys = [f"{key}{bound}" for key in GROUP_FIGURES for bound in ("", "_low", "_high")]
        scene.figures |= {f"{key}/{name}": part[key] for key in keys if key in part}


def _measured(scene: Scene, rows: NDArray[np.int64], seen: Seen, seed: int) -> dict[str, float]:
    """The figures of these rows, the other patient's mask taken from among them."""
    numbers, groups = np.unique(scene.groups[rows], return_inverse=True)
    part = Scene(
        real=scene.real[rows],
        maps=scene.maps[rows],
        levels=scene.levels[rows],
        groups=groups,
        patients=[scene.patients[number] for number in numbers],
        organs=scene.organs,
        weights=metrics.bootstrap_weights(
            len(numbers), len(scene.weights), np.random.default_rng([seed, *rows.tolist()])
        ),
    )
    count, found = len(scene.organs), seen.generated_maps[rows]
    scored = {
        "real": metrics.overlap(part.maps, seen.real_maps[rows], count),
        "generated": metrics.overlap(part.maps, found, count),
    }
    partner = controls.other_patient_at_same_level(groups, part.levels)
    if partner is not None:
        scored["shuffled"] = metrics.overlap(part.maps, found[partner], count)
    measures.put_dice(part, scored)
    measures.put_hu(part, seen.generated[rows], "")
    features = seen.generated_features[rows]
    rng = np.random.default_rng([seed, len(rows), 1])
    measures.put_frechet(part, [seen.real_features[rows], features, features], rng)
    return part.figures | {"patients": float(len(numbers)), "slices": float(len(rows))}


def _in_hu(said: Sequence[str]) -> bool:
    return "modality=CT" in said or not any(name.startswith("modality=") for name in said)
