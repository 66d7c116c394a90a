"""Colours that four inks can print: which inks a colour needs, and how those inks then look.

Coated paper by ISO 12647-2:2004, paper type 1, in the Neugebauer model with the Yule-Nielsen correction: the colour of
a halftone is the mean of the colours of the eight overprints of cyan, magenta and yellow, weighted by the area that
each covers (Demichel), black over all. The colours of solids and overprints are those of the standard's table. It is
no colour management: a press with a profile of its own prints closer, but what this model can print, it can too.
What is not here: colours of structures (`palette.py`), writing inks to a file (`pdf.py`).
"""

from functools import lru_cache

import numpy as np

Inks = tuple[float, float, float, float]
"""Cyan, magenta, yellow, black; shares 0 to 1."""

MOST_INK = 3.0
"""Sum of the four that coated sheets take before ink sets off on the next sheet: 300%."""

_YULE_NIELSEN = 1.7
_LAB = {
    (0, 0, 0): (95.0, 0.0, -2.0),
    (1, 0, 0): (55.0, -37.0, -50.0),
    (0, 1, 0): (48.0, 74.0, -3.0),
    (0, 0, 1): (89.0, -5.0, 93.0),
    (0, 1, 1): (47.0, 68.0, 48.0),
    (1, 0, 1): (50.0, -65.0, 27.0),
    (1, 1, 0): (24.0, 22.0, -46.0),
    (1, 1, 1): (23.0, 0.0, 0.0),
}
_BLACK_LAB = (16.0, 0.0, 0.0)
_GREYS = 6


def printed(colour: str) -> str:
    """The colour, `#rrggbb`, that the inks for `colour` give: itself where it can be printed, else the nearest."""
    return _hexadecimal(_appearance(np.array(inks(colour))))


@lru_cache(maxsize=512)
def inks(colour: str) -> Inks:
    """The inks, in whole percent, whose mixture comes closest to an sRGB colour `#rrggbb` (CIE76 in CIELAB).

    Neutral colours take black only, so that text and hairlines need no register.
    """
    from scipy.optimize import minimize

    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    if max(red, green, blue) - min(red, green, blue) <= _GREYS:
        return (0.0, 0.0, 0.0, round(1 - (red + green + blue) / 765, 2))
    wanted = _lab(np.array([red, green, blue]) / 255)

    def distance(mixture: np.ndarray) -> float:
        return float(np.sum((_lab(_appearance(np.append(mixture, 0.0))) - wanted) ** 2))

    starts = [1 - np.array([red, green, blue]) / 255, np.full(3, 0.5)]
    found = [minimize(distance, start, bounds=[(0, 1)] * 3, method="L-BFGS-B") for start in starts]
    cyan, magenta, yellow = (float(round(v, 2)) for v in min(found, key=lambda f: f.fun).x)
    return cyan, magenta, yellow, 0.0


def _appearance(mixture: np.ndarray) -> np.ndarray:
    """sRGB (3,), 0 to 1, of inks (4,) on the paper, the paper's own colour taken as white."""
    cmy, black = mixture[:3], mixture[3]
    total = np.zeros(3)
    for solids, primary in _primaries().items():
        weight = float(np.prod([c if solid else 1 - c for c, solid in zip(cmy, solids, strict=True)]))
        total += weight * ((1 - black) * primary + black * _black())
    return _from_xyz(total**_YULE_NIELSEN)


@lru_cache(maxsize=1)
def _primaries() -> dict[tuple[int, int, int], np.ndarray]:
    """XYZ relative to the paper, to the power 1/n."""
    paper = _xyz(_LAB[(0, 0, 0)])
    return {solids: (_xyz(lab) / paper) ** (1 / _YULE_NIELSEN) for solids, lab in _LAB.items()}


@lru_cache(maxsize=1)
def _black() -> np.ndarray:
    return (_xyz(_BLACK_LAB) / _xyz(_LAB[(0, 0, 0)])) ** (1 / _YULE_NIELSEN)


def _xyz(lab: tuple[float, float, float]) -> np.ndarray:
    """CIELAB to XYZ relative to the white point."""
    height = (lab[0] + 16) / 116
    each = np.array([height + lab[1] / 500, height, height - lab[2] / 200])
    return np.where(each > 6 / 29, each**3, 3 * (6 / 29) ** 2 * (each - 4 / 29))


def _lab(rgb: np.ndarray) -> np.ndarray:
    from skimage.color import rgb2lab

    return np.asarray(rgb2lab(rgb.reshape(1, 1, 3)))[0, 0]


def _from_xyz(relative: np.ndarray) -> np.ndarray:
    """sRGB of an XYZ that is relative to the white point (D50 on paper, D65 on screens: the white stays white)."""
    from skimage.color import xyz2rgb

    white = np.array([0.95047, 1.0, 1.08883])
    return np.clip(np.asarray(xyz2rgb((relative * white).reshape(1, 1, 3)))[0, 0], 0, 1)


def _hexadecimal(rgb: np.ndarray) -> str:
    return "#" + "".join(f"{round(float(v) * 255):02x}" for v in rgb)
