"""One client for a process: shared by zones and threads, never with a forked process, renewed with the credentials."""

import gc
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from medillus_pipeline import object_store
from medillus_pipeline.errors import StoreError
from medillus_pipeline.zones import StoreRefused, Zone


@pytest.fixture
def zone(s3: str, tmp_path: Path) -> Zone:
    """A zone that holds one object."""
    made = Zone(f"{s3}/{tmp_path.name}")
    made.write("there", b"whole")
    return made


def test_zones_of_a_process_share_a_client(zone: Zone) -> None:
    assert zone.fs is Zone(zone.url).fs is Zone("s3://another/place").fs


def test_threads_share_a_client(zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "_kept", {})
    with ThreadPoolExecutor(8) as threads:
        read = list(threads.map(lambda _: (Zone(zone.url).read("there"), id(zone.fs)), range(40)))
    assert {data for data, _ in read} == {b"whole"}
    assert len({client for _, client in read}) == 1


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_opens_its_own_and_leaves_its_parents_alone(zone: Zone) -> None:
    assert zone.read("there") == b"whole"
    with object_store._lock:  # as another thread may at that moment
        process = get_context("fork").Process(target=_forked, args=(zone,))
        process.start()
    process.join(60)
    assert process.exitcode == 0
    assert zone.read("from the other") == b"whole"


def _forked(zone: Zone) -> None:
    zone.write("from the other", zone.read("there"))
    gc.collect()


def test_other_credentials_in_the_environment_are_used_from_then_on(
    zone: Zone, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = zone.fs
    monkeypatch.setenv("AWS_SESSION_TOKEN", "renewed")
    assert zone.fs is not before
    assert zone.read("there") == b"whole"
    assert len(object_store._kept) == 1


def test_a_file_of_credentials_that_changes_is_read_again(
    zone: Zone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    file.write_text("[default]\naws_access_key_id = first\naws_secret_access_key = one\n")
    assert (zone.read("there"), _user(zone)) == (b"whole", "first")
    file.write_text("[default]\naws_access_key_id = second\naws_secret_access_key = another\n")
    assert (zone.read("there"), _user(zone)) == (b"whole", "second")


def _user(zone: Zone) -> str:
    return zone.fs.s3._request_signer._credentials.access_key


def test_pages_tell_all_objects_in_order_and_none_twice(zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        zone.write(f"kind/{number}/file", b"x")
    call = object_store.filesystem().call_s3
    monkeypatch.setattr(zone.fs, "call_s3", lambda method, **asked: call(method, MaxKeys=2, **asked))
    pages = list(zone.pages("kind"))
    assert [last for _, last in pages] == [False, False, True]
    assert [path for page, _ in pages for path, _ in page] == [f"kind/{number}/file" for number in range(5)]
    assert next(path for page, _ in zone.pages("kind", "kind/2/") for path, _ in page) == "kind/2/file"


def test_a_page_of_a_bucket_that_is_not_there_is_no_empty_one(zone: Zone) -> None:
    with pytest.raises(StoreRefused, match="the bucket does not exist"):
        list(Zone("s3://hospitol/landing").pages("images"))


def test_a_store_out_of_reach_is_named_by_what_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StoreError, match=r"it does not answer \(EndpointConnectionError\)"):
        Zone("s3://hospital/clean").read("a")
