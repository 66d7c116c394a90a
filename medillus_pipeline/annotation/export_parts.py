"""What of a drawing goes into which file, so that a batch which reads the files draws the same again.

A structure that is the union of others (lungs) is kept out of label maps where one file draws all its parts too. One
that stands in a label map beside all its parts, since two annotators or two files drew them, therefore goes out in a
file of its own. What is not here: how files are written (`export_files.py`).
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from medillus_pipeline.annotation.export_choice import Chosen
from medillus_pipeline.annotation.label_map import Region, trimmed
from medillus_pipeline.annotation.layers import Covered, region_of
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.dicom.png import decode_png

Regions = dict[str, dict[int, Region]]
"""By slice name: vocabulary id → what is drawn."""


def label_map(chosen: Chosen, read: Callable[[str], bytes]) -> np.ndarray:
    """(rows, columns) uint8 vocabulary ids; `read` gives a payload by its path."""
    if chosen.proposed is not None:
        return chosen.proposed.label_map
    if chosen.mask is None:
        return np.zeros((chosen.slice["rows"], chosen.slice["columns"]), np.uint8)
    return decode_png(read(chosen.mask["path"]))


def visible(values: np.ndarray) -> dict[int, Region]:
    """The structures of a label map, each where it shows."""
    found = {int(identifier): trimmed(values == identifier) for identifier in np.unique(values) if identifier}
    return {identifier: region for identifier, region in found.items() if region is not None}


def painted(regions: Mapping[int, Region], rows: int, columns: int) -> np.ndarray:
    """The inverse of `visible`, for regions that do not overlap."""
    values = np.zeros((rows, columns), np.uint8)
    for identifier, region in regions.items():
        values[region.window][region.mask] = identifier
    return values


def files_of(drawn: Regions, vocabulary: Vocabulary) -> list[Regions]:
    """What is drawn, file by file: most of it in the first, unions whose parts are all drawn each in its own."""
    present = {identifier for regions in drawn.values() for identifier in regions}
    apart = sorted(unions_in(present, vocabulary))
    first = _only(drawn, present - set(apart))
    return [part for part in (first, *(_only(drawn, {identifier}) for identifier in apart)) if part]


def with_layers(chosen: Sequence[Chosen], maps: Mapping[str, np.ndarray], vocabulary: Vocabulary) -> list[Regions]:
    """The same for a format whose structures may overlap: what others cover is drawn in full, planning targets and
    unions of parts are drawn beside it. A union whose parts are not all among what is drawn would come back in the
    label map, and is left out (`lost`).
    """
    drawn: Regions = {}
    unions: Regions = {}
    for each in chosen:
        name = each.slice["slice_name"]
        drawn[name] = visible(maps[name])
        for row in each.layers:
            place = unions if row["reason"] == Covered.UNION_OF_PARTS else drawn
            place.setdefault(name, {})[row["label"]] = region_of(row)
    files = files_of(drawn, vocabulary)
    if not files:
        return []
    return [_joined(files[0], _only(unions, _drawable(files[0], unions, vocabulary))), *files[1:]]


def lost(chosen: Sequence[Chosen], files: Sequence[Regions]) -> int:
    """How many layers stand in none of the files as they were drawn."""
    count = 0
    for each in chosen:
        for row in each.layers:
            wanted = region_of(row)
            there = [part.get(each.slice["slice_name"], {}).get(row["label"]) for part in files]
            count += not any(r is not None and r.area == wanted.area and r.window == wanted.window for r in there)
    return count


def unions_in(present: set[int], vocabulary: Vocabulary) -> set[int]:
    """The structures among `present` that are unions of others which are all present."""
    return {
        identifier
        for identifier in present
        if (parts := vocabulary.by_id(identifier).parts) and {vocabulary.by_key(part).id for part in parts} <= present
    }


def _drawable(first: Regions, unions: Regions, vocabulary: Vocabulary) -> set[int]:
    """The unions that the first file can take, so that they are layers again when it is read, and no structure of its
    label maps becomes one.
    """
    there = {identifier for regions in first.values() for identifier in regions}
    taken = {identifier for regions in unions.values() for identifier in regions} - there
    while taken and taken != (left := taken & unions_in(there | taken, vocabulary)):
        taken = left
    return taken if unions_in(there | taken, vocabulary) == taken else set()


def _only(drawn: Regions, identifiers: set[int]) -> Regions:
    kept = {name: {i: r for i, r in regions.items() if i in identifiers} for name, regions in drawn.items()}
    return {name: regions for name, regions in kept.items() if regions}


def _joined(one: Regions, other: Regions) -> Regions:
    return {name: one.get(name, {}) | other.get(name, {}) for name in sorted({*one, *other})}
