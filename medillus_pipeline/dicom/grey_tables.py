"""A grey for each 16-bit word of a series, and the same greys by arithmetic where the table is a straight ramp.

Looking 262144 words up takes twice as long as clipping them to the ramp of a window and multiplying: processors do the
latter many words at a time. A ramp is used only where it gave the table's grey for every word that the series can hold.
What the table is made from, and for which slices it stands, is not here (`native.py`).
"""

from dataclasses import dataclass, field

import numpy as np

_SCRATCH: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]] = {}
"""Memory that frames of one shape are worked out in, the last shape's only."""


@dataclass(frozen=True)
class _Ramp:
    """Words are clipped to `least` and `most`; the grey is the whole part of `word * slope + offset`."""

    least: int
    most: int
    slope: np.float32
    offset: np.float32

    def greys(self, stored: np.ndarray) -> np.ndarray:
        """Greys, uint8, of stored values (rows, columns), uint16 or int16."""
        if stored.shape not in _SCRATCH:
            _SCRATCH.clear()
            _SCRATCH[stored.shape] = np.empty(stored.shape, np.uint16), np.empty(stored.shape, np.float32)
        words, numbers = _SCRATCH[stored.shape]
        words = words.view(stored.dtype)
        np.clip(stored, stored.dtype.type(self.least), stored.dtype.type(self.most), out=words)
        numbers[...] = words
        np.multiply(numbers, self.slope, out=numbers)
        np.add(numbers, self.offset, out=numbers)
        return numbers.astype(np.uint8)


@dataclass(frozen=True)
class GreyTable:
    """`greys` (65536,) uint8 by word; a word is the two's complement of a stored value of `bits` bits, signed or not.

    `width` is that of the window behind the table in stored values, None where it is no linear window.
    """

    greys: np.ndarray
    bits: int
    signed: bool
    width: float | None
    _ramp: _Ramp | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ramp", self._straight())

    @property
    def is_ramp(self) -> bool:
        """Whether greys are worked out rather than looked up."""
        return self._ramp is not None

    def of(self, words: np.ndarray) -> np.ndarray:
        """The greys, uint8, of words (rows, columns) uint16 that stand for values of `bits` bits."""
        if self._ramp is not None:
            return self._ramp.greys(words.view("<i2") if self.signed else words)
        picture = np.empty(words.shape, np.uint8)
        np.take(self.greys, words, out=picture, mode="wrap")  # no word is out of range; "raise" would make a copy
        return picture

    def _straight(self) -> _Ramp | None:
        """The ramp that gives the same greys; None where there is none, or only one that rounding puts off."""
        if not self.width:
            return None
        low = -(2 ** (self.bits - 1)) if self.signed else 0
        values = np.arange(low, low + 2**self.bits).astype("<i2" if self.signed else "<u2")
        table = self.greys[values.view("<u2")]
        changes = np.flatnonzero(np.diff(table.astype(np.int64)))
        if not len(changes):
            return None
        first, last = int(changes[0]), int(changes[-1]) + 1
        x, y = values[first : last + 1].astype(np.float64), table[first : last + 1].astype(np.float64)
        for width in (self.width, self.width - 1):  # LINEAR_EXACT, LINEAR
            if width <= 0:
                continue
            slope = 255.0 / width if y[-1] > y[0] else -255.0 / width
            offset = (np.max(y - x * slope) + np.min(y + 1 - x * slope)) / 2
            ramp = _Ramp(int(x[0]), int(x[-1]), np.float32(slope), np.float32(offset))
            if np.array_equal(ramp.greys(values.reshape(1, -1))[0], table):
                return ramp
        return None
