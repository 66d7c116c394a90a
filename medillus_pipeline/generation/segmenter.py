"""A small U-Net that labels images: once as the judge (measures only), once as the organ segmenter (confidence).

The two differ in configuration, seed and patients; which patients each sees is decided by its caller.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.generation.compute import cpu_threads, device_for, weights_from_bytes, weights_to_bytes
from medillus_pipeline.generation.config import SegmenterConfig
from medillus_pipeline.generation.intensity import CT, IntensityMap
from medillus_pipeline.generation.networks import groups

FORMAT = 1
PREDICTION_BATCH = 64


class SegmentationUNet(nn.Module):
    """(n, 1, h, w) in [-1, 1] → logits (n, outputs, h, w), background first."""

    def __init__(self, outputs: int, channels: tuple[int, ...], blocks: int) -> None:
        super().__init__()
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        before = 1
        for width in channels:
            self.down.append(_blocks(before, width, blocks))
            before = width
        for fine, coarse in zip(channels[-2::-1], channels[:0:-1], strict=True):
            self.up.append(_blocks(fine + coarse, fine, blocks))
        self.label = nn.Conv2d(channels[0], outputs, 1)

    def encode(self, x: Tensor) -> list[Tensor]:
        """Features at each resolution, finest first."""
        features = []
        for block in self.down:
            x = block(x if not features else functional.max_pool2d(x, 2))
            features.append(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        features = self.encode(x)
        x = features.pop()
        for block in self.up:
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
            x = block(torch.cat([features.pop(), x], 1))
        return self.label(x)


def _blocks(inputs: int, outputs: int, count: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number in range(2 * count):
        layers += [
            nn.Conv2d(inputs if number == 0 else outputs, outputs, 3, padding=1, bias=False),
            nn.GroupNorm(groups(outputs), outputs),
            nn.SiLU(),
        ]
    return nn.Sequential(*layers)


@dataclass(frozen=True)
class Segmenter:
    """A trained segmenter. `classes` are vocabulary ids; probability channel 0 is background, then the classes."""

    network: SegmentationUNet
    classes: tuple[int, ...]
    intensity: IntensityMap
    config: SegmenterConfig
    seed: int

    @torch.inference_mode()
    def predict(self, values: np.ndarray) -> np.ndarray:
        """Probabilities (n, classes + 1, h, w) float32 for calibrated values (n, h, w), HU for CT."""
        with cpu_threads(self.config.threads):
            parts = [torch.softmax(self.network(batch), 1).cpu().numpy() for batch in self._batches(values)]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.classes) + 1, *values.shape[1:]), np.float32)

    def labels(self, values: np.ndarray) -> np.ndarray:
        """(n, h, w) uint8 class indices: the most probable label of each pixel."""
        return self.predict(values).argmax(1).astype(np.uint8)

    @torch.inference_mode()
    def features(self, values: np.ndarray) -> np.ndarray:
        """(n, d) float32: means and standard deviations of the coarsest features, for distances between image sets."""
        parts = []
        with cpu_threads(self.config.threads):
            for batch in self._batches(values):
                deepest = self.network.encode(batch)[-1].flatten(2)
                parts.append(torch.cat([deepest.mean(2), deepest.std(2)], 1).cpu().numpy())
        return np.concatenate(parts) if parts else np.zeros((0, 2 * self.config.channels[-1]), np.float32)

    def _batches(self, values: np.ndarray) -> Iterator[Tensor]:
        device = device_for(self.config.accelerator)
        self.network.to(device)
        for start in range(0, len(values), PREDICTION_BATCH):
            batch = self.intensity.forward(values[start : start + PREDICTION_BATCH])
            yield torch.from_numpy(batch)[:, None].to(device)

    def to_bytes(self) -> bytes:
        """Safetensors with the configuration in its metadata."""
        return weights_to_bytes(
            self.network.state_dict(),
            {
                "format": FORMAT,
                "classes": self.classes,
                "intensity": self.intensity.describe(),
                "config": self.config.model_dump(mode="json"),
                "seed": self.seed,
            },
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "Segmenter":
        """The inverse of `to_bytes`."""
        weights, metadata = weights_from_bytes(data)
        config = SegmenterConfig.model_validate(metadata["config"])
        classes = tuple(metadata["classes"])
        network = SegmentationUNet(len(classes) + 1, config.channels, config.blocks)
        network.load_state_dict(weights)
        intensity = IntensityMap.from_description(metadata["intensity"])
        return cls(network.eval(), classes, intensity, config, metadata["seed"])

    @property
    def sha256(self) -> str:
        """Of `to_bytes`: what a report and a model version name the judge by."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


def train_segmenter(
    values: np.ndarray,
    labels: np.ndarray,
    classes: tuple[int, ...],
    *,
    config: SegmenterConfig,
    seed: int,
    intensity: IntensityMap = CT,
    claimed: np.ndarray | None = None,
    log: Callable[[int, dict[str, float]], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Segmenter:
    """Train on calibrated values (n, h, w) and class indices (n, h, w), 0 = background, i = `classes[i - 1]`.

    `claimed` (n, classes) bool says which classes a label map is complete for (`Dataset.claimed`; default: all): where
    nothing is drawn, a class that its annotator never drew may lie all the same, and is not learned as background.
    Cross-entropy plus Dice loss with squared denominators (Milletari et al. 2016), AdamW in one cycle, mild rotation,
    scale, shift and noise; never mirrored. A class that the labels lack is never predicted. Same input and seed, same
    weights on a CPU. Raises NotEnoughDataError without any slice.
    """
    if not len(values):
        raise NotEnoughDataError("no labelled slice to train a segmenter on: its split has no patients with masks")
    images = torch.from_numpy(intensity.forward(np.asarray(values)))[:, None]
    targets = torch.from_numpy(np.array(labels, np.uint8))
    partly = None if claimed is None or np.asarray(claimed).all() else torch.from_numpy(np.asarray(claimed, bool))
    random = torch.Generator().manual_seed(seed)
    with cpu_threads(config.threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        device = device_for(config.accelerator)
        network = SegmentationUNet(len(classes) + 1, config.channels, config.blocks).to(device)
        optimiser = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, config.learning_rate, total_steps=max(config.steps, 2), pct_start=0.15
        )
        for step in range(1, config.steps + 1):
            chosen = torch.randint(len(images), (config.batch_size,), generator=random)
            image, target = augment(images[chosen], targets[chosen], config, random)
            with torch.autocast(device.type, torch.bfloat16):
                logits = network(image.to(device))
            known = None if partly is None else partly[chosen].to(device)
            loss = segmentation_loss(logits.float(), target.to(device).long(), known)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            if log is not None and (step % 20 == 0 or step == config.steps):
                log(step, {"loss": loss.item()})
            if progress is not None:
                progress(step, config.steps)
    return Segmenter(network.cpu().eval(), tuple(classes), intensity, config, seed)


def segmentation_loss(logits: Tensor, target: Tensor, claimed: Tensor | None = None) -> Tensor:
    """Cross-entropy + (1 - mean Dice over the labels that the batch holds): logits (n, c, h, w), target (n, h, w).

    With `claimed` (n, c - 1) bool a pixel of background may be background or any class that is not claimed: their
    probabilities add up (Shi et al. 2021, "Marginal loss and exclusion loss for partially supervised multi-organ
    segmentation"). Dice then counts, of each image, the claimed classes, and background where all are claimed.
    """
    probability = torch.softmax(logits, 1)
    truth = functional.one_hot(target, logits.shape[1]).permute(0, 3, 1, 2).float()
    if claimed is None:
        entropy = functional.cross_entropy(logits, target)
    else:
        counted = torch.cat([claimed.all(1, keepdim=True), claimed], 1)[:, :, None, None]
        open_classes = torch.cat([torch.ones_like(claimed[:, :1]), ~claimed], 1)[:, :, None, None]
        allowed = torch.where((target == 0)[:, None], open_classes, truth.bool())
        entropy = -torch.log_softmax(logits, 1).masked_fill(~allowed, -math.inf).logsumexp(1).mean()
        truth, probability = truth * counted, probability * counted
    overlap = (probability * truth).sum((0, 2, 3))
    size = (probability**2).sum((0, 2, 3)) + (truth**2).sum((0, 2, 3))
    present = truth.sum((0, 2, 3)) > 0
    dice = (2 * overlap / size.clamp(min=1e-6))[present].mean() if present.any() else logits.new_ones(())
    return entropy + 1 - dice


def augment(images: Tensor, labels: Tensor, config: SegmenterConfig, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rotate, scale and shift each image (n, 1, h, w) with its labels (n, h, w); add noise to half of the images."""
    count = len(images)
    angle, zoom, right, down = 2 * torch.rand((4, count), generator=random) - 1
    angle = torch.deg2rad(angle * config.rotation_degrees)
    zoom = 1 + zoom * config.scale
    cosine, sine = angle.cos() * zoom, angle.sin() * zoom
    matrix = torch.stack(
        [
            torch.stack([cosine, -sine, 2 * right * config.shift], 1),
            torch.stack([sine, cosine, 2 * down * config.shift], 1),
        ],
        1,
    )
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    moved = functional.grid_sample(images + 1, grid, mode="bilinear", align_corners=False) - 1
    moved_labels = functional.grid_sample(labels[:, None].float(), grid, mode="nearest", align_corners=False)
    noisy = torch.rand((count, 1, 1, 1), generator=random) < 0.5
    noise = torch.randn(images.shape, generator=random) * config.noise * noisy
    return moved + noise, moved_labels[:, 0].to(labels.dtype)


def describe(segmenter: Segmenter) -> dict[str, Any]:
    """What a run logs about it: hash, classes, parameters, configuration."""
    return {
        "sha256": segmenter.sha256,
        "classes": list(segmenter.classes),
        "parameters": sum(p.numel() for p in segmenter.network.parameters()),
        "seed": segmenter.seed,
        "config": segmenter.config.model_dump(mode="json"),
    }
