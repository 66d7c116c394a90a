"""Gates: which figures must hold before a version may be promoted, by profile, from `gates.json`.

A figure that is missing, NaN or has no interval where the gate asks for one fails its gate. A judge below its floor
makes the verdict inconclusive, since its other figures mean nothing then; inconclusive is never passed.
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
    """A rule on one figure: `minimum` and/or `maximum` on its value, or on the bound of its interval that is worse."""

    figure: str
    reason: str
    minimum: float | None
    maximum: float | None
    on_interval: bool
    controls: tuple[str, ...]
    measures_judge: bool


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
    )
    if gate.minimum is None and gate.maximum is None:
        raise ConfigurationError(f"the gate on {gate.figure} has neither minimum nor maximum")
    if gate.figure not in KINDS:
        raise ConfigurationError(f"the gate on {gate.figure!r} names no figure of the evaluation")
    return gate


def judge_gates(profile: Profile, figures: Mapping[str, float]) -> Verdict:
    """Hold the figures against the profile's gates."""
    results = tuple(_check(gate, figures) for gate in profile.gates)
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
    if value is None or (gate.on_interval and (low is None or high is None)):
        return GateResult(gate, value, low, high, "inconclusive")
    # The value itself counts too: an interval that does not hold its own value must not flatter it.
    ends = [value, *(end for end in (low, high) if end is not None and gate.on_interval)]
    smallest, largest = min(ends), max(ends)
    holds = (gate.minimum is None or smallest >= gate.minimum) and (gate.maximum is None or largest <= gate.maximum)
    return GateResult(gate, value, low, high, "passed" if holds else "failed")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
