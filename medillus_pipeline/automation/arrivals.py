"""Landing sensors: a run for each delivery and annotation batch that is complete, a flag for one that changed since.

What a look at landing costs is bounded in `landing_watch.py`; reviewers' folders have their sensor in `reviews.py`.
"""

import json

import dagster as dg

from medillus_pipeline import landing_seals, landing_watch, landings
from medillus_pipeline.automation.jobs import ingest_annotations, ingest_delivery
from medillus_pipeline.automation_settings import AutomationSettings
from medillus_pipeline.failures import failing_clearly
from medillus_pipeline.partitions import annotation_batches, deliveries
from medillus_pipeline.resources.store import StoreResource

READ_BY: dict[landings.Kind, str] = {
    "images": "deidentified_instances",
    "annotations": "masks",
    "reviews": "reviews",
    "requests": "illustration_requests",
}
"""Kind of landing folder → the asset that reads it."""

CHANGED = "changed_after_ready"
"""Metadata entry of an observation that says that a landing folder changed after it was closed."""


def arrivals(
    context: dg.SensorEvaluationContext,
    store: StoreResource,
    kind: landings.Kind,
    partitions: dg.DynamicPartitionsDefinition,
) -> dg.SensorResult | dg.SkipReason:
    """Register complete landing folders of a kind, and ask for a run for each key that has no partition yet.

    A folder that changed after it was closed becomes an observation of its partition, which the alerts pass on.
    """
    with failing_clearly(restricted=True):
        chosen = AutomationSettings.from_environment()
        most = chosen.landing_runs_per_tick
        vault = store.vault
        found = landing_watch.look(
            store.landing,
            vault,
            store.pseudonymiser(),
            kind,
            bounds=landing_watch.Bounds(arrivals=most),
            place=_place(context.cursor),
            quiet=chosen.quiet,
        )
        for change in found.changed:
            context.instance.report_runless_asset_event(observation(kind, change))
            landing_seals.seal(vault, kind, change.key, change.now)  # told, so it is told once
    assert partitions.name is not None
    present = set(context.instance.get_dynamic_partitions(partitions.name))
    new = [key for key in found.keys if key not in present][:most]
    cursor = json.dumps(vars(found.place))
    if not new:
        changed = f"; changed after it was closed: {', '.join(c.key for c in found.changed)}" if found.changed else ""
        reason = dg.SkipReason(f"no new folder under landing/{kind} is closed by {landings.READY}{changed}")
        return dg.SensorResult(skip_reason=reason, cursor=cursor)
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=f"{kind}:{key}", partition_key=key) for key in new],
        dynamic_partitions_requests=[partitions.build_add_request(new)],
        cursor=cursor,
    )


def observation(kind: landings.Kind, change: landing_seals.Change) -> dg.AssetObservation:
    """What a data engineer sees of a changed folder among the events of its partition."""
    message = (
        f"{change.came} files came or changed after this folder was closed with {change.sealed} files. What is "
        "published may lack them: materialize the partition again to read them, and ask the sender to write "
        f"{landings.READY} last"
    )
    metadata = {CHANGED: change.came, "files_when_closed": change.sealed}
    return dg.AssetObservation(READ_BY[kind], partition=change.key, description=message, metadata=metadata)


@dg.sensor(
    job=ingest_delivery,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Ingests each folder under landing/images once it is closed by _READY, or after a quiet period where "
    "MEDILLUS_LANDING_QUIET_MINUTES is set. Flags a delivery that changes after that.",
)
def new_deliveries(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult | dg.SkipReason:
    """One run per new delivery."""
    return arrivals(context, store, "images", deliveries)


@dg.sensor(
    job=ingest_annotations,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reads each folder under landing/annotations once it is closed by _READY, or after a quiet period "
    "where MEDILLUS_LANDING_QUIET_MINUTES is set. Flags a batch that changes after that.",
)
def new_annotation_batches(
    context: dg.SensorEvaluationContext, store: StoreResource
) -> dg.SensorResult | dg.SkipReason:
    """One run per new annotation batch."""
    return arrivals(context, store, "annotations", annotation_batches)


def _place(cursor: str | None) -> landing_watch.Place:
    try:
        return landing_watch.Place(**json.loads(cursor or "{}"))
    except (ValueError, TypeError):  # a cursor that a person typed, or of another release: begin anew
        return landing_watch.Place()
