"""A dataset snapshot: labelled slices of all published partitions, in the canonical frame, with the frozen split.

Packed arrays, an index table and a manifest, all immutable payloads of the clean zone. Which slices are taken is
decided in `selection.py`, how a series is resampled in `packing.py`, who is in which split in `split.py`.
"""

import hashlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np

from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.generation.config import DatasetConfig
from medillus_pipeline.generation.intensity import IntensityMap, intensity_map
from medillus_pipeline.generation.packing import PackedSlice, SeriesJob, pack_series
from medillus_pipeline.generation.pictures import class_colours, grey, overlaid, sheet
from medillus_pipeline.generation.readers import one_drawing_each
from medillus_pipeline.generation.selection import select
from medillus_pipeline.generation.split import SPLITS, split_hash
from medillus_pipeline.tables import TRAINING_SLICES, from_parquet, to_parquet
from medillus_pipeline.zones import Zone

Row = dict[str, Any]
FOLDER = "datasets"


@dataclass(frozen=True)
class Snapshot:
    """What `build_snapshot` stored: rows of `training_slices`, the content fingerprint, the manifest and its path."""

    rows: list[Row]
    fingerprint: str
    path: str
    manifest: dict[str, Any]


@dataclass(frozen=True)
class Dataset:
    """Packed slices: `values` (n, h, w) int16 (HU for CT), `labels` (n, h, w) uint8, and the index rows.

    A label is 0 for background, or 1 + the position of its vocabulary id in `classes`.
    """

    values: np.ndarray
    labels: np.ndarray
    classes: tuple[int, ...]
    rows: list[Row]
    fingerprint: str
    manifest: dict[str, Any]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def levels(self) -> np.ndarray:
        """(n,) float32, normalised positions along the body axis."""
        return np.array([row["level"] for row in self.rows], np.float32)

    @property
    def patients(self) -> list[str]:
        """The patient of each slice."""
        return [row["patient"] for row in self.rows]

    @property
    def intensity(self) -> IntensityMap:
        """The map between `values` and [-1, 1]."""
        return intensity_map(self.manifest["config"]["modality"])

    @property
    def pixel_mm(self) -> float:
        """Median distance between pixel centres in mm."""
        return float(np.median([row["affine"][0] for row in self.rows])) if self.rows else float("nan")

    @property
    def preset(self) -> str:
        """Name of the preset whose prior, segmenters and generator go with this dataset."""
        return self.manifest["config"]["preset"]

    def split(self, name: str) -> "Dataset":
        """The slices of one split; arrays stay views of the packed ones (rows are sorted by split)."""
        chosen = [i for i, row in enumerate(self.rows) if row["split"] == name]
        part = slice(chosen[0], chosen[-1] + 1) if chosen else slice(0, 0)
        return Dataset(
            self.values[part], self.labels[part], self.classes, self.rows[part], self.fingerprint, self.manifest
        )


def build_snapshot(
    slices: Sequence[Row],
    masks: Sequence[Row],
    instances: Sequence[Row],
    splits: Mapping[str, str],
    clean: Zone,
    vocabulary: Vocabulary,
    config: DatasetConfig,
    *,
    partitions: Mapping[str, Any],
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Snapshot:
    """Pack every slice that has a mask and a split, and store the arrays, their index and the manifest.

    `slices`, `masks` and `instances` are rows of those tables in the order of their partitions (duplicates: the first
    wins); `splits` maps a split token to its split; `partitions` (names with their data versions) goes into the
    manifest as it is. What was left out is counted there by reason. Structures of too few training patients become
    background (`minimum_class_patients`), and are listed.

    Raises NotEnoughDataError when no labelled slice, or no class, is left.
    """
    labelled = one_drawing_each(masks, slices, config.readers, clean, vocabulary)
    left_out: Counter[str] = Counter()
    series, split_of = select(slices, labelled, instances, splits, config, left_out)
    jobs = [_job(rows, labelled, split_of, clean, config) for _, rows in sorted(series.items())]
    packed: list[PackedSlice] = []
    for done, part in enumerate(_packed(jobs, workers), start=1):
        packed += part
        if progress is not None:
            progress(done, len(jobs))

    by_name = {row["slice_name"]: row for rows in series.values() for row in rows}
    classes, dropped = _classes(packed, by_name, split_of, config.minimum_class_patients)
    index_of = np.zeros(256, np.uint8)
    index_of[list(classes)] = np.arange(1, len(classes) + 1)
    kept = [item for item in packed if index_of[item.labels].any()]
    left_out["no_class"] += len(packed) - len(kept)
    left_out = Counter({reason: count for reason, count in left_out.items() if count})
    if not kept:
        raise NotEnoughDataError(
            "no slice is left for the dataset: it needs axial slices of patients in the split with masks that hold "
            f"structures; left out by reason: {dict(sorted(left_out.items()))}"
        )

    def place(item: PackedSlice) -> tuple[int, str, str, float, str]:
        row = by_name[item.slice_name]
        split = SPLITS.index(split_of[item.slice_name])
        return split, row["patient"], row["series_instance_uid"], item.level, item.slice_name

    kept.sort(key=place)
    values = np.stack([item.values for item in kept])
    labels = index_of[np.stack([item.labels for item in kept])]
    rows = [
        _index_row(i, item, by_name[item.slice_name], split_of[item.slice_name], labelled, classes, labels[i])
        for i, item in enumerate(kept)
    ]
    return _store(
        clean,
        values,
        labels,
        rows,
        classes,
        config,
        {
            "partitions": dict(partitions),
            "split_hash": split_hash(splits),
            "vocabulary_version": vocabulary.version,
            "left_out": dict(sorted(left_out.items())),
            "dropped_classes": dropped,
        },
    )


def load_snapshot(clean: Zone, manifest_path: str) -> Dataset:
    """The snapshot of that manifest, its arrays memory-mapped read-only."""
    manifest = json.loads(clean.read(manifest_path))
    rows = from_parquet(clean.read(manifest["index"])).to_pylist()
    return Dataset(
        values=np.load(clean.local(manifest["values"]), mmap_mode="r", allow_pickle=False),
        labels=np.load(clean.local(manifest["labels"]), mmap_mode="r", allow_pickle=False),
        classes=tuple(manifest["classes"]),
        rows=rows,
        fingerprint=manifest["fingerprint"],
        manifest=manifest,
    )


def preview(dataset: Dataset, vocabulary: Vocabulary, *, columns: int = 8) -> bytes:
    """A PNG with two lines for each split: slices spread over it, and the same with their structures in colour."""
    colours = class_colours(dataset.classes, vocabulary.palette())
    lines = []
    for split in map(dataset.split, SPLITS):
        rows = np.unique(np.linspace(0, len(split) - 1, columns).round().astype(int)) if len(split) else []
        shown = [grey(np.asarray(split.values[row]), dataset.manifest["config"]["modality"]) for row in rows]
        lines.append(shown)
        lines.append([overlaid(p, np.asarray(split.labels[row]), colours) for p, row in zip(shown, rows, strict=True)])
    return sheet([line for line in lines if line])


def _job(
    rows: list[Row], labelled: Mapping[str, Row], split_of: Mapping[str, str], clean: Zone, config: DatasetConfig
) -> SeriesJob:
    body_part = (rows[0]["body_part"] or "").upper()
    return SeriesJob(
        clean=clean,
        slices=rows,
        masks={row["slice_name"]: labelled[row["slice_name"]] for row in rows if row["slice_name"] in split_of},
        modality=config.modality,
        size=config.size,
        field_of_view=config.field_of_view_mm.get(body_part, config.default_field_of_view_mm),
    )


def _packed(jobs: Sequence[SeriesJob], workers: int) -> Iterator[list[PackedSlice]]:
    """Packed series in the order of the jobs, by spawned processes when `workers` is more than 1."""
    if workers <= 1 or len(jobs) < 2:
        yield from map(pack_series, jobs)
        return
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=get_context("spawn")) as pool:
        yield from pool.map(pack_series, jobs)


def _classes(
    packed: Sequence[PackedSlice], by_name: Mapping[str, Row], split_of: Mapping[str, str], minimum: int
) -> tuple[tuple[int, ...], dict[str, int]]:
    """Vocabulary ids that enough training patients have, ascending, and the others with their training patients."""
    patients: dict[int, set[str]] = defaultdict(set)
    for item in packed:
        for label in np.unique(item.labels[item.labels > 0]).tolist():
            found = patients[label]
            if split_of[item.slice_name] == "train":
                found.add(by_name[item.slice_name]["patient"])
    classes = tuple(sorted(label for label, found in patients.items() if len(found) >= minimum))
    return classes, {str(label): len(found) for label, found in sorted(patients.items()) if label not in classes}


def _index_row(
    number: int,
    item: PackedSlice,
    row: Row,
    split: str,
    labelled: Mapping[str, Row],
    classes: tuple[int, ...],
    labels: np.ndarray,
) -> Row:
    return {
        "row": number,
        "slice_name": item.slice_name,
        "patient": row["patient"],
        "split": split,
        "series_instance_uid": row["series_instance_uid"],
        "annotator": labelled[item.slice_name]["annotator"],
        "modality": row["modality"],
        "body_part": row["body_part"],
        "level": item.level,
        "affine": item.affine.ravel().tolist(),
        "labels": [classes[label - 1] for label in np.unique(labels[labels > 0]).tolist()],
        "body_fraction": item.body_fraction,
        "mean": item.mean,
        "source_value_sha256": hashlib.sha256(item.values.tobytes()).hexdigest(),
    }


def _store(
    clean: Zone,
    values: np.ndarray,
    labels: np.ndarray,
    rows: list[Row],
    classes: tuple[int, ...],
    config: DatasetConfig,
    origin: dict[str, Any],
) -> Snapshot:
    digest = hashlib.sha256()
    described = json.dumps([rows, classes, config.model_dump(mode="json")], sort_keys=True).encode()
    for part in (values.tobytes(), labels.tobytes(), described):
        digest.update(hashlib.sha256(part).digest())
    judged = {label for row in rows if row["split"] == "judge" for label in row["labels"]}
    manifest = {
        "format": 1,
        "fingerprint": digest.hexdigest(),
        "config": config.model_dump(mode="json"),
        "classes": list(classes),
        "classes_without_judge_patients": [label for label in classes if label not in judged],
        "counts": _counts(rows),
        **origin,
        "values": clean.put(FOLDER, _npy(values), ".npy").path,
        "labels": clean.put(FOLDER, _npy(labels), ".npy").path,
        "index": clean.put(FOLDER, to_parquet(TRAINING_SLICES.to_arrow(rows)), ".parquet").path,
    }
    encoded = json.dumps(manifest, indent=1, sort_keys=True).encode()
    return Snapshot(rows, manifest["fingerprint"], clean.put(FOLDER, encoded, ".json").path, manifest)


def _counts(rows: Sequence[Row]) -> dict[str, dict[str, int]]:
    return {
        split: {
            "patients": len({row["patient"] for row in rows if row["split"] == split}),
            "slices": sum(row["split"] == split for row in rows),
        }
        for split in SPLITS
    }


def _npy(array: np.ndarray) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array, allow_pickle=False)
    return sink.getvalue()
