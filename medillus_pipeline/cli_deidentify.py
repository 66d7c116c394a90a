"""`medillus deidentify`, `medillus key` and `medillus reidentify`: de-identification without the rest of the pipeline.

Here words become settings and results become lines and an exit status; the work is in `deidentification/folder.py`.
"""

import secrets
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable

from medillus_pipeline.deidentification.pseudonyms import MINIMUM_KEY_BYTES
from medillus_pipeline.errors import ConfigurationError, InputError, MedillusError, PermanentError
from medillus_pipeline.phantom.keys import DEMO_KEY
from medillus_pipeline.settings import Settings, parse_secret, read_secret, write_secret
from medillus_pipeline.tables import storable

if TYPE_CHECKING:
    from medillus_pipeline.deidentification.folder_report import FolderResult
    from medillus_pipeline.deidentification.policy import Policy

INTERRUPTED = 130
KEY_FILE = "the key file"

STATUSES = """\b
Exit status:
  0    every file is accounted for, and the residual search found nothing
  1    nothing was done, or the work had to stop: one line says why
  2    the command line is malformed
  3    the residual search found something; those files were kept out of DST
  4    some entries of SRC could not be looked at; the ledger lists them
  130  stopped by Ctrl-C; run the same command again
"""

console = Console(highlight=False)
keys = typer.Typer(help="Make a key, or see which one a file holds.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this module to `medillus`."""
    app.command("deidentify", epilog=STATUSES)(deidentify)
    app.command("reidentify")(reidentify)
    app.add_typer(keys, name="key")


def deidentify(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Folder, archive or file; read in place, not changed.")],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="Folder of the result; new, empty, or its own.")],
    key_file: Annotated[Path | None, typer.Option(help="File with the key; else MEDILLUS_KEY holds it.")] = None,
    retain: Annotated[
        str | None,
        typer.Option(
            help="All that is retained, by commas: dates (moved), full-dates, device, patient, institution, uids, "
            "safe-private; or none. Without it: as configured, else dates."
        ),
    ] = None,
    clean: Annotated[
        str | None,
        typer.Option(
            help="All that is cleaned instead of removed, by commas: descriptors, graphics, structured-content, "
            "pixel-data, visual-features; or none. Without it: as configured, else none."
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file; else MEDILLUS_DEIDENTIFICATION names it.")] = None,
    documents: Annotated[
        bool | None, typer.Option("--documents/--no-documents", help="Let documents pass, content replaced.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="Processes; default: MEDILLUS_WORKERS.")] = None,
    report: Annotated[Path | None, typer.Option(help="Restricted folder of the report; default: DST.report")] = None,
    reidentification_table: Annotated[
        bool,
        typer.Option(
            "--reidentification-table",
            help="Write an encrypted table of originals to the report, under the key in "
            "MEDILLUS_REIDENTIFICATION_KEY_FILE.",
        ),
    ] = False,
) -> None:
    """De-identify the DICOM files of any folder: PS3.15 Basic Profile, every file accounted for."""
    from medillus_pipeline.deidentification.folder import deidentify_folder, folder_pseudonymiser

    settings = Settings.from_environment()
    key = _key(key_file, settings)
    policy = _policy(settings, config, retain=retain, clean=clean, documents=documents)
    table_key = None
    if reidentification_table:
        table_key = _reidentification_key(settings)
    beside = destination.expanduser().absolute()
    report = report or beside.with_name(f"{beside.name}.report")
    try:
        with text_withheld(), stopped_like_ctrl_c(), progress_bar() as progress:
            result = deidentify_folder(
                source,
                destination,
                report,
                folder_pseudonymiser(key),
                policy=policy,
                workers=workers or settings.workers,
                progress=progress,
                reidentification_key=table_key,
            )
    except KeyboardInterrupt:
        _say_aside("stopped; no file of the result is half written. Run the same command again")
        raise typer.Exit(INTERRUPTED) from None
    _summarise(result, destination, report)
    if result.status:
        raise typer.Exit(result.status)


def reidentify(
    pseudonym: Annotated[str, typer.Argument(help="Patient pseudonym (p-…) or pseudonymous UID (2.25.…).")],
    report: Annotated[
        Path | None, typer.Option(help="Report folder of `medillus deidentify`; default: the vault.")
    ] = None,
) -> None:
    """Who or what stands behind a pseudonym. Restricted: every use leaves a line in the access log."""
    from medillus_pipeline.dicom.source_folder import FolderZone
    from medillus_pipeline.settings import load_reidentification_tables

    settings = Settings.from_environment()
    if settings.reidentification_key_file is None:
        raise ConfigurationError("no re-identification table is kept here: MEDILLUS_REIDENTIFICATION_KEY_FILE is unset")
    if report is not None and not report.is_dir():
        raise InputError("the report folder does not exist: name the one that `medillus deidentify` wrote")
    zone = settings.vault if report is None else FolderZone(report.resolve())
    tables = load_reidentification_tables(settings.reidentification_key_file, zone)
    if not tables.names():
        raise InputError("there is no re-identification table yet: it is written where deliveries are ingested")
    found = tables.find(pseudonym)
    if not found:
        raise InputError("no re-identification table holds that pseudonym; the access was logged all the same")
    for entry in found:
        moved = f"; dates were moved by {entry.days} days" if entry.days is not None else ""
        console.print(f"{entry.kind} {entry.pseudonym}: {entry.original!a}{moved}", soft_wrap=True, markup=False)


@keys.command("new")
def new_key(file: Annotated[Path, typer.Argument(help="File to make; it must not exist yet.")]) -> None:
    """Make a random key of 64 hexadecimal digits in a new file, mode 0600. Keep a copy in a safe place."""
    from medillus_pipeline.deidentification.result_folder import key_check

    key = secrets.token_bytes(MINIMUM_KEY_BYTES)
    try:
        write_secret(file.expanduser(), key)
    except FileExistsError:
        raise InputError("that file exists already; a key is never overwritten") from None
    except OSError as error:
        raise InputError(f"the key file cannot be made ({type(error).__name__}): check the folder") from None
    console.print(f"key made, check {key_check(key)}. Whoever loses it cannot make the same pseudonyms again")


@keys.command("check")
def check_key(file: Annotated[Path, typer.Argument(help="File with a key.")]) -> None:
    """Print the check by which a report names the key that it was made with; nothing else of the key."""
    from medillus_pipeline.deidentification.result_folder import key_check

    console.print(key_check(read_secret(file.expanduser(), KEY_FILE)))


def _key(key_file: Path | None, settings: Settings) -> bytes:
    """The key of a run, from one place only. Raises ConfigurationError where none or two are named."""
    if key_file is not None and settings.key is not None:
        raise ConfigurationError("MEDILLUS_KEY is set and --key-file is given: leave out the one that is not meant")
    if settings.key is not None:
        key = parse_secret(settings.key.get_secret_value(), "MEDILLUS_KEY")
    elif key_file is not None:
        key = read_secret(key_file.expanduser(), KEY_FILE)
    else:
        raise ConfigurationError("no key: give --key-file or set MEDILLUS_KEY; `medillus key new FILE` makes one")
    if key == DEMO_KEY:
        raise ConfigurationError("that is the key of the demo, which is public: `medillus key new FILE` makes one")
    return key


def _policy(
    settings: Settings, config: Path | None, *, retain: str | None, clean: str | None, documents: bool | None
) -> "Policy":
    """The command line's words over those of the file, over the defaults."""
    from dataclasses import replace

    from medillus_pipeline.deidentification.policy_file import chosen
    from medillus_pipeline.settings import load_policy

    policy = load_policy(config.expanduser()) if config is not None else settings.policy()
    policy = replace(policy, options=chosen(policy, retain=retain, clean=clean))
    return policy if documents is None else replace(policy, documents=documents)


def _reidentification_key(settings: Settings) -> bytes:
    path = settings.reidentification_key_file
    if path is None:
        raise ConfigurationError(
            "--reidentification-table needs a key of its own: make one with `medillus key new FILE` and name the file "
            "in MEDILLUS_REIDENTIFICATION_KEY_FILE"
        )
    return read_secret(path, "the file that MEDILLUS_REIDENTIFICATION_KEY_FILE names")


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None] | None]:
    """A bar on a terminal; nothing elsewhere, where the last line says all."""
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("steps (two for each file)", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def text_withheld() -> Iterator[None]:
    """A defect of ours as one line: the text of its exception, and what a traceback shows, may identify somebody."""
    try:
        yield
    except MedillusError:
        raise
    except Exception as error:  # noqa: BLE001 - raised again, without its text
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "medillus_pipeline" in f.filename]
        place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        raise PermanentError(
            f"unexpected {type(error).__name__}{place}. Its text is withheld, since it may identify somebody: report "
            "this line to the maintainers"
        ) from None


@contextmanager
def stopped_like_ctrl_c() -> Iterator[None]:
    """SIGTERM ends the work as Ctrl-C does, so that working files are removed."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _summarise(result: "FolderResult", destination: Path, report: Path) -> None:
    from medillus_pipeline.deidentification.folder_report import ADVICE, STATUS

    counts = RichTable("outcome", "files", "what to do")
    for name, count in result.counts.items():
        counts.add_row(name, str(count), ADVICE.get(name, ""))
    if console.is_terminal:
        console.print(counts)
    else:
        tally = ", ".join(f"{count} {name}" for name, count in result.counts.items())
        console.print(f"{len(result.ledger)} entries: {tally}", soft_wrap=True)
    for hit in result.residual_hits:
        console.print(f"residual search: {hit['attribute']} in {hit['count']} files", soft_wrap=True)
    written = f"{len(result.instances)} files written to {destination}, report in {report}"
    console.print(f"{escape(storable(written))}; key check {result.key_check}", soft_wrap=True)
    if result.status:
        _say_aside(STATUS[result.status])
    elif not result.instances:
        _say_aside("no file of the source could be published; the report says why for each")


def _say_aside(text: str) -> None:
    Console(stderr=True, highlight=False).print(f"[yellow]note:[/] {escape(text)}", soft_wrap=True)
