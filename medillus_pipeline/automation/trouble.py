"""What went wrong lately, read from Dagster's own storage: failed runs, failed checks, folders that changed.

Reading only; who is told, and how often, is in `alerting.py`. Runs are looked at by the time of their last change, with
an overlap, since SQLite counts events per run and so has no order of events across runs.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from medillus_pipeline.automation.arrivals import CHANGED, READ_BY
from medillus_pipeline.resources.alerts import Alert, Kind

OVERLAP = timedelta(minutes=2)
"""Runs changed so long before the last look are looked at again: their change may have been written late."""
PAGE = 500
WILL_RETRY = "dagster/will_retry"
"""Tag of a failed run that Dagster starts once more."""


@dataclass(frozen=True)
class Trouble:
    """One thing that went wrong, before it is put together with its like."""

    kind: Kind
    title: str
    run_id: str = ""
    job: str = ""
    asset: str = ""
    check: str = ""
    partition: str = ""
    error_class: str = ""
    message: str = ""

    @property
    def group(self) -> str:
        """Its like have the same: kind, place and sort of error, whatever run and partition."""
        told = (self.kind, self.job, self.asset, self.check, self.error_class, self.title)
        return hashlib.sha256("\0".join(told).encode()).hexdigest()[:16]


def together(group: str, troubles: list[Trouble], owners: Iterable[str], unsaid: int) -> Alert:
    """One alert for things of one group; run and message are those of the last."""
    last = troubles[-1]
    partitions = sorted({each.partition for each in troubles if each.partition})
    shown = (*partitions[:10], f"and {len(partitions) - 10} more") if len(partitions) > 10 else tuple(partitions)
    many = f" ({len(troubles)} times)" if len(troubles) > 1 else ""
    return Alert(
        id=f"{group}-{hashlib.sha256((last.run_id + last.partition).encode()).hexdigest()[:8]}",
        kind=last.kind,
        title=f"{last.title}{many}",
        owners=tuple(owners),
        count=len(troubles),
        run_id=last.run_id,
        job=last.job,
        asset=last.asset,
        check=last.check,
        partitions=shown,
        error_class=last.error_class,
        message=last.message,
        unsaid=unsaid,
    )


def ended_since(instance: dg.DagsterInstance, after: float, seen: set[str]) -> list[tuple[dg.DagsterRun, float]]:
    """Runs that ended after that time (Unix seconds), oldest change first, without those seen; at most `PAGE` a look.

    A run that Dagster is about to start again is left out: its last attempt tells.
    """
    since = datetime.fromtimestamp(after, UTC) - OVERLAP
    records = instance.get_run_records(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS], updated_after=since),
        limit=PAGE + len(seen),
        order_by="update_timestamp",
        ascending=True,
    )
    return [
        (record.dagster_run, record.update_timestamp.replace(tzinfo=UTC).timestamp())
        for record in records
        if record.dagster_run.run_id not in seen
        and (record.end_time or 0) >= since.timestamp()  # an old run whose tags were changed is no news
        and record.dagster_run.tags.get(WILL_RETRY) != "true"
    ]


def failed_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Trouble:
    """Why a run failed: its first failed step, or what ended its process.

    The text of an error is passed on where it is a `dagster.Failure`: those are written for people by the pipeline, and
    hold nothing identified. Of any other error only the class leaves.
    """
    facts = {"run_id": run.run_id, "job": run.job_name, "partition": run.tags.get("dagster/partition", "")}
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        event = entry.dagster_event
        if event is None:
            continue
        failure = event.step_failure_data
        step = (event.step_key or "").split("[")[0]
        title = f"{run.job_name} failed in {step}"
        if failure.user_failure_data is not None:
            message = failure.user_failure_data.description or ""
            return Trouble("run_failure", title, **facts, asset=step, error_class="Failure", message=message)
        error = failure.error
        while error is not None and error.cause is not None:
            error = error.cause
        return Trouble("run_failure", title, **facts, asset=step, error_class=(error and error.cls_name) or "unknown")
    title = f"{run.job_name} failed outside its steps"
    message = "its process ended, or it could not be started: look at the run's events"
    return Trouble("run_failure", title, **facts, error_class="RunFailure", message=message)


def failed_checks(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Iterator[Trouble]:
    """Checks that failed in a run. In a run that failed, not those of the step that failed: the run's alert tells."""
    failed = run.status is dg.DagsterRunStatus.FAILURE
    told_already = failed_run(instance, run).asset if failed else None
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION):
        event = entry.dagster_event
        found = None if event is None else event.event_specific_data
        if not isinstance(found, dg.AssetCheckEvaluation) or found.passed:
            continue
        asset = found.asset_key.to_user_string()
        if asset == told_already:
            continue
        yield Trouble(
            "failed_check",
            f"check {found.check_name} of {asset} failed ({found.severity.value.lower()})",
            run_id=run.run_id,
            job=run.job_name,
            asset=asset,
            check=found.check_name,
            partition=found.partition or run.tags.get("dagster/partition", ""),
            message=found.description or "",
        )


def changed_folders(instance: dg.DagsterInstance, after: int) -> tuple[list[Trouble], int]:
    """Landing folders that changed after they were closed, told after that storage id; and the newest storage id."""
    found, newest = [], after
    for asset in READ_BY.values():
        page = instance.fetch_observations(
            dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), after_storage_id=after), limit=PAGE, ascending=True
        )
        for record in page.records:
            newest = max(newest, record.storage_id)
            seen = record.asset_observation
            if seen is None or CHANGED not in seen.metadata:
                continue
            found.append(
                Trouble(
                    "changed_after_ready",
                    f"a folder that {asset} reads changed after it was closed",
                    asset=asset,
                    partition=seen.partition or "",
                    message=seen.description or "",
                )
            )
    return found, newest
