"""Pictures of edited masks: mask, image and what the judge saw, before the edit and after it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medillus_pipeline.generation.pictures import class_colours, sheet
from medillus_pipeline.validation.counterfactual import Followed
from medillus_pipeline.validation.mask_edits import EDITS
from medillus_pipeline.validation.measures import Values
from medillus_pipeline.validation.windows import window_for


def strip(
    cases: Sequence[Followed], classes: Sequence[int], palette: bytes, modality: str = "CT", *, each: int = 2
) -> bytes:
    """A PNG with `each` lines an edit, worst and best first: before (mask, image, judge), then after, side by side.

    `classes` are vocabulary ids in the order of the class indices, `palette` three bytes for each vocabulary id.
    Raises ValueError without cases.
    """
    if not cases:
        raise ValueError("there is no case to show")
    colours = class_colours(classes, palette)
    lines = []
    for edit in EDITS:
        own = sorted((one for one in cases if one.case.edit == edit), key=lambda one: one.iou)
        chosen = [own[round(k * (len(own) - 1) / max(each - 1, 1))] for k in range(min(each, len(own)))]
        lines += [
            [
                picture
                for mask, image, seen in zip((one.case.before, one.case.after), one.images, one.judged, strict=True)
                for picture in (colours[mask], _shown(image, one.images[0], modality), colours[seen])
            ]
            for one in chosen
        ]
    return sheet(lines)


def _shown(image: Values, before: Values, modality: str) -> NDArray[np.uint8]:
    """The image in the window of the one before the edit, (h, w, 3)."""
    return np.repeat(window_for(before, modality).grey(image)[..., None], 3, -1)
