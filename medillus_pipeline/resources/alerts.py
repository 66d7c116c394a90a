"""Who is told when something failed: the file of alerts, and an alert's way to its owners.

What is worth an alert, and how often, is in `automation/alerting.py`; how bytes leave is in `alert_channels.py`.
An alert holds nothing identified: partition keys are pseudonymous, and texts are those that Dagster's log shows too.
"""

import re
import tomllib
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import dagster as dg
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from medillus_pipeline.errors import ConfigurationError
from medillus_pipeline.resources.alert_channels import (
    MailServer,
    Undelivered,
    Webhook,
    host_of,
    secret_text,
    signing_secret,
)

EVERYBODY = "*"
"""Route of alerts whose asset has no owner, or an owner without a route."""
_MAIL = re.compile(r"[^@\s,<>]+@[^@\s,<>]+")

Kind = Literal["run_failure", "failed_check", "changed_after_ready"]


@dataclass(frozen=True)
class Alert:
    """One thing that failed, or several of the same kind together."""

    id: str
    kind: Kind
    title: str
    owners: tuple[str, ...] = ()
    count: int = 1
    run_id: str = ""
    job: str = ""
    asset: str = ""
    check: str = ""
    partitions: tuple[str, ...] = ()
    error_class: str = ""
    message: str = ""
    unsaid: int = 0
    """Repeats since the last alert of this kind, which were not told one by one."""


@dataclass
class Delivery:
    """Whether anybody was reached, and which channels failed and why (host → reason)."""

    reached: bool = False
    failed: dict[str, str] = field(default_factory=dict)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WebhookSettings(_Strict):
    """How webhooks are called."""

    secret_file: str = Field(default="", description="File with the secret that signs; empty: unsigned.")
    timeout_seconds: float = Field(default=5, gt=0, le=30)
    attempts: int = Field(default=3, ge=1, le=5)
    allow_plain_http: bool = Field(default=False, description="Whether http:// is accepted.")


class EmailSettings(_Strict):
    """The mail server."""

    host: str
    sender: str
    port: int = Field(default=587, ge=1, le=65535)
    tls: Literal["starttls", "tls", "none"] = "starttls"
    ca_file: str = Field(default="", description="Certificates to trust instead of the system's.")
    user: str = ""
    password_file: str = ""
    timeout_seconds: float = Field(default=10, gt=0, le=60)


class AlertSettings(_Strict):
    """The whole file."""

    routes: dict[str, list[str]] = Field(description="Owner of an asset → URLs and mail addresses.")
    repeat_minutes: float = Field(default=360, ge=1, le=7 * 24 * 60)
    link: str = Field(default="", description="Where people open Dagster's web UI.")
    webhook: WebhookSettings = WebhookSettings()
    email: EmailSettings | None = None

    @field_validator("routes")
    @classmethod
    def _addresses(cls, routes: dict[str, list[str]]) -> dict[str, list[str]]:
        for owner, addresses in routes.items():
            for number, address in enumerate(addresses, start=1):
                if not address.startswith(("https://", "http://")) and not _MAIL.fullmatch(address):
                    raise ValueError(f"address {number} of {owner!r} is neither a URL nor a mail address")
        return routes


@dataclass(frozen=True)
class Alerts:
    """The ways to tell people, ready for use."""

    settings: AlertSettings
    webhook: Webhook
    mail: MailServer | None

    def receivers(self, owners: Collection[str]) -> list[str]:
        """Addresses of these owners; of `*` where an owner has no route, or there is no owner. Each once."""
        routes = self.settings.routes
        chosen = [routes.get(owner, routes.get(EVERYBODY, [])) for owner in owners] or [routes.get(EVERYBODY, [])]
        return list(dict.fromkeys(address for addresses in chosen for address in addresses))

    def send(self, alert: Alert, without: Collection[str] = ()) -> Delivery:
        """Tell everybody who is to know, but over no host of `without`. Never raises for a channel that fails."""
        done = Delivery()
        addresses = self.receivers(alert.owners)
        if not addresses:
            done.reached = True  # nobody wants to know: nothing is left to try
        for url in (address for address in addresses if "://" in address):
            host = f"webhook at {host_of(url)}"
            if host not in {*without, *done.failed}:
                try:
                    self.webhook.post(url, {**asdict(alert), "link": self.link(alert), "text": self.text(alert)})
                    done.reached = True
                except Undelivered as error:
                    done.failed[host] = str(error)
        people = [address for address in addresses if "://" not in address]
        if people and self.mail is not None:
            host = f"mail server {self.mail.host}"
            if host not in without:
                try:
                    self.mail.send(people, f"[medillus] {alert.title}", self.text(alert))
                    done.reached = True
                except Undelivered as error:
                    done.failed[host] = str(error)
        return done

    def link(self, alert: Alert) -> str:
        """Where to look in Dagster's UI; empty where its address is not told."""
        base = self.settings.link.rstrip("/")
        if not base:
            return ""
        return f"{base}/runs/{alert.run_id}" if alert.run_id else f"{base}/assets/{alert.asset}"

    def text(self, alert: Alert) -> str:
        """The alert as lines for people."""
        facts = {
            "job": alert.job,
            "asset": alert.asset,
            "check": alert.check,
            "partitions": ", ".join(alert.partitions),
            "error": alert.error_class,
            "message": alert.message,
            "run": alert.run_id,
            "of these": str(alert.count) if alert.count > 1 else "",
            "not told since the last alert": str(alert.unsaid) if alert.unsaid else "",
            "owners": ", ".join(alert.owners),
            "look at": self.link(alert),
        }
        return "\n".join([alert.title, "", *(f"{name}: {value}" for name, value in facts.items() if value)])


def read_alerts(path: Path) -> Alerts:
    """What a file of alerts says, with its secrets. Raises ConfigurationError for any mistake, quoting no secret."""
    try:
        settings = AlertSettings.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        raise ConfigurationError(f"MEDILLUS_ALERTS: the file cannot be read ({type(error).__name__})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise ConfigurationError("MEDILLUS_ALERTS: this is no TOML file") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ConfigurationError(f"MEDILLUS_ALERTS, {place}: {first['msg'].removeprefix('Value error, ')}") from None
    addresses = [address for addresses in settings.routes.values() for address in addresses]
    if not settings.webhook.allow_plain_http and any(address.startswith("http://") for address in addresses):
        raise ConfigurationError("MEDILLUS_ALERTS: a route is http://: use https://, or set webhook.allow_plain_http")
    if settings.email is None and any("://" not in address for address in addresses):
        raise ConfigurationError("MEDILLUS_ALERTS: a route is a mail address, but there is no [email] section")
    return Alerts(settings, _webhook(settings.webhook), _mail(settings.email))


def _webhook(chosen: WebhookSettings) -> Webhook:
    file = chosen.secret_file
    secret = signing_secret(file, "MEDILLUS_ALERTS, webhook.secret_file") if file else None
    return Webhook(chosen.timeout_seconds, chosen.attempts, secret)


def _mail(chosen: EmailSettings | None) -> MailServer | None:
    if chosen is None:
        return None
    if bool(chosen.user) != bool(chosen.password_file):
        raise ConfigurationError("MEDILLUS_ALERTS, email: user and password_file belong together")
    if chosen.user and chosen.tls == "none":
        raise ConfigurationError("MEDILLUS_ALERTS, email: a password is not sent without TLS")
    file = chosen.password_file
    password = secret_text(file, "MEDILLUS_ALERTS, email.password_file") if file else ""
    return MailServer(**chosen.model_dump(exclude={"password_file"}), password=password)


class AlertsResource(dg.ConfigurableResource):
    """Alerts as a Dagster resource: off until a file says where they go. The file is read at each use."""

    file: str = Field(default="", description="TOML file of where alerts go; empty: no alerts.")

    def ready(self) -> Alerts | None:
        """The ways to tell people; None while alerts are off. Raises ConfigurationError for a file with a mistake."""
        return read_alerts(Path(self.file)) if self.file else None
