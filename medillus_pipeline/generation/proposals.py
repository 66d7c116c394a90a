"""What the organ segmenter would draw on slices that nobody has labelled, for annotators to correct.

A slice is brought into the canonical frame as the dataset does it, and the probabilities are brought back onto its own
pixels. Only patients of the split `train` are offered. Those of validation and locked test stay free of a model's hand,
or a model would be measured against its own drawings; those of the judge too, whose labels would else be made by a
model of the patients that the generator learns from; and a patient without a split may still fall into any. The judge
itself never proposes. What is not here: the files that annotators get (`annotation/export.py`).
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from medillus_pipeline.generation import canonical
from medillus_pipeline.generation.config import DatasetConfig
from medillus_pipeline.generation.segmenter import Segmenter
from medillus_pipeline.generation.series_frame import SeriesFrame, affine_of
from medillus_pipeline.zones import Zone

Row = dict[str, Any]
OFFERED_SPLIT = "train"


@dataclass(frozen=True)
class Proposal:
    """`label_map` (rows, columns) uint8 vocabulary ids on the slice's own pixels; by id, `confidence` is the mean
    probability of the structure where it is proposed (0 to 1, not calibrated).

    `uncertainty` is the mean entropy inside the body as a share of the greatest possible, 0 to 1.
    """

    slice_name: str
    label_map: np.ndarray
    confidence: dict[int, float]
    uncertainty: float


@dataclass(frozen=True)
class Candidates:
    """By series: all its usable slices, which tell where the body is, and the names of those to propose labels for.
    `held_back` counts the other slices without a mask, by reason.
    """

    series: dict[str, list[Row]]
    wanted: dict[str, set[str]]
    held_back: dict[str, int]


def candidates(
    slices: Iterable[Row], labelled: Collection[str], splits: Mapping[str, str], config: DatasetConfig
) -> Candidates:
    """The slices, rows of SLICES, that a model may propose labels for: none is among `labelled` (names of slices that
    somebody drew on), each is axial and of a modality of the dataset, and its patient is in the split `train`
    (`splits`: split token → split).
    """
    series: dict[str, list[Row]] = defaultdict(list)
    wanted: dict[str, set[str]] = defaultdict(set)
    held_back: Counter[str] = Counter()
    for name, row in {row["slice_name"]: row for row in reversed(list(slices))}.items():
        usable = row["modality"] in config.modalities and bool(
            row["position"] and row["orientation"] and row["pixel_spacing"]
        )
        usable = usable and canonical.is_axial(affine_of(row), config.axial_tolerance_degrees)
        if usable:
            series[row["series_instance_uid"]].append(row)
        if name in labelled:
            continue
        split = splits.get(row["split_token"])
        if split != OFFERED_SPLIT:
            held_back[f"split {split}" if split else "no split yet"] += 1
        elif usable:
            wanted[row["series_instance_uid"]].add(name)
        else:
            held_back["not an axial slice of the dataset's modalities"] += 1
    return Candidates({uid: series[uid] for uid in wanted}, dict(wanted), dict(sorted(held_back.items())))


def most_uncertain(
    found: Candidates,
    count: int,
    clean: Zone,
    segmenter: Segmenter,
    config: DatasetConfig,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[Proposal]:
    """The `count` proposals that the segmenter is least sure of, most uncertain first; fewer where there are fewer.

    Slices on which it finds nothing are passed over. Raises PixelError when a slice cannot be decoded.
    """
    total = sum(map(len, found.wanted.values()))

    def proposals() -> Iterator[Proposal]:
        done = 0
        for uid in sorted(found.wanted):
            for proposal in propose(found.series[uid], clean, segmenter, config, wanted=found.wanted[uid]):
                done += 1
                if progress is not None:
                    progress(done, total)
                if proposal.confidence:
                    yield proposal

    return heapq.nlargest(count, proposals(), key=lambda each: (each.uncertainty, each.slice_name))


def propose(
    rows: Sequence[Row],
    clean: Zone,
    segmenter: Segmenter,
    config: DatasetConfig,
    *,
    wanted: Collection[str] | None = None,
) -> Iterator[Proposal]:
    """Labels for the slices `wanted` (all, without) of one series, by slice name. `rows` are all its usable rows of
    SLICES; `config` is that of the dataset which the segmenter learned from. Raises PixelError when a slice cannot be
    decoded.
    """
    width = config.field_of_view_mm.get((rows[0]["body_part"] or "").upper(), config.default_field_of_view_mm)
    series = SeriesFrame(rows, clean, modality=rows[0]["modality"], size=config.size, field_of_view=width)
    chosen = sorted(
        (row for row in rows if wanted is None or row["slice_name"] in wanted), key=lambda r: r["slice_name"]
    )
    for row in chosen:
        found = series.slice(row)
        probabilities = segmenter.predict(found.values[None])[0]
        labels, confidence = _on_slice(probabilities, row, series.frame, segmenter.classes)
        yield Proposal(row["slice_name"], labels, confidence, uncertainty(probabilities, found.inside))


def uncertainty(probabilities: np.ndarray, inside: np.ndarray) -> float:
    """Mean entropy of `probabilities` (channels, h, w) where `inside` (h, w) holds, as a share of the logarithm of the
    channels; 0 where nothing is inside.
    """
    if not inside.any() or len(probabilities) < 2:
        return 0.0
    entropy = -(probabilities * np.log(np.clip(probabilities, 1e-12, None))).sum(0)
    return float(np.clip(entropy[inside].mean() / np.log(len(probabilities)), 0.0, 1.0))


def _on_slice(
    probabilities: np.ndarray, row: Row, frame: canonical.Frame, classes: Sequence[int]
) -> tuple[np.ndarray, dict[int, float]]:
    """The likeliest vocabulary id at each pixel of the slice, and the confidence of each id that is there. The inverse
    of `canonical.source_grid`: bilinear between the frame's pixels, background outside the frame.
    """
    affine = affine_of(row)
    c, r = np.meshgrid(np.arange(row["columns"]), np.arange(row["rows"]))
    at = [
        (affine[axis, 0] * c + affine[axis, 1] * r + affine[axis, 3] - frame.affine(0.0)[axis, 3]) / frame.pitch
        for axis in (1, 0)
    ]
    within = np.logical_and.reduce([(one >= -0.5) & (one <= frame.size - 0.5) for one in at])
    sampled = np.stack([ndimage.map_coordinates(one, at, order=1, mode="nearest") for one in probabilities])
    winner = np.where(within, sampled.argmax(0), 0)
    present = [channel for channel in np.unique(winner).tolist() if channel]
    confidence = {classes[channel - 1]: float(sampled[channel][winner == channel].mean()) for channel in present}
    return np.array([0, *classes], np.uint8)[winner], confidence
