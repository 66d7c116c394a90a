"""PNG masks: one file per structure, or one per slice whose values or colours are named.

A mask of one structure shows two things, background (black, 0 or transparent) and one other value; a smoothed edge
makes more, and is refused: which of its greys are inside was never decided. A map of several structures is grey or
indexed, its values named by an index or label description; or in exactly the colours of a label description; or one of
our own label PNGs, known by its palette. Sizes are compared before anything is unpacked. What is not here: which slice
a picture belongs to (`side_files.py`).
"""

import io
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medillus_pipeline.annotation.drawing import Drawing
from medillus_pipeline.annotation.formats.volume_index import MaskEntry
from medillus_pipeline.annotation.label_map import trimmed
from medillus_pipeline.annotation.outcomes import Outcome, Reason, Refused
from medillus_pipeline.annotation.slice_index import SliceIndex, Target
from medillus_pipeline.annotation.vocabulary import Structure, Vocabulary
from medillus_pipeline.dicom.png import SIGNATURE

FORMAT = "png"
GREY, RGB, INDEXED, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
DEPTHS = {GREY: (1, 2, 4, 8, 16), RGB: (8,), INDEXED: (1, 2, 4, 8), GREY_ALPHA: (8,), RGBA: (8,)}
"""Bits that are read of each colour type (PNG, third edition, 11.2.1). Colours of 16 bits are photographs."""
MAXIMUM_UNNAMED = 8
"""Values without a name, and at most half of all, that are reported one by one. A map with more is none: most likely
the picture of the slice itself, whose greys happen to be numbers that have names.
"""
MAXIMUM_STRUCTURES = 128
"""Structures that one slice may show; a picture has more greys."""
WIDENED = {2: 85, 4: 17}
"""What the decoder multiplies grey of so many bits by."""
DAMAGE = (OSError, SyntaxError, ValueError, IndexError, OverflowError, zlib.error, struct.error)
"""What the decoder raises on damaged files."""
NUMBERED = re.compile(r"_\d{3}$")
"""The running number that some exports put after a structure's name."""


@dataclass(frozen=True)
class Picture:
    """`values` (rows, columns), grey or indices, or None of a colour picture; `colours` (rows, columns, 3) uint8, or
    None of a grey one; `opaque` (rows, columns) bool.
    """

    values: np.ndarray | None
    colours: np.ndarray | None
    opaque: np.ndarray


def read(data: bytes, entry: MaskEntry, index: SliceIndex, vocabulary: Vocabulary) -> Drawing:
    """What a picture draws on its slice.

    Raises Refused when it is broken, on an unknown slice (pending), of another size, empty, without names, or no mask.
    """
    target = index.by_name.get(entry.slice_name)
    if target is None:
        raise Refused(Reason.UNKNOWN_SLICE, Outcome.PENDING)
    depth, kind = _check_header(data, entry, target)
    picture = _decoded(data, depth, kind)
    drawing = Drawing(FORMAT)
    structure = _structure_named(entry.structure, vocabulary)
    if entry.structure:
        _draw_one(drawing, picture, structure or entry.structure, entry, target)
        return drawing
    values, meaning = _label_map(picture, entry, vocabulary)
    if meaning is None:
        hinted = _structure_named(entry.hint, vocabulary)
        if hinted is None:
            raise Refused(Reason.NO_LABEL_NAMES)
        _draw_one(drawing, picture, hinted, entry, target)
        return drawing
    present = np.unique(values[values != 0])
    if not present.size:
        raise Refused(Reason.EMPTY)
    unnamed = sum(value not in meaning for value in present.tolist())
    if unnamed > min(MAXIMUM_UNNAMED, present.size // 2) or present.size > MAXIMUM_STRUCTURES:
        raise Refused(Reason.NOT_A_LABEL_MAP)
    for value in present.tolist():
        _add(drawing, values == value, meaning.get(value, _word(value)), entry, target)
    return drawing


def _check_header(data: bytes, entry: MaskEntry, target: Target) -> tuple[int, int]:
    """Bit depth and colour type, once the picture is known to fit its slice."""
    if not data.startswith(SIGNATURE) or data[12:16] != b"IHDR" or len(data) < 33:
        raise Refused(Reason.BROKEN_FILE)
    width, height, depth, kind = struct.unpack(">IIBB", data[16:26])
    slice_size = (target.columns, target.rows)
    if entry.left is None and entry.top is None:
        fits = (width, height) == slice_size
    else:
        fits = (entry.left or 0) + width <= target.columns and (entry.top or 0) + height <= target.rows
    if not fits or entry.slice_size not in (None, slice_size):
        raise Refused(Reason.MASK_SIZE_DIFFERS)
    if depth not in DEPTHS.get(kind, ()):
        raise Refused(Reason.NOT_A_LABEL_MAP)
    return depth, kind


def _decoded(data: bytes, depth: int, kind: int) -> Picture:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.load()
            clear = image.info.get("transparency")
            pixels = np.array(image)
            palette = np.zeros((256, 3), np.uint8)
            if kind == INDEXED:
                given = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)[:256]
                palette[: len(given)] = given
    except (*DAMAGE, Image.DecompressionBombError) as error:
        raise Refused(Reason.BROKEN_FILE) from error
    if kind == INDEXED:
        alpha = np.full(256, 255, np.uint8)
        if isinstance(clear, bytes):
            alpha[: len(clear)] = np.frombuffer(clear[:256], np.uint8)
        elif isinstance(clear, int):
            alpha[clear] = 0
        return Picture(pixels.astype(np.uint16), palette[pixels], _opaque(alpha[pixels]))
    if kind in (RGB, RGBA):
        opaque = _opaque(pixels[..., 3]) if kind == RGBA else np.ones(pixels.shape[:2], bool)
        if kind == RGB and isinstance(clear, tuple):
            opaque = (pixels != np.array(clear)).any(axis=2)
        return Picture(None, pixels[..., :3], opaque)
    if kind == GREY_ALPHA:
        return Picture(pixels[..., 0].astype(np.uint16), None, _opaque(pixels[..., 1]))
    values = pixels.astype(np.uint16) // WIDENED.get(depth, 1)
    if isinstance(clear, int):
        return Picture(values, None, values != (bool(clear) if depth == 1 else clear))
    return Picture(values, None, np.ones(values.shape, bool))


def _opaque(alpha: np.ndarray) -> np.ndarray:
    """What is drawn; something half transparent is drawn over something else, and no mask."""
    if not np.isin(alpha, (0, 255)).all():
        raise Refused(Reason.NOT_A_LABEL_MAP)
    return alpha == 255


def _structure_named(name: str, vocabulary: Vocabulary) -> Structure | None:
    return (vocabulary.resolve(name) or vocabulary.resolve(NUMBERED.sub("", name))) if name else None


def _draw_one(drawing: Drawing, picture: Picture, meaning: Structure | str, entry: MaskEntry, target: Target) -> None:
    """The mask of one structure: every pixel that is neither transparent nor black nor 0."""
    shown = _words(picture.colours) if picture.colours is not None else picture.values
    assert shown is not None
    drawn = (shown != 0) & picture.opaque
    values = np.unique(shown[drawn])
    by_index = picture.values is None or np.array_equal(drawn, (picture.values != 0) & picture.opaque)
    if len(values) > 1 or not by_index:
        raise Refused(Reason.NOT_A_LABEL_MAP)
    if not len(values):
        raise Refused(Reason.EMPTY)
    _add(drawing, drawn, meaning, entry, target)


def _label_map(
    picture: Picture, entry: MaskEntry, vocabulary: Vocabulary
) -> tuple[np.ndarray, Mapping[int, Structure | str] | None]:
    """Values (rows, columns) and what they stand for; None where nothing says it."""
    named = {value: _structure_named(name, vocabulary) or name for value, name in entry.labels.items()}
    if picture.values is not None:
        values = np.where(picture.opaque, picture.values, 0)
        ours = _in_our_palette(values, picture, vocabulary)
        return values, ours or named or None
    assert picture.colours is not None
    values = np.where(picture.opaque, _words(picture.colours), 0)
    by_colour = {_word_of(colour): named[value] for colour, value in entry.colours.items() if value in named}
    return values, by_colour or None


def _in_our_palette(values: np.ndarray, picture: Picture, vocabulary: Vocabulary) -> dict[int, Structure | str]:
    """Structures by id, where every pixel that is not background has the colour of the structure of its value."""
    if picture.colours is None:
        return {}
    known = {structure.id: structure for structure in vocabulary}
    shown = np.unique(np.stack([values.ravel(), _words(picture.colours).ravel()], axis=1), axis=0)
    found: dict[int, Structure | str] = {}
    for value, word in shown[shown[:, 0] != 0].tolist():
        if value not in known or _word_of(known[value].rgb) != word:
            return {}
        found[value] = known[value]
    return found


def _words(colours: np.ndarray) -> np.ndarray:
    """Each colour as one number, red first; black is 0."""
    wide = colours.astype(np.uint32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _word_of(colour: tuple[int, int, int]) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def _word(value: int) -> str:
    return f"value {value}"


def _add(drawing: Drawing, mask: np.ndarray, meaning: Structure | str, entry: MaskEntry, target: Target) -> None:
    if isinstance(meaning, str):
        drawing.unknown(meaning, target.slice_name)
        return
    region = trimmed(mask, entry.top or 0, entry.left or 0)
    if region is not None:
        drawing.add(target.slice_name, meaning, region)
