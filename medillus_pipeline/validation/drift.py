"""How far a new dataset is from the one that a model learnt from: a row for each thing that may drift.

Patients are the independent units throughout. Numbers and mixes are compared by the population stability index (PSI),
numbers and structures by a standardised difference; limits with their reasons stand in `drift.json`, and no row drifts
that chance alone explains at these numbers of patients (PSI: (1/n + 1/m)·χ², Yurdakul 2018; differences: Student's t,
Cohen's h). What is compared is in `drift_profile.py`.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from medillus_pipeline.validation.drift_profile import DatasetProfile, Unit

Scope = Literal["dataset", "newcomers"]
MOST_ROWS = 60
LEAST_NEWCOMERS = 3
"""New patients from which on they are also compared by themselves."""


@dataclass(frozen=True)
class Limits:
    """Limits of PSI and of the standardised difference, the chance of a false alarm per row, the number of quantiles,
    and by unit the least spread that a difference is divided by.
    """

    psi: float
    difference: float
    tail: float
    quantiles: int
    least: Mapping[str, float]


@dataclass(frozen=True)
class Row:
    """One comparison. `reference` and `new` are for people; `psi` and `difference` are NaN where not measured, and the
    two bounds are what each had to exceed.
    """

    name: str
    scope: Scope
    reference: str
    new: str
    psi: float
    psi_bound: float
    difference: float
    difference_bound: float
    remark: str = ""

    @property
    def drifted(self) -> bool:
        """Whether either measure is above its bound, or a remark names what is gone."""
        return self.psi > self.psi_bound or abs(self.difference) > self.difference_bound or bool(self.remark)


@dataclass(frozen=True)
class Drift:
    """All rows, those that drifted first."""

    rows: tuple[Row, ...]
    patients: int
    reference_patients: int

    @property
    def drifted(self) -> tuple[Row, ...]:
        """The rows that drifted."""
        return tuple(row for row in self.rows if row.drifted)

    def sentence(self) -> str:
        """What a person should know first."""
        names = list(dict.fromkeys(row.name for row in self.drifted))
        if not names:
            return f"{len(self.rows)} comparisons over {self.patients} patients: none drifted"
        shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        return f"{len(names)} of what was compared over {self.patients} patients drifted: {shown}"

    def table(self) -> str:
        """The rows as Markdown, those that drifted first, at most `MOST_ROWS`."""
        lines = [
            "| what | compared | trained on | now | PSI | limit | difference (sd) | limit | |",
            "| --- | --- | --- | --- | ---: | ---: | ---: | ---: | --- |",
        ]
        for row in self.rows[:MOST_ROWS]:
            measures = [_number(v) for v in (row.psi, row.psi_bound, row.difference, row.difference_bound)]
            verdict = (row.remark or "drifted") if row.drifted else ""
            cells = [row.name, row.scope, row.reference, row.new, *measures, verdict]
            lines.append(f"| {' | '.join(_plain(cell) for cell in cells)} |")
        if len(self.rows) > MOST_ROWS:
            lines.append(f"| and {len(self.rows) - MOST_ROWS} more |{' |' * 8}")
        return "\n".join(lines)


def load_limits() -> Limits:
    """The limits of `drift.json`."""
    text = resources.files("medillus_pipeline.validation").joinpath("drift.json").read_text("utf-8")
    read = json.loads(text)
    least = {unit: float(value) for unit, (value, _) in read["least"].items()}
    return Limits(read["psi"], read["difference"], read["tail"], read["quantiles"], least)


def compare(reference: DatasetProfile, new: DatasetProfile, limits: Limits | None = None) -> Drift:
    """Rows of the whole new dataset against the reference, and of the patients that the reference lacks where there are
    `LEAST_NEWCOMERS` of them but others too: a drift of newcomers drowns in a dataset that mostly stayed the same.
    """
    limits = limits or load_limits()
    known, present = set(reference.patients.tolist()), set(new.patients.tolist())
    rows = _rows(reference, new, "dataset", limits)
    if LEAST_NEWCOMERS <= len(present - known) < len(present):
        rows += _rows(reference, new.of(present - known), "newcomers", limits)
    ordered = sorted(rows, key=lambda row: (not row.drifted, -_excess(row)))
    return Drift(tuple(ordered), len(present), len(known))


def _rows(reference: DatasetProfile, new: DatasetProfile, scope: Scope, limits: Limits) -> list[Row]:
    rows = []
    for name, column in reference.numbers.items():
        if name in new.numbers:
            before, after = _by_patient(column, reference.patients), _by_patient(new.numbers[name], new.patients)
            if before and after:
                rows.append(_number_row(name, reference.units[name], before, after, scope, limits))
    for name, column in reference.terms.items():
        if name in new.terms:
            rows.append(_mix_row(name, column, reference.patients, new.terms[name], new.patients, scope, limits))
    for name in dict.fromkeys([*reference.classes, *new.classes]):
        rows.append(_structure_row(name, reference, new, scope, limits))
    return rows


def _number_row(
    name: str, unit: Unit, before: Sequence[NDArray], after: Sequence[NDArray], scope: Scope, limits: Limits
) -> Row:
    means = [np.array([values.mean() for values in side]) for side in (before, after)]
    difference, bound = _standardised(means[0], means[1], limits.least[unit], limits)
    edges = np.unique(np.quantile(means[0], np.linspace(0, 1, limits.quantiles + 1)[1:-1]))
    # Classes narrower than the least spread would call a shift of nothing a drift.
    edges = edges[np.insert(np.diff(edges) >= limits.least[unit], 0, True)]
    shares = [
        sum(np.bincount(np.searchsorted(edges, v, side="right"), minlength=len(edges) + 1) / len(v) for v in side)
        for side in (before, after)
    ]
    close = abs(means[1].mean() - means[0].mean()) < limits.least[unit]
    psi, psi_bound = _stability(np.asarray(shares[0]), np.asarray(shares[1]), limits)
    was, now = (f"{m.mean():.4g} ± {m.std():.2g}" for m in means)
    return Row(name, scope, was, now, math.nan if close else psi, psi_bound, difference, bound)


def _mix_row(
    name: str, before: NDArray, reference: NDArray, after: NDArray, new: NDArray, scope: Scope, limits: Limits
) -> Row:
    terms = sorted({*before.tolist(), *after.tolist()})
    shares = []
    for column, patients in ((before, reference), (after, new)):
        _, owner, slices = np.unique(patients, return_inverse=True, return_counts=True)
        shares.append(np.bincount(np.searchsorted(terms, column), weights=1 / slices[owner], minlength=len(terms)))
    psi, bound = _stability(shares[0], shares[1], limits)
    return Row(name, scope, _mix(terms, shares[0]), _mix(terms, shares[1]), psi, bound, math.nan, math.inf)


def _structure_row(name: str, reference: DatasetProfile, new: DatasetProfile, scope: Scope, limits: Limits) -> Row:
    sides = []
    for each in (reference, new):
        column = each.shown.get(name, np.zeros(len(each.patients), bool)).astype(np.float64)
        sides.append(np.array([values.mean() for values in _by_patient(column, each.patients)]))
    n, m = (len(side) for side in sides)
    having = [float((side > 0).mean()) for side in sides]
    arc = 2 * (math.asin(math.sqrt(having[1])) - math.asin(math.sqrt(having[0])))
    arc_bound = max(limits.difference, float(stats.norm.isf(limits.tail / 2)) * math.sqrt(1 / n + 1 / m))
    mean, mean_bound = _standardised(sides[0], sides[1], limits.least["structure"], limits)
    difference, bound = (arc, arc_bound) if abs(arc) / arc_bound >= abs(mean) / mean_bound else (mean, mean_bound)
    was, now = (f"{(side > 0).sum()} of {len(side)} patients, {side.mean():.0%} of slices" for side in sides)
    gone = name in reference.classes and name not in new.classes
    remark = "the new dataset lacks it" if gone else ""
    return Row(name, scope, was, now, math.nan, math.inf, difference, bound, remark)


def _by_patient(column: NDArray[np.float64], patients: NDArray[np.str_]) -> list[NDArray[np.float64]]:
    """The known values of each patient who has any."""
    known = np.isfinite(column)
    _, owner, slices = np.unique(patients[known], return_inverse=True, return_counts=True)
    return np.split(column[known][np.argsort(owner, kind="stable")], np.cumsum(slices)[:-1]) if len(slices) else []


def _standardised(before: NDArray, after: NDArray, least: float, limits: Limits) -> tuple[float, float]:
    """Difference of the means over patients in pooled standard deviations (at least `least`), and its bound."""
    n, m = len(before), len(after)
    freedom = n + m - 2
    if freedom < 1:
        return math.nan, math.inf
    pooled = math.sqrt(float(before.var() * n + after.var() * m) / freedom)
    by_chance = float(stats.t.isf(limits.tail / 2, freedom)) * math.sqrt(1 / n + 1 / m)
    return float(after.mean() - before.mean()) / max(pooled, least), max(limits.difference, by_chance)


def _stability(before: NDArray[np.float64], after: NDArray[np.float64], limits: Limits) -> tuple[float, float]:
    """PSI of two counts of patients by class, half a patient spread over the empty classes, and its bound."""
    count = len(before)
    if count < 2:
        return 0.0, limits.psi
    total = (before.sum(), after.sum())
    p, q = ((counts + 0.5 / count) / (n + 0.5) for counts, n in zip((before, after), total, strict=True))
    by_chance = (1 / total[0] + 1 / total[1]) * float(stats.chi2.isf(limits.tail, count - 1))
    return float(((q - p) * np.log(q / p)).sum()), max(limits.psi, by_chance)


def _mix(terms: Sequence[str], counts: NDArray[np.float64]) -> str:
    shares = sorted(zip(terms, counts / counts.sum(), strict=True), key=lambda pair: (-pair[1], pair[0]))
    shown = [f"{term[:40]} {share:.0%}" for term, share in shares[:3] if share > 0]
    return ", ".join(shown) + (", …" if sum(share > 0 for _, share in shares) > 3 else "")


def _excess(row: Row) -> float:
    ratios = (row.psi / row.psi_bound, abs(row.difference) / row.difference_bound)
    return max((r for r in ratios if math.isfinite(r)), default=0.0)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, in one line: names of scanners and kernels come from headers of strangers."""
    text = " ".join(text.split()).translate({ord(c): f"&#{ord(c)};" for c in "&<>|"})
    return re.sub(r"([\\`*_{}\[\]()#!~$])", r"\\\1", text)


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "–"
