"""Left and right: does an image fit its mask better when it is mirrored?

A judge that learnt where organs lie does not find them on the other side, so a mirrored body looks to it like missing
organs. Mirroring the image back names the fault.
"""

import numpy as np
from numpy.typing import NDArray

from medillus_pipeline.validation import metrics
from medillus_pipeline.validation.measures import ClassMaps


def mirrored(asked: ClassMaps, found: ClassMaps, found_in_mirrored: ClassMaps, classes: int) -> NDArray[np.float64]:
    """(n,): 1 for an image that fits its mask better when mirrored, else 0; NaN where the mask asks for too little.

    `found` (n, h, w) are the judge's maps of the images, `found_in_mirrored` those of the images with their columns
    reversed, `asked` (n, h, w) the masks. Fit is the mean Dice of the classes asked for.
    """
    as_made, turned = (metrics.slice_dice(metrics.overlap(asked, maps, classes)) for maps in (found, found_in_mirrored))
    return np.where(np.isfinite(as_made), (turned > as_made).astype(np.float64), np.nan)
