"""Retraining on new masks: when they are enough and have stopped arriving, once, in place of what still waits.

The cursor is a storage id of the event log, read in ascending order: however many partitions land within one tick,
none is missed and they become one retraining. How much is new is told by the tables, not by events, so masks that were
too few at one tick count at the next.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from medillus_pipeline import published
from medillus_pipeline.assets.annotation import masks
from medillus_pipeline.assets.dataset import input_versions, too_few_patients
from medillus_pipeline.automation.jobs import retrain
from medillus_pipeline.automation_settings import PATIENCE, AutomationSettings
from medillus_pipeline.failures import failing_clearly
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.tables import MASKS, TRAINING_SLICES

EVENTS_PER_PAGE = 500
STARTED_BY = ("dagster/sensor_name", "dagster/schedule_name")
"""Tags of a run that automation asked for; a person's run has neither."""


@dataclass(frozen=True)
class NewEvents:
    """Materializations after a cursor: how many, the greatest storage id, times of the first and last (UTC)."""

    count: int
    latest: int
    first: datetime
    last: datetime


def new_events(context: dg.SensorEvaluationContext, *assets: dg.AssetsDefinition) -> NewEvents | None:
    """What was materialized of these assets after the cursor, None when nothing was."""
    count, latest, first, last = 0, 0, float("inf"), 0.0
    for asset in assets:
        for record in _records(context, asset):
            count, latest = count + 1, max(latest, record.storage_id)
            first, last = min(first, record.timestamp), max(last, record.timestamp)
    if not count:
        return None
    return NewEvents(count, latest, datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC))


def _records(context: dg.SensorEvaluationContext, asset: dg.AssetsDefinition) -> Iterator[dg.EventLogRecord]:
    """Materializations after the cursor, ascending, page by page."""
    after = int(context.cursor or 0)
    page_cursor = None
    while True:
        page = context.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=asset.key, after_storage_id=after),
            limit=EVENTS_PER_PAGE,
            cursor=page_cursor,
            ascending=True,
        )
        yield from page.records
        if not page.has_more:
            return
        page_cursor = page.cursor


@dg.sensor(
    job=retrain,
    minimum_interval_seconds=120,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Retrains once for all masks that were published since the last look, when they are enough "
    "(MEDILLUS_RETRAIN_SLICES, MEDILLUS_RETRAIN_SHARE) and have stopped arriving (MEDILLUS_RETRAIN_DEBOUNCE_MINUTES). "
    "Takes the place of a retraining that is queued; one that is running goes on.",
)
def retrain_on_new_masks(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult | dg.SkipReason:
    """One coalesced retraining for any number of new masks."""
    new = new_events(context, masks)
    if new is None:
        return dg.SkipReason("no masks were published since the last look")
    with failing_clearly():
        chosen = AutomationSettings.from_environment()
        waiting = still_arriving(new, chosen, datetime.now(UTC))
        if waiting is not None:
            return dg.SkipReason(waiting)  # the cursor stays, so what arrives until then counts too
        reason = unchanged(store) or too_little(store, chosen)
    cursor = str(new.latest)
    if reason is not None:
        return dg.SensorResult(skip_reason=dg.SkipReason(reason), cursor=cursor)
    run_key = f"masks:{new.latest}"
    superseded = supersede(context.instance, run_key)
    if superseded:
        context.log.info(f"{superseded} queued retrainings are superseded by this one, which knows all masks")
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=run_key)], cursor=cursor)


def still_arriving(new: NewEvents, chosen: AutomationSettings, now: datetime) -> str | None:
    """Why masks that were published just now are not trained on yet, or None when they are to be."""
    debounce = timedelta(minutes=chosen.retrain_debounce_minutes)
    if now - new.last >= debounce or now - new.first >= PATIENCE * debounce:
        return None
    return (
        f"{new.count} masks or more were published since the last look, and others may follow: waits until none came "
        f"for {chosen.retrain_debounce_minutes:g} minutes, {PATIENCE * chosen.retrain_debounce_minutes:g} at most"
    )


def too_little(store: StoreResource, chosen: AutomationSettings) -> str | None:
    """Why what is new is left to the night, or None when it is enough, or nothing was trained yet.

    New are labelled slices of batches that are not in the dataset of the last generator as they are now; of a batch
    that was corrected all slices count.
    """
    dataset = published.current(store.clean, "training_dataset")
    trained = published.current(store.clean, "generator_checkpoint")
    if dataset is None or trained is None or dataset["fingerprint"] != trained["dataset_fingerprint"]:
        return None
    known = dataset["inputs"].get(MASKS.name, {})
    current = {key: store.tables.version(MASKS, key) for key in store.tables.keys(MASKS)}
    gone = known.keys() - current.keys()
    fresh = [key for key, version in current.items() if known.get(key) != version]
    slices = {name for key in fresh for name in store.tables.read(MASKS, key)["slice_name"].to_pylist()}
    learnt = store.tables.read_all(TRAINING_SLICES).num_rows
    if gone or not slices or len(slices) >= chosen.retrain_slices:  # what was taken back, or other inputs, count fully
        return None
    if chosen.retrain_share and len(slices) >= chosen.retrain_share * learnt:
        return None
    share = f" or {chosen.retrain_share:.0%} of {learnt}" if chosen.retrain_share else ""
    return (
        f"{len(slices)} new labelled slices, fewer than {chosen.retrain_slices}{share}: they wait for more, or for the "
        "night (MEDILLUS_RETRAIN_SLICES, MEDILLUS_RETRAIN_SHARE)"
    )


def supersede(instance: dg.DagsterInstance, run_key: str) -> int:
    """Take retrainings that automation queued out of the queue, but for the one of this key; returns how many.

    Every retraining reads what is published when it starts, so one in the queue is enough. A person's run stays.
    """
    queued = instance.get_runs(dg.RunsFilter(job_name=retrain.name, statuses=[dg.DagsterRunStatus.QUEUED]))
    others = [
        run
        for run in queued
        if any(tag in run.tags for tag in STARTED_BY) and run.tags.get("dagster/run_key") != run_key
    ]
    return sum(instance.run_coordinator.cancel_run(run.run_id) for run in others)


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
