"""The connection to an S3 store: one client for a process and its credentials, patience with an end, reasons in words.

A zone on S3 works through it (`zones.py`). What is written where is not here.
"""

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CONNECT_SECONDS = 5.0
"""How long the store may take to accept a connection."""
READ_SECONDS = 15.0
"""How long it may be silent while an answer is awaited."""
ATTEMPTS = 3
"""How often a request is sent at most, unless AWS_MAX_ATTEMPTS says otherwise."""
REFUSALS = {
    "NoSuchBucket": "the bucket does not exist: check the URL of the zone, or make the bucket",
    "AccessDenied": "access is denied: check the credentials and the policy of the bucket",
    "InvalidAccessKeyId": "the access key is unknown to the store: check the credentials",
    "SignatureDoesNotMatch": "the secret key is not the one the store knows: check the credentials",
    "RequestTimeTooSkewed": "the clock of this machine differs from that of the store: set it right",
    "ExpiredToken": "the credentials have expired: renew them",
    "403": "access is denied: check the credentials and the policy of the bucket",
}
"""What S3 answers when no further attempt would be answered otherwise."""
_CLIENTS = ("botocore", "aiobotocore", "aiohttp")
_FILES = (("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"), ("AWS_CONFIG_FILE", "~/.aws/config"))


class NoAnswer(ConnectionError):
    """The store did not answer a request, however often it was sent."""


def filesystem() -> Any:
    """The s3fs filesystem of this process: the same for all zones and threads, as long as the credentials are the same.

    To open one loads botocore's description of S3, which costs as much CPU as a hundred requests. A forked process gets
    its own, as do changed variables `AWS_…`, proxies, or files of credentials. Listings are never cached, for another
    process may write.
    """
    wanted = _circumstances()
    with _lock:
        kept = _kept.get(os.getpid())
        if kept is None or kept[0] != wanted:
            kept = _kept[os.getpid()] = (wanted, _opened())
        return kept[1]


def pages(bucket: str, prefix: str, after: str = "") -> Iterator[tuple[list[dict[str, Any]], bool]]:
    """The objects whose keys begin with `prefix` and follow on `after`, a request for each page, and whether the page
    is the last. Raises what botocore raises, NoAnswer among it.
    """
    asked = {"Bucket": bucket, "Prefix": prefix} | ({"StartAfter": after} if after else {})
    while True:
        page = filesystem().call_s3("list_objects_v2", **asked)
        last = not page.get("IsTruncated")
        yield page.get("Contents", []), last
        if last:
            return
        asked["ContinuationToken"] = page["NextContinuationToken"]


def is_trouble(error: Exception) -> bool:
    """Whether an exception means that the store, or the way to it, failed."""
    return isinstance(error, OSError) or type(error).__module__.split(".")[0] in _CLIENTS


def code(error: BaseException | None) -> str:
    """What S3 called the error that s3fs translated, or empty."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
        error = error.__cause__
    return ""


_lock = threading.Lock()
_kept: dict[int, tuple[bytes, Any]] = {}
"""Process id → what its filesystem was opened under, and it. A forked process leaves its parent's alone."""


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)  # another thread may have held it


def _circumstances() -> bytes:
    """A hash of all that a client takes its endpoint and credentials from."""
    variables = sorted(
        (name, value)
        for name, value in os.environ.items()
        if name.startswith("AWS_") or name.upper().endswith("_PROXY")
    )
    files = []
    for variable, usual in _FILES:
        try:
            facts = Path(os.environ.get(variable) or usual).expanduser().stat()
            files.append((facts.st_ino, facts.st_size, facts.st_mtime_ns))
        except (OSError, RuntimeError):  # not there, or no home to look in
            files.append(None)
    return hashlib.sha256(repr((variables, files)).encode(errors="surrogateescape")).digest()


def _opened() -> Any:
    from aiobotocore.session import AioSession
    from s3fs import S3FileSystem

    session = AioSession()
    session.register("after-call-error.s3", _give_up)
    retries: dict[str, Any] = {"mode": os.environ.get("AWS_RETRY_MODE") or "standard"}
    if not os.environ.get("AWS_MAX_ATTEMPTS"):
        retries["total_max_attempts"] = ATTEMPTS
    opened = S3FileSystem(
        session=session,
        config_kwargs={"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS, "retries": retries},
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    opened.retries = ATTEMPTS  # of answers that broke off, which botocore does not ask for again
    return opened


def _give_up(exception: Exception, **_: Any) -> None:
    """Called when botocore has made its attempts: s3fs would have it make them again, up to 25 times over."""
    from botocore.exceptions import ConnectionError as Unconnected
    from botocore.exceptions import HTTPClientError

    if isinstance(exception, Unconnected | HTTPClientError):
        raise NoAnswer(f"it does not answer ({type(exception).__name__})") from exception
