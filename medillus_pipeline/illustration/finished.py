"""A figure in all of its formats, each with its metadata and its credential, and the manifest: ready to leave.

The one entry for assets, commands and the studio. What is not here: how a figure is drawn (`figure.py`), where its
files are kept.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from medillus_pipeline.illustration import captions, credential, embedded
from medillus_pipeline.illustration.dicom_capture import secondary_capture
from medillus_pipeline.illustration.figure import Figure
from medillus_pipeline.illustration.interactive import interactive_page
from medillus_pipeline.illustration.pdf import to_pdf
from medillus_pipeline.illustration.provenance import MANIFEST_SUFFIX, Origin, build_manifest
from medillus_pipeline.illustration.request import canonical_json
from medillus_pipeline.illustration.signing import SignedManifest, SigningKey


@dataclass(frozen=True)
class FinishedFigure:
    """All files of a figure by name, the manifest's own file among them; `sidecar` is the one among the files."""

    name: str
    files: Mapping[str, bytes]
    sidecar: Mapping[str, Any]
    signed: SignedManifest

    def file(self, ending: str) -> bytes:
        """The file with this ending: `.svg`, `.png`, `.pdf`, `.dcm`, `.html`, `.json` (the sidecar), `.manifest.json`;
        of a quiz `.answers.svg` in place of `.html`. Raises KeyError where there is none.
        """
        return self.files[self.name + ending]


def finish(
    figure: Figure,
    *,
    key: SigningKey,
    made_at: datetime,
    model_verdict: str | None = None,
    further: Mapping[str, bytes] | None = None,
) -> FinishedFigure:
    """Write a figure's SVG, PNG, PDF, DICOM Secondary Capture, interactive page, sidecar and manifest, and sign them.

    The same arguments give the same bytes. A quiz has no interactive page, which would tell the answers, and neither
    does its manifest, which stands in the files that are handed out: it names the request by its hash.

    Args:
        figure: as drawn.
        key: the site's key, `settings.load_signing_key`.
        made_at: every date in the files; a run's start, for instance, never read from the clock here.
        model_verdict: verdict of the report of the model version, as it stands in the registry.
        further: other files of the figure, plain name → bytes (a volume, say): in the manifest, unchanged.

    Raises:
        InputError: a format cannot be written from this figure; the message says which and why.
    """
    request = figure.request
    origin = Origin.of(request, made_at=made_at, model_verdict=model_verdict)
    title, warning = captions.title(request), captions.warning(request)
    packet = embedded.xmp_packet(
        origin,
        title=title,
        caption=captions.Bilingual(figure.sidecar["caption"]["en"], figure.sidecar["caption"]["zh"]),
        warning=warning,
    )
    svg = embedded.into_svg(figure.svg, packet)
    bare = {
        f"{figure.name}.svg": svg,
        f"{figure.name}.png": embedded.into_png(figure.png, packet),
        f"{figure.name}.dcm": secondary_capture(
            figure.png,
            request,
            origin,
            title=title.en,
            warning=warning.en,
            content_sha256=hashlib.sha256(svg).hexdigest(),
        ),
        f"{figure.name}.pdf": to_pdf(figure.svg, inks=request.style == "journal", xmp=packet),
    }
    facts = request.facts()
    if figure.answer_key is None:
        bare[f"{figure.name}.html"] = interactive_page(figure, origin)
    else:
        bare[f"{figure.name}.answers.svg"] = embedded.into_svg(figure.answer_key, packet)
        facts = {"style": request.style, "sha256": hashlib.sha256(canonical_json(facts)).hexdigest()}
    sidecar = {
        **figure.sidecar,
        "files": {
            name.removeprefix(f"{figure.name}."): {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
            for name, data in bare.items()
        },
        "hash": "SHA-256 of the file without its medillus credential",
    }
    bare[f"{figure.name}.json"] = canonical_json(sidecar)
    signed, files = seal(origin, facts, bare | dict(further or {}), key=key, unchanged=further or ())
    return FinishedFigure(figure.name, files, sidecar, signed)


def seal(
    origin: Origin,
    facts: Mapping[str, Any],
    bare: Mapping[str, bytes],
    *,
    key: SigningKey,
    unchanged: Collection[str] = (),
) -> tuple[SignedManifest, dict[str, bytes]]:
    """Sign a manifest of these files; the manifest, and the files with it in each that can carry it and beside them.

    For what is no `Figure` (a summary, the files of a volume). `facts` is everything that was asked for, as JSON data;
    `bare` is plain name → bytes; files named in `unchanged` get no credential.

    Raises:
        InputError: a name is no plain file name, or a file is cut off.
    """
    signed = key.sign(build_manifest(origin, facts, bare))
    written = signed.to_bytes()
    files = {
        name: credential.attach(data, written) if name not in unchanged and credential.kind_of(data) else data
        for name, data in bare.items()
    }
    return signed, files | {origin.figure + MANIFEST_SUFFIX: written}
