"""The structure that fares worst: its anatomical errors beyond those that the judge sees in real images of these masks.

A structure that one image in ten lacks hides in a rate over all structures, and in the Dice of all its slices taken
together. Bounds are those of `anatomical_errors.py`, structure by structure; what counts as an error is there too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from medillus_pipeline.generation.plausible_anatomy import Findings
from medillus_pipeline.validation import metrics
from medillus_pipeline.validation.anatomical_errors import AnatomicalErrors, ErrorRateConfig, anatomical_errors


class ClassErrorConfig(BaseModel):
    """From when on a structure is counted by itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    instances: int = Field(
        default=30,
        ge=1,
        description="instances from which a structure is counted by itself: below, one error would be a rate of "
        "several per cent; rarer ones are counted together",
    )
    draws: int = Field(default=300, ge=100, le=100_000, description="bootstrap draws over patients")


@dataclass(frozen=True)
class ClassErrors:
    """The excess of the worst structure with the largest upper and lower bound of any, NaN where too few instances were
    seen; `by_class` says for each class index from 0 the result that it was counted in.
    """

    value: float
    low: float
    high: float
    by_class: dict[int, AnatomicalErrors]

    def figures(self, keys: Sequence[str]) -> dict[str, float]:
        """Flat figures for gates and report; `keys` name the classes."""
        name = "worst_class_error_excess"
        out = {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}
        for index, found in self.by_class.items():
            pairs = zip(
                ("", "_low", "_high"), (found.difference, found.difference_low, found.difference_high), strict=True
            )
            out |= {f"class_error_excess{bound}/{keys[index]}": value for bound, value in pairs}
        return {key: value for key, value in out.items() if math.isfinite(value)}


def class_errors(
    generated: Findings,
    real: Findings,
    patients: Sequence[str],
    rng: np.random.Generator,
    config: ClassErrorConfig | None = None,
) -> ClassErrors:
    """Rates by structure of the judge's findings on generated images (n slices) and on the real ones of these masks.

    `patients` (n,) own the slices. Classes with fewer than `instances` are counted together, with the next larger ones
    as long as they are too few; with too few altogether there is no figure. Raises ValueError when lengths differ.
    """
    config = config or ClassErrorConfig()
    names, groups = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    weights = metrics.bootstrap_weights(len(names), config.draws, rng)
    found: dict[int, AnatomicalErrors] = {}
    for columns in _parts((generated.counted | real.counted).sum(0), config.instances):
        made, scans = (_of(findings, columns) for findings in (generated, real))
        errors = anatomical_errors(made, scans, groups, weights, ErrorRateConfig())
        found |= dict.fromkeys(columns.tolist(), errors)
    if not found:
        return ClassErrors(math.nan, math.nan, math.nan, {})
    values, lows, highs = (
        np.array([getattr(one, f"difference{bound}") for one in found.values()]) for bound in ("", "_low", "_high")
    )
    # One structure without a bound leaves the worst one without: it might be that very one.
    return ClassErrors(float(values.max()), float(lows.max()), float(highs.max()), found)


def _parts(instances: NDArray[np.integer], least: int) -> list[NDArray[np.int64]]:
    """Class indices by themselves, or together where they are rare; empty where all together are too few."""
    present = np.flatnonzero(instances)
    order = present[np.argsort(instances[present], kind="stable")]
    if instances.sum() < least:
        return []
    rare = int(np.count_nonzero(instances[order] < least))
    while rare and instances[order[:rare]].sum() < least:
        rare += 1
    together = [np.sort(order[:rare])] if rare else []
    return together + [order[i : i + 1] for i in range(rare, len(order))]


def _of(findings: Findings, columns: NDArray[np.int64]) -> Findings:
    return Findings(findings.counted[:, columns], findings.broken[:, columns])
