"""The generator as MLflow serves it: label maps of vocabulary ids in, calibrated values out.

The last part of the model file (`model_file.py` says which come before it), so it needs nothing of this package but
what those define.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow.pyfunc.model import PythonModel
from safetensors.torch import load_file

from medillus_pipeline.generation.conditions import TISSUES, conditions, default_attributes, noise_for, with_context
from medillus_pipeline.generation.families import build_network, draw_images
from medillus_pipeline.generation.shape_model import ShapeModel, likely_levels

SERVED_BATCH = 32
SHAPE_SEED = 0x9E3779B9
"""Added to a seed for the noise of proposed shapes, which must not be that of the pixels. Below 2**32: torch's
generator on the CPU takes the lowest 32 bits of a seed alone."""


class ServedGenerator(PythonModel):
    """`predict({"mask": (n, h, w) uint8, "level": (n,) float32}, params={"seed": 0, …})`.

    A mask holds vocabulary ids, 0 for background. A level is the position along the body, 0 feet to 1 head, or NaN:
    then the likeliest by the anatomical prior is taken. Returns (n, h, w) int16 calibrated values (HU for CT).
    Parameters: `seed`; `steps`, `method` (euler, heun) and `guidance` of the flow; `attributes`, what is said of the
    images, such as "modality=CT;pathology=…"; `partial`: the masks are complete only for the structures they hold;
    `context`: what is between structures is "proposed" by the prior, or left to the network ("none").
    """

    def load_context(self, context: Any) -> None:
        """Read weights, prior and configuration; nothing is unpickled."""
        self.described = json.loads(Path(context.artifacts["config"]).read_text())
        self.classes, self.attributes = self.described["classes"], self.described["attributes"]
        prior = load_file(context.artifacts["prior"])
        self.tissue, self.occupancy, self.shapes = prior["tissue"], prior["occupancy"], ShapeModel.from_tensors(prior)
        self.network = build_network(
            self.described["family"],
            len(self.classes),
            len(self.attributes),
            self.described["images"],
            self.described["config"],
        )
        self.network.load_state_dict(load_file(context.artifacts["weights"]))
        self.network.eval()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network.to(self.device)

    # No annotation of the input: MLflow would take it for a schema, and the logged signature is the schema.
    def predict(self, context, model_input, params: dict[str, Any] | None = None):
        """Images for the masks. Raises ValueError for a mask of another size, an id the model has no class for, an
        attribute that it does not know, and a parameter out of its range.
        """
        params = params or {}
        labels = self._labels(np.asarray(model_input["mask"]))
        levels = torch.as_tensor(np.asarray(model_input["level"], np.float32))
        if levels.shape != labels.shape[:1]:
            raise ValueError(f"{len(labels)} masks and {len(levels)} levels: give one level for each mask (or NaN)")
        drawn = torch.ones((len(labels), len(self.classes)), dtype=torch.bool)
        if params.get("partial", False):
            drawn = torch.stack([(labels == c + 1).flatten(1).any(1) for c in range(len(self.classes))], 1)
        unplaced = levels.isnan()
        if not (unplaced | ((levels >= 0) & (levels <= 1))).all():
            raise ValueError("a level is 0 (feet) to 1 (head), or NaN for the likeliest")
        if unplaced.any():
            levels = levels.clone()
            levels[unplaced] = likely_levels(self.occupancy, labels[unplaced], drawn[unplaced])
        said = self._said(str(params.get("attributes", "")), len(labels))
        steps = int(params.get("steps", self.described["config"].get("release_steps", 1)))
        if not 1 <= steps <= 1000:
            raise ValueError(f"steps are 1 to 1000, not {steps}")
        guidance = float(params.get("guidance", 1.0))
        if not 0 <= guidance <= 20:
            raise ValueError(f"the guidance is 0 to 20, not {guidance}")
        fill = params.get("context", "proposed")
        if fill not in ("proposed", "none"):
            raise ValueError(f"the context is proposed or none, not {fill!r}")
        seed, size, channels = int(params.get("seed", 0)), self.described["size"], self.described["images"]
        noise = noise_for(len(labels), (channels, size, size), seed)
        latent = noise_for(len(labels), (self.shapes.latents,), seed + SHAPE_SEED)
        images = [np.zeros((0, size, size), np.int16)]
        for start in range(0, len(labels), SERVED_BATCH):
            part = slice(start, start + SERVED_BATCH)
            known = (labels[part], drawn[part], levels[part])
            tissues = torch.zeros((len(labels[part]), TISSUES, size, size))
            if fill == "proposed":
                tissues = self.shapes.propose_context(*known, latent[part])
                tissues = tissues * with_context(self.described["modalities"], self.attributes, said[part])
            images_drawn = draw_images(
                self.network,
                conditions(*known, tissues, self.occupancy, self.tissue).to(self.device),
                noise[part].to(self.device),
                said[part].to(self.device),
                drawn[part].to(self.device),
                steps=steps,
                method=params.get("method", "euler"),
                guidance=guidance,
            )
            images.append(self._calibrated(images_drawn[:, channels // 2].cpu().numpy()))
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

    def _said(self, text: str, count: int) -> torch.Tensor:
        names = [name.strip() for name in text.split(";") if name.strip()] or default_attributes(self.attributes)
        if unknown := sorted(set(names) - set(self.attributes)):
            raise ValueError(f"the model does not know {', '.join(unknown)}; it knows {', '.join(self.attributes)}")
        return torch.tensor([[float(name in names) for name in self.attributes]]).expand(count, -1)

    def _calibrated(self, mapped: np.ndarray) -> np.ndarray:
        knots = self.described["intensity"]
        return np.rint(np.interp(mapped, knots["mapped"], knots["values"])).astype(np.int16)
