"""The two model families behind one pair of functions: a network from its description, and images from a network.

Self-contained on purpose (torch, the standard library, `networks.py` and `gan_networks.py` only): its text travels in
the registry's model file. What a condition holds is in `conditions.py`.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from medillus_pipeline.generation.gan_networks import AnatomicalGenerator
from medillus_pipeline.generation.networks import FlowUNet, guided, integrate

Family = Literal["flow", "gan"]
Network = FlowUNet | AnatomicalGenerator


def build_network(family: Family, classes: int, attributes: int, images: int, config: Mapping[str, Any]) -> Network:
    """A fresh network of the family for that many classes, attributes and image channels; weights from torch's global
    random state. `config` holds the fields of GeneratorConfig or GanConfig. Raises ValueError for another family.
    """
    shared = {
        "channels": tuple(config["channels"]),
        "images": images,
        "patch": config["patch"],
        "detail": config["detail"],
        "embedding": config["embedding"],
    }
    if family == "flow":
        return FlowUNet(classes, attributes, attention=config["attention"], **shared)
    if family == "gan":
        return AnatomicalGenerator(classes, attributes, **shared)
    raise ValueError(f"the model families are flow and gan, not {family!r}")


@torch.inference_mode()
def draw_images(
    network: Network,
    condition: Tensor,
    noise: Tensor,
    said: Tensor,
    drawn: Tensor,
    *,
    steps: int,
    method: Literal["euler", "heun"] = "euler",
    guidance: float = 1.0,
) -> Tensor:
    """Images (n, c, h, w), about -1 to 1, for a condition (see `conditions`), noise (n, c, h, w) and what is said of
    them (n, attributes). `steps`, `method` and `guidance` are the flow's; a gan needs one pass.
    """
    if isinstance(network, FlowUNet):
        return integrate(guided(network, condition, said, drawn.to(said.dtype), guidance), noise, steps, method)
    return network(condition, noise, said, drawn.to(said.dtype))
