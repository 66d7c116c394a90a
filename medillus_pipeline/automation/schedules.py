"""The schedules: retraining every night, and a look at the champion every hour.

A daemon that was down for several nights makes up one of them: Dagster evaluates the newest missed tick of a schedule
without partitions, and what that run reads is everything that was published since.
"""

import dagster as dg

from medillus_pipeline import published
from medillus_pipeline.automation.jobs import retrain, watch_champion
from medillus_pipeline.automation.retraining import unchanged
from medillus_pipeline.automation_settings import AutomationSettings
from medillus_pipeline.failures import failing_clearly
from medillus_pipeline.resources.store import StoreResource


def nightly(chosen: AutomationSettings) -> dg.ScheduleDefinition:
    """The retraining of the night, at the hour and in the time zone of these settings.

    In a night whose hour is left out or comes twice, as clocks are changed, Dagster evaluates it once.
    """

    @dg.schedule(
        name="nightly_retraining",
        job=retrain,
        cron_schedule=chosen.night,
        execution_timezone=chosen.time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Retrains at night ({chosen.night}, {chosen.time_zone}) when anything was published since the "
        "last training; otherwise skips and says why.",
    )
    def nightly_retraining(
        context: dg.ScheduleEvaluationContext, store: StoreResource
    ) -> dg.RunRequest | dg.SkipReason:
        """One retraining a night, or the reason for none."""
        with failing_clearly():
            reason = unchanged(store)
        queued = dg.RunsFilter(job_name=retrain.name, statuses=[dg.DagsterRunStatus.QUEUED])
        if reason is None and context.instance.get_runs_count(queued):
            reason = "a retraining is queued already: it reads everything that is published when it starts"
        if reason is not None:
            return dg.SkipReason(reason)
        return dg.RunRequest(run_key=f"nightly:{context.scheduled_execution_time:%Y-%m-%d}")

    return nightly_retraining


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


nightly_retraining = nightly(AutomationSettings.from_environment())

SCHEDULES = [nightly_retraining, hourly_look_at_the_champion]
