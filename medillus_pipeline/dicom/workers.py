"""A pool of spawned processes for work on many files, or this process where that is enough.

What the work is, is not here.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context
from typing import Any, TypeVar

from medillus_pipeline.errors import TransientError

Given = TypeVar("Given")
HEAP = 16 << 20
"""Bytes of a block that is freed once at the start of a worker: glibc then keeps blocks up to that size instead of
giving each back to the system and paying for its pages again with the next file."""
AHEAD = max(16, 4 * (os.cpu_count() or 1))
"""Chunks of tasks that are with a worker, or wait for one or for their turn: results come in order, and one may be
slow. A cluster has four for each of its workers, where that is more."""


@contextmanager
def pool_of(workers: int, executor: Executor | None, tasks: int) -> Iterator[Executor | None]:
    """The executor given, a pool of spawned processes, or None to work in this process."""
    keep_heap()
    if executor is not None or workers <= 1 or tasks < 2:
        yield executor
        return
    with ProcessPoolExecutor(min(workers, tasks), mp_context=get_context("spawn"), initializer=keep_heap) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def chunk_of(tasks: int) -> int:
    """How many of so many tasks a worker is sent at a time."""
    return max(1, min(16, tasks // 8))


def mapped(
    pool: Executor | None, function: Callable[[Given], Any], tasks: Iterable[Given], *, chunk: int | None = None
) -> Iterator[Any]:
    """Results of `function` in the order of the tasks, of which a worker is sent `chunk` at a time. Tasks are taken as
    they are needed, so that a long row of them is never there as a whole. Raises TransientError when a worker process
    dies.
    """
    if pool is None:
        yield from map(function, tasks)
        return
    size = chunk or (chunk_of(len(tasks)) if isinstance(tasks, Sequence) else 1)
    ahead = max(AHEAD, 4 * getattr(pool, "width", 0))
    source = iter(tasks)
    under_way: deque[Future[list[Any]]] = deque()
    try:
        while True:
            while len(under_way) < ahead and (some := list(islice(source, size))):
                under_way.append(pool.submit(_each, function, some))
            if not under_way:
                return
            yield from under_way.popleft().result()
    except BrokenProcessPool as error:
        raise TransientError(
            "a worker process ended abruptly, out of memory or in a decoder: run again with fewer workers"
        ) from error
    finally:
        for future in under_way:
            future.cancel()


def _each(function: Callable[[Given], Any], tasks: list[Given]) -> list[Any]:
    return [function(task) for task in tasks]


def keep_heap() -> None:
    """Have this process keep the memory of large blocks for the next ones."""
    bytearray(HEAP)
