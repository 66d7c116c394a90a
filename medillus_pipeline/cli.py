"""`medillus …`: the same work without the web UI. Every command says what it did, or in one line what to do instead."""

import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table as RichTable

from medillus_pipeline import (
    automation_settings,
    cli_annotate,
    cli_deidentify,
    cli_illustrate,
    cli_masks,
    cli_model,
    cli_review,
    cli_sample,
    cli_slices,
    cli_stage,
    cli_studio,
    cli_verify,
    cli_withdraw,
    landings,
    telemetry,
)
from medillus_pipeline.errors import InputError, MedillusError
from medillus_pipeline.settings import VARIABLES, Settings
from medillus_pipeline.tables import LEDGER, MASK_ITEMS, MASKS, TableStore

app = typer.Typer(
    help="From a hospital's image archive to a labelled medical illustration.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
cli_deidentify.register(app)
cli_slices.register(app)
cli_stage.register(app)
cli_masks.register(app)
cli_annotate.register(app)
cli_sample.register(app)
cli_illustrate.register(app)
cli_review.register(app)
cli_withdraw.register(app)
cli_model.register(app)
cli_verify.register(app)
cli_studio.register(app)
console = Console(highlight=False)
MAXIMUM_WIDTH = 10_000


def main() -> None:
    """Entry point: an error that a person can act on is one line on standard error and exit status 1."""
    telemetry.switch_off()
    try:
        app()
    except MedillusError as error:
        Console(stderr=True, highlight=False).print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)


@app.command()
def demo(
    images: Annotated[Path | None, typer.Option(help="Folder of your own DICOM files, instead of phantoms.")] = None,
    annotations: Annotated[Path | None, typer.Option(help="Folder of your own annotations.")] = None,
    patients: Annotated[int, typer.Option(min=8, max=200, help="Synthetic patients.")] = 16,
) -> None:
    """Run the main job once: synthetic patients (or your own files) to labelled illustrations, and a summary."""
    from medillus_pipeline.demo import run_demo

    if annotations is not None and images is None:
        raise InputError("--annotations needs --images: masks are drawn on slices")
    run_demo(Settings.from_environment(), console, images=images, annotations=annotations, patients=patients)


@app.command("run-all")
def run_all_command() -> None:
    """Ingest what is new in landing, train if anything changed, promote, and illustrate."""
    from medillus_pipeline.automation.instance import local_instance
    from medillus_pipeline.demo import summarise
    from medillus_pipeline.run_all import run_all

    settings = Settings.from_environment()
    began = time.monotonic()
    with local_instance(settings.home) as instance:
        flow = run_all(settings, instance, say=_saying(began))
    summarise(settings, flow, console, seconds=time.monotonic() - began)
    if flow.failures:
        raise typer.Exit(1)


@app.command()
def land(
    kind: Annotated[str, typer.Argument(help="images, annotations, reviews or requests")],
    source: Annotated[Path, typer.Argument(help="Folder to copy into landing.")],
    name: Annotated[str | None, typer.Option(help="Folder name in landing; default: the source's.")] = None,
    label: Annotated[str | None, typer.Option(help="Partition key to ask for, [a-z0-9-], 3 to 41 characters.")] = None,
) -> None:
    """Copy a folder into landing as a delivery, an annotation batch or a batch of verdicts, and close it."""
    from medillus_pipeline.landings import land_folder

    if kind not in ("images", "annotations", "reviews", "requests"):
        raise InputError(f"kind is images, annotations, reviews or requests, not {kind!r}")
    settings = Settings.from_environment()
    landings.refuse_demo_home(settings)
    count = land_folder(settings.landing, kind, source, name=name or source.resolve().name, label=label)
    console.print(f"{count} files landed; the sensor, or `medillus run-all`, takes them from there")


@app.command("import-nifti")
def import_nifti_command(
    source: Annotated[
        Path, typer.Argument(help="Folder with one folder per patient, each with ct.nii.gz and seg.nii.gz.")
    ],
    name: Annotated[str, typer.Option(help="Name of the delivery and of the annotation batch in landing.")] = "nifti",
    modality: Annotated[str, typer.Option(help="CT or MR.")] = "CT",
    body_part: Annotated[str, typer.Option(help="BodyPartExamined, for example HEADNECK.")] = "CHEST",
    offset: Annotated[float, typer.Option(help="Added to stored values to give HU; OpenKBP: -1000.")] = 0.0,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many patients.")] = None,
) -> None:
    """Wrap research volumes (NIfTI) as a DICOM delivery and an annotation batch, so they come through the same door."""
    from medillus_pipeline.dicom.from_nifti import import_nifti

    settings = Settings.from_environment()
    if not settings.landing.is_local:
        raise InputError("import-nifti writes to a local landing zone: set MEDILLUS_LANDING_URL to a file:// URL")
    landings.refuse_demo_home(settings)
    wrapped = import_nifti(
        source,
        Path(settings.landing.full("")),
        name=name,
        modality=modality,
        body_part=body_part,
        offset=offset,
        limit=limit,
        progress=_progress("volumes wrapped"),
    )
    console.print(
        f"{wrapped.patients} patients with {wrapped.instances} instances and {wrapped.label_maps} label maps landed as "
        f"{name}; the sensors, or `medillus run-all`, take them from there",
        soft_wrap=True,
    )


@app.command()
def deliveries() -> None:
    """Partition keys and the landing folders they stand for. Restricted: reads the vault."""
    found = landings.mappings(Settings.from_environment().vault)
    _print_table(
        ("partition key", "kind", "arrived (UTC)", "landing folder"),
        ((item.key, item.kind, item.arrived, item.folder) for item in found),
    )


@app.command()
def ledger(
    key: Annotated[str, typer.Argument(help="Partition key of a delivery or annotation batch.")],
    everything: Annotated[bool, typer.Option("--all", help="Published files too, not only the others.")] = False,
) -> None:
    """What became of every file of a delivery or batch. Restricted: reads the vault."""
    store = TableStore(Settings.from_environment().vault)
    kinds = [kind for kind in ("images", "annotations", "reviews", "requests") if f"{kind}.{key}" in store.keys(LEDGER)]
    if not kinds:
        raise InputError(f"nothing was ever ingested as {key}: `medillus deliveries` lists the keys")
    columns = ("source", "member", "outcome", "reason")
    rows = [row for kind in kinds for row in store.read(LEDGER, f"{kind}.{key}").to_pylist()]
    shown = [row for row in rows if everything or row["outcome"] != "published"]
    _print_table(("file", *columns[1:]), ([row[column] for column in columns] for row in shown))
    _explain({row["reason"] for row in shown})


@app.command()
def receipt(key: Annotated[str, typer.Argument(help="Partition key of an annotation batch.")]) -> None:
    """What became of every item of an annotation batch, for its annotators; corrected: a newer revision is in force."""
    from medillus_pipeline.annotation.receipt import corrections

    store = TableStore(Settings.from_environment().clean)
    if key not in store.keys(MASK_ITEMS):
        raise InputError(f"no annotation batch {key} was read: `medillus deliveries` lists the keys")
    columns = ("item", "structure", "source_format", "outcome", "reason", "slices", "remark")
    rows = store.read(MASK_ITEMS, key).to_pylist()
    masks = store.read(MASKS, key).to_pylist() if key in store.keys(MASKS) else []
    keys = (other for other in store.keys(MASKS) if other != key)
    others = ((other, row) for other in keys for row in store.read(MASKS, other).to_pylist())
    corrected = [
        {"item": item, "structure": "*", "outcome": "corrected", "reason": f"by {other}", "slices": slices}
        for (item, other), slices in corrections(masks, others).items()
    ]
    _print_table(columns, ([str(row.get(column, "")) for column in columns] for row in (*rows, *corrected)))
    _explain({row["reason"] for row in rows})


@app.command()
def settings() -> None:
    """The settings in force, those of automation last, and the environment variables that change them."""
    automation = automation_settings.AutomationSettings.from_environment()
    _print_table(
        ("variable", "value", "meaning"),
        (
            (variable, _without_password(str(getattr(chosen, field))), meaning)
            for chosen, variables in (
                (Settings.from_environment(), VARIABLES),
                (automation, automation_settings.VARIABLES),
            )
            for variable, (field, meaning) in variables.items()
        ),
    )


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of Dagster's web UI.")] = 3000,
    mlflow_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of MLflow's web UI.")] = 5000,
) -> None:
    """Dagster's web UI with its daemon, and MLflow's, on this machine only. Stop with Ctrl-C."""
    from medillus_pipeline.interfaces import serve

    serve(Settings.from_environment(), console, port=port, mlflow_port=mlflow_port)


def _saying(began: float) -> Callable[[str], None]:
    return lambda text: console.print(f"[dim]{time.monotonic() - began:6.1f} s[/]  {escape(text)}", soft_wrap=True)


def _print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table of plain text (names of folders may look like markup), nothing of it cut off; as wide as it needs to be
    where it is read by another program.
    """
    table = RichTable()
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    if console.is_terminal:
        console.print(table)
    else:
        width = Measurement.get(console, console.options.update(max_width=MAXIMUM_WIDTH), table).maximum
        Console(highlight=False, width=width).print(table)


def _progress(what: str) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        if console.is_terminal or done == total:
            console.print(f"{what}: {done} of {total}", end="\r" if console.is_terminal and done < total else "\n")

    return report


def _explain(reasons: set[str]) -> None:
    """A sentence for each reason that stands in a table above: what it means and what to do."""
    from medillus_pipeline.annotation.outcomes import MEANINGS
    from medillus_pipeline.dicom.outcomes import WHAT_TO_DO
    from medillus_pipeline.illustration.landed_requests import MEANINGS as REQUESTED
    from medillus_pipeline.review.refusals import MEANINGS as REVIEWED

    delivered = {name.rsplit("/", 1)[-1]: text for name, text in WHAT_TO_DO.items()}
    drawn = {str(reason): text for reason, text in (*MEANINGS.items(), *REVIEWED.items(), *REQUESTED.items())}
    for reason in sorted(reasons):
        if text := drawn.get(reason) or delivered.get(reason):
            console.print(f"{reason}: {text}", soft_wrap=True, markup=False)


def _without_password(value: str) -> str:
    """The value without what stands between the user and the last @ of a URL, and without passwords in its query."""
    return re.sub(r"(?i)(pass\w*|token|secret)=[^&]+", r"\1=…", re.sub(r"(://[^:/@]*):\S*@", r"\1:…@", value))
