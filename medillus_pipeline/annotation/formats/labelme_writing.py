"""LabelMe JSON for annotators: a label map as polygons that can be edited, and that read back to the same pixels.

Every piece of a structure (pixels that share an edge) is one polygon; its holes hang on it by slits, which even-odd
cancels. What is not here: the tracing itself (`outlines.py`), reading (`labelme.py`), which slices go out.
"""

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from medillus_pipeline.annotation.formats.outlines import keyholed, outlines
from medillus_pipeline.annotation.vocabulary import Vocabulary

VERSION = "5.5.0"
PROPOSAL = "proposal"


def write_labelme(
    slice_name: str,
    label_map: np.ndarray,
    vocabulary: Vocabulary,
    image_path: str,
    proposals: Mapping[int, float] | None = None,
) -> bytes:
    """A LabelMe file for one slice: `label_map` (rows, columns) uint8 vocabulary ids, 0 where nothing is drawn.

    `image_path` is where LabelMe finds the picture, relative to the file; its stem has to be `slice_name`, by which the
    file is matched when it comes back. `proposals` gives, by vocabulary id, the confidence (0 to 1) of structures that
    a model drew: they carry the flag `proposal` and the confidence as their description. Polygons are labelled by key;
    those of a structure in several pieces share its id as group id. The same input gives the same bytes.

    Raises ValueError for another type or shape, another stem, or an id that the vocabulary does not have.
    """
    if label_map.dtype != np.uint8 or label_map.ndim != 2:
        raise ValueError("a label map is an array (rows, columns) of uint8")
    if PurePosixPath(image_path).stem != slice_name:
        raise ValueError("the picture has to be named after its slice, or the file would not find its way back")
    known = {structure.id for structure in vocabulary}
    present = np.flatnonzero(np.bincount(label_map.ravel(), minlength=1)[1:]) + 1
    if unknown := sorted(set(present.tolist()) - known):
        raise ValueError(f"the vocabulary has no structure of the ids {unknown}")
    shapes = [
        shape
        for identifier in present.tolist()
        for shape in _shapes(label_map == identifier, identifier, vocabulary.by_id(identifier).key, proposals or {})
    ]
    document = {
        "version": VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": image_path,
        "imageData": None,
        "imageHeight": label_map.shape[0],
        "imageWidth": label_map.shape[1],
    }
    return json.dumps(document, ensure_ascii=False, indent=1).encode()


def _shapes(mask: np.ndarray, identifier: int, key: str, proposals: Mapping[int, float]) -> list[dict[str, Any]]:
    pieces = [keyholed(outer, holes) for outer, holes in outlines(mask)]
    proposed = identifier in proposals
    return [
        {
            "label": key,
            "points": polygon.tolist(),
            "group_id": identifier if len(pieces) > 1 else None,
            "description": f"confidence {proposals[identifier]:.2f}" if proposed else "",
            "shape_type": "polygon",
            "flags": {PROPOSAL: True} if proposed else {},
            "mask": None,
        }
        for polygon in pieces
    ]
