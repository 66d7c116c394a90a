"""The image of a textbook plate: each structure in its colour, lit from above left, with the image's own texture kept.

What no structure covers is coloured by what it is: air outside the body is paper, and in CT fat, soft tissue and bone
have each a colour. What is not here: outlines and labels (`plate.py`).
"""

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

GROUND = ("#f6e4bb", "#cf8f80")
"""Fat and soft tissue, before which labelled structures stand."""

_PAPER = (255.0, 255.0, 255.0)
_TEXTURE, _RELIEF, _SOFTENING = 0.34, 0.13, 0.22
_RIM = 14.0
_SKIN_HU, _SKIN = -110.0, 6
_HU_COLOURS = (
    (-1000.0, (58.0, 66.0, 78.0)),
    (-300.0, (92.0, 92.0, 98.0)),
    (-150.0, (250.0, 234.0, 196.0)),
    (-60.0, (246.0, 226.0, 184.0)),
    (10.0, (220.0, 160.0, 142.0)),
    (90.0, (202.0, 132.0, 116.0)),
    (220.0, (236.0, 222.0, 192.0)),
    (900.0, (252.0, 246.0, 230.0)),
)


def shaded(
    values: np.ndarray,
    grey: np.ndarray,
    labels: np.ndarray,
    colours: Mapping[int, str],
    *,
    modality: str,
    body: np.ndarray,
) -> np.ndarray:
    """The plate's image (h, w, 3), uint8.

    Args:
        values: (h, w) calibrated values, HU for CT.
        grey: (h, w) the same through the window, uint8.
        labels: (h, w) ids, 0 where nothing is labelled.
        colours: id → `#rrggbb`; ids without one (a backdrop) are coloured as tissue.
        modality: DICOM Modality.
        body: (h, w) how much of each pixel is body, 0 to 1, holes included.
    """
    light = grey.astype(np.float32) / 255
    if modality == "CT":
        # At the skin a pixel is half air, which would be drawn as a dark rim.
        rim = np.asarray(ndimage.distance_transform_edt(body > 0)) <= _SKIN
        values = np.where(rim, np.maximum(values, _SKIN_HU), values)
    picture = _tissue(values, light, modality)
    for identifier, colour in colours.items():
        inside = labels == identifier
        if not inside.any():
            continue
        # Texture is what the structure has about its own mean: a dark organ keeps its colour as a bright one does.
        texture = np.clip((light - float(light[inside].mean())) * 2, -1, 1)
        shade = 1 + _TEXTURE * texture + _RELIEF * _relief(inside)
        base = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], np.float32)
        base = base + _SOFTENING * (235 - base)
        toned = base[None, None, :] * shade[..., None]
        picture[inside] = toned[inside]
    covered = np.where(labels > 0, 1.0, body)[..., None].astype(np.float32)
    picture = picture * covered + np.array(_PAPER, np.float32) * (1 - covered)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _tissue(values: np.ndarray, light: np.ndarray, modality: str) -> np.ndarray:
    """(h, w, 3) float32: tissue colours by HU; a warm grey scale for modalities without a scale of their own."""
    if modality == "CT":
        stops = [hu for hu, _ in _HU_COLOURS]
        channels = [np.interp(values, stops, [c[i] for _, c in _HU_COLOURS]) for i in range(3)]
        toned = np.stack(channels, axis=-1) * (0.94 + 0.1 * light[..., None])
    else:
        dark, bright = np.array((52.0, 44.0, 46.0)), np.array((250.0, 232.0, 214.0))
        toned = dark + (bright - dark) * light[..., None]
    return toned.astype(np.float32)


def _relief(inside: np.ndarray) -> np.ndarray:
    """How much a rounded body of this outline faces a light from above left, -1 to 1."""
    depth = np.asarray(ndimage.distance_transform_edt(inside), np.float32)
    depth = np.minimum(depth, _RIM)
    height = ndimage.gaussian_filter(np.sqrt(depth * (2 * _RIM - depth)), 2.0)
    slope_y, slope_x = np.gradient(height)
    return np.clip(0.8 * (slope_x + slope_y), -1, 1)
