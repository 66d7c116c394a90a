"""Starting a training from the weights of another model, which may have other classes.

A tensor of the same name and shape is taken. Where a layer reads the mask or what is said of the image, its inputs are
matched class by class and attribute by attribute, so what both models know keeps what was learned about it. All else
stays fresh, and is reported. What is not here: where the weights come from, and the training itself (`training.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from medillus_pipeline.errors import InputError
from medillus_pipeline.generation.compute import weights_from_bytes
from medillus_pipeline.generation.config import GanConfig, GeneratorConfig
from medillus_pipeline.generation.families import build_network

Name = int | str
"""What an input stands for: a class by its vocabulary id, or an attribute."""


@dataclass(frozen=True)
class NamedInputs:
    """Where a layer reads named inputs: the one at place i has the inputs `first` + i · `width` and the next. `names`
    of the network and `former` ones of the weights stand in the order of their inputs.
    """

    first: int
    width: int
    names: tuple[Name, ...]
    former: tuple[Name, ...]


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
    state: Mapping[str, Tensor], weights: Mapping[str, Tensor], inputs: Mapping[str, NamedInputs] | None = None
) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors of `weights` that fit the `state` of a network, and the names of what has to stay fresh.

    `inputs` names the layers that read classes or attributes. Such a tensor is returned whole, with the state's own
    inputs for what only the network knows; those stand among the fresh ones as `tensor for name`.
    """
    loaded: dict[str, Tensor] = {}
    fresh: list[str] = []
    for name, own in state.items():
        given, named = weights.get(name), (inputs or {}).get(name)
        if given is not None and named is not None:
            merged = _by_name(own, given, named)
            if merged is not None:
                loaded[name] = merged
                fresh += [f"{name} for {label}" for label in named.names if label not in named.former]
                continue
        elif given is not None and given.shape == own.shape:
            loaded[name] = given.to(own.dtype).clone()
            continue
        fresh.append(name)
    return loaded, fresh


def transferred(
    network: nn.Module,
    classes: Sequence[int],
    attributes: Sequence[str],
    config: GeneratorConfig | GanConfig,
    start: bytes,
) -> Transfer:
    """What the weights file `start` (a generator's safetensors) gives to a fresh network of these classes and
    attributes, of the family of `config`.

    Raises InputError for bytes that are no such file, for another family, or where nothing fits.
    """
    weights, described = _read(start)
    if described.get("family", "flow") != config.family:
        raise InputError(f"the start is a {described['family']}, not a {config.family}: name another start, or family")
    own, former = _layout(vars(config)), _layout(described["config"])
    names = tuple(classes), tuple(described["classes"])
    said = tuple(attributes), tuple(described.get("attributes", ()))
    inputs = _inputs(config.family, own[0], own[1], int(getattr(network, "images", 1)), names, said)
    usable = weights if own == former else {name: t for name, t in weights.items() if name not in inputs}
    state = network.state_dict()
    loaded, fresh = matching(state, usable, inputs)
    if not loaded:
        raise InputError(
            "nothing in the start's weights fits this configuration: choose its channels, or another start"
        )
    return Transfer({**state, **loaded}, tuple(loaded), tuple(fresh))


def preview(
    classes: Sequence[int],
    attributes: Sequence[str],
    images: int,
    config: GeneratorConfig | GanConfig,
    start: bytes,
) -> str:
    """What would be taken from `start`, without training. Raises InputError as `transferred` does."""
    with torch.random.fork_rng(devices=[]):
        network = build_network(config.family, len(classes), len(attributes), images, config.model_dump())
        return transferred(network, classes, attributes, config, start).describe()


def _by_name(own: Tensor, given: Tensor, named: NamedInputs) -> Tensor | None:
    """`own` (out, in, …) with the inputs of `given`; None where the rest of the shapes differs."""
    first, width = named.first, named.width
    after, after_given = first + width * len(named.names), first + width * len(named.former)
    if own.ndim != given.ndim or own.shape[0] != given.shape[0] or own.shape[2:] != given.shape[2:]:
        return None
    if own.shape[1] - after != given.shape[1] - after_given:
        return None
    merged = own.clone()
    merged[:, :first] = given[:, :first]
    merged[:, after:] = given[:, after_given:]
    for place, label in enumerate(named.names):
        if label in named.former:
            there = first + width * named.former.index(label)
            merged[:, first + width * place : first + width * (place + 1)] = given[:, there : there + width]
    return merged


def _layout(config: Mapping[str, Any]) -> tuple[int, int]:
    """Patch and detail: where the inputs of a network lie depends on them."""
    return int(config.get("patch", 0)), int(config.get("detail", 0))


def _inputs(
    family: str,
    patch: int,
    detail: int,
    images: int,
    classes: tuple[tuple[int, ...], tuple[int, ...]],
    said: tuple[tuple[str, ...], tuple[str, ...]],
) -> dict[str, NamedInputs]:
    """The layers of `FlowUNet` and `AnatomicalGenerator` that read the condition and the attributes."""
    noisy = images if family == "flow" else 0
    sharp = images if family == "flow" else 1
    return {
        "enter.weight": NamedInputs(patch**2 * noisy, patch**2, *classes),
        "detail.weight": NamedInputs(detail + sharp, 1, *classes),
        "drawn.weight": NamedInputs(0, 1, *classes),
        "said.weight": NamedInputs(0, 1, *said),
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
