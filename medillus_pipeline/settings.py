"""Settings from the environment: the one door for where things are kept and how much of the machine is used.

What a single run may choose (training steps, image size …) is not here but in the Dagster config classes of `assets/`.
"""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medillus_pipeline.dicom.pseudonyms import MINIMUM_KEY_BYTES, Pseudonymiser
from medillus_pipeline.errors import ConfigurationError
from medillus_pipeline.zones import Zone

Profile = Literal["demo", "research", "clinical-education"]

VARIABLES: dict[str, tuple[str, str]] = {
    "MEDILLUS_HOME": ("home", "folder of everything that has no URL of its own"),
    "MEDILLUS_LANDING_URL": ("landing_url", "restricted zone where deliveries and annotation batches arrive"),
    "MEDILLUS_VAULT_URL": ("vault_url", "restricted zone of the ledger and the mappings"),
    "MEDILLUS_CLEAN_URL": ("clean_url", "pseudonymous zone of tables and payloads"),
    "MEDILLUS_KEY_FILE": ("key_file", "file with the pseudonym key, 64 or more hexadecimal digits, mode 0600"),
    "MEDILLUS_SPLIT_SALT_FILE": ("split_salt_file", "file with the split salt, likewise; never rotated"),
    "MEDILLUS_MLFLOW_TRACKING_URI": ("mlflow_tracking_uri", "MLflow tracking and registry: a server or a database"),
    "MEDILLUS_MLFLOW_ARTIFACTS": ("mlflow_artifacts", "root URL of MLflow's artifacts for new experiments"),
    "MEDILLUS_MLFLOW_UI_URL": ("mlflow_ui_url", "where people open MLflow's web UI; used for links only"),
    "MEDILLUS_PROFILE": ("profile", "which gates a model must pass: demo, research or clinical-education"),
    "MEDILLUS_WORKERS": ("workers", "worker processes within one step"),
    "MEDILLUS_THREADS": ("threads", "threads of torch within one step"),
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
    split_salt_file: Path
    mlflow_tracking_uri: str
    mlflow_artifacts: str
    mlflow_ui_url: str = "http://127.0.0.1:5000"
    profile: Profile = "research"
    workers: int = Field(default_factory=lambda: _cores(), ge=1, le=256)
    threads: int = Field(default_factory=lambda: _cores(), ge=1, le=256)
    cache: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Settings from `MEDILLUS_*` variables, with everything unset placed under `MEDILLUS_HOME` (`.medillus`).

        Raises ConfigurationError for an unknown `MEDILLUS_*` variable or a value out of its bounds.
        """
        env = os.environ if environment is None else environment
        known = {name for name in env if name.startswith("MEDILLUS_")}
        unknown = sorted(known - set(VARIABLES))
        if unknown:
            raise ConfigurationError(f"unknown settings {', '.join(unknown)}; known are {', '.join(VARIABLES)}")
        given = {field: env[name] for name, (field, _) in VARIABLES.items() if env.get(name)}
        home = Path(given.pop("home", ".medillus")).expanduser().resolve()
        values: dict[str, object] = {
            "home": home,
            "landing_url": (home / "landing").as_uri(),
            "vault_url": (home / "vault").as_uri(),
            "clean_url": (home / "clean").as_uri(),
            "key_file": home / "vault" / "key",
            "split_salt_file": home / "vault" / "split_salt",
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
        """The restricted zone where deliveries and annotation batches arrive."""
        return Zone(self.landing_url)

    @property
    def vault(self) -> Zone:
        """The restricted zone of the ledger and the mappings."""
        return Zone(self.vault_url)

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
        return load_pseudonymiser(self.key_file, self.split_salt_file, self.vault)


def load_pseudonymiser(key_file: Path, split_salt_file: Path, vault: Zone) -> Pseudonymiser:
    """The pseudonymiser of the two secret files.

    On the very first use, before anything was ingested into the vault, missing secrets are made with mode 0600. Later
    a missing one is a ConfigurationError: a new key would give every patient another pseudonym.
    """
    in_use = bool(vault.folders("tables"))
    key = _secret(key_file, "MEDILLUS_KEY_FILE", in_use)
    salt = _secret(split_salt_file, "MEDILLUS_SPLIT_SALT_FILE", in_use)
    return Pseudonymiser(key=key, split_salt=salt)


def write_secret(path: Path, secret: bytes) -> None:
    """Write a secret as hexadecimal digits into a new file of mode 0600. Raises FileExistsError if there is one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secret.hex() + "\n")


def _secret(path: Path, variable: str, in_use: bool) -> bytes:
    if not path.exists():
        if in_use:
            raise ConfigurationError(
                f"the file that {variable} names is missing, but data were ingested with it before: restore it from "
                "its backup. A new one would change every pseudonym."
            )
        try:
            write_secret(path, secrets.token_bytes(MINIMUM_KEY_BYTES))
        except FileExistsError:
            return _secret(path, variable, in_use)
    if path.stat().st_mode & 0o077:
        raise ConfigurationError(f"the file that {variable} names can be read by others: chmod 600 it")
    try:
        secret = bytes.fromhex(path.read_text().strip())
    except ValueError:
        raise ConfigurationError(f"the file that {variable} names must hold hexadecimal digits only") from None
    if len(secret) < MINIMUM_KEY_BYTES:
        raise ConfigurationError(f"the file that {variable} names must hold at least {2 * MINIMUM_KEY_BYTES} digits")
    return secret


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
