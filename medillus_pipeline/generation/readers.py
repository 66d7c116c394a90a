"""Which drawing of a slice is trained on where several annotators drew it: one of them, or their consensus.

How a consensus is found is in `annotation/review/consensus.py`; which slices are taken at all in `selection.py`.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from medillus_pipeline.annotation.review.agreement import in_force
from medillus_pipeline.annotation.review.consensus import majority, staple_label_maps
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.dicom.png import decode_png, encode_png
from medillus_pipeline.generation.selection import masks_in_force
from medillus_pipeline.zones import Zone

Row = dict[str, Any]
Rule = Literal["primary", "majority", "staple"]


def one_drawing_each(
    masks: Sequence[Row], slices: Sequence[Row], rule: Rule, clean: Zone, vocabulary: Vocabulary
) -> dict[str, Row]:
    """One row of MASKS per slice name.

    `primary` takes the annotator with most slices (`selection.masks_in_force`). `majority` and `staple` put the
    consensus of all annotators in its place where a slice has several, as a label map of its own in the clean zone; its
    annotator is a hash of theirs. STAPLE looks at all slices of a series that the same annotators drew together.
    """
    chosen = masks_in_force(masks)
    if rule == "primary":
        return chosen
    series_of = {row["slice_name"]: row["series_instance_uid"] for row in slices}
    readings: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in in_force(masks):
        readings[row["slice_name"]].append(row)
    groups: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for name, read in sorted(readings.items()):
        if len(read) > 1 and name in series_of:
            readers = tuple(row["annotator"] for row in read)
            groups[series_of[name], read[0]["rows"], read[0]["columns"], readers].append(name)
    for (*_, readers), names in sorted(groups.items()):
        maps = [np.stack([decode_png(clean.read(readings[n][k]["path"])) for n in names]) for k in range(len(readers))]
        agreed = majority(maps) if rule == "majority" else staple_label_maps(maps, vocabulary).values
        for name, values in zip(names, agreed, strict=True):
            chosen[name] = _consensus(chosen[name], values, f"{rule}:{','.join(readers)}", clean, vocabulary)
    return {name: row for name, row in chosen.items() if row["labels"]}


def _consensus(row: Row, values: np.ndarray, name: str, clean: Zone, vocabulary: Vocabulary) -> Row:
    payload = clean.put("masks", encode_png(values, vocabulary.palette()), ".png")
    labels, areas = np.unique(values[values > 0], return_counts=True)
    return row | {
        "annotator": f"a-{hashlib.sha256(name.encode()).hexdigest()[:8]}",
        "labels": labels.tolist(),
        "areas": areas.tolist(),
        "path": payload.path,
        "sha256": payload.sha256,
    }
