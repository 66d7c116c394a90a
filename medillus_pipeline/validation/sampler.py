"""Draws images of the measured slices' masks: in batches, from seeds of their own, checked and counted.

What is measured on them is not here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medillus_pipeline.validation.measures import ClassMaps, Values

Sample = Callable[..., Values]
"""(class maps (n, height, width), levels (n,), seed, **given) to images (n, height, width) in HU."""

Given = Mapping[str, NDArray[Any]]
"""What a generator is told beside mask and level, by keyword; one entry a slice. Empty for one that takes no more."""


@dataclass
class Sampler:
    """A generator and the slices that it is asked for; `progress` is told how many of `total` images are drawn."""

    sample: Sample
    maps: ClassMaps
    levels: NDArray[np.floating]
    seed: int
    batch: int
    total: int
    given: Given = field(default_factory=dict)
    progress: Callable[[int, int], None] | None = None
    done: int = 0

    def __call__(
        self, rows: NDArray[np.int64], repeat: int = 0, *, by: Sample | None = None, further: Given | None = None
    ) -> Values:
        """Images (n, h, w) int16 for the masks of `rows`; another `repeat` gives other images of the same masks.

        `by` is another generator, told what is `further` given of all slices. Raises ValueError for images of another
        shape than the masks.
        """
        told = {**self.given, **(further or {})}
        out = np.empty((len(rows), *self.maps.shape[1:]), dtype=np.int16)
        for start in range(0, len(rows), self.batch):
            part = rows[start : start + self.batch]
            seed = int(np.random.SeedSequence([self.seed, repeat, start]).generate_state(1)[0])
            said = {name: column[part] for name, column in told.items()}
            images = np.asarray((by or self.sample)(self.maps[part], self.levels[part], seed, **said))
            if images.shape != self.maps[part].shape:
                raise ValueError(f"the generator returned shape {images.shape} for masks {self.maps[part].shape}")
            out[start : start + len(part)] = np.rint(np.clip(np.nan_to_num(images), -32768, 32767))
            self.done += len(part)
            if self.progress:
                self.progress(self.done, self.total)
        return out
