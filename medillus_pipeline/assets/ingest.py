"""Restricted → clean: `deidentified_instances`. The only asset that opens delivered images."""

from collections import Counter
from collections.abc import Iterator

import dagster as dg

from medillus_pipeline import landings
from medillus_pipeline.assets.publishing import (
    counts_table,
    gate,
    in_words,
    progress_to,
    row_counts,
    table_metadata,
    what_to_do,
)
from medillus_pipeline.failures import RETRY, failing_clearly
from medillus_pipeline.partitions import deliveries
from medillus_pipeline.resources.compute import ComputeResource
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.tables import INSTANCES, LEDGER, TableStore

RESIDUAL = "residual_identifiers"


@dg.asset(
    partitions_def=deliveries,
    group_name="images",
    owners=["team:data-engineering"],
    kinds={"dicom", "parquet"},
    code_version="2",
    retry_policy=RETRY,
    metadata=table_metadata(INSTANCES),
    check_specs=[
        dg.AssetCheckSpec(
            "instances_gate",
            asset="deidentified_instances",
            description="Great Expectations suite `instances`: keys, pseudonyms, sizes. Blocks publication.",
            blocking=True,
            partitions_def=deliveries,
        ),
        dg.AssetCheckSpec(
            RESIDUAL,
            asset="deidentified_instances",
            description="No identifying value of a source was found in what was about to be written. A file with a hit "
            "is quarantined; the check names attribute and count, never the value.",
            partitions_def=deliveries,
        ),
    ],
)
def deidentified_instances(
    context: dg.AssetExecutionContext, store: StoreResource, compute: ComputeResource
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """De-identified DICOM instances of a delivery: PS3.15 Basic Profile with the options of the installation (modified
    dates by default), keyed pseudonyms, every file of the delivery accounted for in the vault's ledger.
    """
    from medillus_pipeline.deidentification.ingest import ingest_delivery
    from medillus_pipeline.deidentification.options import Option
    from medillus_pipeline.deidentification.policy_file import policy_summary
    from medillus_pipeline.deidentification.reidentification import entries_of
    from medillus_pipeline.dicom.outcomes import WHAT_TO_DO
    from medillus_pipeline.stewardship.records import refused_patients

    key = context.partition_key
    with failing_clearly(restricted=True):
        pseudonymiser = store.pseudonymiser()
        policy = store.policy()
        originals = store.reidentification_tables()
        with compute.executor(restricted=pseudonymiser.key) as executor:
            ingested = ingest_delivery(
                store.landing,
                landings.folder_of(store.vault, "images", key),
                store.clean,
                pseudonymiser,
                policy=policy,
                originals=originals is not None,
                refused=refused_patients(store.vault),
                workers=compute.workers,
                executor=executor,
                progress=progress_to(context, "files de-identified"),
            )
        if originals is not None:
            moved = Option.RETAIN_MODIFIED_DATES in policy.options
            originals.publish(f"images.{key}", entries_of(ingested.originals, pseudonymiser, dates_moved=moved))
        TableStore(store.vault).publish(LEDGER, f"images.{key}", LEDGER.to_arrow(ingested.ledger))
        table = INSTANCES.to_arrow(ingested.instances)
    hits = Counter({hit["attribute"]: hit["count"] for hit in ingested.residual_hits})
    yield dg.AssetCheckResult(
        check_name=RESIDUAL,
        passed=not hits,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"hits": counts_table(hits, heading="attribute")} if hits else {"hits": 0},
    )
    counts = in_words(ingested.counts)
    context.log.info(f"files of the delivery: {counts}")
    remarks = what_to_do(ingested.counts, WHAT_TO_DO)
    if remarks:
        context.log.warning(f"files left out: {remarks}. `medillus ledger {key}` lists them.")
    yield from gate(
        "instances",
        "instances_gate",
        table,
        advice=f"{ingested.nothing_published() or f'Files of the delivery: {counts}'}. `medillus ledger {key}` lists "
        "them, for who may read the vault.",
    )
    with failing_clearly(restricted=True):
        version = store.tables.publish(INSTANCES, key, table)
        _forward_annotations(store, key, ingested.annotation_objects)
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={
            **row_counts(table),
            "patients": len(set(table["patient"].to_pylist())),
            "series": len(set(table["series_instance_uid"].to_pylist())),
            "annotation_objects": len(ingested.annotation_objects),
            "files": counts_table(ingested.counts, advice=WHAT_TO_DO),
            "bytes": sum(table["bytes"].to_pylist()),
            "deidentification": policy_summary(policy),
        },
    )


def _forward_annotations(store: StoreResource, key: str, objects: list[tuple[str, bytes]]) -> None:
    """RTSTRUCT and SEG objects found among images become an annotation batch of their own, named after the delivery."""
    if not objects:
        return
    folder = f"from-{key}"
    for name, data in objects:
        store.landing.write(f"annotations/{folder}/{name}", data)
    marker = {"label": f"from-{key}"[:41], "synthetic": landings.is_synthetic(store.landing, store.vault, key)}
    landings.close(store.landing, "annotations", folder, marker)
