"""Who gets in, over real HTTP: token, cookie, Host, Origin, sizes, and what errors and logs give away."""

import base64
import json
import logging
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import numpy as np
import pytest

from medillus_pipeline.errors import ConfigurationError
from medillus_pipeline.studio import server
from medillus_pipeline.studio.access import LARGEST_BODY, Access
from medillus_pipeline_tests.studio.conftest import Running, Start


class Visitor:
    """Speaks HTTP with headers of one's own choosing."""

    def __init__(self, studio: Running) -> None:
        self.studio = studio
        self.cookie = ""

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str | None) -> tuple[int, dict, bytes]:
        usual: dict[str, str | None] = {"Host": f"127.0.0.1:{self.studio.port}", "Cookie": self.cookie or None}
        if method == "POST":
            usual["Origin"] = self.studio.base
        connection = HTTPConnection("127.0.0.1", self.studio.port, timeout=60)
        connection.putrequest(method, path, skip_host=True)
        for name, value in {**usual, **{name.replace("_", "-"): value for name, value in headers.items()}}.items():
            if value is not None:
                connection.putheader(name, value)
        if body is not None and "Content_Length" not in headers:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        connection.close()
        return found

    def enter(self) -> str:
        _, headers, _ = self.send("GET", f"/?token={self.studio.access.token}")
        self.cookie = headers["set-cookie"].partition(";")[0]
        return headers["set-cookie"]

    def post(self, path: str, value: Any, **headers: str | None) -> tuple[int, dict]:
        status, _, body = self.send("POST", path, json.dumps(value).encode(), **headers)
        return status, json.loads(body)


@pytest.fixture
def visitor(start: Start) -> Iterator[Visitor]:
    """At the door, without a session."""
    yield Visitor(start())


def drawing(side: int = 32) -> dict[str, Any]:
    """A liver and a spleen on the canvas."""
    ids = np.zeros((side, side), np.uint8)
    ids[9:18, 6:14], ids[12:17, 22:26] = 5, 1
    return {"side": side, "ids": base64.b64encode(ids.tobytes()).decode()}


def test_the_token_opens_once_and_leaves_the_address(visitor: Visitor) -> None:
    assert visitor.send("GET", "/api/start")[0] == 401
    assert b"studio.js" not in visitor.send("GET", "/")[2]
    cookie = visitor.enter().lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and visitor.studio.access.token.lower() not in cookie
    status, headers, _ = Visitor(visitor.studio).send("GET", f"/?token={visitor.studio.access.token}")
    assert status == 401 and "set-cookie" not in headers
    assert b"studio.js" in visitor.send("GET", "/")[2]
    assert visitor.send("GET", "/api/start")[0] == 200
    assert visitor.send("GET", "/api/start", Cookie="medillus_studio=" + "A" * 43)[0] == 401


@pytest.mark.parametrize("given", ["", "x", "\u00e9" * 43])
def test_another_token_opens_nothing(visitor: Visitor, given: str) -> None:
    assert visitor.studio.access.enter(given) is None
    status, headers, _ = visitor.send("POST", "/enter", b"token=" + given.encode("ascii", "replace"))
    assert status == 401 and "set-cookie" not in headers


@pytest.mark.parametrize(
    "host", ["rebound.example:{port}", "127.0.0.1", "127.0.0.1:1", "127.0.0.1:{port}.example", None]
)
def test_a_name_that_was_rebound_to_loopback_gets_no_answer(visitor: Visitor, host: str | None) -> None:
    visitor.enter()
    told = None if host is None else host.format(port=visitor.studio.port)
    status, _, body = visitor.send("GET", "/api/start", Host=told)
    assert status in (400, 421) and b"structures" not in body


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://127.0.0.1.evil.example", None]
)
def test_a_page_elsewhere_changes_nothing_even_with_the_cookie(visitor: Visitor, origin: str | None) -> None:
    visitor.enter()
    status, answer = visitor.post("/api/figures", {"way": "organs", "drawing": drawing()}, Origin=origin)
    assert status == 403 and "error" in answer
    status, _ = visitor.post("/api/understand", {"text": "liver"}, Sec_Fetch_Site="cross-site")
    assert status == 403


def test_every_answer_forbids_what_the_page_does_not_need(visitor: Visitor) -> None:
    visitor.enter()
    for path in ("/", "/api/start", "/studio.js", "/nowhere", "/figures/f-000000000000/svg"):
        _, headers, _ = visitor.send("GET", path)
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"


def test_a_body_beyond_the_limit_is_refused_whether_or_not_its_length_is_told(visitor: Visitor) -> None:
    visitor.enter()
    told = visitor.send("POST", "/api/figures", b"", Content_Length=str(LARGEST_BODY + 1))
    assert told[0] == 413
    connection = HTTPConnection("127.0.0.1", visitor.studio.port, timeout=60)
    chunks = (b" " * (1 << 20) for _ in range((LARGEST_BODY >> 20) + 1))
    headers = {"Cookie": visitor.cookie, "Origin": visitor.studio.base, "Transfer-Encoding": "chunked"}
    connection.request("POST", "/api/figures", chunks, headers, encode_chunked=True)
    assert connection.getresponse().status == 413


@pytest.mark.parametrize(
    "body",
    [
        {"way": "organs", "drawing": {"side": 32, "ids": "AAAA"}},
        {"way": "organs", "drawing": {"side": 100000, "ids": ""}},
        {"way": "mask", "upload": "/etc/passwd"},
        {"way": "mask", "upload": None, "mask": "/etc/passwd"},
        {"way": "words", "wanted": {"text": "liver", "mask": "/etc/passwd"}},
        {"way": "words", "wanted": {"text": "liver", "steps": 10**9}},
        {"way": "sketch", "upload": base64.b64encode(b"<svg><image href='file:///etc/passwd'/></svg>").decode()},
        [],
    ],
)
def test_what_is_out_of_form_is_refused_in_a_sentence(visitor: Visitor, body: Any) -> None:
    visitor.enter()
    status, answer = visitor.post("/api/figures", body)
    assert status == 422
    text = json.dumps(answer)
    assert "passwd" not in text and "Traceback" not in text and "/" not in answer.get("error", {}).get("en", "")


def test_an_unexpected_error_shows_and_logs_no_word_of_itself(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("Mrs Vogelweide, born 1950")

    visitor = Visitor(start(making=fails))
    visitor.enter()
    with caplog.at_level(logging.DEBUG):
        status, answer = visitor.post("/api/figures", {"way": "organs", "drawing": drawing()})
        for _ in range(500):  # the line is written after the answer was sent
            if "RuntimeError" in caplog.text:
                break
            time.sleep(0.01)
    assert status == 500 and "RuntimeError" in caplog.text
    assert "Vogelweide" not in json.dumps(answer) + caplog.text


def test_who_comes_while_a_figure_is_made_is_told_so(start: Start) -> None:
    began, go_on = threading.Event(), threading.Event()

    def waits(*_: Any, **__: Any) -> None:
        began.set()
        go_on.wait(60)
        raise ValueError("enough")

    visitor = Visitor(start(making=waits))
    visitor.enter()
    asked = {"way": "organs", "drawing": drawing()}
    first = threading.Thread(target=visitor.post, args=("/api/figures", asked))
    first.start()
    assert began.wait(60)
    status, answer = visitor.post("/api/figures", asked)
    go_on.set()
    first.join(60)
    assert status == 409 and "already" in answer["error"]["en"]
    assert not visitor.studio.bench.busy


def test_a_session_runs_out() -> None:
    now = [0.0]
    access = Access({"127.0.0.1:1"}, "t", clock=lambda: now[0])
    session = access.enter("t")
    assert access.is_open(session)
    now[0] = 13 * 3600
    assert not access.is_open(session)


def test_beyond_this_machine_it_asks_for_a_token_of_the_site(tmp_path: Any) -> None:
    with pytest.raises(ConfigurationError, match="token"):
        server.access_for("192.0.2.7", 8321)
    file = tmp_path / "token"
    file.write_text("ab" * 32)
    file.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        server.access_for("192.0.2.7", 8321, token_file=file)
    file.chmod(0o600)
    with pytest.raises(ConfigurationError, match="--name"):
        server.access_for("0.0.0.0", 8321, token_file=file)
    access = server.access_for("0.0.0.0", 8321, token_file=file, names=["studio.example"], https=True)
    assert access.hosts == {"studio.example"} and access.origins() == {"https://studio.example"}
    assert access.enter("ab" * 32) and access.enter("ab" * 32)
