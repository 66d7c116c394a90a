"""A Dask cluster of two worker processes on loopback, and work to give to it."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

KEY = "c0ffee" * 12


@contextmanager
def cluster(home: Path, key: str | None = KEY, **further: Any) -> Iterator[Any]:
    """Two workers, one thread each, whose environment is that of an installation at `home` with this key."""
    from distributed import LocalCluster

    environment = {"MEDILLUS_HOME": str(home), "OMP_NUM_THREADS": "1"} | ({"MEDILLUS_KEY": key} if key else {})
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"} | further
    with LocalCluster(processes=True, env=environment, **options) as made:
        yield made


def address_of(made: Any) -> str:
    """As MEDILLUS_COMPUTE takes it."""
    return made.scheduler_address.replace("tcp://", "dask://")


def squared(number: int) -> int:
    """Quick work."""
    return number * number


def refused(number: int) -> int:
    """Work that fails."""
    raise ValueError(f"not {number}")


def process_of(number: int) -> int:
    """Which process does the work."""
    return os.getpid()


def killed_once(task: tuple[str, int]) -> int:
    """Work during whose first attempt the system kills the process."""
    folder, number = task
    mark = Path(folder) / str(number)
    if number == 7 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def deadly(number: int) -> int:
    """Work that kills every process."""
    os._exit(number)


def slow(task: tuple[str, int]) -> int:
    """Work that leaves a mark and takes a while."""
    folder, number = task
    (Path(folder) / str(number)).touch()
    time.sleep(0.3)
    return number
