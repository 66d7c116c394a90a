"""The schedules: retraining every night, and a look at the champion every hour."""

import dagster as dg

from medillus_pipeline import published
from medillus_pipeline.automation.jobs import retrain, watch_champion
from medillus_pipeline.automation.sensors import unchanged
from medillus_pipeline.failures import failing_clearly
from medillus_pipeline.resources.store import StoreResource


@dg.schedule(
    job=retrain,
    cron_schedule="0 2 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Retrains at 02:00 when anything was published since the last training; otherwise skips and says why.",
)
def nightly_retraining(context: dg.ScheduleEvaluationContext, store: StoreResource) -> dg.RunRequest | dg.SkipReason:
    """One retraining a night, or the reason for none."""
    with failing_clearly():
        reason = unchanged(store)
    if reason is not None:
        return dg.SkipReason(reason)
    return dg.RunRequest(run_key=f"nightly:{context.scheduled_execution_time:%Y-%m-%d}")


@dg.schedule(
    job=watch_champion,
    cron_schedule="17 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Looks every hour whether somebody moved an alias by hand and whether the champion is stale.",
)
def hourly_look_at_the_champion(
    context: dg.ScheduleEvaluationContext, store: StoreResource
) -> dg.RunRequest | dg.SkipReason:
    """One look an hour, once there is a champion."""
    with failing_clearly():
        champion = published.current(store.clean, "promoted_generator")
    if champion is None:
        return dg.SkipReason("there is no champion yet")
    return dg.RunRequest(run_key=f"champion:{context.scheduled_execution_time:%Y-%m-%dT%H}")


SCHEDULES = [nightly_retraining, hourly_look_at_the_champion]
