"""A picture file of a drawing, made safe: PNG or JPEG bytes → RGB values, turned upright, not larger than needed.

Nothing is decoded before its size is known to be bearable. SVG is in `svg_file.py`, what is ink in `ink.py`.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from medillus_pipeline.errors import InputError

GREATEST_BYTES = 30 << 20
GREATEST_PIXELS = 50_000_000
GREATEST_SIDE = 20_000
WORKING_SIDE = 1024
"""Pixels along the longer side that a picture is worked on with: a stroke of 0.3 mm on A4 still covers one."""

LEAST_SIDE = 16


def rgb_of(data: bytes) -> NDArray[np.float32]:
    """(h, w, 3) float32 in 0 … 1 of a PNG or JPEG, upright by its EXIF orientation, at most 1024 pixels a side.

    What is transparent is white sheet. Raises InputError for another kind of file, a damaged one, and one with more
    than 30 MB, 50 million pixels or 20,000 pixels a side, which is told from its header.
    """
    if len(data) > GREATEST_BYTES:
        raise InputError(f"the sketch has {len(data) >> 20} MB, more than {GREATEST_BYTES >> 20}: send a smaller photo")
    try:
        with Image.open(io.BytesIO(data), formats=["PNG", "JPEG"]) as picture:
            _refuse_size(*picture.size)
            if picture.format == "JPEG":
                picture.draft("RGB", (2 * WORKING_SIDE, 2 * WORKING_SIDE))
            upright = ImageOps.exif_transpose(_on_white(picture))
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        limit = GREATEST_PIXELS // 1_000_000
        raise InputError(f"the sketch has far more than {limit} million pixels: send it smaller") from error
    except Image.UnidentifiedImageError as error:
        raise InputError("the sketch is no PNG or JPEG: send one of these, or an SVG") from error
    except (OSError, SyntaxError, ValueError, KeyError, IndexError, TypeError, EOFError) as error:
        raise InputError("the sketch's picture file is damaged: export it again") from error
    upright.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.BOX)
    return np.asarray(upright, np.float32) / np.float32(255)


def _refuse_size(width: int, height: int) -> None:
    if width * height > GREATEST_PIXELS or max(width, height) > GREATEST_SIDE:
        raise InputError(
            f"the sketch has {width} × {height} pixels, more than {GREATEST_PIXELS // 1_000_000} million or than "
            f"{GREATEST_SIDE} a side: send it smaller"
        )
    if min(width, height) < LEAST_SIDE:
        raise InputError(f"the sketch has {width} × {height} pixels: too few to hold a drawing")


def _on_white(picture: Image.Image) -> Image.Image:
    """The picture in RGB, keeping its EXIF; 16 bits are scaled, since a plain conversion would clip them."""
    exif = picture.getexif()
    if picture.mode.startswith("I"):
        values = np.asarray(picture, np.float32)
        plain = Image.fromarray((values / max(float(values.max()), 1) * 255).astype(np.uint8)).convert("RGB")
    elif picture.has_transparency_data:
        with_alpha = picture.convert("RGBA")
        plain = Image.new("RGB", picture.size, "white")
        plain.paste(with_alpha, mask=with_alpha.getchannel("A"))
    else:
        plain = picture.convert("RGB")
    if exif:
        plain.info["exif"] = exif.tobytes()
    return plain
