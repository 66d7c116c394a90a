"""Whether slices belong together: measures of a generated volume against the real one of the same label stack.

None of them says enough alone: shared noise flickers little because it stands still, independent noise has the right
texture in every slice and none along z. What is not here: how the volume was made (`generated_volume.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medillus_pipeline.errors import InputError

LAG = 8
"""Slices over which a stack that stands still is told from one that moves on."""

GRAIN_PIXELS = 1.5
"""Standard deviation in pixels of the blur that texture is what is left of."""

LEAST_VOXELS = 100
"""A structure with fewer voxels inside its border says nothing about texture."""


@dataclass(frozen=True)
class CoherenceMeasures:
    """* `flicker`: mean absolute difference of neighbouring slices, as a share of the real volume's;
    * `lag`: the same over `LAG` slices;
    * `texture_spread`: standard deviation of texture within structures, as a share of the real volume's;
    * `neighbour_correlation`, `neighbour_correlation_real`: of texture at one place in neighbouring slices;
    * `dice_ratio`: Dice of the judge's labels on it, as a share of that on the real slices (NaN without a judge).
    """

    flicker: float
    lag: float
    texture_spread: float
    neighbour_correlation: float
    neighbour_correlation_real: float
    dice_ratio: float

    def failures(self) -> list[str]:
        """The bars that are missed, in words; empty: coherent."""
        apart = abs(self.neighbour_correlation - self.neighbour_correlation_real)
        bars = {
            f"flicker {self.flicker:.2f} is outside 0.8 to 1.2": 0.8 <= self.flicker <= 1.2,
            f"lag-{LAG} difference {self.lag:.2f} is below 0.85": self.lag >= 0.85,
            f"texture spread {self.texture_spread:.2f} is below 0.85": self.texture_spread >= 0.85,
            f"correlation of neighbours' texture is {apart:.2f} from the real one, more than 0.1": apart <= 0.1,
            f"judged Dice ratio {self.dice_ratio:.2f} is below 0.9": not self.dice_ratio < 0.9,
        }
        return [said for said, met in bars.items() if not met]


def measure(
    values: np.ndarray,
    real: np.ndarray,
    labels: np.ndarray,
    *,
    judge: Callable[[np.ndarray], np.ndarray] | None = None,
) -> CoherenceMeasures:
    """Measures of `values` against `real`, both (slices, h, w) HU, for `labels` (slices, h, w), 0 background.

    `judge` maps values to labels of the same kind. Raises InputError for fewer than LAG + 1 slices, other shapes, and
    labels without a structure large enough to have texture.
    """
    if values.shape != real.shape or values.shape != labels.shape or len(values) <= LAG:
        raise InputError(f"coherence is measured on two volumes of one shape with more than {LAG} slices")
    made, taken = texture(values, labels), texture(real, labels)
    if not np.isfinite(taken).any():
        raise InputError("no structure is large enough to measure texture in")
    return CoherenceMeasures(
        flicker=_difference(values, 1) / _difference(real, 1),
        lag=_difference(values, LAG) / _difference(real, LAG),
        texture_spread=float(np.nanstd(made) / np.nanstd(taken)),
        neighbour_correlation=_correlation(made),
        neighbour_correlation_real=_correlation(taken),
        dice_ratio=np.nan if judge is None else dice(judge(values), labels) / dice(judge(real), labels),
    )


def texture(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(slices, h, w) float32: what a Gaussian blur within each structure leaves of the values, NaN elsewhere.

    The outermost pixel of a structure is left out, where a border's blur would count as texture.
    """
    result = np.full(values.shape, np.nan, np.float32)
    blur = (0, GRAIN_PIXELS, GRAIN_PIXELS)
    cross = ndimage.generate_binary_structure(2, 1)[None]
    for label in np.unique(labels):
        inside = np.asarray(ndimage.binary_erosion(labels == label, cross), bool)
        if not label or np.count_nonzero(inside) < LEAST_VOXELS:
            continue
        held = np.where(inside, values, 0).astype(np.float32)
        weight = np.asarray(ndimage.gaussian_filter(inside.astype(np.float32), blur, mode="constant"))
        smooth = np.asarray(ndimage.gaussian_filter(held, blur, mode="constant"))
        result[inside] = values[inside] - smooth[inside] / weight[inside]
    return result


def dice(found: np.ndarray, labels: np.ndarray) -> float:
    """Mean Dice over the structures of `labels`, over the whole stack."""
    present = [label for label in np.unique(labels) if label]
    scores = []
    for label in present:
        one, other = found == label, labels == label
        scores.append(2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other)))
    return float(np.mean(scores))


def _difference(values: np.ndarray, lag: int) -> float:
    return float(np.mean([np.abs(a.astype(np.float32) - b).mean() for a, b in zip(values, values[lag:], strict=False)]))


def _correlation(grain: np.ndarray) -> float:
    both = np.isfinite(grain[:-1]) & np.isfinite(grain[1:])
    return float(np.corrcoef(grain[:-1][both], grain[1:][both])[0, 1])
