"""`medillus withdraw`, `medillus retract`, `medillus housekeeping`: the jobs of stewardship, run here and now.

An original patient id is read from a prompt or a file, so that no shell keeps it; it becomes a pseudonym before
anything else happens. What the jobs do is in `automation/stewardship.py`.
"""

import logging
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from medillus_pipeline.errors import InputError
from medillus_pipeline.settings import Settings

console = Console(highlight=False)
_LONGEST = 1024


def register(app: typer.Typer) -> None:
    """Add the commands of this module to `medillus`."""
    app.command("withdraw")(withdraw)
    app.command("retract")(retract)
    app.command("housekeeping")(housekeeping)


def withdraw(
    file: Annotated[Path | None, typer.Option(help="File that holds the patient id alone; default: a prompt.")] = None,
    patient_id: Annotated[
        str | None, typer.Option(help="The patient id itself. Shells keep what is typed: prefer the prompt.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask once more.")] = False,
) -> None:
    """Remove a patient everywhere: tables, payloads, landing, events, pictures; revoke the models that learned from
    them, and refuse them from now on. Restricted: reads landing and writes the vault.
    """
    from medillus_pipeline.deidentification.reidentification import user_name
    from medillus_pipeline.stewardship import withdrawal

    settings = Settings.from_environment()
    pseudonym = settings.pseudonymiser().patient(_patient_id(file, patient_id))
    if not yes:
        typer.confirm("Remove everything of this patient? It cannot be undone", abort=True)
    name = withdrawal.request(settings.vault, pseudonym, by=user_name())
    console.print(f"request {name} stands in the vault; the job withdraw_patient goes on with it when it is stopped")
    _execute(settings, "withdraw_patient", "withdraw", {"request": name})


def retract(key: Annotated[str, typer.Argument(help="Partition key of a delivery or an annotation batch.")]) -> None:
    """Take back a delivery or an annotation batch as a whole, with what it made. Restricted: writes the vault."""
    _execute(Settings.from_environment(), "retract", "take_back", {"key": key})


def housekeeping(
    remove: Annotated[bool, typer.Option("--remove", help="Really remove; default: only tell.")] = False,
    grace_days: Annotated[float, typer.Option(min=1, max=365, help="Days for which nothing is touched.")] = 7,
    landing_retention_days: Annotated[
        float | None, typer.Option(min=1, help="Days after which ingested landing files go; default: they stay.")
    ] = None,
) -> None:
    """Find what nobody names any more: payloads, snapshots, checkpoints, half-written files, old landing folders."""
    config: dict[str, Any] = {"remove": remove, "grace_days": grace_days}
    if landing_retention_days is not None:
        config["landing_retention_days"] = landing_retention_days
    _execute(Settings.from_environment(), "housekeeping", "tidy_up", config)


def _patient_id(file: Path | None, given: str | None) -> str:
    """The id as it stands in DICOM's Patient ID. Raises InputError where there is none, or two ways to it."""
    if file is not None and given is not None:
        raise InputError("--file and --patient-id are both given: name one")
    if file is not None:
        try:
            found = file.read_bytes()[: _LONGEST + 1].decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the file with the patient id cannot be read ({type(error).__name__})") from None
    else:
        found = given if given is not None else typer.prompt("Patient id", hide_input=True, confirmation_prompt=True)
    if not found.strip() or len(found) > _LONGEST or "\n" in found.strip():
        raise InputError("a patient id is one line that is not empty")
    return found


def _execute(settings: Settings, job: str, op: str, config: dict[str, Any]) -> None:
    """Run a job on the instance of this home, and say what it said. Raises InputError when it fails."""
    import dagster as dg

    from medillus_pipeline.automation.instance import local_instance
    from medillus_pipeline.automation.stewardship import STEWARDSHIP_JOBS
    from medillus_pipeline.resources.mlflow import MLflowResource
    from medillus_pipeline.resources.store import StoreResource
    from medillus_pipeline.run_all import failure_of

    definitions = dg.Definitions(
        jobs=STEWARDSHIP_JOBS,
        resources={"store": StoreResource.of(settings), "mlflow": MLflowResource.of(settings)},
        loggers={"console": _quiet()},
    )
    with local_instance(settings.home) as instance:
        result = definitions.resolve_job_def(job).execute_in_process(
            instance=instance,
            run_config={"ops": {op: {"config": config}}, "loggers": {"console": {}}},
            raise_on_error=False,
        )
        if not result.success:
            raise InputError(failure_of(result))
        for entry in instance.all_logs(result.run_id):
            if entry.dagster_event is None and int(entry.level) >= logging.INFO:
                console.print(escape(entry.user_message), soft_wrap=True)


def _quiet() -> Any:
    import dagster as dg

    return dg.LoggerDefinition(lambda _context: logging.Logger("medillus.stewardship", logging.CRITICAL))
