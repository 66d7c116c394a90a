"""The whole flow in one process: what the sensors and the daemon do, done once, from landing to figures.

Each stage is the very job that the UI shows, executed on the same instance, so its runs, checks and pictures are there
afterwards. A stage that was done before is not done again: a killed flow is resumed by starting it again.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from medillus_pipeline import landings, published
from medillus_pipeline.assets.annotation import masks
from medillus_pipeline.assets.illustration import labelled_scans
from medillus_pipeline.assets.imaging import slices
from medillus_pipeline.assets.requested import requested_illustrations
from medillus_pipeline.assets.reviews import reviews
from medillus_pipeline.automation.illustrations import illustrate_volumes, ingest_requests, make_case_library
from medillus_pipeline.automation.jobs import ingest_annotations, ingest_delivery, label_scans, promote, retrain
from medillus_pipeline.automation.reviews import ingest_reviews
from medillus_pipeline.automation.sensors import unchanged
from medillus_pipeline.definitions import build_defs
from medillus_pipeline.partitions import annotation_batches, deliveries, request_batches, review_batches
from medillus_pipeline.resources import promotions
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.settings import Settings
from medillus_pipeline.tables import ILLUSTRATIONS, MASK_ITEMS, MASKS

Say = Callable[[str], None]
RunConfigs = Mapping[str, Mapping[str, Any]]
"""Job name → run config."""


@dataclass(frozen=True)
class StageRun:
    """One executed job: its name, partition key, seconds, checks that did not pass, and what went wrong.

    `pictures` maps an asset to the URL of the picture that its materialization links to.
    """

    job: str
    partition: str | None
    seconds: float
    failed_checks: tuple[str, ...]
    failure: str | None
    asset_seconds: Mapping[str, float]
    checks: Mapping[str, bool]
    pictures: Mapping[str, str]


@dataclass
class Flow:
    """What a flow did, stage by stage; `remark` says what training needs, where there is too little for it."""

    runs: list[StageRun] = field(default_factory=list)
    remark: str | None = None

    @property
    def failures(self) -> list[StageRun]:
        """Runs that failed, in order."""
        return [run for run in self.runs if run.failure]


def run_all(settings: Settings, instance: dg.DagsterInstance, *, say: Say, configs: RunConfigs | None = None) -> Flow:
    """Ingest what is new in landing, train when anything changed, promote, and illustrate.

    As long as no generator was promoted, figures of the real scans are made instead. With too little data to train on,
    `Flow.remark` says what training needs. A failed stage is reported; stages that do not depend on it go on.
    """
    store = StoreResource.of(settings)
    runner = _Runner(build_defs(settings, loggers={"console": _telling(say)}), instance, say, configs or {})
    flow = Flow()
    _arrive(store, instance, "images", deliveries)
    for key in _to_do(instance, deliveries, slices):
        flow.runs.append(runner(ingest_delivery, key))
    _arrive(store, instance, "annotations", annotation_batches)
    batches = _to_do(instance, annotation_batches, masks)
    waiting = [key for key in store.tables.keys(MASK_ITEMS) if key not in batches and _is_pending(store, key)]
    for key in landings.in_landing_order(store.vault, "annotations"):  # an earlier batch's masks are revised by a later
        if key in batches or key in waiting:
            flow.runs.append(runner(ingest_annotations, key))

    reason = unchanged(store)
    if reason is None:
        flow.runs.append(runner(retrain))
        trained = flow.runs[-1].failure is None
    else:
        say(f"no training: {reason}")
        trained = published.current(store.clean, "generator_checkpoint") is not None
        flow.remark = None if trained else reason
    _arrive(store, instance, "reviews", review_batches)
    for key in _to_do(instance, review_batches, reviews):
        flow.runs.append(runner(ingest_reviews, key))
    waits = promotions.not_promoted_by_itself(store.clean, settings.profile) if trained else None
    if waits is not None:
        say(f"no promotion: {waits}")
    elif trained:
        flow.runs.append(runner(promote))
    _arrive(store, instance, "requests", request_batches)
    if published.current(store.clean, "promoted_generator") is not None:
        for key in _to_do(instance, request_batches, requested_illustrations):
            flow.runs.append(runner(ingest_requests, key))
        flow.runs.append(runner(illustrate_volumes))
    else:
        for key in _to_do(instance, annotation_batches, labelled_scans):
            if key in store.tables.keys(MASKS) and store.tables.read(MASKS, key).num_rows:
                flow.runs.append(runner(label_scans, key))
    if store.tables.keys(ILLUSTRATIONS):
        flow.runs.append(runner(make_case_library))
    return flow


@dataclass(frozen=True)
class _Runner:
    definitions: dg.Definitions
    instance: dg.DagsterInstance
    say: Say
    configs: RunConfigs

    def __call__(self, job: Any, partition: str | None = None) -> StageRun:
        began = time.monotonic()
        self.say(f"{job.name}{f' of {partition}' if partition else ''} …")
        result = self.definitions.resolve_job_def(job.name).execute_in_process(
            instance=self.instance,
            partition_key=partition,
            run_config={"loggers": {"console": {}}, **self.configs.get(job.name, {})},
            raise_on_error=False,
        )
        checks = {}
        for evaluation in result.get_asset_check_evaluations():
            checks[evaluation.check_name] = evaluation.passed
        return StageRun(
            job=job.name,
            partition=partition,
            seconds=time.monotonic() - began,
            failed_checks=tuple(sorted(name for name, passed in checks.items() if not passed)),
            failure=None if result.success else failure_of(result),
            asset_seconds=_step_seconds(result),
            checks=checks,
            pictures=_pictures(result),
        )


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """What went wrong first, in its own words: one clear message. A step that was retried tells of its last attempt."""
    attempt = None
    for event in result.all_events:
        if event.is_step_up_for_retry:
            attempt = event.step_retry_data.error
        elif event.is_step_failure:
            data = event.step_failure_data
            if data.user_failure_data and data.user_failure_data.description:
                return data.user_failure_data.description
            error = attempt or data.error
            while error is not None and error.cause is not None:
                error = error.cause
            return error.message.strip() if error else "the step failed without a message"
    return "the run failed before its first step"


def _pictures(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    return {
        event.asset_key.to_user_string(): str(event.materialization.metadata["picture"].value)
        for event in result.get_asset_materialization_events()
        if event.asset_key and "picture" in event.materialization.metadata
    }


def _step_seconds(result: dg.ExecuteInProcessResult) -> dict[str, float]:
    return {
        str(event.step_key): event.step_success_data.duration_ms / 1000
        for event in result.all_events
        if event.is_step_success
    }


def _arrive(
    store: StoreResource, instance: dg.DagsterInstance, kind: landings.Kind, partitions: dg.DynamicPartitionsDefinition
) -> None:
    """What the landing sensor does: register new folders and add their keys."""
    landings.register(store.landing, store.vault, store.pseudonymiser(), kind)
    assert partitions.name is not None
    instance.add_dynamic_partitions(partitions.name, landings.known_keys(store.vault, kind))


def _to_do(
    instance: dg.DagsterInstance, partitions: dg.DynamicPartitionsDefinition, asset: dg.AssetsDefinition
) -> list[str]:
    """Partition keys of which the asset was never materialized."""
    assert partitions.name is not None
    done = instance.get_materialized_partitions(asset.key)
    return sorted(key for key in instance.get_dynamic_partitions(partitions.name) if key not in done)


def _is_pending(store: StoreResource, key: str) -> bool:
    return "pending" in store.tables.read(MASK_ITEMS, key)["outcome"].to_pylist()


class _Telling(logging.Handler):
    """Hands what steps say (neither Dagster's events nor its remarks on the plan) to a callback."""

    def __init__(self, say: Say) -> None:
        super().__init__(logging.INFO)
        self.say = say

    def emit(self, record: logging.LogRecord) -> None:
        meta = getattr(record, "dagster_meta", {})
        text = meta.get("orig_message", record.getMessage())
        if meta.get("dagster_event") is None and not text.startswith("Dependencies for step"):
            self.say(text)


def _telling(say: Say) -> dg.LoggerDefinition:
    def make(_context: dg.InitLoggerContext) -> logging.Logger:
        logger = logging.Logger("medillus.flow", logging.INFO)
        logger.addHandler(_Telling(say))
        return logger

    return dg.LoggerDefinition(make, description="Hands what the steps say to the terminal of the flow.")
