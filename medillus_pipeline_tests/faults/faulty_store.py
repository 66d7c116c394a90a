"""An S3 server on loopback behind a proxy that fails on request: what a store in trouble sends.

What the pipeline makes of it is tested elsewhere; nothing here knows the pipeline.
"""

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest

from medillus_pipeline_tests.s3_server import BUCKET, LOOPBACK, s3_server

Act = Literal["503", "500", "403", "skewed", "silent", "slow", "cut", "half"]
"""An error code; no answer at all; an answer after a while; the connection cut in the middle of the request's body; the
answer's body cut in its middle.
"""
_CODES = {
    "503": (503, "SlowDown"),
    "500": (500, "InternalError"),
    "403": (403, "AccessDenied"),
    "skewed": (403, "RequestTimeTooSkewed"),
}
_HOP_BY_HOP = ("connection", "transfer-encoding", "expect", "keep-alive")


@dataclass
class Fault:
    """What happens to requests of a method whose target holds `target`, for the first `times` of them."""

    act: Act
    method: str = ""
    target: str = ""
    times: int = 1_000_000
    seconds: float = 0.3

    def takes(self, method: str, target: str) -> bool:
        """Whether the request is one of those; it is counted then."""
        meant = self.times > 0 and self.method in ("", method) and self.target in target
        self.times -= meant
        return meant


@dataclass
class FaultyStore:
    """Faults to come, and (method, target) of all requests that came. `zone_url` is a zone in the bucket."""

    url: str
    server: tuple[str, int]
    faults: list[Fault] = field(default_factory=list)
    seen: list[tuple[str, str]] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def zone_url(self) -> str:
        return f"s3://{BUCKET}/clean"

    @property
    def direct(self) -> Any:
        """A client that goes round the proxy."""
        import boto3

        host, port = self.server
        return boto3.client("s3", endpoint_url=f"http://{host}:{port}")

    def objects(self) -> list[str]:
        """All objects of the bucket."""
        return [found["Key"] for found in self.direct.list_objects_v2(Bucket=BUCKET).get("Contents", ())]

    def unfinished(self) -> list[str]:
        """Keys of multipart uploads that were neither completed nor given up."""
        return [found["Key"] for found in self.direct.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ())]

    def asked(self, method: str, target: str = "") -> int:
        """How many requests of that kind came."""
        return sum(one == method and target in other for one, other in self.seen)


@contextmanager
def faulty_store() -> Iterator[FaultyStore]:
    """A store without faults as yet, with an empty bucket; credentials and endpoint stand in the environment."""
    with s3_server() as behind, pytest.MonkeyPatch.context() as patch:
        address = urlsplit(behind.url)
        proxy = _Proxy((LOOPBACK, 0), _Handler)
        url = f"http://{LOOPBACK}:{proxy.server_address[1]}"
        proxy.store = store = FaultyStore(url, (address.hostname or LOOPBACK, address.port or 80))
        threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True).start()
        for name in ("AWS_ENDPOINT_URL", "MLFLOW_S3_ENDPOINT_URL"):
            patch.setenv(name, url)
        try:
            yield store
        finally:
            store.stopped.set()
            proxy.shutdown()
            proxy.server_close()


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True
    store: FaultyStore

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Proxy

    def log_message(self, format: str, *args: Any) -> None:
        """No line for each request."""

    def _serve(self) -> None:
        store = self.server.store
        store.seen.append((self.command, self.path))
        fault = next((one for one in store.faults if one.takes(self.command, self.path)), None)
        act = fault.act if fault else None
        if act == "cut":
            self.rfile.read(int(self.headers.get("Content-Length", 0)) // 2)
            return self._hang_up()
        body = self._body()
        if act == "silent":
            store.stopped.wait()
            return self._hang_up()
        if fault and act == "slow":
            time.sleep(fault.seconds)
        if act in _CODES:
            status, code = _CODES[act]
            text = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
            return self._answer(status, {"Content-Type": "application/xml"}, text)
        link = http.client.HTTPConnection(*store.server, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        link.request(self.command, self.path, body, headers)
        answer = link.getresponse()
        data = answer.read()
        link.close()
        self._answer(answer.status, dict(answer.getheaders()), data, half=act == "half")

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        whole = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def _answer(self, status: int, headers: dict[str, str], body: bytes, *, half: bool = False) -> None:
        self.send_response_only(status)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        for name, value in headers.items():
            if name.lower() not in (*_HOP_BY_HOP, "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if half else body)
        if half:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
