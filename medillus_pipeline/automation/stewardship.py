"""Jobs that take back and tidy up: `retract`, `withdraw_patient`, `housekeeping`, and the sensor of what follows.

Run config is stored and shown, so it holds a partition key or the name of a request in the vault, never a pseudonym.
What each act does is in `stewardship/`; here it meets Dagster and MLflow.
"""

import json
import shutil
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from medillus_pipeline.assets.promotion import registry_of
from medillus_pipeline.automation import event_traces
from medillus_pipeline.automation.jobs import ingest_annotations, retrain
from medillus_pipeline.automation.sensors import unchanged
from medillus_pipeline.errors import PermanentError
from medillus_pipeline.failures import RETRY, failing_clearly
from medillus_pipeline.partitions import annotation_batches, deliveries
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.tables import INSTANCES, MASKS, SLICES, VOLUMES, TableStore
from medillus_pipeline.zones import Zone

if TYPE_CHECKING:
    from medillus_pipeline.stewardship.subject import Belongings

OF_DELIVERIES = {"deidentified_instances": INSTANCES, "slices": SLICES, "volumes": VOLUMES}
OF_BATCHES = {"masks": MASKS, "labelled_scans": None}
OF_MODELS = ("training_dataset", "anatomical_prior", "generator_checkpoint", "validation_report", "review_tasks")
"""Assets without partitions whose events show images of a snapshot."""
FIGURES = "illustrations"
HANDLED = 200
"""Names that the sensor's cursor remembers."""
UNDER_WAY = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
REASON = "trained on data of a patient who was withdrawn"


class RetractConfig(dg.Config):
    """What is taken back."""

    key: str = Field(description="Partition key of a delivery or of an annotation batch.")


class WithdrawConfig(dg.Config):
    """Who is withdrawn."""

    request: str = Field(description="Name of the request in the vault, as `medillus withdraw` made it.")


class HousekeepingConfig(dg.Config):
    """What is tidied up, and whether it is."""

    remove: bool = Field(default=False, description="Really remove what is found; otherwise it is only told.")
    grace_days: float = Field(default=7.0, ge=1, le=365, description="Days for which nothing unnamed is touched.")
    landing_retention_days: float | None = Field(
        default=None, ge=1, description="Days after arrival at which ingested landing files go; unset: they stay."
    )


@dg.op(retry_policy=RETRY)
def take_back(context: dg.OpExecutionContext, config: RetractConfig, store: StoreResource) -> None:
    """Retract a partition, and the batch of annotation objects that was found in it."""
    from medillus_pipeline.stewardship import records
    from medillus_pipeline.stewardship.references import reachable
    from medillus_pipeline.stewardship.retraction import kind_of, retract

    with failing_clearly(restricted=True):
        waiting, again = [config.key], set[str]()
        while waiting:
            key = waiting.pop(0)
            kind = kind_of(store.vault, key)
            assets = OF_DELIVERIES if kind == "images" else OF_BATCHES
            seen = event_traces.told(context.instance, {name: [key] for name in assets})["payloads"]
            done = retract(
                store.vault,
                store.clean,
                key,
                run_id=context.run_id,
                signing_key=store.pseudonymiser().key,
                seen=seen,
            )
            partitions = deliveries if kind == "images" else annotation_batches
            context.instance.delete_dynamic_partition(str(partitions.name), key)
            pages = event_traces.told(context.instance, {"masks": done.changed})["payloads"]
            for path in sorted(pages - reachable(store.clean)) if done.changed else ():
                store.clean.remove(path)  # overlays that show slices which are gone
            for batch in done.changed:
                version = store.tables.version(MASKS, batch)
                event_traces.report(context.instance, "masks", batch, version=version, act="retraction")
            again |= set(done.read_again)
            waiting += done.also
            rows = ", ".join(f"{count} of {table}" for table, count in done.record["rows"].items())
            context.log.info(f"{key} was retracted: rows {rows or 'none'}, {done.record['payloads']} payloads")
        follow = {"read_again": sorted(again), "retrain": True}
        records.write(store.vault, "follow_ups", f"retract.{config.key}", "todo", follow)
    context.log.info("retraining follows by itself; without a daemon, `medillus run-all` does it")


@dg.op(retry_policy=RETRY)
def withdraw(
    context: dg.OpExecutionContext, config: WithdrawConfig, store: StoreResource, mlflow: MLflowResource
) -> None:
    """Withdraw the patient of a request; done again, it goes on where it was."""
    from medillus_pipeline.resources import revocation
    from medillus_pipeline.stewardship import records, withdrawal

    name, vault, clean, instance = config.request, store.vault, store.clean, context.instance
    with failing_clearly(restricted=True):
        if records.read(vault, "withdrawals", name, "record") is not None:
            withdrawal.forget_plan(vault, name)
            context.log.info("this withdrawal is done, and its record stands in the vault")
            return
        if others := [
            run for run in instance.get_runs(dg.RunsFilter(statuses=UNDER_WAY)) if run.run_id != context.run_id
        ]:
            raise PermanentError(
                f"{len(others)} other runs are in progress, and what they hold in memory would outlive this one: wait "
                "until they are done, or stop them, then execute this run again"
            )
        patient = withdrawal.requested(vault, name)
        records.refuse_patient(vault, patient)
        leaving = withdrawal.plan(vault, clean, name)
        versions = revocation.learned_from(mlflow, leaving.fingerprints)
        found = {**_told(instance, leaving), "versions": versions, "figures": leaving.figures}
        told = withdrawal.remember(vault, name, found)
        champion = revocation.revoke(registry_of(store, mlflow), told["versions"], run_id=context.run_id, reason=REASON)
        runs = revocation.runs_on(mlflow, leaving.fingerprints)
        pictures = revocation.remove_pictures(runs)
        removed, lines = withdrawal.clear_landing(
            store.landing, vault, clean, store.pseudonymiser(), patient, leaving
        )  # before the tables: they tell whose the others' files are
        withdrawal.clear_tables(clean, leaving)
        embedding = told["payloads"] - _still_linked(clean, leaving)
        payloads = withdrawal.clear_payloads(clean, leaving, embedding)
        event_traces.purge(instance, told["runs"], (*OF_MODELS, FIGURES) if leaving.fingerprints else ())
        _report_anew(instance, store.tables, leaving)
        if leaving.fingerprints:
            shutil.rmtree(Path(store.work) / "training", ignore_errors=True)
        event_traces.compact(Path(instance.root_directory))
        left = [
            *withdrawal.left_in_clean_zone(clean, leaving, embedding),
            *withdrawal.left_in_files(Path(store.work), leaving),
            *withdrawal.left_in_files(Path(instance.root_directory), leaving, told["previews"]),
            *event_traces.left_in_dagster(instance, {*leaving.names, *told["previews"]}),
            *revocation.left_in_mlflow(mlflow, runs, leaving.names),
        ]
        if left:
            raise PermanentError(
                f"{len(left)} places still hold something of the patient: a run wrote while this one removed. Wait "
                "until no other run is in progress, then execute this run again; it goes on where it was"
            )
        records.write(vault, "follow_ups", f"withdraw.{name}", "todo", {"read_again": [], "retrain": True})
        record = withdrawal.finish(
            vault,
            name,
            store.pseudonymiser().key,
            {
                "act": "withdraw",
                "patient": patient,
                "by": context.run_id,
                "at": records.now(),
                "rows": leaving.rows,
                "payloads": len({*leaving.theirs, *leaving.shared, *embedding}),
                "landing": removed.counts(),
                "ledger_rows": lines,
                "mlflow_picture_folders": pictures,
                "dagster_runs": len(told["runs"]),
                "versions_revoked": sorted(told["versions"], key=int),
                "champion": champion,
                "figures_to_recall": sorted(told["figures"]),
                "left": 0,
            },
        )
    context.log.info(
        f"withdrawn: {sum(record['rows'].values())} rows, {payloads} payloads, {record['landing']['files']} landing "
        f"files; versions revoked: {', '.join(record['versions_revoked']) or 'none'}; "
        f"champion now: {champion or 'none'}; figures to recall: {', '.join(record['figures_to_recall']) or 'none'}. "
        "Retraining follows by itself; without a daemon, `medillus run-all` does it"
    )
    if record["landing"]["to_look_at"]:
        context.log.warning(
            f"{record['landing']['to_look_at']} files in landing may name the patient among others and were left: "
            "an encrypted or damaged archive, or an annotator's file on several patients. Look at them by hand"
        )


@dg.op(retry_policy=RETRY)
def tidy_up(
    context: dg.OpExecutionContext, config: HousekeepingConfig, store: StoreResource, mlflow: MLflowResource
) -> None:
    """Find what nobody names, tell it, and remove it when asked to."""
    from medillus_pipeline.resources.model_payloads import named_by_models
    from medillus_pipeline.stewardship import housekeeping, records

    grace = timedelta(days=config.grace_days)
    with failing_clearly(restricted=True):
        landing, vault, clean = store.landing, store.vault, store.clean
        roots = named_by_models(mlflow) | event_traces.linked(context.instance)
        found = [
            *housekeeping.orphans(clean, grace=grace, roots=roots),
            *housekeeping.checkpoints(Path(store.work), grace=grace),
            *housekeeping.unfinished((clean, vault, landing), grace=grace),
        ]
        if config.landing_retention_days is not None:
            retention = timedelta(days=config.landing_retention_days)
            found += housekeeping.past_retention(landing, vault, clean, retention=retention)
        totals = housekeeping.summary(found)
        freed = housekeeping.remove(found, clean=clean, landing=landing, still=roots) if config.remove else 0
        document = {
            "act": "housekeeping",
            "by": context.run_id,
            "at": records.now(),
            "removed": config.remove,
            "found": totals,
            "bytes": freed,
        }
        signed = records.sign(store.pseudonymiser().key, document)
        records.write(vault, "housekeeping", records.new_name(), "record", signed)
    lines = ["| kind | objects | bytes |", "| --- | ---: | ---: |"]
    lines += [f"| {kind} | {of['objects']} | {of['bytes']} |" for kind, of in totals.items()]
    context.add_output_metadata({"found": dg.MetadataValue.md("\n".join(lines)), "removed": config.remove})
    total = sum(of["bytes"] for of in totals.values())
    said = ", ".join(f"{of['objects']} {kind} ({of['bytes']} bytes)" for kind, of in totals.items()) or "nothing"
    verb = f"removed, {freed} bytes freed" if config.remove else f"would be removed, {total} bytes; a dry run"
    context.log.info(f"{said}: {verb}")


@dg.job(name="retract", description="Take back a delivery or an annotation batch with what it made.")
def retract_job() -> None:
    """One retraction."""
    take_back()


@dg.job(name="withdraw_patient", description="Remove a patient everywhere, by a request that stands in the vault.")
def withdraw_patient() -> None:
    """One withdrawal."""
    withdraw()


@dg.job(name="housekeeping", description="Find what nobody names any more; a dry run unless asked otherwise.")
def housekeeping_job() -> None:
    """One round."""
    tidy_up()


@dg.sensor(
    jobs=[ingest_annotations, retrain],
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="After a retraction or a withdrawal: reads batches again that depended on it, and retrains.",
)
def after_stewardship(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult | dg.SkipReason:
    """What each finished act asks for, once."""
    from medillus_pipeline.stewardship import records

    with failing_clearly(restricted=True):
        handled = list(json.loads(context.cursor or "[]"))
        new = [name for name in records.names(store.vault, "follow_ups", "todo") if name not in handled]
        if not new:
            return dg.SkipReason("nothing was retracted or withdrawn since the last look")
        requests = []
        for name in new:
            todo = records.read(store.vault, "follow_ups", name, "todo") or {}
            for batch in todo.get("read_again", ()):
                run_key = f"{name}:{batch}"
                requests.append(dg.RunRequest(run_key, job_name=ingest_annotations.name, partition_key=batch))
        if unchanged(store) is None:
            requests.append(dg.RunRequest(f"stewardship:{new[-1]}", job_name=retrain.name))
    return dg.SensorResult(run_requests=requests, cursor=json.dumps([*handled, *new][-HANDLED:]))


def _told(instance: dg.DagsterInstance, leaving: "Belongings") -> dict[str, set[str]]:
    """What events tell of their partitions; of snapshots and models only the pictures, for the rest is in documents."""
    shown: dict[str, Iterable[str] | None] = {
        **dict.fromkeys(OF_DELIVERIES, leaving.deliveries),
        **dict.fromkeys(OF_BATCHES, leaving.batches),
    }
    of_parts = event_traces.told(instance, shown)
    of_models = event_traces.told(instance, dict.fromkeys((*OF_MODELS, FIGURES)) if leaving.fingerprints else {})
    pictures = {path for path in of_models.pop("payloads") if path.startswith("previews/")}
    return {kind: of_parts[kind] | of_models.get(kind, pictures) for kind in of_parts}


def _still_linked(clean: Zone, leaving: "Belongings") -> set[str]:
    """Linked payloads that others' rows name: pictures of a figure that stays."""
    from medillus_pipeline.stewardship.references import in_force

    return in_force(clean) - set(leaving.theirs)


def _report_anew(instance: dg.DagsterInstance, tables: TableStore, leaving: "Belongings") -> None:
    """The partitions of which runs were deleted, as they are now."""
    for keys, assets in ((leaving.deliveries, OF_DELIVERIES), (leaving.batches, OF_BATCHES)):
        for key in keys:
            for asset, table in assets.items():
                version = None if table is None else tables.version(table, key)
                event_traces.report(instance, asset, key, version=version, act="withdrawal")


STEWARDSHIP_JOBS = [retract_job, withdraw_patient, housekeeping_job]
STEWARDSHIP_SENSORS = [after_stewardship]
