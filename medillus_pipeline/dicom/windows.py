"""Windows: how calibrated values become greys (PS3.3 C.11.2), the presets, and the policy that picks among them.

A `Window` is a formula with its numbers. What is not here: reading a dataset (`attributes.py`), going through a series
(`slices.py`).
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Function = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
Depth = Literal[8, 16]
"""Bits of a grey."""


@dataclass(frozen=True)
class Window:
    """A window by name, centre and width in output units of the Modality LUT (HU for CT), and its formula."""

    name: str
    center: float
    width: float
    function: Function = "LINEAR"

    def describe(self) -> str:
        """The formula and its numbers, to the last digit: `LINEAR 50.0 350.0`."""
        return f"{self.function} {self.center!r} {self.width!r}"


@dataclass(frozen=True)
class VoiLut:
    """A VOI LUT (PS3.3 C.11.2.1.1): `values` (n,) of `bits` bits each, the first one for the input `first`."""

    name: str
    first: int
    bits: int
    values: tuple[int, ...]

    def describe(self) -> str:
        """Size, first input, bits, and the start of the hash of its values as 16-bit little-endian words."""
        return f"VOI-LUT {len(self.values)} {self.first} {self.bits} {digest(self.values)}"


def digest(entries: Sequence[int]) -> str:
    """16 hexadecimal digits of the SHA-256 of a lookup table's entries, as 16-bit little-endian words."""
    return hashlib.sha256(np.asarray(entries, "<u2").tobytes()).hexdigest()[:16]


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
    """Which windows a frame is shown through, by modality and body part.

    * CT: the preset of its body part, else `ct`. A head scan is shown as a brain, as a reader opens it; HEADNECK,
      SKULL and everything else keep soft tissue, where a brain window would leave nothing to outline.
    * `series_percentiles` (MR, PET, NM): between two percentiles of the whole series, so that neighbouring slices
      compare; their values have no fixed scale.
    * Every other modality (X-ray, ultrasound …): the file's own VOI LUT or window; without one, all greys of an 8-bit
      image as they are, and percentiles of the series for deeper ones.

    `presets` are one's own, beside or instead of those of `PRESETS`. `override` asks for one rule or, with commas,
    for several: a preset's name or a window of one's own (`liver=60/160`, centre/width in HU), for all CT, or `file`,
    each file's own window where it has one. Only CT is shown more than once. `file_window` says which window, from 0,
    of a file that lists several; one that lists fewer shows its first. A CT whose values are not in HU has no use for
    a preset and is treated like the last group.
    """

    ct: str = "soft-tissue"
    ct_body_parts: Mapping[str, str] = field(default_factory=lambda: {"HEAD": "brain", "BRAIN": "brain"})
    series_percentiles: Mapping[str, tuple[float, float]] = field(
        default_factory=lambda: {"MR": (0.5, 99.5), "PT": (0.5, 99.8), "NM": (0.5, 99.8)}
    )
    other_percentiles: tuple[float, float] = (0.5, 99.5)
    override: str | None = None
    presets: Mapping[str, Window] = field(default_factory=dict)
    file_window: int = 0

    def __post_init__(self) -> None:
        known = {**PRESETS, **self.presets}
        if self.override is not None and not self._asked():
            raise ValueError(f"no window is named: choose one of {', '.join(known)}, file or name=centre/width")
        for name in (self.ct, *self.ct_body_parts.values(), *self._asked()):
            if name not in known and name != "file" and not _OWN.fullmatch(name):
                raise ValueError(
                    f"no window preset {name!r}: choose one of {', '.join(known)}, file or name=centre/width"
                )
            self.preset(name)
        if self.file_window < 0:
            raise ValueError("the windows of a file count from 0")

    def rules(self, modality: str, body_part: str | None) -> tuple[str, ...]:
        """Every rule a frame is shown by, the first one first: names of presets, `file`, or `percentiles`."""
        asked = self._asked()
        if asked and modality == "CT":
            return asked
        if "file" in asked:
            return ("file",)
        if modality == "CT":
            return (self.ct_body_parts.get((body_part or "").upper(), self.ct),)
        return ("percentiles" if modality in self.series_percentiles else "file",)

    def rule(self, modality: str, body_part: str | None) -> str:
        """The first of `rules`."""
        return self.rules(modality, body_part)[0]

    def preset(self, rule: str) -> Window | None:
        """The window that a rule names; None for `file` and `percentiles`. Raises ValueError for an impossible one."""
        if own := _OWN.fullmatch(rule):
            if _TAKEN.match(own["name"]):
                raise ValueError(f"the name {own['name']} has a meaning of its own: give the window another")
            window = Window(own["name"], float(own["center"]), float(own["width"]))
        else:
            window = {**PRESETS, **self.presets}.get(rule)
        if window is not None:
            try:
                apply_window(np.zeros(1), window)
            except ValueError as error:
                raise ValueError(f"the window {window.name}: {error}") from None
        return window

    def percentiles(self, modality: str) -> tuple[float, float]:
        """The two percentiles (0 to 100) for a modality whose window is taken from its values."""
        return self.series_percentiles.get(modality, self.other_percentiles)

    def needs_values(self, modality: str, body_part: str | None) -> bool:
        """Whether the window of a series may have to be found from its values."""
        return any(self.preset(rule) is None for rule in self.rules(modality, body_part))

    def _asked(self) -> tuple[str, ...]:
        """The presets asked for, each once; of two windows of one name the first."""
        asked: dict[str, str] = {}
        for entry in (self.override or "").split(","):
            if entry.strip():
                asked.setdefault(entry.strip().partition("=")[0], entry.strip())
        return tuple(asked.values())


_TAKEN = re.compile(r"(file|percentiles|frame)(-|$)|(lossless|colour|full-range)$")
"""Names under which pictures are kept that no preset made."""

_OWN = re.compile(r"(?P<name>[a-z][a-z0-9-]*)=(?P<center>[-+]?\d+(?:\.\d+)?)/(?P<width>\d+(?:\.\d+)?)")


def apply_window(values: np.ndarray, window: Window, *, bits: Depth = 8) -> np.ndarray:
    """Greys, uint8 or uint16, of calibrated `values` (any shape): PS3.3 C.11.2.1.2.1 (LINEAR), C.11.2.1.3.1 (SIGMOID),
    C.11.2.1.3.2 (LINEAR_EXACT), with output 0 to 255 or 65535 rounded half up. What is no number becomes 0.

    Raises ValueError for a width below 1 (LINEAR) or not above 0 (the others), as the standard forbids.
    """
    center, width, white = window.center, window.width, 2.0**bits - 1
    if not (np.isfinite(center) and np.isfinite(width)) or width <= 0 or (window.function == "LINEAR" and width < 1):
        raise ValueError("a window needs a finite centre and a positive width (at least 1 for LINEAR)")
    x = np.asarray(values, np.float64)
    with np.errstate(over="ignore"):
        if window.function == "SIGMOID":
            y = white / (1.0 + np.exp(-4.0 * (x - center) / width))
        elif window.function == "LINEAR_EXACT":
            y = ((x - center) / width + 0.5) * white
            y = np.where(x <= center - width / 2, 0.0, np.where(x > center + width / 2, white, y))
        else:
            low, high = center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
            y = ((x - (center - 0.5)) / (width - 1) + 0.5) * white if width > 1 else np.zeros_like(x)
            y = np.where(x <= low, 0.0, np.where(x > high, white, y))
    return np.floor(np.nan_to_num(y, nan=0.0) + 0.5).astype(f"u{bits // 8}")


def apply_voi_lut(values: np.ndarray, lut: VoiLut, *, bits: Depth = 8) -> np.ndarray:
    """Greys, uint8 or uint16, of calibrated `values` through a VOI LUT: inputs below or above it take its first or
    last entry; what is no number takes the first.
    """
    table, white = np.asarray(lut.values, np.float64), 2.0**bits - 1
    x = np.nan_to_num(np.floor(np.asarray(values, np.float64) + 0.5), nan=lut.first)
    index = np.clip(x - lut.first, 0, len(table) - 1).astype(np.intp)
    greys = np.floor(np.clip(table / (2.0**lut.bits - 1) * white, 0, white) + 0.5).astype(f"u{bits // 8}")
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
