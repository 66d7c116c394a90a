"""Whether a file is what its signed manifest says: the answer with its reasons, or one sentence on why not.

Bytes in, verdict out. Which manifests lie beside the file, which keys are trusted and what became of the model since
is for the caller to know (`cli_verify.py`).
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration import credential
from medillus_pipeline.illustration.provenance import MANIFEST_SUFFIX, Origin
from medillus_pipeline.illustration.signing import SignedManifest, short


@dataclass(frozen=True)
class Verified:
    """A file that is what it claims: a file of this figure, as the holder of this public key signed it."""

    name: str
    origin: Origin
    public_key: str
    embedded: bool

    def sentence(self) -> str:
        """The verdict in one line without a full stop."""
        where = "the manifest in it" if self.embedded else "the manifest beside it"
        return (
            f"{self.name} is what it claims: a file of figure {self.origin.figure} as signed with the key "
            f"{short(self.public_key)} ({where}); {self.origin.sentence()}"
        )


def verify(
    data: bytes,
    name: str,
    *,
    beside: Sequence[bytes] = (),
    trusted: Collection[str],
    only_beside: bool = False,
) -> Verified:
    """Check a file against the manifest that it carries, or else against those beside it.

    `name` is the file's own name, for the sentences and to tell an altered file from a foreign manifest; `trusted` are
    public keys (64 hexadecimal digits); `only_beside` leaves the embedded manifest out of account.

    Raises InputError with one sentence: no manifest, an altered file or manifest, a manifest of another figure, a key
    that is not trusted.
    """
    try:
        bare, carried = credential.detach(data)
    except InputError as error:
        raise InputError(f"{name} is not what it claims: {error}") from None
    if carried is not None and not only_beside:
        return _against(bare, name, _parsed([carried], name)[0], trusted, embedded=True)
    found = _parsed(beside, name)
    if not found:
        raise InputError(
            f"nothing says what {name} is: it carries no signed manifest and none lies beside it; put its figure's "
            f"{MANIFEST_SUFFIX} into the same folder, or name it with --manifest"
        )
    chosen = next((signed for signed in found if _lists(signed, bare)), None)
    if chosen is None:
        chosen = next((signed for signed in found if _is_about(signed, bare, name)), found[0])
    return _against(bare, name, chosen, trusted, embedded=False)


def verify_manifest(data: bytes, name: str, *, trusted: Collection[str]) -> SignedManifest:
    """Check the signature of a manifest on its own. Raises InputError as `verify` does."""
    signed = SignedManifest.from_bytes(data)
    _check_signature(signed, name, trusted)
    return signed


def _parsed(texts: Sequence[bytes], name: str) -> list[SignedManifest]:
    """Those that are manifests: a damaged one of another figure is no reason to refuse. Raises where all are so."""
    found, why = [], ""
    for text in texts:
        try:
            found.append(SignedManifest.from_bytes(text))
        except InputError as error:
            why = why or str(error)
    if why and not found:
        raise InputError(f"{name} cannot be verified: {why}")
    return found


def _against(bare: bytes, name: str, signed: SignedManifest, trusted: Collection[str], *, embedded: bool) -> Verified:
    if not _lists(signed, bare) and not _is_about(signed, bare, name):
        where = "carries the manifest" if embedded else "has beside it the manifest"
        raise InputError(f"{name} is not what it claims: it {where} of another figure, {signed.figure}")
    _check_signature(signed, name, trusted)
    if not _lists(signed, bare):
        raise InputError(
            f"{name} is not what it claims: it was altered after figure {signed.figure} was signed; take the file "
            "again from where it came"
        )
    return Verified(name, signed.origin, signed.public_key, embedded)


def _check_signature(signed: SignedManifest, name: str, trusted: Collection[str]) -> None:
    if not signed.is_whole():
        raise InputError(
            f"{name} is not what it claims: the manifest of figure {signed.figure} was altered after it was signed"
        )
    if not signed.is_by(trusted):
        known = ", ".join(map(short, trusted)) or "none"
        raise InputError(
            f"nobody known vouches for {name}: its manifest is signed with the key {short(signed.public_key)}, and the "
            f"trusted keys are {known}; ask the site that made it for its public key and give it with --public-key"
        )


def _entries(signed: SignedManifest) -> list[dict[str, object]]:
    entries = signed.manifest.get("files")
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _lists(signed: SignedManifest, bare: bytes) -> bool:
    digest = hashlib.sha256(bare).hexdigest()
    return any(entry.get("sha256") == digest and entry.get("bytes") == len(bare) for entry in _entries(signed))


def _is_about(signed: SignedManifest, bare: bytes, name: str) -> bool:
    """Whether the file means to be of this manifest's figure: it says so itself, or is named as one of its files is."""
    return signed.figure.encode() in bare or any(entry.get("name") == name for entry in _entries(signed))
