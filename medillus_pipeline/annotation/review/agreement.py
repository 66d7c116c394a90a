"""How far two readers agree on the same slices: Dice, surface distances in mm and areas, per structure.

Distances are measured in the plane of each slice, where readers draw, and gathered over the slices on which both drew
the structure. Across the planes nothing is measured in mm: readers may draw on chosen slices only, and the slice
spacing, often ten pixels, would decide the figure. How far a structure reaches across the planes shows in the Dice of
all slices together and in the counts of slices that only one reader drew it on.

A boundary is the pixels of a structure with a neighbour (left, right, above, below) outside it; a distance runs from
the centre of a boundary pixel to the nearest one of the other reader, so identical drawings are 0 apart. The mean is
over the boundary pixels of both readers (Heimann 2009, IEEE TMI 28:1251, average symmetric surface distance); the
Hausdorff distance of 95 % is the greater of the two directed 95th percentiles (Taha 2015, BMC Med Imaging 15:29).

What is not here: which drawing is right, or a drawing of both (`consensus.py`), and pictures (`disagreement.py`).
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medillus_pipeline.annotation.label_map import trimmed
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.dicom.png import decode_png

Row = dict[str, Any]
WHOLE_SERIES = "*"
"""Stands for the slice name in a row about all slices of a series together."""
BOTH, ONLY_A, ONLY_B = "both", "only_a", "only_b"
SLICE_BY_SLICE = ("labelme", "png")
"""Source formats with one file per slice. A slice without one was not read; in every other format a series is read as
a whole, and a slice without a drawing was left empty."""
PERCENTILE = 95.0


@dataclass(frozen=True)
class Comparison:
    """Two drawings of one structure: pixels of each and of both, and the distances in mm from each one's boundary to
    the other's, (boundary pixels,); empty where one of them drew nothing or the pixel spacing is not known.
    """

    pixels_a: int
    pixels_b: int
    common: int
    from_a: np.ndarray = field(default_factory=lambda: np.empty(0))
    from_b: np.ndarray = field(default_factory=lambda: np.empty(0))

    @property
    def dice(self) -> float:
        """2·|A∩B| / (|A|+|B|), 0 to 1 (Dice 1945). Raises ZeroDivisionError when neither drew anything."""
        return 2 * self.common / (self.pixels_a + self.pixels_b)

    @property
    def mean_distance(self) -> float | None:
        """Average symmetric surface distance in mm; None without distances."""
        count = len(self.from_a) + len(self.from_b)
        return float(self.from_a.sum() + self.from_b.sum()) / count if count else None

    @property
    def hausdorff_95(self) -> float | None:
        """The greater of the two directed 95th percentiles of the distances, in mm; None without distances."""
        if not len(self.from_a) or not len(self.from_b):
            return None
        return float(max(np.percentile(self.from_a, PERCENTILE), np.percentile(self.from_b, PERCENTILE)))


def compare(first: np.ndarray, second: np.ndarray, spacing: Sequence[float] | None) -> Comparison:
    """Two bool masks (rows, columns) of one structure on one slice; `spacing` is (row, column) in mm.

    Raises ValueError when their sizes differ.
    """
    if first.shape != second.shape:
        raise ValueError("the drawings of one slice differ in size")
    box = trimmed(first | second)
    if box is None:
        return Comparison(0, 0, 0)
    a, b = first[box.window], second[box.window]
    counts = int(np.count_nonzero(a)), int(np.count_nonzero(b)), int(np.count_nonzero(a & b))
    if spacing is None or not counts[0] or not counts[1]:
        return Comparison(*counts)
    from scipy.spatial import KDTree

    at_a, at_b = (np.argwhere(_boundary(mask)) * np.asarray(spacing, float) for mask in (a, b))
    return Comparison(*counts, KDTree(at_b).query(at_a)[0], KDTree(at_a).query(at_b)[0])


def together(comparisons: Iterable[Comparison]) -> Comparison:
    """Several slices as one: counts added up, distances gathered."""
    parts = list(comparisons)
    return Comparison(
        sum(part.pixels_a for part in parts),
        sum(part.pixels_b for part in parts),
        sum(part.common for part in parts),
        np.concatenate([np.empty(0), *(part.from_a for part in parts)]),
        np.concatenate([np.empty(0), *(part.from_b for part in parts)]),
    )


def agreement_rows(
    masks: Sequence[Mapping[str, Any]],
    slices: Sequence[Mapping[str, Any]],
    read: Callable[[str], bytes],
    vocabulary: Vocabulary,
) -> list[Row]:
    """Rows of MASK_AGREEMENT for every two annotators who read slices of the same series.

    `masks` are rows of MASKS of any number of batches, of which the greatest revision of each annotator counts;
    `slices` are rows of SLICES, and masks without theirs are left out; `read` gives the bytes of a payload path. Of two
    annotators, a is the one whose pseudonym sorts first. Per structure there is a row for each slice on which either
    drew it, and one (`WHOLE_SERIES`) for all of them together. A structure that only one of them drew anywhere in the
    series is listed without figures. One that both drew has a Dice of 0 on a slice on which only one did.
    """
    by_name = {row["slice_name"]: row for row in slices}
    readings: dict[str, dict[str, dict[str, Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(dict))
    for mask in in_force(masks):
        if (row := by_name.get(mask["slice_name"])) is not None:
            readings[row["series_instance_uid"]][mask["annotator"]][mask["slice_name"]] = mask
    found = []
    for series in sorted(readings):
        for a, b in itertools.combinations(sorted(readings[series]), 2):
            names = _read_by_both(readings[series][a], readings[series][b])
            pairs = [(readings[series][a].get(name), readings[series][b].get(name)) for name in names]
            per_slice = {name: _structures(*pair, by_name[name], read) for name, pair in zip(names, pairs, strict=True)}
            found += _rows(per_slice, by_name, series, (a, b), vocabulary)
    return found


def in_force(masks: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of rows of MASKS the greatest revision of each annotator on each slice, sorted by slice name and annotator."""
    newest: dict[tuple[str, str], Mapping[str, Any]] = {}
    for mask in masks:
        key = mask["slice_name"], mask["annotator"]
        if key not in newest or mask["revision"] > newest[key]["revision"]:
            newest[key] = mask
    return [newest[key] for key in sorted(newest)]


def _read_by_both(one: Mapping[str, Mapping[str, Any]], other: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of the slices that both annotators read, given their masks of a series by slice name."""
    every = set(one) | set(other)
    return sorted((every if _whole(one) else set(one)) & (every if _whole(other) else set(other)))


def _whole(masks: Mapping[str, Mapping[str, Any]]) -> bool:
    return any(mask["source_format"] not in SLICE_BY_SLICE for mask in masks.values())


def _structures(
    a: Mapping[str, Any] | None, b: Mapping[str, Any] | None, row: Mapping[str, Any], read: Callable[[str], bytes]
) -> dict[int, Comparison]:
    """The comparison of every structure that either mask of a slice shows; None is a slice left empty."""
    empty = np.zeros((row["rows"], row["columns"]), np.uint8)
    first, second = (decode_png(read(mask["path"])) if mask else empty for mask in (a, b))
    present = {int(label) for mask in (a, b) if mask for label in mask["labels"]}
    return {label: compare(first == label, second == label, row["pixel_spacing"]) for label in sorted(present)}


def _rows(
    per_slice: Mapping[str, Mapping[int, Comparison]],
    by_name: Mapping[str, Mapping[str, Any]],
    series: str,
    annotators: tuple[str, str],
    vocabulary: Vocabulary,
) -> Iterator[Row]:
    for label in sorted({label for found in per_slice.values() for label in found}):
        drawn = {name: found[label] for name, found in per_slice.items() if label in found}
        whole = together(drawn.values())
        scored = bool(whole.pixels_a and whole.pixels_b)
        for name, one in ((WHOLE_SERIES, whole), *sorted(drawn.items())):
            where = by_name[next(iter(drawn)) if name == WHOLE_SERIES else name]
            slices = list(drawn.values()) if name == WHOLE_SERIES else [one]
            area = float(np.prod(where["pixel_spacing"])) if where["pixel_spacing"] else None
            yield {
                "series_instance_uid": series,
                "slice_name": name,
                "structure": vocabulary.by_id(label).key,
                "annotator_a": annotators[0],
                "annotator_b": annotators[1],
                "patient": where["patient"],
                "drawn_by": BOTH if one.pixels_a and one.pixels_b else ONLY_A if one.pixels_a else ONLY_B,
                "slices": len(slices),
                "slices_only_a": sum(not part.pixels_b for part in slices),
                "slices_only_b": sum(not part.pixels_a for part in slices),
                "dice": one.dice if scored else None,
                "mean_surface_distance_mm": one.mean_distance,
                "hausdorff_95_mm": one.hausdorff_95,
                "area_a_mm2": None if area is None else one.pixels_a * area,
                "area_b_mm2": None if area is None else one.pixels_b * area,
                "area_difference_percent": (
                    200 * (one.pixels_b - one.pixels_a) / (one.pixels_a + one.pixels_b) if scored else None
                ),
            }


def _boundary(mask: np.ndarray) -> np.ndarray:
    """Pixels of a bool mask (rows, columns) with one of four neighbours outside it; the border counts as outside."""
    inside = np.pad(mask, 1)
    inner = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    return mask & ~inner
