"""Human review starts by itself: the jobs of the blind sheet and of the verdicts, with a sensor for each: a retraining
in a profile that asks for approvals, and folders in landing/reviews.
"""

import dagster as dg

from medillus_pipeline import published
from medillus_pipeline.assets.reviews import review_tasks, reviews
from medillus_pipeline.automation.jobs import retrain
from medillus_pipeline.automation.sensors import arrivals
from medillus_pipeline.failures import failing_clearly
from medillus_pipeline.partitions import review_batches
from medillus_pipeline.resources.store import StoreResource

make_review_sheet = dg.define_asset_job(
    "make_review_sheet",
    selection=dg.AssetSelection.assets(review_tasks),
    description="Make the blind sheet of the newest generator for its reviewers.",
    tags={"stage": "review"},
)

ingest_reviews = dg.define_asset_job(
    "ingest_reviews",
    selection=dg.AssetSelection.assets(reviews),
    partitions_def=review_batches,
    description="Read a folder of signed verdicts, and publish who approved which version.",
    tags={"stage": "review"},
)


@dg.sensor(
    job=ingest_reviews,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reads each folder under landing/reviews once it is closed by _READY.",
)
def new_review_batches(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult | dg.SkipReason:
    """One run per new folder of verdicts."""
    return arrivals(context, store, "reviews", review_batches)


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    monitored_jobs=[retrain],
    request_job=make_review_sheet,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="After a retraining, makes the blind sheet of the new version where the profile asks for approvals.",
)
def sheet_after_retraining(context: dg.RunStatusSensorContext, store: StoreResource) -> dg.RunRequest | dg.SkipReason:
    """One sheet for each version that people have to approve, or the reason for none."""
    with failing_clearly():
        reason = no_sheet_because(store)
    if reason is not None:
        return dg.SkipReason(reason)
    return dg.RunRequest(run_key=f"review-sheet:{context.dagster_run.run_id}")


def no_sheet_because(store: StoreResource) -> str | None:
    """Why no sheet is made of the newest version, or None when one is.

    A version that its gates refused gets one too: what reviewers see in it says what to mend.
    """
    from medillus_pipeline.validation import gates

    profile = gates.load_profile(store.profile)
    if not profile.required_approvals:
        return f"profile {profile.name} asks for no approvals: `make_review_sheet` makes a sheet all the same"
    trained = published.current(store.clean, "generator_checkpoint")
    if trained is None:
        return "no generator was trained yet"
    sheet = published.current(store.clean, "review_tasks")
    if sheet is not None and str(sheet["version"]) == str(trained["version"]):
        return f"the sheet of version {trained['version']} lies ready"
    return None


REVIEW_JOBS = [make_review_sheet, ingest_reviews]
REVIEW_SENSORS = [new_review_batches, sheet_after_retraining]
