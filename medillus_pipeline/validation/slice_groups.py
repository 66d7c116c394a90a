"""The main figures of part of the slices: those of one modality, or with one pathology, beside those of all.

A group's figures stand behind a slash as an organ's do: `dice_recovery/modality.MR`, `fid_ratio/pathology.lung_nodule`.
Nothing is judged anew: the judge's labels and features of all slices are shared out here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medillus_pipeline.validation import controls, measures, metrics, tissue_values
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


def modality_of(attributes: Sequence[Sequence[str]]) -> NDArray[np.str_]:
    """The modality that is said of each slice, (n,); CT where none is said."""
    said = [[name.partition("=")[2] for name in own if name.startswith("modality=")] for own in attributes]
    return np.array([names[0] if names else measures.CT for names in said], dtype=str)


def put(scene: Scene, attributes: Sequence[Sequence[str]], seen: Seen, seed: int) -> None:
    """Put `GROUP_FIGURES` of each group into the scene. The mean error of organs is one of HU for a group's CT slices,
    and one of series-normalised values for its others.
    """
    for name, rows in groups_of(attributes).items():
        part = _measured(scene, rows, seen, seed)
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
        modalities=scene.modality[rows],
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
    tissue_values.put_values(part, seen.generated[rows], "")
    features = seen.generated_features[rows]
    rng = np.random.default_rng([seed, len(rows), 1])
    measures.put_frechet(part, [seen.real_features[rows], features, features], rng)
    return part.figures | {"patients": float(len(numbers)), "slices": float(len(rows))}
