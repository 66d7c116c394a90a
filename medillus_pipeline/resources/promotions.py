"""Promotion and rollback: the table of promotions, MLflow's aliases and the pointer that figures follow, in that order.

The row is the act: it is created once only, under a number of its own, so of two writers one fails. Aliases and pointer
follow it; a process killed in between is completed by doing the same again. Everything runs under the promotion lock.
What must hold before is not here (`validation/promotion_rules.py`), nor is Dagster.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from medillus_pipeline import published
from medillus_pipeline.errors import GateError, InputError
from medillus_pipeline.resources import conditional_writes
from medillus_pipeline.resources.locked_test import LockedTest, locked_test_openings, record_opening
from medillus_pipeline.resources.mlflow import CHAMPION, PREVIOUS, MLflowResource
from medillus_pipeline.resources.promotion_lock import Held, PromotionBusy, promotion_lock
from medillus_pipeline.tables import PROMOTIONS, TableStore, to_parquet
from medillus_pipeline.validation import gates
from medillus_pipeline.validation.champion_history import Action, History, Turn
from medillus_pipeline.validation.promotion_rules import (
    Approval,
    Present,
    present,
    rules_hash,
    stale_because,
    what_is_missing,
    why_not_by_itself,
)
from medillus_pipeline.zones import Zone

NAME = "promoted_generator"
Approvals = Callable[[str], Sequence[Approval]]
"""Version → approvals that were recorded of it, their signatures checked."""


@dataclass(frozen=True)
class Registry:
    """Where promotions are kept, and what this installation asks of a version.

    `locked_test` evaluates a version on the locked test; `approvals` is the door of human review, `ethics` what the
    figures are for and who answers for it.
    """

    clean: Zone
    mlflow: MLflowResource
    profile: str
    locked_test: LockedTest
    approvals: Approvals = lambda _version: ()
    ethics: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Done:
    """A finished promotion or rollback: the row, and whether it was new (False: it was champion already)."""

    turn: Turn
    new: bool
    document: dict[str, Any]
    remarks: tuple[str, ...]


def history(clean: Zone, *, before: str | None = None) -> History:
    """What the table of promotions says; `before` is the champion of a registry that is older than the table."""
    rows = TableStore(clean).read_all(PROMOTIONS).to_pylist()
    return History.of((Turn.of(row) for row in rows), before=before)


def promote(registry: Registry, *, run_id: str, reason: str = "", again: bool = False) -> Done:
    """Make the newest version champion. Raises GateError with everything that is missing, PromotionBusy while another
    promotion is under way, NotEnoughDataError before the first report, MlflowUnavailable when MLflow does not answer.
    """
    report = published.require(registry.clean, "validation_report")
    published.require(registry.clean, "generator_checkpoint")
    with promotion_lock(registry.clean, run_id) as lock:
        report = published.require(registry.clean, "validation_report")
        checkpoint = published.require(registry.clean, "generator_checkpoint")
        past = history(registry.clean, before=registry.mlflow.alias(CHAMPION))
        profile = gates.load_profile(registry.profile)
        version = report["version"]
        approvals = tuple(registry.approvals(version))
        report = {**report, "dataset_rules_sha256": _rules_of(registry.clean, checkpoint["dataset_manifest"])}
        now = _present(registry.clean, unknown=report)
        missing = what_is_missing(report, checkpoint["version"], profile, now, past, approvals, again=again)
        if profile.required_approvals and registry.ethics is None:
            missing.append(
                f"profile {profile.name} asks for an ethics record (intended use, who answers for it, since when), and "
                "there is none: set [ethics] in the file that MEDILLUS_REVIEWERS names"
            )
        if missing:
            raise GateError("not promoted; the champion, if any, stays as it is. " + " | ".join(missing))
        kept = past.last is not None and past.champion == version
        if profile.locked_test and not kept:
            _pass_locked_test(registry, version, run_id, report["dataset_fingerprint"])
        document = {
            "version": version,
            "dataset_fingerprint": checkpoint["dataset_fingerprint"],
            "dataset_manifest": checkpoint["dataset_manifest"],
            "run_id": checkpoint["run_id"],
            "report": report["html"],
            "verdict": report["status"],
            "sentence": report["sentence"],
            "profile": profile.name,
            "gates_sha256": report["gates_sha256"],
            "judge_sha256": report.get("judge_sha256"),
            "dataset_rules_sha256": report["dataset_rules_sha256"],
            "review_statement": report["review_statement"],
            "reviewers": sorted({approval.reviewer for approval in approvals}),
            "ethics": registry.ethics,
            "locked_test_openings": len(locked_test_openings(registry.clean)),
        }
        remarks = _moved_by_hand(registry, past)
        if kept and past.last is not None:
            turn = past.last
        else:
            turn = _append(registry, lock, past, version, "promote", run_id, reason or report["sentence"], document)
        tags = {
            "promoted_by_run": turn.run_id,
            "gates": report["sentence"],
            "gates_verdict": report["status"],
            "gates_profile": profile.name,
            "gates_sha256": report["gates_sha256"],
            "reviewers": ", ".join(document["reviewers"]) or "none",
            "dataset_fingerprint": report["dataset_fingerprint"],
        }
        _follow(registry, lock, tags, document, before=past.before)
    return Done(turn, not kept, document, remarks)


def rollback(registry: Registry, *, run_id: str, reason: str, version: str | None = None, revoke: bool = False) -> Done:
    """Make `previous`, or a named version that was champion before, champion again. No gate is asked: it was passed.

    With `revoke` the version that is left may never be champion again. A rollback that was recorded and interrupted is
    completed instead of a second one. Raises InputError where there is nothing to go back to, PromotionBusy while
    another promotion is under way.
    """
    if not reason.strip():
        raise InputError("a rollback needs a reason: it stays in the table of promotions")
    with promotion_lock(registry.clean, run_id) as lock:
        past = history(registry.clean)
        last = past.last
        if (
            last is not None
            and last.action == "rollback"
            and version in (None, past.champion)
            and _behind(registry, past)
        ):
            left = last.previous
            if revoke and left is not None and left not in past.revoked:
                _revoke(registry, lock, past, left, run_id, reason)
                past = history(registry.clean)
            return _settle(registry, lock, past)
        target = _rollback_target(past, version)
        left = past.champion
        promoted = past.promoted(target)
        if promoted is None:
            raise InputError(f"version {target} was champion before promotions were recorded: promote it anew")
        document = json.loads(registry.clean.read(promoted.document))
        remarks = _moved_by_hand(registry, past)
        turn = _append(registry, lock, past, target, "rollback", run_id, reason, document)
        if revoke and left is not None:
            _revoke(registry, lock, history(registry.clean), left, run_id, reason)
        tags = {"rolled_back_to_by_run": run_id, "rolled_back_to_because": reason}
        _follow(registry, lock, tags, document, before=past.before)
    return Done(turn, True, document, remarks)


def settle(registry: Registry, *, run_id: str) -> Done:
    """Set aliases and pointer anew as the table of promotions says: after a change by hand, or an interruption.

    Raises InputError before the first promotion.
    """
    with promotion_lock(registry.clean, run_id) as lock:
        past = history(registry.clean)
        if past.last is None:
            raise InputError("nothing was promoted yet, so there is no record to go by")
        return _settle(registry, lock, past)


def alias_changes(registry: Registry, past: History | None = None) -> list[str]:
    """What differs between MLflow's aliases and the table of promotions, a sentence each; empty: nothing, or the table
    has no row yet.
    """
    past = past or history(registry.clean)
    if past.last is None:
        return []
    expected = {CHAMPION: past.champion, PREVIOUS: past.previous}
    found = {name: registry.mlflow.alias(name) for name in expected}
    return [
        f"the alias {name} points at {_version(found[name])}, the last row of the promotions (number "
        f"{past.turns[-1].number}) says {_version(wanted)}"
        for name, wanted in expected.items()
        if found[name] != wanted
    ]


def stale_champion(clean: Zone) -> list[str]:
    """Why the champion's report no longer holds, a sentence each; empty where it does, or there is no champion."""
    champion = published.current(clean, NAME)
    if champion is None or "gates_sha256" not in champion:
        return []
    return stale_because(champion, _present(clean, unknown=champion))


def not_promoted_by_itself(clean: Zone, profile: str) -> str | None:
    """Why the newest version is not promoted without a person, for sensors and the flow; None when it is."""
    checkpoint = published.current(clean, "generator_checkpoint")
    report = published.current(clean, "validation_report")
    newest = None if checkpoint is None else checkpoint["version"]
    return why_not_by_itself(gates.load_profile(profile), report, newest, history(clean))


def _behind(registry: Registry, past: History) -> bool:
    """Whether the pointer does not follow the table yet."""
    pointer = published.current(registry.clean, NAME)
    return pointer is None or pointer["version"] != past.champion


def _revoke(registry: Registry, lock: Held, past: History, version: str, run_id: str, reason: str) -> None:
    _append(registry, lock, past, version, "revoke", run_id, reason, None)
    registry.mlflow.tag_version(version, {"revoked": reason, "revoked_by_run": run_id, "revoked_because": reason})


def _settle(registry: Registry, lock: Held, past: History) -> Done:
    assert past.last is not None
    if past.champion is None:
        raise InputError("every version that was champion was revoked, so there is none to go by: promote another")
    made = past.promoted(past.champion)
    if made is None:
        raise InputError(f"version {past.champion} was champion before promotions were recorded: promote one anew")
    document = json.loads(registry.clean.read(made.document))
    remarks = _moved_by_hand(registry, past)
    _follow(registry, lock, {"settled_by_run": past.last.run_id}, document, before=past.before)
    return Done(past.last, False, document, remarks)


def _rollback_target(past: History, version: str | None) -> str:
    if past.champion is None:
        raise InputError("there is no champion, so nothing can be rolled back")
    if version is None:
        if past.previous is None:
            raise InputError(f"version {past.champion} had no champion before it that is left to roll back to")
        return past.previous
    if version == past.champion:
        raise InputError(f"version {version} is the champion already")
    if version in past.revoked:
        raise InputError(f"version {version} was revoked, and no revoked version becomes champion")
    if version != past.before and past.promoted(version) is None:
        raise InputError(f"version {version} was never champion, so it cannot be rolled back to: promote it")
    return version


def _append(
    registry: Registry,
    lock: Held,
    past: History,
    version: str,
    action: Action,
    run_id: str,
    reason: str,
    document: dict[str, Any] | None,
) -> Turn:
    """Create the next row. Raises PromotionBusy when another writer created it first."""
    stored = ""
    if document is not None:
        encoded = json.dumps(document, sort_keys=True, indent=1, allow_nan=False).encode()
        stored = registry.clean.put("promotions", encoded, ".json").path
    turn = Turn(
        number=len(past.turns) + 1,
        version=version,
        action=action,
        previous=None if action == "revoke" or past.champion == version else past.champion,
        run_id=run_id,
        at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        reason=reason,
        document=stored,
    )
    lock.confirm()
    path = TableStore(registry.clean).path(PROMOTIONS, f"{turn.number:06d}")
    if not conditional_writes.create(registry.clean, path, to_parquet(PROMOTIONS.to_arrow([vars(turn)]))):
        raise PromotionBusy("another promotion was recorded first, and nothing was changed by this one: run it again")
    return turn


def _follow(
    registry: Registry, lock: Held, tags: dict[str, str], document: dict[str, Any], *, before: str | None
) -> None:
    """Point aliases and pointer at what the table says."""
    past = history(registry.clean, before=before)
    assert past.champion is not None
    lock.confirm()
    registry.mlflow.promote(past.champion, tags, previous=past.previous)
    if past.previous is None:
        registry.mlflow.forget_alias(PREVIOUS)
    lock.confirm()
    published.publish(registry.clean, NAME, document)


def _pass_locked_test(registry: Registry, version: str, run_id: str, dataset_fingerprint: str) -> None:
    """Open the locked test for a version that lacks nothing else; raises GateError when it does not pass there."""
    number = record_opening(registry.clean, version, run_id, dataset_fingerprint)
    verdict = registry.locked_test(version)
    if not verdict.passed:
        raise GateError(
            "not promoted; the champion, if any, stays as it is. On the locked test, opened for the "
            f"{number}. time: {verdict.sentence}"
        )


def _present(clean: Zone, *, unknown: dict[str, Any]) -> Present:
    """The present hashes. Before anything was published of the judge or the dataset nothing differs from `unknown`."""
    dataset = published.current(clean, "training_dataset")
    found = present(
        published.current(clean, "judge"),
        None if dataset is None or "manifest" not in dataset else json.loads(clean.read(dataset["manifest"])),
    )
    return replace(
        found,
        judge_sha256=found.judge_sha256 or unknown.get("judge_sha256"),
        dataset_rules_sha256=found.dataset_rules_sha256 or unknown.get("dataset_rules_sha256"),
    )


def _rules_of(clean: Zone, manifest: str) -> str | None:
    try:
        return rules_hash(json.loads(clean.read(manifest)))
    except FileNotFoundError:
        return None


def _moved_by_hand(registry: Registry, past: History) -> tuple[str, ...]:
    return tuple(f"{text}: it was moved by hand, and is set anew" for text in alias_changes(registry, past))


def _version(number: str | None) -> str:
    return "no version" if number is None else f"version {number}"
