"""Serving the studio: addresses, the token, and a log that quotes nothing.

The access log is off, since addresses hold the token once; of an unexpected error the terminal shows the type and the
place, never the message, which may quote what somebody typed.
"""

import ipaddress
import logging
import secrets
import socket
import traceback
from collections.abc import Collection
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from medillus_pipeline.errors import ConfigurationError
from medillus_pipeline.settings import read_secret
from medillus_pipeline.studio.access import LOOPBACK, Access

MOST_CONNECTIONS = 64
TOKEN_FILE = "the file of --token-file"


def access_for(
    host: str,
    port: int,
    *,
    names: Collection[str] = (),
    token_file: Path | None = None,
    https: bool = False,
) -> Access:
    """Who may speak to a studio on this host and port.

    On loopback without a file the token is new and opens one session. Anywhere else the site sets it, since an address
    in a terminal does not reach the people there: a file of mode 0600 with 64 or more hexadecimal digits. `names` are
    further host names, with their port where it is not that of the scheme, that a proxy passes on.
    Raises ConfigurationError for a host beyond loopback without a token, or one that stands for all addresses without
    names.
    """
    inside = is_loopback(host)
    if not inside and token_file is None:
        raise ConfigurationError(
            "beyond this machine the studio needs a token of the site: write 64 hexadecimal digits into a file of mode "
            "0600 (openssl rand -hex 32) and name it with --token-file"
        )
    if not inside and not names and _is_everywhere(host):
        raise ConfigurationError(f"{host} is every address: say with --name under which one people open the studio")
    own = LOOPBACK if inside else () if _is_everywhere(host) else (host,)
    hosts = {f"{_bracketed(name)}:{port}" for name in own} | {name.lower() for name in names}
    if port == (443 if https else 80):
        hosts |= {_bracketed(name) for name in own}
    token = secrets.token_urlsafe(32) if token_file is None else read_secret(token_file, TOKEN_FILE).hex()
    return Access(frozenset(hosts), token, f"medillus_studio_{port}", once=token_file is None, https=https)


def bound(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises ConfigurationError where the address cannot be had."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigurationError(
            f"port {port} of {host} cannot be used ({error.strerror}): choose another --port"
        ) from None
    return made


def serve(app: Starlette, listening: socket.socket) -> None:
    """Answer until Ctrl-C."""
    server(app).run(sockets=[listening])


def server(app: Starlette) -> uvicorn.Server:
    """The HTTP server as the studio wants it; tests run it in a thread."""
    logger = logging.getLogger("uvicorn.error")
    logger.addFilter(_without_messages)
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=3,
        )
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_everywhere(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return not host


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host.lower()


def _without_messages(record: logging.LogRecord) -> bool:
    """A filter that lets every record through, of an exception only its type and the line it came from."""
    if record.exc_info:
        kind, _, trace = record.exc_info
        last = traceback.extract_tb(trace)[-1:] if trace else []
        where = f" in {Path(last[0].filename).name}, line {last[0].lineno}" if last else ""
        record.msg, record.args = f"the studio failed with {kind.__name__ if kind else 'an error'}{where}", ()
        record.exc_info = record.exc_text = None
    return True
