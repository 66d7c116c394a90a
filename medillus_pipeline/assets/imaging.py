"""`slices`: what an eye can look at, with its geometry."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

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
    shown,
    stacks_table,
    table_metadata,
)
from medillus_pipeline.failures import RETRY, failing_clearly
from medillus_pipeline.partitions import deliveries
from medillus_pipeline.resources.compute import ComputeResource
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.tables import INSTANCES, SLICE_WINDOWS, SLICES

if TYPE_CHECKING:
    from medillus_pipeline.dicom.rendering import Output


class SlicesConfig(dg.Config):
    """How slices are shown."""

    window: str | None = Field(
        default=None,
        description="Window of CT: a preset (soft-tissue, lung, bone, brain), one's own (liver=60/160, centre/width in "
        "HU), or several by commas, of which the first makes the slice and the others further pictures of it; `file` "
        "for each file's own, whatever the modality; unset chooses by modality and body part.",
    )
    sixteen_bit: bool = Field(
        default=False,
        description="Make a 16-bit picture of each grey frame beside every 8-bit one, through the same window "
        "(table slice_windows, output grey16).",
    )
    lossless: bool = Field(
        default=False,
        description="Keep the values of each grey frame in a 16-bit picture beside the 8-bit ones: value * slope + "
        "intercept is its HU, or other output value (table slice_windows, output lossless).",
    )

    @property
    def outputs(self) -> "tuple[Output, ...]":
        """What to make beside the 8-bit pictures."""
        return (*(("grey16",) if self.sixteen_bit else ()), *(("lossless",) if self.lossless else ()))


@dg.asset(
    partitions_def=deliveries,
    deps=[deidentified_instances],
    group_name="images",
    owners=["team:data-engineering"],
    kinds={"png", "parquet"},
    code_version="3",
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
        ),
        dg.AssetCheckSpec(
            "slice_windows_gate",
            asset="slices",
            description="Great Expectations suite `slice_windows`: further windows and depths, where they were asked "
            "for. Blocks publication.",
            blocking=True,
            partitions_def=deliveries,
        ),
    ],
)
def slices(
    context: dg.AssetExecutionContext, config: SlicesConfig, store: StoreResource, compute: ComputeResource
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """Windowed 8-bit PNGs of every displayable frame, ordered along the slice normal, with position, spacing and
    orientation in the table. Further windows and depths, where they are asked for, are in the table slice_windows.
    """
    from medillus_pipeline.dicom.histograms import histogram_picture, intensity_histograms
    from medillus_pipeline.dicom.preview import contact_sheet, thumbnail
    from medillus_pipeline.dicom.slices import render_delivery
    from medillus_pipeline.dicom.stacks import judged_stacks, stack_summary

    key = context.partition_key
    with failing_clearly():
        instances = require(store.tables, INSTANCES, key)
        with compute.executor() as executor:
            rendered = render_delivery(
                instances,
                store.clean,
                workers=compute.workers,
                executor=executor,
                window=config.window,
                outputs=config.outputs,
                progress=progress_to(context, "instances rendered"),
            )
        table = rendered.slices.to_arrow()
        further = rendered.further.to_arrow()
    skipped = {str(reason): count for reason, count in rendered.skipped.items()}
    yield from gate(
        "slices",
        "slices_gate",
        table,
        advice=f"Frames left out: {in_words(skipped)}.",
        related={"instances": instances},
    )
    if further.num_rows:
        yield from gate(
            "slice_windows",
            "slice_windows_gate",
            further,
            advice="Look at the windows that the run asked for.",
            related={"slices": table},
        )
    else:
        yield dg.AssetCheckResult(
            passed=True, check_name="slice_windows_gate", description="no further windows or depths were asked for"
        )
    with failing_clearly():
        sheet = contact_sheet(rendered.slices, store.clean)
        preview = picture(store.clean, "previews", sheet, thumbnail=thumbnail(sheet))
        if further.num_rows or store.tables.version(SLICE_WINDOWS, key) is not None:
            store.tables.publish(SLICE_WINDOWS, key, further)
        histograms = intensity_histograms(rendered.slices, store.clean)
        version = store.tables.publish(SLICES, key, table)
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={
            **row_counts(table),
            "series": len(set(table["series_instance_uid"].to_pylist())),
            "stacks": stacks_table(
                [stack_summary(stack) for stack in judged_stacks(rendered.slices)], verdict="verdict by geometry"
            ),
            "further_pictures": counts_table(
                dict(Counter(f"{row['window']}, {row['output']}" for row in rendered.further)),
                heading="window, output",
            )
            if rendered.further
            else 0,
            **({"intensities": shown(histogram_picture(histograms), "histogram of intensities")} if histograms else {}),
            "series_notes": counts_table({str(note): count for note, count in rendered.notes.items()}, heading="note"),
            "frames_left_out": counts_table(skipped, heading="reason") if skipped else 0,
            **preview,
        },
    )
