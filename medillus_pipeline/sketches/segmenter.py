"""The network that reads a drawing: ink and the prior's maps in, a probability for each structure out.

A file of it says all that is needed to use it: classes, side, vocabulary, the data's fingerprint, how sure it is. How
it is trained is in `training.py`, what is made of its answer in `reading.py`.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medillus_pipeline.errors import InputError
from medillus_pipeline.generation.compute import cpu_threads, weights_from_bytes, weights_to_bytes
from medillus_pipeline.generation.conditions import at_levels
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.generation.segmenter import SegmentationUNet
from medillus_pipeline.sketches.calibration import Calibration
from medillus_pipeline.sketches.config import SketchConfig
from medillus_pipeline.sketches.ink import unshuffled

FORMAT = 1
KIND = "sketch_segmenter"
INK_CHANNELS = 4
PLACE_CHANNELS = 4
"""Column, row, level along the body in [-1, 1], and whether that level was told."""

PREDICTION_BATCH = 32


class SketchUNet(SegmentationUNet):
    """(n, inputs, h, w) → logits (n, outputs, h, w), background first."""

    def __init__(self, inputs: int, outputs: int, channels: tuple[int, ...], blocks: int) -> None:
        super().__init__(outputs, channels, blocks)
        first = self.down[0]
        assert isinstance(first, nn.Sequential)
        first[0] = nn.Conv2d(inputs, channels[0], 3, padding=1, bias=False)


def input_channels(classes: int) -> int:
    """Channels of `network_input` for that many classes."""
    return INK_CHANNELS + classes + PLACE_CHANNELS


def network_input(ink: Tensor, levels: Tensor, occupancy: Tensor) -> Tensor:
    """(n, input_channels, h, w): what the network sees of drawings.

    `ink` (n, 4, h, w) unshuffled, `levels` (n,) 0 feet to 1 head or NaN where unknown, `occupancy` (positions,
    classes, h, w) the prior's, NaN for a class that it knows nothing of. Without a level the maps are the mean over
    all positions.
    """
    n, _, height, width = ink.shape
    maps = occupancy.nan_to_num(0.0)
    told = ~levels.isnan()
    known = levels.nan_to_num(0.0)
    shares = torch.where(told[:, None, None, None], at_levels(maps, known), maps.mean(0).expand(n, *maps.shape[1:]))
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    plane = torch.stack([columns, rows]).expand(n, 2, height, width)
    along = torch.stack([torch.where(told, 2 * known - 1, 0.0), told.float()], 1)
    return torch.cat([ink, shares, plane, along[:, :, None, None].expand(n, 2, height, width)], 1)


@dataclass(frozen=True)
class SketchSegmenter:
    """A trained reader of drawings. `classes` are vocabulary ids; channel 0 of what it gives is background.

    `side` is that of the label maps in pixels; ink is twice as fine. `prior_version` names the prior it was trained
    with, whose maps it must be given again. `calibration` turns its scores into confidences and limits.
    """

    network: SketchUNet = field(repr=False)
    classes: tuple[int, ...]
    side: int
    vocabulary_version: str
    dataset_fingerprint: str
    prior_version: str
    calibration: Calibration
    config: SketchConfig
    seed: int

    @torch.inference_mode()
    def predict(
        self, ink: NDArray[np.floating], prior: Prior, levels: NDArray[np.floating] | None = None
    ) -> NDArray[np.float32]:
        """Probabilities (n, classes + 1, side, side) for ink (n, 2·side, 2·side); `levels` (n,), NaN where unknown.

        Raises InputError for a prior of other classes or another side, and ValueError for ink of another size.
        """
        self.refuse_other(prior)
        if ink.shape[1:] != (2 * self.side, 2 * self.side):
            raise ValueError(f"ink must be (n, {2 * self.side}, {2 * self.side}), not {ink.shape}")
        places = np.full(len(ink), np.nan, np.float32) if levels is None else np.asarray(levels, np.float32)
        occupancy = torch.from_numpy(prior.occupancy)
        parts = [np.zeros((0, len(self.classes) + 1, self.side, self.side), np.float32)]
        with cpu_threads(self.config.threads):
            for start in range(0, len(ink), PREDICTION_BATCH):
                rows = slice(start, start + PREDICTION_BATCH)
                batch = network_input(
                    torch.from_numpy(unshuffled(ink[rows])), torch.from_numpy(places[rows]), occupancy
                )
                parts.append(torch.softmax(self.network(batch), 1).numpy())
        return np.concatenate(parts)

    def refuse_other(self, prior: Prior) -> None:
        """Raise InputError for a prior that the network's channels do not fit."""
        if prior.classes != self.classes or prior.occupancy.shape[-1] != self.side:
            raise InputError(
                "the sketch segmenter was trained with another anatomical prior (other structures or another size): "
                "train sketch_segmenter anew from this one"
            )

    def to_bytes(self) -> bytes:
        """Safetensors with everything but the weights in its metadata; the same segmenter gives the same bytes."""
        return weights_to_bytes(self.network.state_dict(), self.describe())

    def describe(self) -> dict[str, Any]:
        """All but the weights, for JSON."""
        return {
            "kind": KIND,
            "format": FORMAT,
            "classes": list(self.classes),
            "side": self.side,
            "vocabulary_version": self.vocabulary_version,
            "dataset_fingerprint": self.dataset_fingerprint,
            "prior_version": self.prior_version,
            "calibration": self.calibration.model_dump(mode="json"),
            "config": self.config.model_dump(mode="json"),
            "seed": self.seed,
        }

    @classmethod
    def from_bytes(cls, data: bytes) -> "SketchSegmenter":
        """The inverse of `to_bytes`. Raises InputError for a file of another kind or format."""
        try:
            weights, said = weights_from_bytes(data)
        except (KeyError, ValueError):
            raise InputError("the file is no sketch segmenter of this package") from None
        if said.get("kind") != KIND or said.get("format") != FORMAT:
            raise InputError(f"the file is no sketch segmenter of format {FORMAT}: train sketch_segmenter again")
        config = SketchConfig.model_validate(said["config"])
        classes = tuple(said["classes"])
        network = SketchUNet(input_channels(len(classes)), len(classes) + 1, config.channels, config.blocks)
        network.load_state_dict(weights)
        return cls(
            network=network.eval(),
            classes=classes,
            side=said["side"],
            vocabulary_version=said["vocabulary_version"],
            dataset_fingerprint=said["dataset_fingerprint"],
            prior_version=said["prior_version"],
            calibration=Calibration.model_validate(said["calibration"]),
            config=config,
            seed=said["seed"],
        )

    @property
    def sha256(self) -> str:
        """Of `to_bytes`: what a figure names the reader by."""
        return hashlib.sha256(self.to_bytes()).hexdigest()
