"""What a version needs before it becomes champion, and what makes a champion's report stale. Documents in, lists out.

A reason is a sentence that says what is missing and what to do. Nothing is promoted here, and nothing is read: see
`resources/promotions.py`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from medillus_pipeline.validation import gates
from medillus_pipeline.validation.champion_history import History
from medillus_pipeline.validation.gates import Profile


@dataclass(frozen=True)
class Approval:
    """A reviewer's approval of one version: pseudonym and the role they hold on the roster. Signatures and verdicts
    were checked before it became one.
    """

    reviewer: str
    role: str


@dataclass(frozen=True)
class Present:
    """Hashes of what a report depends on, as they are now; None where nothing was published."""

    gates_sha256: str
    judge_sha256: str | None
    dataset_rules_sha256: str | None


def rules_hash(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of the rules that a dataset snapshot was built by: its format and configuration, not its data."""
    rules = {"format": manifest.get("format"), "config": manifest.get("config")}
    return hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()


def stale_because(made_under: Mapping[str, Any], present: Present) -> list[str]:
    """Why a report no longer says what it said: judge, dataset rules or gates differ from the present ones.

    `made_under` holds `judge_sha256`, `dataset_rules_sha256` and `gates_sha256` of the report. One that is not known on
    either side is not compared; one that is known on one side only counts as changed.
    """
    compared = (
        ("gates_sha256", present.gates_sha256, "the report was made under other gates"),
        ("judge_sha256", present.judge_sha256, "the report was made with another judge"),
        ("dataset_rules_sha256", present.dataset_rules_sha256, "the report was made under other dataset rules"),
    )
    return [text for name, now, text in compared if made_under.get(name) != now]


def what_is_missing(
    report: Mapping[str, Any],
    newest: str,
    profile: Profile,
    present: Present,
    history: History,
    approvals: Sequence[Approval],
    *,
    again: bool = False,
) -> list[str]:
    """Everything that stands between the newest version and the alias `champion`, a sentence each; empty: nothing.

    `report` is the published document of the report, with `dataset_rules_sha256` added; `newest` the newest version;
    `again` says that a person wants a version back that was rolled back.
    """
    missing = []
    if report["version"] != newest:
        missing.append(
            f"the report is about version {report['version']}, the newest is {newest}: materialize validation_report"
        )
    missing += [f"{text}: materialize validation_report" for text in stale_because(report, present)]
    if report["profile"] != profile.name:
        missing.append(
            f"the report holds the figures against profile {report['profile']}, this installation's is "
            f"{profile.name}: materialize validation_report"
        )
    if report["status"] != "passed":
        missing.append(f"{report['sentence']} Gates not passed: {', '.join(report['failed_gates'])}")
    missing += missing_approvals(profile, approvals, at_least=report.get("required_approvals", 0))
    version = report["version"]
    if version in history.revoked:
        missing.append(f"version {version} was revoked, and no revoked version becomes champion: train another")
    taken_down = history.left_by_rollback(version)
    if taken_down is not None and not again and version not in history.revoked:
        missing.append(
            f"version {version} was rolled back at {taken_down.at} ({taken_down.reason}): a person who wants it back "
            "says so with `medillus promote --again`"
        )
    return missing


def missing_approvals(profile: Profile, approvals: Sequence[Approval], *, at_least: int = 0) -> list[str]:
    """What the profile asks of reviewers and is not there; `at_least` is what the report was made under.

    Every approval is another person's: who has two roles fills one place, and who signs twice counts once.
    """
    required = max(profile.required_approvals, at_least)
    roles: dict[str, set[str]] = {}
    for approval in approvals:
        roles.setdefault(approval.reviewer, set()).add(approval.role)
    found = []
    if len(roles) < required:
        found.append(
            f"profile {profile.name} asks for {required} human approvals, and {len(roles)} "
            f"{'is' if len(roles) == 1 else 'are'} recorded for this version: have reviewers fill in its sheet"
        )
    for role, count in _open_places(profile.approvals_by_role, roles).items():
        wanted = profile.approvals_by_role[role]
        found.append(f"of the approvals {wanted} must be by a {role}, and {wanted - count} are")
    return found


def _open_places(wanted: Mapping[str, int], roles: Mapping[str, AbstractSet[str]]) -> dict[str, int]:
    """Role → places that stay open when each person fills one at most, as few as can be (augmenting paths, Kuhn 1955).

    Roles without open places are absent. `roles` are those of each person.
    """
    places = [role for role in sorted(wanted) for _ in range(wanted[role])]
    filled: dict[str, int] = {}

    def fill(place: int, tried: set[str]) -> bool:
        for person in sorted(name for name, own in roles.items() if places[place] in own and name not in tried):
            tried.add(person)
            if person not in filled or fill(filled[person], tried):
                filled[person] = place
                return True
        return False

    still = [role for place, role in enumerate(places) if not fill(place, set())]
    return {role: still.count(role) for role in dict.fromkeys(still)}


def why_not_by_itself(
    profile: Profile, report: Mapping[str, Any] | None, newest: str | None, history: History
) -> str | None:
    """Why a nightly run does not promote the newest version, or None when it does: the profile must say so, and nothing
    a person decided is undone. The champion is promoted again: what an interrupted run left undone follows.
    """
    if newest is None or report is None:
        return "no generator was trained and validated yet"
    if history.champion == newest:
        return None
    if not profile.automatic_promotion:
        return (
            f"profile {profile.name} promotes nothing by itself ({profile.automatic_promotion_reason}) Version "
            f"{newest} is proposed: `medillus promote`, or the job promote, makes it champion"
        )
    taken_down = history.left_by_rollback(newest)
    if taken_down is not None or newest in history.revoked:
        return f"version {newest} was taken down by a person: `medillus promote --again` brings it back"
    return None


def present(judge: Mapping[str, Any] | None, dataset_manifest: Mapping[str, Any] | None) -> Present:
    """The present hashes, from the judge's published document and the dataset's manifest."""
    return Present(
        gates_sha256=gates.fingerprint(),
        judge_sha256=None if judge is None else judge["sha256"],
        dataset_rules_sha256=None if dataset_manifest is None else rules_hash(dataset_manifest),
    )
