"""Settings: one door, clear refusals, and secrets that nobody else can read."""

import os
import stat
from pathlib import Path

import pytest

from medillus_pipeline.errors import ConfigurationError
from medillus_pipeline.settings import VARIABLES, Settings
from medillus_pipeline.tables import PATIENT_SPLITS, TableStore


def test_everything_unset_is_placed_under_the_home(tmp_path: Path) -> None:
    settings = Settings.from_environment({"MEDILLUS_HOME": str(tmp_path)})
    assert settings.clean_url == (tmp_path / "clean").as_uri()
    assert settings.mlflow_tracking_uri.startswith("sqlite:///")
    assert {field for field, _ in VARIABLES.values()} == set(Settings.model_fields)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("MEDILLUS_WORKERS", "none", "MEDILLUS_WORKERS"),
        ("MEDILLUS_WORKERS", "0", "MEDILLUS_WORKERS"),
        ("MEDILLUS_PROFILE", "clinic", "MEDILLUS_PROFILE"),
        ("MEDILLUS_KLEAN_URL", "x", "unknown settings MEDILLUS_KLEAN_URL"),
    ],
)
def test_a_wrong_setting_is_named(variable: str, value: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Settings.from_environment({variable: value})


def test_secrets_are_made_once_with_mode_0600_and_never_shown(tmp_path: Path) -> None:
    settings = Settings.from_environment({"MEDILLUS_HOME": str(tmp_path)})
    first = settings.pseudonymiser()
    assert stat.S_IMODE(settings.key_file.stat().st_mode) == 0o600
    assert settings.pseudonymiser() == first
    assert first.key.hex() not in repr(first)
    assert repr(first.key) not in repr(first)


def test_a_lost_key_is_not_replaced_once_data_were_ingested(tmp_path: Path) -> None:
    settings = Settings.from_environment({"MEDILLUS_HOME": str(tmp_path)})
    settings.pseudonymiser()
    TableStore(settings.vault).publish(PATIENT_SPLITS, "x", PATIENT_SPLITS.to_arrow([]))
    settings.key_file.unlink()
    with pytest.raises(ConfigurationError, match="restore it from its backup"):
        settings.pseudonymiser()


@pytest.mark.parametrize(("text", "said"), [("zz", "hexadecimal"), ("abcd", "at least 64 digits")])
def test_a_malformed_key_is_refused_without_printing_it(tmp_path: Path, text: str, said: str) -> None:
    settings = Settings.from_environment({"MEDILLUS_HOME": str(tmp_path)})
    settings.key_file.parent.mkdir(parents=True)
    settings.key_file.write_text(text)
    settings.key_file.chmod(0o600)
    with pytest.raises(ConfigurationError, match=said) as caught:
        settings.pseudonymiser()
    assert text not in str(caught.value)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    settings = Settings.from_environment({"MEDILLUS_HOME": str(tmp_path)})
    settings.pseudonymiser()
    os.chmod(settings.key_file, 0o644)  # noqa: PTH101
    with pytest.raises(ConfigurationError, match="chmod 600"):
        settings.pseudonymiser()
