"""`medillus studio`: a local page for physicians. Here words become settings; the page is in `studio/`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from medillus_pipeline.settings import Settings

console = Console(highlight=False)


def register(app: typer.Typer) -> None:
    """Add the command of this module to `medillus`."""
    app.command("studio")(studio)


def studio(
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond this machine only with --token-file.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8321,
    name: Annotated[
        list[str] | None,
        typer.Option(help="Host name under which people open it, with its port where it is not the scheme's own."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File of mode 0600 with the site's token, 64 or more hexadecimal digits.")
    ] = None,
    https: Annotated[bool, typer.Option("--https", help="People reach it through a proxy that speaks TLS.")] = False,
    version: Annotated[str | None, typer.Option(help="Version of the generator; default: the champion.")] = None,
) -> None:
    """Draw, sketch or describe a figure in the browser, see it checked, and take it. Stop with Ctrl-C.

    On this machine alone unless told otherwise; the address that is printed opens it once, in one browser.
    """
    from medillus_pipeline.studio import server

    settings = Settings.from_environment()
    listening = server.bound(host, port)
    port = listening.getsockname()[1]
    access = server.access_for(host, port, names=name or (), token_file=token_file, https=https)
    console.print("[dim]loading the models …[/]")

    from medillus_pipeline.annotation import vocabulary
    from medillus_pipeline.generation.compute import cpu_threads
    from medillus_pipeline.illustration.illustrate import illustrate
    from medillus_pipeline.resources.illustration_models import load_models
    from medillus_pipeline.resources.mlflow import MLflowResource
    from medillus_pipeline.studio.bench import Bench
    from medillus_pipeline.studio.routes import build_app
    from medillus_pipeline.studio.verdicts import Desk

    models = load_models(
        settings.clean,
        MLflowResource.of(settings),
        version=version,
        profile=settings.profile,
        vocabulary=vocabulary.load(settings.vocabulary),
    )
    for sentence in models.missing:
        console.print(f"[yellow]note:[/] {escape(sentence)}", soft_wrap=True)
    app = build_app(Bench(models, illustrate, settings.signing_key), Desk(settings), access)
    where = sorted(access.hosts)[0] if name else f"{'[::1]' if host == '::1' else host}:{port}"
    base = f"{'https' if https else 'http'}://{where}/"
    if access.once:
        console.print(f"The studio, for one browser, once: [bold]{base}?token={access.token}[/]", soft_wrap=True)
    else:
        console.print(f"The studio: [bold]{base}[/] asks for the site's token", soft_wrap=True)
    with cpu_threads(settings.threads):
        server.serve(app, listening)
