"""Starting a training from the weights of another model, which may have other classes.

A tensor of the same name and shape is taken. Where a convolution reads the mask, its channels are matched class by
class by vocabulary id, so a class that both models know keeps what was learned about it. All else stays fresh, and is
reported. What is not here: where the weights come from, and the training itself (`training.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from medillus_pipeline.errors import InputError
from medillus_pipeline.generation.compute import weights_from_bytes
from medillus_pipeline.generation.config import GeneratorConfig
from medillus_pipeline.generation.sampling import build_network


@dataclass(frozen=True)
class ClassChannels:
    """Where a convolution reads the classes: class i has the input channels `first` + i · `width` and the next."""

    first: int
    width: int


@dataclass(frozen=True)
class Transfer:
    """What a start gives to a model: the complete state, tensors taken (whole or in part), and what stays fresh."""

    state: dict[str, Tensor]
    loaded: tuple[str, ...]
    fresh: tuple[str, ...]

    def describe(self) -> str:
        """A sentence for a log."""
        said = f"{len(self.loaded)} of {len(self.state)} tensors are taken from the start"
        return f"{said}; fresh: {', '.join(self.fresh)}" if self.fresh else f"{said}; nothing is fresh"


def matching(
    state: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    *,
    classes: Sequence[int] = (),
    former: Sequence[int] = (),
    inputs: Mapping[str, ClassChannels] | None = None,
) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors of `weights` that fit the `state` of a network, and the names of what has to stay fresh.

    `classes` and `former` are the vocabulary ids of the network and of the weights, in the order of their channels;
    `inputs` names the convolutions that read them. Such a convolution is returned whole, with the state's own channels
    for classes that only the network has; those stand among the fresh ones as `name of class id`.
    """
    loaded: dict[str, Tensor] = {}
    fresh: list[str] = []
    for name, own in state.items():
        given = weights.get(name)
        channels = (inputs or {}).get(name)
        if given is not None and channels is not None:
            merged = _by_class(own, given, channels, list(classes), list(former))
            if merged is not None:
                loaded[name] = merged
                fresh += [f"{name} of class {label}" for label in classes if label not in former]
                continue
        elif given is not None and given.shape == own.shape:
            loaded[name] = given.to(own.dtype).clone()
            continue
        fresh.append(name)
    return loaded, fresh


def transferred(network: nn.Module, classes: Sequence[int], config: GeneratorConfig, start: bytes) -> Transfer:
    """What the weights file `start` (a generator's safetensors) gives to a fresh network of these classes.

    Raises InputError for bytes that are no such file, or of which nothing fits.
    """
    weights, described = _read(start)
    inputs = _inputs(vars(config))
    state = network.state_dict()
    same_layout = _inputs(described["config"]) == inputs
    usable = weights if same_layout else {name: t for name, t in weights.items() if name not in inputs}
    loaded, fresh = matching(state, usable, classes=classes, former=described["classes"], inputs=inputs)
    if not loaded:
        raise InputError(
            "nothing in the start's weights fits this configuration: choose its channels, or another start"
        )
    return Transfer({**state, **loaded}, tuple(loaded), tuple(fresh))


def preview(classes: Sequence[int], config: GeneratorConfig, start: bytes) -> str:
    """What would be taken from `start`, without training. Raises InputError as `transferred` does."""
    with torch.random.fork_rng(devices=[]):
        return transferred(build_network(len(classes), config), classes, config, start).describe()


def _by_class(
    own: Tensor, given: Tensor, channels: ClassChannels, classes: list[int], former: list[int]
) -> Tensor | None:
    """`own` (out, in, h, w) with the channels of `given`; None where the rest of the shapes differs."""
    first, width = channels.first, channels.width
    after, after_given = first + width * len(classes), first + width * len(former)
    if own.ndim != given.ndim or own.shape[0] != given.shape[0] or own.shape[2:] != given.shape[2:]:
        return None
    if own.shape[1] - after != given.shape[1] - after_given:
        return None
    merged = own.clone()
    merged[:, :first] = given[:, :first]
    merged[:, after:] = given[:, after_given:]
    for place, label in enumerate(classes):
        if label in former:
            there = first + width * former.index(label)
            merged[:, first + width * place : first + width * (place + 1)] = given[:, there : there + width]
    return merged


def _inputs(config: Mapping[str, Any]) -> dict[str, ClassChannels]:
    """The convolutions of `FlowUNet` that read the condition: noisy image first, then classes, then prior."""
    patch, detail = int(config.get("patch", 0)), int(config.get("detail", 0))
    return {
        "enter.weight": ClassChannels(first=patch**2, width=patch**2),
        "detail.weight": ClassChannels(first=detail + 1, width=1),
    }


def _read(start: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        weights, described = weights_from_bytes(start)
        if isinstance(described["config"], dict) and all(isinstance(label, int) for label in described["classes"]):
            return weights, described
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError):
        pass
    raise InputError(
        "the start is no weights file of a generator: name a version (models:/medillus-generator/3) or the "
        "weights.safetensors among its artifacts"
    )
