"""`medillus slices`: pictures of a folder of DICOM files without the rest of the pipeline.

Here words become settings and results become lines and an exit status; the work is in `dicom/slices_folder.py`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from medillus_pipeline.cli_deidentify import INTERRUPTED, progress_bar, stopped_like_ctrl_c, text_withheld
from medillus_pipeline.settings import Settings
from medillus_pipeline.tables import storable

if TYPE_CHECKING:
    from medillus_pipeline.dicom.slices_folder import FolderSlices

STATUSES = """\b
Exit status:
  0    every image of SRC is shown
  1    nothing was done, or the work had to stop: one line says why
  2    the command line is malformed
  3    some files do not say that they were de-identified, and were refused
  4    some entries could not be read, or some frames not shown as was asked; the ledger lists them
  130  stopped by Ctrl-C; run the same command again
"""

console = Console(highlight=False)


def register(app: typer.Typer) -> None:
    """Add the command of this module to `medillus`."""
    app.command("slices", epilog=STATUSES)(slices)


def slices(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Folder, archive or file; read in place, not changed.")],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="Folder of the result; new, empty, or its own.")],
    preset: Annotated[
        str | None,
        typer.Option(
            help="Windows of CT by commas, the first for slices.parquet: soft-tissue, lung, bone, brain, "
            "name=centre/width in HU; or file, each file's own. Without it: by modality and body part."
        ),
    ] = None,
    sixteen_bit: Annotated[
        bool, typer.Option("--16-bit", help="Besides, each grey frame in 16 bits through the same windows.")
    ] = False,
    lossless: Annotated[
        bool,
        typer.Option(
            "--lossless",
            help="Besides, the values of each grey frame in 16 bits: value * slope + intercept, both in "
            "slice_windows.parquet, is its HU.",
        ),
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Folder of the ledger, with the names of SRC; default: DST.report.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="Processes; default: MEDILLUS_WORKERS.")] = None,
    identified: Annotated[
        bool,
        typer.Option(
            "--identified", help="Show files too that do not say PatientIdentityRemoved YES; DST is then identified."
        ),
    ] = False,
) -> None:
    """Show the DICOM files of any folder as PNGs, with slices.parquet: geometry, window and values of each.

    This does NOT de-identify: what is burned into the pixels, and a face, stays in the pictures. SRC should be what
    `medillus deidentify` wrote; other files are refused unless --identified is given.
    """
    from medillus_pipeline.dicom.slices_folder import slices_of_folder
    from medillus_pipeline.dicom.slices_ledger import report_of

    settings = Settings.from_environment()
    try:
        with text_withheld(), stopped_like_ctrl_c(), progress_bar() as progress:
            result = slices_of_folder(
                source,
                destination,
                window=preset,
                workers=workers or settings.workers,
                identified=identified,
                outputs=(*(("grey16",) if sixteen_bit else ()), *(("lossless",) if lossless else ())),
                report=report,
                progress=progress,
            )
    except KeyboardInterrupt:
        Console(stderr=True).print("[yellow]note:[/] stopped; run the same command again", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    _summarise(result, destination, report or report_of(destination))
    if result.status:
        raise typer.Exit(result.status)


def _summarise(result: "FolderSlices", destination: Path, report: Path) -> None:
    from medillus_pipeline.dicom.slices_folder import ADVICE, STATUS

    for what, counts in (("left out", result.left_out), ("series", result.notes)):
        for reason, count in counts.items():
            advice = f" ({ADVICE[reason]})" if reason in ADVICE else ""
            console.print(f"{what}: {count} {reason}{advice}", soft_wrap=True)
    done = "nothing has changed since" if result.unchanged else "written to"
    said = f"{result.entries} entries: {result.slices} slices of {result.series} series, {result.pictures} pictures"
    console.print(f"{escape(storable(f'{said}, {done} {destination}'))}", soft_wrap=True)
    console.print(f"{escape(storable(f'what became of each: {report}/ledger.csv'))}", soft_wrap=True)
    if result.status:
        Console(stderr=True, highlight=False).print(f"[yellow]note:[/] {escape(STATUS[result.status])}", soft_wrap=True)
