"""Zones publish whole objects or none, and nothing outside their root."""

import errno
import hashlib
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from medillus_pipeline.errors import ConfigurationError, StoreError
from medillus_pipeline.zones import Zone


def test_a_payload_is_named_by_its_content_and_written_once(clean: Zone) -> None:
    first = clean.put("slices", b"content", ".png")
    before = Path(clean.full(first.path)).stat().st_ino
    second = clean.put("slices", b"content", ".png")
    assert first == second
    assert first.sha256 == hashlib.sha256(b"content").hexdigest()
    assert Path(clean.full(first.path)).stat().st_ino == before


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "a/../../b"])
def test_a_path_cannot_leave_the_zone(clean: Zone, path: str) -> None:
    with pytest.raises(ValueError, match=r"relative|\.\."):
        clean.write(path, b"x")


def test_a_failed_write_leaves_the_former_object_and_no_temporary_file(clean: Zone, monkeypatch) -> None:
    clean.write("tables/a", b"former")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="disk is full: free space"):
        clean.write("tables/a", b"newer")
    monkeypatch.undo()
    assert clean.read("tables/a") == b"former"
    assert clean.files("tables") == ["tables/a"]


def test_an_unwritable_store_says_what_to_do_and_names_no_path(tmp_path: Path) -> None:
    blocked = tmp_path / "a-file"
    blocked.write_bytes(b"")
    with pytest.raises(StoreError) as caught:
        Zone(blocked.as_uri()).write("x", b"y")
    assert "cannot be used" in str(caught.value)
    assert "a-file" not in str(caught.value)


def test_links_that_lead_out_of_the_zone_are_not_listed(landing: Zone, tmp_path: Path) -> None:
    secret = tmp_path / "elsewhere"
    secret.write_bytes(b"not delivered")
    landing.write("images/one/file", b"delivered")
    Path(landing.full("images/one/link")).symlink_to(secret)
    assert landing.files("images/one") == ["images/one/file"]


def test_a_zone_travels_to_a_worker_process(clean: Zone) -> None:
    clean.write("a", b"b")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(clean.read, "a").result() == b"b"


def test_a_bare_path_is_not_a_zone() -> None:
    with pytest.raises(ConfigurationError, match="file:// or s3://"):
        Zone("/tmp")


def test_a_home_with_a_space_and_other_signs_is_taken_as_it_is(tmp_path: Path) -> None:
    home = tmp_path / "a home #1 ä%20"
    Zone(home.as_uri()).write("x/y", b"z")
    assert (home / "x" / "y").read_bytes() == b"z"
    assert Zone(home.as_uri()).files() == ["x/y"]


def test_an_adopted_file_is_moved_and_named_by_its_content(tmp_path: Path) -> None:
    zone, file = Zone((tmp_path / "zone").as_uri()), tmp_path / "staged"
    payloads = []
    for _ in range(2):  # the second one is there already
        file.write_bytes(b"content")
        payloads.append(zone.adopt("things", file, hashlib.sha256(b"content").hexdigest(), ".bin"))
        assert not file.exists()
    assert payloads[0] == payloads[1] == zone.put("things", b"content", ".bin")
    assert zone.read(payloads[0].path) == b"content"
