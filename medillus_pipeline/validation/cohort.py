"""Real slices as measurements take them, with all that is known of each. How a dataset becomes one: `released.py`."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medillus_pipeline.validation import slice_groups
from medillus_pipeline.validation.measures import ClassMaps, Values
from medillus_pipeline.validation.sampler import Given


@dataclass(frozen=True)
class Cohort:
    """Real slices: calibrated values and class maps (n, h, w), the patient's pseudonym, level and pixel distance of
    each (mm, one for all or (n,)), what the generator is `given` beside mask and level, and the `attributes` said of
    each slice as a whole ("kind=value"; empty where nothing is known).
    """

    values: Values
    class_maps: ClassMaps
    patients: Sequence[str]
    levels: NDArray[np.floating]
    pixel_mm: float | NDArray[np.floating] = 1.0
    given: Given = field(default_factory=dict)
    attributes: Sequence[Sequence[str]] = ()

    def at(self, rows: NDArray[np.int64]) -> "Cohort":
        """The slices of these rows."""
        return Cohort(
            values=np.asarray(self.values[rows]),
            class_maps=np.asarray(self.class_maps[rows]),
            patients=[self.patients[int(row)] for row in rows],
            levels=np.asarray(self.levels)[rows],
            pixel_mm=np.broadcast_to(np.asarray(self.pixel_mm, np.float64), len(self.patients))[rows],
            given={name: np.asarray(column)[rows] for name, column in self.given.items()},
            attributes=[self.attributes[int(row)] for row in rows] if self.attributes else (),
        )

    @property
    def modality(self) -> NDArray[np.str_]:
        """Modality of each slice, (n,); CT where nothing is said."""
        return slice_groups.modality_of(self.attributes or [()] * len(self.patients))
