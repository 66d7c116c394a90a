"""`masks`: from annotators' files to label maps on published slices, with a receipt for every submitted item."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from medillus_pipeline import landings
from medillus_pipeline.assets.imaging import slices
from medillus_pipeline.assets.publishing import (
    counts_table,
    gate,
    picture,
    progress_to,
    row_counts,
    rows_without_partition,
    table_metadata,
    what_to_do,
)
from medillus_pipeline.failures import RETRY, failing_clearly
from medillus_pipeline.partitions import annotation_batches
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.tables import LEDGER, MASK_ITEMS, MASKS, SLICES, TableStore

EXPECTED = ("accepted", "planning_target", "union_of_parts")
"""Outcomes that need nobody's attention: margins of a treatment plan, and unions of organs that are there already."""
NO_ITEM = "The batch holds no annotation: put the files in the folder before closing it"
SLICES_SEEN = "slices_seen"
"""Metadata of a materialization: storage id of the newest slices event when the batch was read."""


@dg.asset(
    partitions_def=annotation_batches,
    deps=[dg.AssetDep(slices, partition_mapping=dg.AllPartitionMapping())],
    group_name="annotations",
    owners=["team:annotation"],
    kinds={"png", "parquet"},
    code_version="1",
    retry_policy=RETRY,
    metadata=table_metadata(MASKS),
    check_specs=[
        dg.AssetCheckSpec(
            "masks_gate",
            asset="masks",
            description="Great Expectations suite `masks`: keys, sizes, labels in the vocabulary. Blocks publication.",
            blocking=True,
            partitions_def=annotation_batches,
        ),
        dg.AssetCheckSpec(
            "items_accepted",
            asset="masks",
            description="Every submitted structure was accepted, or is one that label maps leave out on purpose. Warns "
            "when some are pending or refused; the receipt (table mask_items) says which and why.",
            partitions_def=annotation_batches,
        ),
    ],
)
def masks(
    context: dg.AssetExecutionContext, store: StoreResource
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """One label PNG per slice, annotator and revision, in the vocabulary, from LabelMe, RTSTRUCT and NIfTI."""
    from medillus_pipeline.annotation import vocabulary
    from medillus_pipeline.annotation.batch import read_batch
    from medillus_pipeline.annotation.outcomes import MEANINGS
    from medillus_pipeline.annotation.overlay import overlay_sheet
    from medillus_pipeline.dicom.preview import thumbnail

    key = context.partition_key
    with failing_clearly(restricted=True):
        words = vocabulary.load()
        seen = latest_storage_id(context.instance, slices)
        present = set(store.tables.keys(MASKS))
        former = [other for other in landings.landed_before(store.vault, "annotations", key) if other in present]
        published_slices = store.tables.read_all(SLICES)
        known_slices = rows_without_partition(published_slices)
        batch = read_batch(
            store.landing,
            landings.folder_of(store.vault, "annotations", key),
            known_slices,
            store.clean,
            store.pseudonymiser(),
            words,
            rows_without_partition(store.tables.read_all(MASKS, former)),
            progress=progress_to(context, "items read"),
        )
        TableStore(store.vault).publish(LEDGER, f"annotations.{key}", LEDGER.to_arrow(batch.ledger))
        table = MASKS.to_arrow(batch.masks)
        # The receipt is for the annotators also, and above all, when the gate refuses the batch.
        store.tables.publish(MASK_ITEMS, key, MASK_ITEMS.to_arrow(batch.items))
    advice = {str(reason): meaning for reason, meaning in MEANINGS.items()}
    refused = {name: count for name, count in batch.counts.items() if name not in EXPECTED}
    remarks = what_to_do(refused, advice)
    if remarks:
        context.log.warning(f"not everything was accepted: {remarks}. `medillus receipt {key}` lists the items.")
    yield dg.AssetCheckResult(
        check_name="items_accepted",
        passed=not refused,
        severity=dg.AssetCheckSeverity.WARN,
        description=remarks or "nothing was refused and nothing is pending",
        metadata={"items": counts_table(batch.counts, advice=advice), **_unknown_labels(batch.unknown_labels)},
    )
    pending_only = not batch.masks and any(item["outcome"] == "pending" for item in batch.items)
    if pending_only:
        context.log.warning("every item waits for its slices; the batch is tried again when a delivery is published")
        yield dg.AssetCheckResult(
            check_name="masks_gate",
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"pending": "no mask yet: the slices of this batch are not published"},
        )
    else:
        yield from gate(
            "masks",
            "masks_gate",
            table,
            advice=f"{what_to_do(batch.counts, advice) or NO_ITEM}. `medillus receipt {key}` lists the items.",
            related={"slices": published_slices},
        )
    with failing_clearly(restricted=True):
        version = store.tables.publish(MASKS, key, table)
        preview = {}
        if batch.masks:
            sheet = overlay_sheet(batch.masks, known_slices, store.clean, words)
            preview = picture(store.clean, "previews", sheet, thumbnail=thumbnail(sheet))
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={
            **row_counts(table),
            "items": counts_table(batch.counts),
            "structures": len({label for labels in table["labels"].to_pylist() for label in labels}),
            "vocabulary": words.version,
            SLICES_SEEN: seen,
            **preview,
        },
    )


def _unknown_labels(found: list[dict[str, Any]]) -> dict[str, dg.MarkdownMetadataValue]:
    """How many names of an item the vocabulary does not know, and which structures come closest."""
    if not found:
        return {}
    lines = ["| item | unknown names | closest structures |", "| --- | ---: | --- |"]
    lines += [f"| {row['item']} | {row['labels']} | {', '.join(row['suggestions']) or 'none'} |" for row in found]
    return {"unknown_labels": dg.MetadataValue.md("\n".join(lines))}


def latest_storage_id(instance: dg.DagsterInstance, asset: dg.AssetsDefinition) -> int:
    """Storage id of the newest materialization of an asset; 0 when there is none."""
    records = instance.fetch_materializations(asset.key, limit=1).records
    return records[0].storage_id if records else 0


def slices_seen(instance: dg.DagsterInstance, key: str) -> int:
    """Storage id of the newest slices event that the batch's last publication knew of; 0 when there is no such."""
    newest = dg.AssetRecordsFilter(asset_key=masks.key, asset_partitions=[key])
    for record in instance.fetch_materializations(newest, limit=1).records:
        value = record.asset_materialization.metadata.get(SLICES_SEEN) if record.asset_materialization else None
        if isinstance(value, dg.IntMetadataValue) and value.value is not None:
            return value.value
    return 0
