"""`medillus sample`: images of a mask by a registered generator.

Here words become settings and results become lines and an exit status; the work is in `generation/sample_folder.py`.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

from medillus_pipeline.cli_deidentify import INTERRUPTED, stopped_like_ctrl_c, text_withheld
from medillus_pipeline.settings import Settings
from medillus_pipeline.tables import storable

STATUSES = """\b
Exit status:
  0    the images are written
  1    nothing was done, or the work had to stop: one line says why
  2    the command line is malformed
  130  stopped by Ctrl-C; run the same command again
"""
CHAMPION = "models:/medillus-generator@champion"

console = Console(highlight=False)


def register(app: typer.Typer) -> None:
    """Add the command of this module to `medillus`."""
    app.command("sample", epilog=STATUSES)(sample)


def sample(
    mask: Annotated[Path, typer.Option(help="Label PNG, palette or grey, whose values are vocabulary ids.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the result; new, empty, or its own.")],
    modality: Annotated[str | None, typer.Option(help="CT, MR …; default: the only one the model draws.")] = None,
    body_part: Annotated[
        str | None, typer.Option(help="BodyPartExamined; chooses the field of view too; default: that of a trunk.")
    ] = None,
    phase: Annotated[str | None, typer.Option(help="Contrast phase, such as portal_venous.")] = None,
    pathology: Annotated[list[str] | None, typer.Option(help="A pathology to show; may be repeated.")] = None,
    stage: Annotated[str | None, typer.Option(help="Stage of the disease.")] = None,
    guidance: Annotated[
        float, typer.Option(min=0, max=20, help="How many times to take what these change; 2 costs twice the time.")
    ] = 1.0,
    partial: Annotated[
        bool, typer.Option("--partial", help="The mask is complete only for the structures it holds.")
    ] = False,
    context: Annotated[
        Literal["proposed", "none"],
        typer.Option(help="Tissue between structures: by the prior, or by the model alone."),
    ] = "proposed",
    n: Annotated[int, typer.Option("--n", min=1, max=1000, help="How many images.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise; image i gets the same whatever --n.")] = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Sampling steps of a flow; default: the model's.")
    ] = None,
    method: Annotated[
        Literal["euler", "heun"], typer.Option(help="Heun evaluates the network twice a step.")
    ] = "euler",
    level: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Position along the body, 0 feet to 1 head; default: the likeliest."),
    ] = None,
    model: Annotated[str, typer.Option(help="models:/NAME@ALIAS or models:/NAME/NUMBER.")] = CHAMPION,
    pixel_size: Annotated[
        float | None,
        typer.Option(help="Side of a pixel of the mask in mm; default: its longer side spans the field of view."),
    ] = None,
) -> None:
    """Draw images of a mask: PNG in a soft-tissue window, NIfTI with HU, and sample.json. Not for diagnosis.

    The model is told modality, body part, phase, pathologies and stage; what it does not know is refused.

    The mask is brought to the model's frame by nearest neighbour; the output says which pixel size was assumed.
    """
    from medillus_pipeline.annotation import vocabulary
    from medillus_pipeline.generation.compute import cpu_threads
    from medillus_pipeline.generation.sample_folder import refuse_places, sample_to_folder
    from medillus_pipeline.generation.sample_request import SampleRequest
    from medillus_pipeline.resources import registered_models
    from medillus_pipeline.resources.mlflow import MLflowResource

    settings = Settings.from_environment()
    request = SampleRequest(
        count=n,
        seed=seed,
        steps=steps,
        method=method,
        guidance=guidance,
        level=level,
        modality=modality,
        body_part=body_part,
        contrast_phase=phase,
        pathologies=tuple(pathology or ()),
        stage=stage,
        partial=partial,
        context=context,
        pixel_size=pixel_size,
    )
    try:
        with text_withheld(), stopped_like_ctrl_c(), cpu_threads(settings.threads):
            refuse_places(mask, out)
            loaded = registered_models.load(MLflowResource.of(settings), model)
            result = sample_to_folder(mask, out, loaded, vocabulary.load(settings.vocabulary), request)
    except KeyboardInterrupt:
        Console(stderr=True).print("[yellow]note:[/] stopped; run the same command again", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    console.print(escape(result.placement), soft_wrap=True)
    told = ", ".join(result.attributes) or "nothing but the mask"
    console.print(escape(storable(f"the model was told {told}")), soft_wrap=True)
    if result.lost:
        aside = f"too small for the model's frame, so not drawn: {', '.join(result.lost)}"
        Console(stderr=True, highlight=False).print(f"[yellow]note:[/] {escape(aside)}", soft_wrap=True)
    said = f"{result.count} AI-generated images by {loaded.name} version {loaded.version}, not for diagnosis"
    console.print(escape(storable(f"{said}, written to {out}")), soft_wrap=True)
