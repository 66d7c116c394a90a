"""Keys and signatures of reviewers: Ed25519 (RFC 8032), made by the sheet in a browser and checked here.

A signature, not a shared secret: the roster holds public keys only, so whoever can read or copy it can sign nothing.
The secret is shown to the reviewer once, as text with a check at its end, so that a slip in typing is told from a key
that is not on the roster. What is signed is in `verdict.py`; the browser's half is `signing.js.j2`.
"""

import hashlib
import secrets
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from medillus_pipeline.errors import InputError

SECRET_PREFIX = "mrk"
SECRET_BYTES = 32
CHECK_DIGITS = 8
CONTEXT = b"medillus verdict, form 1\n"
"""Stands before what is signed, so that a signature made for something else never counts as a verdict."""


@dataclass(frozen=True)
class ReviewerKey:
    """A reviewer's key; `secret` (32 bytes) is never printed by `repr`."""

    secret: bytes = field(repr=False)

    @classmethod
    def new(cls) -> "ReviewerKey":
        """A key from the system's random numbers."""
        return cls(secrets.token_bytes(SECRET_BYTES))

    @classmethod
    def from_text(cls, text: str) -> "ReviewerKey":
        """The inverse of `text`. Raises InputError, never quoting it, where it is mistyped."""
        plain = "".join(text.split()).replace("-", "").lower().removeprefix(SECRET_PREFIX)
        try:
            data = bytes.fromhex(plain)
        except ValueError:
            data = b""
        secret, check = data[:SECRET_BYTES], data[SECRET_BYTES:].hex()
        if len(secret) != SECRET_BYTES or check != _check(secret):
            raise InputError("the reviewer's secret is mistyped or cut off: copy it again in full")
        return cls(secret)

    @property
    def text(self) -> str:
        """The secret as the reviewer keeps it: mrk, then groups of eight hexadecimal digits, the last one a check."""
        digits = self.secret.hex() + _check(self.secret)
        return "-".join([SECRET_PREFIX, *(digits[at : at + 8] for at in range(0, len(digits), 8))])

    @property
    def public(self) -> str:
        """The public key, 64 hexadecimal digits: what goes into the roster."""
        return Ed25519PrivateKey.from_private_bytes(self.secret).public_key().public_bytes_raw().hex()

    def sign(self, statement: str) -> str:
        """The signature of a statement, 128 hexadecimal digits."""
        return Ed25519PrivateKey.from_private_bytes(self.secret).sign(_signed(statement)).hex()


def is_signed(statement: str, signature: str, public: str) -> bool:
    """Whether the signature of the statement was made with the secret of this public key (both hexadecimal)."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(bytes.fromhex(signature), _signed(statement))
    except (ValueError, InvalidSignature):
        return False
    return True


def _signed(statement: str) -> bytes:
    return CONTEXT + statement.encode()


def _check(secret: bytes) -> str:
    return hashlib.sha512(secret).hexdigest()[:CHECK_DIGITS]
