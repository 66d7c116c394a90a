"""Tasks on a real Dask cluster: in order, sealed, done again where a worker dies, and taken back with their step."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medillus_pipeline.dicom.workers import mapped
from medillus_pipeline.errors import ConfigurationError, TransientError
from medillus_pipeline.resources import dask_cluster
from medillus_pipeline.resources.compute import ComputeResource
from medillus_pipeline.resources.dask_cluster import dask_executor, parsed
from medillus_pipeline.resources.parcels import Envelope, perform
from medillus_pipeline_tests.resources.clusters import (
    KEY,
    address_of,
    cluster,
    deadly,
    killed_once,
    process_of,
    refused,
    slow,
    squared,
)

pytest.importorskip("distributed")
SECRET = bytes.fromhex(KEY)
CANARY = "CanaryOfPatients"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with cluster(tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture
def compute(running: Any) -> ComputeResource:
    return ComputeResource(workers=1, threads=1, cluster=address_of(running))


def test_results_come_in_the_order_of_the_tasks_from_several_processes(compute: ComputeResource) -> None:
    with compute.executor() as executor:
        assert list(mapped(executor, squared, range(200), chunk=3)) == [n * n for n in range(200)]
        assert list(mapped(executor, squared, [])) == []
        assert len(set(mapped(executor, process_of, range(40), chunk=1))) == 2


def test_what_a_task_raises_is_raised_here(compute: ComputeResource) -> None:
    for key in (None, SECRET):
        with compute.executor(restricted=key) as executor, pytest.raises(ValueError, match="not 0"):
            list(mapped(executor, refused, range(10)))


def test_a_task_whose_worker_is_killed_is_done_by_another(compute: ComputeResource, tmp_path: Path) -> None:
    tasks = [(str(tmp_path), number) for number in range(30)]
    with compute.executor(restricted=SECRET) as executor:
        assert list(mapped(executor, killed_once, tasks, chunk=1)) == list(range(30))
    assert (tmp_path / "7").exists()


def test_nothing_readable_reaches_scheduler_workers_or_their_logs(compute: ComputeResource, running: Any) -> None:
    def seen(dask_scheduler: Any) -> str:
        from distributed.protocol.pickle import dumps

        return repr([(key, bytes(dumps(state.run_spec))) for key, state in dask_scheduler.tasks.items()])

    with compute.executor(restricted=SECRET) as executor:
        assert executor is not None
        futures = [executor.submit(_shouted, CANARY, SECRET) for _ in range(20)]
        held = ""
        while "medillus-" not in held:  # until the tasks have reached the scheduler
            held = executor._client.run_on_scheduler(seen)  # pyright: ignore[reportAttributeAccessIssue]
        assert [future.result() for future in futures] == [CANARY.upper()] * 20
        with pytest.raises(ValueError, match=CANARY):
            executor.submit(_quoting, CANARY).result()
    logs = repr((running.get_logs(), running.scheduler.get_events()))
    for text in (CANARY, CANARY.upper(), KEY, repr(SECRET)[2:20], "_shouted"):
        assert text not in held
        assert text not in logs


def test_without_the_seal_that_search_finds_the_canary() -> None:
    assert CANARY.encode() in Envelope().close((squared, CANARY), "task 1")
    assert CANARY.encode() not in Envelope.sealed_with(SECRET).close((squared, CANARY), "task 1")


def test_a_parcel_opens_under_its_own_key_and_label_only() -> None:
    mine = Envelope.sealed_with(SECRET)
    parcel = mine.close([CANARY], "task 1")
    assert mine.open(parcel, "task 1") == [CANARY]
    for envelope, given, label in (
        (Envelope.sealed_with(bytes(32)), parcel, "task 1"),
        (mine, parcel, "task 2"),
        (mine, parcel[:-1] + bytes([parcel[-1] ^ 1]), "task 1"),
    ):
        with pytest.raises(ConfigurationError, match="pseudonym key"):
            envelope.open(given, label)
    assert KEY not in repr(mine) and "sealed=True" in repr(mine)


def test_a_worker_of_another_release_refuses() -> None:
    sealed, parcel = perform(Envelope().close((squared, (2,)), "task a"), "a", False, "0.0.0")
    with pytest.raises(ConfigurationError, match="install the same"):
        dask_cluster.opened((sealed, parcel), Envelope(), "a")


def test_no_more_than_what_is_needed_is_sent_and_the_rest_is_taken_back(
    compute: ComputeResource, tmp_path: Path
) -> None:
    taken: list[int] = []

    def tasks() -> Iterator[tuple[str, int]]:
        for number in range(1000):
            taken.append(number)
            yield str(tmp_path), number

    with compute.executor() as executor:
        results = mapped(executor, slow, tasks(), chunk=1)
        assert next(results) == 0
        assert len(taken) <= 20
    time.sleep(1)
    done = len(list(tmp_path.iterdir()))
    time.sleep(1)
    assert len(list(tmp_path.iterdir())) == done < 20


@pytest.mark.slow
def test_the_tasks_of_a_step_that_is_killed_are_forgotten(running: Any, tmp_path: Path) -> None:
    code = (
        "from medillus_pipeline.resources.dask_cluster import dask_executor\n"
        "from medillus_pipeline.resources.parcels import Envelope\n"
        "from medillus_pipeline_tests.resources.clusters import slow\n"
        f"with dask_executor({address_of(running)!r}, Envelope()) as executor:\n"
        f"    [f.result() for f in [executor.submit(slow, ({str(tmp_path)!r}, n)) for n in range(500)]]\n"
    )
    step = subprocess.Popen([sys.executable, "-c", code])
    while len(list(tmp_path.iterdir())) < 4:
        assert step.poll() is None
        time.sleep(0.1)
    step.kill()
    step.wait()
    until = time.monotonic() + 60
    while running.scheduler.tasks and time.monotonic() < until:
        time.sleep(0.2)
    assert not running.scheduler.tasks
    assert len(list(tmp_path.iterdir())) < 500


@pytest.mark.parametrize(
    "address", ["dask://", "dask://host", "tcp://h:1", "dask://u:p@h:1", "dask://h:1/x", "dask://h:99999", "dask://h:x"]
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match="dask://host:port"):
        parsed(address)


def test_another_machine_is_refused_without_tls() -> None:
    with pytest.raises(ConfigurationError, match="TLS"), dask_executor("dask://192.0.2.1:8786", Envelope()):
        pass


def test_a_scheduler_that_does_not_answer_is_worth_another_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_cluster, "WAIT", 1)
    with pytest.raises(TransientError, match="unset MEDILLUS_COMPUTE"), dask_executor("dask://127.0.0.1:9", Envelope()):
        pass


@pytest.mark.slow
def test_a_task_that_ends_every_worker_says_what_to_do(tmp_path: Path) -> None:
    with cluster(tmp_path, n_workers=1) as made:
        compute = ComputeResource(workers=1, threads=1, cluster=address_of(made))
        with compute.executor() as executor, pytest.raises(TransientError, match="more memory"):
            list(mapped(executor, deadly, [1]))


@pytest.mark.slow
def test_workers_without_the_key_or_with_several_threads_are_refused(tmp_path: Path) -> None:
    with cluster(tmp_path, key=None, n_workers=1) as made:
        compute = ComputeResource(workers=1, threads=1, cluster=address_of(made))
        with compute.executor(restricted=SECRET) as executor, pytest.raises(ConfigurationError, match="MEDILLUS_KEY"):
            list(mapped(executor, squared, [1, 2]))
    with cluster(tmp_path, n_workers=1, threads_per_worker=2) as made:
        compute = ComputeResource(workers=1, threads=1, cluster=address_of(made))
        with pytest.raises(ConfigurationError, match="--nthreads 1"), compute.executor():
            pass


def test_dask_is_not_imported_before_a_cluster_is_asked_for() -> None:
    code = (
        "import sys, medillus_pipeline.resources.compute as c\n"
        "import medillus_pipeline.resources.parcels, medillus_pipeline.resources.dask_cluster\n"
        "with c.ComputeResource(workers=1, threads=1).executor() as e: assert e is None\n"
        "assert not {'dask', 'distributed'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def _shouted(text: str, key: bytes) -> str:
    return text.upper()


def _quoting(text: str) -> str:
    raise ValueError(text)
