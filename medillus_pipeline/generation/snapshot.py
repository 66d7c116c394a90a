"""A dataset snapshot is built: labelled slices of all published partitions, in the canonical frame, with the frozen
split, as packed arrays, an index table and a manifest; all are immutable payloads of the clean zone.

Which slices are taken is decided in `selection.py`, how a series is resampled in `packing.py`, how arrays come to disk
in `snapshot_arrays.py`, who is in which split in `split.py`. What reads a snapshot is in `dataset.py`.
"""

import hashlib
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.dicom.workers import mapped
from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.generation.config import DatasetConfig
from medillus_pipeline.generation.packing import PackedSlice, SeriesJob, pack_series
from medillus_pipeline.generation.readers import one_drawing_each
from medillus_pipeline.generation.selection import select
from medillus_pipeline.generation.slice_attributes import StudyLabels, known_attributes
from medillus_pipeline.generation.snapshot_arrays import Spool, StoredArray
from medillus_pipeline.generation.split import SPLITS, split_hash
from medillus_pipeline.tables import TRAINING_SLICES, to_parquet
from medillus_pipeline.zones import Zone

Row = dict[str, Any]
FOLDER = "datasets"
FORMAT = 2


@dataclass(frozen=True)
class Snapshot:
    """What `build_snapshot` stored: rows of `training_slices`, the content fingerprint, the manifest and its path."""

    rows: list[Row]
    fingerprint: str
    path: str
    manifest: dict[str, Any]


@dataclass(frozen=True)
class _Packed:
    """A packed slice whose arrays are spooled: the row of SLICES and what the index says of it."""

    number: int
    row: Row
    split: str
    labels: frozenset[int]
    described: Row = field(repr=False)

    @property
    def place(self) -> tuple[int, str, str, float, str]:
        """Sorts slices by split, patient, series and level."""
        series, level = self.row["series_instance_uid"], self.described["level"]
        return SPLITS.index(self.split), self.row["patient"], series, level, self.row["slice_name"]


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
    study_labels: Sequence[Row] = (),
    workers: int = 1,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Snapshot:
    """Pack every slice that has a mask and a split, and store the arrays, their index and the manifest.

    `slices`, `masks`, `instances` and `study_labels` are rows of those tables in the order of their partitions
    (duplicates: the first wins); `splits` maps a split token to its split; `partitions` (names with their data
    versions) goes into the manifest as it is. What was left out is counted there by reason. Structures of too few
    training patients become background (`minimum_class_patients`), and are listed. Arrays pass through the folder for
    temporary files, so memory holds a few series, not the snapshot.

    Raises NotEnoughDataError when no labelled slice, or no class, is left.
    """
    labelled = one_drawing_each(masks, slices, config.readers, clean, vocabulary)
    left_out: Counter[str] = Counter()
    series, split_of = select(slices, labelled, instances, splits, config, left_out)
    jobs = [_job(rows, labelled, split_of, clean, config) for _, rows in sorted(series.items())]
    by_name = {row["slice_name"]: row for rows in series.values() for row in rows}
    packed: list[_Packed] = []
    with tempfile.TemporaryDirectory() as scratch, Spool(Path(scratch), config.size, config.channels) as spool:
        for done, part in enumerate(_packed(jobs, workers, executor), start=1):
            for item in part:
                name = item.slice_name
                packed.append(_spooled(spool, len(packed), item, by_name[name], split_of[name], labelled[name]))
            if progress is not None:
                progress(done, len(jobs))
        classes, dropped = _classes(packed, config.minimum_class_patients)
        kept = sorted((item for item in packed if not item.labels.isdisjoint(classes)), key=lambda item: item.place)
        left_out["no_class"] += len(packed) - len(kept)
        left_out = Counter({reason: count for reason, count in left_out.items() if count})
        if not kept:
            raise NotEnoughDataError(
                "no slice is left for the dataset: it needs axial slices of patients in the split with masks that hold "
                f"structures; left out by reason: {dict(sorted(left_out.items()))}"
            )
        index_of = np.zeros(256, np.uint8)
        index_of[list(classes)] = np.arange(1, len(classes) + 1)
        arrays = spool.store(clean, FOLDER, [item.number for item in kept], index_of)
    said = StudyLabels(study_labels, config.readers)
    rows = [
        item.described
        | said.of(item.row["study_instance_uid"], item.row["series_instance_uid"])
        | {"row": number, "labels": sorted(item.labels.intersection(classes))}
        for number, item in enumerate(kept)
    ]
    return _store(
        clean,
        arrays,
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


def _job(
    rows: list[Row], labelled: Mapping[str, Row], split_of: Mapping[str, str], clean: Zone, config: DatasetConfig
) -> SeriesJob:
    body_part = (rows[0]["body_part"] or "").upper()
    return SeriesJob(
        clean=clean,
        slices=rows,
        masks={row["slice_name"]: labelled[row["slice_name"]] for row in rows if row["slice_name"] in split_of},
        modality=rows[0]["modality"],
        size=config.size,
        field_of_view=config.field_of_view_mm.get(body_part, config.default_field_of_view_mm),
        channels=config.channels,
    )


def _packed(jobs: Sequence[SeriesJob], workers: int, given: Executor | None) -> Iterator[list[PackedSlice]]:
    """Packed series in the order of the jobs, by the executor given, or spawned processes where `workers` is over 1."""
    if given is not None:
        yield from mapped(given, pack_series, jobs, chunk=1)
        return
    if workers <= 1 or len(jobs) < 2:
        yield from map(pack_series, jobs)
        return
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=get_context("spawn")) as pool:
        yield from pool.map(pack_series, jobs)


def _spooled(spool: Spool, number: int, item: PackedSlice, row: Row, split: str, mask: Row) -> _Packed:
    spool.add(item)
    described = {
        "slice_name": item.slice_name,
        "patient": row["patient"],
        "split": split,
        "series_instance_uid": row["series_instance_uid"],
        "annotator": mask["annotator"],
        "modality": row["modality"],
        "body_part": row["body_part"],
        "level": item.level,
        "affine": item.affine.ravel().tolist(),
        "body_fraction": item.body_fraction,
        "mean": item.mean,
        "source_value_sha256": hashlib.sha256(item.values.tobytes()).hexdigest(),
    }
    return _Packed(number, row, split, frozenset(np.unique(item.labels[item.labels > 0]).tolist()), described)


def _classes(packed: Sequence[_Packed], minimum: int) -> tuple[tuple[int, ...], dict[str, int]]:
    """Vocabulary ids that enough training patients have, ascending, and the others with their training patients."""
    patients: dict[int, set[str]] = defaultdict(set)
    for item in packed:
        for label in item.labels:
            found = patients[label]
            if item.split == "train":
                found.add(item.row["patient"])
    classes = tuple(sorted(label for label, found in patients.items() if len(found) >= minimum))
    return classes, {str(label): len(found) for label, found in sorted(patients.items()) if label not in classes}


def _store(
    clean: Zone,
    arrays: Mapping[str, StoredArray],
    rows: list[Row],
    classes: tuple[int, ...],
    config: DatasetConfig,
    origin: dict[str, Any],
) -> Snapshot:
    described = json.dumps([rows, classes, config.model_dump(mode="json")], sort_keys=True).encode()
    parts = [*(array.numbers_sha256 for array in arrays.values()), hashlib.sha256(described).hexdigest()]
    judged = {label for row in rows if row["split"] == "judge" for label in row["labels"]}
    manifest = {
        "format": FORMAT,
        "fingerprint": hashlib.sha256("".join(parts).encode()).hexdigest(),
        "config": config.model_dump(mode="json"),
        "classes": list(classes),
        "classes_without_judge_patients": [label for label in classes if label not in judged],
        "known_attributes": list(known_attributes(rows)),
        "counts": _counts(rows),
        "counts_by_modality": {
            name: _counts([row for row in rows if row["modality"] == name])
            for name in sorted({row["modality"] for row in rows})
        },
        **origin,
        **{name: array.payload.path for name, array in arrays.items()},
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
