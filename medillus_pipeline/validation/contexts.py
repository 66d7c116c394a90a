"""Scores under other tissue contexts: derived from the real slice ("true") and dropped ("none"), beside the proposed.

A generator whose mask leaves most of the slice open is told air, fat, soft tissue and bone as well. In use the prior
proposes them; what is lost by that shows beside the true ones. All contexts are scored on the same slices.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from medillus_pipeline.validation import controls, measures, metrics, tissue_values
from medillus_pipeline.validation.figures import CONTEXT_FIGURES, CONTEXTS
from medillus_pipeline.validation.measures import ClassMaps, Scene, Values

Context = Literal["true", "none"]
Scored = Literal["true", "none", "proposed"]


class ContextSample(Protocol):
    """A generator under a context of one kind."""

    def __call__(
        self, maps: ClassMaps, levels: NDArray[np.floating], seed: int, /, *, real: Values, **given: NDArray[Any]
    ) -> Values:
        """Images (n, h, w) in HU of class maps (n, h, w); `real` (n, h, w) are the masks' own real slices, from which
        the true context is derived. A generator without context does not look at them.
        """
        ...


@dataclass(frozen=True)
class Judged:
    """What the judge says of images (n, h, w): class maps (n, h, w), and feature vectors (n, d)."""

    segment: Callable[[Values], ClassMaps]
    features: Callable[[Values], NDArray[np.float64]]


def put(scene: Scene, rows: NDArray[np.int64], images: Mapping[Scored, Values], judged: Judged, seed: int) -> None:
    """Put `CONTEXT_FIGURES` of the images (len(rows), h, w) of each context into the scene, by suffix (`CONTEXTS`)."""
    suffix_of = {name: suffix for suffix, name in CONTEXTS.items()}
    names, groups = np.unique(scene.groups[rows], return_inverse=True)
    weights = metrics.bootstrap_weights(len(names), len(scene.weights), np.random.default_rng([seed, len(rows)]))
    real, maps = scene.real[rows], scene.maps[rows]
    partner = controls.other_patient_at_same_level(groups, scene.levels[rows])
    real_maps, real_features = judged.segment(real), judged.features(real)
    count = len(scene.organs)
    for name, made in images.items():
        part = Scene(
            real=real,
            maps=maps,
            levels=scene.levels[rows],
            groups=groups,
            patients=[scene.patients[number] for number in names],
            organs=scene.organs,
            weights=weights,
            modalities=scene.modality[rows],
        )
        found = judged.segment(made)
        scored = {"real": metrics.overlap(maps, real_maps, count), "generated": metrics.overlap(maps, found, count)}
        if partner is not None:
            scored["shuffled"] = metrics.overlap(maps, found[partner], count)
        measures.put_dice(part, scored)
        tissue_values.put_values(part, made, "")
        measures.put_similarity(part, made)
        features = judged.features(made)
        measures.put_frechet(part, [real_features, features, features], np.random.default_rng([seed, len(rows), 1]))
        scene.figures |= {
            f"{key}_{suffix_of[name]}{bound}": part.figures[f"{key}{bound}"]
            for key in CONTEXT_FIGURES
            for bound in ("", "_low", "_high")
            if f"{key}{bound}" in part.figures
        }
