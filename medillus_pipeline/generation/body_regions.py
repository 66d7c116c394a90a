"""Where a region of the body lies in a prior, derived from the structures that mark it.

Levels run from the lowest to the highest slice of a series, so "upper abdomen" is at no fixed number: it is where liver
and spleen are. A region is known where the prior has at least one structure of each group that marks it. What a request
is otherwise is not here, see `mask_requests.py`.
"""

from collections.abc import Sequence

import numpy as np

from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.errors import InputError
from medillus_pipeline.generation.prior import Prior

_LUNGS = ("lung_left", "lung_right", "lung_upper_lobe_left", "lung_upper_lobe_right")
_KIDNEYS = ("kidney_left", "kidney_right", "kidneys")

_MARKS: dict[tuple[str, ...], tuple[tuple[str, ...], ...]] = {
    ("head", "头部", "头"): (("brainstem", "brain", "skull", "eye_left", "mandible"),),
    ("neck", "颈部", "颈"): (("larynx", "thyroid_gland", "parotid_gland_left", "parotid_gland_right"),),
    ("chest", "thorax", "胸部", "胸"): ((*_LUNGS, "heart"),),
    ("mid chest", "level of the heart", "心脏层面"): (("heart",), _LUNGS),
    ("upper abdomen", "上腹部", "上腹"): (("liver",), ("spleen", "stomach")),
    ("mid abdomen", "middle abdomen", "abdomen", "中腹部", "腹部"): (_KIDNEYS,),
    ("lower abdomen", "下腹部", "下腹"): (("colon", "small_bowel", "vertebrae_L4", "vertebrae_L5"),),
    ("pelvis", "盆腔", "骨盆"): (("urinary_bladder", "sacrum", "hip_left", "hip_right", "rectum"),),
}

REGIONS: dict[str, tuple[tuple[str, ...], ...]] = {name: marks for names, marks in _MARKS.items() for name in names}
"""Groups of structures (keys of the vocabulary) by name of the region: it lies where the first that the prior has of
each group is."""


def level_of_region(prior: Prior, name: str, vocabulary: Vocabulary) -> float:
    """The level, 0 feet to 1 head, of a region. Raises InputError when the prior lacks the structures that mark it."""
    has = {label for label, known in zip(prior.classes, prior.known, strict=True) if known}
    chosen = []
    for group in REGIONS[name]:
        found = [label for key in group if (label := vocabulary.by_key(key).id) in has]
        if not found:
            names = ", ".join(vocabulary.by_key(key).name_en for key in group)
            raise InputError(f"the prior cannot tell where {name!r} is: it has none of {names}")
        chosen.append(found[:1])
    return _level(prior, chosen)


def level_of_classes(prior: Prior, ids: Sequence[int]) -> float:
    """The level at which these classes, all of them if that can be, are largest; of none the middle."""
    return _level(prior, [[label] for label in ids]) if ids else 0.5


def _level(prior: Prior, groups: Sequence[Sequence[int]]) -> float:
    """Where the least of the groups, each as a share of its own greatest extent, is largest."""
    index = {label: position for position, label in enumerate(prior.classes)}
    covered = np.nan_to_num(prior.occupancy).sum((2, 3))
    shares = []
    for group in groups:
        extent = covered[:, [index[label] for label in group]].sum(1)
        shares.append(extent / max(float(extent.max()), 1e-9))
    score = np.minimum.reduce(shares) + 0.1 * np.mean(shares, axis=0)
    best = score >= 0.9 * score.max()
    return float(np.flatnonzero(best).mean().round() / (len(score) - 1))
