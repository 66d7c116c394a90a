"""`medillus stage`: a large archive as deliveries in landing. The work is in `archive_split.py`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from medillus_pipeline.cli_deidentify import INTERRUPTED, progress_bar, stopped_like_ctrl_c, text_withheld
from medillus_pipeline.errors import InputError
from medillus_pipeline.settings import Settings

NOT_ALL = 4
STATUSES = """\b
Exit status:
  0    every file of SRC is in a delivery, or is none (a marker, a pipe)
  1    nothing was done, or the work had to stop: one line says why
  2    the command line is malformed
  4    some files are in no delivery; the plan in the vault lists them
  130  stopped by Ctrl-C; run the same command again
"""
_NO_FILE = frozenset({"marker", "special_file", "link_to_folder"})

console = Console(highlight=False)


def register(app: typer.Typer) -> None:
    """Add the command of this module to `medillus`."""
    app.command("stage", epilog=STATUSES)(stage_command)


def stage_command(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Folder of the archive; never changed.")],
    landing: Annotated[str, typer.Argument(metavar="LANDING", help="The landing zone of this installation.")],
    studies_per_delivery: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many, by patient.")] = 500,
    copy: Annotated[bool, typer.Option("--copy", help="Copy, where files could be linked.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="Processes; default: MEDILLUS_WORKERS.")] = None,
) -> None:
    """Split a large archive into deliveries by patient, and close each. Stopped, it goes on where it was."""
    from medillus_pipeline import landings
    from medillus_pipeline.archive_split import stage

    settings = Settings.from_environment()
    _refuse(source, landing, settings)
    landings.refuse_demo_home(settings)
    try:
        with text_withheld(), stopped_like_ctrl_c(), progress_bar() as progress:
            done = stage(
                source,
                settings.landing,
                settings.vault,
                settings.pseudonymiser(),
                per_delivery=studies_per_delivery,
                workers=workers or settings.workers,
                copy=copy,
                dry_run=dry_run,
                progress=progress,
            )
    except KeyboardInterrupt:
        Console(stderr=True).print("[yellow]note:[/] stopped; run the same command again", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    whose = "" if done.patients is None else f", {done.patients} patients"
    held = f"{done.files} files, {done.bytes} bytes, {done.studies} studies{whose}"
    console.print(f"staging {done.name}: {done.deliveries} deliveries of {held}", soft_wrap=True)
    for reason, count in sorted(done.left_out.items()):
        console.print(f"left out: {count} {reason}", soft_wrap=True)
    made = f"{done.made} deliveries closed now; {done.linked} files linked, {done.copied} copied"
    console.print("dry run: nothing was written" if dry_run else made, soft_wrap=True)
    if set(done.left_out) - _NO_FILE:
        raise typer.Exit(NOT_ALL)


def _refuse(source: Path, landing: str, settings: Settings) -> None:
    """Raises InputError where files would leave the restricted zone, or the archive and a zone lie in each other."""
    given = landing if "://" in landing else Path(landing).expanduser().resolve().as_uri()
    if given.rstrip("/") != settings.landing_url.rstrip("/"):
        raise InputError("LANDING is not the landing zone of this installation: deliveries go nowhere else "
                         "(`medillus settings` shows MEDILLUS_LANDING_URL)")  # fmt: skip
    archive = source.expanduser().resolve()
    for url in (settings.landing_url, settings.vault_url, settings.clean_url):
        if url.startswith("file://"):
            from medillus_pipeline.zones import Zone

            zone = Path(Zone(url).full("")).resolve()
            if archive == zone or zone in archive.parents or archive in zone.parents:
                raise InputError("the archive and a zone of this installation lie in each other: name another folder")
