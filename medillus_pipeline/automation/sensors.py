"""All sensors but those of reviews and stewardship; here masks that waited for their slices, and promotion.

Arrivals in landing are in `arrivals.py`, retraining on new masks in `retraining.py`, alerts in `alerting.py`. Cursors
are storage ids of the event log, read in ascending order: however many partitions land within one tick, none is missed.
"""

import dagster as dg

from medillus_pipeline.assets.annotation import latest_storage_id, masks, slices_seen
from medillus_pipeline.assets.imaging import slices
from medillus_pipeline.automation.arrivals import arrivals as arrivals
from medillus_pipeline.automation.arrivals import new_annotation_batches, new_deliveries
from medillus_pipeline.automation.jobs import ingest_annotations, promote, retrain
from medillus_pipeline.automation.retraining import new_events, retrain_on_new_masks
from medillus_pipeline.automation.retraining import unchanged as unchanged
from medillus_pipeline.failures import failing_clearly
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.tables import MASK_ITEMS


@dg.sensor(
    job=ingest_annotations,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tries annotation batches with pending items again when a delivery's slices are published.",
)
def pending_masks(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult | dg.SkipReason:
    """One run per batch that waits for slices, when slices were published that its last reading had not seen.

    A batch may have been read while a delivery was being published; so new masks are looked at like new slices.
    """
    new = new_events(context, slices, masks)
    if new is None:
        return dg.SkipReason("neither slices nor masks were published since the last look")
    newest = latest_storage_id(context.instance, slices)
    with failing_clearly():
        pending = [
            key
            for key in store.tables.keys(MASK_ITEMS)
            if "pending" in store.tables.read(MASK_ITEMS, key)["outcome"].to_pylist()
        ]
    waiting = [key for key in pending if slices_seen(context.instance, key) < newest]
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=f"pending:{key}:{newest}", partition_key=key) for key in waiting],
        skip_reason=None if waiting else dg.SkipReason("no annotation batch waits for slices that it has not seen"),
        cursor=str(new.latest),
    )


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    monitored_jobs=[retrain],
    request_job=promote,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="After a retraining, promotes the new version where the profile lets it; elsewhere it says that the "
    "version waits for a person.",
)
def promote_by_itself(context: dg.RunStatusSensorContext, store: StoreResource) -> dg.RunRequest | dg.SkipReason:
    """One promotion for each finished retraining, or the reason for none."""
    from medillus_pipeline.resources import promotions

    with failing_clearly():
        reason = promotions.not_promoted_by_itself(store.clean, store.profile)
    if reason is not None:
        return dg.SkipReason(reason)
    return dg.RunRequest(run_key=f"promote:{context.dagster_run.run_id}")


SENSORS = [
    new_deliveries,
    new_annotation_batches,
    pending_masks,
    retrain_on_new_masks,
    promote_by_itself,
]
