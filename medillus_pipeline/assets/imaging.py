"""`slices`: what an eye can look at, with its geometry."""

from collections import Counter
from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from medillus_pipeline.assets.ingest import deidentified_instances
from medillus_pipeline.assets.publishing import (
    counts_table,
    gate,
    in_words,
    picture,
    progress_to,
    require,
    row_counts,
    table_metadata,
)
from medillus_pipeline.dicom.further_windows import SLICE_WINDOWS
from medillus_pipeline.failures import RETRY, failing_clearly
from medillus_pipeline.partitions import deliveries
from medillus_pipeline.resources.compute import ComputeResource
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.tables import INSTANCES, SLICES


class SlicesConfig(dg.Config):
    """How slices are shown."""

    window: str | None = Field(
        default=None,
        description="Window of CT: a preset (soft-tissue, lung, bone, brain), one's own (liver=60/160, centre/width in "
        "HU), or several by commas, of which the first makes the slice and the others further pictures of it; `file` "
        "for each file's own, whatever the modality; unset chooses by modality and body part.",
    )


@dg.asset(
    partitions_def=deliveries,
    deps=[deidentified_instances],
    group_name="images",
    owners=["team:data-engineering"],
    kinds={"png", "parquet"},
    code_version="2",
    retry_policy=RETRY,
    metadata=table_metadata(SLICES),
    check_specs=[
        dg.AssetCheckSpec(
            "slices_gate",
            asset="slices",
            description="Great Expectations suite `slices`: keys, geometry, windows, constant images. Blocks "
            "publication.",
            blocking=True,
            partitions_def=deliveries,
        )
    ],
)
def slices(
    context: dg.AssetExecutionContext, config: SlicesConfig, store: StoreResource, compute: ComputeResource
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """Windowed 8-bit PNGs of every displayable frame, ordered along the slice normal, with position, spacing and
    orientation in the table.
    """
    from medillus_pipeline.dicom.preview import contact_sheet, thumbnail
    from medillus_pipeline.dicom.slices import render_delivery

    key = context.partition_key
    with failing_clearly():
        instances = require(store.tables, INSTANCES, key)
        rendered = render_delivery(
            instances.to_pylist(),
            store.clean,
            workers=compute.workers,
            window=config.window,
            progress=progress_to(context, "instances rendered"),
        )
        table = SLICES.to_arrow(rendered.slices)
    skipped = {str(reason): count for reason, count in rendered.skipped.items()}
    yield from gate(
        "slices",
        "slices_gate",
        table,
        advice=f"Frames left out: {in_words(skipped)}.",
        related={"instances": instances},
    )
    with failing_clearly():
        sheet = contact_sheet(rendered.slices, store.clean)
        preview = picture(store.clean, "previews", sheet, thumbnail=thumbnail(sheet))
        if rendered.further or key in store.tables.keys(SLICE_WINDOWS):
            store.tables.publish(SLICE_WINDOWS, key, SLICE_WINDOWS.to_arrow(rendered.further))
        version = store.tables.publish(SLICES, key, table)
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={
            **row_counts(table),
            "series": len(set(table["series_instance_uid"].to_pylist())),
            "further_windows": counts_table(dict(Counter(row["window"] for row in rendered.further)), heading="window")
            if rendered.further
            else 0,
            "series_notes": counts_table({str(note): count for note, count in rendered.notes.items()}, heading="note"),
            "frames_left_out": counts_table(skipped, heading="reason") if skipped else 0,
            **preview,
        },
    )
