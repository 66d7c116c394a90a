"""Plausible masks for a structured request, from a prior's shape model alone: no training mask is looked at.

`propose_mask` samples masks and keeps those whose structures are as large as patients have them. What is not here: how
a sentence becomes a request (`language/prior_requests.py`), and how images are made of the masks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medillus_pipeline.annotation.vocabulary import Structure, Vocabulary
from medillus_pipeline.errors import InputError
from medillus_pipeline.generation.body_regions import level_of_classes
from medillus_pipeline.generation.prior import Prior

ATTEMPTS = 12
"""Masks that are sampled for each one asked for, of which the most plausible are kept."""

SPREADS = 2.5
"""Standard deviations by which the area of a structure may differ from the mean of its level."""

RARE = 0.02
"""Share of the slices of a level that must show a structure for it to be drawn there."""

LEVEL_SPREAD = 0.5
"""Share of a step between levels by which the masks of one request lie apart."""

GREATEST_COUNT = 256


@dataclass(frozen=True)
class MaskRequest:
    """What is asked for: a `level` 0 … 1 or None for where the structures are, vocabulary ids that must be there, ids
    that must not, and whether there may be others (`only` the named ones).
    """

    level: float | None = None
    structures: tuple[int, ...] = ()
    without: tuple[int, ...] = ()
    only: bool = False


@dataclass(frozen=True)
class ProposedMasks:
    """`ids` (n, size, size) uint8 vocabulary ids with their `levels` (n,), whether each is `plausible` (n,) bool in
    its areas, and a sentence on what was understood.
    """

    ids: np.ndarray
    levels: np.ndarray
    plausible: np.ndarray
    understood: str


def propose_mask(
    prior: Prior, vocabulary: Vocabulary, request: MaskRequest, *, count: int = 1, seed: int = 0
) -> ProposedMasks:
    """`count` plausible masks for a request; the same seed gives the same masks.

    Of more sampled masks those are kept that have every structure asked for and whose areas are nearest to what the
    prior has at their level; `plausible` says of each whether all areas are within `SPREADS` standard deviations.
    Raises InputError for a structure that the prior does not have, a level outside 0 to 1 or one where no patient has a
    structure asked for, and for a count outside 1 to 256.
    """
    import torch

    if not 1 <= count <= GREATEST_COUNT:
        raise InputError(f"1 to {GREATEST_COUNT} masks can be proposed at once, not {count}")
    asked = request
    _refuse_unknown([*asked.structures, *asked.without], prior, vocabulary)
    level = level_of_classes(prior, asked.structures) if asked.level is None else asked.level
    if not 0 <= level <= 1:
        raise InputError(f"the level {level:g} is outside 0 (feet) to 1 (head)")
    _refuse_elsewhere(asked.structures, level, prior, vocabulary)
    generator = torch.Generator().manual_seed(seed)
    model, size, number = prior.shape_model, prior.tissue.shape[-1], count * ATTEMPTS
    jitter = (torch.rand(number, generator=generator) - 0.5) * 2 * LEVEL_SPREAD / (len(prior.tissue) - 1)
    levels = (level + jitter).clamp(0, 1)
    index = {label: position for position, label in enumerate(prior.classes)}
    must = np.zeros(len(prior.classes), bool)
    must[[index[label] for label in asked.structures]] = True
    noise = torch.randn(number, model.latents, generator=generator)
    wanted = torch.from_numpy(must | _usual(model.present.numpy(), level))
    masks = model.sample_masks(levels, noise, size, wanted.expand(number, -1)).numpy()
    left_out = [index[label] + 1 for label in asked.without]
    if asked.only:
        left_out = [position + 1 for position in range(len(must)) if not must[position]]
    masks[np.isin(masks, left_out)] = 0
    worst = _implausibility(masks, levels.numpy(), prior, must)
    kept = np.sort(np.argsort(worst, kind="stable")[:count])
    ids = np.array([0, *prior.classes], np.uint8)[masks[kept]]
    plausible = worst[kept] <= SPREADS
    return ProposedMasks(
        ids, levels.numpy()[kept], plausible, _sentence(asked, level, int(plausible.sum()), count, vocabulary)
    )


def _usual(present: np.ndarray, level: float) -> np.ndarray:
    from medillus_pipeline.generation.shape_model import USUAL

    return present[round(level * (len(present) - 1)), :, 0] >= USUAL


def _implausibility(masks: np.ndarray, levels: np.ndarray, prior: Prior, must: np.ndarray) -> np.ndarray:
    """(n,) how many standard deviations the area of the worst structure is off; infinite where one that must be there
    is missing. A structure that no patient has at the level counts as if it had the area of the nearest level.
    """
    count = len(prior.classes)
    areas = np.stack([(masks == label).sum((1, 2)) for label in range(1, count + 1)], 1) * prior.pixel_mm**2
    nearest = np.rint(levels * (len(prior.area) - 1)).astype(int)
    expected = _filled(prior.area.astype(np.float64))[nearest]
    # Fewer than two pixels of spread are the grid's and no patient's.
    deviation = np.maximum(expected[..., 1], np.maximum(2 * prior.pixel_mm**2, 0.2 * expected[..., 0]))
    off = np.where(areas > 0, np.abs(areas - expected[..., 0]) / deviation, 0)
    off[(areas == 0) & must] = math.inf
    return np.nan_to_num(off, nan=0.0, posinf=math.inf).max(1)


def _filled(area: np.ndarray) -> np.ndarray:
    """(levels, classes, 2): levels without a figure take that of the nearest level with one."""
    result = area.copy()
    places = np.arange(len(area))
    for index in range(area.shape[1]):
        known = np.flatnonzero(np.isfinite(area[:, index, 0]))
        if len(known):
            result[:, index] = area[known[np.abs(places[:, None] - known[None]).argmin(1)], index]
    return result


def known_classes(structure: Structure, prior: Prior, vocabulary: Vocabulary) -> list[int]:
    """The prior's classes that a structure stands for: itself or its parts. Raises InputError when it has none."""
    has = {label for label, known in zip(prior.classes, prior.known, strict=True) if known}
    if structure.id in has:
        return [structure.id]
    parts = [vocabulary.by_key(key).id for key in structure.parts]
    parts = [label for label in parts if label in has]
    if not parts:
        known = ", ".join(vocabulary.by_id(label).name_en for label in sorted(has))
        raise InputError(f"the prior knows no {structure.name_en}; it knows {known}")
    return parts


def _refuse_unknown(ids: Sequence[int], prior: Prior, vocabulary: Vocabulary) -> None:
    for label in ids:
        try:
            structure = vocabulary.by_id(label)
        except KeyError:
            raise InputError(f"the vocabulary has no structure {label}") from None
        if label not in known_classes(structure, prior, vocabulary):
            raise InputError(f"the prior knows no {structure.name_en} as one structure, only its parts")


def _refuse_elsewhere(ids: Sequence[int], level: float, prior: Prior, vocabulary: Vocabulary) -> None:
    shares = prior.shape_model.present.numpy()[..., 0]
    count = len(shares)
    for label in ids:
        at = np.flatnonzero(shares[:, prior.classes.index(label)] >= RARE)
        if round(level * (count - 1)) not in at:
            raise InputError(
                f"no patient of the prior has {vocabulary.by_id(label).name_en} at level {level:.2f}: it lies at "
                f"{at.min(initial=count) / (count - 1):.2f} to {at.max(initial=0) / (count - 1):.2f}"
                if len(at)
                else f"the prior has no level with {vocabulary.by_id(label).name_en}"
            )


def _names(ids: Sequence[int], vocabulary: Vocabulary) -> str:
    return ", ".join(vocabulary.by_id(label).name_en for label in ids)


def _sentence(request: MaskRequest, level: float, plausible: int, count: int, vocabulary: Vocabulary) -> str:
    parts = [f"at level {level:.2f}" + ("" if request.level is not None else ", where these structures are")]
    if request.structures:
        parts.append(("only " if request.only else "with ") + _names(request.structures, vocabulary))
    if not request.only:
        parts.append("other structures as usual there")
    if request.without:
        parts.append("without " + _names(request.without, vocabulary))
    return f"Masks {'; '.join(parts)}. {plausible} of {count} have plausible areas."
