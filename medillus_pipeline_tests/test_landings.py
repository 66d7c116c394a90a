"""Landing folders get keys that say nothing about them, once, and only when they are closed."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from medillus_pipeline import landings
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.errors import ConfigurationError, InputError
from medillus_pipeline.phantom.keys import DEMO_KEY, DEMO_SALT
from medillus_pipeline.zones import Zone

NOW = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)


@pytest.fixture
def vault(tmp_path: Path) -> Zone:
    return Zone((tmp_path / "vault").as_uri())


def _land(landing: Zone, folder: str, marker: dict | None = None) -> None:
    landing.write(f"images/{folder}/file", b"x")
    landings.close(landing, "images", folder, marker)


def test_a_key_holds_the_arrival_date_and_a_hash_but_not_the_name(landing, vault, pseudonymiser) -> None:
    _land(landing, "Rossi_Maria")
    (found,) = landings.register(landing, vault, pseudonymiser, "images", now=NOW)
    assert found.key.startswith("d-20260304-")
    assert "rossi" not in found.key.lower()
    assert landings.folder_of(vault, "images", found.key) == "Rossi_Maria"


def test_an_open_folder_waits(landing, vault, pseudonymiser) -> None:
    landing.write("images/still-copying/file", b"x")
    assert landings.register(landing, vault, pseudonymiser, "images", now=NOW) == []


def test_a_folder_is_registered_once_and_keeps_its_key(landing, vault, pseudonymiser) -> None:
    _land(landing, "one")
    first = landings.register(landing, vault, pseudonymiser, "images", now=NOW)
    assert landings.register(landing, vault, pseudonymiser, "images") == []
    assert landings.known_keys(vault, "images") == [first[0].key]
    assert landings.known_keys(vault, "annotations") == []


@pytest.mark.parametrize("label", ["Rossi", "a", "x/y", "../../up", "a" * 60, 7, None])
def test_a_label_out_of_form_is_not_used(landing, vault, pseudonymiser, label) -> None:
    _land(landing, "one", {"label": label})
    (found,) = landings.register(landing, vault, pseudonymiser, "images", now=NOW)
    assert found.key.startswith("d-20260304-")


def test_two_folders_with_one_label_get_two_keys(landing, vault, pseudonymiser) -> None:
    _land(landing, "one", {"label": "spring"})
    _land(landing, "two", {"label": "spring"})
    keys = [item.key for item in landings.register(landing, vault, pseudonymiser, "images", now=NOW)]
    assert "spring" in keys
    assert len(set(keys)) == 2


def test_a_broken_marker_closes_the_folder_all_the_same(landing, vault, pseudonymiser) -> None:
    landing.write("images/one/_READY", b"{not json")
    assert len(landings.register(landing, vault, pseudonymiser, "images", now=NOW)) == 1


def test_the_public_key_of_the_demo_refuses_a_real_folder(landing, vault) -> None:
    public = Pseudonymiser(key=DEMO_KEY, split_salt=DEMO_SALT)
    _land(landing, "Rossi_Maria")
    with pytest.raises(ConfigurationError, match="public") as caught:
        landings.register(landing, vault, public, "images", now=NOW)
    assert "Rossi" not in str(caught.value)


def test_landing_a_folder_copies_it_and_closes_it(landing, tmp_path: Path) -> None:
    (tmp_path / "source" / "deep").mkdir(parents=True)
    (tmp_path / "source" / "deep" / "a.dcm").write_bytes(b"1")
    assert landings.land_folder(landing, "images", tmp_path / "source", name="mine") == 1
    assert landings.ready_folders(landing, "images") == ["mine"]
    with pytest.raises(InputError, match="already"):
        landings.land_folder(landing, "images", tmp_path / "source", name="mine")


def test_an_empty_folder_is_not_landed(landing, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no file"):
        landings.land_folder(landing, "images", tmp_path / "empty", name="mine")
