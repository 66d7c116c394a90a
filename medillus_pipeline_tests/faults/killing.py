"""A job of the pipeline in a process of its own, killed at a chosen event as `kill -9` or the kernel kills.

    python -m medillus_pipeline_tests.faults.killing HOME JOB PARTITION ASSETS EVENT

What must hold afterwards is tested elsewhere.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import pytest

from medillus_pipeline_tests.conftest import REPOSITORY
from medillus_pipeline_tests.flow import TINY, lower_gates
from medillus_pipeline_tests.site import Site


class Event(NamedTuple):
    """The end comes before or after call `count` of `name` in `module` whose arguments show `shown`."""

    module: str
    name: str
    when: str
    shown: str = ""
    count: int = 1


def unfinished(folder: str, count: int = 1) -> Event:
    """An object below that folder of the zone has all its bytes, and is not in its place."""
    return Event("pathlib", "Path.replace", "before", f"/{folder}/", count)


def written(path: str) -> Event:
    """An object whose path begins so is in its place, and Dagster does not know of it."""
    return Event("medillus_pipeline.zones", "Zone.write", "after", path)


def killed(home: Path, job: str, partition: str | None, event: Event, *assets: str) -> None:
    """Run the job, or the assets of it, until the event. Fails where the process ended in any other way."""
    named = [str(home), job, partition or "", ",".join(assets), *map(str, event)]
    words = [sys.executable, "-W", "ignore", "-m", __name__, *named]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MEDILLUS_")}
    ended = subprocess.run(words, cwd=REPOSITORY, capture_output=True, check=False, env=environment, timeout=300)
    assert ended.returncode == -signal.SIGKILL, f"{event} never came: {ended.stderr.decode()[-1500:]}"


def run_tiny(site: Site, job: str, partition: str | None = None, assets: Sequence[str] = ()) -> Any:
    """Run a job, or assets of it, with the tiny preset, after what is in landing was registered."""
    site.register("images")
    site.register("annotations")
    ops = TINY.get(job, {}).get("ops", {})
    config = {"ops": {name: one for name, one in ops.items() if not assets or name in assets}}
    chosen = {"asset_selection": [dg.AssetKey(name) for name in assets]} if assets else {}
    with pytest.MonkeyPatch.context() as patch:
        lower_gates(patch)
        return site.run(job, partition, run_config=config, **chosen)


def _arm(event: Event) -> None:
    *owners, name = event.name.split(".")
    owner: Any = reduce(getattr, owners, import_module(event.module))
    original: Callable[..., Any] = getattr(owner, name)
    left = event.count

    def deadly(*arguments: Any, **named: Any) -> Any:
        nonlocal left
        meant = not event.shown or any(event.shown in str(one) for one in (*arguments, *named.values()))
        left -= meant
        if meant and left == 0 and event.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = original(*arguments, **named)
        if meant and left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(owner, name, deadly)


if __name__ == "__main__":
    home, job, partition, assets, *event, count = sys.argv[1:]
    _arm(Event(*event, count=int(count)))
    run_tiny(Site(Path(home)), job, partition or None, assets.split(",") if assets else ())
