"""The site's key and the signature of a manifest: Ed25519 (RFC 8032) over its canonical JSON.

Anybody can check it with the public key; the deletion records of the vault need none to, so they carry a MAC instead.
What is not here: where the secret lies (`settings.py`), what a manifest says (`provenance.py`).
"""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from medillus_pipeline.errors import ConfigurationError, InputError
from medillus_pipeline.illustration.provenance import FORMAT, FORMAT_VERSION, Origin
from medillus_pipeline.illustration.request import canonical_json

SECRET_BYTES = 32
CONTEXT = b"medillus figure manifest, form 1\n"
"""Stands before what is signed, so that a signature made for something else never counts as one of a figure."""
_ALGORITHM = "Ed25519"
_PUBLIC = re.compile(r"[0-9a-f]{64}")
_SIGNATURE = re.compile(r"[0-9a-f]{128}")
_LONGEST_LINE = 4096


@dataclass(frozen=True)
class SignedManifest:
    """A manifest (see `provenance.build_manifest`), the public key it names (64 hexadecimal digits), the signature."""

    manifest: dict[str, Any]
    public_key: str
    signature: str

    @classmethod
    def from_bytes(cls, data: bytes) -> "SignedManifest":
        """The inverse of `to_bytes`; says nothing about the signature. Raises InputError for anything else."""
        try:
            found = json.loads(data)
            seal = found["signature"]
            manifest, public, value = found["manifest"], seal["public_key"], seal["value"]
            sound = (
                manifest["format"] == FORMAT
                and seal["algorithm"] == _ALGORITHM
                and bool(_PUBLIC.fullmatch(public) and _SIGNATURE.fullmatch(value))
            )
            version = manifest["format_version"]
            signed = cls(manifest, public, value)
            same = signed.to_bytes() == data
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InputError("the manifest is none of this package: take it again from where it came") from None
        if sound and version != FORMAT_VERSION:
            raise InputError(
                f"the manifest has form {version!r}, and this release reads {FORMAT_VERSION}: use a newer release"
            )
        if not sound or not same:
            raise InputError("the manifest is not in the form in which it was written: take it again from its source")
        return signed

    def to_bytes(self) -> bytes:
        """Canonical JSON, the same bytes for the same manifest and key."""
        seal = {"algorithm": _ALGORITHM, "public_key": self.public_key, "value": self.signature}
        return canonical_json({"manifest": self.manifest, "signature": seal})

    @property
    def figure(self) -> str:
        """The figure's name as the manifest gives it."""
        return str(self.manifest.get("figure"))

    @property
    def origin(self) -> Origin:
        """What the figure was made from. Raises InputError for fields that this release does not know."""
        try:
            return Origin(**self.manifest["origin"])
        except (KeyError, TypeError):
            raise InputError("the manifest describes its figure as no release up to this one does: update") from None

    def is_whole(self) -> bool:
        """Whether the signature was made over this manifest with the secret of the key that stands in it."""
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.public_key))
        try:
            key.verify(bytes.fromhex(self.signature), CONTEXT + canonical_json(self.manifest))
        except InvalidSignature:
            return False
        return True

    def is_by(self, keys: Collection[str]) -> bool:
        """Whether the key that stands in it is one of these."""
        return self.public_key in keys


@dataclass(frozen=True)
class SigningKey:
    """The site's key; `secret` (32 bytes) is never printed by `repr`."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != SECRET_BYTES:
            raise ConfigurationError(f"the signing key must hold {2 * SECRET_BYTES} hexadecimal digits, no more")

    @property
    def public(self) -> str:
        """The public key, 64 hexadecimal digits."""
        return Ed25519PrivateKey.from_private_bytes(self.secret).public_key().public_bytes_raw().hex()

    def sign(self, manifest: Mapping[str, Any]) -> SignedManifest:
        """The signed manifest; the same one gives the same signature."""
        secret = Ed25519PrivateKey.from_private_bytes(self.secret)
        return SignedManifest(dict(manifest), self.public, secret.sign(CONTEXT + canonical_json(manifest)).hex())


def public_key_file(key: SigningKey) -> str:
    """The text of the file that others check with."""
    return f"# public key of figures (Ed25519); give it to whoever runs `medillus verify --public-key`\n{key.public}\n"


def parse_public_keys(text: str) -> tuple[str, ...]:
    """Public keys of a file: 64 hexadecimal digits a line, former keys below the present one; # begins a remark.

    Raises InputError, quoting nothing, for any other line and for a file without a key.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        plain = line[:_LONGEST_LINE].partition("#")[0].strip().lower()
        if plain and not _PUBLIC.fullmatch(plain):
            raise InputError(f"line {number} of the public key file is no key: 64 hexadecimal digits")
        found += [plain] if plain else []
    if not found:
        raise InputError("the public key file holds no key: 64 hexadecimal digits a line")
    return tuple(found)


def short(public_key: str) -> str:
    """The key as it is shown to people: the first 16 digits."""
    return public_key[:16]
