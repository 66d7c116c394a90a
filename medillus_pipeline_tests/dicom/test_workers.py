"""Work on many tasks: in order, each once, and none taken long before its turn."""

from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from os import _exit

import pytest

from medillus_pipeline.dicom import workers
from medillus_pipeline.dicom.workers import mapped
from medillus_pipeline.errors import TransientError


def squared(number: int) -> int:
    return number * number


def refused(number: int) -> int:
    raise ValueError(f"not {number}")


def ended(number: int) -> int:
    _exit(number)


@pytest.mark.parametrize("chunk", [None, 1, 7])
@pytest.mark.parametrize("pooled", [False, True])
def test_results_come_in_the_order_of_the_tasks(pooled: bool, chunk: int | None) -> None:
    count = 40 * workers.AHEAD
    with ThreadPoolExecutor(3) as threads:
        pool: Executor | None = threads if pooled else None
        assert list(mapped(pool, squared, range(count), chunk=chunk)) == [n * n for n in range(count)]
        assert list(mapped(pool, squared, iter(range(9)), chunk=chunk)) == [n * n for n in range(9)]
        assert list(mapped(pool, squared, [], chunk=chunk)) == []


def test_tasks_are_taken_as_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "AHEAD", 4)
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    with ThreadPoolExecutor(2) as pool:
        results = mapped(pool, squared, tasks(), chunk=5)
        assert [next(results) for _ in range(10)] == [n * n for n in range(10)]
        assert len(taken) <= 10 + 4 * 5
        results.close()  # pyright: ignore[reportAttributeAccessIssue]
        assert len(taken) < 1000


def test_what_a_task_raises_is_raised_here() -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="not 0"):
        list(mapped(pool, refused, range(100)))


def test_a_worker_that_dies_says_what_to_do() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool, pytest.raises(TransientError, match="fewer"):
        list(mapped(pool, ended, range(3)))
