"""Checkpoints of a training run on this machine: one safetensors file a step, complete or not at all.

What is in the tensors is the training's affair; when it saves, too.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor
from torch.optim import Optimizer

from medillus_pipeline.generation.compute import weights_from_bytes, weights_to_bytes

KEPT = 2


def save(tensors: Mapping[str, Tensor], step: int, folder: Path) -> Path:
    """Write the tensors of a step, flushed to the disk before they get their name; all but the last two are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"step-{step:08d}.safetensors"
    temporary = target.with_suffix(".tmp")
    with temporary.open("wb") as handle:
        handle.write(weights_to_bytes(tensors, {"step": step}))
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(target)
    for old in saved(folder)[:-KEPT]:
        old.unlink()
    return target


def newest(folder: Path) -> tuple[dict[str, Tensor], int] | None:
    """Tensors and step of the newest readable checkpoint; None when there is none."""
    for path in reversed(saved(folder)):
        try:
            tensors, metadata = weights_from_bytes(path.read_bytes())
        except (SafetensorError, ValueError, KeyError):  # cut off by a crash of the machine: the one before it is used
            continue
        return tensors, metadata["step"]
    return None


def saved(folder: Path) -> list[Path]:
    """The files of a run's folder, oldest first."""
    return sorted(folder.glob("step-*.safetensors"))


def last_step(folder: Path | None) -> int:
    """The step of the newest file, 0 without one."""
    files = saved(folder) if folder else []
    return int(files[-1].stem.removeprefix("step-")) if files else 0


def optimiser_tensors(optimiser: Optimizer) -> dict[str, Tensor]:
    """The optimiser's moments, named index.moment."""
    moments = optimiser.state_dict()["state"]
    return {f"{index}.{name}": tensor for index, own in moments.items() for name, tensor in own.items()}


def load_optimiser(optimiser: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `optimiser_tensors`; learning rates stay as they are."""
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".")
        moments.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose name starts with the prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
