"""Pictures and instances in an object store: read before their turn, uploaded while the worker goes on."""

import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest

from medillus_pipeline.dicom import picture_store
from medillus_pipeline.dicom.picture_store import beside, read_instance, store_picture
from medillus_pipeline.dicom.slices import render_delivery
from medillus_pipeline.errors import StoreError
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.dicom.image_files import encoded, image, instance_row


@pytest.fixture
def remote(s3: str, request: pytest.FixtureRequest) -> Zone:
    return Zone(f"{s3}/{abs(hash(request.node.nodeid))}")


class Slow(Zone):
    """A store that answers a write only when it is allowed to, and refuses some."""

    def __init__(self, url: str, refused: int = 0) -> None:
        super().__init__(url)
        self.may_answer = threading.Event()
        self.asked = threading.Semaphore(0)
        self.refused = refused

    def write(self, path: str, data: bytes) -> None:
        """As the zone's own, later."""
        self.asked.release()
        self.may_answer.wait(30)
        if len(data) == self.refused:
            raise StoreError("the store is full")
        super().write(path, data)


def instances(zone: Zone, count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(5)
    where = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [0.8, 0.8]}
    made = []
    for z in range(count):
        pixels = rng.integers(0, 2000, (12, 16), np.uint16)
        data = encoded(image(pixels, RescaleSlope=1, RescaleIntercept=-1024, ImagePositionPatient=[0, 0, z], **where))
        made.append(instance_row(data, zone))
    return made


def test_an_object_store_gets_what_a_folder_gets(clean: Zone, remote: Zone) -> None:
    local = render_delivery(instances(clean, 40), clean)
    again = render_delivery(instances(remote, 40), remote)
    assert list(again.slices) == list(local.slices)
    assert again == local
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        shared = render_delivery(instances(remote, 40), remote, executor=executor, remembering=False)
    assert shared == local
    assert remote.files("slices") == clean.files("slices")
    assert all(remote.read(row["path"]) == clean.read(row["path"]) for row in local.slices)


def test_a_file_that_is_gone_from_the_store_is_counted_and_stops_no_other(remote: Zone) -> None:
    rows = instances(remote, 5)
    remote.remove(rows[2]["path"])
    rendered = render_delivery(rows, remote)
    assert len(rendered.slices) == 4
    assert rendered.skipped == {"unreadable_file": 1}


def test_an_object_is_read_in_one_request(remote: Zone, caplog: pytest.LogCaptureFixture) -> None:
    """Asked for its size first it would cost as much again, and in ranges it could be of two versions."""
    remote.write("large", bytes(60 << 20))
    with caplog.at_level("INFO", "werkzeug"):
        caplog.clear()
        assert remote.read("large") == bytes(60 << 20)
    assert [record.getMessage().split('"')[1].split()[0] for record in caplog.records] == ["GET"]


def test_a_worker_goes_on_while_the_store_has_not_answered(s3: str) -> None:
    zone = Slow("s3://hospital/slow")
    with beside(zone, []):
        stored = [store_picture(zone, "slices", bytes([n]), ".png") for n in range(picture_store.BACKLOG)]
        assert all(zone.asked.acquire(timeout=10) for _ in range(picture_store.THREADS))
        assert zone.files("slices") == []
        zone.may_answer.set()
    assert zone.files("slices") == sorted(payload.path for payload in stored)


def test_no_more_pictures_wait_for_the_store_than_the_backlog(s3: str) -> None:
    zone = Slow("s3://hospital/backlog")
    through = threading.Event()

    def work() -> None:
        with beside(zone, []):
            for n in range(picture_store.BACKLOG + 1):
                store_picture(zone, "slices", bytes([n]), ".png")
            through.set()

    worker = threading.Thread(target=work)
    worker.start()
    assert zone.asked.acquire(timeout=10)
    assert not through.wait(0.3)
    zone.may_answer.set()
    worker.join(30)
    assert through.is_set()


def test_an_upload_that_fails_late_stops_the_step(s3: str) -> None:
    zone = Slow("s3://hospital/full", refused=3)
    zone.may_answer.set()
    with pytest.raises(StoreError, match="full"), beside(zone, []):
        store_picture(zone, "slices", b"abc", ".png")
    with pytest.raises(StoreError), beside(zone, []):
        for _ in range(picture_store.BACKLOG + 2):
            store_picture(zone, "slices", b"abc", ".png")
    store_picture(zone, "slices", b"at once, outside", ".png")
    assert len(zone.files("slices")) == 1


def test_instances_are_read_in_any_order(remote: Zone) -> None:
    paths = [remote.put("instances", bytes([n]), ".dcm").path for n in range(12)]
    with beside(remote, paths):
        assert [bytes(read_instance(remote, path)) for path in paths[::-1]] == [bytes([n]) for n in range(11, -1, -1)]
        with pytest.raises(FileNotFoundError):
            read_instance(remote, "instances/none.dcm")
