"""The promotion lock with real processes: one holds it, others are told who, and a killed holder does not block."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from medillus_pipeline.errors import ConfigurationError, StoreError
from medillus_pipeline.resources import conditional_writes
from medillus_pipeline.resources.promotion_lock import (
    LOCK,
    PromotionBusy,
    PromotionLockLost,
    promotion_lock,
)
from medillus_pipeline.zones import Zone

HOLDER = """
import sys
from medillus_pipeline.resources.promotion_lock import promotion_lock
from medillus_pipeline.zones import Zone
with promotion_lock(Zone(sys.argv[1]), "run-of-another"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(params=["file", "s3"])
def zone(request: pytest.FixtureRequest, tmp_path: Path) -> Zone:
    """An empty clean zone."""
    if request.param == "file":
        return Zone(tmp_path.as_uri())
    return Zone(f"{request.getfixturevalue('s3')}/{tmp_path.name}")


def holder(zone: Zone) -> subprocess.Popen[str]:
    """Another process that holds the lock until its input ends."""
    command = [sys.executable, "-W", "ignore", "-c", HOLDER, zone.url]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_told_who_holds_it_and_gets_it_afterwards(zone: Zone) -> None:
    other = holder(zone)
    with pytest.raises(PromotionBusy, match=r"under way by run-of-another on .* since 20"), promotion_lock(zone, "me"):
        pass
    other.communicate("", timeout=60)
    with promotion_lock(zone, "me") as lock:
        lock.confirm()


def test_a_holder_that_was_killed_does_not_block_for_ever(zone: Zone) -> None:
    other = holder(zone)
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    if not zone.is_local:
        with pytest.raises(PromotionBusy), promotion_lock(zone, "me"):
            pass
    with promotion_lock(zone, "me", lease=0.0) as lock:
        lock.confirm()


def test_it_is_let_go_when_the_body_fails(zone: Zone) -> None:
    with pytest.raises(RuntimeError), promotion_lock(zone, "first"):
        raise RuntimeError
    with promotion_lock(zone, "second"):
        pass


def test_one_process_cannot_take_it_twice(zone: Zone) -> None:
    with promotion_lock(zone, "first"), pytest.raises(PromotionBusy, match="by first"), promotion_lock(zone, "second"):
        pass


def test_a_lease_is_renewed_while_it_is_held(s3: str, tmp_path: Path) -> None:
    zone = Zone(f"{s3}/{tmp_path.name}")
    with promotion_lock(zone, "me", renewal=0.05) as lock:
        first = conditional_writes.look(zone, LOCK)
        for _ in range(200):
            if conditional_writes.look(zone, LOCK) != first:
                break
        now = conditional_writes.look(zone, LOCK)
        assert first is not None
        assert now is not None
        assert now.etag != first.etag
        lock.confirm()


def test_a_holder_that_was_stopped_past_its_lease_learns_it_and_leaves_the_others_lease_alone(
    s3: str, tmp_path: Path
) -> None:
    zone = Zone(f"{s3}/{tmp_path.name}")
    with promotion_lock(zone, "stopped", renewal=3600) as stopped, promotion_lock(zone, "other", lease=0.0) as other:
        with pytest.raises(PromotionLockLost, match="nothing more is changed by it"):
            stopped.confirm()
        other.confirm()
        assert json.loads(zone.read(LOCK))["owner"] == "other"


def test_of_two_takers_of_an_abandoned_lease_one_wins(s3: str, tmp_path: Path) -> None:
    zone = Zone(f"{s3}/{tmp_path.name}")
    assert conditional_writes.create(zone, LOCK, b'{"owner": "killed"}')
    seen = conditional_writes.look(zone, LOCK)
    assert seen is not None
    won = [conditional_writes.put(zone, LOCK, name, IfMatch=seen.etag) for name in (b"{}", b'{"owner": "late"}')]
    assert [etag is not None for etag in won] == [True, False]


def test_a_store_that_ignores_conditions_is_refused(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What such a store does: it takes every write."""
    zone = Zone(f"{s3}/{tmp_path.name}")
    put = conditional_writes.put
    monkeypatch.setattr(conditional_writes, "put", lambda zone, path, data, **_: put(zone, path, data))
    with pytest.raises(ConfigurationError, match="ignores conditional writes"), promotion_lock(zone, "me"):
        pass


def test_an_object_is_created_once_only(zone: Zone) -> None:
    assert conditional_writes.create(zone, "a/b", b"first")
    assert not conditional_writes.create(zone, "a/b", b"second")
    assert zone.read("a/b") == b"first"
    assert zone.files("a") == ["a/b"]


def test_a_store_that_cannot_be_written_is_no_lost_race(s3: str, tmp_path: Path) -> None:
    (tmp_path / "locks").write_bytes(b"")
    for zone in (Zone(tmp_path.as_uri()), Zone("s3://no-such-bucket/clean")):
        with pytest.raises(StoreError), promotion_lock(zone, "me"):
            pass
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(StoreError, match="nothing was changed"):
        conditional_writes.create(Zone(tmp_path.as_uri()), "a/b", b"x")
