"""Figures that make themselves: requests that land, a volume after a promotion, the case library after either.

The models beside the generator are trained when somebody asks for it: they take minutes, and a figure from a mask needs
neither, so no night is spent on them.
"""

import dagster as dg

from medillus_pipeline import published
from medillus_pipeline.assets.case_library import case_library
from medillus_pipeline.assets.illustrators import sketch_segmenter, text_encoder
from medillus_pipeline.assets.requested import illustration_requests, requested_illustrations
from medillus_pipeline.assets.volume_illustrations import volume_illustrations
from medillus_pipeline.automation.arrivals import arrivals
from medillus_pipeline.automation.jobs import ONE_STEP_AT_A_TIME, label_scans, promote, rollback
from medillus_pipeline.failures import failing_clearly
from medillus_pipeline.partitions import request_batches
from medillus_pipeline.resources.store import StoreResource

train_illustrators = dg.define_asset_job(
    "train_illustrators",
    selection=dg.AssetSelection.assets(sketch_segmenter, text_encoder),
    description="Train what reads sketches and what ranks images by a sentence, from the dataset in force. What is "
    "unchanged is not trained again. Minutes on a CPU; not part of the nightly retraining.",
    config=ONE_STEP_AT_A_TIME,
    tags={"stage": "train"},
)

ingest_requests = dg.define_asset_job(
    "ingest_requests",
    selection=dg.AssetSelection.assets(illustration_requests, requested_illustrations),
    partitions_def=request_batches,
    description="Read a folder of requests for figures, and draw them with the champion.",
    tags={"stage": "illustrate"},
)

illustrate_volumes = dg.define_asset_job(
    "illustrate_volumes",
    selection=dg.AssetSelection.assets(volume_illustrations),
    description="Draw a volume with the champion from a held-out patient's label stack, with plates and surfaces.",
    tags={"stage": "illustrate"},
)

make_case_library = dg.define_asset_job(
    "make_case_library",
    selection=dg.AssetSelection.assets(case_library),
    description="Build the static case library from all figures that are in force.",
    tags={"stage": "illustrate"},
)


@dg.sensor(
    job=ingest_requests,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reads each folder under landing/requests once it is closed by _READY, or after a quiet period where "
    "MEDILLUS_LANDING_QUIET_MINUTES is set. Flags a folder that changes after that.",
)
def new_request_batches(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult | dg.SkipReason:
    """One run per new folder of requests."""
    return arrivals(context, store, "requests", request_batches)


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    monitored_jobs=[promote, rollback],
    request_job=illustrate_volumes,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Draws a volume after a promotion or a rollback.",
)
def volume_after_promotion(context: dg.RunStatusSensorContext, store: StoreResource) -> dg.RunRequest | dg.SkipReason:
    """One volume for each change of the champion."""
    with failing_clearly():
        champion = published.current(store.clean, "promoted_generator")
    if champion is None:
        return dg.SkipReason("there is no champion to draw with")
    return dg.RunRequest(run_key=f"volumes:{context.dagster_run.run_id}")


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    monitored_jobs=[promote, rollback, label_scans, ingest_requests, illustrate_volumes],
    request_job=make_case_library,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Builds the case library anew after any job that publishes figures.",
)
def library_after_figures(context: dg.RunStatusSensorContext) -> dg.RunRequest:
    """One library for each run that published figures."""
    return dg.RunRequest(run_key=f"library:{context.dagster_run.run_id}")


ILLUSTRATION_JOBS = [train_illustrators, ingest_requests, illustrate_volumes, make_case_library]
ILLUSTRATION_SENSORS = [new_request_batches, volume_after_promotion, library_after_figures]
