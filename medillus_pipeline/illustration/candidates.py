"""N images of one request, each as it would be drawn alone, and how like the request each is.

The text encoder ranks where there is one and a text; else the organ segmenter's agreement does, never the judge's.
Whether a candidate may leave is not decided here: see `compliance.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration.composing import Composed
from medillus_pipeline.illustration.confidence import agreement
from medillus_pipeline.illustration.illustration_request import IllustrationRequest
from medillus_pipeline.illustration.models import Models


@dataclass(frozen=True)
class Candidates:
    """`images` (n, h, w) calibrated values with their `seeds`; `probabilities` (n, channels, h, w) of the organ
    segmenter; `likeness` (n,), higher is better, and what it is `ranked_by`.
    """

    images: np.ndarray
    seeds: tuple[int, ...]
    probabilities: np.ndarray
    likeness: np.ndarray
    ranked_by: str


def draw_candidates(
    request: IllustrationRequest, composed: Composed, models: Models, progress: Callable[[int, int], None] | None = None
) -> Candidates:
    """The images of seeds `seed` to `seed + candidates - 1`. Raises InputError for steps or guidance of a gan, which
    draws in one pass.
    """
    generator = models.generator
    if generator.family == "gan" and (request.steps is not None or request.guidance != 1.0):
        raise InputError("the model is a gan, which draws in one pass: leave steps and guidance")
    labels = models.index_of_id[composed.geometry.label_map][None]
    seeds = tuple(range(request.seed, request.seed + request.candidates))
    images = []
    for done, seed in enumerate(seeds, 1):
        images.append(
            generator.sample(
                labels,
                np.array([composed.geometry.level], np.float32),
                seed=seed,
                drawn=composed.geometry.drawn[None],
                said=[composed.said.attributes],
                steps=request.steps,
                guidance=request.guidance,
            )[0]
        )
        if progress is not None:
            progress(done, len(seeds))
    stack = np.stack(images)
    probabilities = models.organ_segmenter.predict(stack)
    if models.text_encoder is not None and composed.text is not None:
        likeness, by = models.text_encoder.scores([composed.text], stack)[0].astype(np.float64), "text_encoder"
    else:
        ids, channels = composed.geometry.label_map, models.segmenter_channels
        scores = [list(agreement(each, ids, channels).values()) for each in probabilities]
        likeness, by = np.array([np.nanmean(s) if np.isfinite(s).any() else 0.0 for s in scores]), "organ_segmenter"
    return Candidates(stack, seeds, probabilities, likeness, by)
