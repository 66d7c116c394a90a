"""How a slice is shown to people: the grey levels of the region that it shows, by modality.

CT is shown as a radiologist would window it: soft tissue, or lung where air fills much of the body. Other modalities
have no unit, so that each image's own percentiles decide. What is measured never depends on this.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medillus_pipeline.validation.measures import CT, Values

BODY_HU = -500.0
"""Above it a pixel is tissue: lung and outer air lie below."""

LUNG_SHARE = 0.2
"""Share of the body's area that is air, from which on lungs fill the slice; gas in the gut stays below."""

PERCENTILES = (1.0, 99.0)


@dataclass(frozen=True)
class Window:
    """Centre and width in the values' unit, and the name that people know it by."""

    name: str
    centre: float
    width: float

    def grey(self, values: NDArray) -> NDArray[np.uint8]:
        """Values of any shape as uint8 grey."""
        scaled = (np.asarray(values, np.float64) - self.centre + self.width / 2) / self.width
        return np.rint(255 * np.clip(scaled, 0, 1)).astype(np.uint8)


SOFT_TISSUE = Window("soft tissue", 50, 350)
LUNG = Window("lung", -500, 1500)


def window_for(image: Values, modality: str) -> Window:
    """The window of a real slice (h, w); images made from its mask are shown in the same one."""
    if modality != CT:
        low, high = np.percentile(np.asarray(image, np.float64), PERCENTILES)
        return Window("percentiles", float(low + high) / 2, max(float(high - low), 1.0))
    tissue = np.asarray(image) > BODY_HU
    body = np.asarray(ndimage.binary_fill_holes(ndimage.binary_closing(tissue, iterations=2)))
    area = int(np.count_nonzero(body))
    air = np.count_nonzero(body & ~tissue) / area if area else 0.0
    return LUNG if air >= LUNG_SHARE else SOFT_TISSUE
