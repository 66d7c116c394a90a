"""`masks`: from annotators' files to label maps on published slices, with a receipt for every submitted item."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

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
from medillus_pipeline.tables import (
    LEDGER,
    MASK_AGREEMENT,
    MASK_FINDINGS,
    MASK_ITEMS,
    MASK_LAYERS,
    MASKS,
    SLICES,
    STUDY_LABELS,
    Table,
    TableStore,
)
from medillus_pipeline.zones import Zone

if TYPE_CHECKING:
    import pyarrow as pa

    from medillus_pipeline.annotation.batch import Batch
    from medillus_pipeline.annotation.vocabulary import Vocabulary

Rows = Sequence[Mapping[str, Any]]
EXPECTED = ("accepted", "planning_target", "union_of_parts", "submitted_before", "corrected", "not_an_annotation")
"""Outcomes that need nobody's attention: margins of a treatment plan and unions of organs that are there already, which
are kept as layers, masks that were handed in once more without a change, images that came along.
"""
NO_ITEM = "The batch holds no annotation: put the files in the folder before closing it"
SLICES_SEEN = "slices_seen"
"""Metadata of a materialization: storage id of the newest slices event when the batch was read."""


class MasksConfig(dg.Config):
    """How strictly drawings are judged."""

    warn_only: list[str] = Field(
        default=[],
        description="Findings that take nothing off and only warn: sides_swapped, outside_body, wrong_tissue. For a "
        "batch whose patients really are so (a lung that is all fluid).",
    )


@dg.asset(
    partitions_def=annotation_batches,
    deps=[dg.AssetDep(slices, partition_mapping=dg.AllPartitionMapping())],
    group_name="annotations",
    owners=["team:annotation"],
    kinds={"png", "parquet"},
    code_version="2",
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
            "mask_tables_gate",
            asset="masks",
            description="Great Expectations suites of the tables beside the masks that have rows: layers, findings, "
            "agreement, labels of studies. Blocks publication.",
            blocking=True,
            partitions_def=annotation_batches,
        ),
        dg.AssetCheckSpec(
            "masks_plausible",
            asset="masks",
            description="Place, side, tissue, size and shape of every structure are plausible. Warns; what was surely "
            "wrong was refused (table mask_findings).",
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
    context: dg.AssetExecutionContext, config: MasksConfig, store: StoreResource
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """One label PNG per slice, annotator and revision, in the vocabulary, from LabelMe, RTSTRUCT, DICOM SEG, NIfTI,
    NRRD and PNG; what a label map cannot hold as layers, labels of studies, findings, and how far readers agree.
    """
    from medillus_pipeline.annotation.batch import read_batch
    from medillus_pipeline.annotation.outcomes import MEANINGS
    from medillus_pipeline.annotation.plausibility.findings import FindingKind
    from medillus_pipeline.annotation.publication import Existing
    from medillus_pipeline.annotation.review.second_readers import agreement_of_batch, on_the_same_series
    from medillus_pipeline.annotation.submission import Submission
    from medillus_pipeline.dicom.slice_values import SliceValues

    key = context.partition_key
    with failing_clearly(restricted=True):
        words = store.vocabulary()
        seen = latest_storage_id(context.instance, slices)
        former = landings.landed_before(store.vault, "annotations", key)
        published_slices = store.tables.read_all(SLICES)
        known_slices = rows_without_partition(published_slices)
        row_of = {row["slice_name"]: row for row in known_slices}
        pseudonymiser, values = store.pseudonymiser(), SliceValues(store.clean, padding=float("nan"))
        root = f"annotations/{landings.folder_of(store.vault, 'annotations', key)}"
        batch = read_batch(
            Submission(store.landing, root, known_slices, pseudonymiser, words, pseudonymiser),
            store.clean,
            Existing(
                *(_rows_of(store.tables, table, former) for table in (MASKS, MASK_LAYERS, STUDY_LABELS)),
                arrival=len(former) + 1,
            ),
            values=lambda target: values.hounsfield(row_of[target.slice_name]),
            warn_only=[FindingKind(kind) for kind in config.warn_only],
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
    yield _plausible(batch)
    nothing_yet = _why_no_mask(batch) if not batch.masks else ""
    if nothing_yet:
        context.log.warning(nothing_yet)
        yield dg.AssetCheckResult(
            check_name="masks_gate", passed=False, severity=dg.AssetCheckSeverity.WARN, description=nothing_yet
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
        others = on_the_same_series(batch.masks, _rows_of(store.tables, MASKS, former), known_slices)
        agreement = agreement_of_batch(batch.masks, others, known_slices, store.clean.read, words)
        beside = {
            MASK_LAYERS: MASK_LAYERS.to_arrow(batch.layers),
            MASK_FINDINGS: MASK_FINDINGS.to_arrow(batch.findings),
            MASK_AGREEMENT: MASK_AGREEMENT.to_arrow(agreement),
            STUDY_LABELS: STUDY_LABELS.to_arrow(batch.labels),
        }
    yield from _gate_beside(beside, published_slices)
    with failing_clearly(restricted=True):
        for of, rows in beside.items():
            store.tables.publish(of, key, rows)
        version = store.tables.publish(MASKS, key, table)
        shown = _shown(key, batch, known_slices, agreement, others, store.clean, words)
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={
            **row_counts(table),
            "items": counts_table(batch.counts),
            "structures": _structures(batch, words),
            "layers": len(batch.layers),
            "findings": counts_table(dict(Counter(row["finding"] for row in batch.findings)), heading="finding"),
            "study_labels": len(batch.labels),
            "readers_compared": len({(row["annotator_a"], row["annotator_b"]) for row in agreement}),
            "vocabulary": words.version,
            SLICES_SEEN: seen,
            **shown,
        },
    )


def _gate_beside(tables: "Mapping[Table, pa.Table]", published_slices: "pa.Table") -> Iterator[dg.AssetCheckResult]:
    """Audit the tables beside the masks, before any of them is published: those with rows, for most batches lack some.

    Raises `dg.Failure` without retries when one of them does not hold.
    """
    from medillus_pipeline.quality.gate import audit, check_result, together

    related = {"slices": published_slices.to_pandas(use_threads=False)}
    filled = {of.name: rows.to_pandas(use_threads=False) for of, rows in tables.items() if rows.num_rows}
    if not filled:
        said = "no layers, findings, comparisons or labels of studies"
        yield dg.AssetCheckResult(passed=True, check_name="mask_tables_gate", description=said)
        return
    outcome = together("mask_tables", (audit(name, frame, related=related) for name, frame in filled.items()))
    yield check_result(outcome, check_name="mask_tables_gate")
    if not outcome.passed:
        raise dg.Failure(
            f"the gate mask_tables_gate does not hold ({', '.join(outcome.broken)}); nothing was published and the "
            "previous version stays in force. This is a fault of the pipeline, not of the batch: report it.",
            allow_retries=False,
        )


def _plausible(batch: "Batch") -> dg.AssetCheckResult:
    """The check that says what is odd about the structures; what was surely wrong is in the receipt too."""
    from medillus_pipeline.annotation.plausibility.findings import ADVICE

    counts = Counter(row["finding"] for row in batch.findings)
    advice = {str(kind): said for kind, said in ADVICE.items()}
    return dg.AssetCheckResult(
        check_name="masks_plausible",
        passed=not counts,
        severity=dg.AssetCheckSeverity.WARN,
        description=what_to_do(counts, advice) or "nothing is odd about any structure",
        metadata={"findings": counts_table(counts, heading="finding", advice=advice)},
    )


def _shown(
    key: str, batch: "Batch", known: Rows, agreement: Rows, others: Rows, clean: Zone, words: "Vocabulary"
) -> dict[str, dg.MetadataValue]:
    """The overlays and the page of a batch, as metadata."""
    from medillus_pipeline.annotation.review.batch_report import build_batch_report
    from medillus_pipeline.annotation.review.batch_summary import BatchRows
    from medillus_pipeline.annotation.review.overlay import overlay_sheet
    from medillus_pipeline.dicom.preview import thumbnail

    rows = BatchRows(batch.masks, batch.items, known, agreement, others, batch.findings)
    page = clean.put("reports", build_batch_report(key, rows, clean.read, words).encode(), ".html")
    shown: dict[str, dg.MetadataValue] = {"report": dg.MetadataValue.url(f"{clean.url}/{page.path}")}
    if batch.masks:
        sheet = overlay_sheet(batch.masks, known, clean, words, findings=batch.findings, agreement=agreement)
        shown |= picture(clean, "previews", sheet, thumbnail=thumbnail(sheet))
    return shown


def _structures(batch: "Batch", words: "Vocabulary") -> dg.MarkdownMetadataValue:
    """On how many slices each structure is, as a table."""
    found = Counter(words.by_id(label).key for row in batch.masks for label in row["labels"])
    return counts_table(found, heading="structure")


def _rows_of(tables: TableStore, table: Table, keys: list[str]) -> Iterator[dict[str, Any]]:
    """Rows of some partitions, one partition in memory at a time."""
    for key in sorted(set(keys) & set(tables.keys(table))):
        yield from tables.read(table, key).to_pylist()


def _why_no_mask(batch: "Batch") -> str:
    """Why a batch without a mask is in order; empty where it is not."""
    outcomes = {item["outcome"] for item in batch.items}
    if "pending" in outcomes:
        return "no mask yet: items wait for their slices; the batch is tried again when a delivery is published"
    if "kept" in outcomes:
        return "no new mask: what was handed in is in force already, or is kept as layers only"
    return "no mask: the batch holds labels of studies" if batch.labels else ""


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
