"""Ways out for an alert: a JSON POST to a webhook, and e-mail over SMTP. Neither knows what is told to whom.

Both raise `Undelivered` with a reason that names no address: the URL of a webhook is often a secret by itself.
"""

import hashlib
import hmac
import json
import os
import smtplib
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

from medillus_pipeline.errors import ConfigurationError

SIGNATURE = "X-Medillus-Signature"
"""Header `t=<Unix seconds>,v1=<hex>`: HMAC-SHA256 of `<t>.<body>`."""
PAUSE_SECONDS = 0.5
_WORTH_ANOTHER_TRY = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT}
_MINIMUM_SECRET = 16


class Undelivered(Exception):
    """An alert did not reach its receiver; the text says why, without an address."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the alert to a host that nobody configured."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(frozen=True)
class Webhook:
    """How to POST. `secret` signs the body; None, no signature."""

    timeout_seconds: float = 5
    attempts: int = 3
    secret: bytes | None = None

    def post(self, url: str, document: Mapping[str, Any]) -> None:
        """POST the document as JSON; any answer 2xx will do. Raises Undelivered after the last attempt.

        Refusals (4xx) and redirects are not tried again.
        """
        body = json.dumps(document, ensure_ascii=False, sort_keys=True).encode()
        opener = urllib.request.build_opener(_NoRedirect)
        reason = ""
        for attempt in range(self.attempts):
            if attempt:
                time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
            headers = {"Content-Type": "application/json", "User-Agent": "medillus-pipeline"} | self._signed(body)
            request = urllib.request.Request(url, data=body, headers=headers, method="POST")
            try:
                with opener.open(request, timeout=self.timeout_seconds):
                    return
            except urllib.error.HTTPError as error:
                error.close()
                reason = f"it answered {error.code}"
                if error.code < HTTPStatus.INTERNAL_SERVER_ERROR and error.code not in _WORTH_ANOTHER_TRY:
                    break
            except (OSError, ValueError, HTTPException) as error:
                cause = getattr(error, "reason", error)
                reason = f"no connection or no proper answer ({type(cause).__name__})"
        raise Undelivered(reason) from None

    def _signed(self, body: bytes) -> dict[str, str]:
        if self.secret is None:
            return {}
        moment = str(int(time.time()))
        digest = hmac.new(self.secret, f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
        return {SIGNATURE: f"t={moment},v1={digest}"}


@dataclass(frozen=True)
class MailServer:
    """A server that takes mail. `tls`: from the first byte, after STARTTLS (refused without), or none at all."""

    host: str
    sender: str
    port: int = 587
    tls: Literal["starttls", "tls", "none"] = "starttls"
    ca_file: str = ""
    user: str = ""
    password: str = ""
    timeout_seconds: float = 10

    def send(self, recipients: Sequence[str], subject: str, text: str) -> None:
        """One message to all recipients. Raises Undelivered when the server does not take it for any of them."""
        message = EmailMessage()
        message["Subject"] = " ".join(subject.split())[:200]
        message["From"] = self.sender
        message["To"] = ", ".join(recipients)
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
        try:
            with self._connected() as server:
                if self.user:
                    server.login(self.user, self.password)
                server.send_message(message)
        except smtplib.SMTPResponseException as error:
            raise Undelivered(f"it answered {error.smtp_code} ({type(error).__name__})") from None
        except (smtplib.SMTPException, OSError) as error:
            raise Undelivered(f"no connection or refused ({type(error).__name__})") from None

    def _connected(self) -> smtplib.SMTP:
        if self.tls == "none":
            return smtplib.SMTP(self.host, self.port, timeout=self.timeout_seconds)
        trusted = ssl.create_default_context(cafile=self.ca_file or None)
        if self.tls == "tls":
            return smtplib.SMTP_SSL(self.host, self.port, timeout=self.timeout_seconds, context=trusted)
        server = smtplib.SMTP(self.host, self.port, timeout=self.timeout_seconds)
        try:
            server.starttls(context=trusted)
        except BaseException:
            server.close()
            raise
        return server


def secret_text(path: str, field: str) -> str:
    """The text of a secret file without white space at its ends.

    Raises ConfigurationError where it cannot be read, others can read it, or it is empty.
    """
    file = Path(path)
    try:
        if file.stat().st_mode & 0o077:
            raise ConfigurationError(f"{field}: others can read this file: chmod 600 it")
        text = file.read_text().strip()
    except OSError as error:
        raise ConfigurationError(f"{field}: the file cannot be read ({os.strerror(error.errno or 0)})") from None
    if not text:
        raise ConfigurationError(f"{field}: the file is empty")
    return text


def signing_secret(path: str, field: str) -> bytes:
    """The secret that signs webhooks, at least 16 bytes. Raises ConfigurationError like `secret_text`."""
    secret = secret_text(path, field).encode()
    if len(secret) < _MINIMUM_SECRET:
        raise ConfigurationError(f"{field}: the secret is shorter than {_MINIMUM_SECRET} characters")
    return secret


def host_of(url: str) -> str:
    """The host of a URL, which may be logged; its path may not."""
    return urlparse(url).hostname or "?"
