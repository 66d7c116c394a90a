"""`volumes`: scans as volumes, for whoever computes in three dimensions, and a verdict on those that are none."""

from collections import Counter
from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from medillus_pipeline.assets.imaging import slices
from medillus_pipeline.assets.ingest import deidentified_instances
from medillus_pipeline.assets.publishing import (
    counts_table,
    gate,
    in_words,
    picture,
    progress_to,
    require,
    row_counts,
    stacks_table,
    table_metadata,
)
from medillus_pipeline.failures import RETRY, failing_clearly
from medillus_pipeline.partitions import deliveries
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.tables import INSTANCES, SLICES, VOLUMES


class VolumesConfig(dg.Config):
    """Which stacks of slices become volumes."""

    minimum_slices: int = Field(
        default=3, ge=2, description="Slices that a stack needs to become a volume; two cannot show uneven distances."
    )
    maximum_voxels: int = Field(
        default=2**30,
        ge=1,
        description="Voxels past which a volume is not built. One volume is in memory at a time, with 2 bytes a voxel, "
        "or 6 at the worst.",
    )


@dg.asset(
    partitions_def=deliveries,
    deps=[slices, deidentified_instances],
    group_name="images",
    owners=["team:data-engineering"],
    kinds={"nifti", "parquet"},
    code_version="1",
    retry_policy=RETRY,
    metadata=table_metadata(VOLUMES),
    check_specs=[
        dg.AssetCheckSpec(
            "volumes_gate",
            asset="volumes",
            description="Great Expectations suite `volumes`: keys, verdicts, affine against spacing and shape, value "
            "ranges, no picture where a face may show. Blocks publication.",
            blocking=True,
            partitions_def=deliveries,
        )
    ],
)
def volumes(
    context: dg.AssetExecutionContext, config: VolumesConfig, store: StoreResource
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """A compressed NIfTI volume (HU for CT) of every stack of slices that is one, with its affine and its middle planes
    as a picture; for every other stack the reason why it is none.
    """
    from medillus_pipeline.dicom.preview import thumbnail
    from medillus_pipeline.dicom.reformats import sheet_of
    from medillus_pipeline.dicom.volumes import build_volumes

    key = context.partition_key
    with failing_clearly():
        frames = require(store.tables, SLICES, key)
        instances = require(store.tables, INSTANCES, key)
        table = VOLUMES.to_arrow(
            build_volumes(
                frames.to_pylist(),
                instances.select(["sop_instance_uid", "face"]).to_pylist(),
                store.clean,
                minimum_slices=config.minimum_slices,
                maximum_voxels=config.maximum_voxels,
                progress=progress_to(context, "stacks of slices looked at"),
            )
        )
    rows = table.to_pylist()
    verdicts = Counter(row["verdict"] for row in rows)
    yield from gate(
        "volumes", "volumes_gate", table, advice=f"Verdicts: {in_words(verdicts)}.", related={"slices": frames}
    )
    with failing_clearly():
        sheet = sheet_of(rows, store.clean)
        preview = picture(store.clean, "previews", sheet, thumbnail=thumbnail(sheet)) if sheet else {}
        version = store.tables.publish(VOLUMES, key, table)
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={
            **row_counts(table),
            "volumes": verdicts["volume"],
            "without_picture": sum(row["verdict"] == "volume" and row["preview"] is None for row in rows),
            "bytes": sum(row["bytes"] or 0 for row in rows),
            "verdicts": counts_table(verdicts, heading="verdict"),
            "stacks": stacks_table(rows),
            **preview,
        },
    )
