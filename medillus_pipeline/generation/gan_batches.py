"""The batch of a step of the `gan` family: slices, partial masks, groups and noise, all drawn from (seed, step).

Augmentation is a shift by whole pixels (no interpolation, no blur), image and labels alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from medillus_pipeline.generation.config import GanConfig
from medillus_pipeline.generation.gan_losses import UNKNOWN


@dataclass(frozen=True)
class Batch:
    """n slices: `image` (n, 1, h, w), `label` (n, h, w) all that is drawn, `given` what the generator is told of it,
    `target` what its image must show (UNKNOWN where it was not told), `level` and `group` (n,), `noise`
    (p · n, 1, h, w) for p samples, `share` (n,) of the gradient penalty.
    """

    image: Tensor
    label: Tensor
    given: Tensor
    target: Tensor
    level: Tensor
    group: Tensor
    noise: Tensor
    share: Tensor


class Draw:
    """Batches of the training slices, balanced over patients."""

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        levels: Tensor,
        groups: Tensor,
        patients: Sequence[str],
        config: GanConfig,
        seed: int,
    ) -> None:
        self.images, self.labels, self.levels, self.groups = images, labels, levels, groups
        names = sorted(set(patients))
        self.own = [torch.tensor([i for i, patient in enumerate(patients) if patient == name]) for name in names]
        self.config, self.seed = config, seed
        self.classes = int(labels.max())

    def __call__(self, step: int) -> Batch:
        config, n = self.config, self.config.batch_size
        random = torch.Generator().manual_seed(int(np.random.SeedSequence([self.seed, step]).generate_state(1)[0]))
        who = torch.randint(len(self.own), (n,), generator=random).tolist()
        where = torch.rand(n, generator=random).tolist()
        chosen = torch.stack([self.own[w][int(share * len(self.own[w]))] for w, share in zip(who, where, strict=True)])
        moves = torch.randint(2 * config.shift_pixels + 1, (n, 2), generator=random).tolist()
        image = _moved(self.images[chosen], moves, config.shift_pixels, -1.0)
        label = _moved(self.labels[chosen][:, None], moves, config.shift_pixels, 0)[:, 0].long()
        partial = torch.rand(n, generator=random) < config.partial_masks
        left_out = (torch.rand((n, self.classes + 1), generator=random) < 0.5) & partial[:, None]
        given, target = partial_mask(label, left_out)
        told = torch.rand(n, generator=random) >= config.group_dropout
        noise = torch.randn((config.samples * n, *image.shape[1:]), generator=random)
        share = torch.rand(n, generator=random)
        return Batch(image, label, given, target, self.levels[chosen], self.groups[chosen] * told, noise, share)


def partial_mask(label: Tensor, left_out: Tensor) -> tuple[Tensor, Tensor]:
    """What a mask says once the structures `left_out` (n, classes + 1) bool are taken from labels (n, h, w).

    The mask then, background in their place; and the target, UNKNOWN wherever such a mask holds nothing: a structure
    that was not drawn may lie there.
    """
    count = len(label)
    without = left_out.gather(1, label.flatten(1)).view_as(label)
    given = label.masked_fill(without, 0)
    some = left_out[:, 1:].any(1).view(count, 1, 1)
    return given, given.masked_fill(some & (given == 0), UNKNOWN)


def _moved(arrays: Tensor, moves: Sequence[Sequence[int]], reach: int, fill: float) -> Tensor:
    """(n, c, h, w) moved by 0 to 2 · reach, less reach, whole pixels down and right; what enters is `fill`."""
    height, width = arrays.shape[-2:]
    padded = functional.pad(arrays, (reach,) * 4, value=fill)
    parts = [
        one[:, down : down + height, right : right + width] for one, (down, right) in zip(padded, moves, strict=True)
    ]
    return torch.stack(parts)
