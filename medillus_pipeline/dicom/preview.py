"""Small pictures for people who look at a delivery: a contact sheet, and a thumbnail that fits into metadata.

Captions hold ordinals, windows and sizes; nothing that identifies. What is not here: the slices themselves.
"""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medillus_pipeline.dicom.png import decode_png, encode_png
from medillus_pipeline.zones import Zone

TILE, CAPTION, GAP = 208, 34, 6
BACKGROUND, INK, FAINT = 24, 235, 160


def contact_sheet(slices: Sequence[Mapping[str, Any]], clean: Zone, maximum: int = 24) -> bytes:
    """A PNG with at most `maximum` slices, evenly sampled in reading order (patient, series, position), at their true
    aspect, each with its series (numbered on the sheet), its place in it, and its window.

    `slices` are rows of SLICES. Without any the sheet says so.
    """
    from PIL import Image, ImageDraw, ImageFont

    places = [(row["patient"], row["series_instance_uid"], row["ordinal"]) for row in slices]
    ordered = sorted(range(len(places)), key=places.__getitem__)
    lengths = Counter(places[number][1] for number in ordered)
    series = {uid: n for n, uid in enumerate(lengths, start=1)}
    middle = (np.arange(maximum) + 0.5) * len(ordered) / maximum
    some = ordered if len(ordered) <= maximum else [ordered[int(i)] for i in middle]
    chosen = [slices[number] for number in some]
    across = max(1, min(len(chosen), int(np.ceil(np.sqrt(len(chosen) * 1.5)))))
    down = max(1, -(-len(chosen) // across))
    sheet = Image.new("RGB", (across * (TILE + GAP) + GAP, down * (TILE + CAPTION + GAP) + GAP), (BACKGROUND,) * 3)
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(14), ImageFont.load_default(12)
    if not chosen:
        draw.text((GAP * 2, TILE // 2), "no slices in this delivery", fill=(INK,) * 3, font=large)
    for number, row in enumerate(chosen):
        left = GAP + (number % across) * (TILE + GAP)
        top = GAP + (number // across) * (TILE + CAPTION + GAP)
        picture = Image.fromarray(decode_png(clean.read(row["path"])))
        down_mm, across_mm = row["pixel_spacing"] or (1.0, 1.0)
        high, wide = down_mm * row["rows"], across_mm * row["columns"]
        scale = TILE / max(high, wide)
        size = max(1, round(wide * scale)), max(1, round(high * scale))
        tile = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        sheet.paste(tile, (left + (TILE - size[0]) // 2, top + (TILE - size[1]) // 2))
        uid = row["series_instance_uid"]
        text = f"series {series[uid]} · {row['modality']} · {row['ordinal'] + 1} of {lengths[uid]}"
        draw.text((left + 2, top + TILE + 2), text, fill=(INK,) * 3, font=large)
        draw.text((left + 2, top + TILE + 19), _window_text(row), fill=(FAINT,) * 3, font=small)
    pixels = np.asarray(sheet)
    grey = bool((pixels == pixels[..., :1]).all())
    return encode_png(np.ascontiguousarray(pixels[..., 0]) if grey else pixels)


def thumbnail(png: bytes, *, maximum: int = 20_000) -> bytes:
    """A PNG shrunk, aspect kept, until its base64 `data:` address has at most `maximum` characters.

    For a picture inside Dagster metadata. Raises ValueError when the bytes are no PNG or nothing fits.
    """
    from PIL import Image

    decoded = Image.fromarray(decode_png(png))
    picture = decoded if decoded.mode == "L" else decoded.convert("RGB")
    for longest in (320, 256, 224, 192, 160, 128, 96, 64, 32, 8):
        small = picture.copy()
        small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
        few = small.quantize(64 if small.mode == "RGB" else 32, dither=Image.Dither.NONE)
        sink = io.BytesIO()
        few.save(sink, "PNG", optimize=True)
        if len("data:image/png;base64,") + 4 * -(-sink.tell() // 3) <= maximum:
            return sink.getvalue()
    raise ValueError(f"no picture fits into {maximum} characters")


def _window_text(row: Mapping[str, Any]) -> str:
    if row["window_center"] is None:
        return str(row["window"])
    return f"{row['window']} {row['window_center']:.4g}/{row['window_width']:.4g}"
