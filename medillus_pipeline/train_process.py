"""One process of a generator's training by torchrun: `torchrun … -m medillus_pipeline.train_process WORK/plan.json`.

It reads the plan, trains, and leaves weights, sample grids and checkpoints in the plan's folder. The first process
tells Dagster (through Pipes) and MLflow how far it is; any of them leaves the reason there when it fails. What is not
here: the training itself (`generation/training.py`), who starts the processes and registers what they made
(`assets/torchrun.py`).
"""

import argparse
import hashlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from dagster_pipes import PipesContext, PipesEnvVarParamsLoader, open_dagster_pipes
from pydantic import BaseModel, ConfigDict, Field

from medillus_pipeline import telemetry
from medillus_pipeline.errors import MedillusError, PermanentError, TransientError
from medillus_pipeline.generation.config import GanConfig, GeneratorConfig
from medillus_pipeline.zones import Zone

if TYPE_CHECKING:
    from medillus_pipeline.generation.dataset import Dataset
    from medillus_pipeline.generation.sampling import Generator

PLAN, WEIGHTS, SHEETS, REASONS = "plan.json", "generator.safetensors", "samples", "reasons"
"""Names in the work folder."""


class Plan(BaseModel):
    """What every process must know: names of payloads in the clean zone, and the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    clean_url: str = Field(description="root URL of the clean zone")
    cache: str | None = Field(description="local folder for copies of remote payloads")
    manifest: str = Field(description="the snapshot's manifest, a path in the zone")
    prior: str = Field(description="the anatomical prior, a path in the zone")
    start: str | None = Field(description="weights to begin from, a path in the zone")
    perceptual_weights: str | None = Field(description="weights file of the perceptual loss, on every machine")
    seed: int
    config: Annotated[GeneratorConfig | GanConfig, Field(discriminator="family")]


class Reason(BaseModel):
    """Why a process ended. `follows`: only because another one had ended before it."""

    rank: int
    at: float
    text: str
    permanent: bool
    follows: bool = False


def main(arguments: list[str] | None = None) -> int:
    """The exit status of this process, 1 after an error that a person can act on. Others are raised as they are."""
    parser = argparse.ArgumentParser(prog="medillus_pipeline.train_process")
    parser.add_argument("plan", type=Path, help="the plan's file, in the work folder that all processes share")
    parser.add_argument("--launcher", type=int, help="id of the process on this machine without which to end")
    given = parser.parse_args(arguments)
    telemetry.switch_off()
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces its precision on every start
    _end_with([os.getppid(), *([] if given.launcher is None else [given.launcher])])
    folder, rank = given.plan.resolve().parent, int(os.environ.get("RANK", "0"))
    pipes = open_dagster_pipes() if rank == 0 and PipesEnvVarParamsLoader().is_dagster_pipes_process() else None
    try:
        _train(Plan.model_validate_json(given.plan.read_bytes()), folder, rank, pipes)
    except MedillusError as error:
        _leave_reason(folder, rank, error)
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    except Exception as error:
        _leave_reason(folder, rank, error)
        raise
    finally:
        if pipes is not None:
            pipes.close()
    return 0


def _train(plan: Plan, folder: Path, rank: int, pipes: PipesContext | None) -> None:
    from medillus_pipeline.generation.dataset import load_snapshot
    from medillus_pipeline.generation.prior import Prior
    from medillus_pipeline.generation.training import train_generator

    clean = Zone(plan.clean_url, cache=plan.cache)
    dataset = load_snapshot(clean, plan.manifest)
    generator = train_generator(
        dataset,
        Prior.from_bytes(clean.read(plan.prior)),
        plan.config,
        seed=plan.seed,
        start=None if plan.start is None else clean.read(plan.start),
        perceptual_weights=None if plan.perceptual_weights is None else Path(plan.perceptual_weights).expanduser(),
        checkpoint_dir=folder,
        log=pipes and _curves(pipes.extras),
        preview=lambda step, model: write_sheet(folder / SHEETS, step, model, dataset),
        progress=pipes and _progress(pipes),
    )
    if rank:
        return
    weights = generator.to_bytes()
    _write(folder / WEIGHTS, weights)
    if pipes is not None:
        pipes.report_custom_message({"weights_sha256": hashlib.sha256(weights).hexdigest()})


def write_sheet(folder: Path, step: int, model: "Generator", dataset: "Dataset") -> None:
    """Samples at fixed masks of validation patients, spread over the body, as `step-<number>.png`."""
    from medillus_pipeline.annotation import vocabulary
    from medillus_pipeline.generation.sampling import sample_sheet

    held_out = dataset.split("validation")
    if not len(held_out):
        return
    rows = [int(share * (len(held_out) - 1)) for share in (0.1, 0.3, 0.5, 0.7, 0.9)]
    steps = getattr(model.config, "preview_steps", None)
    _write(
        folder / f"step-{step:06d}.png", sample_sheet(model, held_out, rows, vocabulary.load().palette(), steps=steps)
    )


def reasons(folder: Path) -> list[Reason]:
    """What the processes left in the work folder: own reasons first, then the earliest."""
    found = [Reason.model_validate_json(path.read_bytes()) for path in (folder / REASONS).glob("*.json")]
    return sorted(found, key=lambda reason: (reason.follows, reason.at))


def _leave_reason(folder: Path, rank: int, error: Exception) -> None:
    import torch

    lost = isinstance(error, torch.distributed.DistError) or "gloo" in str(error).lower()
    known = isinstance(error, MedillusError)
    if isinstance(error, OSError):
        text = f"a file or a connection failed ({os.strerror(error.errno) if error.errno else type(error).__name__})"
    else:
        text = str(error) if known else f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    reason = Reason(
        rank=rank, at=time.time(), text=text, permanent=isinstance(error, PermanentError), follows=lost and not known
    )
    _write(folder / REASONS / f"{rank}.json", reason.model_dump_json().encode())


def _curves(extras: Mapping[str, Any]) -> Callable[[int, dict[str, float]], None]:
    """Figures to the MLflow run that Dagster named."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
    import requests
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import OperationalError

    client = MlflowClient(tracking_uri=extras["tracking_uri"])

    def log(step: int, figures: dict[str, float]) -> None:
        now = int(time.time() * 1000)
        try:
            client.log_batch(extras["mlflow_run"], [Metric(name, value, now, step) for name, value in figures.items()])
        except (MlflowException, OperationalError, requests.exceptions.RequestException) as error:
            raise TransientError(
                f"MLflow did not take the figures of step {step} ({type(error).__name__}): check "
                "MEDILLUS_MLFLOW_TRACKING_URI and that the server or database runs. Training goes on from its last "
                "checkpoint when the step is run again"
            ) from error

    return log


def _progress(pipes: PipesContext, seconds: float = 5.0) -> Callable[[int, int], None]:
    """A line to the run's log at most every few seconds."""
    last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            pipes.log.info(f"{pipes.asset_key}: training steps, {done} of {total}")

    return report


def _end_with(others: list[int], seconds: float = 1.0) -> None:
    """End this process soon after one of the others: a training that nobody waits for would write the checkpoints of
    the one that replaces it.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent and all(_runs(other) for other in others):
            time.sleep(seconds)
        os._exit(1)

    threading.Thread(target=watch, name="watch", daemon=True).start()


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()  # killed, and nobody has taken note
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's process, or a system without /proc
        return True


def _write(path: Path, data: bytes) -> None:
    """A whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_bytes(data)
    unfinished.replace(path)


if __name__ == "__main__":
    sys.exit(main())
