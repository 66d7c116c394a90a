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

from medillus_pipeline.dicom.slice_values import SliceValues
from medillus_pipeline.generation import canonical
from medillus_pipeline.generation.config import DatasetConfig
from medillus_pipeline.generation.packing import SURVEYED_SLICES, affine_of
from medillus_pipeline.generation.segmenter import Segmenter
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
    somebody drew on), each is axial and of the dataset's modality, and its patient is in the split `train` (`splits`:
    split token → split).
    """
    series: dict[str, list[Row]] = defaultdict(list)
    wanted: dict[str, set[str]] = defaultdict(set)
    held_back: Counter[str] = Counter()
    for name, row in {row["slice_name"]: row for row in reversed(list(slices))}.items():
        usable = row["modality"] == config.modality and bool(
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
            held_back["not an axial slice of the dataset's modality"] += 1
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
    series = SeriesFrame(rows, clean, config)
    chosen = sorted(
        (row for row in rows if wanted is None or row["slice_name"] in wanted), key=lambda r: r["slice_name"]
    )
    for row in chosen:
        values, inside = series.canonical_slice(row)
        probabilities = segmenter.predict(values[None])[0]
        labels, confidence = _on_slice(probabilities, row, series.frame, segmenter.classes)
        yield Proposal(row["slice_name"], labels, confidence, uncertainty(probabilities, inside))


def uncertainty(probabilities: np.ndarray, inside: np.ndarray) -> float:
    """Mean entropy of `probabilities` (channels, h, w) where `inside` (h, w) holds, as a share of the logarithm of the
    channels; 0 where nothing is inside.
    """
    if not inside.any() or len(probabilities) < 2:
        return 0.0
    entropy = -(probabilities * np.log(np.clip(probabilities, 1e-12, None))).sum(0)
    return float(np.clip(entropy[inside].mean() / np.log(len(probabilities)), 0.0, 1.0))


class SeriesFrame:
    """The canonical frame of a series and its slices in it, values as `packing.pack_series` makes them where no mask
    reaches out of the body.
    """

    def __init__(self, rows: Sequence[Row], clean: Zone, config: DatasetConfig) -> None:
        of_ct = config.modality == "CT"
        self.reader = SliceValues(clean, canonical.AIR if of_ct else None)
        self.outside = canonical.AIR if of_ct else canonical.NORMALISED_RANGE[0]
        self.threshold = canonical.BODY_THRESHOLD_HU if of_ct else canonical.NORMALISED_BODY_THRESHOLD
        ordered = sorted(rows, key=lambda row: (_middle(row)[2], row["slice_name"]))
        survey = [ordered[i] for i in np.unique(np.linspace(0, len(ordered) - 1, SURVEYED_SLICES).round().astype(int))]
        surveyed = [self.reader.values(row) for row in survey]
        samples = None if of_ct else np.concatenate([values.ravel()[::7] for values in surveyed])
        self.scale = None if samples is None else canonical.series_scale(samples)
        boxes = [
            box
            for row, values in zip(survey, surveyed, strict=True)
            if (box := canonical.body_box(self._body(self._scaled(values), row), affine_of(row))) is not None
        ]
        left, right, front, back = (
            np.median(np.array(boxes), axis=0) if boxes else np.repeat(_middle(ordered[0])[:2], 2)
        )
        body_part = (rows[0]["body_part"] or "").upper()
        width = config.field_of_view_mm.get(body_part, config.default_field_of_view_mm)
        self.frame = canonical.Frame(config.size, width, float(left + right) / 2, float(front + back) / 2)

    def canonical_slice(self, row: Row) -> tuple[np.ndarray, np.ndarray]:
        """Calibrated values (size, size) int16, and where at least half of a pixel is body (size, size) bool."""
        values = np.maximum(self._scaled(self.reader.values(row)), self.outside)
        body = self._body(values, row)
        grid, k = canonical.source_grid(affine_of(row), self.frame)
        resampled = canonical.resample_values(np.where(body, values, self.outside), grid, k, self.outside)
        inside = canonical.resample_values(body, grid, k, 0.0) >= 0.5
        return np.rint(np.clip(resampled, -32768, 32767)).astype(np.int16), inside

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        return values if self.scale is None else canonical.normalised(values, self.scale)

    def _body(self, values: np.ndarray, row: Row) -> np.ndarray:
        return canonical.body_mask(values, tuple(row["pixel_spacing"]), self.threshold)


def _middle(row: Row) -> np.ndarray:
    """(3,) LPS mm of the slice's middle."""
    return (affine_of(row) @ np.array([(row["columns"] - 1) / 2, (row["rows"] - 1) / 2, 0, 1]))[:3]


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
