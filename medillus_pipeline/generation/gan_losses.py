"""The losses of the `gan` family, each a function of tensors that a person can check by hand.

What is weighed by how much, and when, is decided in `gan_training.py`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Adversarial = Literal["hinge", "wgan-gp"]
Total = Callable[[Tensor], Tensor]
"""A sum over this process's samples → the sum over those of all processes (`training.total`)."""
UNKNOWN = -1
"""Label of a pixel whose structure is not known: no loss asks for one there."""


def discriminator_loss(kind: Adversarial, real: Tensor, generated: Tensor) -> Tensor:
    """What the discriminator minimises for scores of any shape: hinge (Lim and Ye 2017), or the critic's difference
    of means (Arjovsky et al. 2017), which needs `gradient_penalty` beside it.
    """
    if kind == "hinge":
        return functional.relu(1 - real).mean() + functional.relu(1 + generated).mean()
    return generated.mean() - real.mean()


def generator_loss(generated: Tensor) -> Tensor:
    """What the generator minimises in both kinds: the negative mean score of its images."""
    return -generated.mean()


def gradient_penalty(score: Callable[[Tensor], Tensor], real: Tensor, generated: Tensor, share: Tensor) -> Tensor:
    """Mean of (‖∇ score‖ - 1)² at real · share + generated · (1 - share), per image (Gulrajani et al. 2017, eq. 3).

    Images are (n, 1, h, w), `share` is (n,), 0 to 1.
    """
    at = share[:, None, None, None]
    between = (real * at + generated * (1 - at)).detach().requires_grad_()
    (slope,) = torch.autograd.grad(score(between).flatten(1).mean(1).sum(), between, create_graph=True)
    return ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()


def alone(own: Tensor) -> Tensor:
    """The total of a training in one process: its own sum."""
    return own


def segmentation_loss(logits: Tensor, target: Tensor, total: Total = alone) -> Tensor:
    """L_seg, cross-entropy of logits (n, c, h, w) with labels (n, h, w), over the pixels that are not UNKNOWN."""
    known = total((target != UNKNOWN).sum()).clamp(min=1)
    return total(functional.cross_entropy(logits, target.long(), ignore_index=UNKNOWN, reduction="sum")) / known


def anatomical_loss(logits: Tensor, reference: Tensor, total: Total = alone) -> Tensor:
    """L_anat = 1 - 2 Σ s_gt · s_gen / (Σ s_gt² + Σ s_gen²), the mean over the structures that the reference holds.

    s_gen is the softmax of logits (n, 1 + classes, h, w) without the background, s_gt the `reference`
    (n, classes, h, w) in 0 … 1 (see `anatomical_reference`); sums run over all pixels of the batch (Milletari et al.
    2016, "V-Net", eq. 1). 0 without any structure.
    """
    found = torch.softmax(logits, 1)[:, 1:]
    overlap = total((reference * found).sum((0, 2, 3)))
    squares = total((reference**2).sum((0, 2, 3)) + (found**2).sum((0, 2, 3)))
    present = total(reference.sum((0, 2, 3))) > 0
    if not present.any():
        return logits.sum() * 0
    return (1 - 2 * overlap[present] / squares[present]).mean()


def anatomical_reference(masks: Tensor, given: Tensor) -> Tensor:
    """Where each structure is expected (n, classes, h, w), 0 … 1: what is drawn as it is drawn, and a class that the
    mask `given` (n, h, w) does not tell of where the anatomical prior has it, but for what is drawn otherwise.

    `masks` are the class channels of the condition: the mask of a drawn class, else its occupancy (see `conditions`).
    """
    own = functional.one_hot(given.long(), masks.shape[1] + 1).permute(0, 3, 1, 2)[:, 1:]
    return torch.where((given == 0)[:, None], masks, own.to(masks.dtype))


def reconstruction_loss(real: Tensor, samples: Tensor, diversity: float) -> Tensor:
    """L1 of the mean of several samples for one mask, less a reward for their spread: an L1 that does not blur.

    `real` is (n, …), `samples` (p, n, …) with p at least 2. With `diversity` 1 the loss is least where the samples have
    the mean *and* the standard deviation of the real values, were those normal; 0 is plain L1, under which a generator
    does best to ignore its noise (Bendel, Ahmad and Schniter 2023, "A Regularized Conditional GAN for Posterior
    Sampling in Image Recovery Problems", eqs. 8 to 12).
    """
    count = len(samples)
    centre = samples.mean(0)
    spread = math.sqrt(math.pi / (2 * count * (count - 1))) * (samples - centre).abs().sum(0).mean()
    reward = math.sqrt(2 / (math.pi * count * (count + 1)))
    return (real - centre).abs().mean() - diversity * reward * spread


def pyramid_loss(real: Tensor, samples: Tensor, diversity: float, levels: int, first: int = 0) -> Tensor:
    """`reconstruction_loss` of images (n, 1, h, w) and samples (p, n, 1, h, w), the mean over `levels` resolutions.

    Each halves the one before it by 2×2 means. On full resolution the spread is won most easily by grain, which real
    images do not vary by; so spread is rewarded from level `first` on (0 is full resolution, 2 means of 4×4 pixels).
    """
    count = len(samples)
    losses = [reconstruction_loss(real, samples, diversity if first == 0 else 0)]
    for level in range(1, levels):
        real = functional.avg_pool2d(real, 2)
        samples = functional.avg_pool2d(samples.flatten(0, 1), 2).unflatten(0, (count, -1))
        losses.append(reconstruction_loss(real, samples, diversity if level >= first else 0))
    return torch.stack(losses).mean()


def feature_loss(real: Sequence[Tensor], generated: Sequence[Tensor]) -> Tensor:
    """Feature matching: L1 between the discriminator's features of real images (n, …) and the mean of those of their
    samples (p · n, …), the mean over layers (Wang et al. 2018, "pix2pixHD", eq. 4, there for one sample).
    """
    parts = []
    for truth, made in zip(real, generated, strict=True):
        parts.append((truth.detach() - made.unflatten(0, (-1, len(truth))).mean(0)).abs().mean())
    return torch.stack(parts).mean()


def target(given: Tensor, drawn: Tensor) -> Tensor:
    """What an image must show for a mask (n, h, w) that is complete for the classes `drawn` (n, classes) bool: the
    mask, and UNKNOWN wherever an incomplete one holds nothing, since a structure that nobody drew may lie there.
    """
    partial = ~drawn.all(1)[:, None, None]
    return given.masked_fill(partial & (given == 0), UNKNOWN)


def ramp(step: int, start: int, steps: int) -> float:
    """Share of a weight at a step: 0 up to `start`, then linearly to 1 over `steps` steps."""
    return min(max(step - start, 0) / steps, 1.0) if steps else float(step > start)
