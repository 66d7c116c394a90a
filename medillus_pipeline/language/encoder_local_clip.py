"""A user's own CLIP weights from a local folder, as a text encoder: embeddings and ranking of candidates.

Needs the optional extra `clip` (`transformers`), imported when it is used and not before. Nothing is fetched: files
come from the folder alone, weights as safetensors alone, and no code of the folder is ever run. It has no attribute
heads: those are of our own encoder (`encoder_model.py`).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional

from medillus_pipeline.errors import ConfigurationError, InputError
from medillus_pipeline.generation.compute import cpu_threads

ARCHITECTURES = ("clip", "chinese_clip")
"""The `model_type` of config.json that is taken."""
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the red, green and blue of CLIP's training images (Radford et al. 2021), where the folder gives none."""
BATCH = 32


class LocalClipConfig(BaseModel):
    """How grey values are shown to a network that learned from photographs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_centre: float = Field(default=40.0, ge=-2000, le=4000, description="middle of the grey window, HU for CT")
    window_width: float = Field(default=400.0, gt=0, le=8000, description="width of the grey window, HU for CT")
    threads: int = Field(default=1, ge=1, le=256, description="CPU threads")


@dataclass(frozen=True)
class LocalClip:
    """Both towers of the folder's model; `side` is that of its images in pixels, `longest` its longest text in tokens,
    special ones included.
    """

    model: Any
    tokenizer: Any
    side: int
    longest: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    config: LocalClipConfig

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """(n, embedding) float32 of length 1. Raises InputError for an empty text and for one that is too long."""
        parts = []
        with torch.inference_mode(), cpu_threads(self.config.threads):
            for start in range(0, len(texts), BATCH):
                given = list(texts[start : start + BATCH])
                if not all(text.strip() for text in given):
                    raise InputError("a text to be read by the text encoder is empty: say what the image shows")
                tokens = self.tokenizer(given, padding=True, return_tensors="pt")
                if tokens["input_ids"].shape[1] > self.longest:
                    raise InputError(
                        f"a text has {tokens['input_ids'].shape[1]} tokens, and the CLIP model reads {self.longest}: "
                        "shorten it"
                    )
                parts.append(_pooled(self.model.get_text_features(**tokens)))
        return _unit(parts)

    def embed_images(self, values: np.ndarray) -> np.ndarray:
        """(n, embedding) float32 of length 1 of calibrated values (n, h, w), seen through the window as grey."""
        if values.ndim != 3:
            raise InputError(f"images to be embedded are (n, height, width), not of {values.ndim} dimensions")
        parts = []
        with torch.inference_mode(), cpu_threads(self.config.threads):
            for start in range(0, len(values), BATCH):
                parts.append(_pooled(self.model.get_image_features(pixel_values=self._shown(values, start))))
        return _unit(parts)

    def scores(self, texts: Sequence[str], values: np.ndarray) -> np.ndarray:
        """(texts, images) float32: cosine of each text and image, -1 to 1."""
        return self.embed_text(texts) @ self.embed_images(values).T

    def rank(self, texts: Sequence[str], values: np.ndarray) -> np.ndarray:
        """(texts, images) int64: for each text the images' numbers, the best first; equals stay in order."""
        return np.argsort(-self.scores(texts, values), axis=1, kind="stable")

    def _shown(self, values: np.ndarray, start: int) -> Tensor:
        """(n, 3, side, side) float32 as the image tower takes it."""
        low = self.config.window_centre - self.config.window_width / 2
        grey = torch.from_numpy(np.asarray(values[start : start + BATCH], np.float32))[:, None]
        grey = ((grey - low) / self.config.window_width).clamp(0, 1)
        grey = functional.interpolate(grey, (self.side, self.side), mode="bicubic", antialias=True).clamp(0, 1)
        mean, deviation = (torch.tensor(three)[None, :, None, None] for three in (self.mean, self.deviation))
        return (grey - mean) / deviation


def load_local_clip(folder: Path, config: LocalClipConfig | None = None) -> LocalClip:
    """The CLIP model of a folder in the layout of `save_pretrained`: config.json, safetensors, tokenizer's files.

    Raises ConfigurationError without the extra `clip`, InputError for a folder that holds no such model, one of another
    architecture, weights in no safetensors, or that asks for code of its own to be run.
    """
    described = _description(folder)
    try:
        from transformers import AutoModel, AutoTokenizer  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigurationError(
            "a CLIP model of one's own needs transformers: pip install 'medillus-pipeline[clip]'"
        ) from error
    try:
        model = AutoModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise InputError(
            "the CLIP folder cannot be loaded: it needs config.json, model.safetensors and the tokenizer's files as "
            f"save_pretrained writes them ({type(error).__name__})"
        ) from error
    shown = _json(folder / "preprocessor_config.json") if (folder / "preprocessor_config.json").is_file() else {}
    text = described.get("text_config", {})
    return LocalClip(
        model=model.eval(),
        tokenizer=tokenizer,
        side=int(model.config.vision_config.image_size),
        longest=int(text.get("max_position_embeddings") or model.config.text_config.max_position_embeddings),
        mean=tuple(shown.get("image_mean", MEAN)),
        deviation=tuple(shown.get("image_std", DEVIATION)),
        config=config or LocalClipConfig(),
    )


def _description(folder: Path) -> dict[str, Any]:
    if not (folder / "config.json").is_file():
        raise InputError("the CLIP folder has no config.json: give the folder that save_pretrained wrote")
    described = _json(folder / "config.json")
    if described.get("model_type") not in ARCHITECTURES:
        raise InputError(
            f"the folder's model is of the type {described.get('model_type')!r}; taken are {', '.join(ARCHITECTURES)}"
        )
    for name in ("config.json", "tokenizer_config.json"):
        if (folder / name).is_file() and "auto_map" in _json(folder / name):
            raise InputError(f"{name} of the CLIP folder asks for code of its own to be run, which is never done")
    if not any(folder.glob("*.safetensors")):
        raise InputError("the CLIP folder has no weights as safetensors; pickled ones (.bin, .pt) are never read")
    return described


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path.name} of the CLIP folder is no JSON") from error
    if not isinstance(document, dict):
        raise InputError(f"{path.name} of the CLIP folder is no JSON object")
    return document


def _pooled(features: Any) -> Tensor:
    """The projected embedding: the tensor itself, or, from transformers 5 on, the pooled output of an object."""
    return features if isinstance(features, Tensor) else features.pooler_output


def _unit(parts: list[Tensor]) -> np.ndarray:
    if not parts:
        return np.zeros((0, 0), np.float32)
    return functional.normalize(torch.cat(parts).float(), dim=1).numpy()
