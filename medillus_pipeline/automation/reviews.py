"""Human review starts by itself: the jobs of the blind sheet and of the verdicts, and the sensor of landing/reviews."""

import dagster as dg

from medillus_pipeline.assets.reviews import review_tasks, reviews
from medillus_pipeline.automation.sensors import arrivals
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


REVIEW_JOBS = [make_review_sheet, ingest_reviews]
REVIEW_SENSORS = [new_review_batches]
