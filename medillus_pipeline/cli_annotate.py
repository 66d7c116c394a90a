"""`medillus annotate export`: masks, or a model's proposals, from the clean zone back to the annotators.

Here words become settings, tables become rows, and results become lines and an exit status. The work is in
`annotation/export.py`, proposals are made in `generation/proposals.py`.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from medillus_pipeline.annotation.export_format import Format
from medillus_pipeline.cli_deidentify import INTERRUPTED, progress_bar, stopped_like_ctrl_c, text_withheld
from medillus_pipeline.errors import InputError
from medillus_pipeline.settings import Settings
from medillus_pipeline.tables import (
    MASK_LAYERS,
    MASKS,
    PATIENT_SPLITS,
    SLICES,
    Table,
    TableStore,
    storable,
)

if TYPE_CHECKING:
    from medillus_pipeline.annotation.export import Exported
    from medillus_pipeline.annotation.export_choice import Chosen
    from medillus_pipeline.annotation.formats.segment_coding import Algorithm
    from medillus_pipeline.generation.proposals import Candidates
    from medillus_pipeline.zones import Zone

Rows = list[dict[str, Any]]
Progress = Callable[[int, int], None] | None

STATUSES = """\b
Exit status:
  0    everything chosen was written
  1    nothing was done, or the work had to stop: one line says why
  2    the command line is malformed
  4    some series were left out; a line says which and why
  130  stopped by Ctrl-C; run the same command again
"""

console = Console(highlight=False)
aside = Console(stderr=True, highlight=False)
annotate = typer.Typer(help="Masks back to the annotators.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this module to `medillus`."""
    app.add_typer(annotate, name="annotate")


@annotate.callback()
def _group() -> None:
    """Masks back to the annotators."""


@annotate.command("export", epilog=STATUSES)
def export(
    destination: Annotated[Path, typer.Argument(metavar="DST", help="Folder of the result; new, empty, or its own.")],
    format: Annotated[Format, typer.Option(help="What the annotators' tool opens.")],
    series: Annotated[list[str] | None, typer.Option(metavar="UID", help="Only this series; may be repeated.")] = None,
    patient: Annotated[
        list[str] | None, typer.Option(metavar="p-…", help="Only this patient; may be repeated.")
    ] = None,
    batch: Annotated[str | None, typer.Option(metavar="KEY", help="Only slices that this batch drew on.")] = None,
    annotator: Annotated[
        str | None, typer.Option(metavar="a-…", help="This one's masks; default: those in force.")
    ] = None,
    proposals: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Instead of masks: N slices that nobody drew on, labelled by the organ segmenter, most uncertain "
            "first. Only patients of the split train.",
        ),
    ] = None,
    labelmap: Annotated[
        bool, typer.Option("--labelmap", help="dicom-seg: a label map segmentation, without what is drawn beneath.")
    ] = False,
) -> None:
    """Write masks for correction, as LabelMe, DICOM SEG or NIfTI. Importing them again gives identical masks.

    README.txt in DST says how to open the files and how to hand them back.
    """
    from medillus_pipeline.annotation import vocabulary
    from medillus_pipeline.annotation.export import export_folder
    from medillus_pipeline.annotation.export_folder import ExportFolder

    settings = Settings.from_environment()
    if labelmap and format is not Format.DICOM_SEG:
        raise InputError("--labelmap is for --format dicom-seg")
    if proposals and (batch or annotator):
        raise InputError("--proposals are for slices that nobody drew on: leave out --batch and --annotator")
    store = TableStore(settings.clean)
    try:
        with text_withheld(), stopped_like_ctrl_c(), progress_bar() as progress:
            _refuse_zones(destination, settings)
            ExportFolder(destination.expanduser().resolve())
            slices = _rows(store, SLICES)
            masks, layers = _rows(store, MASKS), _rows(store, MASK_LAYERS)
            named = series or (), patient or ()
            model = None
            if proposals:
                chosen, model = _proposed(store, slices, masks + layers, proposals, *named, progress=progress)
            else:
                chosen = _in_force(slices, masks, layers, *named, batch=batch, annotator=annotator)
            result = export_folder(
                chosen,
                slices,
                destination,
                settings.clean,
                vocabulary.load(settings.vocabulary),
                format=format,
                moment=datetime.now(UTC).replace(tzinfo=None),
                label_map_segmentation=labelmap,
                model=model,
                progress=progress,
            )
    except KeyboardInterrupt:
        aside.print("[yellow]note:[/] stopped; run the same command again", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    _summarise(result, destination, what="proposals" if proposals else "masks")
    if result.status:
        raise typer.Exit(result.status)


def _refuse_zones(destination: Path, settings: Settings) -> None:
    """Raises InputError for a folder inside a zone of the installation, or one that holds a zone."""
    wanted = destination.expanduser().resolve()
    for zone in (settings.landing, settings.vault, settings.clean):
        if zone.is_local and (
            wanted.is_relative_to(root := Path(zone.full("")).resolve()) or root.is_relative_to(wanted)
        ):
            raise InputError("DST overlaps with a zone of the installation: name a folder outside of it")


def _rows(store: TableStore, table: Table) -> Rows:
    return store.read_all(table).to_pylist()


def _in_force(
    slices: Rows, masks: Rows, layers: Rows, series: Any, patients: Any, *, batch: str | None, annotator: str | None
) -> "list[Chosen]":
    from medillus_pipeline.annotation.export_choice import choose
    from medillus_pipeline.generation.selection import masks_in_force

    if not masks and not layers:
        raise InputError("no mask was published yet: land an annotation batch first")
    return choose(
        slices, masks, layers, masks_in_force, series=series, patients=patients, batch=batch, annotator=annotator
    )


def _proposed(
    store: TableStore, slices: Rows, drawn: Rows, count: int, series: Any, patients: Any, *, progress: Progress
) -> "tuple[list[Chosen], Algorithm]":
    """What the organ segmenter in force proposes, most uncertain first, and its name with its hash. Never the judge."""
    from medillus_pipeline.annotation.export_choice import Chosen, Proposed, refuse_unknown, wanted
    from medillus_pipeline.annotation.formats.segment_coding import Algorithm
    from medillus_pipeline.annotation.formats.segmentation import PROPOSER
    from medillus_pipeline.generation.proposals import candidates, most_uncertain

    refuse_unknown(slices, series, patients)
    segmenter, config, sha256 = _organ_segmenter(store.zone)
    splits = {row["split_token"]: row["split"] for row in _rows(store, PATIENT_SPLITS)}
    of_interest = [row for row in slices if wanted(row, series, patients)]
    concerned = {row["series_instance_uid"] for row in of_interest}
    labelled = {row["slice_name"] for row in drawn}
    labelled |= {row["slice_name"] for row in slices} - {row["slice_name"] for row in of_interest}
    found = candidates([row for row in slices if row["series_instance_uid"] in concerned], labelled, splits, config)
    best = most_uncertain(found, count, store.zone, segmenter, config, progress=progress)
    _say_held_back(found)
    if not best:
        raise InputError("there is nothing to propose: every slice that may be offered is drawn on, or shows nothing")
    of_slice = {row["slice_name"]: row for row in of_interest}
    chosen = [Chosen(of_slice[p.slice_name], proposed=Proposed(p.label_map, p.confidence, p.uncertainty)) for p in best]
    return chosen, Algorithm(PROPOSER, sha256[:16])


def _organ_segmenter(clean: "Zone") -> tuple[Any, Any, str]:
    """The segmenter in force, the configuration of the dataset that it learned from, and its hash."""
    from medillus_pipeline import published
    from medillus_pipeline.generation.config import DatasetConfig
    from medillus_pipeline.generation.segmenter import Segmenter

    document, dataset = published.require(clean, "organ_segmenter"), published.require(clean, "training_dataset")
    if document["dataset_fingerprint"] != dataset["fingerprint"]:
        raise InputError("the organ segmenter learned from an earlier dataset: materialize organ_segmenter first")
    manifest = json.loads(clean.read(dataset["manifest"]))
    segmenter = Segmenter.from_bytes(clean.read(document["path"]))
    return segmenter, DatasetConfig.model_validate(manifest["config"]), document["sha256"]


def _say_held_back(found: "Candidates") -> None:
    for reason, count in found.held_back.items():
        console.print(f"not offered, {reason}: {count} slices", soft_wrap=True)


def _summarise(result: "Exported", destination: Path, *, what: str) -> None:
    from medillus_pipeline.annotation.export import STATUS

    for series, why in result.left_out.items():
        aside.print(f"[yellow]left out:[/] series {escape(series)}: {escape(why)}", soft_wrap=True)
    if result.layers_lost:
        console.print(
            f"{result.layers_lost} structures beneath others, or planning targets, are not in this format, and what "
            "their own annotator hands back will lack them: --format dicom-seg without --labelmap takes them along",
            soft_wrap=True,
        )
    said = f"{what} of {result.slices} slices, {result.structures} structures, in {result.files} files"
    console.print(
        escape(storable(f"{said}, written to {destination}; README.txt there says how to go on")), soft_wrap=True
    )
    if result.status:
        aside.print(f"[yellow]note:[/] {escape(STATUS[result.status])}", soft_wrap=True)
