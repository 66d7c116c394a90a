"""`medillus review`: a reviewer's key, and the newest blind sheet.

Keys are made in `review/signing.py`, sheets in `assets/reviews.py`.
"""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from medillus_pipeline.errors import InputError
from medillus_pipeline.settings import Settings
from medillus_pipeline.tables import storable

console = Console(highlight=False)


def register(app: typer.Typer) -> None:
    """Add the commands of this module to `medillus`."""
    commands = typer.Typer(help="Human review: a reviewer's key, and the blind sheet.", no_args_is_help=True)
    commands.command("key")(key)
    commands.command("sheet")(sheet)
    app.add_typer(commands, name="review")


def key(
    name: Annotated[str, typer.Argument(help="The reviewer, as the site calls them; tables show a pseudonym.")],
    role: Annotated[list[str], typer.Option(help="physician, anatomist, engineer, educator or ethicist; repeatable.")],
    secret_file: Annotated[
        Path | None, typer.Option(help="New file of mode 0600 for the secret; default: it is printed.")
    ] = None,
) -> None:
    """Make a reviewer's key: the secret, for the reviewer alone, and what goes into the roster."""
    from medillus_pipeline.review.roster import ROLES
    from medillus_pipeline.review.signing import ReviewerKey

    unknown = [one for one in role if one not in ROLES]
    if unknown or not name.strip() or not name.isprintable():
        raise InputError(f"a reviewer has a name in one line, and roles among {', '.join(ROLES)}")
    made = ReviewerKey.new()
    if secret_file is None:
        console.print("Secret, for the reviewer alone. It is shown once; the sheet asks for it:", soft_wrap=True)
        console.print(made.text, soft_wrap=True)
    else:
        _write(secret_file, made.text)
        console.print(escape(storable(f"The secret, for the reviewer alone, is in {secret_file}")), soft_wrap=True)
    console.print("\nFor the roster (the TOML file that MEDILLUS_REVIEWERS names):\n", soft_wrap=True)
    roles = ", ".join(_quoted(one) for one in dict.fromkeys(role))
    lines = ("[[reviewer]]", f"name = {_quoted(name.strip())}", f"roles = [{roles}]", f'keys = ["{made.public}"]')
    console.print("\n".join(lines), soft_wrap=True, markup=False)


def sheet(
    out: Annotated[Path, typer.Option(metavar="FILE", help="New HTML file.")],
) -> None:
    """Copy the newest blind sheet into a file for reviewers. It holds no key to what is real."""
    from medillus_pipeline import published

    settings = Settings.from_environment()
    document = published.require(settings.clean, "review_tasks")
    if out.exists():
        raise InputError("the file for the sheet exists already: name a new one")
    out.write_bytes(settings.clean.read(document["html"]))
    said = f"the sheet of version {document['version']} is in {out}; verdicts go to landing/reviews"
    console.print(escape(storable(said)), soft_wrap=True)


def _write(path: Path, text: str) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InputError(f"the file for the secret cannot be made ({os.strerror(error.errno or 0)})") from None
    with os.fdopen(handle, "w") as file:
        file.write(text + "\n")


def _quoted(text: str) -> str:
    """A basic TOML string of printable text."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
