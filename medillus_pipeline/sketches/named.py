"""Regions that a drawer named, in the model's frame: they get their structure whatever the network says.

Which strokes were named is in `legend.py` and `svg_file.py`, what they enclose in `strokes.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.errors import InputError
from medillus_pipeline.sketches.placing import Placement, placed_region
from medillus_pipeline.sketches.segmenter import SketchSegmenter


@dataclass(frozen=True)
class NamedRegions:
    """`masks`: class index from 1 → mask (side, side); smaller regions lie on top of larger ones."""

    masks: dict[int, NDArray[np.bool_]]
    remarks: tuple[str, ...] = ()

    def honoured(self, probability: NDArray[np.floating]) -> NDArray[np.floating]:
        """Probabilities (classes + 1, h, w) with certainty in the named regions; their names lie nowhere else."""
        if not self.masks:
            return probability
        result = probability.copy()
        for index, mask in self.masks.items():
            result[index][~mask] = 0
        for index, mask in self.masks.items():
            result[:, mask] = 0
            result[index][mask] = 1
        return result


def named_regions(
    regions: Mapping[str, list[NDArray[np.bool_]]],
    placement: Placement,
    segmenter: SketchSegmenter,
    vocabulary: Vocabulary,
    probability: NDArray[np.floating],
) -> NamedRegions:
    """The regions (h, w) on a sheet of each key, as masks of the segmenter's classes.

    A name of a whole (lungs) stands for those of its parts that the segmenter knows: each shape becomes the part that
    the network finds likeliest. Raises InputError for a structure of which the segmenter knows neither.
    """
    index_of = {vocabulary.by_id(label).key: index for index, label in enumerate(segmenter.classes, start=1)}
    shapes: list[tuple[int, NDArray[np.bool_]]] = []
    remarks = []
    for key, own in regions.items():
        parts = [index_of[part] for part in (key, *vocabulary.by_key(key).parts) if part in index_of]
        if not parts:
            raise InputError(
                f"the sketch names {key}, which this segmenter has not learned; it knows {', '.join(index_of)}"
            )
        masks = [mask for region in own if (mask := placed_region(region, placement, segmenter.side)).any()]
        if not masks:
            remarks.append(f"the strokes named {key} enclose nothing")
        for mask in masks:
            shapes.append((max(parts[: 1 if key in index_of else None], key=_likeliest(probability, mask)), mask))
    found: dict[int, NDArray[np.bool_]] = {}
    for index, mask in sorted(shapes, key=lambda shape: -int(shape[1].sum())):
        for other in found:
            if other != index:
                found[other] = found[other] & ~mask
        found[index] = found[index] | mask if index in found else mask
    return NamedRegions({index: mask for index, mask in found.items() if mask.any()}, tuple(remarks))


def _likeliest(probability: NDArray[np.floating], mask: NDArray[np.bool_]):
    return lambda index: float(probability[index][mask].mean())
