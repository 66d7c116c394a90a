"""Writes that succeed only if nobody else was first: create an object, or replace the very version that was read.

On a local folder `os.link` decides, on S3 the conditions `If-None-Match: *` and `If-Match: <ETag>` of PutObject. An
object store that ignores them is found out by `refuse_unconditional`. What is written so is not here.
"""

import os
import secrets
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple

from medillus_pipeline.errors import ConfigurationError, StoreError
from medillus_pipeline.zones import Zone

_LOST = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
"""What S3 answers when the condition does not hold, or when another write of the same object is under way."""
_NO_ETAG = f'"{"0" * 32}"'
_ABSENT = ("NoSuchKey", "404")


class Seen(NamedTuple):
    """An object of S3 as it was read: bytes, ETag, and its age in seconds by the clock of the store alone."""

    data: bytes
    etag: str
    age: float


def create(zone: Zone, path: str, data: bytes) -> bool:
    """Write an object whole if there is none at `path`; False when there is one. Raises StoreError like a zone."""
    if not zone.is_local:
        return put(zone, path, data, IfNoneMatch="*") is not None
    target = Path(zone.full(path))
    scratch = target.with_name(f".{target.name}.{secrets.token_hex(4)}.unfinished")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with scratch.open("wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            return _linked(scratch, target)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise StoreError(f"the file:// store of this zone cannot be used ({reason}); nothing was changed") from error


def _linked(scratch: Path, target: Path) -> bool:
    try:
        os.link(scratch, target)
    except FileExistsError:
        return False
    return True


def put(zone: Zone, path: str, data: bytes, **condition: str) -> str | None:
    """PutObject under `IfNoneMatch="*"` or `IfMatch=<ETag>`: the new ETag, None when the condition does not hold."""
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, key = zone.full(path).split("/", 1)
    try:
        # call_s3 raises ClientError as it came; pipe_file would turn it into an OSError without its code
        answer = zone.fs.call_s3("put_object", Bucket=bucket, Key=key, Body=data, **condition)
    except (ClientError, BotoCoreError, OSError) as error:
        if _code(error) in _LOST or ("IfMatch" in condition and _code(error) in _ABSENT):
            return None
        raise StoreError(
            f"the s3:// store of this zone did not take a conditional write ({_code(error)}): check that it is "
            "reachable and its credentials are valid; nothing was changed"
        ) from error
    return answer["ETag"]


def look(zone: Zone, path: str) -> Seen | None:
    """An object of S3 with its ETag and age, None when there is none."""
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, key = zone.full(path).split("/", 1)
    try:
        head = zone.fs.call_s3("head_object", Bucket=bucket, Key=key)
        data = zone.read(path)  # after the head: newer bytes under an older ETag lose every condition, as they should
    except FileNotFoundError:
        return None
    except (ClientError, BotoCoreError, OSError) as error:
        if _code(error) in _ABSENT:
            return None
        raise StoreError(f"the s3:// store of this zone does not answer ({_code(error)})") from error
    return Seen(data, head["ETag"], _age(head))


def refuse_unconditional(zone: Zone, path: str) -> None:
    """Raises ConfigurationError where a second create of the object at `path`, which exists, would succeed, or a
    replacement of a version that never was."""
    data = zone.read(path)
    if any(put(zone, path, data, **held) is not None for held in ({"IfNoneMatch": "*"}, {"IfMatch": _NO_ETAG})):
        raise ConfigurationError(
            "the object store of the clean zone ignores conditional writes (If-None-Match, If-Match), so two "
            "promotions could not be told apart: use a store that honours them (AWS S3, MinIO, SeaweedFS 4), or a "
            "local folder"
        )


def _age(head: dict[str, Any]) -> float:
    """Seconds since the last write. The store's own clock says both times where it sends a Date."""
    sent = head.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    now = parsedate_to_datetime(sent) if sent else datetime.now(UTC)
    return max(0.0, (now - head["LastModified"]).total_seconds())


def _code(error: BaseException) -> str:
    """What S3 called the error, through what s3fs made of it."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code", "unknown"))
    if error.__cause__ is not None:
        return _code(error.__cause__)
    return "404" if isinstance(error, FileNotFoundError) else type(error).__name__
