"""`medillus masks`: label maps from a folder of annotations without the rest of the pipeline.

Here words become settings and results become lines and an exit status; the work is in `annotation/masks_folder.py`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from medillus_pipeline.cli_deidentify import (
    INTERRUPTED,
    KEY_FILE,
    progress_bar,
    stopped_like_ctrl_c,
    text_withheld,
)
from medillus_pipeline.settings import Settings, parse_secret, read_secret
from medillus_pipeline.tables import storable

if TYPE_CHECKING:
    from medillus_pipeline.annotation.masks_folder import FolderMasks
    from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser

STATUSES = """\b
Exit status:
  0    everything was accepted, or is kept as a layer
  1    nothing was done, or the work had to stop: one line says why
  2    the command line is malformed
  4    some of it was refused or waits for its slices; the report says which and why
  130  stopped by Ctrl-C; run the same command again
"""

console = Console(highlight=False)


def register(app: typer.Typer) -> None:
    """Add the command of this module to `medillus`."""
    app.command("masks", epilog=STATUSES)(masks)


def masks(
    annotations: Annotated[Path, typer.Argument(metavar="ANNOTATIONS", help="Folder or file; not changed.")],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="Folder of the result; new, empty, or its own.")],
    slices: Annotated[Path, typer.Option(metavar="DIR", help="Folder that `medillus slices` wrote.")],
    key_file: Annotated[
        Path | None,
        typer.Option(
            help="Key that the images were de-identified with, where the annotations still name the hospital's UIDs; "
            "else MEDILLUS_KEY holds it."
        ),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Restricted folder of the report; default: DST.report")] = None,
) -> None:
    """Turn annotations (LabelMe, RTSTRUCT, DICOM SEG, NIfTI, NRRD, PNG) into label PNGs and masks.parquet.

    The report, ledger.csv, names the files as submitted with what was refused, why, and what to do.
    """
    from medillus_pipeline.annotation import vocabulary
    from medillus_pipeline.annotation.masks_folder import masks_of_folder

    settings = Settings.from_environment()
    naming = _naming(key_file, settings)
    beside = destination.expanduser().absolute()
    report = report or beside.with_name(f"{beside.name}.report")
    try:
        with text_withheld(), stopped_like_ctrl_c(), progress_bar() as progress:
            result = masks_of_folder(
                annotations,
                slices,
                destination,
                report,
                vocabulary.load(settings.vocabulary),
                naming=naming,
                progress=progress,
            )
    except KeyboardInterrupt:
        Console(stderr=True).print("[yellow]note:[/] stopped; run the same command again", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    _summarise(result, destination, report, keyed=naming is not None)
    if result.status:
        raise typer.Exit(result.status)


def _naming(key_file: Path | None, settings: Settings) -> "Pseudonymiser | None":
    from medillus_pipeline.deidentification.folder import folder_pseudonymiser

    if key_file is not None:
        return folder_pseudonymiser(read_secret(key_file.expanduser(), KEY_FILE))
    if settings.key is not None:
        return folder_pseudonymiser(parse_secret(settings.key.get_secret_value(), "MEDILLUS_KEY"))
    return None


def _summarise(result: "FolderMasks", destination: Path, report: Path, *, keyed: bool) -> None:
    from medillus_pipeline.annotation.masks_folder import LEDGER_FILE, STATUS
    from medillus_pipeline.annotation.outcomes import MEANINGS, Reason

    advice = {str(reason): meaning for reason, meaning in MEANINGS.items()}
    for name, count in result.counts.items():
        if name in advice:
            console.print(f"{name}: {count}. {advice[name]}", soft_wrap=True)
    if Reason.UNKNOWN_SLICE in result.counts and not keyed:
        console.print("Do the annotations still name the hospital's UIDs? Then give --key-file", soft_wrap=True)
    if result.patients_not_compared:
        console.print("Patients were not compared: the annotations name them as the hospital does, and without the")
        console.print("images' key (--key-file) nothing says who is meant", soft_wrap=True)
    said = f"{result.items} items: {result.masks} label maps of {result.structures} structures"
    console.print(escape(storable(f"{said}, written to {destination}; report: {report / LEDGER_FILE}")), soft_wrap=True)
    if result.status:
        Console(stderr=True, highlight=False).print(f"[yellow]note:[/] {escape(STATUS[result.status])}", soft_wrap=True)
