"""Who may speak to the studio: its token and cookie, the Host and the Origin of every request, and what answers forbid.

A web page elsewhere can make a browser send requests to loopback, and a name that it owns can resolve to loopback (DNS
rebinding). Hence the Host is held against a closed list, a request that changes something must state an Origin of that
list, and the cookie goes nowhere but here. What is not here: what the requests do (`routes.py`).
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SESSION_SECONDS = 12 * 3600
MOST_SESSIONS = 64
LARGEST_BODY = 12 << 20
"""Bytes of a request: a photograph of a sheet as base64, and little else."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
"""With `no-referrer` a browser would send the form's Origin as null; `same-origin` keeps the token from others too."""

OPEN_PATHS = ("/", "/enter", "/studio.css")
"""What answers without a session: `/` with the form that asks for the token."""
_READING = ("GET", "HEAD")


@dataclass
class Access:
    """Token and sessions of one running studio; `hosts` are the values of Host that it answers to, with the port.

    A `once` token opens one session and is spent, as the address with it stays in the browser's history; a site's own
    token opens any number.
    """

    hosts: Collection[str]
    token: str = field(repr=False)
    cookie: str = "medillus_studio"
    once: bool = True
    https: bool = False
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    _sessions: dict[str, float] = field(default_factory=dict, repr=False)
    _spent: bool = False

    def enter(self, given: str) -> str | None:
        """A session for this token; None where it is another, or spent."""
        if not hmac.compare_digest(given.encode(), self.token.encode()) or (self.once and self._spent):
            return None
        self._spent = True
        now = self.clock()
        self._sessions = {name: ends for name, ends in self._sessions.items() if ends > now}
        while len(self._sessions) >= MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        session = secrets.token_urlsafe(32)
        self._sessions[_hashed(session)] = now + SESSION_SECONDS
        return session

    def is_open(self, session: str | None) -> bool:
        """Whether this is a session that was opened here and has not run out."""
        return session is not None and self._sessions.get(_hashed(session), 0) > self.clock()

    def origins(self) -> frozenset[str]:
        """The Origins of pages that were served here."""
        return frozenset(f"{'https' if self.https else 'http'}://{host}" for host in self.hosts)

    def session_of(self, headers: Headers) -> str | None:
        """The session that the request's cookie names."""
        return cookie_parser(headers.get("cookie", "")).get(self.cookie)

    def refusal(self, method: str, path: str, headers: Headers) -> tuple[int, str] | None:
        """Status and sentence where the request is not answered; None where it is."""
        if len(headers.getlist("host")) != 1 or headers["host"].lower() not in self.hosts:
            return 421, "this is not an address of the studio: open the one that it printed"
        origin = headers.get("origin")
        if origin is None and method not in _READING:
            return 403, "the request does not say which page sent it"
        if origin is not None and origin.lower() not in self.origins():
            return 403, "the request comes from another page"
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none") and path != "/":
            return 403, "the request comes from another page"
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > LARGEST_BODY:
            return 413, f"a request holds at most {LARGEST_BODY >> 20} MB: send a smaller picture"
        if path not in OPEN_PATHS and not self.is_open(self.session_of(headers)):
            return 401, "the session has ended, or never began: open the address that the studio printed"
        return None


class Guard:
    """ASGI middleware: refuses what `Access` refuses, and puts the headers above on every answer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Only HTTP is spoken; a websocket is closed."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refused = self.access.refusal(scope["method"], scope["path"], Headers(scope=scope))
        if refused is not None:
            status, sentence = refused
            answer = JSONResponse({"error": {"en": sentence, "zh": REFUSED_ZH[status]}}, status)
            await answer(scope, receive, guarded)
            return
        await self.app(scope, receive, guarded)


REFUSED_ZH = {
    401: "会话已结束或尚未开始：请打开工作室给出的地址",
    403: "请求来自其他页面",
    413: f"请求最大 {LARGEST_BODY >> 20} MB：请使用较小的图片",
    421: "这不是工作室的地址：请打开工作室给出的地址",
}


def _hashed(session: str) -> str:
    return hashlib.sha256(session.encode()).hexdigest()
