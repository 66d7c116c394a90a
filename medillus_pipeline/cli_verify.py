"""`medillus verify`: whether a figure's file is what it claims, in one line.

It reads public keys only and never makes one; nothing restricted is opened. How a file is judged is in
`illustration/verification.py`.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from medillus_pipeline.errors import InputError
from medillus_pipeline.settings import Settings, public_key_path

if TYPE_CHECKING:
    from medillus_pipeline.illustration.provenance import Origin

console = Console(highlight=False)
_LARGEST = 4 << 30
_LARGEST_MANIFEST = 16 << 20
_MOST_MANIFESTS = 10_000


def register(app: typer.Typer) -> None:
    """Add the command of this module to `medillus`."""
    app.command("verify")(verify_command)


def verify_command(
    file: Annotated[Path, typer.Argument(help="A figure's file: SVG, PNG, PDF, DICOM, HTML, JSON, or its manifest.")],
    public_key: Annotated[
        Path | None,
        typer.Option(help="File with the public key of the site that signed; default: this site's own."),
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="The manifest to check against; default: the one in the file, or beside it.")
    ] = None,
) -> None:
    """Say whether a figure is what it claims: unaltered, signed by a known key, and what it was made from."""
    from medillus_pipeline.illustration import signing
    from medillus_pipeline.illustration.provenance import MANIFEST_SUFFIX
    from medillus_pipeline.illustration.verification import verify, verify_manifest
    from medillus_pipeline.tables import storable

    settings = Settings.from_environment()
    data = _read(file, "the file to verify", _LARGEST)
    own = public_key_path(settings.signing_key_file)
    has_own = os.access(own, os.R_OK)
    if public_key is None and not has_own:
        raise InputError(
            "there is no key to check with: this home has signed nothing yet, or its public key is not for you to "
            "read. Ask the site that made the figure for its public key and give it with --public-key"
        )
    trusted = _keys(public_key or own)
    if file.name.endswith(MANIFEST_SUFFIX):
        signed = verify_manifest(data, storable(file.name), trusted=trusted)
        origin, key = signed.origin, signed.public_key
        said = (
            f"{file.name} is a manifest as signed with the key {signing.short(key)}, for "
            f"{len(signed.manifest['files'])} files of figure {origin.figure}; {origin.sentence()}"
        )
    else:
        found = verify(
            data,
            storable(file.name),
            beside=[_read(manifest, "the manifest", _LARGEST_MANIFEST)] if manifest else _manifests(file),
            trusted=trusted,
            only_beside=manifest is not None,
        )
        origin, key, said = found.origin, found.public_key, found.sentence()
    since = _since(settings, origin, has_own and key in _keys(own))
    console.print(escape(storable(f"{said}; {since}" if since else said)), soft_wrap=True)


def _since(settings: Settings, origin: "Origin", signed_here: bool) -> str:
    """What this home knows of the model version since. Raises InputError where it was revoked.

    Version numbers mean something in the registry of the site that signed, so another site's are not looked up.
    """
    from medillus_pipeline.tables import PROMOTIONS, TableStore
    from medillus_pipeline.validation.champion_history import History, Turn

    if origin.source != "generated":
        return ""
    if not signed_here:
        return "whether the model was revoked since is known where it was signed"
    past = History.of(Turn.of(row) for row in TableStore(settings.clean).read_all(PROMOTIONS).to_pylist())
    if origin.model_version in past.revoked:
        raise InputError(
            f"figure {origin.figure} is as it was signed, but version {origin.model_version} of "
            f"{origin.model_name or 'the model'}, which drew it, was revoked since: use it no more"
        )
    if any(turn.version == origin.model_version for turn in past.turns):
        return "the model is not revoked"
    return "this home knows no promotion of that model version"


def _manifests(file: Path) -> list[bytes]:
    """The manifests beside a file."""
    from medillus_pipeline.illustration.provenance import MANIFEST_SUFFIX

    names = sorted(path for path in file.parent.glob(f"*{MANIFEST_SUFFIX}") if path.is_file())[:_MOST_MANIFESTS]
    names.sort(key=lambda path: not file.name.startswith(path.name.removesuffix(MANIFEST_SUFFIX)))
    return [_read(path, "the manifest beside it", _LARGEST_MANIFEST) for path in names]


def _keys(path: Path) -> tuple[str, ...]:
    from medillus_pipeline.illustration.signing import parse_public_keys

    return parse_public_keys(_read(path, "the public key file", 1 << 20).decode("utf-8", "replace"))


def _read(path: Path, what: str, largest: int) -> bytes:
    try:
        if path.stat().st_size > largest:
            raise InputError(f"{what} has more than {largest >> 20} MiB: that is no file of a figure")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{what} cannot be read ({os.strerror(error.errno or 0)})") from None
