"""A pool of spawned processes for work on many files, or this process where that is enough.

What the work is, is not here.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, TypeVar

from medillus_pipeline.errors import TransientError

Given = TypeVar("Given")
HEAP = 16 << 20
"""Bytes of a block that is freed once at the start of a worker: glibc then keeps blocks up to that size instead of
giving each back to the system and paying for its pages again with the next file."""


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


def mapped(
    pool: Executor | None, function: Callable[[Given], Any], tasks: Sequence[Given], *, chunk: int | None = None
) -> Iterator[Any]:
    """Results of `function` in the order of the tasks, of which a worker is sent `chunk` at a time. Raises
    TransientError when a worker process dies.
    """
    if pool is None:
        yield from map(function, tasks)
        return
    try:
        yield from pool.map(function, tasks, chunksize=chunk or max(1, min(16, len(tasks) // 8)))
    except BrokenProcessPool as error:
        raise TransientError(
            "a worker process ended abruptly, out of memory or in a decoder: run again with fewer workers"
        ) from error


def keep_heap() -> None:
    """Have this process keep the memory of large blocks for the next ones."""
    bytearray(HEAP)
