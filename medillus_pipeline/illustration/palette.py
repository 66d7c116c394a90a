"""Which colour each structure of a figure has: the vocabulary's, or one that people with dichromacy tell apart.

Colour vision is simulated as G. M. Machado, M. M. Oliveira and L. A. F. Fernandes do (A physiologically-based model for
simulation of color vision deficiency, IEEE TVCG 15(6), 2009), severity 1, on linear sRGB; two colours are as far apart
as in the worst of four eyes: usual, protan, deutan, tritan (CIEDE2000). Colours are given so that structures that touch
come out far apart; `least_distance` says how far. What is not here: what a press can print (`print_colours.py`).
"""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

import numpy as np

from medillus_pipeline.annotation.vocabulary import Structure
from medillus_pipeline.illustration.request import PaletteName

Pair = frozenset[int]

LESION_RED = "#d81e1e"
LESIONS = ("lesion", "target")
"""Kinds of structures that a patient's figure shows in red."""

_QUIET = "#8fa3b5"
_CLEAR = 15.0
"""ΔE from which on two patches side by side are told apart without looking twice."""
_REACH = 6
# Machado et al. 2009, table 1, severity 1.0.
_EYES = {
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
# Hues of M. Okabe and K. Ito (Color universal design, 2008), each lighter and darker, without their black.
_HUES = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
_SHADES = (0.55, 0.0, -0.38)


def colours(
    structures: Sequence[Structure],
    neighbours: Collection[Pair],
    palette: PaletteName = "vocabulary",
    *,
    avoid: Sequence[str] = (),
) -> dict[int, str]:
    """Vocabulary id → `#rrggbb`. With `colour-blind`, the same structures and neighbours get the same colours.

    Args:
        structures: those of the figure.
        neighbours: pairs of ids that touch, as `touching` gives them.
        palette: the vocabulary's colours, or those that dichromats tell apart.
        avoid: colours of the ground, which structures must stand out from too.
    """
    if palette == "vocabulary":
        return {s.id: s.colour for s in structures}
    shades = candidates()
    distances = _distances((*shades, *avoid))
    ground = list(range(len(shades), len(shades) + len(avoid)))
    beside: dict[int, set[int]] = {s.id: set() for s in structures}
    for pair in neighbours:
        first, second = sorted(pair)
        if first in beside and second in beside:
            beside[first].add(second)
            beside[second].add(first)
    given: dict[int, int] = {}
    for identifier in sorted(beside, key=lambda i: (-len(beside[i]), i)):
        near = [given[i] for i in beside[identifier] if i in given] + ground
        others = list(given.values())

        def score(shade: int, near: list[int] = near, others: list[int] = others) -> tuple[float, float, int]:
            # Beyond a clear difference to what it touches, a colour had better not stand elsewhere too.
            clear = min((float(distances[shade, n]) for n in near), default=_CLEAR)
            return min(clear, _CLEAR), min((float(distances[shade, o]) for o in others), default=_CLEAR), -shade

        given[identifier] = max(range(len(shades)), key=score)
    return {identifier: shades[shade] for identifier, shade in given.items()}


def for_patients(structures: Sequence[Structure]) -> dict[int, str]:
    """What is ill in red, all else in one quiet colour."""
    return {s.id: LESION_RED if s.kind in LESIONS else _QUIET for s in structures}


def least_distance(chosen: Mapping[int, str], pairs: Collection[Pair]) -> float | None:
    """The least ΔE (CIEDE2000) between two structures that touch, in the worst of four eyes; None where none touch."""
    found = [worst_distance(*(chosen[i] for i in sorted(p))) for p in pairs if all(i in chosen for i in p)]
    return min(found) if found else None


def worst_distance(first: str, second: str) -> float:
    """ΔE (CIEDE2000) of two colours in the eye that tells them apart least."""
    return float(_distances((first, second))[0, 1])


def touching(labels: np.ndarray, reach: int = _REACH) -> set[Pair]:
    """Pairs of ids in a label map (h, w) that come within so many pixels along a row or a column."""
    pairs: set[Pair] = set()
    for step in {1, max(1, reach // 2), reach}:
        for a, b in ((labels[:, :-step], labels[:, step:]), (labels[:-step], labels[step:])):
            met = (a != b) & (a > 0) & (b > 0)
            codes = np.unique(a[met].astype(np.int64) * 65536 + b[met])
            pairs |= {frozenset((int(c) // 65536, int(c) % 65536)) for c in codes}
    return pairs


@lru_cache(maxsize=1)
def candidates() -> tuple[str, ...]:
    """The colours to choose from, those of Okabe and Ito first."""
    return tuple(_mixed(hue, share) for share in (0.0, *(s for s in _SHADES if s)) for hue in _HUES)


def as_seen(rgb: np.ndarray, eye: str) -> np.ndarray:
    """Colours (n, 3), sRGB 0 to 1, as a protan, deutan or tritan eye sees them, in sRGB."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(_EYES[eye]).T, 0, 1)
    return np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)


@lru_cache(maxsize=64)
def _distances(shades: tuple[str, ...]) -> np.ndarray:
    """(n, n) least ΔE over the four eyes."""
    from skimage.color import deltaE_ciede2000, rgb2lab

    rgb = np.array([_rgb(s) for s in shades]) / 255
    worst = np.full((len(shades), len(shades)), np.inf)
    for view in (rgb, *(as_seen(rgb, eye) for eye in _EYES)):
        lab = np.asarray(rgb2lab(view[None]))[0]
        worst = np.minimum(worst, deltaE_ciede2000(lab[:, None], lab[None, :]))
    return worst


def _mixed(colour: str, share: float) -> str:
    """A colour towards white (share above 0) or black (below)."""
    end = 255 if share > 0 else 0
    return "#" + "".join(f"{round(v + (end - v) * abs(share)):02x}" for v in _rgb(colour))


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
