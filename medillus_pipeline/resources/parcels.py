"""What travels to a worker of a cluster and back: one opaque parcel each way, sealed where identified values are in it.

A cluster's scheduler holds arguments and results, workers spill them to disk and quote them in logs, and its dashboard
shows them. So a task is bytes, and so is what it gives or raises: nothing of it has a readable form. A sealed parcel is
encrypted (AES-256-GCM) under a key derived from the pseudonym key, which every worker has from its own environment and
which never travels in clear. What is not here: the cluster itself (`dask_cluster.py`).
"""

import hashlib
import hmac
import secrets
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from medillus_pipeline import __version__
from medillus_pipeline.errors import ConfigurationError, MedillusError, PermanentError
from medillus_pipeline.settings import Settings, parse_secret, read_secret

_NONCE = 12
_PURPOSE = b"medillus parcels of a compute cluster"
_one_at_a_time = threading.Lock()
"""Readers silence pydicom's messages for the whole process, so a worker of several threads takes tasks by turns."""


@dataclass(frozen=True)
class Envelope:
    """How parcels are closed: encrypted under `key` (32 bytes), or only packed where it is None."""

    key: bytes | None = None

    @classmethod
    def sealed_with(cls, pseudonym_key: bytes) -> "Envelope":
        """Encrypted under a key that follows from the pseudonym key and from which that one does not follow."""
        return cls(hmac.new(pseudonym_key, _PURPOSE, hashlib.sha256).digest())

    def __repr__(self) -> str:
        return f"Envelope(sealed={self.key is not None})"

    def close(self, content: Any, label: str) -> bytes:
        """A parcel of this content; it opens under the same label only, so that none is taken for another."""
        from distributed.protocol.pickle import dumps

        packed = dumps(content)
        if self.key is None:
            return packed
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = secrets.token_bytes(_NONCE)
        return nonce + AESGCM(self.key).encrypt(nonce, packed, label.encode())

    def open(self, parcel: bytes, label: str) -> Any:
        """What a parcel holds. Raises ConfigurationError where it was closed under another key or label, or changed."""
        from distributed.protocol.pickle import loads

        if self.key is None:
            return loads(parcel)
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            packed = AESGCM(self.key).decrypt(parcel[:_NONCE], parcel[_NONCE:], label.encode())
        except InvalidTag:
            raise ConfigurationError(
                "a parcel between a step and a worker of the cluster does not open: give the workers the pseudonym key "
                "of this installation (MEDILLUS_KEY or MEDILLUS_KEY_FILE)"
            ) from None
        return loads(packed)


def perform(parcel: bytes, name: str, sealed: bool, version: str) -> tuple[bool, bytes]:
    """On a worker: open a task, do it, and close what it gave or raised. Never raises: a cluster quotes exceptions.

    `version` is of the step's package. The first value says whether the second is sealed.
    """
    envelope = Envelope()
    try:
        if version != __version__:
            raise ConfigurationError(
                f"a worker of the cluster has medillus-pipeline {__version__} and the step {version}: install the same"
            )
        if sealed:
            envelope = _own_envelope()
        function, arguments = envelope.open(parcel, f"task {name}")
        with _one_at_a_time:
            content: tuple[bool, Any] = (True, function(*arguments))
    except BaseException as error:  # noqa: BLE001 - raised again where the parcel is opened
        content = (False, _that_travels(error))
    return envelope.key is not None, envelope.close(content, f"result {name}")


def opened(answer: tuple[bool, bytes], envelope: Envelope, name: str) -> Any:
    """In the step: what a task gave. Raises what it raised."""
    sealed, parcel = answer
    succeeded, content = (envelope if sealed else Envelope()).open(parcel, f"result {name}")
    if not succeeded:
        raise content
    if envelope.key is not None and not sealed:
        raise ConfigurationError("a worker of the cluster answered a sealed task in clear: its answer was not used")
    return content


def _that_travels(error: BaseException) -> BaseException:
    """The error, or its type's name where it is none of ours and cannot be packed."""
    from distributed.protocol.pickle import dumps, loads

    if isinstance(error, MedillusError):
        return error
    try:
        loads(dumps(error))
    except Exception:  # noqa: BLE001 - whatever packing raises
        return PermanentError(f"a task on a worker of the cluster raised {type(error).__name__}")
    return error


@lru_cache(maxsize=1)
def _own_envelope() -> Envelope:
    """This worker's, from its environment. Raises ConfigurationError where it has no key; none is ever made here."""
    settings = Settings.from_environment()
    if settings.key is not None:
        return Envelope.sealed_with(parse_secret(settings.key.get_secret_value(), "MEDILLUS_KEY"))
    if not settings.key_file.exists():
        raise ConfigurationError(
            "a worker of the cluster has no pseudonym key: start it with MEDILLUS_KEY_FILE or MEDILLUS_KEY of this "
            "installation, or run restricted steps without MEDILLUS_COMPUTE"
        )
    return Envelope.sealed_with(read_secret(settings.key_file, "the worker's key file"))
