"""How far a calibrated confidence can be trusted: reliability by bins, calibration error and Brier score, on patients
whom the calibration was not fitted on. Arrays in, numbers out; the picture is in `reliability_plot.py`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.validation import metrics
from medillus_pipeline.validation.anatomical_errors import exact_bounds
from medillus_pipeline.validation.confidence import Calibration, Instances, predicted, uncalibrated
from medillus_pipeline.validation.metrics import Estimate

MOST_BINS = 8
LEAST_IN_BIN = 15
"""Instances that a bin holds at least: with fewer its rate says nothing."""

LEAST_WIDTH = 0.02
"""Edges of bins lie at least this far apart: nobody reads 98% as less than 99%."""

_FLOOR_DRAWS = 200


@dataclass(frozen=True)
class Bin:
    """Instances of like confidence: their mean confidence and the share that the judge found, with its 95% interval,
    the wider of the bootstrap over patients and the exact binomial one (which stays open where every one was found).
    """

    confidence: float
    found: float
    low: float
    high: float
    instances: int
    patients: int


@dataclass(frozen=True)
class Reliability:
    """Measures of one set of confidences.

    * `ece`: expected calibration error, the mean distance of confidence and found share over bins of equal counts;
      `ece_floor` is what a perfect calibration scores at this sample size, since few instances never fit exactly.
    * `brier`: mean squared distance of confidence and outcome; `brier_base` that of one and the same number for all.
    * `by_structure`: vocabulary id → its bin.

    Intervals are bootstrapped over patients, NaN for a single one.
    """

    bins: tuple[Bin, ...]
    ece: Estimate
    ece_floor: float
    brier: Estimate
    brier_base: float
    mean: float
    found: float
    instances: int
    patients: int
    by_structure: Mapping[int, Bin]

    def summary(self) -> dict[str, float | int | None]:
        """Flat numbers, None for those that could not be measured: for JSON and for `Calibration.evaluated`."""
        pairs = {
            "ece": self.ece.value,
            "ece_low": self.ece.low,
            "ece_high": self.ece.high,
            "ece_floor": self.ece_floor,
            "brier": self.brier.value,
            "brier_low": self.brier.low,
            "brier_high": self.brier.high,
            "brier_base": self.brier_base,
            "mean": self.mean,
            "found": self.found,
        }
        known = {name: float(value) if np.isfinite(value) else None for name, value in pairs.items()}
        return known | {"instances": self.instances, "patients": self.patients}

    def document(self) -> dict[str, Any]:
        """Everything, for the report's JSON."""
        structures = {str(s): _finite(asdict(b)) for s, b in self.by_structure.items()}
        return self.summary() | {"bins": [_finite(asdict(b)) for b in self.bins], "by_structure": structures}


def reliability_of(
    calibration: Calibration, instances: Instances, *, seed: int, draws: int = 1000
) -> tuple[Reliability, Reliability]:
    """Reliability of the calibrated confidence and, beside it, of the raw score, on instances of other patients.

    Raises ValueError for instances of a patient whom the calibration was fitted on, NotEnoughDataError without any.
    """
    values = predicted(calibration, instances)
    known = np.isfinite(values)
    kept = Instances(*(getattr(instances, name)[known] for name in ("structures", "patients", "scores", "found")))
    both = (
        reliability(each, kept.found, kept.patients, structures=kept.structures, seed=seed, draws=draws)
        for each in (values[known], uncalibrated(kept))
    )
    return next(both), next(both)


def reliability(
    confidences: NDArray[np.floating],
    found: NDArray[np.bool_],
    patients: NDArray[np.str_],
    *,
    structures: NDArray[np.integer] | None = None,
    seed: int,
    draws: int = 1000,
) -> Reliability:
    """Measures of confidences (k,) against outcomes (k,); `patients` (k,) are what the bootstrap draws.

    Raises NotEnoughDataError without instances, ValueError for a confidence outside 0 to 1.
    """
    if not len(confidences):
        raise NotEnoughDataError("no structure was drawn whose outcome is known: the confidence cannot be judged")
    if not ((confidences >= 0) & (confidences <= 1)).all():
        raise ValueError("confidences must be from 0 to 1")
    rng = np.random.default_rng(seed)
    names, groups = np.unique(patients, return_inverse=True)
    weights = metrics.bootstrap_weights(len(names), draws, rng)
    number = _bin_numbers(confidences)
    count = int(number.max()) + 1
    table = _sums(confidences, found, groups, len(names), number, count)
    squares = np.stack([np.bincount(groups, weights=w, minlength=len(names)) for w in _brier_parts(confidences, found)])
    imagined = [
        _error(_sums(confidences, rng.random(len(found)) < confidences, groups, len(names), number, count).sum(0))
        for _ in range(_FLOOR_DRAWS)
    ]
    per_structure: dict[int, Bin] = {}
    if structures is not None:
        kinds, kind = np.unique(structures, return_inverse=True)
        sums = _sums(confidences, found, groups, len(names), kind, len(kinds))
        per_structure = dict(zip((int(k) for k in kinds), _bins(sums, weights), strict=True))
    return Reliability(
        bins=_bins(table, weights),
        ece=metrics.estimate(lambda w: _error(np.einsum("dp,pbk->dbk", w, table)), weights),
        ece_floor=float(np.mean(imagined)),
        brier=metrics.estimate(lambda w: (w @ squares[1]) / np.maximum(w @ squares[0], 1), weights),
        brier_base=float(found.mean() * (1 - found.mean())),
        mean=float(confidences.mean()),
        found=float(found.mean()),
        instances=len(found),
        patients=len(names),
        by_structure=per_structure,
    )


def _bin_numbers(confidences: NDArray[np.floating]) -> NDArray[np.int64]:
    """(k,) numbers from 0 of bins with about equally many instances; like confidences share a bin."""
    wanted = max(1, min(MOST_BINS, len(confidences) // LEAST_IN_BIN))
    edges: list[float] = []
    for edge in np.quantile(confidences, np.linspace(0, 1, wanted + 1)[1:-1]):
        if not edges or edge - edges[-1] >= LEAST_WIDTH:
            edges.append(float(edge))
    return np.unique(np.searchsorted(edges, confidences, side="right"), return_inverse=True)[1]


def _sums(
    confidences: NDArray, found: NDArray, groups: NDArray, patients: int, number: NDArray, count: int
) -> NDArray[np.float64]:
    """(patients, bins, 3): instances, sum of confidences, instances found."""
    table = np.zeros((patients, count, 3))
    np.add.at(table, (groups, number), np.stack([np.ones(len(found)), confidences, found], axis=1))
    return table


def _error(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expected calibration error of sums (…, bins, 3)."""
    return np.abs(sums[..., 2] - sums[..., 1]).sum(-1) / np.maximum(sums[..., 0].sum(-1), 1)


def _brier_parts(confidences: NDArray, found: NDArray) -> tuple[NDArray, NDArray]:
    return np.ones(len(found)), (confidences - found) ** 2


def _bins(table: NDArray[np.float64], weights: NDArray[np.integer]) -> tuple[Bin, ...]:
    bins = []
    for column in np.moveaxis(table, 1, 0):
        count, total, hits = column.sum(0)
        drawn = weights @ column
        rates = drawn[drawn[:, 0] > 0, 2] / drawn[drawn[:, 0] > 0, 0]
        low, high = exact_bounds(float(hits), float(count), 0.025)
        spread = np.percentile(rates, (2.5, 97.5)) if len(column) > 1 else (np.nan, np.nan)
        bins.append(
            Bin(
                confidence=float(total / count),
                found=float(hits / count),
                low=float(np.fmin(low, spread[0])),
                high=float(np.fmax(high, spread[1])),
                instances=int(count),
                patients=int((column[:, 0] > 0).sum()),
            )
        )
    return tuple(bins)


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value if np.isfinite(value) else None for name, value in row.items()}
