"""A person's mask file as a model takes it: vocabulary ids in the model's square frame, and what became of it.

A PNG has no pixel size. Unless one is given, the longer side of the mask is taken to span the model's field of view;
the mask stays in proportion, centred, with background beside it. What is not here: how the images of it are made and
kept (`sample_folder.py`).
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.dicom.png import decode_png
from medillus_pipeline.errors import InputError

LEAST_SIDE, GREATEST_SIDE = 8, 4096
ROUNDING = 1e-6
"""Share of a pixel by which a sampling point may be off through rounding."""


@dataclass(frozen=True)
class SampleMask:
    """A mask in the model's frame: `ids` (size, size) uint8. `pixel_size` is that of the file in mm, `placement` a
    sentence on the geometry, `lost` the ids of structures that no pixel of the frame shows.
    """

    ids: np.ndarray
    sha256: str
    pixel_size: float
    placement: str
    lost: tuple[int, ...]


def read_mask(
    data: bytes,
    classes: Collection[int],
    vocabulary: Vocabulary,
    *,
    size: int,
    field_of_view: float,
    pixel_size: float | None = None,
) -> SampleMask:
    """The PNG `data` (palette or grey, 8 bits, vocabulary ids) for a model of `classes` and frame `size` × `size`.

    `field_of_view` is the side of that frame in mm, `pixel_size` that of the mask's pixels, where it is known: the
    frame then lies over the mask's middle. Raises InputError for a file that is no such PNG, for a mask without a
    structure or with one that the model has no class for, and for sides under 8 or over 4096 pixels.
    """
    try:
        values = decode_png(data)
    except ValueError:
        raise InputError("the mask is no readable PNG: save the label map as PNG") from None
    if values.ndim != 2 or values.dtype != np.uint8:
        raise InputError(
            "the mask is a colour or 16-bit picture: give a palette or grey PNG of 8 bits that holds vocabulary ids"
        )
    if not all(LEAST_SIDE <= side <= GREATEST_SIDE for side in values.shape):
        raise InputError(
            f"the mask is {values.shape[1]} × {values.shape[0]} pixels: sides are {LEAST_SIDE} to {GREATEST_SIDE}"
        )
    present = [int(value) for value in np.unique(values) if value]
    _refuse_unknown(present, classes, vocabulary)
    taken = pixel_size or field_of_view / max(values.shape)
    ids = _nearest(values, size, field_of_view / size / taken)
    lost = tuple(label for label in present if not (ids == label).any())
    if len(lost) == len(present):
        raise InputError(
            "no structure of the mask is left in the model's frame: draw larger, or check --pixel-size, which puts "
            f"{values.shape[1] * taken:.4g} × {values.shape[0] * taken:.4g} mm under a frame of {field_of_view:.4g} mm"
        )
    told = "as given" if pixel_size else "assumed, so that the longer side spans the frame"
    placement = (
        f"mask of {values.shape[1]} × {values.shape[0]} pixels of {taken:.4g} mm ({told}), nearest neighbour to "
        f"{size} × {size} pixels of {field_of_view / size:.4g} mm, centred; left in the picture is the patient's right"
    )
    return SampleMask(ids, hashlib.sha256(data).hexdigest(), taken, placement, lost)


def _refuse_unknown(present: list[int], classes: Collection[int], vocabulary: Vocabulary) -> None:
    names = {structure.id: structure.key for structure in vocabulary}
    if not present:
        raise InputError("the mask holds background alone: draw at least one structure")
    foreign = [label for label in present if label not in classes]
    if foreign:
        said = ", ".join(f"{label} ({names.get(label, 'no id of the vocabulary')})" for label in foreign[:8])
        more = f" and {len(foreign) - 8} more" if len(foreign) > 8 else ""
        known = ", ".join(f"{label} {names.get(label, '')}".strip() for label in sorted(classes))
        raise InputError(f"the model has no class for the mask's values {said}{more}; it knows {known}")


def _nearest(values: np.ndarray, size: int, ratio: float) -> np.ndarray:
    """(size, size) uint8; `ratio` is the frame's pixel size over the mask's."""
    offsets = (np.arange(size) + 0.5 - size / 2) * ratio
    rows, columns = (np.floor(offsets + side / 2 + ROUNDING).astype(np.int64) for side in values.shape)
    inside = ((rows >= 0) & (rows < values.shape[0]))[:, None] & ((columns >= 0) & (columns < values.shape[1]))[None]
    found = values[np.clip(rows, 0, values.shape[0] - 1)[:, None], np.clip(columns, 0, values.shape[1] - 1)[None]]
    return np.where(inside, found, 0).astype(np.uint8)
