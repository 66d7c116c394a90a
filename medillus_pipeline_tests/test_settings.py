"""Settings: one door, clear refusals, and secrets that nobody else can read."""

import os
import stat
from pathlib import Path

import pytest

from medillus_pipeline.deidentification.options import Option
from medillus_pipeline.deidentification.policy import Policy
from medillus_pipeline.errors import ConfigurationError
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.settings import VARIABLES, Settings, load_policy, write_secret
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


def test_a_key_in_the_environment_makes_the_same_pseudonyms_as_in_a_file(tmp_path: Path) -> None:
    first = Settings.from_environment({"MEDILLUS_HOME": str(tmp_path / "a")})
    made = first.pseudonymiser()
    second = Settings.from_environment({"MEDILLUS_HOME": str(tmp_path / "b"), "MEDILLUS_KEY": made.key.hex()})
    assert second.pseudonymiser().key == made.key
    assert not second.key_file.exists()
    assert made.key.hex() not in repr(second) + str(second.key) + second.model_dump_json()


def test_a_key_in_the_environment_never_overrules_one_that_was_used(tmp_path: Path) -> None:
    made = Settings.from_environment({"MEDILLUS_HOME": str(tmp_path)}).pseudonymiser()
    same = Settings.from_environment({"MEDILLUS_HOME": str(tmp_path), "MEDILLUS_KEY": made.key.hex()})
    assert same.pseudonymiser() == made
    other = Settings.from_environment({"MEDILLUS_HOME": str(tmp_path), "MEDILLUS_KEY": "cd" * 32})
    with pytest.raises(ConfigurationError, match="not the key in the vault's key file") as caught:
        other.pseudonymiser()
    assert "cd" * 32 not in str(caught.value)


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    given = {"MEDILLUS_HOME": str(tmp_path), "MEDILLUS_KEY": "ab" * 32, "MEDILLUS_KEY_FILE": str(tmp_path / "key")}
    with pytest.raises(ConfigurationError, match="both set"):
        Settings.from_environment(given)


@pytest.mark.parametrize("key", ["zz" * 32, "ab" * 31, "é" * 64])
def test_a_malformed_key_in_the_environment_is_refused_without_printing_it(tmp_path: Path, key: str) -> None:
    settings = Settings.from_environment({"MEDILLUS_HOME": str(tmp_path), "MEDILLUS_KEY": key})
    with pytest.raises(ConfigurationError, match="MEDILLUS_KEY must hold") as caught:
        settings.pseudonymiser()
    assert key not in str(caught.value)


def test_the_policy_is_the_default_or_the_files(tmp_path: Path) -> None:
    assert Settings.from_environment({"MEDILLUS_HOME": str(tmp_path)}).policy() == Policy()
    (tmp_path / "site.toml").write_text('options = ["retain-device"]')
    chosen = {"MEDILLUS_HOME": str(tmp_path), "MEDILLUS_DEIDENTIFICATION": str(tmp_path / "site.toml")}
    settings = Settings.from_environment(chosen)
    assert settings.policy().options == {Option.RETAIN_DEVICE_IDENTITY}
    assert StoreResource.of(settings).policy() == settings.policy()
    (tmp_path / "site.toml").write_text("option = []")
    with pytest.raises(ConfigurationError, match="did you mean 'options'"):
        settings.policy()


def test_no_key_is_in_the_configuration_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster stores and shows what resources are configured with."""
    monkeypatch.setenv("MEDILLUS_HOME", str(tmp_path))
    monkeypatch.setenv("MEDILLUS_KEY", "ab" * 32)
    store = StoreResource.of(Settings.from_environment())
    assert "ab" * 32 not in store.model_dump_json() + repr(store)
    assert store.pseudonymiser().key == bytes.fromhex("ab" * 32)


def test_re_identification_is_off_unless_its_key_is_named_and_is_not_the_pseudonym_key(tmp_path: Path) -> None:
    home = {"MEDILLUS_HOME": str(tmp_path)}
    assert StoreResource.of(Settings.from_environment(home)).reidentification_tables() is None
    named = Settings.from_environment(home | {"MEDILLUS_REIDENTIFICATION_KEY_FILE": str(tmp_path / "second")})
    with pytest.raises(ConfigurationError, match="MEDILLUS_REIDENTIFICATION_KEY_FILE names cannot be read"):
        StoreResource.of(named).reidentification_tables()
    write_secret(tmp_path / "second", named.pseudonymiser().key)
    with pytest.raises(ConfigurationError, match="make another"):
        StoreResource.of(named).reidentification_tables()
    (tmp_path / "second").write_text("ef" * 32)
    assert StoreResource.of(named).reidentification_tables() is not None


def test_the_pipeline_does_not_retain_uids(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('options = ["retain-dates", "retain-uids"]\n')
    with pytest.raises(ConfigurationError, match="retain-uids is for `medillus deidentify` only"):
        load_policy(policy)
    policy.write_text('options = ["retain-dates", "retain-device"]\n')
    assert len(load_policy(policy).options) == 2
