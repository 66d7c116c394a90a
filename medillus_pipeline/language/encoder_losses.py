"""What the text encoder learns from: multi-positive contrast, and facts that are true, false or unknown."""

import torch
from torch import Tensor
from torch.nn import functional


def contrastive_loss(similarity: Tensor, truth: Tensor) -> Tensor:
    """Contrast of captions (rows) and images (columns), both ways: `similarity` (c, n) scaled, `truth` (c, n) int8,
    1 where the caption is true of the image, -1 where it is false, 0 where nobody knows.

    The target is spread evenly over all that is true (supervised contrastive learning, Khosla et al. 2020, L_out); what
    nobody knows counts on neither side. Lines without anything true are left out.
    """
    return (_one_way(similarity, truth) + _one_way(similarity.T, truth.T)) / 2


def _one_way(similarity: Tensor, truth: Tensor) -> Tensor:
    logits = similarity.masked_fill(truth == 0, -torch.inf)
    true = (truth == 1).float()
    some = true.sum(1) > 0
    logs = functional.log_softmax(logits[some], 1).masked_fill(truth[some] == 0, 0.0)
    return -((logs * true[some]).sum(1) / true[some].sum(1)).mean()


def facts_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Binary cross-entropy (n, facts) over what is known; each fact's true and false lines weigh the same in all."""
    known = truth != 0
    true, false = (truth == 1).float(), (truth == -1).float()
    share = (true.sum(0) / known.sum(0).clamp(min=1)).clamp(0.1, 0.9)
    weight = true * 0.5 / share + false * 0.5 / (1 - share)
    loss = functional.binary_cross_entropy_with_logits(logits, true, reduction="none") * weight
    return loss.sum() / known.sum().clamp(min=1)
