"""A sheet of slices with their masks in colour: what a person looks at before believing a batch.

Fill is translucent so that the anatomy shows through, outlines are solid. Captions hold ordinals and counts; nothing
that identifies. What is not here: publication figures with labels (`illustration`).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from medillus_pipeline.annotation.review.worst_slices import choose
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.dicom.png import decode_png, encode_png
from medillus_pipeline.zones import Zone

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

TILE, CAPTION, GAP, LEGEND_ROW, LEGEND_COLUMN = 288, 40, 6, 20, 216
FILL, MARGIN = 0.4, 0.05
"""Opacity of a structure's fill; border around the part of a slice that is shown, as a share of its longer side."""
BACKGROUND, INK, FAINT = 24, 235, 170
VISIBLE_GREY, WORTH_SHOWING = 12, 0.05
"""A tile is cut to what is brighter than this grey value and in one piece of at least this share of the largest: the
patient, arms included, without most of the table.
"""


def overlay_sheet(
    masks: Sequence[Mapping[str, Any]],
    slices: Sequence[Mapping[str, Any]],
    clean: Zone,
    vocabulary: Vocabulary,
    maximum: int = 12,
    *,
    findings: Sequence[Mapping[str, Any]] = (),
    agreement: Sequence[Mapping[str, Any]] = (),
) -> bytes:
    """A PNG with at most `maximum` masks (rows of MASKS) over their slices (rows of SLICES) at true aspect, and a
    legend of the structures that appear: up to half of them the worst, then some from the middle
    (`worst_slices.choose`, which also says what `findings` and `agreement` are). Masks whose slice is not among
    `slices` are left out; without any the sheet says so.
    """
    from PIL import Image, ImageDraw, ImageFont

    worst, median = choose(masks, slices, worst=maximum // 2, median=maximum, findings=findings, agreement=agreement)
    shown = [*worst, *median][:maximum]
    present = sorted({label for one in shown for label in one.mask["labels"]})
    palette = np.frombuffer(vocabulary.palette(), np.uint8).reshape(256, 3)
    tiles = [
        _tile(decode_png(clean.read(one.row["path"])), decode_png(clean.read(one.mask["path"])), one.row, palette)
        for one in shown
    ]
    across = max(1, min(len(shown), int(np.ceil(np.sqrt(len(shown))))))
    heights = [max(tile.height for tile in tiles[i : i + across]) for i in range(0, len(tiles), across)] or [TILE]
    tops = [GAP + sum(heights[:i]) + i * (CAPTION + GAP) for i in range(len(heights) + 1)]
    width = max(across * (TILE + GAP) + GAP, LEGEND_COLUMN + 2 * GAP)
    columns = max(1, (width - GAP) // LEGEND_COLUMN)
    legend_top = tops[-1] + GAP
    height = legend_top + -(-len(present) // columns) * LEGEND_ROW + GAP
    sheet = Image.new("RGB", (width, height), (BACKGROUND,) * 3)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    if not shown:
        draw.text((2 * GAP, TILE // 2), "no masks to show", fill=(INK,) * 3, font=font)
    for number, (one, tile) in enumerate(zip(shown, tiles, strict=True)):
        mask, row = one.mask, one.row
        left = GAP + (number % across) * (TILE + GAP)
        top, room = tops[number // across], heights[number // across]
        sheet.paste(tile, (left + (TILE - tile.width) // 2, top + (room - tile.height) // 2))
        few = "structure" if len(mask["labels"]) == 1 else "structures"
        text = f"{row['modality']} slice {row['ordinal'] + 1} · {len(mask['labels'])} {few} · {mask['source_format']}"
        draw.text((left + 2, top + room + 3), text, fill=(INK,) * 3, font=font)
        why = f"worst: {one.badness}" if number < len(worst) else f"median: {one.badness}"
        draw.text((left + 2, top + room + 20), why, fill=(FAINT,) * 3, font=font)
    for number, identifier in enumerate(present):
        left = GAP + (number % columns) * LEGEND_COLUMN
        top = legend_top + (number // columns) * LEGEND_ROW
        structure = vocabulary.by_id(identifier)
        draw.rectangle((left, top + 2, left + 14, top + 14), fill=structure.rgb, outline=(INK,) * 3)
        draw.text((left + 20, top), structure.name_en, fill=(INK,) * 3, font=font)
    return encode_png(np.asarray(sheet))


def _tile(picture: np.ndarray, labels: np.ndarray, row: Mapping[str, Any], palette: np.ndarray) -> "Picture":
    """The slice and its mask as an RGB picture that fits a tile; empty borders are cut off."""
    from PIL import Image

    box = shown_box(picture, labels > 0)
    size = fitted(box, row["pixel_spacing"], TILE)
    base = Image.fromarray(picture).convert("RGB").crop(box).resize(size, Image.Resampling.BICUBIC)
    drawn = np.asarray(Image.fromarray(labels).crop(box).resize(size, Image.Resampling.NEAREST))
    pixels, colours = np.asarray(base).astype(np.float32), palette[drawn].astype(np.float32)
    inside = drawn > 0
    opacity = np.where(outline(drawn), 1.0, FILL)[..., None] * inside[..., None]
    return Image.fromarray(np.round(pixels * (1 - opacity) + colours * opacity).astype(np.uint8))


def shown_box(picture: np.ndarray, drawn: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the part of a slice worth showing: the patient and everything drawn (bool mask)."""
    grey = picture if picture.ndim == 2 else picture.max(axis=2)
    return _content(_pieces(grey > VISIBLE_GREY) | drawn)


def fitted(box: tuple[int, int, int, int], spacing: Sequence[float] | None, longest: int) -> tuple[int, int]:
    """Width and height in pixels at which a part of a slice has its true aspect and `longest` as its longer side."""
    down, across = spacing or (1.0, 1.0)
    high, wide = (box[3] - box[1]) * down, (box[2] - box[0]) * across
    scale = longest / max(high, wide)
    return max(1, round(wide * scale)), max(1, round(high * scale))


def _pieces(bright: np.ndarray) -> np.ndarray:
    """The larger connected pieces of a bool image (height, width)."""
    from scipy.ndimage import label

    numbered = np.zeros(bright.shape, np.int32)
    label(bright, output=numbered)
    sizes = np.bincount(numbered.ravel())
    sizes[0] = 0
    return (sizes >= max(1.0, WORTH_SHOWING * sizes.max()))[numbered]


def _content(shows: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what shows, with a margin; the whole slice where nothing does."""
    height, width = shows.shape
    down, across = np.flatnonzero(shows.any(axis=1)), np.flatnonzero(shows.any(axis=0))
    if not len(down):
        return 0, 0, width, height
    margin = round(MARGIN * max(len(down), len(across)))
    return (
        max(0, int(across[0]) - margin),
        max(0, int(down[0]) - margin),
        min(width, int(across[-1]) + 1 + margin),
        min(height, int(down[-1]) + 1 + margin),
    )


def outline(labels: np.ndarray) -> np.ndarray:
    """Pixels whose right, left, upper or lower neighbour has another label."""
    edge = np.zeros(labels.shape, bool)
    across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge
