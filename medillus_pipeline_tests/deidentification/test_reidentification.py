"""The way back: only with its own key, only whole, and never without a line in the log."""

import os
from pathlib import Path

import pytest

from medillus_pipeline.definitions import build_defs
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.deidentification.reidentification import Original, ReidentificationTables, entries_of, user_name
from medillus_pipeline.errors import ConfigurationError, InputError, StoreError
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.settings import write_secret
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.site import Site, series

KEY = b"r" * 32
PATIENT, OTHER = "MRN-0012345", "Größe-\udcff"


@pytest.fixture
def tables(tmp_path: Path, pseudonymiser: Pseudonymiser) -> ReidentificationTables:
    """A vault with the tables of two deliveries of one patient."""
    kept = ReidentificationTables(Zone((tmp_path / "vault").as_uri()), KEY, other_than=pseudonymiser.key)
    originals = [
        Original("instance", pseudonymiser.uid("1.2.3"), "1.2.3"),
        Original("patient", pseudonymiser.patient(PATIENT), PATIENT),
        Original("patient", pseudonymiser.patient(PATIENT), PATIENT),
        Original("patient", pseudonymiser.patient(OTHER), OTHER),
    ]
    kept.publish("first", entries_of(originals, pseudonymiser, dates_moved=True))
    spelt = Original("patient", pseudonymiser.patient(PATIENT), PATIENT.lower())
    kept.publish("second", entries_of([spelt], pseudonymiser, dates_moved=True))
    return kept


def file_of(tables: ReidentificationTables, name: str) -> Path:
    return Path(tables.zone.full(f"reidentification/{name}.table"))


def test_a_pseudonym_leads_back_to_every_spelling_and_to_the_shift(
    tables: ReidentificationTables, pseudonymiser: Pseudonymiser
) -> None:
    found = tables.find(pseudonymiser.patient(PATIENT))
    assert [(e.kind, e.original) for e in found] == [("patient", PATIENT), ("patient", PATIENT.lower())]
    assert {e.days for e in found} == {pseudonymiser.date_shift(PATIENT)}
    (instance,) = tables.find(pseudonymiser.uid("1.2.3"))
    assert (instance.kind, instance.original, instance.days) == ("instance", "1.2.3", None)
    assert tables.find(pseudonymiser.patient(OTHER))[0].original == OTHER
    assert tables.find("p-0123456789abcdef") == []


def test_no_shift_is_told_where_dates_were_not_moved(pseudonymiser: Pseudonymiser) -> None:
    (entry,) = entries_of([Original("patient", "p-1", PATIENT)], pseudonymiser, dates_moved=False)
    assert entry.days is None


def test_nothing_of_an_original_stands_in_the_vault_or_in_a_text(
    tables: ReidentificationTables, pseudonymiser: Pseudonymiser, tmp_path: Path
) -> None:
    entries = tables.find(pseudonymiser.patient(PATIENT))
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for text in (PATIENT, PATIENT.lower(), pseudonymiser.patient(OTHER)):
        assert text.encode() not in stored
        assert text not in repr(entries)


def test_every_changed_byte_is_noticed(tables: ReidentificationTables) -> None:
    path = file_of(tables, "second")
    whole = path.read_bytes()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1
        path.write_bytes(changed)
        with pytest.raises(InputError, match="second"):
            tables.read("second")
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="second"):
            tables.read("second")
    path.write_bytes(whole)
    assert len(tables.read("second")) == 1


def test_a_table_put_in_anothers_place_is_noticed(tables: ReidentificationTables) -> None:
    file_of(tables, "second").write_bytes(file_of(tables, "first").read_bytes())
    with pytest.raises(InputError, match="altered or exchanged"):
        tables.read("second")


def test_another_key_is_told_from_damage(tables: ReidentificationTables) -> None:
    with pytest.raises(InputError, match="under another key"):
        ReidentificationTables(tables.zone, b"q" * 32).read("first")


def test_the_pseudonym_key_and_a_short_key_are_refused(tmp_path: Path, pseudonymiser: Pseudonymiser) -> None:
    zone = Zone(tmp_path.as_uri())
    with pytest.raises(ConfigurationError, match="make another"):
        ReidentificationTables(zone, pseudonymiser.key, other_than=pseudonymiser.key)
    with pytest.raises(ConfigurationError, match="at least 64 digits"):
        ReidentificationTables(zone, b"r" * 31)


def test_the_same_rows_are_never_sealed_alike(tables: ReidentificationTables) -> None:
    before = file_of(tables, "second").read_bytes()
    tables.publish("second", tables.read("second"))
    after = file_of(tables, "second").read_bytes()
    assert len(before) == len(after) and before[-40:] != after[-40:]


def test_every_look_up_is_logged_with_user_and_pseudonym_and_no_identity(
    tables: ReidentificationTables, pseudonymiser: Pseudonymiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "somebody-else")
    asked = [pseudonymiser.patient(PATIENT), "p-0123456789abcdef", pseudonymiser.uid("1.2.3")]
    for pseudonym in asked:
        tables.find(pseudonym)
    lines = tables.accesses()
    assert sorted(line.split(" ")[2] for line in lines) == sorted(asked)
    assert {line.split(" ")[1] for line in lines} == {user_name()}
    assert "somebody-else" not in "".join(lines) and PATIENT not in "".join(lines)


@pytest.mark.parametrize("asked", [PATIENT, "p-0123", "1.2.3", "p-0123456789abcdef\nforged line", "../first", ""])
def test_what_is_no_pseudonym_is_neither_looked_up_nor_logged(tables: ReidentificationTables, asked: str) -> None:
    with pytest.raises(InputError, match="no pseudonym") as caught:
        tables.find(asked)
    assert tables.accesses() == []
    assert not asked or asked not in str(caught.value)


def test_what_cannot_be_logged_is_not_read(tables: ReidentificationTables, pseudonymiser: Pseudonymiser) -> None:
    Path(tables.zone.full("reidentification/access")).write_bytes(b"a file where the log's folder is needed")
    with pytest.raises(StoreError):
        tables.find(pseudonymiser.patient(PATIENT))


def test_a_table_is_replaced_whole_or_not_at_all(
    tables: ReidentificationTables, pseudonymiser: Pseudonymiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="disk is full"):
        tables.publish("second", [])
    assert len(tables.read("second")) == 1
    assert tables.names() == ["first", "second"]


def test_the_name_of_a_table_is_a_partition_key(tables: ReidentificationTables) -> None:
    for name in ("../x", "a/b", "", "Walther Vogelweide"):
        with pytest.raises(ValueError):
            tables.publish(name, [])


def test_the_pipeline_keeps_a_table_and_shows_its_choices_without_the_sites_words(tmp_path: Path) -> None:
    site = Site(tmp_path / "home")
    (tmp_path / "site.toml").write_text('options = ["retain-dates", "retain-device"]\nterms = ["spiculated"]')
    write_secret(tmp_path / "second", KEY)
    named = {"deidentification": tmp_path / "site.toml", "reidentification_key_file": tmp_path / "second"}
    site.settings = site.settings.model_copy(update=named)
    site.definitions = build_defs(site.settings)
    site.arrive("images", "one", series(1000))
    done = site.run("ingest_delivery", "one")
    assert done.success
    shown = [event.materialization.metadata for event in done.get_asset_materialization_events()]
    (choices,) = [metadata["deidentification"].value for metadata in shown if "deidentification" in metadata]
    assert choices["options"] == ["retain-dates", "retain-device"] and choices["terms"] == 1
    assert "spiculated" not in repr(shown) and PATIENT not in repr(shown)
    kept = StoreResource.of(site.settings).reidentification_tables()
    assert kept is not None and kept.names() == ["images.one"]
    assert PATIENT in {entry.original for entry in kept.read("images.one") if entry.kind == "patient"}
