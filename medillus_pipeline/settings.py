"""Settings from the environment: the one door for where things are kept and how much of the machine is used.

What a single run may choose (training steps, image size …) is not here but in the Dagster config classes of `assets/`.
"""

import hmac
import os
import re
import secrets
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from medillus_pipeline import access_log, automation_settings
from medillus_pipeline.deidentification.pseudonyms import MINIMUM_KEY_BYTES, Pseudonymiser
from medillus_pipeline.errors import ConfigurationError
from medillus_pipeline.zones import Zone

if TYPE_CHECKING:
    from medillus_pipeline.deidentification.policy import Policy
    from medillus_pipeline.deidentification.reidentification import ReidentificationTables
    from medillus_pipeline.illustration.signing import SigningKey

Profile = Literal["demo", "research", "clinical-education"]

VARIABLES: dict[str, tuple[str, str]] = {
    "MEDILLUS_HOME": ("home", "folder of everything that has no URL of its own"),
    "MEDILLUS_LANDING_URL": ("landing_url", "restricted zone where deliveries and annotation batches arrive"),
    "MEDILLUS_VAULT_URL": ("vault_url", "restricted zone of the ledger and the mappings"),
    "MEDILLUS_CLEAN_URL": ("clean_url", "pseudonymous zone of tables and payloads"),
    "MEDILLUS_KEY_FILE": ("key_file", "file with the pseudonym key, 64 or more hexadecimal digits, mode 0600"),
    "MEDILLUS_KEY": ("key", "the pseudonym key itself, instead of a file; not both"),
    "MEDILLUS_SPLIT_SALT_FILE": ("split_salt_file", "file with the split salt, likewise; never rotated"),
    "MEDILLUS_DEIDENTIFICATION": ("deidentification", "TOML file of de-identification choices; unset: the defaults"),
    "MEDILLUS_REIDENTIFICATION_KEY_FILE": (
        "reidentification_key_file",
        "file with the key of the re-identification tables; unset: no table is written",
    ),
    "MEDILLUS_SIGNING_KEY_FILE": (
        "signing_key_file",
        "file with the key that figures are signed with; its public key lies beside it, `.pub`",
    ),
    "MEDILLUS_VOCABULARY": ("vocabulary", "TOML file with a site's own names of structures; unset: none"),
    "MEDILLUS_REVIEWERS": ("reviewers", "TOML file of who may review, and the ethics record; unset: nobody"),
    "MEDILLUS_MLFLOW_TRACKING_URI": ("mlflow_tracking_uri", "MLflow tracking and registry: a server or a database"),
    "MEDILLUS_MLFLOW_ARTIFACTS": ("mlflow_artifacts", "root URL of MLflow's artifacts for new experiments"),
    "MEDILLUS_MLFLOW_UI_URL": ("mlflow_ui_url", "where people open MLflow's web UI; used for links only"),
    "MEDILLUS_PROFILE": ("profile", "which gates a model must pass: demo, research or clinical-education"),
    "MEDILLUS_WORKERS": ("workers", "worker processes within one step"),
    "MEDILLUS_THREADS": ("threads", "threads of torch within one step"),
    "MEDILLUS_COMPUTE": ("compute", "dask://host:port of a cluster for ingest, slices and dataset; unset: processes"),
    "MEDILLUS_CACHE": ("cache", "local folder for copies of remote payloads"),
}
"""Environment variable → (field of Settings, what it is)."""


class Settings(BaseModel):
    """Where things are kept and how much of the machine is used. Paths are absolute, zones are URLs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path
    landing_url: str
    vault_url: str
    clean_url: str
    key_file: Path
    key: SecretStr | None = None
    split_salt_file: Path
    deidentification: Path | None = None
    reidentification_key_file: Path | None = None
    signing_key_file: Path
    vocabulary: Path | None = None
    reviewers: Path | None = None
    mlflow_tracking_uri: str
    mlflow_artifacts: str
    mlflow_ui_url: str = "http://127.0.0.1:5000"
    profile: Profile = "research"
    workers: int = Field(default_factory=lambda: _cores(), ge=1, le=256)
    threads: int = Field(default_factory=lambda: _cores(), ge=1, le=256)
    compute: str = Field(default="", pattern=r"^(dask://[^/?#@\s]+:[0-9]{1,5})?$")
    cache: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Settings from `MEDILLUS_*` variables, with everything unset placed under `MEDILLUS_HOME` (`.medillus`).

        Raises ConfigurationError for an unknown `MEDILLUS_*` variable or a value out of its bounds.
        """
        env = os.environ if environment is None else environment
        known = {name for name in env if name.startswith("MEDILLUS_")}
        every = [*VARIABLES, *automation_settings.VARIABLES]
        unknown = sorted(known - set(every))
        if unknown:
            raise ConfigurationError(f"unknown settings {', '.join(unknown)}; known are {', '.join(every)}")
        given = {field: env[name] for name, (field, _) in VARIABLES.items() if env.get(name)}
        if "key" in given and "key_file" in given:
            raise ConfigurationError("MEDILLUS_KEY and MEDILLUS_KEY_FILE are both set: unset the one that is not meant")
        home = Path(given.pop("home", ".medillus")).expanduser().resolve()
        values: dict[str, object] = {
            "home": home,
            "landing_url": (home / "landing").as_uri(),
            "vault_url": (home / "vault").as_uri(),
            "clean_url": (home / "clean").as_uri(),
            "key_file": home / "vault" / "key",
            "split_salt_file": home / "vault" / "split_salt",
            "signing_key_file": home / "vault" / "signing_key",
            "mlflow_tracking_uri": f"sqlite:///{home / 'mlflow' / 'mlflow.db'}",
            "mlflow_artifacts": (home / "mlflow" / "artifacts").as_uri(),
            "cache": home / "cache",
        }
        try:
            settings = cls.model_validate(values | given)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            field = str(first["loc"][0]) if first["loc"] else "settings"
            variable = next((name for name, (f, _) in VARIABLES.items() if f == field), field)
            raise ConfigurationError(f"{variable}: {first['msg']}") from None
        for variable in ("MEDILLUS_LANDING_URL", "MEDILLUS_VAULT_URL", "MEDILLUS_CLEAN_URL"):
            try:
                Zone(getattr(settings, VARIABLES[variable][0]))
            except ConfigurationError as error:
                raise ConfigurationError(f"{variable}: {error}") from None
        return settings

    @property
    def landing(self) -> Zone:
        """The restricted zone where deliveries and annotation batches arrive. Its opening is written down."""
        self._write_down("landing")
        return Zone(self.landing_url)

    @property
    def vault(self) -> Zone:
        """The restricted zone of the ledger and the mappings. Its opening is written down."""
        self._write_down("vault")
        return Zone(self.vault_url)

    def _write_down(self, zone: str) -> None:
        """A line for who uses the command line or the library; runs have their own in `resources/store.py`."""
        from medillus_pipeline.deidentification.reidentification import user_name

        command = next((word for word in sys.argv[1:2] if re.fullmatch(r"[a-z-]{1,30}", word)), "library")
        access_log.opened(Zone(self.vault_url), zone, who=f"user {user_name()}", purpose=command)

    @property
    def clean(self) -> Zone:
        """The pseudonymous zone of tables and payloads."""
        return Zone(self.clean_url, cache=self.cache)

    @property
    def work(self) -> Path:
        """Local scratch of long steps (training checkpoints); pseudonymous, can be deleted when nothing runs."""
        return self.home / "work"

    def pseudonymiser(self) -> Pseudonymiser:
        """The pseudonymiser of this installation; see `load_pseudonymiser`."""
        key = self.key.get_secret_value() if self.key is not None else None
        return load_pseudonymiser(self.key_file, self.split_salt_file, self.vault, key=key)

    def signing_key(self) -> "SigningKey":
        """The key that this installation signs figures with; see `load_signing_key`."""
        return load_signing_key(self.signing_key_file)

    def policy(self) -> "Policy":
        """What this installation chose about de-identification; see `load_policy`."""
        return load_policy(self.deidentification)


def load_policy(path: Path | None) -> "Policy":
    """The policy of a TOML file for the pipeline, the defaults without one.

    Raises ConfigurationError for a file with a mistake, and for Retain UIDs: every table and gate that follows proves
    that UIDs are pseudonyms.
    """
    from medillus_pipeline.deidentification.options import Option
    from medillus_pipeline.deidentification.policy import Policy
    from medillus_pipeline.deidentification.policy_file import read_policy

    policy = Policy() if path is None else read_policy(path)
    if Option.RETAIN_UIDS in policy.options:
        raise ConfigurationError(
            "MEDILLUS_DEIDENTIFICATION: retain-uids is for `medillus deidentify` only; the pipeline's gates prove that "
            "UIDs are pseudonyms"
        )
    return policy


def load_pseudonymiser(key_file: Path, split_salt_file: Path, vault: Zone, *, key: str | None = None) -> Pseudonymiser:
    """The pseudonymiser of the two secret files, or of the hexadecimal digits `key` and the salt's file.

    On the very first use, before anything was ingested into the vault, missing secrets are made with mode 0600. Later
    a missing one is a ConfigurationError: a new key would give every patient another pseudonym. So is a `key` that
    differs from the key in the file.
    """
    in_use = bool(vault.folders("tables"))
    if key is None:
        secret = _secret(key_file, "MEDILLUS_KEY_FILE", in_use)
    else:
        secret = parse_secret(key, "MEDILLUS_KEY")
        if key_file.exists() and not hmac.compare_digest(secret, read_secret(key_file, _named("MEDILLUS_KEY_FILE"))):
            raise ConfigurationError(
                "MEDILLUS_KEY is not the key in the vault's key file, which was used before: unset it, or move that "
                "file away if every pseudonym is to change"
            )
    salt = _secret(split_salt_file, "MEDILLUS_SPLIT_SALT_FILE", in_use)
    return Pseudonymiser(key=secret, split_salt=salt)


def load_reidentification_tables(
    key_file: Path, zone: Zone, *, other_than: bytes | None = None
) -> "ReidentificationTables":
    """The re-identification tables of a zone under the key of this file; it is never made here, so that whoever asks
    for tables has put their key somewhere first. Raises ConfigurationError like `read_secret`.
    """
    from medillus_pipeline.deidentification.reidentification import ReidentificationTables

    key = read_secret(key_file, _named("MEDILLUS_REIDENTIFICATION_KEY_FILE"))
    return ReidentificationTables(zone, key, other_than=other_than)


def load_signing_key(path: Path) -> "SigningKey":
    """The key that figures are signed with, from its file; made at first use with mode 0600, and its public key beside.

    Once there is a public key, a missing secret is a ConfigurationError, for a new one would sign as somebody else. So
    is a public key file without this key.
    """
    from medillus_pipeline.illustration.signing import SECRET_BYTES, SigningKey, public_key_file

    name, public = _named("MEDILLUS_SIGNING_KEY_FILE"), public_key_path(path)
    if not path.exists():
        if public.exists():
            raise ConfigurationError(
                f"{name} is missing, but figures were signed with it before: restore it from its backup. To go on with "
                "a new key, move the public key beside it away and give it to those who check older figures."
            )
        with suppress(FileExistsError):
            write_secret(path, secrets.token_bytes(SECRET_BYTES))
    key = SigningKey(read_secret(path, name))
    if not public.exists():
        unfinished = public.with_name(f".{public.name}.{os.getpid()}")
        unfinished.write_text(public_key_file(key), "ascii")
        unfinished.replace(public)  # at once: another process may look for it now
    if key.public not in public.read_text("utf-8", "replace"):
        raise ConfigurationError(f"the public key beside {name} belongs to another key: put the two that belong "
                                 "together there, or move the public key away")  # fmt: skip
    return key


def public_key_path(path: Path) -> Path:
    """Where the public key to a signing key's file lies."""
    return path.with_name(f"{path.name}.pub")


def key_from_environment() -> str | None:
    """What `MEDILLUS_KEY` holds, for a process that must not carry it in its configuration; None where it is unset."""
    return os.environ.get("MEDILLUS_KEY") or None


def write_secret(path: Path, secret: bytes) -> None:
    """Write a secret as hexadecimal digits into a new file of mode 0600. Raises FileExistsError if there is one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secret.hex() + "\n")


def read_secret(path: Path, name: str) -> bytes:
    """The secret in a file, `name` standing for the file in errors.

    Raises ConfigurationError where it cannot be read, others can read it, or it is malformed or too short.
    """
    try:
        if path.exists() and not path.is_file():
            raise ConfigurationError(f"{name} is no regular file")
        if path.stat().st_mode & 0o077:
            raise ConfigurationError(f"{name} can be read by others: chmod 600 it")
        text = path.read_text("ascii")
    except OSError as error:
        raise ConfigurationError(f"{name} cannot be read ({os.strerror(error.errno or 0)})") from None
    except UnicodeDecodeError:
        text = "?"
    return parse_secret(text, name)


def parse_secret(text: str, name: str) -> bytes:
    """A secret from hexadecimal digits. Raises ConfigurationError, never quoting it, where it is none or too short."""
    try:
        secret = bytes.fromhex(text.strip())
    except ValueError:
        raise ConfigurationError(f"{name} must hold hexadecimal digits only") from None
    if len(secret) < MINIMUM_KEY_BYTES:
        raise ConfigurationError(f"{name} must hold at least {2 * MINIMUM_KEY_BYTES} digits")
    return secret


def _named(variable: str) -> str:
    return f"the file that {variable} names"


def _secret(path: Path, variable: str, in_use: bool) -> bytes:
    if not path.exists():
        if in_use:
            raise ConfigurationError(
                f"{_named(variable)} is missing, but data were ingested with it before: restore it from "
                "its backup. A new one would change every pseudonym."
            )
        try:
            write_secret(path, secrets.token_bytes(MINIMUM_KEY_BYTES))
        except FileExistsError:
            return _secret(path, variable, in_use)
    return read_secret(path, _named(variable))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
