"""A generator's training as several processes: torchrun, started through Dagster Pipes, and the weights it leaves.

What one of the processes does is in `train_process.py`; what becomes of the generator in `generator.py`.
"""

import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError, DagsterPipesExecutionError

from medillus_pipeline.errors import ConfigurationError, TransientError
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline.train_process import PLAN, REASONS, WEIGHTS, Plan, reasons

if TYPE_CHECKING:
    from medillus_pipeline.generation.prior import Prior
    from medillus_pipeline.generation.sampling import Generator

RENDEZVOUS = ("PET_MASTER_ADDR", "PET_MASTER_PORT")
"""torchrun's own variables: where the processes of several machines meet."""


def train_in_processes(
    context: dg.AssetExecutionContext, plan: Plan, work: Path, prior: "Prior", mlflow: MLflowResource, mlflow_run: str
) -> "Generator":
    """Train by the plan in `devices` processes on each of `nodes` machines; the generator, its weights verified.

    This machine is the first of several: on the others a person, or the scheduler, starts the command that the log
    names. `work` is then a folder that all of them share. The processes end with this one.

    Raises dagster.Failure with the reason of the process that failed first, or when the run is stopped (without another
    attempt); ConfigurationError for several machines without a place to meet; TransientError when the weights are not
    those that the processes reported.
    """
    from medillus_pipeline.generation.sampling import Generator

    work.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(work / REASONS, ignore_errors=True)
    (work / PLAN).write_text(plan.model_dump_json(indent=1))
    chosen = plan.config
    environment = {"OMP_NUM_THREADS": str(chosen.threads)}
    if "MEDILLUS_KEY" in os.environ:
        environment["MEDILLUS_KEY"] = ""  # nobody there has a use for the pseudonym key
    try:
        invocation = dg.PipesSubprocessClient().run(
            context=context,
            command=[*command(context, plan, work), "--launcher", str(os.getpid())],
            env=environment,
            extras={"tracking_uri": mlflow.tracking_uri, "mlflow_run": mlflow_run},
        )
    except DagsterPipesExecutionError:
        raise _failure(work, chosen.devices * chosen.nodes) from None
    except DagsterExecutionInterruptedError:  # Dagster would try again, in the face of the person who stopped it
        raise dg.Failure(
            "the training was stopped, with its processes; it goes on from its last checkpoint when the step is run "
            "again",
            allow_retries=False,
        ) from None
    weights = (work / WEIGHTS).read_bytes()
    told = [message["weights_sha256"] for message in invocation.get_custom_messages()]
    if told != [hashlib.sha256(weights).hexdigest()]:
        raise TransientError(
            "the weights in the work folder are not those that the training processes reported: see that nothing else "
            "writes there, and run again; training goes on from its last checkpoint"
        )
    return Generator.from_bytes(weights, prior)


def command(context: dg.AssetExecutionContext, plan: Plan, work: Path) -> list[str]:
    """torchrun and its arguments for this machine. Raises ConfigurationError without a place to meet."""
    config = plan.config
    several = [f"--nproc-per-node={config.devices}", f"--nnodes={config.nodes}"]
    entry = ["-m", "medillus_pipeline.train_process", str(work / PLAN)]
    if config.nodes == 1:
        return [sys.executable, "-m", "torch.distributed.run", "--standalone", *several, *entry]
    if missing := [name for name in RENDEZVOUS if not os.environ.get(name)]:
        raise ConfigurationError(
            f"training on {config.nodes} machines needs {' and '.join(missing)}: the address of this machine, and a "
            "free port of it that the others can reach"
        )
    context.log.info(
        f"on machine K of 1 to {config.nodes - 1} start, with the same {' and '.join(RENDEZVOUS)}: "
        f"torchrun --node-rank=K {' '.join([*several, *entry])}"
    )
    return [sys.executable, "-m", "torch.distributed.run", "--node-rank=0", *several, *entry]


def _failure(work: Path, processes: int) -> dg.Failure:
    left = reasons(work)
    if not left or left[0].follows:
        return dg.Failure(
            f"one of {processes} training processes was ended from outside, most likely by the system for want of "
            "memory: see the step's compute log. Training goes on from its last checkpoint when the step is run again"
        )
    return dg.Failure(left[0].text, allow_retries=not left[0].permanent)
