"""The feature network of the perceptual loss: a segmenter's encoder, from a weights file that the user names.

Nothing is downloaded, and nothing in the file is executed (safetensors). Which weight the loss has is in `GanConfig`.
The judge must not be used: it measures only.
"""

import hashlib
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor, nn

from medillus_pipeline.errors import PermanentError
from medillus_pipeline.generation.config import GanConfig
from medillus_pipeline.generation.segmenter import Segmenter


class FeatureWeightsError(PermanentError):
    """The weights file of the perceptual loss is missing, not the one that was named, or no segmenter's."""


class FeatureNetwork(nn.Module):
    """Frozen features of images (n, c, h, w) in [-1, 1], of their middle channel: one map for each resolution, finest
    first.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.network = segmenter.network.eval().requires_grad_(False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        middle = image.shape[1] // 2
        return tuple(self.network.encode(image[:, middle : middle + 1]))


def feature_network(weights: Path | None, config: GanConfig) -> FeatureNetwork | None:
    """The network that the configuration asks for; None when its weight is 0. Raises FeatureWeightsError."""
    if not config.perceptual:
        return None
    if weights is None:
        raise FeatureWeightsError("perceptual is above 0 and needs perceptual_weights: name the file, or set it to 0")
    return load_features(weights, config.perceptual_sha256)


def load_features(path: Path, sha256: str) -> FeatureNetwork:
    """The encoder of the segmenter in that file (`Segmenter.to_bytes`), whose SHA-256 (hexadecimal) is the named one.

    Raises FeatureWeightsError otherwise.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FeatureWeightsError(
            "the weights file of the perceptual loss cannot be read: check perceptual_weights"
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256.lower():
        raise FeatureWeightsError(
            f"the weights file of the perceptual loss has SHA-256 {found}, not {sha256.lower()}: name the right "
            "file, or set perceptual_sha256 to its hash if you trust it"
        )
    try:
        return FeatureNetwork(Segmenter.from_bytes(data))
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise FeatureWeightsError(
            "the weights file of the perceptual loss holds no segmenter (safetensors, as organ_segmenter writes it)"
        ) from error
