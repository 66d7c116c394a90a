"""Which training masks come nearest to a structured request, nearest first.

What a mask must have (structures asked for, modality, phase, pathology, stage) it has; how near it is in level, size
and absence decides the order. What is not here: how the mask is then changed (`mask_change.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medillus_pipeline.errors import InputError
from medillus_pipeline.language.mask_bank import MaskBank

FARTHEST = 0.1
"""Distance in level beyond which a training mask does not answer a request for a level."""

LEAST_SHARE = 0.15
"""Share of a structure's large cross-sections that a mask must show of it, where the request asks for it."""

VARIETY = 0.15
"""Standard deviation of what chance adds to the cost, so that seeds retrieve different masks of equal merit."""


@dataclass(frozen=True)
class Wanted:
    """A request in a bank's own terms: positions in `classes`, counted from 0.

    `level` 0 … 1 or None; `pixels` are target areas by class; `attributes` are "kind=value" that the slice must have.
    """

    present: tuple[int, ...]
    absent: tuple[int, ...]
    level: float | None
    pixels: Mapping[int, float]
    attributes: frozenset[str]
    only: bool = False


def nearest_masks(wanted: Wanted, bank: MaskBank, generator: np.random.Generator) -> np.ndarray:
    """Rows of the bank, nearest first. Raises InputError when no training mask has what the request needs, and says
    which part of it none has.
    """
    large = np.array([np.quantile(own[own > 0], 0.9) if (own := column).any() else 0.0 for column in bank.pixels.T])
    fits = np.ones(len(bank), bool)
    for attribute in sorted(wanted.attributes):
        fits &= np.array([attribute in own for own in bank.attributes])
        if not fits.any():
            raise InputError(f"no training slice has {attribute.replace('=', ' ')} beside the rest of the request")
    for index in wanted.present:
        fits &= bank.pixels[:, index] >= max(1.0, LEAST_SHARE * large[index])
    if not fits.any():
        raise InputError("no training slice shows all of the structures together: ask for fewer of them in one slice")
    cost = np.zeros(len(bank))
    if wanted.level is not None:
        gap = np.abs(bank.levels - wanted.level)
        if not (fits & (gap <= FARTHEST)).any():
            lowest, highest = bank.levels[fits].min(), bank.levels[fits].max()
            raise InputError(
                f"no training slice shows this at level {wanted.level:.2f}: it lies at {lowest:.2f} to {highest:.2f}"
            )
        fits &= gap <= FARTHEST
        cost += gap / (FARTHEST / 2)
    for index in wanted.present:
        share = bank.pixels[:, index] / max(large[index], 1.0)
        cost += 2 * np.maximum(0.6 - share, 0) if wanted.level is None else 0.5 * np.maximum(0.4 - share, 0)
    for index, target in wanted.pixels.items():
        cost += np.abs(np.log(np.maximum(bank.pixels[:, index], 0.5) / max(target, 0.5)))
    for index in wanted.absent:
        cost += 0.5 * (bank.pixels[:, index] > 0)
    if wanted.only:
        cost += 0.05 * (bank.pixels > 0).sum(1)
    cost += VARIETY * generator.standard_normal(len(bank))
    rows = np.flatnonzero(fits)
    return rows[np.argsort(cost[rows], kind="stable")]
