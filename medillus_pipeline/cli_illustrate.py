"""`medillus illustrate`: a labelled figure of a mask, a sketch, a sentence or a slice.

Here words become a request and results become files, lines and an exit status; the work is in
`illustration/illustrate.py`.
"""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from medillus_pipeline.cli_deidentify import INTERRUPTED, stopped_like_ctrl_c, text_withheld
from medillus_pipeline.errors import InputError
from medillus_pipeline.settings import Settings
from medillus_pipeline.tables import storable

if TYPE_CHECKING:
    from medillus_pipeline.illustration.answer import Answer
    from medillus_pipeline.illustration.illustrate import Illustrated
    from medillus_pipeline.illustration.illustration_request import IllustrationRequest

STATUSES = """\b
Exit status:
  0    the figure is written, or what was understood is shown
  1    no figure: refused, with every reason, or nothing could be done
  2    the command line is malformed
  130  stopped by Ctrl-C; run the same command again
"""

console = Console(highlight=False)


def register(app: typer.Typer) -> None:
    """Add the command of this module to `medillus`."""
    app.command("illustrate", epilog=STATUSES)(illustrate_command)


def illustrate_command(
    mask: Annotated[Path | None, typer.Option(help="Label map: PNG with vocabulary ids, NIfTI slice, or .npy.")] = None,
    sketch: Annotated[Path | None, typer.Option(help="Hand drawing: PNG, JPEG or SVG.")] = None,
    text: Annotated[
        str | None, typer.Option(help="A sentence in Chinese or English; alone, or beside a mask or sketch.")
    ] = None,
    scan: Annotated[str | None, typer.Option(help="Name of a published slice, or a NIfTI or PNG file.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the files.")] = Path("figures"),
    show: Annotated[bool, typer.Option("--show", help="Only say what was understood; draw and write nothing.")] = False,
    structure: Annotated[
        list[str] | None, typer.Option(help="A structure to name; may be repeated; default: all that are drawn.")
    ] = None,
    modality: Annotated[str | None, typer.Option(help="CT, MR …; default: the only one the model draws.")] = None,
    body_part: Annotated[str | None, typer.Option(help="BodyPartExamined, such as ABDOMEN.")] = None,
    level: Annotated[
        float | None, typer.Option(help="Position along the body, 0 feet to 1 head; default: the likeliest.")
    ] = None,
    phase: Annotated[str | None, typer.Option(help="Contrast phase, such as portal_venous.")] = None,
    pathology: Annotated[str | None, typer.Option(help="A pathology to show, by its key.")] = None,
    stage: Annotated[str | None, typer.Option(help="Stage of the disease.")] = None,
    complete: Annotated[
        bool | None,
        typer.Option("--complete/--partial", help="Whether what the mask or sketch lacks is absent; default: guessed."),
    ] = None,
    pixel_size: Annotated[float | None, typer.Option(help="Side of a pixel of a mask or PNG scan in mm.")] = None,
    flip: Annotated[bool, typer.Option("--flip", help="Mirror the mask or sketch before it is read.")] = False,
    legend: Annotated[
        list[str] | None, typer.Option(metavar="#RRGGBB=STRUCTURE", help="What a colour of a sketch means.")
    ] = None,
    candidates: Annotated[int, typer.Option(help="Images drawn, of which the best that passes is taken.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the first candidate.")] = 0,
    steps: Annotated[int | None, typer.Option(help="Sampling steps of a flow; default: the model's.")] = None,
    guidance: Annotated[float, typer.Option(help="How many times to take what attributes change.")] = 1.0,
    style: Annotated[str, typer.Option(help="radiology, textbook, patient, summary, journal or quiz.")] = "radiology",
    marks: Annotated[str | None, typer.Option(help="outlines or fills; default: as the style has it.")] = None,
    palette: Annotated[str, typer.Option(help="vocabulary or colour-blind.")] = "vocabulary",
    language: Annotated[str, typer.Option(help="en, zh or both.")] = "both",
    window: Annotated[str | None, typer.Option(help="soft-tissue, lung, bone, brain, or CENTRE/WIDTH.")] = None,
    formats: Annotated[
        str, typer.Option("--format", help="Of svg, png, pdf, dicom, html, with commas between.")
    ] = "svg,png",
    model: Annotated[str | None, typer.Option(help="Version of the generator; default: the champion.")] = None,
    at: Annotated[
        datetime | None,
        typer.Option(help="Date in the files (UTC); default: that of the figure if DIR has it, or now."),
    ] = None,
) -> None:
    """Draw a labelled figure, checked before it leaves, and signed. Not for diagnosis.

    Give one of --mask, --sketch, --text and --scan; a text may stand beside a mask or a sketch. What the models cannot
    draw is said, never drawn.
    """
    from medillus_pipeline.illustration.illustration_request import IllustrationRequest

    request = IllustrationRequest.parsed(
        {
            "mask": mask,
            "sketch": sketch,
            "text": text,
            "scan": scan,
            "structures": tuple(structure or ()),
            "modality": modality,
            "body_part": body_part,
            "level": level,
            "contrast_phase": phase,
            "pathology": pathology,
            "stage": stage,
            "complete": complete,
            "pixel_size": pixel_size,
            "flip": flip,
            "legend": _legend(legend or []),
            "candidates": candidates,
            "seed": seed,
            "steps": steps,
            "guidance": guidance,
            "style": style,
            "marks": marks,
            "palette": palette,
            "language": language,
            "window": window,
            "formats": tuple(name.strip() for name in formats.split(",") if name.strip()),
        }
    )
    if out.exists() and not out.is_dir():
        raise InputError("--out names a file: give a folder")
    settings = Settings.from_environment()
    try:
        with text_withheld(), stopped_like_ctrl_c():
            _illustrate(request, settings, out, at, show=show, version=model)
    except KeyboardInterrupt:
        Console(stderr=True).print("[yellow]note:[/] stopped; run the same command again", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None


def _illustrate(
    request: "IllustrationRequest",
    settings: Settings,
    out: Path,
    at: datetime | None,
    *,
    show: bool,
    version: str | None,
) -> None:
    from medillus_pipeline.annotation import vocabulary
    from medillus_pipeline.generation.compute import cpu_threads
    from medillus_pipeline.illustration.illustrate import IllustrationRefused, illustrate, understood
    from medillus_pipeline.illustration.signed_files import refuse_formats, signed_files
    from medillus_pipeline.resources.illustration_models import load_models
    from medillus_pipeline.resources.mlflow import MLflowResource

    refuse_formats(request)
    with cpu_threads(settings.threads):
        models = load_models(
            settings.clean,
            MLflowResource.of(settings),
            version=version,
            profile=settings.profile,
            vocabulary=vocabulary.load(settings.vocabulary),
        )
        try:
            if show:
                _say(understood(request, models), request.language)
                return
            done = illustrate(request, models)
        except IllustrationRefused as refusal:
            if refusal.answer is not None:
                _say(refusal.answer, request.language)
            raise InputError(f"{refusal.headline.en}: " + "; ".join(reason.en for reason in refusal.reasons)) from None
    made_at = _date(at, out, done)
    files = signed_files(done, request, key=settings.signing_key(), made_at=made_at, model_verdict=models.facts.verdict)
    _write(out, files)
    _say(done.answer, request.language)
    for sentence in models.missing:
        _note(sentence)
    endings = ", ".join(sorted(name.removeprefix(done.figure.name) for name in files))
    line = f"figure {done.figure.name}, not for diagnosis, written to {out} ({endings})"
    console.print(escape(storable(line)), soft_wrap=True)


def _date(at: datetime | None, out: Path, done: "Illustrated") -> datetime:
    """The date in the files: the given one, else that of the same figure in the folder, else now."""
    from medillus_pipeline.illustration.provenance import MANIFEST_SUFFIX

    if at is not None:
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    try:
        former = json.loads((out / (done.figure.name + MANIFEST_SUFFIX)).read_bytes())
        return datetime.fromisoformat(former["manifest"]["origin"]["made_at"])
    except (OSError, ValueError, KeyError, TypeError):
        return datetime.now(UTC).replace(microsecond=0)


def _write(out: Path, files: Mapping[str, bytes]) -> None:
    """Each file whole or not at all, the manifest last."""
    from medillus_pipeline.illustration.provenance import MANIFEST_SUFFIX

    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in sorted(files, key=lambda name: (name.endswith(MANIFEST_SUFFIX), name)):
            working = out / f".{name}.part"
            working.write_bytes(files[name])
            working.replace(out / name)
    except OSError as error:
        raise InputError(f"the files cannot be written to --out ({os.strerror(error.errno or 0)})") from None


def _say(answer: "Answer", language: str) -> None:
    """What was understood, and the remarks, in the language of the figure."""
    chinese = language == "zh"
    console.print(escape(storable(answer.understood.zh if chinese else answer.understood.en)), soft_wrap=True)
    for remark in answer.remarks:
        _note(remark.zh if chinese else remark.en)
    if answer.candidates:
        passed = sum(candidate.passed for candidate in answer.candidates)
        console.print(f"{passed} of {len(answer.candidates)} candidates passed the checks", soft_wrap=True)


def _note(text: str) -> None:
    Console(stderr=True, highlight=False).print(f"[yellow]note:[/] {escape(storable(text))}", soft_wrap=True)


def _legend(entries: list[str]) -> dict[str, str]:
    if bad := [entry for entry in entries if entry.count("=") != 1]:
        raise InputError(f"--legend {bad[0]}: write #rrggbb=structure")
    pairs = [entry.partition("=") for entry in entries]
    return {colour.strip(): structure.strip() for colour, _, structure in pairs}
