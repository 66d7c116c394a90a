"""Calibration: what a stored value means (Modality LUT, PS3.3 C.11.1) and which stored values mean nothing (padding).

What is not here: decoding (`decoding.py`) and windows (`windows.py`).
"""

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from medillus_pipeline.dicom.attributes import functional_group, lut, numbers
from medillus_pipeline.dicom.windows import digest


@dataclass(frozen=True)
class Calibration:
    """How a stored value becomes an output value: value bits and sign, then a Modality LUT (first input, entries) or
    slope and intercept; the range of stored values that is padding; whether low values are shown white
    (MONOCHROME1, or PresentationLUTShape INVERSE); whether the output is in HU.
    """

    bits: int
    signed: bool
    slope: float
    intercept: float
    lut: tuple[int, tuple[int, ...]] | None
    padding: tuple[float, float] | None
    inverted: bool
    hounsfield: bool

    def values(self, stored: np.ndarray) -> np.ndarray:
        """Output values (HU for CT), float64, of stored values of any shape."""
        if self.lut is not None:
            first, entries = self.lut
            return np.asarray(entries, np.float64)[np.clip(stored.astype(np.int64) - first, 0, len(entries) - 1)]
        return stored.astype(np.float64) * self.slope + self.intercept

    def domain(self) -> np.ndarray:
        """Every stored value, in the order of its two's complement: (2 ** bits,) int64."""
        domain = np.arange(2**self.bits, dtype=np.int64)
        if self.signed:
            domain[2 ** (self.bits - 1) :] -= 2**self.bits
        return domain

    def is_padding(self, stored: np.ndarray) -> np.ndarray:
        """Which stored values stand for no measurement (PS3.3 C.7.5.1.1.2, C.7.6.24): padding, and what is no finite
        number.
        """
        padding = ~np.isfinite(stored) if stored.dtype.kind == "f" else np.zeros(stored.shape, bool)
        if self.padding is not None:
            padding |= (stored >= self.padding[0]) & (stored <= self.padding[1])
        return padding

    def describe(self) -> str:
        """The steps before the window, to the last digit: `rescale 1.0 -1024.0`, or a Modality LUT by its hash."""
        if self.lut is None:
            return f"rescale {self.slope!r} {self.intercept!r}"
        first, entries = self.lut
        return f"modality-LUT {len(entries)} {first} {digest(entries)}"


def read_calibration(dataset: Dataset, frame: int, *, floating: bool = False) -> Calibration:
    """The calibration of frame `frame` (from 1); `floating` for FloatPixelData and DoubleFloatPixelData.

    Raises ValueError, TypeError, AttributeError or IndexError when its attributes are malformed.
    """
    bits, signed = (32, True) if floating else (int(dataset.BitsStored), bool(dataset.get("PixelRepresentation", 0)))
    source = functional_group(dataset, frame, "PixelValueTransformationSequence") or dataset
    table = None
    if sequence := dataset.get("ModalityLUTSequence"):
        first, _, entries = lut(sequence[0], dataset)
        table = (first - 0x10000 if signed and first > 0x7FFF else first, entries)
    slopes, intercepts = numbers(source.get("RescaleSlope")), numbers(source.get("RescaleIntercept"))
    slope, intercept = (slopes or [1.0])[0] or 1.0, (intercepts or [0.0])[0]
    if not np.isfinite([slope, intercept]).all():
        raise ValueError("the rescale slope or intercept is no number")
    kind = str(source.get("RescaleType", "") or "HU").strip().upper()
    shape = str(dataset.get("PresentationLUTShape", "")).strip().upper()
    photometric = str(dataset.get("PhotometricInterpretation", "")).strip().upper()
    return Calibration(
        bits=bits,
        signed=signed,
        slope=slope,
        intercept=intercept,
        lut=table,
        padding=_float_padding(dataset) if floating else _padding(dataset, bits, signed),
        inverted=photometric == "MONOCHROME1" or shape == "INVERSE",
        hounsfield=table is None and bool(intercepts or slopes) and kind == "HU",
    )


def _float_padding(dataset: Dataset) -> tuple[float, float] | None:
    kind = "DoubleFloat" if "DoubleFloatPixelData" in dataset else "Float"
    low = numbers(dataset.get(f"{kind}PixelPaddingValue"))
    high = numbers(dataset.get(f"{kind}PixelPaddingRangeLimit")) or low
    return (min(low[0], high[0]), max(low[0], high[0])) if low else None


def _padding(dataset: Dataset, bits: int, signed: bool) -> tuple[int, int] | None:
    low = dataset.get("PixelPaddingValue")
    if not isinstance(low, int):
        return None
    high = dataset.get("PixelPaddingRangeLimit")
    ends = sorted([_as_stored(low, signed), _as_stored(high if isinstance(high, int) else low, signed)])
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return (ends[0], ends[1]) if ends[1] >= least and ends[0] <= most else None


def _as_stored(value: int, signed: bool) -> int:
    """A 16-bit value that was read with the wrong sign, put right."""
    if signed and value > 0x7FFF:
        return value - 0x10000
    return value & 0xFFFF if not signed and value < 0 else value
