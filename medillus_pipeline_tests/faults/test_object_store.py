"""An object store in trouble: what passes is waited for, what does not is said once, and no half object is seen."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from medillus_pipeline import object_store
from medillus_pipeline.errors import PermanentError, StoreError
from medillus_pipeline.tables import INSTANCES, SLICES
from medillus_pipeline.zones import StoreRefused, Zone
from medillus_pipeline_tests import site as site_module
from medillus_pipeline_tests.faults.faulty_store import Act, Fault, FaultyStore, faulty_store
from medillus_pipeline_tests.flow import settings_at
from medillus_pipeline_tests.site import Site, failure, series

WHOLE = b"w" * 50_000


@pytest.fixture(scope="module")
def served() -> Iterator[FaultyStore]:
    with faulty_store() as store:
        Zone(store.zone_url).write("there", WHOLE)
        yield store


@pytest.fixture
def store(served: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyStore]:
    """No fault as yet; pauses between attempts last no time, and each layer makes fewer of them."""
    import asyncio

    sleep = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda delay, *result: sleep(min(delay, 0.001), *result))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    served.faults.clear()
    served.seen.clear()
    yield served
    served.faults.clear()


@pytest.mark.parametrize("act", ["503", "500", "cut", "slow"])
def test_a_write_outlives_a_bad_moment(store: FaultyStore, act: Act) -> None:
    store.faults.append(Fault(act, "PUT", times=2))
    Zone(store.zone_url).write(act, WHOLE)
    assert Zone(store.zone_url).read(act) == WHOLE
    assert store.asked("PUT") == (1 if act == "slow" else 3)


@pytest.mark.parametrize("act", ["503", "500", "half", "slow"])
def test_a_read_outlives_a_bad_moment_and_never_gives_a_part(store: FaultyStore, act: Act) -> None:
    store.faults.append(Fault(act, "GET", times=2))
    assert Zone(store.zone_url).read("there") == WHOLE
    assert store.asked("GET") == (1 if act == "slow" else 3)


@pytest.mark.parametrize("act", ["503", "500", "cut"])
def test_a_store_that_stays_away_is_a_transient_error_and_leaves_no_object(store: FaultyStore, act: Act) -> None:
    store.faults.append(Fault(act, "PUT"))
    with pytest.raises(StoreError, match="check that the store is reachable") as caught:
        Zone(store.zone_url).write("never", WHOLE)
    assert not isinstance(caught.value, PermanentError)
    assert store.asked("PUT") > 1
    assert "clean/never" not in store.objects()


def test_an_answer_that_is_always_cut_short_is_an_error_and_no_shorter_object(store: FaultyStore) -> None:
    store.faults.append(Fault("half", "GET"))
    with pytest.raises(StoreError, match="check that the store is reachable"):
        Zone(store.zone_url).read("there")


def test_a_listing_that_breaks_off_is_asked_for_again_and_not_taken_for_a_shorter_one(store: FaultyStore) -> None:
    store.faults.append(Fault("half", "GET", times=1))
    assert "there" in Zone(store.zone_url).files()


@pytest.mark.parametrize("act", ["write", "read", "exists", "folders", "files"])
def test_who_is_not_allowed_is_told_so_after_one_request(store: FaultyStore, act: str) -> None:
    store.faults.append(Fault("403"))
    with pytest.raises(StoreRefused, match="access is denied: check the credentials and the policy"):
        getattr(Zone(store.zone_url), act)(*(("a", b"b") if act == "write" else ("there",)))
    assert len(store.seen) == 1


def test_a_clock_that_differs_from_the_stores_is_named(store: FaultyStore) -> None:
    store.faults.append(Fault("skewed"))
    with pytest.raises(StoreRefused, match="the clock of this machine differs from that of the store: set it right"):
        Zone(store.zone_url).write("a", b"b")
    assert len(store.seen) == 1


@pytest.mark.parametrize("act", ["write", "read", "folders", "files"])
def test_a_bucket_that_does_not_exist_is_not_taken_for_an_empty_one(store: FaultyStore, act: str) -> None:
    with pytest.raises(StoreRefused, match="the bucket does not exist: check the URL of the zone"):
        getattr(Zone("s3://hospitol/clean"), act)(*(("a", b"b") if act == "write" else ("a",)))


@pytest.fixture
def impatient(store: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> FaultyStore:
    """The same store, to a client that waits a fifth of a second for an answer and does all else as it is set up."""
    monkeypatch.setattr(object_store, "READ_SECONDS", 0.2)
    monkeypatch.setattr(object_store, "_kept", {})
    monkeypatch.delenv("AWS_MAX_ATTEMPTS")
    return store


@pytest.mark.parametrize("act", ["write", "read", "exists", "remove", "folders", "files"])
def test_a_store_that_never_answers_is_asked_three_times_and_no_more(impatient: FaultyStore, act: str) -> None:
    impatient.faults.append(Fault("silent"))
    with pytest.raises(StoreError, match=r"it does not answer \(ReadTimeoutError\): check that the store is reachable"):
        getattr(Zone(impatient.zone_url), act)(*(("a", b"b") if act == "write" else ("there",)))
    assert len(impatient.seen) == object_store.ATTEMPTS == 3


def test_a_store_that_was_silent_twice_is_heard_the_third_time(impatient: FaultyStore) -> None:
    impatient.faults.append(Fault("silent", "GET", times=2))
    assert Zone(impatient.zone_url).read("there") == WHOLE


def test_attempts_are_those_of_the_environment_where_it_says_so(
    impatient: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    impatient.faults.append(Fault("silent"))
    with pytest.raises(StoreError, match="it does not answer"):
        Zone(impatient.zone_url).read("there")
    assert len(impatient.seen) == 2


def test_a_step_whose_store_is_silent_says_so_once(impatient: FaultyStore, site: Site) -> None:
    impatient.faults.append(Fault("silent", "PUT"))
    result = site.run("ingest_delivery", "scan")
    assert "it does not answer (ReadTimeoutError): check that the store is reachable" in failure(result)
    assert impatient.asked("PUT") == object_store.ATTEMPTS * attempts(result)


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 1_000_000])
def test_a_part_of_a_large_upload_is_cut(store: FaultyStore, times: int) -> None:
    """It is sent again; where that does not help, nothing is left that somebody pays for."""
    large = bytes(110 << 20)
    store.faults.append(Fault("cut", "PUT", "partNumber=2", times))
    zone = Zone(store.zone_url)
    if times == 1:
        zone.write("large", large)
        assert zone.read("large") == large
    else:
        with pytest.raises(StoreError, match="check that the store is reachable"):
            zone.write("larger", large)
        assert "clean/larger" not in store.objects()
    assert store.unfinished() == []


@pytest.fixture
def site(store: FaultyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """An installation whose clean zone is on the store, with a delivery that has arrived."""
    root = f"{store.zone_url}/{tmp_path.name}"
    monkeypatch.setattr(site_module, "settings_at", lambda home: settings_at(home, MEDILLUS_CLEAN_URL=root))
    site = Site(tmp_path)
    site.arrive("images", "scan", series(1000, 2))
    return site


def attempts(result: object) -> int:
    return 1 + sum(event.is_step_up_for_retry for event in result.all_events)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_an_ingest_goes_on_where_the_store_comes_back_between_two_attempts(store: FaultyStore, site: Site) -> None:
    store.faults.append(Fault("500", "PUT", "tables/instances", times=3))
    result = site.run("ingest_delivery", "scan")
    assert result.success
    assert attempts(result) == 2
    assert site.store.tables.read(INSTANCES, "scan").num_rows == 2
    before = site.tables()
    assert site.run("ingest_delivery", "scan").success
    assert site.tables() == before


def test_an_ingest_into_a_store_that_refuses_is_tried_once_and_publishes_nothing(
    store: FaultyStore, site: Site
) -> None:
    store.faults.append(Fault("403", "PUT", "tables/slices"))
    result = site.run("ingest_delivery", "scan")
    assert "access is denied: check the credentials and the policy of the bucket" in failure(result)
    assert attempts(result) == 1
    assert site.store.tables.version(SLICES, "scan") is None
    store.faults.clear()
    assert site.run("ingest_delivery", "scan").success
