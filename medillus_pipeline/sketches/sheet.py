"""The sheet that a drawing lies on, as a camera sees it: paper, noise, uneven light.

Every draw comes from the generator that is passed in. The way back, from a picture to ink, is in `ink.py`.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medillus_pipeline.sketches.config import DrawingConfig


def photographed(ink: NDArray[np.floating], random: np.random.Generator, config: DrawingConfig) -> NDArray[np.float32]:
    """Grey values (h, w) in 0 … 1 of a drawing's ink (h, w): dark on light, lit from one side, grainy."""
    height, width = ink.shape
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = random.uniform(0, 2 * np.pi)
    across = (np.cos(angle) * columns / width + np.sin(angle) * rows / height).astype(np.float32)
    across = (across - across.min()) / max(float(np.ptp(across)), 1e-6)
    light = 1 - random.uniform(0, config.shade) * across ** random.uniform(0.7, 2)
    paper = random.uniform(0.75, 1.0)
    grain = random.normal(0, 1, (height // 2, width // 2)).astype(np.float32)
    grain = np.asarray(ndimage.zoom(grain, 2, order=1))[:height, :width] * random.uniform(0, config.noise) / 2
    sheet = paper * light * (1 - random.uniform(*config.contrast) * np.asarray(ink, np.float32))
    sheet = sheet + grain + random.normal(0, 1, sheet.shape) * random.uniform(0, config.noise) / 2
    return np.clip(sheet, 0, 1).astype(np.float32)
