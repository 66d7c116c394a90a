"""The invertible map between calibrated values (HU for CT) and the interval [-1, 1] that networks work in.

Piecewise linear: soft tissue, where organs differ by tens of HU, gets most of the interval; lung, fat and bone keep
their order and their details, and the inverse gives HU again.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class IntensityMap:
    """Knots of a strictly increasing piecewise linear map: `values` (HU) to `mapped` (-1 to 1).

    Values beyond the outer knots are clipped to them. Raises ValueError when the knots do not increase or do not
    span -1 to 1.
    """

    values: tuple[float, ...]
    mapped: tuple[float, ...]

    def __post_init__(self) -> None:
        rising = all(np.diff(self.values) > 0) and all(np.diff(self.mapped) > 0)
        if len(self.values) != len(self.mapped) or not rising or (self.mapped[0], self.mapped[-1]) != (-1.0, 1.0):
            raise ValueError("an intensity map needs increasing knots that span -1 to 1")

    def describe(self) -> dict[str, list[float]]:
        """The knots, for JSON."""
        return {"values": list(self.values), "mapped": list(self.mapped)}

    @classmethod
    def from_description(cls, described: Mapping[str, Sequence[float]]) -> "IntensityMap":
        """The inverse of `describe`."""
        return cls(tuple(described["values"]), tuple(described["mapped"]))

    def forward(self, values: np.ndarray) -> np.ndarray:
        """Calibrated values of any shape to float32 in [-1, 1]."""
        return np.interp(values, self.values, self.mapped).astype(np.float32)

    def inverse(self, mapped: np.ndarray) -> np.ndarray:
        """[-1, 1] (what lies outside is clipped) to calibrated values, int16, rounded."""
        return np.rint(np.interp(mapped, self.mapped, self.values)).astype(np.int16)


CT = IntensityMap((-1024.0, -250.0, 250.0, 1000.0, 3071.0), (-1.0, -0.6, 0.5, 0.85, 1.0))
LINEAR = IntensityMap((-1000.0, 1000.0), (-1.0, 1.0))
"""For modalities without a unit: series-normalised values (see `canonical.series_scale`)."""


def intensity_map(modalities: Collection[str]) -> IntensityMap:
    """The one map for a dataset of these DICOM Modalities: that of CT where CT is among them. It holds the range of the
    other modalities' series-normalised values too.
    """
    return CT if "CT" in modalities else LINEAR
