"""Windows: how calibrated values become 256 greys (PS3.3 C.11.2), the presets, and the rule that picks one.

A `Window` is a formula with its numbers. What is not here: reading a dataset (`pixels.py`), going through a series
(`slices.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Function = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]


@dataclass(frozen=True)
class Window:
    """A window by name, centre and width in output units of the Modality LUT (HU for CT), and its formula."""

    name: str
    center: float
    width: float
    function: Function = "LINEAR"


@dataclass(frozen=True)
class VoiLut:
    """A VOI LUT (PS3.3 C.11.2.1.1): `values` (n,) of `bits` bits each, the first one for the input `first`."""

    name: str
    first: int
    bits: int
    values: tuple[int, ...]


PRESETS: Mapping[str, Window] = {
    window.name: window
    for window in (
        Window("soft-tissue", 50.0, 350.0),
        Window("lung", -600.0, 1500.0),
        Window("bone", 400.0, 1800.0),
        Window("brain", 40.0, 80.0),
    )
}
"""The presets for CT, in HU."""


@dataclass(frozen=True)
class WindowPolicy:
    """Which window a frame gets, by modality and body part.

    * CT: the preset of its body part, else `ct`. A head scan is shown as a brain, as a reader opens it; HEADNECK,
      SKULL and everything else keep soft tissue, where a brain window would leave nothing to outline.
    * `series_percentiles` (MR, PET, NM): between two percentiles of the whole series, so that neighbouring slices
      compare; their values have no fixed scale.
    * Every other modality (X-ray, ultrasound …): the file's own VOI LUT or window; without one, all greys of an 8-bit
      image as they are, and percentiles of the series for deeper ones.

    `override` asks for one rule: a preset's name, for all CT, or `file`, each file's own window where it has one.
    A CT whose values are not in HU has no use for a preset and is treated like the last group.
    """

    ct: str = "soft-tissue"
    ct_body_parts: Mapping[str, str] = field(default_factory=lambda: {"HEAD": "brain", "BRAIN": "brain"})
    series_percentiles: Mapping[str, tuple[float, float]] = field(
        default_factory=lambda: {"MR": (0.5, 99.5), "PT": (0.5, 99.8), "NM": (0.5, 99.8)}
    )
    other_percentiles: tuple[float, float] = (0.5, 99.5)
    override: str | None = None

    def __post_init__(self) -> None:
        asked = {self.ct, *self.ct_body_parts.values(), *([self.override] if self.override else [])}
        unknown = sorted(asked - set(PRESETS) - {"file"})
        if unknown:
            raise ValueError(f"no window preset {unknown[0]!r}: choose one of {', '.join(PRESETS)} or file")

    def rule(self, modality: str, body_part: str | None) -> str:
        """The name of a preset, `file`, or `percentiles`."""
        if self.override == "file" or (self.override and modality == "CT"):
            return self.override
        if modality == "CT":
            return self.ct_body_parts.get((body_part or "").upper(), self.ct)
        return "percentiles" if modality in self.series_percentiles else "file"

    def percentiles(self, modality: str) -> tuple[float, float]:
        """The two percentiles (0 to 100) for a modality whose window is taken from its values."""
        return self.series_percentiles.get(modality, self.other_percentiles)


def apply_window(values: np.ndarray, window: Window) -> np.ndarray:
    """Greys, uint8, of calibrated `values` (any shape): PS3.3 C.11.2.1.2.1 (LINEAR), C.11.2.1.3.1 (SIGMOID),
    C.11.2.1.3.2 (LINEAR_EXACT), with output 0 to 255 rounded half up.

    Raises ValueError for a width below 1 (LINEAR) or not above 0 (the others), as the standard forbids.
    """
    center, width = window.center, window.width
    if not (np.isfinite(center) and np.isfinite(width)) or width <= 0 or (window.function == "LINEAR" and width < 1):
        raise ValueError("a window needs a finite centre and a positive width (at least 1 for LINEAR)")
    x = np.asarray(values, np.float64)
    with np.errstate(over="ignore"):
        if window.function == "SIGMOID":
            y = 255.0 / (1.0 + np.exp(-4.0 * (x - center) / width))
        elif window.function == "LINEAR_EXACT":
            y = ((x - center) / width + 0.5) * 255.0
            y = np.where(x <= center - width / 2, 0.0, np.where(x > center + width / 2, 255.0, y))
        else:
            low, high = center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
            y = ((x - (center - 0.5)) / (width - 1) + 0.5) * 255.0 if width > 1 else np.zeros_like(x)
            y = np.where(x <= low, 0.0, np.where(x > high, 255.0, y))
    return np.floor(np.nan_to_num(y, nan=0.0) + 0.5).astype(np.uint8)


def apply_voi_lut(values: np.ndarray, lut: VoiLut) -> np.ndarray:
    """Greys, uint8, of calibrated `values` through a VOI LUT: inputs below or above it take its first or last entry."""
    table = np.asarray(lut.values, np.float64)
    index = np.clip(np.floor(np.asarray(values, np.float64) + 0.5) - lut.first, 0, len(table) - 1).astype(np.intp)
    greys = np.floor(np.clip(table / (2.0**lut.bits - 1) * 255.0, 0, 255) + 0.5).astype(np.uint8)
    return greys[index]


def percentile_window(
    values: Sequence[np.ndarray], weights: Sequence[np.ndarray], percentiles: tuple[float, float]
) -> Window | None:
    """The LINEAR_EXACT window between two weighted percentiles of the pooled `values`, None when there are no values.

    `weights` count the pixels behind each value. Constant images get a width of 1 about their value.
    """
    if not sum(len(part) for part in values):
        return None
    pool, counts = np.concatenate(list(values)), np.concatenate(list(weights))
    order = np.argsort(pool, kind="stable")
    share = np.cumsum(counts[order]) / counts.sum() * 100.0
    low, high = (
        float(pool[order][min(int(np.searchsorted(share, p, side="left")), len(pool) - 1)]) for p in percentiles
    )
    name = f"percentiles-{percentiles[0]:g}-{percentiles[1]:g}"
    if high <= low:
        return Window(name, low, 1.0, "LINEAR_EXACT")
    return Window(name, (low + high) / 2, high - low, "LINEAR_EXACT")
