"""What a network is told of a picture: the mask, the tissue context, and what the anatomical prior says of the place.

Self-contained on purpose (torch and the standard library only): its text travels in the registry's model file. How the
prior proposes what nobody drew is not here, see `shape_model.py`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

TISSUES = 4
"""Air, fat, soft tissue, bone."""


def condition_channels(classes: int) -> int:
    """Channels of `conditions` for that many classes."""
    return classes + 2 * TISSUES + 1 + 3


def conditions(
    labels: Tensor, drawn: Tensor, levels: Tensor, context: Tensor, occupancy: Tensor, tissue: Tensor
) -> Tensor:
    """(n, condition_channels, h, w): all that is drawn of the picture, and what the anatomical prior says of it.

    * a channel for each class: the mask of `labels` (n, h, w), or, where `drawn` (n, classes) says that the mask does
      not tell of the class, its occupancy by the prior;
    * the tissue `context` (n, 4, h, w): air, fat, soft tissue, bone one-hot, or zeros where nothing is known of it;
      within drawn structures it is not told, since gas and vessels there are the image's own affair;
    * the distance to the next border of a drawn structure, 0 to 1;
    * tissue probabilities at each level, then column, row and level in [-1, 1].

    `occupancy` is (positions, classes, h, w) and `tissue` (positions, 4, h, w) for evenly spaced levels 0 to 1; between
    them both are interpolated.
    """
    masks = functional.one_hot(labels.long(), drawn.shape[1] + 1).permute(0, 3, 1, 2)[:, 1:].to(tissue.dtype)
    if not drawn.all():  # the occupancy of a class that the prior knows nothing of is NaN
        masks = torch.where(drawn[:, :, None, None], masks, at_levels(occupancy, levels).nan_to_num(0.0))
    context = context * (labels == 0)[:, None]
    n, height, width = labels.shape
    rows, columns = torch.meshgrid(
        torch.linspace(-1, 1, height, device=tissue.device),
        torch.linspace(-1, 1, width, device=tissue.device),
        indexing="ij",
    )
    plane = torch.stack([columns, rows]).expand(n, 2, height, width)
    along = (2 * levels - 1)[:, None, None, None].expand(n, 1, height, width)
    return torch.cat([masks, context, border_distance(labels), at_levels(tissue, levels), plane, along], 1)


def at_levels(maps: Tensor, levels: Tensor) -> Tensor:
    """(n, c, h, w): `maps` (positions, c, h, w), evenly spaced from level 0 to 1, interpolated at `levels` (n,)."""
    place = levels.clamp(0, 1) * (len(maps) - 1)
    below = place.floor().long().clamp(max=len(maps) - 2)
    share = (place - below)[:, None, None, None].to(maps.dtype)
    return maps[below] * (1 - share) + maps[below + 1] * share


def border_distance(labels: Tensor) -> Tensor:
    """(n, 1, h, w) float32: how far the next border between labels (n, h, w) is, as a share of an eighth of the width,
    at most 1. Distance is octagonal: steps to 4 and to 8 neighbours in turn.
    """
    border = torch.zeros(labels.shape, device=labels.device)
    across, along = labels[:, 1:] != labels[:, :-1], labels[:, :, 1:] != labels[:, :, :-1]
    border[:, 1:] += across
    border[:, :-1] += across
    border[:, :, 1:] += along
    border[:, :, :-1] += along
    near = border[:, None].clamp(max=1)
    reach = max(labels.shape[-1] // 8, 1)
    far = 1 - near
    for step in range(1, reach):
        if step % 2:
            near = torch.maximum(
                functional.max_pool2d(near, (3, 1), 1, (1, 0)), functional.max_pool2d(near, (1, 3), 1, (0, 1))
            )
        else:
            near = functional.max_pool2d(near, 3, 1, 1)
        far += 1 - near
    return far / reach


def noise_for(count: int, shape: tuple[int, ...], seed: int) -> Tensor:
    """(count, *shape) standard normal on the CPU; image i gets the same noise whatever the count."""
    generator = torch.Generator().manual_seed(seed)
    images = [torch.randn((1, *shape), generator=generator) for _ in range(count)]
    return torch.cat([torch.zeros((0, *shape)), *images])


def default_attributes(known: Sequence[str]) -> list[str]:
    """What may be said of an image of which nothing is: its modality, where the model knows but one."""
    modalities = [name for name in known if name.startswith("modality=")]
    return modalities if len(modalities) == 1 else []


def with_context(modalities: Sequence[str], attributes: Sequence[str], said: Tensor) -> Tensor:
    """(n, 1, 1, 1): 1 where a tissue context may be proposed, by what is `said` (n, attributes) of each image.

    The thresholds between tissues are HU, so a model is told of a context for CT alone.
    """
    if list(modalities) == ["CT"]:
        told = torch.ones(len(said))
    elif "modality=CT" in attributes:
        told = said[:, list(attributes).index("modality=CT")]
    else:
        told = torch.zeros(len(said))
    return told[:, None, None, None]
