"""The generator as MLflow serves it: label maps of vocabulary ids in, calibrated values out.

The second half of the model file (`model_file.py` puts `networks.py` before it), so it needs nothing of this package
but what `networks.py` defines.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow.pyfunc.model import PythonModel
from safetensors.torch import load_file

from medillus_pipeline.generation.networks import (
    FlowUNet,
    conditions,
    integrate,
    likely_levels,
    noise_for,
    prior_channels,
)

SERVED_BATCH = 32


class ServedGenerator(PythonModel):
    """`predict({"mask": (n, h, w) uint8, "level": (n,) float32}, params={"seed": 0, "steps": 25, "method": "euler"})`.

    A mask holds vocabulary ids, 0 for background. A level is the position along the body, 0 feet to 1 head, or NaN:
    then the likeliest by the anatomical prior is taken. Returns (n, h, w) int16 calibrated values (HU for CT).
    """

    def load_context(self, context: Any) -> None:
        """Read weights, prior and configuration; nothing is unpickled."""
        self.described = json.loads(Path(context.artifacts["config"]).read_text())
        self.classes = self.described["classes"]
        prior = load_file(context.artifacts["prior"])
        self.tissue, self.occupancy = prior["tissue"], prior["occupancy"]
        config = self.described["config"]
        inputs = len(self.classes) + self.tissue.shape[1] + 3
        self.network = FlowUNet(
            inputs,
            tuple(config["channels"]),
            patch=config["patch"],
            detail=config["detail"],
            embedding=config["embedding"],
        )
        self.network.load_state_dict(load_file(context.artifacts["weights"]))
        self.network.eval()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network.to(self.device)

    # No annotation of the input: MLflow would take it for a schema, and the logged signature is the schema.
    def predict(self, context, model_input, params: dict[str, Any] | None = None):
        """Images for the masks. Raises ValueError for a mask of another size, an id the model has no class for, or a
        method other than euler and heun.
        """
        params = params or {}
        masks = np.asarray(model_input["mask"])
        levels = torch.as_tensor(np.asarray(model_input["level"], np.float32))
        labels = self._labels(masks)
        if len(levels) != len(labels):
            raise ValueError(f"{len(labels)} masks and {len(levels)} levels: give one level for each mask (or NaN)")
        levels = torch.where(levels.isnan(), likely_levels(self.occupancy, labels), levels)
        steps = int(params.get("steps", self.described["config"]["release_steps"]))
        if steps < 1:
            raise ValueError(f"steps are 1 or more, not {steps}")
        method = params.get("method", "euler")
        noise = noise_for(len(labels), (masks.shape[1], masks.shape[2]), int(params.get("seed", 0)))
        images = [np.zeros((0, *masks.shape[1:]), np.int16)]
        for start in range(0, len(labels), SERVED_BATCH):
            part = slice(start, start + SERVED_BATCH)
            condition = conditions(labels[part], len(self.classes), prior_channels(self.tissue, levels[part]))
            flowed = integrate(self.network, condition.to(self.device), noise[part].to(self.device), steps, method)
            images.append(self._calibrated(flowed[:, 0].cpu().numpy()))
        return np.concatenate(images)

    def _labels(self, masks: np.ndarray) -> torch.Tensor:
        size = self.described["size"]
        if masks.ndim != 3 or masks.shape[1:] != (size, size):
            raise ValueError(f"masks are (n, {size}, {size}), not {masks.shape}")
        unknown = sorted(set(np.unique(masks).tolist()) - {0, *self.classes})
        if unknown:
            raise ValueError(f"the model has no class for the vocabulary ids {unknown}; it has {self.classes}")
        index_of = np.zeros(256, np.int64)
        index_of[self.classes] = np.arange(1, len(self.classes) + 1)
        return torch.from_numpy(index_of[masks])

    def _calibrated(self, mapped: np.ndarray) -> np.ndarray:
        knots = self.described["intensity"]
        return np.rint(np.interp(mapped, knots["mapped"], knots["values"])).astype(np.int16)
