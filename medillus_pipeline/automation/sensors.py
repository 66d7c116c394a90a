"""Sensors: arrivals in landing, masks that waited for their slices, retraining on new masks, and promotion after it.

Cursors are storage ids of the event log, read in ascending order: however many partitions land within one tick, none
is missed and they become one retraining.
"""

from collections.abc import Iterator

import dagster as dg

from medillus_pipeline import landings, published
from medillus_pipeline.assets.annotation import latest_storage_id, masks, slices_seen
from medillus_pipeline.assets.dataset import input_versions, too_few_patients
from medillus_pipeline.assets.imaging import slices
from medillus_pipeline.automation.jobs import ingest_annotations, ingest_delivery, promote, retrain
from medillus_pipeline.failures import failing_clearly
from medillus_pipeline.partitions import annotation_batches, deliveries
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.tables import MASK_ITEMS

RUNS_PER_TICK = 25
"""Most runs that one tick of a landing sensor asks for; the rest follow at the next tick."""

EVENTS_PER_PAGE = 500


def arrivals(
    context: dg.SensorEvaluationContext,
    store: StoreResource,
    kind: landings.Kind,
    partitions: dg.DynamicPartitionsDefinition,
) -> dg.SensorResult | dg.SkipReason:
    """Register new landing folders of a kind, and ask for a run for each key that has no partition yet."""
    with failing_clearly(restricted=True):
        landings.register(store.landing, store.vault, store.pseudonymiser(), kind)
        known = landings.known_keys(store.vault, kind)
    assert partitions.name is not None
    present = set(context.instance.get_dynamic_partitions(partitions.name))
    new = [key for key in known if key not in present][:RUNS_PER_TICK]
    if not new:
        return dg.SkipReason(f"no new folder under landing/{kind} is closed by {landings.READY}")
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=f"{kind}:{key}", partition_key=key) for key in new],
        dynamic_partitions_requests=[partitions.build_add_request(new)],
    )


@dg.sensor(
    job=ingest_delivery,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Ingests each folder under landing/images once it is closed by _READY.",
)
def new_deliveries(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult | dg.SkipReason:
    """One run per new delivery."""
    return arrivals(context, store, "images", deliveries)


@dg.sensor(
    job=ingest_annotations,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reads each folder under landing/annotations once it is closed by _READY.",
)
def new_annotation_batches(
    context: dg.SensorEvaluationContext, store: StoreResource
) -> dg.SensorResult | dg.SkipReason:
    """One run per new annotation batch."""
    return arrivals(context, store, "annotations", annotation_batches)


def _latest_event(context: dg.SensorEvaluationContext, *assets: dg.AssetsDefinition) -> int | None:
    """Greatest storage id of these assets' materializations after the cursor, None when there are none."""
    return max((storage_id for asset in assets for storage_id in _new_storage_ids(context, asset)), default=None)


def _new_storage_ids(context: dg.SensorEvaluationContext, asset: dg.AssetsDefinition) -> Iterator[int]:
    """Storage ids of materializations after the cursor, ascending, page by page."""
    after = int(context.cursor or 0)
    page_cursor = None
    while True:
        page = context.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=asset.key, after_storage_id=after),
            limit=EVENTS_PER_PAGE,
            cursor=page_cursor,
            ascending=True,
        )
        yield from (record.storage_id for record in page.records)
        if not page.has_more:
            return
        page_cursor = page.cursor


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
    latest = _latest_event(context, slices, masks)
    if latest is None:
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
        cursor=str(latest),
    )


@dg.sensor(
    job=retrain,
    minimum_interval_seconds=120,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Retrains once for all masks that were published since the last look; skips when the last trained and "
    "validated generator already knows them.",
)
def retrain_on_new_masks(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult | dg.SkipReason:
    """One coalesced retraining for any number of new masks."""
    latest = _latest_event(context, masks)
    if latest is None:
        return dg.SkipReason("no masks were published since the last look")
    with failing_clearly():
        reason = unchanged(store)
    if reason is not None:
        return dg.SensorResult(skip_reason=dg.SkipReason(reason), cursor=str(latest))
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=f"masks:{latest}")], cursor=str(latest))


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


def unchanged(store: StoreResource) -> str | None:
    """Why a retraining would make nothing new, or None when it would.

    Everything that was published is in the dataset of the last generator, which was validated against the gates that
    hold today, or there are too few patients for a first dataset: nothing to do. Raises StoreError when the clean zone
    cannot be read.
    """
    from medillus_pipeline.validation import gates

    dataset = published.current(store.clean, "training_dataset")
    trained = published.current(store.clean, "generator_checkpoint")
    report = published.current(store.clean, "validation_report")
    inputs = input_versions(store.tables)
    if not inputs["masks"]:
        return "no masks were ever published, so there is nothing to train on: land a batch of annotations"
    if dataset is None:
        return too_few_patients(store.tables)
    if trained is None or report is None:
        return None
    if dataset["inputs"] != inputs or trained["dataset_fingerprint"] != dataset["fingerprint"]:
        return None
    if report["version"] != trained["version"] or report["profile"] != store.profile:
        return None
    if report["gates_sha256"] != gates.fingerprint():
        return None
    return (
        f"the dataset is unchanged (fingerprint {dataset['fingerprint'][:12]}): "
        f"version {trained['version']} was trained and validated on it"
    )


SENSORS = [new_deliveries, new_annotation_batches, pending_masks, retrain_on_new_masks, promote_by_itself]
