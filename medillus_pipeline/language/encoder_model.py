"""The trained text encoder as a file and in use: embeddings, ranking of candidates, attributes of a text.

The file is safetensors with a JSON configuration. How it learns is in `encoder_training.py`; a user's own CLIP is in
`encoder_local_clip.py`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from medillus_pipeline.errors import InputError
from medillus_pipeline.generation.compute import cpu_threads, weights_from_bytes, weights_to_bytes
from medillus_pipeline.generation.intensity import IntensityMap
from medillus_pipeline.language.encoder_config import TextEncoderConfig
from medillus_pipeline.language.encoder_facts import Fact
from medillus_pipeline.language.encoder_networks import TextEncoderNetwork, characters

FORMAT = 1
BATCH = 128


def resized(images: np.ndarray, size: int) -> Tensor:
    """(n, 1, size, size) float32 of mapped images (n, h, w): means of areas where they shrink, else bilinear."""
    given = torch.from_numpy(np.ascontiguousarray(images, np.float32))[:, None]
    if given.shape[-2:] == (size, size):
        return given
    if min(given.shape[-2:]) >= size:
        return functional.adaptive_avg_pool2d(given, size)
    return functional.interpolate(given, (size, size), mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class TextEncoder:
    """Both towers. `facts` are what its heads tell of, in order; `known_attributes` those of the training set, which a
    generator of the same dataset takes; `dataset_fingerprint` says what it learned from.
    """

    network: TextEncoderNetwork
    alphabet: str
    facts: tuple[Fact, ...]
    intensity: IntensityMap
    config: TextEncoderConfig
    seed: int
    dataset_fingerprint: str
    known_attributes: tuple[str, ...]

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """(n, embedding) float32 of length 1. Raises InputError for an empty text and for one that is too long."""
        return _unit(self._text(texts))

    def embed_images(self, values: np.ndarray) -> np.ndarray:
        """(n, embedding) float32 of length 1 of calibrated values (n, h, w), HU for CT, of any size, in the canonical
        frame.
        """
        return _unit(self._images(values))

    def scores(self, texts: Sequence[str], values: np.ndarray) -> np.ndarray:
        """(texts, images) float32: cosine of each text and image, -1 to 1; for images see `embed_images`."""
        return self.embed_text(texts) @ self.embed_images(values).T

    def rank(self, texts: Sequence[str], values: np.ndarray) -> np.ndarray:
        """(texts, images) int64: for each text the images' numbers, the best first; equals stay in order."""
        return np.argsort(-self.scores(texts, values), axis=1, kind="stable")

    def facts_of_images(self, values: np.ndarray) -> np.ndarray:
        """(n, facts) float32: for each image the probability of each of `facts`, by the attribute head."""
        return self._probabilities(self._images(values))

    def facts_of_text(self, texts: Sequence[str]) -> np.ndarray:
        """(n, facts) float32: the same of an image that the text describes; of what it is silent on, a guess."""
        return self._probabilities(self._text(texts))

    def said(self, texts: Sequence[str]) -> np.ndarray:
        """(n, facts) float32: the probability that the text itself says each of `facts`."""
        with torch.inference_mode(), cpu_threads(self.config.threads):
            return torch.sigmoid(self.network.said(self._text(texts))).numpy()

    def attributes_of(self, text: str) -> dict[str, float]:
        """What the text says of an image as a whole, as a generator takes it: each attribute of `known_attributes`
        ("contrast_phase=portal_venous") with the probability, 0 to 1, that the text says it.

        Those above .5 are what `Generator.sample` is to be told (`said`). An attribute that no training slice had is
        never among them, whatever the text says. Raises InputError as `embed_text` does.
        """
        said = self.said([text])[0]
        place = {str(fact): number for number, fact in enumerate(self.facts)}
        return {name: float(said[place[name]]) for name in self.known_attributes if name in place}

    @torch.inference_mode()
    def _text(self, texts: Sequence[str]) -> Tensor:
        parts = [torch.zeros(0, self.config.embedding)]
        with cpu_threads(self.config.threads):
            for start in range(0, len(texts), BATCH):
                given = texts[start : start + BATCH]
                parts.append(self.network.text(characters(given, self.alphabet, self.config.longest)))
        return torch.cat(parts)

    @torch.inference_mode()
    def _images(self, values: np.ndarray) -> Tensor:
        if values.ndim != 3:
            raise InputError(f"images to be embedded are (n, height, width), not of {values.ndim} dimensions")
        parts = [torch.zeros(0, self.config.embedding)]
        with cpu_threads(self.config.threads):
            for start in range(0, len(values), BATCH):
                mapped = self.intensity.forward(np.asarray(values[start : start + BATCH]))
                parts.append(self.network.image(resized(mapped, self.config.size)))
        return torch.cat(parts)

    @torch.inference_mode()
    def _probabilities(self, embedded: Tensor) -> np.ndarray:
        return torch.sigmoid(self.network.attributes(embedded)).numpy()

    def to_bytes(self) -> bytes:
        """Safetensors with the configuration in its metadata; the same encoder gives the same bytes."""
        return weights_to_bytes(
            self.network.state_dict(),
            {
                "format": FORMAT,
                "kind": "text_encoder",
                "alphabet": self.alphabet,
                "facts": [str(fact) for fact in self.facts],
                "intensity": self.intensity.describe(),
                "config": self.config.model_dump(mode="json"),
                "seed": self.seed,
                "dataset_fingerprint": self.dataset_fingerprint,
                "known_attributes": list(self.known_attributes),
            },
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "TextEncoder":
        """The inverse of `to_bytes`. Raises InputError for a file that is no text encoder, or of another format."""
        try:
            weights, metadata = weights_from_bytes(data)
            kind = metadata["kind"]
        except (KeyError, ValueError, TypeError) as error:
            raise InputError("the file is no text encoder of this package") from error
        if kind != "text_encoder" or metadata["format"] != FORMAT:
            raise InputError(
                f"the file is a {kind} of format {metadata['format']}, and this release reads text encoders of format "
                f"{FORMAT}: materialize text_encoder again"
            )
        config = TextEncoderConfig.model_validate(metadata["config"])
        facts = tuple(Fact.from_text(text) for text in metadata["facts"])
        network = TextEncoderNetwork(len(metadata["alphabet"]), len(facts), config)
        network.load_state_dict(weights)
        return cls(
            network.eval(),
            metadata["alphabet"],
            facts,
            IntensityMap.from_description(metadata["intensity"]),
            config,
            metadata["seed"],
            metadata["dataset_fingerprint"],
            tuple(metadata["known_attributes"]),
        )

    @property
    def sha256(self) -> str:
        """Of `to_bytes`: what a figure's provenance names the encoder by."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def describe(self) -> Mapping[str, Any]:
        """What a run logs about it: hash, parameters, number of facts and characters, configuration."""
        return {
            "sha256": self.sha256,
            "parameters": sum(p.numel() for p in self.network.parameters()),
            "facts": [str(fact) for fact in self.facts],
            "characters": len(self.alphabet),
            "seed": self.seed,
            "config": self.config.model_dump(mode="json"),
        }


def _unit(embedded: Tensor) -> np.ndarray:
    return functional.normalize(embedded, dim=1).numpy()
