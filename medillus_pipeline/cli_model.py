"""`medillus promote`, `medillus rollback`, `medillus models`: the champion, from the command line.

Here words become settings and results become lines; the work is in `resources/promotions.py`. What is done here is
reported to Dagster as an event of `promoted_generator`, so the asset's history is whole.
"""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from medillus_pipeline.settings import Settings

if TYPE_CHECKING:
    from medillus_pipeline.resources.promotions import Done, Registry

STATUSES = """\b
Exit status:
  0    done
  1    nothing was changed: one line says what is missing, or who else is promoting
  2    the command line is malformed
"""

console = Console(highlight=False)


def register(app: typer.Typer) -> None:
    """Add the commands of this module to `medillus`."""
    app.command("promote", epilog=STATUSES)(promote)
    app.command("rollback", epilog=STATUSES)(rollback)
    app.command("models")(models)


def promote(
    reason: Annotated[str, typer.Option(help="Why, for the table of promotions; default: what the gates say.")] = "",
    again: Annotated[bool, typer.Option("--again", help="Although the version was rolled back before.")] = False,
) -> None:
    """Make the newest version champion, when nothing is missing; the former champion is kept as previous."""
    from medillus_pipeline.assets.promotion import COMMAND_LINE
    from medillus_pipeline.resources import promotions

    settings = Settings.from_environment()
    registry = _registry(settings)
    done = promotions.promote(registry, run_id=COMMAND_LINE, reason=reason, again=again)
    if done.new:
        _report(settings, registry, done)
    word = "is champion now" if done.new else "is champion already"
    _say(done, f"version {done.turn.version} of {registry.mlflow.model} {word}")


def rollback(
    reason: Annotated[str, typer.Option(help="Why; it stays in the table of promotions.")],
    to: Annotated[str | None, typer.Option(help="Former champion to go back to; default: the one before.")] = None,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="The version that is left is never to be champion again.")
    ] = False,
) -> None:
    """Go back to the previous champion, or to a named one; figures made from now on are of that version."""
    from medillus_pipeline.assets.promotion import COMMAND_LINE
    from medillus_pipeline.resources import promotions

    settings = Settings.from_environment()
    registry = _registry(settings)
    done = promotions.rollback(registry, run_id=COMMAND_LINE, reason=reason, version=to, revoke=revoke)
    _report(settings, registry, done)
    _say(done, f"version {done.turn.version} of {registry.mlflow.model} is champion again")


def models(
    settle: Annotated[
        bool, typer.Option("--settle", help="First set MLflow's aliases as the table of promotions says.")
    ] = False,
) -> None:
    """Registered versions with their aliases and verdicts, the promotions, and what is odd about the champion."""
    from medillus_pipeline.assets.promotion import COMMAND_LINE
    from medillus_pipeline.resources import locked_test, promotions

    registry = _registry(Settings.from_environment())
    if settle:
        promotions.settle(registry, run_id=COMMAND_LINE)
    past = promotions.history(registry.clean)
    aliases: dict[str, list[str]] = {}
    for alias in ("champion", "previous", "challenger"):
        version = registry.mlflow.alias(alias)
        if version is not None:
            aliases.setdefault(version, []).append(alias)
    table = RichTable("version", "alias", "verdict", "profile", "reviewers", "revoked")
    for version in registry.mlflow.versions():
        number, tags = str(version.version), version.tags
        names = ", ".join(aliases.get(number, []))
        revoked = "yes" if number in past.revoked else ""
        cells = (tags.get("verdict", "–"), tags.get("profile", "–"), tags.get("reviewers", "–"))
        table.add_row(number, names, *map(escape, cells), revoked)
    console.print(table)
    for turn in past.turns:
        line = f"{turn.at}  {turn.action} {turn.version} (before: {turn.previous or 'none'}) by {turn.run_id}"
        console.print(escape(f"{line}: {turn.reason}"), soft_wrap=True)
    console.print(locked_test.in_words(locked_test.locked_test_openings(registry.clean)), soft_wrap=True)
    reason = promotions.not_promoted_by_itself(registry.clean, registry.profile)
    if reason is not None:
        console.print(escape(reason), soft_wrap=True)
    for text in promotions.alias_changes(registry, past):
        console.print(f"[yellow]changed by hand:[/] {escape(text)}", soft_wrap=True)
    for text in promotions.stale_champion(registry.clean):
        console.print(f"[yellow]stale champion:[/] {escape(text)}", soft_wrap=True)


def _registry(settings: Settings) -> "Registry":
    from medillus_pipeline.assets.promotion import registry_of
    from medillus_pipeline.resources.mlflow import MLflowResource
    from medillus_pipeline.resources.store import StoreResource

    return registry_of(StoreResource.of(settings), MLflowResource.of(settings))


def _report(settings: Settings, registry: "Registry", done: "Done") -> None:
    from medillus_pipeline.assets.promotion import described
    from medillus_pipeline.automation.instance import local_instance

    with local_instance(settings.home) as instance:
        instance.report_runless_asset_event(described(done, registry.mlflow))


def _say(done: "Done", sentence: str) -> None:
    for remark in done.remarks:
        Console(stderr=True, highlight=False).print(f"[yellow]note:[/] {escape(remark)}", soft_wrap=True)
    former = f"; before it: version {done.turn.previous}" if done.turn.previous else ""
    console.print(escape(f"{sentence}{former}. {done.document['review_statement']}"), soft_wrap=True)
