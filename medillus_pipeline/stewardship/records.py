"""What the vault keeps of stewardship: requests, plans, signed records, and who is refused. Restricted.

A record is signed with the vault's key (HMAC-SHA256, a domain of its own), so that it cannot be altered by who holds
the vault's storage alone. None holds an original identifier.
"""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from medillus_pipeline.errors import InputError
from medillus_pipeline.zones import Zone

Kind = Literal["withdrawals", "retractions", "housekeeping", "follow_ups"]
PSEUDONYM = re.compile(r"p-[0-9a-f]{16}")
REFUSED = "refused_patients"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}")
_ROOT = "stewardship"


def now() -> str:
    """This moment, ISO 8601, UTC."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def new_name() -> str:
    """A name that tells nothing but the time, and sorts by it."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def write(vault: Zone, kind: Kind, name: str, part: str, document: Mapping[str, Any]) -> None:
    """Keep a document (`request`, `plan`, `record`) of an act, replacing an earlier one."""
    vault.write(_path(kind, name, part), _canonical(document))


def read(vault: Zone, kind: Kind, name: str, part: str) -> dict[str, Any] | None:
    """That document, or None."""
    try:
        return json.loads(vault.read(_path(kind, name, part)))
    except FileNotFoundError:
        return None


def names(vault: Zone, kind: Kind, part: str) -> list[str]:
    """Names of the acts of which there is this document, sorted."""
    found = (path.split("/") for path in vault.files(f"{_ROOT}/{kind}"))
    return sorted(parts[2] for parts in found if parts[-1] == f"{part}.json")


def sign(key: bytes, document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with its signature."""
    return {**document, "signature": _signature(key, document)}


def holds(key: bytes, signed: Mapping[str, Any]) -> bool:
    """Whether a signed document is as it was signed."""
    document = {name: value for name, value in signed.items() if name != "signature"}
    return hmac.compare_digest(_signature(key, document), str(signed.get("signature", "")))


def refuse_patient(vault: Zone, pseudonym: str) -> None:
    """Put a pseudonym on the list that ingest refuses. Raises InputError for what is none."""
    if not PSEUDONYM.fullmatch(pseudonym):
        raise InputError("that is no patient pseudonym: p- and 16 hexadecimal digits")
    vault.write(f"{REFUSED}/{pseudonym}", b"")


def refused_patients(vault: Zone) -> frozenset[str]:
    """Pseudonyms whose images are not ingested."""
    return frozenset(path.rsplit("/", 1)[-1] for path in vault.files(REFUSED))


def _path(kind: Kind, name: str, part: str) -> str:
    if not _NAME.fullmatch(name):
        raise InputError("an act of stewardship is named by letters, digits, dot, dash and underscore")
    return f"{_ROOT}/{kind}/{name}/{part}.json"


def _signature(key: bytes, document: Mapping[str, Any]) -> str:
    return hmac.new(key, b"medillus stewardship record, 1\x00" + _canonical(document), hashlib.sha256).hexdigest()


def _canonical(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False).encode()
