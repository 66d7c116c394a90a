"""A Dagster instance under the home folder, for the machine of one person. Deployments bring their own dagster.yaml."""

import os
from pathlib import Path

import dagster as dg

from medillus_pipeline import telemetry

CONFIGURATION = """\
# Written by medillus; deployments use docker/dagster.yaml.
telemetry:
  enabled: false
concurrency:
  pools:
    default_limit: 1
  runs:
    max_concurrent_runs: 2
    tag_concurrency_limits:
      # Two trainings take turns; the later one waits in the queue, where a newer dataset takes its place.
      - key: stage
        value: train
        limit: 1
retention:
  sensor:
    purge_after_days:
      skipped: 7
      success: 90
      failure: 90
"""


def dagster_home(home: Path) -> Path:
    """The folder of Dagster's databases: DAGSTER_HOME where it is set, otherwise made under `home`."""
    telemetry.switch_off()
    given = os.environ.get("DAGSTER_HOME")
    folder = Path(given) if given else home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "dagster.yaml").exists():
        (folder / "dagster.yaml").write_text(CONFIGURATION)
    return folder


def local_instance(home: Path) -> dg.DagsterInstance:
    """The instance of that folder."""
    return dg.DagsterInstance.from_config(str(dagster_home(home)))
