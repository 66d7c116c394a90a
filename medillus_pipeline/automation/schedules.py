"""The schedule that retrains every night."""

import dagster as dg

from medillus_pipeline.automation.jobs import retrain
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


SCHEDULES = [nightly_retraining]
