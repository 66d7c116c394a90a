"""Gates: which figures must hold before a version may be promoted, by profile, from `gates.json`.

A figure that is missing, NaN or has no interval where the gate asks for one fails its gate, and so does one whose
interval is too wide for what is claimed. A judge below its floor makes the verdict inconclusive, since its other
figures mean nothing then; inconclusive is never passed.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal

from medillus_pipeline.errors import ConfigurationError
from medillus_pipeline.validation.figures import KINDS, kind_of

Status = Literal["passed", "failed", "inconclusive"]


@dataclass(frozen=True)
class Gate:
    """A rule on one figure: `minimum` and/or `maximum` on its value, or on the bound of its interval that is worse.

    Where what is `proven` counts, the better bound is held against the limit, so that chance alone refuses nobody; such
    a gate, and any other, may ask for an upper bound of at most `highest_bound`: above it the figure is not known well
    enough, which is inconclusive. A gate that applies `only_with` a count is left out where that count is 0.
    """

    figure: str
    reason: str
    minimum: float | None
    maximum: float | None
    on_interval: bool
    controls: tuple[str, ...]
    measures_judge: bool
    proven: bool = False
    highest_bound: float | None = None
    only_with: str | None = None

    @property
    def needs_bounds(self) -> bool:
        """Whether a figure without an interval is inconclusive."""
        return self.on_interval or self.proven or self.highest_bound is not None


@dataclass(frozen=True)
class Profile:
    """The gates of one use, and what else it asks for before a version becomes champion.

    `required_approvals` counts reviewers, `approvals_by_role` says how many of them hold a role at least. A profile
    that does not say so promotes nothing by itself, and does not open the locked test.
    """

    name: str
    purpose: str
    required_approvals: int
    review_statement: str
    gates: tuple[Gate, ...]
    approvals_by_role: Mapping[str, int] = field(default_factory=dict)
    automatic_promotion: bool = False
    automatic_promotion_reason: str = ""
    locked_test: bool = False
    locked_test_reason: str = ""


@dataclass(frozen=True)
class GateResult:
    """A gate with what was found; `status` inconclusive means the figure could not be measured, which is not passed."""

    gate: Gate
    value: float | None
    low: float | None
    high: float | None
    status: Status

    @property
    def passed(self) -> bool:
        """True only for a measured figure that holds."""
        return self.status == "passed"


@dataclass(frozen=True)
class Verdict:
    """The whole judgement: a status, a sentence for people, and every gate's result."""

    status: Status
    sentence: str
    results: tuple[GateResult, ...]
    profile: Profile

    @property
    def passed(self) -> bool:
        """True only when every gate passed."""
        return self.status == "passed"


def _document() -> bytes:
    return resources.files("medillus_pipeline.validation").joinpath("gates.json").read_bytes()


def fingerprint() -> str:
    """SHA-256 of the gate file: a report made under other gates is stale."""
    return hashlib.sha256(_document()).hexdigest()


def load_profile(name: str) -> Profile:
    """The profile's gates. Raises ConfigurationError for an unknown profile or a malformed gate file."""
    profiles = json.loads(_document())["profiles"]
    if name not in profiles:
        raise ConfigurationError(f"there is no profile {name!r}: choose one of {', '.join(sorted(profiles))}")
    entry = profiles[name]
    gates = tuple(_gate(item) for item in entry["gates"])
    if not gates:
        raise ConfigurationError(f"profile {name!r} has no gates: an empty list would pass everything")
    roles = entry.get("approvals_by_role", {})
    if sum(roles.values()) > entry["required_approvals"]:
        raise ConfigurationError(f"profile {name!r} asks for more approvals by role than approvals in all")
    return Profile(
        name=name,
        purpose=entry["purpose"],
        required_approvals=entry["required_approvals"],
        review_statement=entry["review_statement"],
        gates=gates,
        approvals_by_role=roles,
        automatic_promotion=entry.get("automatic_promotion", False) is True,
        automatic_promotion_reason=entry.get("automatic_promotion_reason", ""),
        locked_test=entry.get("locked_test", False) is True,
        locked_test_reason=entry.get("locked_test_reason", ""),
    )


def _gate(item: Mapping[str, Any]) -> Gate:
    gate = Gate(
        figure=item["figure"],
        reason=item["reason"],
        minimum=item.get("minimum"),
        maximum=item.get("maximum"),
        on_interval=item.get("on_interval", False),
        controls=tuple(item.get("controls", ())),
        measures_judge=item.get("measures_judge", False),
        proven=item.get("proven", False),
        highest_bound=item.get("highest_bound"),
        only_with=item.get("only_with"),
    )
    if gate.minimum is None and gate.maximum is None:
        raise ConfigurationError(f"the gate on {gate.figure} has neither minimum nor maximum")
    for figure in (gate.figure, gate.only_with or gate.figure):
        if figure not in KINDS:
            raise ConfigurationError(f"the gate on {gate.figure!r} names no figure of the evaluation: {figure!r}")
    if gate.on_interval and gate.proven:
        raise ConfigurationError(f"the gate on {gate.figure} asks for the worse and for the better bound at once")
    if gate.proven and gate.highest_bound is None:
        raise ConfigurationError(
            f"the gate on {gate.figure} looks at what is proven: without highest_bound too few patients would pass it"
        )
    return gate


def judge_gates(profile: Profile, figures: Mapping[str, float]) -> Verdict:
    """Hold the figures against the profile's gates."""
    # Only a count of exactly 0 leaves a gate out: one that is not known leaves it in, and its figure inconclusive.
    applying = [gate for gate in profile.gates if gate.only_with is None or figures.get(gate.only_with) != 0]
    results = tuple(_check(gate, figures) for gate in applying)
    failed = [result for result in results if not result.passed]
    judge_failed = [result for result in failed if result.gate.measures_judge]
    if judge_failed:
        names = _names(judge_failed)
        sentence = (
            f"Inconclusive: the measurement itself does not hold ({names}), so nothing can be said of the generator."
        )
        return Verdict("inconclusive", sentence, results, profile)
    if failed:
        names = _names(failed)
        sentence = f"Not to be promoted: {len(failed)} of {len(results)} gates not passed ({names})."
        return Verdict("failed", sentence, results, profile)
    return Verdict("passed", f"All {len(results)} gates of profile {profile.name} passed.", results, profile)


def _names(results: list[GateResult]) -> str:
    return ", ".join(kind_of(result.gate.figure).title for result in results)


def _check(gate: Gate, figures: Mapping[str, float]) -> GateResult:
    value, low, high = (_finite(figures.get(gate.figure + bound)) for bound in ("", "_low", "_high"))
    if value is None or (gate.needs_bounds and (low is None or high is None)):
        return GateResult(gate, value, low, high, "inconclusive")
    # The value itself counts too: an interval that does not hold its own value must not flatter it.
    ends = [value, *(end for end in (low, high) if end is not None and (gate.on_interval or gate.proven))]
    smallest, largest = (max(ends), min(ends)) if gate.proven else (min(ends), max(ends))
    if (gate.minimum is not None and smallest < gate.minimum) or (gate.maximum is not None and largest > gate.maximum):
        return GateResult(gate, value, low, high, "failed")
    unsure = gate.highest_bound is not None and max(value, high or value) > gate.highest_bound
    return GateResult(gate, value, low, high, "inconclusive" if unsure else "passed")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
