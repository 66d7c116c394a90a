"""The anatomical error rate: the share of organ instances with an error, and how high it may be in truth.

Findings in, figures out. Which findings are errors is in `generation/plausible_anatomy.py`. The upper bound is the
larger of two: the cluster bootstrap over patients, and the exact binomial bound with the number of instances divided
by the design effect and corrected for few patients (Korn & Graubard 1998, Survey Methodology 24). The first says
nothing when no error was seen, the second stays above zero.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import stats

from medillus_pipeline.generation.plausible_anatomy import KINDS, Findings
from medillus_pipeline.validation import metrics

Counts = NDArray[np.float64]


class ErrorRateConfig(BaseModel):
    """What the bound must be able to show, and what is assumed where nothing can be estimated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: float = Field(
        default=0.005, gt=0, lt=1, description="error rate that the bound must be able to stay under"
    )
    tail: float = Field(default=0.05, gt=0, lt=0.5, description="chance that the true rate lies above the upper bound")
    assumed_correlation: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="correlation of errors within a patient while too few errors were seen to estimate it",
    )
    estimable_errors: int = Field(
        default=5, ge=1, description="errors from which the design effect is estimated rather than assumed"
    )


@dataclass(frozen=True)
class Rate:
    """A rate with its one-sided 95% bounds, its counts and the design effect; NaN bounds for a single patient."""

    value: float
    low: float
    high: float
    errors: int
    instances: int
    patients: int
    design_effect: float


@dataclass(frozen=True)
class AnatomicalErrors:
    """The error rate of generated images beside that of real ones, both as the judge sees them.

    * `conclusive`: enough instances for the threshold, or the lower bound is above it already;
    * `needed`: instances that the bound needs to get under the threshold without a single error, infinite for one
      patient;
    * `difference`, generated less real, with its two-sided 95% interval;
    * `by_kind`, `real_by_kind`: share of instances with each kind of error (an instance may have several);
    * `by_class` (C,): share of each class's instances with an error, NaN without instances.
    """

    generated: Rate
    real: Rate
    conclusive: bool
    needed: float
    difference: float
    difference_low: float
    difference_high: float
    by_kind: dict[str, float]
    real_by_kind: dict[str, float]
    by_class: NDArray[np.float64]
    threshold: float

    def figures(self) -> dict[str, float]:
        """Flat figures for gates and report; an inconclusive rate has no bounds, so that no gate can pass on it."""
        made, real = self.generated, self.real
        bounds = (made.low, made.high) if self.conclusive else (math.nan, math.nan)
        out = {
            "anatomical_error_rate": made.value,
            "anatomical_error_rate_low": bounds[0],
            "anatomical_error_rate_high": bounds[1],
            "anatomical_error_rate_real": real.value,
            "anatomical_error_rate_real_low": real.low,
            "anatomical_error_rate_real_high": real.high,
            "anatomical_error_excess": self.difference,
            "anatomical_error_excess_low": self.difference_low,
            "anatomical_error_excess_high": self.difference_high,
            "anatomical_instances": float(made.instances),
            "anatomical_instances_needed": self.needed,
        }
        for kind in KINDS:
            out[f"anatomical_error_{kind}"] = self.by_kind[kind]
            out[f"anatomical_error_{kind}_real"] = self.real_by_kind[kind]
        return out


def anatomical_errors(
    generated: Findings,
    real: Findings,
    groups: NDArray[np.integer],
    weights: NDArray[np.integer],
    config: ErrorRateConfig | None = None,
    *,
    real_groups: NDArray[np.integer] | None = None,
) -> AnatomicalErrors:
    """Rates of the judge's findings on generated images (n slices) and on real ones, against the same masks.

    `groups` (n,) numbers each generated slice's patient from 0, `real_groups` each real slice's where they differ;
    `weights` (draws, patients) come from `metrics.bootstrap_weights`. Raises ValueError when lengths differ.
    """
    config = config or ErrorRateConfig()
    theirs = groups if real_groups is None else real_groups
    if len(generated.counted) != len(groups) or len(real.counted) != len(theirs):
        raise ValueError("findings and groups must have one entry per slice")
    patients = weights.shape[1]
    made_counts, real_counts = _counts(generated, groups, patients), _counts(real, theirs, patients)
    effects = [e for e in (_design_effect(c, config) for c in (made_counts, real_counts)) if e is not None]
    made, scans = (
        _rate(c, max(effects, default=_assumed_effect(c, config)), weights, config.tail)
        for c in (made_counts, real_counts)
    )
    needed = _needed(made, config)
    low, high = _difference(made, scans, made_counts, real_counts, weights)
    return AnatomicalErrors(
        generated=made,
        real=scans,
        conclusive=made.instances >= needed or made.low > config.threshold,
        needed=needed,
        difference=made.value - scans.value,
        difference_low=low,
        difference_high=high,
        by_kind=_by_kind(generated),
        real_by_kind=_by_kind(real),
        by_class=_share((generated.wrong & generated.counted).sum(0), generated.counted.sum(0)),
        threshold=config.threshold,
    )


def exact_bounds(errors: float, instances: float, tail: float) -> tuple[float, float]:
    """Lower and upper Clopper-Pearson bound of a binomial share, each with that tail; counts need not be whole.

    NaN without instances.
    """
    if not instances > 0:
        return math.nan, math.nan
    low = float(stats.beta.ppf(tail, errors, instances - errors + 1)) if errors > 0 else 0.0
    high = float(stats.beta.isf(tail, errors + 1, instances - errors)) if errors < instances else 1.0
    return low, high


def few_patients(patients: int, tail: float) -> float:
    """Factor on the number of instances, since the design effect comes from few patients: (z / t)², 0 for one."""
    if patients < 2:
        return 0.0
    return float((stats.norm.isf(tail) / stats.t.isf(tail, patients - 1)) ** 2)


def _counts(findings: Findings, groups: NDArray[np.integer], patients: int) -> Counts:
    """(patients, 2): errors and instances."""
    table = np.stack([(findings.wrong & findings.counted).sum(1), findings.counted.sum(1)], 1)
    return metrics.sum_by(groups, table.astype(np.float64), patients)


def _design_effect(counts: Counts, config: ErrorRateConfig) -> float | None:
    """Variance of the rate between patients over that of independent instances, at least 1; None with few errors."""
    errors, instances = counts.sum(0)
    known = counts[:, 1] > 0
    if errors < config.estimable_errors or errors == instances or known.sum() < 2:
        return None
    rate = errors / instances
    residual = counts[known, 0] - rate * counts[known, 1]
    count = known.sum()
    clustered = (residual**2).sum() * count / (count - 1) / instances**2
    return max(1.0, float(clustered / (rate * (1 - rate) / instances)))


def _assumed_effect(counts: Counts, config: ErrorRateConfig) -> float:
    """1 + (m - 1)·correlation (Kish 1965), m the size of the patient that a random instance comes from."""
    sizes = counts[:, 1]
    size = (sizes**2).sum() / sizes.sum() if sizes.sum() else 1.0
    return 1 + max(size - 1, 0) * config.assumed_correlation


def _rate(counts: Counts, effect: float, weights: NDArray[np.integer], tail: float) -> Rate:
    errors, instances = counts.sum(0)
    patients = int((counts[:, 1] > 0).sum())
    value = float(errors / instances) if instances else math.nan
    low, high = _bounds(value, instances / effect * few_patients(patients, tail), _draws(counts, weights), tail)
    return Rate(value, low, high, int(errors), int(instances), patients, effect)


def _bounds(value: float, effective: float, draws: Counts, tail: float) -> tuple[float, float]:
    low, high = exact_bounds(value * effective, effective, tail)
    known = draws[np.isfinite(draws)]
    if math.isnan(low) or not len(known):
        return math.nan, math.nan
    return min(low, float(np.quantile(known, tail))), max(high, float(np.quantile(known, 1 - tail)))


def _draws(counts: Counts, weights: NDArray[np.integer]) -> Counts:
    drawn = weights @ counts
    return _share(drawn[:, 0], drawn[:, 1])


def _needed(rate: Rate, config: ErrorRateConfig) -> float:
    """Instances n with (1 - threshold)^n = tail, times the design effect, over the factor for few patients."""
    factor = few_patients(rate.patients, config.tail)
    independent = math.log(config.tail) / math.log1p(-config.threshold)
    return math.ceil(independent * rate.design_effect / factor) if factor else math.inf


def _difference(
    made: Rate, real: Rate, made_counts: Counts, real_counts: Counts, weights: NDArray[np.integer], tail: float = 0.025
) -> tuple[float, float]:
    """The wider of the paired bootstrap over patients and the combined exact bounds (Zou & Donner 2008).

    The latter stays open where no error was seen; it ignores that both sets share their patients, so it is no narrower
    than the truth.
    """
    draws = _draws(made_counts, weights) - _draws(real_counts, weights)
    known = draws[np.isfinite(draws)]
    gap = made.value - real.value
    if math.isnan(made.high) or math.isnan(real.high) or not len(known):
        return math.nan, math.nan
    (low, high), (real_low, real_high) = (
        exact_bounds(rate.value * n, n, tail)
        for rate in (made, real)
        for n in [rate.instances / rate.design_effect * few_patients(rate.patients, tail)]
    )
    down = gap - math.hypot(made.value - low, real_high - real.value)
    up = gap + math.hypot(high - made.value, real.value - real_low)
    return min(down, float(np.quantile(known, tail))), max(up, float(np.quantile(known, 1 - tail)))


def _by_kind(findings: Findings) -> dict[str, float]:
    total = int(findings.counted.sum())
    return {kind: float((findings.kind(kind)).sum() / total) if total else math.nan for kind in KINDS}


def _share(part: NDArray, whole: NDArray) -> NDArray[np.float64]:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def organ_figures(rates: AnatomicalErrors, keys: Sequence[str]) -> dict[str, float]:
    """`anatomical_error_rate/<organ key>` for the classes that have instances, in class order."""
    pairs = zip(keys, rates.by_class, strict=True)
    return {f"anatomical_error_rate/{key}": float(value) for key, value in pairs if math.isfinite(value)}
