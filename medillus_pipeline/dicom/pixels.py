"""Pixels of a frame: decoded, calibrated (HU for CT), shown through a window, counted.

Frames count from 1. Overlays are left out: they lie in groups of their own, or in unused bits, which are masked. What
is not here: which window (`windows.py`, `rendering.py`), and what else a data set says of its frames (`attributes.py`).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from pydicom.dataset import Dataset

from medillus_pipeline.dicom.calibration import Calibration, read_calibration
from medillus_pipeline.dicom.colours import palette_colours
from medillus_pipeline.dicom.decoding import PixelError, Skip, decode
from medillus_pipeline.dicom.windows import PRESETS, Depth, VoiLut, Window, apply_voi_lut, apply_window

__all__ = ["PRESETS", "Calibration", "GreyFrame", "calibrated", "colour_frame", "display", "grey_frame", "is_colour"]

TABLE_BITS = 16
"""Stored values of up to this many bits go through lookup tables; deeper ones are computed pixel by pixel."""


@dataclass(frozen=True)
class GreyFrame:
    """A decoded grey frame: stored values (rows, columns), an integer or floating type, and their calibration."""

    stored: np.ndarray
    calibration: Calibration

    @property
    def tabled(self) -> bool:
        """Whether the stored values are few enough to be looked up."""
        return self.stored.dtype.kind in "iu" and self.calibration.bits <= TABLE_BITS

    def calibrated(self, padding: float | None = None) -> np.ndarray:
        """Output values (rows, columns) float32; padding pixels keep their rescaled value, or get `padding`."""
        if self.tabled:
            return _values_table(self.calibration, padding)[self._index()]
        values = self.calibration.values(self.stored).astype(np.float32)
        if padding is not None:
            values[self.calibration.is_padding(self.stored)] = padding
        return values

    def greys(self, window: Window | VoiLut, *, bits: Depth = 8) -> np.ndarray:
        """The frame as shown, (rows, columns), uint8 or uint16 by `bits`: windowed, MONOCHROME1 and INVERSE turned
        over, padding and what is no number black.
        """
        if self.tabled:
            return _greys_table(self.calibration, window, bits)[self._index()]
        return _greys(self.calibration, window, self.stored, bits)

    def lossless(self) -> tuple[np.ndarray, float, float]:
        """The frame with nothing lost, padding included: values (rows, columns) uint16, and the slope and intercept
        that turn them into output values (HU for CT): `values * slope + intercept`.

        Stored values are moved up to start at 0; those of a Modality LUT are its output. Raises PixelError (TOO_DEEP)
        for floating-point pixels and for frames whose values span more than 16 bits.
        """
        calibration = self.calibration
        if self.stored.dtype.kind not in "iu":
            raise PixelError(Skip.TOO_DEEP)
        if calibration.lut is not None:
            values = calibration.values(self.stored)
            return values.astype(np.uint16), 1.0, 0.0
        if self.tabled:
            offset = -(2 ** (calibration.bits - 1)) if calibration.signed else 0
        else:
            offset = int(self.stored.min())
            if int(self.stored.max()) - offset > 0xFFFF:
                raise PixelError(Skip.TOO_DEEP)
        moved = (self.stored.astype(np.int64) - offset).astype(np.uint16)
        return moved, calibration.slope, calibration.intercept + calibration.slope * offset

    def histogram(self) -> tuple[np.ndarray, np.ndarray]:
        """Output values (float64, in no order) and how many pixels have each; without padding and non-numbers."""
        if self.tabled:
            counts = np.bincount(self._index().ravel(), minlength=2**self.calibration.bits)
            present = np.flatnonzero(counts)
            stored = self.calibration.domain()[present]
            counts = counts[present]
        else:
            stored, counts = np.unique(self.stored[np.isfinite(self.stored)], return_counts=True)
        kept = ~self.calibration.is_padding(stored)
        return self.calibration.values(stored[kept]), counts[kept]

    def statistics(self) -> tuple[float, float, float] | None:
        """Least, greatest and mean output value, padding left out; None when nothing but padding is there."""
        if self.calibration.lut is not None or self.stored.dtype.kind == "f":
            values, counts = self.histogram()
            if not len(values):
                return None
            return float(values.min()), float(values.max()), float(values @ counts / counts.sum())
        stored = self.stored
        if self.calibration.padding is not None:
            stored = stored[~self.calibration.is_padding(stored)]
        if not stored.size:
            return None
        found = np.array([stored.min(), stored.max(), stored.mean(dtype=np.float64)], np.float64)
        ends = self.calibration.values(found)
        return float(ends[:2].min()), float(ends[:2].max()), float(ends[2])

    def full_range(self) -> Window:
        """The window that shows every value the pixel's bits can hold: an 8-bit image as it is."""
        values = self.calibration.values(self.calibration.domain() if self.tabled else self.stored)
        low, high = float(values.min()), float(values.max())
        return Window("full-range", (low + high + 1) / 2, high - low + 1)

    def _index(self) -> np.ndarray:
        """Stored values as unsigned table indices: two's complement of `bits` bits."""
        if self.stored.dtype.kind == "u":
            return self.stored
        unsigned = self.stored.view(np.dtype(f"u{self.stored.dtype.itemsize}"))
        return unsigned & unsigned.dtype.type(2**self.calibration.bits - 1)


def calibrated(dataset: Dataset, frame: int = 1, *, padding: float | None = None) -> np.ndarray:
    """Frame `frame` (from 1) in output units of its Modality LUT (HU for CT): (rows, columns) float32.

    Padding pixels keep their rescaled value unless `padding` says what they become. Raises PixelError when the frame
    cannot be decoded or is a colour image.
    """
    return grey_frame(dataset, frame).calibrated(padding)


def display(dataset: Dataset, frame: int, window: Window | VoiLut) -> np.ndarray:
    """Frame `frame` as shown through a window: (rows, columns) uint8, or (rows, columns, 3) for a colour image, to
    which windows do not apply. Raises PixelError when it cannot be decoded.
    """
    return colour_frame(dataset, frame) if is_colour(dataset) else grey_frame(dataset, frame).greys(window)


def is_colour(dataset: Dataset) -> bool:
    """Whether the image is stored in colour: three samples, or a palette."""
    photometric = str(dataset.get("PhotometricInterpretation", "")).strip().upper()
    return photometric == "PALETTE COLOR" or int(dataset.get("SamplesPerPixel", 1) or 1) > 1


def colour_frame(dataset: Dataset, frame: int = 1) -> np.ndarray:
    """Frame `frame` of a colour image as RGB, (rows, columns, 3) uint8; deeper samples keep their upper 8 bits.

    Palettes are applied (PS3.3 C.7.9), YBR is converted, samples of less than 8 bits are stretched.
    Raises PixelError when it cannot be decoded.
    """
    if str(dataset.get("PhotometricInterpretation", "")).strip().upper() == "PALETTE COLOR":
        stored = decode(dataset, frame, raw=True)
        try:
            return palette_colours(stored, dataset)
        except (ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
            raise PixelError(Skip.INVALID_DESCRIPTION) from error
    values = decode(dataset, frame, raw=False)
    if values.ndim != 3 or values.shape[2] != 3:
        raise PixelError(Skip.INVALID_DESCRIPTION)
    bits = int(dataset.BitsStored)
    if bits < 8:
        return np.floor(values / (2.0**bits - 1) * 255.0 + 0.5).astype(np.uint8)
    return np.ascontiguousarray(values >> (bits - 8)).astype(np.uint8)


def grey_frame(dataset: Dataset, frame: int = 1) -> GreyFrame:
    """Decode frame `frame` of a grey image. Raises PixelError when it cannot be decoded or is in colour."""
    if is_colour(dataset):
        raise PixelError(Skip.COLOUR)
    stored = decode(dataset, frame, raw=True)
    if stored.ndim != 2:
        raise PixelError(Skip.INVALID_DESCRIPTION)
    try:
        calibration = read_calibration(dataset, frame, floating=stored.dtype.kind == "f")
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise PixelError(Skip.INVALID_DESCRIPTION) from error
    return GreyFrame(stored, calibration)


@lru_cache(maxsize=16)
def _values_table(calibration: Calibration, padding: float | None) -> np.ndarray:
    domain = calibration.domain()
    values = calibration.values(domain).astype(np.float32)
    if padding is not None:
        values[calibration.is_padding(domain)] = padding
    return values


@lru_cache(maxsize=64)
def _greys_table(calibration: Calibration, window: Window | VoiLut, bits: Depth) -> np.ndarray:
    return _greys(calibration, window, calibration.domain(), bits)


def _greys(calibration: Calibration, window: Window | VoiLut, stored: np.ndarray, bits: Depth) -> np.ndarray:
    values = calibration.values(stored)
    apply = apply_window if isinstance(window, Window) else apply_voi_lut
    greys = apply(values, window, bits=bits)  # pyright: ignore[reportArgumentType]
    if calibration.inverted:
        greys = (2**bits - 1) - greys
    greys[calibration.is_padding(stored)] = 0
    return greys
