"""`promoted_generator`: the alias `champion`, moved only when nothing is missing for that very version, or moved back.

Two checks watch it between promotions. What must hold is in `validation/promotion_rules.py`, the acts themselves are in
`resources/promotions.py`, since the command line does them too.
"""

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
from pydantic import Field

from medillus_pipeline import published
from medillus_pipeline.assets.measuring import ethics_of, locked_test_of
from medillus_pipeline.assets.reviews import reviews_document
from medillus_pipeline.assets.validation import ValidationConfig, validation_report
from medillus_pipeline.failures import RETRY, failing_clearly
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.tables import REVIEWS

if TYPE_CHECKING:
    from medillus_pipeline.resources.promotions import Done, Registry
    from medillus_pipeline.validation.promotion_rules import Approval

COMMAND_LINE = "command-line"


class PromotionConfig(dg.Config):
    """What is done with the champion."""

    action: Literal["promote", "rollback"] = Field(
        default="promote", description="promote the newest version, or roll back to a former champion."
    )
    version: str | None = Field(
        default=None, description="Rollback: the former champion to go back to; unset: the one before the present."
    )
    reason: str = Field(default="", description="Why, for the table of promotions; a rollback should say it.")
    again: bool = Field(default=False, description="Promote a version although it was rolled back.")
    revoke: bool = Field(default=False, description="Rollback: the version that is left is never champion again.")


def registry_of(store: StoreResource, mlflow: MLflowResource) -> "Registry":
    """The registry of this installation, with its doors to human review and to the locked test."""
    from medillus_pipeline.resources.promotions import Registry

    config = ValidationConfig()
    return Registry(
        store.clean,
        mlflow,
        store.profile,
        approvals=lambda version: recorded_approvals(store, mlflow, version),
        ethics=ethics_of(store),
        locked_test=locked_test_of(store, mlflow, lambda profile: config.chosen(profile, threads=1), seed=config.seed),
    )


def recorded_approvals(store: StoreResource, mlflow: MLflowResource, version: str) -> "Sequence[Approval]":
    """Signed approvals of the very weights of a version, by who is on the roster now; none without a roster.

    The signatures are checked again. Raises ConfigurationError for a roster with a mistake, GateError where a verdict
    cannot be proven.
    """
    from medillus_pipeline.review.approvals import approvals
    from medillus_pipeline.review.proofs import proven
    from medillus_pipeline.validation.promotion_rules import Approval

    if not store.reviewers_file or not store.tables.keys(REVIEWS):
        return ()
    with tempfile.TemporaryDirectory() as folder:
        weights = mlflow.download(version, Path(folder)) / "weights.safetensors"
        sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    document = published.current(store.clean, reviews_document(version)) or {}
    kept = document.get("verdicts", {}) if document.get("weights_sha256") == sha256 else {}
    proofs = {identifier: _proof(store, path) for identifier, path in kept.items()}
    rows = proven(store.tables.read_all(REVIEWS).to_pylist(), proofs, version, sha256)
    by_role = approvals(rows, store.roster(), version, sha256)
    return [Approval(reviewer, role) for role, reviewers in by_role.items() for reviewer in reviewers]


def _proof(store: StoreResource, path: str) -> dict[str, str] | None:
    """What was kept of a verdict; None where it is gone or unreadable."""
    try:
        found = json.loads(store.clean.read(path))
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) and all(isinstance(part, str) for part in found.values()) else None


@dg.asset(
    deps=[validation_report],
    group_name="promotion",
    owners=["team:machine-learning"],
    kinds={"mlflow"},
    code_version="2",
    retry_policy=RETRY,
    pool="promotion",
)
def promoted_generator(
    context: dg.AssetExecutionContext, config: PromotionConfig, store: StoreResource, mlflow: MLflowResource
) -> dg.MaterializeResult:
    """The registry version that figures are made with. Refused, with the list of what is missing, unless every gate
    passed on the newest version and the profile's approvals are there. The former champion is kept as `previous`, and a
    rollback goes back to it; each act is a row of the table promotions.
    """
    from medillus_pipeline.resources import promotions

    with failing_clearly():
        registry = registry_of(store, mlflow)
        if config.action == "promote":
            done = promotions.promote(registry, run_id=context.run_id, reason=config.reason, again=config.again)
        else:
            done = promotions.rollback(
                registry,
                run_id=context.run_id,
                reason=config.reason or "no reason was given",
                version=config.version,
                revoke=config.revoke,
            )
        context.log.info(done.document["review_statement"])
        for remark in done.remarks:
            context.log.warning(remark)
        event = described(done, mlflow)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(f"{mlflow.model}:{done.turn.version}"), metadata=event.metadata
    )


def described(done: "Done", mlflow: MLflowResource) -> dg.AssetMaterialization:
    """What Dagster shows of a promotion; the command line reports it as an event of its own."""
    turn, document = done.turn, done.document
    metadata: dict[str, Any] = {
        "version": dg.MetadataValue.url(mlflow.version_url(turn.version)),
        "alias": "champion",
        "action": turn.action,
        "former_champion": turn.previous or "none",
        "reason": turn.reason,
        "by": turn.run_id,
        "human_review": document["review_statement"],
        "reviewers": ", ".join(document["reviewers"]) or "none",
        "locked_test_openings": document["locked_test_openings"],
    }
    return dg.AssetMaterialization("promoted_generator", metadata=metadata)


@dg.asset_check(
    asset=promoted_generator,
    description="MLflow's aliases champion and previous are those of the last row of the promotions; otherwise "
    "somebody moved them by hand, or a promotion was interrupted.",
)
def aliases_as_recorded(store: StoreResource, mlflow: MLflowResource) -> dg.AssetCheckResult:
    """Warns with what differs."""
    from medillus_pipeline.resources import promotions

    with failing_clearly():
        differing = promotions.alias_changes(registry_of(store, mlflow))
    return dg.AssetCheckResult(
        passed=not differing,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{'; '.join(differing)}. `medillus models --settle` sets them as recorded." if differing else None,
        metadata={"differences": len(differing)},
    )


@dg.asset_check(
    asset=promoted_generator,
    description="The champion's report was made with the present judge, dataset rules and gates; otherwise the "
    "champion is stale.",
)
def champion_report_current(store: StoreResource) -> dg.AssetCheckResult:
    """Warns with what changed since."""
    from medillus_pipeline.resources import promotions

    with failing_clearly():
        changed = promotions.stale_champion(store.clean)
    return dg.AssetCheckResult(
        passed=not changed,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"the champion is stale: {'; '.join(changed)}. Run the job retrain, then promote."
        if changed
        else None,
        metadata={"stale": bool(changed)},
    )
