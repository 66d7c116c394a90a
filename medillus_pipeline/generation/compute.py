"""How torch computes here: CPU threads for a block of work, the device, and weights as safetensors bytes."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from safetensors.torch import load, save


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Use `count` threads within operations, and set back the former number afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def device_for(accelerator: str) -> torch.device:
    """The GPU, where one is here and the accelerator, `cpu`, `gpu` or `auto`, lets it be used; else the CPU."""
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")


def weights_to_bytes(weights: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]) -> bytes:
    """Safetensors with `metadata` as one JSON entry; the same content gives the same bytes."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    return save(tensors, {"medillus": json.dumps(metadata, sort_keys=True)})


def weights_from_bytes(data: bytes) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The inverse of `weights_to_bytes`: tensors and metadata. Nothing in the bytes is executed."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return load(data), json.loads(header["__metadata__"]["medillus"])
