"""An alert reaches the owners' webhook and mailbox, signed and encrypted, and a receiver that is down is only named."""

import hashlib
import hmac
import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.parser import BytesParser
from email.policy import default
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from medillus_pipeline.errors import ConfigurationError
from medillus_pipeline.resources import alert_channels
from medillus_pipeline.resources.alerts import Alert, AlertsResource, read_alerts
from medillus_pipeline_tests.deployment.conftest import free_port

SECRET = "a secret of more than sixteen characters"
ALERT = Alert(
    id="1",
    kind="run_failure",
    title="ingest_delivery failed in slices",
    owners=("team:data-engineering",),
    run_id="r-1",
    job="ingest_delivery",
    asset="slices",
    partitions=("d-20260304-0a0a0a0a",),
    error_class="Failure",
    message="the disk is full: free space, then run again",
)


class Receiver(http.server.ThreadingHTTPServer):
    """A webhook on loopback: `answers` are its next status codes, then 204; `got` is what came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[int] = []
        self.got: list[tuple[dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook/very-secret-path"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.got.append((dict(self.headers), body))
        code = server.answers.pop(0) if server.answers else 204
        self.send_response(code)
        if code == 302:
            self.send_header("Location", server.url)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing: a test's output is its own."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = tmp_path / "certificate.pem", tmp_path / "key.pem"
    files[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return files


class Mailbox:
    """What a mail server took: (recipients, message), and who logged in."""

    def __init__(self) -> None:
        self.got: list[tuple[list[str], Message]] = []
        self.users: list[str] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        message = BytesParser(policy=default).parsebytes(envelope.content)
        self.got.append((list(envelope.rcpt_tos), message))
        return "250 taken"

    def authenticate(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, told: Any) -> Any:
        from aiosmtpd.smtp import AuthResult

        self.users.append(told.login.decode())
        return AuthResult(success=(told.login, told.password) == (b"medillus", b"mail password"))


@pytest.fixture
def mail(request: pytest.FixtureRequest, certificate: tuple[Path, Path]) -> Iterator[tuple[Mailbox, int]]:
    """A mail server on loopback with the TLS that the test asks for, and its port."""
    controller = pytest.importorskip("aiosmtpd.controller", reason="needs aiosmtpd")

    how = getattr(request, "param", "none")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    box = Mailbox()
    options: dict[str, Any] = {"starttls": {"tls_context": context}, "tls": {"ssl_context": context}}.get(how, {})
    if how != "none":
        options |= {"authenticator": box.authenticate, "auth_require_tls": how == "starttls"}
    port = free_port()
    server = controller.Controller(box, hostname="127.0.0.1", port=port, **options)
    server.start()
    yield box, port
    server.stop()


def secret(path: Path, text: str = SECRET) -> str:
    path.write_text(f"{text}\n")
    path.chmod(0o600)
    return str(path)


def configured(tmp_path: Path, text: str) -> AlertsResource:
    file = tmp_path / "alerts.toml"
    file.write_text(text)
    return AlertsResource(file=str(file))


def with_webhook(tmp_path: Path, *urls: str, more: str = "") -> Any:
    text = f"[routes]\n'*' = {json.dumps(urls)}\n[webhook]\nallow_plain_http = true\n{more}"
    alerts = configured(tmp_path, text).ready()
    assert alerts is not None
    return alerts


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_channels, "PAUSE_SECONDS", 0)


def test_alerts_are_off_until_a_file_says_where_they_go() -> None:
    assert AlertsResource().ready() is None


def test_a_webhook_gets_all_that_is_known_as_json_and_can_prove_its_sender(tmp_path: Path, receiver: Receiver) -> None:
    more = f"secret_file = '{secret(tmp_path / 'secret')}'"
    done = with_webhook(tmp_path, receiver.url, more=more).send(ALERT)
    assert done.reached and not done.failed
    ((headers, body),) = receiver.got
    told = json.loads(body)
    assert told["run_id"] == "r-1" and told["partitions"] == ["d-20260304-0a0a0a0a"]
    assert told["owners"] == ["team:data-engineering"] and "the disk is full" in told["text"]
    moment, _, digest = headers[alert_channels.SIGNATURE].removeprefix("t=").partition(",v1=")
    assert digest == hmac.new(SECRET.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()


def test_without_a_secret_nothing_is_signed(tmp_path: Path, receiver: Receiver) -> None:
    with_webhook(tmp_path, receiver.url).send(ALERT)
    assert alert_channels.SIGNATURE not in receiver.got[0][0]


@pytest.mark.parametrize(
    ("answers", "requests", "reached"),
    [([503, 503], 3, True), ([503, 503, 503], 3, False), ([404], 1, False), ([429], 2, True), ([302], 1, False)],
)
def test_a_webhook_is_tried_again_where_that_may_help(
    tmp_path: Path, receiver: Receiver, answers: list[int], requests: int, reached: bool
) -> None:
    receiver.answers = list(answers)
    done = with_webhook(tmp_path, receiver.url).send(ALERT)
    assert (len(receiver.got), done.reached) == (requests, reached)
    if not reached:
        assert done.failed == {"webhook at 127.0.0.1": f"it answered {answers[-1]}"}


def test_a_receiver_that_is_not_there_is_named_by_its_host_and_the_others_are_told(
    tmp_path: Path, receiver: Receiver
) -> None:
    done = with_webhook(tmp_path, "http://localhost:9/hook/very-secret-path", receiver.url).send(ALERT)
    assert done.reached and len(receiver.got) == 1
    assert list(done.failed) == ["webhook at localhost"] and "secret" not in str(done.failed)


def mail_file(tmp_path: Path, port: int, tls: str, certificate: tuple[Path, Path]) -> str:
    login = f"user = 'medillus'\npassword_file = '{secret(tmp_path / 'password', 'mail password')}'\n"
    return (
        "link = 'https://dagster.example.org'\n[routes]\n'team:data-engineering' = ['data@example.org']\n"
        "'team:machine-learning' = ['ml@example.org', 'data@example.org']\n'*' = ['all@example.org']\n"
        f"[email]\nhost = '127.0.0.1'\nport = {port}\nsender = 'medillus@example.org'\ntls = '{tls}'\n"
        f"ca_file = '{certificate[0]}'\n{login if tls != 'none' else ''}"
    )


@pytest.mark.parametrize("mail", ["starttls", "tls", "none"], indirect=True)
def test_mail_goes_to_the_owners_with_the_tls_that_is_asked_for(
    request: pytest.FixtureRequest, tmp_path: Path, mail: tuple[Mailbox, int], certificate: tuple[Path, Path]
) -> None:
    tls = request.node.callspec.params["mail"]
    box, port = mail
    alerts = configured(tmp_path, mail_file(tmp_path, port, tls, certificate)).ready()
    assert alerts is not None
    done = alerts.send(ALERT)
    assert done.reached, done.failed
    ((recipients, message),) = box.got
    assert recipients == ["data@example.org"]
    assert message["Subject"] == "[medillus] ingest_delivery failed in slices"
    text = message.get_content()  # type: ignore[attr-defined]
    assert "partitions: d-20260304-0a0a0a0a" in text and "https://dagster.example.org/runs/r-1" in text
    assert bool(box.users) == (tls != "none")


@pytest.mark.parametrize("mail", ["none"], indirect=True)
def test_a_server_without_starttls_gets_neither_password_nor_mail(
    tmp_path: Path, mail: tuple[Mailbox, int], certificate: tuple[Path, Path]
) -> None:
    box, port = mail
    alerts = configured(tmp_path, mail_file(tmp_path, port, "starttls", certificate)).ready()
    assert alerts is not None
    done = alerts.send(ALERT)
    assert not done.reached and list(done.failed) == ["mail server 127.0.0.1"]
    assert box.got == [] and box.users == []


@pytest.mark.parametrize("mail", ["starttls"], indirect=True)
def test_a_certificate_that_nobody_vouches_for_is_refused(
    tmp_path: Path, mail: tuple[Mailbox, int], certificate: tuple[Path, Path]
) -> None:
    box, port = mail
    text = mail_file(tmp_path, port, "starttls", certificate).replace(f"ca_file = '{certificate[0]}'", "")
    alerts = configured(tmp_path, text).ready()
    assert alerts is not None and not alerts.send(ALERT).reached and box.got == []


def test_routes_are_by_owner_and_what_nobody_owns_goes_to_everybody(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    alerts = configured(tmp_path, mail_file(tmp_path, 25, "none", certificate)).ready()
    assert alerts is not None
    assert alerts.receivers(["team:machine-learning", "team:data-engineering"]) == [
        "ml@example.org",
        "data@example.org",
    ]
    assert alerts.receivers([]) == alerts.receivers(["team:editors"]) == ["all@example.org"]


def test_a_line_break_in_a_title_makes_no_header(
    tmp_path: Path, mail: tuple[Mailbox, int], certificate: tuple[Path, Path]
) -> None:
    box, port = mail
    alerts = configured(tmp_path, mail_file(tmp_path, port, "none", certificate)).ready()
    assert alerts is not None
    assert alerts.send(Alert(id="1", kind="run_failure", title="one\r\nBcc: else@example.org")).reached
    assert box.got[0][0] == ["all@example.org"] and box.got[0][1]["Bcc"] is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[routes", "no TOML file"),
        ("routes = 3", "routes"),
        ("[routes]\n'*' = ['nowhere']", "address 1 of '\\*' is neither"),
        ("[routes]\n'*' = ['a@b']", r"no \[email\] section"),
        ("[routes]\n'*' = ['http://a/b']", "use https://"),
        ("[routes]\n[webhook]\nsecret = 'x'", "webhook.secret"),
        ("[routes]\n[webhook]\nsecret_file = '/nowhere'", "webhook.secret_file: the file cannot be read"),
        ("[routes]\n[email]\nhost = 'h'\nsender = 's'\nuser = 'u'", "belong together"),
        ("[routes]\n[email]\nhost = 'h'\nsender = 's'\nuser = 'u'\npassword_file = 'p'\ntls = 'none'", "without TLS"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "alerts.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        read_alerts(file)


def test_a_secret_that_others_can_read_or_that_is_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    secret(path)
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        alert_channels.signing_secret(str(path), "field")
    with pytest.raises(ConfigurationError, match="shorter than 16"):
        alert_channels.signing_secret(secret(path, "short"), "field")
