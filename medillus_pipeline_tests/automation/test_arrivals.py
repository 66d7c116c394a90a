"""Landing, look by look: complete folders become runs within bounds, and one that changes later is flagged once."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from medillus_pipeline import landing_seals, landing_watch, landings
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.landing_watch import Bounds, Place
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.automation.test_sensors import tick
from medillus_pipeline_tests.site import Site

NOW = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
BOUNDS = Bounds()


@pytest.fixture(params=["file", "s3"])
def zones(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Zone, Zone]:
    """Landing and vault, on disk and in an object store."""
    if request.param == "file":
        return Zone((tmp_path / "landing").as_uri()), Zone((tmp_path / "vault").as_uri())
    root = f"{request.getfixturevalue('s3')}/{request.node.name.replace('[', '-').rstrip(']')}"
    return Zone(f"{root}/landing"), Zone(f"{root}/vault")


@pytest.fixture
def eye(zones: tuple[Zone, Zone], pseudonymiser: Pseudonymiser) -> Any:
    """One look after the other at landing/images."""

    def look(place: Place = Place(), bounds: Bounds = BOUNDS, **further: Any) -> landing_watch.Look:  # noqa: B008
        return landing_watch.look(*zones, pseudonymiser, "images", bounds=bounds, place=place, **further)

    return look


def land(landing: Zone, label: str, *, closed: bool = True, **files: bytes) -> None:
    for name, data in files.items():
        landing.write(f"images/{label} Vogelweide/{name}", data)
    if closed:
        landings.close(landing, "images", f"{label} Vogelweide", {"label": label})


def test_a_folder_that_changes_after_it_was_closed_is_told_with_counts(zones: tuple[Zone, Zone], eye: Any) -> None:
    land(zones[0], "one", first=b"1", second=b"2")
    assert eye().keys == ["one"]
    assert eye().changed == []
    zones[0].write("images/one Vogelweide/late/third", b"3")
    zones[0].write("images/one Vogelweide/second", b"22")
    (found,) = eye().changed
    assert (found.key, found.came, found.sealed) == ("one", 2, 2)
    landing_seals.seal(zones[1], "images", "one", found.now)
    assert eye().changed == []


def test_files_that_went_are_no_change_for_retention_and_withdrawal_take_them(
    zones: tuple[Zone, Zone], eye: Any
) -> None:
    land(zones[0], "one", first=b"1", second=b"2")
    eye()
    zones[0].remove("images/one Vogelweide/first")
    assert eye().changed == []


def test_a_folder_of_an_earlier_release_is_sealed_at_its_first_look(
    zones: tuple[Zone, Zone], eye: Any, pseudonymiser: Pseudonymiser
) -> None:
    land(zones[0], "one", first=b"1")
    landings.register(*zones, pseudonymiser, "images")
    assert eye().changed == []
    zones[0].write("images/one Vogelweide/second", b"2")
    assert [change.came for change in eye().changed] == [1]


def test_without_a_quiet_period_only_the_marker_closes_a_folder(zones: tuple[Zone, Zone], eye: Any) -> None:
    land(zones[0], "one", closed=False, first=b"1")
    assert eye(now=NOW).keys == eye(now=NOW + timedelta(days=9)).keys == []


def test_a_folder_without_a_marker_is_complete_once_it_was_quiet(zones: tuple[Zone, Zone], eye: Any) -> None:
    quiet = timedelta(minutes=10)
    land(zones[0], "one", closed=False, first=b"1")
    assert eye(now=NOW, quiet=quiet).keys == []
    land(zones[0], "one", closed=False, second=b"2")
    assert eye(now=NOW + timedelta(minutes=11), quiet=quiet).keys == [], "it changed since the first look"
    assert eye(now=NOW + timedelta(minutes=20), quiet=quiet).keys == []
    (key,) = eye(now=NOW + timedelta(minutes=22), quiet=quiet).keys
    assert key.startswith("d-20260304-")
    assert zones[1].files("quiet") == []


def test_one_look_gives_few_keys_and_the_next_goes_on(zones: tuple[Zone, Zone], eye: Any) -> None:
    for number in range(7):
        land(zones[0], f"one-{number}", file=b"x")
    bounds, place, known = Bounds(arrivals=3), Place(), []
    for _ in range(3):
        done = eye(place, bounds)
        place, known = done.place, [*known, len(done.keys)]
    assert known == [3, 6, 7]


def test_open_folders_do_not_keep_closed_ones_waiting_for_ever(zones: tuple[Zone, Zone], eye: Any) -> None:
    for number in range(9):
        land(zones[0], f"open-{number}", closed=False, file=b"x")
    land(zones[0], "one", file=b"x")
    place, keys = Place(), []
    for _ in range(4):
        done = eye(place, Bounds(asked=3))
        place, keys = done.place, done.keys
    assert keys == ["one"]


def test_seals_are_compared_in_turn_and_a_large_folder_ends_a_look(zones: tuple[Zone, Zone], eye: Any) -> None:
    for number in range(5):
        land(zones[0], f"one-{number}", first=b"1", second=b"2")
    place = eye().place
    for number in range(5):
        zones[0].write(f"images/one-{number} Vogelweide/late", b"3")
    told = []
    for _ in range(5):
        done = eye(place, Bounds(compared=4, files=2))
        assert len(done.changed) <= 1
        place, told = done.place, [*told, *(change.key for change in done.changed)]
    assert sorted(told) == [f"one-{number}" for number in range(5)]


@pytest.mark.parametrize(("most", "listings"), [(1000, 2), (3, 6), (1, 14)])
def test_small_folders_of_an_object_store_are_listed_together_and_each_as_it_is(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, listings: int
) -> None:
    """However few objects are on a page. One that nobody asked for is among them; one that is gone costs a request."""
    landing = Zone(f"{s3}/{tmp_path.name}/landing")
    names = ["a", "a b", "ab", "b", "ä", "c"]
    for number, name in enumerate(names):
        for file in range(number % 3):
            landing.write(f"images/{name}/{file}/file", name.encode())
        landing.write(f"images/{name}/{landings.READY}", b"")
    wanted = [*sorted((name for name in names if name != "ab"), key="{}/".format), "gone"]
    alone = {name: landing_seals.contents(landing, f"images/{name}", without=landings.READY) for name in wanted}
    call, asked = landing.fs.call_s3, []

    def counted(method: str, **further: Any) -> Any:
        asked.append(method)
        return call(method, MaxKeys=most, **further)

    monkeypatch.setattr(landing.fs, "call_s3", counted)
    together = dict(landing_seals.contents_in_turn(landing, "images", wanted, without=landings.READY))
    assert together == alone
    assert [len(together[name].files) for name in names if name != "ab"] == [0, 1, 0, 1, 2]
    assert len(asked) == listings


def test_a_link_out_of_landing_is_not_followed(tmp_path: Path, pseudonymiser: Pseudonymiser) -> None:
    landing, vault = Zone((tmp_path / "landing").as_uri()), Zone((tmp_path / "vault").as_uri())
    (tmp_path / "elsewhere").mkdir()
    land(landing, "one", first=b"1")
    Path(landing.full("images/one Vogelweide/link")).symlink_to(tmp_path / "elsewhere")
    landing_watch.look(landing, vault, pseudonymiser, "images", bounds=BOUNDS, place=Place())
    (tmp_path / "elsewhere" / "file").write_bytes(b"x")
    assert landing_watch.look(landing, vault, pseudonymiser, "images", bounds=BOUNDS, place=Place()).changed == []


def test_the_tick_shows_a_changed_delivery_among_the_events_of_its_partition_once(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.land("images", "one", {"first": b"1"})
    first = tick(site, "new_deliveries")
    site.settings.landing.write("images/one of Vogelweide/second", b"2")
    second = tick(site, "new_deliveries", first.cursor)
    assert "changed after it was closed: one" in str(second.skipped)
    tick(site, "new_deliveries", second.cursor)
    (record,) = site.instance.fetch_observations(dg.AssetKey("deidentified_instances"), limit=10).records
    seen = record.asset_observation
    assert seen is not None and seen.partition == "one" and seen.metadata["changed_after_ready"].value == 1
    assert "materialize the partition again" in str(seen.description)
    assert "Vogelweide" not in dg.serialize_value(record.event_log_entry)


def test_the_cursor_is_short_and_names_no_folder(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for number in range(30):
        site.land("images", f"one-{number:02d}", {"file": b"x"})
    cursor = None
    for _ in range(3):
        cursor = tick(site, "new_deliveries", cursor).cursor
    assert cursor is not None and len(cursor) < 200 and "Vogelweide" not in cursor
    assert set(json.loads(cursor)) == {"asked", "compared"}


def test_a_cursor_of_another_make_begins_anew(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.land("images", "one", {"file": b"x"})
    assert tick(site, "new_deliveries", "by hand").partition_keys == ["one"]


def test_runs_of_one_tick_are_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDILLUS_LANDING_RUNS_PER_TICK", "2")
    site = Site(tmp_path)
    for number in range(3):
        site.land("images", f"one-{number}", {"file": b"x"})
    assert [len(tick(site, "new_deliveries").run_requests) for _ in range(3)] == [2, 1, 0]
