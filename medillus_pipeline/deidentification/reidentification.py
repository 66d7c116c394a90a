"""The way back from a pseudonym: a table per delivery, restricted, encrypted at rest. Off unless a site asks for it.

A table says which original stands behind each pseudonym of one delivery. It is encrypted and authenticated (AES-256 in
GCM, NIST SP 800-38D) under a key of its own, so that neither the vault's reader nor the holder of the pseudonym key can
read it alone. A table that was altered, cut or exchanged for another delivery's is refused. Every look-up leaves a
line in the access log before anything is read; the log never holds an original.

Where the key lies is decided in `settings.py`; originals are collected by the workers of `ingest.py`.
"""

import hashlib
import hmac
import json
import os
import re
import secrets
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Literal, get_args

from medillus_pipeline.deidentification.pseudonyms import MINIMUM_KEY_BYTES, Pseudonymiser
from medillus_pipeline.errors import ConfigurationError, InputError
from medillus_pipeline.zones import Zone

Kind = Literal["patient", "study", "series", "instance"]

MAGIC = b"MEDILLUS-REIDENTIFICATION"
VERSION = 1
FOLDER = "reidentification"
SUFFIX = ".table"
PSEUDONYM = re.compile(r"p-[0-9a-f]{16}|2\.25\.[0-9]{1,39}")
"""What may be asked for: a patient pseudonym or a pseudonymous UID. Nothing else reaches the access log."""

_CHECK_BYTES, _NONCE_BYTES = 8, 12
_TABLE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}")


@dataclass(frozen=True)
class Original:
    """What stood in the source in place of a pseudonym. `original` is **identified**: a Patient ID (or what stands for
    one where it was empty) or a UID."""

    kind: Kind
    pseudonym: str
    original: str = field(repr=False)


@dataclass(frozen=True)
class Entry:
    """A row of a table. **Identified.** `days` is the shift of a patient's dates (add its negative to get back), None
    for what is no patient, or where dates were not moved."""

    kind: Kind
    pseudonym: str
    original: str = field(repr=False)
    days: int | None = None


def entries_of(originals: Iterable[Original], pseudonymiser: Pseudonymiser, *, dates_moved: bool) -> list[Entry]:
    """The rows of a table, each once, sorted; a patient's with its shift where dates were moved."""
    found = set()
    for item in originals:
        days = pseudonymiser.date_shift(item.original) if dates_moved and item.kind == "patient" else None
        found.add(Entry(item.kind, item.pseudonym, item.original, days))
    order = get_args(Kind)
    return sorted(found, key=lambda entry: (order.index(entry.kind), entry.pseudonym, entry.original))


class ReidentificationTables:
    """The tables of one vault (or of the report folder of `medillus deidentify`) under one key of at least 32 bytes.

    Raises ConfigurationError where the key is shorter, or is the pseudonym key (`other_than`): who can make pseudonyms
    would then be able to undo them.
    """

    def __init__(self, zone: Zone, key: bytes, *, other_than: bytes | None = None) -> None:
        if len(key) < MINIMUM_KEY_BYTES:
            raise ConfigurationError(f"the re-identification key needs at least {2 * MINIMUM_KEY_BYTES} digits")
        if other_than is not None and hmac.compare_digest(key, other_than):
            raise ConfigurationError("the re-identification key is the pseudonym key: make another, `medillus key new`")
        self.zone = zone
        self._cipher_key = hmac.new(key, b"medillus re-identification, AES-256-GCM, 1", hashlib.sha256).digest()
        self._check = hmac.new(key, b"medillus re-identification, check", hashlib.sha256).digest()[:_CHECK_BYTES]

    def publish(self, name: str, entries: Iterable[Entry]) -> str:
        """Write the table of a delivery in one atomic act, replacing an earlier one; returns its path in the zone.

        `name` is the partition key, never a landing folder's name. Raises StoreError where the zone is unwritable.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if not _TABLE_NAME.fullmatch(name):
            raise ValueError("the name of a table is a partition key")
        plain = zlib.compress(json.dumps([asdict(entry) for entry in entries]).encode(), 6)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        header = MAGIC + bytes([VERSION]) + self._check
        sealed = AESGCM(self._cipher_key).encrypt(nonce, plain, header + name.encode())
        path = f"{FOLDER}/{name}{SUFFIX}"
        self.zone.write(path, header + nonce + sealed)
        return path

    def names(self) -> list[str]:
        """Names of the tables, sorted."""
        prefix = f"{FOLDER}/"
        found = (path.removeprefix(prefix) for path in self.zone.files(FOLDER))
        return sorted(name.removesuffix(SUFFIX) for name in found if name.endswith(SUFFIX) and "/" not in name)

    def read(self, name: str) -> list[Entry]:
        """The rows of a table. Raises InputError where it was altered, is not ours, or is under another key."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        data = self.zone.read(f"{FOLDER}/{name}{SUFFIX}")
        start = len(MAGIC) + 1 + _CHECK_BYTES
        header, nonce, sealed = data[:start], data[start : start + _NONCE_BYTES], data[start + _NONCE_BYTES :]
        if not header.startswith(MAGIC) or len(data) <= start + _NONCE_BYTES:
            raise InputError(f"the re-identification table {name} is damaged: restore it, or ingest the delivery again")
        if header[len(MAGIC)] != VERSION:
            raise InputError(f"the re-identification table {name} is of another release: read it with that one")
        if not hmac.compare_digest(header[-_CHECK_BYTES:], self._check):
            raise InputError(
                f"the re-identification table {name} was written under another key, or its head was altered: "
                "name the file with that key in MEDILLUS_REIDENTIFICATION_KEY_FILE"
            )
        try:
            plain = AESGCM(self._cipher_key).decrypt(nonce, sealed, header + name.encode())
        except InvalidTag:
            raise InputError(
                f"the re-identification table {name} was altered or exchanged after it was written; nothing of it is "
                "shown: restore it from its backup, or ingest the delivery again"
            ) from None
        return [Entry(**row) for row in json.loads(zlib.decompress(plain))]

    def find(self, pseudonym: str) -> list[Entry]:
        """The originals behind a pseudonym in all tables, each once. The access is written down first.

        Raises InputError for what is no pseudonym of ours (it is not logged: it may be an identity), and like `read`;
        StoreError where the access cannot be written down: then nothing is read.
        """
        if not PSEUDONYM.fullmatch(pseudonym):
            raise InputError("that is no pseudonym: patients are p- and 16 hexadecimal digits, UIDs begin with 2.25.")
        self._log(pseudonym)
        found = [entry for name in self.names() for entry in self.read(name) if entry.pseudonym == pseudonym]
        return list(dict.fromkeys(found))

    def _log(self, pseudonym: str) -> None:
        """One line in a file of its own: an object store cannot append, and two readers at a time lose nothing."""
        moment = datetime.now(UTC).isoformat(timespec="microseconds")
        line = f"{moment} {user_name()} {pseudonym}\n"
        name = f"{moment.replace(':', '')}-{secrets.token_hex(4)}"
        self.zone.write(f"{FOLDER}/access/{name}.log", line.encode("utf-8", "backslashreplace"))

    def accesses(self) -> list[str]:
        """The lines of the access log, oldest first: time (UTC), user of the operating system, pseudonym."""
        paths = [path for path in self.zone.files(f"{FOLDER}/access") if path.endswith(".log")]
        return sorted(self.zone.read(path).decode().rstrip("\n") for path in paths)


def user_name() -> str:
    """The user of this process by its user id: what the environment claims does not count."""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        return f"uid-{os.getuid()}" if hasattr(os, "getuid") else os.environ.get("USERNAME", "unknown")
