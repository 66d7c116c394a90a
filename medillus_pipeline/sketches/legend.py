"""Which strokes a drawer has named: by a colour of an explicit legend.

A legend says what a colour means; a colour that is not in it is ink like any other. Names of SVG groups come from
`svg_file.py`, what strokes enclose from `strokes.py`.
"""

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.errors import InputError
from medillus_pipeline.sketches.ink import paper_light

LEAST_CHROMA = 0.15
"""Spread of the channels' shares below which a colour is grey, and a stroke of it like any other."""

LEAST_LIKENESS = 0.94
"""Cosine between a stroke's colour and the legend's, both less their grey part, from which they are the same."""

LEAST_STROKE_CHROMA = 0.12


def legend_keys(legend: Mapping[str, str], vocabulary: Vocabulary) -> dict[tuple[float, float, float], str]:
    """Colour (red, green, blue in 0 … 1) → key, of a legend `#rrggbb` → key or name.

    Raises InputError for a malformed or grey colour, a name that the vocabulary does not know, and two colours of one
    hue with two meanings.
    """
    found: dict[tuple[float, float, float], str] = {}
    for colour, name in legend.items():
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", colour):
            raise InputError(f"the legend's colour {colour[:20]!r} is malformed: write it as #rrggbb")
        structure = vocabulary.resolve(name)
        if structure is None:
            close = ", ".join(vocabulary.suggest(name[:80])) or "none comes close"
            raise InputError(f"the legend names the unknown structure {name[:80]!r} ({close})")
        rgb = (int(colour[1:3], 16) / 255, int(colour[3:5], 16) / 255, int(colour[5:7], 16) / 255)
        if max(rgb) - min(rgb) < LEAST_CHROMA:
            raise InputError(f"the legend's colour {colour} is grey, as plain strokes are: choose a hue")
        for other, key in found.items():
            if key != structure.key and _likeness(np.array(rgb), np.array(other)) > LEAST_LIKENESS:
                raise InputError(f"two of the legend's colours are one hue ({key}, {structure.key}): choose another")
        found[rgb] = structure.key
    return found


def coloured(
    rgb: NDArray[np.floating],
    ink: NDArray[np.floating],
    colours: Mapping[tuple[float, float, float], str],
    *,
    dark: bool,
) -> dict[str, NDArray[np.float32]]:
    """Key → the ink (h, w) of that colour's strokes, of a sheet (h, w, 3) in 0 … 1 and its ink (h, w).

    Uneven or coloured light is divided out first. `dark` says whether strokes are darker than the sheet.
    """
    if not colours:
        return {}
    light = np.stack([paper_light(rgb[..., channel], dark=dark) for channel in range(3)], -1)
    flat = np.clip(rgb / np.maximum(light, 0.02), 0, 1) if dark else np.clip(rgb - light, 0, 1)
    # A stroke is a mixture of sheet and ink: what it takes from the sheet, or adds to it, has the ink's own hue.
    change = (1 - flat) if dark else flat
    wanted = np.array([[1 - part for part in colour] if dark else colour for colour in colours], np.float32)
    hue, wanted_hue = _hue(change), _hue(wanted)
    chroma = np.linalg.norm(hue, axis=-1)
    strength = np.maximum(change.max(-1), 0.05)
    likeness = (hue @ wanted_hue.T) / np.maximum(chroma[..., None] * np.linalg.norm(wanted_hue, axis=-1), 1e-6)
    best = likeness.argmax(-1)
    sure = (likeness.max(-1) > LEAST_LIKENESS) & (chroma / strength > LEAST_STROKE_CHROMA) & (ink > 0.3)
    found: dict[str, NDArray[np.float32]] = {}
    for index, key in enumerate(colours.values()):
        own = np.where(sure & (best == index), ink, 0).astype(np.float32)
        found[key] = np.maximum(found[key], own) if key in found else own
    return {key: own for key, own in found.items() if (own > 0.4).sum() > 8}


def _hue(colour: NDArray[np.floating]) -> NDArray[np.floating]:
    """A colour less its grey part."""
    return colour - colour.mean(-1, keepdims=True)


def _likeness(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    a, b = _hue(first), _hue(second)
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-6))
